/** One open design in one tab: document, provider, undo, presence and what is chosen. Replaced whole after a permanent refusal. */
import { batch, computed, effect, signal, type ReadonlySignal, type Signal } from '@preact/signals';
import * as Y from 'yjs';
import { PRODUCTS, type Product } from '../generated/schema';
import { DesignModel } from '../document/design_model';
import { Edits, type Xf } from '../document/edits';
import type { FontLibrary } from '../document/fonts';
import { looksOf, people, Presence, type Peer } from '../document/presence';
import { Undo } from '../document/undo';
import type { Person } from '../net/api';
import type { Connection } from '../net/connection';
import { DocumentProvider } from '../net/provider';
import type { Refused } from '../net/wire';
import type { ImageLibrary } from '../stage/images';

export type Tool = 'select' | 'hand' | 'text' | 'rect' | 'ellipse' | 'line' | 'star' | 'polygon';

export interface SessionOptions {
  readonly connection: Connection;
  readonly design: string;
  readonly product: string;
  readonly me: Person;
  readonly canEdit: boolean;
  readonly fonts: FontLibrary;
  readonly images: ImageLibrary;
  readonly view?: string;
  readonly onRefused: (why: Refused) => void;
  readonly onNotice: (why: Refused) => void;
}

export interface Gesture {
  readonly frames: ReadonlyMap<string, Xf>;
  readonly sizes: ReadonlyMap<string, number>;
}

/** How long a finished gesture stays in our presence: its edit must reach the others before the preview goes. */
const GESTURE_LINGER_MS = 160;

export const productById = (id: string): Product => PRODUCTS.find((product) => product.id === id) ?? PRODUCTS[0]!;

export class StudioSession {
  readonly doc = new Y.Doc();
  readonly origin = { tab: 'studio' };
  readonly provider: DocumentProvider;
  readonly model: DesignModel;
  readonly edits: Edits;
  readonly undo: Undo;
  readonly presence: Presence;
  /** Who is here, one entry each. Changes with names, sides and selections, not with every move of a pointer. */
  readonly people: ReadonlySignal<readonly Peer[]>;

  readonly view: Signal<string>;
  readonly selection = signal<readonly string[]>([]);
  readonly tool = signal<Tool>('select');
  readonly hover = signal<string | null>(null);
  /** The text that is being typed into. */
  readonly editing = signal<string | null>(null);
  /** My own gesture under way. */
  readonly gesture = signal<Gesture | null>(null);
  readonly canEdit: boolean;
  readonly options: SessionOptions;

  readonly #stops: (() => void)[] = [];
  #lingering: ReturnType<typeof setTimeout> | undefined;
  #titled = 0;

  constructor(options: SessionOptions) {
    this.options = options;
    this.canEdit = options.canEdit;
    this.provider = new DocumentProvider({
      connection: options.connection,
      design: options.design,
      doc: this.doc,
      onRefused: options.onRefused,
      onNotice: options.onNotice,
    });
    this.model = new DesignModel(this.doc, productById(options.product), options.fonts);
    this.view = signal(options.view ?? this.model.product.value.views[0]!.id);
    this.edits = new Edits(this.model, this.origin);
    this.undo = new Undo(this.model, this.origin, { get: () => this.selection.peek(), set: (ids) => this.select(ids) });
    this.presence = new Presence(this.provider.awareness);
    const shown = signal<readonly Peer[]>([]);
    const looks = computed(() => looksOf(people(this.presence.peers.value)));
    this.people = shown;
    const { id, name, color } = options.me;
    this.presence.set({ user: { id, name, color }, since: Date.now(), view: this.view.peek(), cursor: null, sel: [], editing: null, drag: null, sizes: null });
    this.#stops.push(
      effect(() => {
        void looks.value;
        shown.value = people(this.presence.peers.peek());
      }),
      effect(() => this.presence.set({ view: this.view.value, sel: this.selection.value.slice(0, 200) })),
      // What somebody else deleted cannot stay chosen.
      effect(() => {
        void this.model.revision.value;
        void this.model.tree.value;
        const alive = this.selection.peek().filter((id) => this.model.isAlive(id));
        if (alive.length !== this.selection.peek().length) this.selection.value = alive;
        const editing = this.editing.peek();
        if (editing !== null && !this.model.isAlive(editing)) this.editing.value = null;
      }),
    );
  }

  get product(): Product {
    return this.model.product.value;
  }

  select(ids: readonly string[]): void {
    const before = this.selection.peek();
    if (before.length === ids.length && before.every((id, i) => id === ids[i])) return;
    batch(() => {
      const first = ids[0];
      const view = first === undefined ? null : this.model.viewOf(first);
      if (view !== null && view !== this.view.peek()) this.view.value = view;
      this.selection.value = ids;
    });
  }

  show(view: string): void {
    batch(() => {
      this.editing.value = null;
      this.selection.value = [];
      this.hover.value = null;
      this.view.value = view;
    });
  }

  /** The elements that are chosen and may be changed. */
  movable(): string[] {
    return this.canEdit ? this.selection.peek().filter((id) => this.model.element(id)?.lock !== true) : [];
  }

  preview(gesture: Gesture): void {
    clearTimeout(this.#lingering);
    this.gesture.value = gesture;
    this.presence.set({ drag: Object.fromEntries(gesture.frames), sizes: gesture.sizes.size > 0 ? Object.fromEntries(gesture.sizes) : null });
  }

  /** Ends a gesture; with `commit` it becomes one edit and one step of undo. */
  finish(commit: boolean): void {
    const gesture = this.gesture.peek();
    if (gesture === null) return;
    if (commit) {
      this.undo.begin(this.selection.peek());
      this.edits.setFramesAndSizes(gesture.frames, gesture.sizes);
      this.undo.begin();
      this.provider.flush();
    }
    this.gesture.value = null;
    clearTimeout(this.#lingering);
    this.#lingering = setTimeout(() => this.presence.set({ drag: null, sizes: null }), commit ? GESTURE_LINGER_MS : 0);
  }

  /** Lets the others know that the title, which is no part of the document, should be read again. */
  announceTitle(): void {
    this.#titled += 1;
    this.presence.set({ titled: this.#titled });
  }

  destroy(): void {
    for (const stop of this.#stops) stop();
    clearTimeout(this.#lingering);
    this.undo.destroy();
    this.presence.destroy();
    this.provider.destroy();
    this.model.destroy();
  }
}
