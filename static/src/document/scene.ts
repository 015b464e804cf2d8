/** A document, resolved to what is painted: integers only, the same in the browser and on the server. Source: docs/protocol.md, C8 to C26. */
import { SCHEMA, type BlendMode, type Product } from '../generated/schema';
import { canonicalJson } from './canonical';
import type { RawElement } from './element';
import { outline, readGeometry } from './shapes';
import { sha256 } from './sha256';
import { fontFile, type FontSource } from './shaper';
import { cleanText, layoutText, readStyle, type GlyphRun, type TextLayout } from './text_layout';
import { effectiveTree, readPlace, viewKey, type Tree } from './tree';
import { asNumber, clamp, color, cosine, fixed, isObject, numberOr, rdiv, round, sine, um } from './values';

const { defaults, ranges, enums, limits, patterns } = SCHEMA;

export interface SceneStroke {
  readonly c: string;
  readonly w: number;
}

interface LayerBase {
  readonly id: string;
  readonly m: readonly [number, number, number, number, number, number];
  readonly box: readonly [number, number, number, number];
  readonly op: number;
  readonly bm: BlendMode;
}

export interface ShapeLayer extends LayerBase {
  readonly t: 'shape';
  readonly fill: string;
  readonly stroke: SceneStroke | null;
  readonly d: string;
}

export interface TextLayer extends LayerBase {
  readonly t: 'text';
  readonly fill: string;
  readonly stroke: SceneStroke | null;
  readonly runs: readonly GlyphRun[];
  readonly miss: readonly number[];
}

export interface ImageLayer extends LayerBase {
  readonly t: 'image';
  readonly a: string | null;
  readonly crop: readonly [number, number, number, number];
}

export interface GroupLayer extends LayerBase {
  readonly t: 'group';
  readonly layers: readonly SceneLayer[];
}

export type SceneLayer = ShapeLayer | TextLayer | ImageLayer | GroupLayer;

export interface Scene {
  readonly v: 1;
  readonly product: string;
  readonly view: string;
  readonly area: readonly [number, number];
  readonly base: string;
  readonly bg: string;
  readonly fonts: Readonly<Record<string, string>>;
  readonly layers: readonly SceneLayer[];
}

/** The register `xf`, judged (C12): micrometres, thousandths of a degree, flip bits. */
export interface Frame {
  readonly x: number;
  readonly y: number;
  readonly w: number;
  readonly h: number;
  readonly d: number;
  readonly flip: number;
}

export function readFrame(xf: unknown): Frame {
  const numbers = Array.isArray(xf) ? xf.slice(0, 5).map(asNumber) : [];
  if (!Array.isArray(xf) || numbers.length < 5 || numbers.includes(null)) return { x: 0, y: 0, w: 0, h: 0, d: 0, flip: 0 };
  const [x, y, w, h, rotation] = numbers as [number, number, number, number, number];
  const turn = round(clamp(rotation, ranges.rotation) * 1000) % 360_000;
  const flip = asNumber(xf[7]);
  return {
    x: um(clamp(x, ranges.position)),
    y: um(clamp(y, ranges.position)),
    w: um(clamp(w, ranges.length)),
    h: um(clamp(h, ranges.length)),
    d: turn < 0 ? turn + 360_000 : turn,
    flip: flip !== null && flip >= 0 && flip < 4 ? Math.floor(flip) : 0,
  };
}

/** The layer's frame to its parent's (C14). */
export function frameMatrix({ x, y, w, h, d, flip }: Frame): [number, number, number, number, number, number] {
  const c = cosine(d);
  const s = sine(d);
  const sx = flip & 1 ? -1 : 1;
  const sy = flip & 2 ? -1 : 1;
  const A = c * sx;
  const B = s * sx;
  const C = -s * sy;
  const E = c * sy;
  return [A, B, C, E, rdiv((2 * x + w) * 65536 - A * w - C * h, 131072), rdiv((2 * y + h) * 65536 - B * w - E * h, 131072)];
}

function readStroke(value: unknown): SceneStroke | null {
  if (!isObject(value)) return null;
  const paint = color(value.c, 'none');
  const width = asNumber(value.w);
  if (paint === 'none' || width === null) return null;
  const w = um(clamp(width, ranges.strokeWidth));
  return w > 0 ? { c: paint, w } : null;
}

const ASSET = new RegExp(`^(?:${patterns.asset})$`);

