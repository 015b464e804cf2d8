/** Every change that a person can make, each as one transaction with the tab's origin. */
import * as Y from 'yjs';
import { SCHEMA, type ShapeKind } from '../generated/schema';
import { mapOf, textOf, type RawElement } from './element';
import type { DesignModel } from './design_model';
import { placeBetween, type Placed } from './order';
import { textDiff } from './text_diff';
import { readPlace, viewKey } from './tree';
import { isObject } from './values';

const KEYS = SCHEMA.elementKeys;
const STYLE = SCHEMA.styleKeys;

/** x, y, w, h in mm; rotation in degrees; flip bits. */
export type Xf = readonly [x: number, y: number, w: number, h: number, rot: number, skx: number, sky: number, flip: number];

/** Thousandths of a millimetre are what a Scene holds; more digits would only be bytes. */
export const tidy = (xf: Xf): Xf => {
  const mm = (value: number): number => Math.round(value * 1000) / 1000;
  const turn = ((((xf[4] + 180) % 360) + 360) % 360) - 180;
  return [mm(xf[0]), mm(xf[1]), mm(Math.max(0, xf[2])), mm(Math.max(0, xf[3])), mm(turn), 0, 0, xf[7]];
};

export function readXf(raw: RawElement): Xf {
  const xf = Array.isArray(raw.xf) ? raw.xf.map((value) => (typeof value === 'number' && Number.isFinite(value) ? value : 0)) : [];
  return [xf[0] ?? 0, xf[1] ?? 0, xf[2] ?? 0, xf[3] ?? 0, xf[4] ?? 0, 0, 0, xf[7] ?? 0];
}

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_';

export function newId(): string {
  return [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => ALPHABET[byte & 63]).join('');
}

export interface NewElement {
  readonly type: 'text' | 'image' | 'shape';
  readonly xf: Xf;
  readonly name?: string;
  readonly text?: string;
  readonly style?: Readonly<Record<string, unknown>>;
  readonly fill?: string;
  readonly stroke?: unknown;
  readonly image?: { readonly a: string; readonly crop: readonly number[] };
  readonly geometry?: { readonly k: ShapeKind; readonly [key: string]: unknown };
  readonly opacity?: number;
}

export class Edits {
  readonly #model: DesignModel;
  readonly #origin: object;
  /** What undo does not follow: see `#reveal`. */
  readonly #quiet = { tab: 'creation' };

  /** @param origin what the undo manager of this tab follows; other people's changes never carry it. */
  constructor(model: DesignModel, origin: object) {
    this.#model = model;
    this.#origin = origin;
  }

  transact(work: () => void): void {
    this.#model.doc.transact(work, this.#origin);
  }

  /** Adds above everything else on the view. */
  add(view: string, element: NewElement): string {
    return this.addAll(view, [element])[0]!;
  }

