/** The document as the studio reads it: plain elements, the tree and scenes, derived from the Y.Doc and kept until something changes. */
import { computed, signal, type ReadonlySignal } from '@preact/signals';
import * as Y from 'yjs';
import { SCHEMA, type Product } from '../generated/schema';
import { mapOf, readElement, type RawElement } from './element';
import type { FontLibrary } from './fonts';
import { buildScene, resolveElement, treeOf, type Resolved, type Scene } from './scene';
import { isElementId, viewKey, type Tree } from './tree';

const { roots, metaKeys, styleKeys } = SCHEMA;

/** What somebody is just doing to an element, seen by everybody and not yet an edit. */
export interface Preview {
  readonly xf: readonly number[];
  /** Size of a text's em in mm, if that changes too. */
  readonly size: number | null;
}

export type Previews = ReadonlyMap<string, Preview>;

interface Kept {
  readonly raw: RawElement;
  readonly resolved: Resolved | null;
}

export class DesignModel {
  readonly doc: Y.Doc;
  readonly elementMap: Y.Map<Y.Map<unknown>>;
  readonly meta: Y.Map<unknown>;
  readonly viewMap: Y.Map<unknown>;
  /** Grows with every change of the content. */
  readonly revision: ReadonlySignal<number>;
  readonly tree: ReadonlySignal<Tree>;
  readonly product = signal<Product>(null as unknown as Product);

  readonly #revision = signal(0);
  readonly #raws = new Map<string, RawElement>();
  readonly #kept = new Map<string, Kept>();
  readonly #keptPreviews = new Map<string, { from: RawElement; preview: Preview; resolved: Resolved | null }>();
  readonly #fonts: FontLibrary;
  #fontArrivals = 0;

  constructor(doc: Y.Doc, product: Product, fonts: FontLibrary) {
    this.doc = doc;
    this.#fonts = fonts;
    this.product.value = product;
    this.elementMap = doc.getMap(roots.elements);
    this.meta = doc.getMap(roots.meta);
    this.viewMap = doc.getMap(roots.views);
    this.revision = this.#revision;
    for (const id of this.elementMap.keys()) this.#read(id);
    this.elementMap.observeDeep(this.#onElements);
    this.meta.observe(this.#bump);
    this.viewMap.observe(this.#bump);
    this.tree = computed(() => {
      void this.#revision.value;
      return treeOf(this.#raws, this.product.value);
    });
  }

  destroy(): void {
    this.elementMap.unobserveDeep(this.#onElements);
    this.meta.unobserve(this.#bump);
    this.viewMap.unobserve(this.#bump);
  }

  get elements(): ReadonlyMap<string, RawElement> {
    return this.#raws;
  }

  element(id: string): RawElement | undefined {
    return this.#raws.get(id);
  }

  /** Shown or hidden, but not deleted, and nothing above it is deleted. */
  isAlive(id: string): boolean {
    const parents = this.tree.peek().parentOf;
    for (let at: string | undefined = id, steps = 0; at !== undefined && steps <= SCHEMA.limits.depth; at = parents.get(at), steps += 1) {
      if (at.startsWith('view:')) return true;
      if (this.#raws.get(at)?.del === true || !this.#raws.has(at)) return false;
    }
    return false;
  }

  /** The view that an element is on, through its groups. */
  viewOf(id: string): string | null {
    const parents = this.tree.peek().parentOf;
    let at: string | undefined = id;
    for (let steps = 0; at !== undefined && steps <= parents.size; steps += 1) {
      if (at.startsWith('view:')) return at.slice('view:'.length);
      at = parents.get(at);
    }
    return null;
  }

  /** Living children, lowest first. */
  children(parent: string): string[] {
    return (this.tree.peek().childrenOf.get(parent) ?? []).filter((id) => this.#raws.get(id)?.del !== true);
  }

  rootsOf(view: string): string[] {
    return this.children(viewKey(view));
  }

  resolved(id: string, previews?: Previews): Resolved | null {
    const raw = this.#raws.get(id);
    return raw ? this.#resolve(raw, previews) : null;
  }

  scene(view: string, previews?: Previews): Scene {
    const arrivals = this.#fonts.arrivals.value;
    if (arrivals !== this.#fontArrivals) {
      this.#fontArrivals = arrivals;
      for (const [id, kept] of this.#kept) if (kept.resolved?.text && kept.resolved.text.waiting.length > 0) this.#kept.delete(id);
      this.#keptPreviews.clear();
    }
    const content = { elements: this.#raws, color: this.meta.get(metaKeys.color), views: this.viewMap.toJSON() };
    return buildScene(content, this.product.value, view, (raw) => this.#resolve(raw, previews), this.tree.peek());
  }

  /** The scene when every font that it needs has come. */
  async settledScene(view: string): Promise<Scene> {
    // The first look asks for fonts; with them there, a second may ask for the fonts behind them.
    for (let look = 0; look < 2; look += 1) {
      this.scene(view);
      await this.#fonts.settled();
    }
    return this.scene(view);
  }

  #resolve(raw: RawElement, previews: Previews | undefined): Resolved | null {
    const preview = previews?.get(raw.id);
    if (preview) {
      const kept = this.#keptPreviews.get(raw.id);
      if (kept && kept.from === raw && kept.preview.xf === preview.xf && kept.preview.size === preview.size) return kept.resolved;
      const sty = preview.size === null ? raw.sty : { ...raw.sty, [styleKeys.size]: preview.size };
      const resolved = resolveElement({ ...raw, xf: preview.xf, sty }, this.#fonts);
      this.#keptPreviews.set(raw.id, { from: raw, preview, resolved });
      return resolved;
    }
    const kept = this.#kept.get(raw.id);
    if (kept?.raw === raw) return kept.resolved;
    const resolved = resolveElement(raw, this.#fonts);
    this.#kept.set(raw.id, { raw, resolved });
    return resolved;
  }

  #read(id: string): void {
    const map = mapOf(this.elementMap.get(id));
    if (map && isElementId(id)) this.#raws.set(id, readElement(id, map));
    else this.#raws.delete(id);
  }

  readonly #bump = (): void => {
    this.#revision.value += 1;
  };

  readonly #onElements = (events: Y.YEvent<Y.AbstractType<unknown>>[]): void => {
    const changed = new Set<string>();
    for (const event of events) {
      if (event.path.length > 0) changed.add(String(event.path[0]));
      else for (const key of event.changes.keys.keys()) changed.add(key);
    }
    for (const id of changed) this.#read(id);
    this.#bump();
  };
}
