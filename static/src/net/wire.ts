/** What travels between the studio and the server. Source: docs/protocol.md, S and T. */

export interface Place {
  readonly epoch: number;
  readonly position: number;
}

/** The second argument of a `sync-update` from the server; both ends inclusive (S4). */
export interface Span {
  readonly epoch: number;
  readonly from: number;
  readonly to: number;
}

export interface UpdateAccepted {
  readonly ok: true;
  readonly position?: number;
}

export interface Failure {
  readonly ok: false;
  readonly code: string;
  readonly message: string;
  readonly retryable: boolean;
}

export type UpdateAnswer = UpdateAccepted | Failure;

export interface Refused {
  readonly code: string;
  readonly message: string;
  readonly elements: readonly string[];
  readonly permanent?: boolean;
}

export interface Message {
  readonly id: string;
  readonly position: number;
  readonly text: string;
  readonly at: number;
  readonly user: { readonly id: string; readonly name: string; readonly color?: string };
  /** Ids of who was called. */
  readonly mentions: readonly string[];
  /** Their names as they were then. */
  readonly called: readonly string[];
}

export interface InboxItem {
  readonly id: string;
  readonly kind: string;
  readonly at: number;
  readonly seen: boolean;
  readonly read: boolean;
  readonly design: string | null;
  readonly title: string;
  readonly text: string;
  readonly from: string;
}

export interface InboxCounts {
  readonly unread: number;
  readonly unseen: number;
}

type Bag = Record<string, unknown>;

const isBag = (value: unknown): value is Bag => typeof value === 'object' && value !== null && !Array.isArray(value);
const text = (value: unknown, otherwise = ''): string => (typeof value === 'string' ? value : otherwise);
const number = (value: unknown, otherwise = 0): number => (typeof value === 'number' && Number.isFinite(value) ? value : otherwise);

/** Binary attachments arrive as ArrayBuffer in a browser and as Buffer in Node. */
export function toBytes(value: unknown): Uint8Array | null {
  if (value instanceof Uint8Array) return value;
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  return null;
}

export function toPlace(value: unknown): Place | null {
  if (!isBag(value) || typeof value.epoch !== 'number' || typeof value.position !== 'number') return null;
  return { epoch: value.epoch, position: value.position };
}

export function toSpan(value: unknown): Span | null {
  if (!isBag(value) || typeof value.epoch !== 'number' || typeof value.from !== 'number' || typeof value.to !== 'number') return null;
  return { epoch: value.epoch, from: value.from, to: value.to };
}

export function toFailure(value: unknown): Failure {
  const bag = isBag(value) ? value : {};
  return {
    ok: false,
    code: text(bag.code, 'unknown'),
    message: text(bag.message, 'The server did not take this.'),
    retryable: bag.retryable === true,
  };
}

/** A stock y-socket.io server never answers a `sync-update`; ours always does (S3). */
export function toUpdateAnswer(value: unknown): UpdateAnswer {
  if (isBag(value) && value.ok === true) return typeof value.position === 'number' ? { ok: true, position: value.position } : { ok: true };
  return toFailure(value);
}

export function toRefused(value: unknown): Refused {
  const bag = isBag(value) ? value : {};
  return {
    code: text(bag.code, 'refused'),
    message: text(bag.message, 'The server did not take a change.'),
    elements: Array.isArray(bag.elements) ? bag.elements.filter((id): id is string => typeof id === 'string') : [],
    ...(typeof bag.permanent === 'boolean' ? { permanent: bag.permanent } : {}),
  };
}

const mentioned = (value: unknown, key: 'id' | 'name'): string[] =>
  (Array.isArray(value) ? value : []).map((entry) => (isBag(entry) ? text(entry[key]) : key === 'id' ? text(entry) : '')).filter((entry) => entry !== '');

export function toMessage(value: unknown): Message | null {
  if (!isBag(value) || typeof value.id !== 'string') return null;
  const user = isBag(value.user) ? value.user : { id: value.user_id, name: value.user_name, color: value.user_color };
  return {
    id: value.id,
    position: number(value.position),
    text: text(value.text),
    at: number(value.at),
    user: { id: text(user.id), name: text(user.name, 'Guest'), ...(typeof user.color === 'string' ? { color: user.color } : {}) },
    mentions: mentioned(value.mentions, 'id'),
    called: mentioned(value.mentions, 'name'),
  };
}

/** An inbox item carries its particulars either beside its id or in `body`; both are read, so that a later kind needs no new client. */
export function toInboxItem(value: unknown): InboxItem | null {
  if (!isBag(value) || (typeof value.id !== 'string' && typeof value.id !== 'number')) return null;
  const body: Bag = isBag(value.body) ? { ...value, ...value.body } : value;
  const from = isBag(body.from) ? text(body.from.name) : isBag(body.user) ? text(body.user.name) : text(body.from, text(body.by));
  return {
    id: String(value.id),
    kind: text(value.kind, 'mention'),
    at: number(value.at),
    seen: typeof value.seen === 'boolean' ? value.seen : typeof value.seen_at === 'number',
    read: typeof value.read === 'boolean' ? value.read : typeof value.read_at === 'number',
    design: typeof body.design === 'string' ? body.design : null,
    title: text(body.title),
    text: text(body.text),
    from,
  };
}

export function toCounts(value: unknown): InboxCounts | null {
  if (!isBag(value)) return null;
  return { unread: number(value.unread), unseen: number(value.unseen, number(value.unread)) };
}