  addAll(view: string, elements: readonly NewElement[]): string[] {
    const ids: string[] = [];
    this.#model.doc.transact(() => {
      for (const element of elements) {
        const id = newId();
        this.#insert(id, element, view, this.#topIndex(view, ids));
        ids.push(id);
      }
    }, this.#quiet);
    this.#reveal(ids);
    return ids;
  }

  /**
   * An element is made deleted, which undo does not see, and then shown, which it does. So taking back an addition is a
   * deletion by mark like every other one, and what somebody else did to the element meanwhile is not lost.
   */
  #reveal(ids: readonly string[]): void {
    this.set(ids, { [KEYS.deleted]: false });
  }

  setFrames(frames: ReadonlyMap<string, Xf>): void {
    this.transact(() => {
      for (const [id, xf] of frames) this.#map(id)?.set(KEYS.transform, [...tidy(xf)]);
    });
  }

  /** Frames and style sizes together, as a corner of a text is pulled. */
  setFramesAndSizes(frames: ReadonlyMap<string, Xf>, sizes: ReadonlyMap<string, number>): void {
    this.transact(() => {
      this.setFrames(frames);
      for (const [id, size] of sizes) this.setStyle([id], { [STYLE.size]: size });
    });
  }

  set(ids: readonly string[], values: Readonly<Record<string, unknown>>): void {
    this.transact(() => {
      for (const id of ids) {
        const map = this.#map(id);
        if (!map) continue;
        for (const [key, value] of Object.entries(values)) if (map.get(key) !== value) map.set(key, value);
      }
    });
  }

  setStyle(ids: readonly string[], values: Readonly<Record<string, unknown>>): void {
    this.transact(() => {
      for (const id of ids) {
        const map = this.#map(id);
        if (!map) continue;
        let style = mapOf(map.get(KEYS.style));
        if (!style) {
          style = new Y.Map();
          map.set(KEYS.style, style);
        }
        for (const [key, value] of Object.entries(values)) if (style.get(key) !== value) style.set(key, value);
      }
    });
  }

  /** Merges into a JSON register, which is replaced whole. */
  setRegister(ids: readonly string[], key: string, values: Readonly<Record<string, unknown>>): void {
    this.transact(() => {
      for (const id of ids) {
        const map = this.#map(id);
        const before = map?.get(key);
        map?.set(key, { ...(isObject(before) ? before : {}), ...values });
      }
    });
  }

  rename(id: string, name: string): void {
    const short = [...name.trim()].slice(0, SCHEMA.limits.nameLength).join('');
    this.set([id], { [KEYS.name]: short });
  }

  /** Deletion is a mark: a concurrent edit of the same element is not lost, and undo brings it back as it is then. */
  remove(ids: readonly string[]): void {
    this.set(ids, { [KEYS.deleted]: true });
  }

  /** Copies of living elements, groups with their children, just above the originals. */
  duplicate(ids: readonly string[], shift: number): string[] {
    const copies: string[] = [];
    const above = new Map<string, Map<string, string>>();
    this.#model.doc.transact(() => {
      for (const id of ids) {
        if (!this.#model.element(id)) continue;
        const parent = this.#parentOf(id);
        const siblings = this.#siblings(parent);
        const copy = newId();
        const keys = placeBetween(siblings, [copy], siblings.findIndex((sibling) => sibling.id === id) + 1);
        this.#copy(id, copy, parent, keys.get(copy)!, shift);
        this.#map(copy)?.set(KEYS.deleted, true);
        keys.delete(copy);
        above.set(parent, keys);
        copies.push(copy);
      }
    }, this.#quiet);
    this.transact(() => {
      for (const [parent, keys] of above) this.#reindex(keys, parent);
      this.#reveal(copies);
    });
    return copies;
  }

  /**
   * Moves elements to a place among the children of a view or a group.
   *
   * @param parent key of the tree: `view:` and a view's id, or a group's id.
   * @param at place counted from the lowest, among the siblings that stay.
   */
  reorder(ids: readonly string[], parent: string, at: number): void {
    const staying = this.#siblings(parent).filter((sibling) => !ids.includes(sibling.id));
    this.transact(() => this.#reindex(placeBetween(staying, ids, at), parent));
  }

  setProductColor(color: string): void {
    this.transact(() => this.#model.meta.set(SCHEMA.metaKeys.color, color));
  }

  setGround(view: string, color: string): void {
    this.transact(() => this.#model.viewMap.set(view, { bg: color }));
  }

  text(id: string): Y.Text | null {
    return textOf(this.#map(id)?.get(KEYS.text));
  }

  /** Brings a text to what a text field shows, with the smallest change. */
  writeText(id: string, next: string, caret: number | null): void {
    const text = this.text(id);
    const change = text && textDiff(text.toString(), next, caret);
    if (!text || !change) return;
    this.transact(() => {
      if (change.remove > 0) text.delete(change.at, change.remove);
      if (change.insert !== '') text.insert(change.at, change.insert);
    });
  }

  #map(id: string): Y.Map<unknown> | null {
    return mapOf(this.#model.elementMap.get(id));
  }

  #parentOf(id: string): string {
    return this.#model.tree.peek().parentOf.get(id) ?? viewKey(this.#model.product.peek().views[0]!.id);
  }

  #siblings(parent: string): Placed[] {
    return this.#model.children(parent).map((id) => ({ id, index: readPlace(this.#model.element(id)?.p).index }));
  }

  #topIndex(view: string, justAdded: readonly string[] = []): string {
    const siblings = this.#siblings(viewKey(view));
    const fresh = justAdded.map((id) => ({ id, index: readPlace(this.#map(id)?.get(KEYS.place)).index }));
    const all = [...siblings, ...fresh];
    return placeBetween(all.slice(-1), ['new'], all.length).get('new')!;
  }

  #reindex(keys: ReadonlyMap<string, string>, parent: string): void {
    const name = parent.startsWith('view:') ? parent.slice('view:'.length) : parent;
    for (const [id, index] of keys) this.#map(id)?.set(KEYS.place, [name, index]);
  }

  #insert(id: string, element: NewElement, view: string, index: string): void {
    const map = new Y.Map<unknown>();
    map.set(KEYS.type, element.type);
    map.set(KEYS.deleted, true);
    map.set(KEYS.place, [view, index]);
    map.set(KEYS.transform, [...tidy(element.xf)]);
    if (element.name) map.set(KEYS.name, element.name);
    if (element.type === 'text') {
      map.set(KEYS.text, new Y.Text(element.text ?? ''));
      map.set(KEYS.style, new Y.Map(Object.entries(element.style ?? {})));
    }
    if (element.fill !== undefined) map.set(KEYS.fill, element.fill);
    if (element.stroke !== undefined) map.set(KEYS.stroke, element.stroke);
    if (element.image) map.set(KEYS.image, { ...element.image });
    if (element.geometry) map.set(KEYS.geometry, { ...element.geometry });
    if (element.opacity !== undefined) map.set(KEYS.opacity, element.opacity);
    this.#model.elementMap.set(id, map);
  }

  #copy(from: string, to: string, parent: string, index: string, shift: number): void {
    const source = this.#map(from);
    const raw = this.#model.element(from);
    if (!source || !raw) return;
    const map = source.clone();
    map.set(KEYS.place, [parent.startsWith('view:') ? parent.slice('view:'.length) : parent, index]);
    if (shift !== 0) {
      const xf = readXf(raw);
      map.set(KEYS.transform, [...tidy([xf[0] + shift, xf[1] + shift, xf[2], xf[3], xf[4], 0, 0, xf[7]])]);
    }
    this.#model.elementMap.set(to, map);
    for (const child of this.#model.children(from)) this.#copy(child, newId(), to, readPlace(this.#model.element(child)?.p).index, 0);
  }
}
