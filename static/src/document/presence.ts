/** Who is here and what they are at: awareness states, read by expected type, since they come from anybody. */
import { signal, type ReadonlySignal } from '@preact/signals';
import type { Awareness } from 'y-protocols/awareness';
import { colorOf, coloursApart } from './colors';
import type { Point } from './matrix';
import { asNumber, isObject } from './values';

export interface Editing {
  readonly el: string;
  /** Relative positions in the element's text, as JSON. */
  readonly anchor: unknown;
  readonly head: unknown;
}

export interface Peer {
  readonly client: number;
  readonly user: { readonly id: string; readonly name: string; readonly color: string };
  readonly view: string | null;
  readonly cursor: Point | null;
  readonly selection: readonly string[];
  readonly editing: Editing | null;
  /** Frames under way, by element. */
  readonly drag: ReadonlyMap<string, readonly number[]>;
  /** Sizes of texts under way, by element. */
  readonly sizes: ReadonlyMap<string, number>;
  /** When this window came, by its own clock. */
  readonly since: number;
  /** Grows when this person has given the design another title. */
  readonly titled: number;
}

const MAX_DRAGGED = 200;
const COLOR = /^#[0-9a-f]{6}$/i;

function readFrames(value: unknown): Map<string, readonly number[]> {
  const frames = new Map<string, readonly number[]>();
  if (!isObject(value)) return frames;
  for (const [id, xf] of Object.entries(value).slice(0, MAX_DRAGGED)) {
    if (Array.isArray(xf) && xf.length >= 5 && xf.every((part) => asNumber(part) !== null)) frames.set(id, xf as number[]);
  }
  return frames;
}

function readSizes(value: unknown): Map<string, number> {
  const sizes = new Map<string, number>();
  if (!isObject(value)) return sizes;
  for (const [id, size] of Object.entries(value).slice(0, MAX_DRAGGED)) if (typeof size === 'number') sizes.set(id, size);
  return sizes;
}

export function readPeer(client: number, state: unknown): Peer | null {
  if (!isObject(state) || !isObject(state.user)) return null;
  const { user, cursor, editing } = state;
  const id = typeof user.id === 'string' ? user.id : String(client);
  const x = isObject(cursor) ? asNumber(cursor.x) : null;
  const y = isObject(cursor) ? asNumber(cursor.y) : null;
  return {
    client,
    user: {
      id,
      name: typeof user.name === 'string' && user.name.trim() !== '' ? user.name.slice(0, 80) : 'Guest',
      color: typeof user.color === 'string' && COLOR.test(user.color) ? user.color : colorOf(id),
    },
    view: typeof state.view === 'string' ? state.view : null,
    cursor: x !== null && y !== null ? { x, y } : null,
    selection: Array.isArray(state.sel) ? state.sel.filter((el): el is string => typeof el === 'string').slice(0, MAX_DRAGGED) : [],
    editing: isObject(editing) && typeof editing.el === 'string' ? { el: editing.el, anchor: editing.anchor, head: editing.head } : null,
    drag: readFrames(state.drag),
    sizes: readSizes(state.sizes),
    since: asNumber(state.since) ?? 0,
    titled: asNumber(state.titled) ?? 0,
  };
}

export class Presence {
  readonly peers: ReadonlySignal<readonly Peer[]>;
  /** The colour in which the others see me; null until I am here. */
  readonly myColor: ReadonlySignal<string | null>;
  readonly #myColor = signal<string | null>(null);
  readonly #peers = signal<readonly Peer[]>([]);
  readonly #awareness: Awareness;
  readonly #read = new Map<number, { state: unknown; peer: Peer | null; shown: Peer | null }>();
  #colours: ReadonlyMap<string, string> = new Map();
  #coloursOf = '';

  constructor(awareness: Awareness) {
    this.#awareness = awareness;
    this.peers = this.#peers;
    this.myColor = this.#myColor;
    awareness.on('change', this.#refresh);
    this.#refresh();
  }

  /** Changes parts of this tab's own state. */
  set(parts: Readonly<Record<string, unknown>>): void {
    this.#awareness.setLocalState({ ...this.#awareness.getLocalState(), ...parts });
  }

  destroy(): void {
    this.#awareness.off('change', this.#refresh);
  }

  /** Gives everybody a colour of their own, whenever who is here has changed. */
  #paint(): void {
    const here = [...this.#read.values()].flatMap(({ peer }) => (peer ? [[peer.user.id, peer.user.color.toLowerCase(), peer.since] as const] : []));
    const key = here.map((entry) => entry.join()).sort().join();
    if (key === this.#coloursOf) return;
    this.#coloursOf = key;
    this.#colours = coloursApart(here);
  }

  readonly #refresh = (): void => {
    for (const [client, state] of this.#awareness.getStates()) {
      if (this.#read.get(client)?.state === state) continue;
      const peer = readPeer(client, state);
      this.#read.set(client, { state, peer, shown: peer });
    }
    for (const client of this.#read.keys()) if (!this.#awareness.getStates().has(client)) this.#read.delete(client);
    this.#paint();
    const peers: Peer[] = [];
    for (const [client, known] of this.#read) {
      if (!known.peer) continue;
      const color = this.#colours.get(known.peer.user.id) ?? known.peer.user.color;
      if (client === this.#awareness.clientID) {
        this.#myColor.value = color;
        continue;
      }
      if (known.shown?.user.color !== color) known.shown = { ...known.peer, user: { ...known.peer.user, color } };
      peers.push(known.shown);
    }
    peers.sort((a, b) => a.client - b.client);
    // My own moves come through here as well; they are no news of others.
    const before = this.#peers.peek();
    if (peers.length !== before.length || peers.some((peer, i) => peer !== before[i])) this.#peers.value = peers;
  };
}

/** Tells whether a list of people would look another way; where their pointers are does not count. */
export const looksOf = (peers: readonly Peer[]): string =>
  JSON.stringify(peers.map((peer) => [peer.client, peer.user.id, peer.user.name, peer.user.color, peer.view, peer.selection]));

/** One entry per person, however many windows they have. */
export function people(peers: readonly Peer[]): Peer[] {
  const seen = new Map<string, Peer>();
  for (const peer of peers) {
    const known = seen.get(peer.user.id);
    if (!known || (known.cursor === null && peer.cursor !== null)) seen.set(peer.user.id, peer);
  }
  return [...seen.values()];
}
