// Rules C4 to C26: the vectors that hold Python and TypeScript to the same Scene.
import { readFileSync } from 'node:fs';
import * as hb from 'harfbuzzjs';
import * as Y from 'yjs';
import { describe, expect, it } from 'vitest';
import { canonicalJson } from '../src/document/canonical';
import { elementFromJson, readElement, type RawElement } from '../src/document/element';
import { buildScene, resolveElement, sceneHash, type DocumentContent } from '../src/document/scene';
import { fontFile, shapingFont, type FontSource, type ShapingFont } from '../src/document/shaper';
import { cosine, sine } from '../src/document/values';
import { effectiveTree, readPlace, viewKey } from '../src/document/tree';
import { FONTS, PRODUCTS } from '../src/generated/schema';

const canvas = new URL('../../canvas/', import.meta.url);
const vectors = <T>(name: string): T[] => (JSON.parse(readFileSync(new URL(`vectors/${name}.json`, canvas), 'utf-8')) as { cases: T[] }).cases;

class FontFiles implements FontSource {
  readonly #fonts = new Map<string, ShapingFont>();
  get(id: string): ShapingFont | null {
    let font = this.#fonts.get(id);
    const file = fontFile(id);
    if (!font && file) {
      font = shapingFont(hb, file, readFileSync(new URL(`fonts/${file.file}`, canvas)));
      this.#fonts.set(id, font);
    }
    return font ?? null;
  }
}

interface Content {
  readonly el?: Record<string, Record<string, unknown>>;
  readonly meta?: Record<string, unknown>;
  readonly views?: Record<string, unknown>;
}

interface SceneCase {
  readonly name: string;
  readonly product: string;
  readonly view: string;
  readonly content: Content;
  readonly scene: unknown;
  readonly hash: string;
}

const isMap = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);

/** The content in a document, as a client would have written it. */
function documentOf(content: Content): Y.Doc {
  const doc = new Y.Doc();
  const elements = doc.getMap('el');
  for (const [id, json] of Object.entries(content.el ?? {})) {
    if (!isMap(json)) {
      elements.set(id, json);
      continue;
    }
    const element = new Y.Map<unknown>();
    for (const [key, value] of Object.entries(json)) {
      if (key === 'txt' && typeof value === 'string') element.set(key, new Y.Text(value));
      else if (key === 'sty' && isMap(value)) element.set(key, new Y.Map(Object.entries(value)));
      else element.set(key, value);
    }
    elements.set(id, element);
  }
  for (const [key, value] of Object.entries(content.meta ?? {})) doc.getMap('meta').set(key, value);
  for (const [key, value] of Object.entries(content.views ?? {})) doc.getMap('views').set(key, value);
  return doc;
}

function readDocument(doc: Y.Doc): DocumentContent {
  const elements = new Map<string, RawElement>();
  for (const [id, map] of doc.getMap('el')) if (map instanceof Y.Map && /^[A-Za-z0-9_-]{1,64}$/.test(id)) elements.set(id, readElement(id, map as Y.Map<unknown>));
  return { elements, color: doc.getMap('meta').get('color'), views: doc.getMap('views').toJSON() };
}

describe('scenes', () => {
  const fonts = new FontFiles();
  it.each(vectors<SceneCase>('scene'))('$name', ({ product, view, content, scene, hash }) => {
    const catalogue = PRODUCTS.find((candidate) => candidate.id === product)!;
    const built = buildScene(readDocument(documentOf(content)), catalogue, view, (raw) => resolveElement(raw, fonts));
    expect(canonicalJson(built)).toBe(canonicalJson(scene));
    expect(sceneHash(built)).toBe(hash);
  });
});

interface TreeCase {
  readonly name: string;
  readonly views: string[];
  readonly elements: Record<string, Record<string, unknown>>;
  readonly tree: Record<string, string[]>;
}

describe('the effective tree', () => {
  it.each(vectors<TreeCase>('tree'))('$name', ({ views, elements, tree }) => {
    const raws = Object.entries(elements).map(([id, json]) => elementFromJson(id, json));
    const found = effectiveTree(raws.map((raw) => ({ id: raw.id, isGroup: raw.t === 'group', ...readPlace(raw.p) })), views);
    const shown = Object.fromEntries([...found.childrenOf].map(([parent, children]) => [parent.replace(/^view:/, ''), children]));
    for (const view of views) shown[view] = found.childrenOf.get(viewKey(view)) ?? [];
    expect(shown).toEqual(tree);
  });
});

describe('numbers', () => {
  it('C13: no sine or cosine lies near a half, so every good sin gives the same', () => {
    let nearest = 1;
    for (let d = 0; d < 360_000; d += 1) {
      const exact = Math.sin((d * Math.PI) / 180_000) * 65536;
      nearest = Math.min(nearest, Math.abs(Math.abs(exact % 1) - 0.5));
    }
    expect(nearest).toBeGreaterThan(1e-7);
    expect([sine(90_000), cosine(0), sine(0), cosine(180_000)].map((x) => x + 0)).toEqual([65536, 65536, 0, -65536]);
  });

  it('RULE 25: HarfBuzz is the version that the server shapes with', () => {
    const { harfbuzzjs: version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf-8')).dependencies as Record<string, string>;
    expect(version).toBe('1.6.4');
    expect(FONTS.length).toBeGreaterThan(5);
  });
});