export function readImage(value: unknown): { a: string | null; crop: [number, number, number, number] } {
  const image = isObject(value) ? value : {};
  const a = typeof image.a === 'string' && ASSET.test(image.a) ? image.a : null;
  const whole: [number, number, number, number] = [0, 0, 65536, 65536];
  if (!Array.isArray(image.crop)) return { a, crop: whole };
  const parts = image.crop.slice(0, 4).map(asNumber);
  if (parts.length < 4 || parts.includes(null)) return { a, crop: whole };
  const [l, t, r, b] = (parts as number[]).map((part) => fixed(clamp(part, [0, 1]))) as [number, number, number, number];
  return { a, crop: l < r && t < b ? [l, t, r, b] : whole };
}

export interface Resolved {
  /** A group comes without its children, which are its own affair. */
  readonly layer: SceneLayer;
  readonly text: TextLayout | null;
}

/** One element by itself; null if its type is unknown (C8). */
export function resolveElement(raw: RawElement, fonts: FontSource): Resolved | null {
  const frame = readFrame(raw.xf);
  const common: LayerBase = {
    id: raw.id,
    m: frameMatrix(frame),
    box: [0, 0, frame.w, frame.h],
    op: fixed(numberOr(raw.op, defaults.opacity, ranges.opacity)),
    bm: enums.blendModes.find((mode) => mode === raw.bm) ?? defaults.blend,
  };
  switch (raw.t) {
    case 'group':
      return { layer: { ...common, t: 'group', layers: [] }, text: null };
    case 'image':
      return { layer: { ...common, t: 'image', ...readImage(raw.img) }, text: null };
    case 'shape': {
      const geo = readGeometry(raw.geo);
      const fill = geo.k === 'line' ? 'none' : color(raw.fill, defaults.shapeFill);
      return { layer: { ...common, t: 'shape', fill, stroke: readStroke(raw.stroke), d: outline(geo, frame.w, frame.h) }, text: null };
    }
    case 'text': {
      const text = layoutText(cleanText(raw.txt), readStyle(raw.sty), frame.w, fonts);
      const layer: TextLayer = {
        ...common,
        t: 'text',
        box: text.box,
        fill: color(raw.fill, defaults.textFill),
        stroke: readStroke(raw.stroke),
        runs: text.runs,
        miss: text.missing,
      };
      return { layer, text };
    }
    default:
      return null;
  }
}

export interface DocumentContent {
  readonly elements: ReadonlyMap<string, RawElement>;
  /** The register `meta.color`. */
  readonly color: unknown;
  /** The registers of `views`, by id. */
  readonly views: Readonly<Record<string, unknown>>;
}

export const treeOf = (elements: ReadonlyMap<string, RawElement>, product: Product): Tree =>
  effectiveTree(
    [...elements.values()].map((raw) => ({ id: raw.id, isGroup: raw.t === 'group', ...readPlace(raw.p) })),
    product.views.map((view) => view.id),
  );

export type Resolve = (raw: RawElement) => Resolved | null;

/**
 * @param tree of this content, if the caller has it already.
 * @param resolve of one element, if the caller keeps what it resolved before.
 */
export function buildScene(
  content: DocumentContent,
  product: Product,
  view: string,
  resolve: Resolve,
  tree: Tree = treeOf(content.elements, product),
): Scene {
  const shown = product.views.find((candidate) => candidate.id === view) ?? product.views[0]!;
  const used = new Set<string>();
  let room: number = limits.layers;

  const build = (ids: readonly string[], depth: number): SceneLayer[] => {
    const layers: SceneLayer[] = [];
    if (depth > limits.depth) return layers;
    for (const id of ids) {
      const raw = content.elements.get(id);
      if (!raw || raw.del === true || raw.vis === false || room === 0) continue;
      const resolved = resolve(raw);
      if (!resolved) continue;
      room -= 1;
      const { layer } = resolved;
      if (layer.t === 'group') {
        layers.push({ ...layer, layers: build(tree.childrenOf.get(id) ?? [], depth + 1) });
        continue;
      }
      if (layer.t === 'text') for (const run of layer.runs) used.add(run.f);
      layers.push(layer);
    }
    return layers;
  };

  const layers = build(tree.childrenOf.get(viewKey(shown.id)) ?? [], 1);
  const base = color(content.color, product.color);
  const ground = content.views[shown.id];
  return {
    v: 1,
    product: product.id,
    view: shown.id,
    area: [um(shown.area[2]), um(shown.area[3])],
    base: base === 'none' ? color(product.color, '#ffffff') : base,
    bg: color(isObject(ground) ? ground.bg : undefined, 'none'),
    fonts: Object.fromEntries([...used].sort().map((id) => [id, fontFile(id)!.sha256.slice(0, 16)])),
    layers,
  };
}

export const sceneHash = (scene: Scene): string => sha256(new TextEncoder().encode(canonicalJson(scene)));
