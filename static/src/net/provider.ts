import { computed, signal, type ReadonlySignal } from '@preact/signals';
import type { Socket } from 'socket.io-client';
import { Awareness, applyAwarenessUpdate, encodeAwarenessUpdate, removeAwarenessStates } from 'y-protocols/awareness';
import * as Y from 'yjs';
import { backoffDelay } from './backoff';
import type { Connection } from './connection';
import { Outgoing } from './outgoing';
import { Positions } from './positions';
import { saveState, type SaveState } from './save_state';
import { toBytes, toPlace, toRefused, toSpan, toUpdateAnswer, type Refused } from './wire';

/** Keystrokes of one moment travel as one update. */
export const FLUSH_DELAY_MS = 25;
/** Cursor and drag states are sent at most this often. */
export const PRESENCE_INTERVAL_MS = 40;
/** An acknowledgement that takes longer is taken for lost, with its connection. */
export const ACKNOWLEDGE_TIMEOUT_MS = 20_000;
/** How long rows that follow the first answer may take before they are asked for. */
export const ARRIVAL_MS = 500;

/** New content is always new to the room; a mere deletion may not be. */
const bringsStructs = (update: Uint8Array): boolean => Y.decodeUpdate(update).structs.length > 0;

export interface ProviderOptions {
  readonly connection: Connection;
  readonly design: string;
  readonly doc: Y.Doc;
  readonly awareness?: Awareness;
  /**
   * Something of this tab was not taken for good. What this document does from now on builds on it, so it cannot be mended
   * (a state vector does not show the hole): the caller takes a fresh document and a fresh provider.
   */
  readonly onRefused?: (why: Refused) => void;
  /** Something was taken and put right by the server, or a notice that needs no new document. */
  readonly onNotice?: (why: Refused) => void;
}

/**
 * Keeps one Y.Doc and its awareness in step with the server over the y-socket.io protocol (docs/protocol.md, S).
 *
 * Beyond the stock client it resumes from a log position, keeps every change until the server says that it is durable, sends
 * it again after a loss, and comes back when the server closed the namespace for a passing reason.
 */
export class DocumentProvider {
  readonly doc: Y.Doc;
  readonly awareness: Awareness;
  readonly state: ReadonlySignal<SaveState>;
  /** True once a whole state of the document has arrived. */
  readonly opened: ReadonlySignal<boolean>;

  readonly #connection: Connection;
  readonly #socket: Socket;
  readonly #options: ProviderOptions;
  readonly #outgoing = new Outgoing();
  readonly #positions = new Positions();
  readonly #live = signal(false);
  readonly #opened = signal(false);
  readonly #unsaved = signal(0);
  readonly #refused = signal<Refused | null>(null);
  readonly #retryAt = signal<number | null>(null);

  #flushTimer: ReturnType<typeof setTimeout> | undefined;
  #presenceTimer: ReturnType<typeof setTimeout> | undefined;
  #returnTimer: ReturnType<typeof setTimeout> | undefined;
  #presenceSentAt = 0;
  #attempt = 0;
  #session = 0;
  #destroyed = false;
  #lastRefusal: Refused | null = null;
  #isAnswered = false;
  /** What the server said it has, at its last question. */
  #goal: Uint8Array | null = null;
  #arrivalTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: ProviderOptions) {
    this.#options = options;
    this.#connection = options.connection;
    this.doc = options.doc;
    this.awareness = options.awareness ?? new Awareness(options.doc);
    this.opened = this.#opened;
    this.state = computed(() =>
      saveState({
        live: this.#live.value,
        opened: this.#opened.value,
        unsaved: this.#unsaved.value,
        retryAt: this.#retryAt.value ?? this.#connection.retryAt.value,
        refused: this.#refused.value,
      }),
    );
    this.#socket = this.#connection.socket(`/yjs|${options.design}`);
    this.#socket.on('connect', this.#onConnect);
    this.#socket.on('disconnect', this.#onDisconnect);
    this.#socket.on('connect_error', this.#onConnectError);
    this.#socket.on('sync-step-1', this.#onStep1);
    this.#socket.on('sync-update', this.#onUpdate);
    this.#socket.on('awareness-update', this.#onAwareness);
    this.#socket.on('refused', this.#onRefused);
    this.doc.on('update', this.#onLocalUpdate);
    this.awareness.on('update', this.#onLocalAwareness);
    if (typeof window !== 'undefined') {
      window.addEventListener('pagehide', this.#onPageHide);
      window.addEventListener('pageshow', this.#onPageShow);
      window.addEventListener('beforeunload', this.#onBeforeUnload);
    }
    this.#connection.open(this.#socket);
  }

  /** The number of changes that the server has not yet called durable. */
  get unsaved(): number {
    return this.#outgoing.unsaved;
  }

  /** Sends at once what is waiting for its flush delay. */
  flush(): void {
    clearTimeout(this.#flushTimer);
    this.#flushTimer = undefined;
    this.#send();
  }

  destroy(): void {
    if (this.#destroyed) return;
    this.#sayGoodbye();
    this.#destroyed = true;
    clearTimeout(this.#flushTimer);
    clearTimeout(this.#presenceTimer);
    clearTimeout(this.#returnTimer);
    clearTimeout(this.#arrivalTimer);
    this.doc.off('update', this.#onLocalUpdate);
    this.awareness.off('update', this.#onLocalAwareness);
    if (typeof window !== 'undefined') {
      window.removeEventListener('pagehide', this.#onPageHide);
      window.removeEventListener('pageshow', this.#onPageShow);
      window.removeEventListener('beforeunload', this.#onBeforeUnload);
    }
    this.#socket.off();
    this.#socket.disconnect();
    this.#live.value = false;
  }

  readonly #onConnect = (): void => {
    this.#session += 1;
    this.#retryAt.value = null;
    this.#isAnswered = false;
    this.#goal = null;
    const session = this.#session;
    const place = this.#positions.hasHoles ? null : this.#positions.place;
    const answer = (update: unknown, at: unknown): void => {
      if (session !== this.#session || this.#destroyed) return;
      const bytes = toBytes(update);
      if (bytes !== null && bytes.byteLength > 0) Y.applyUpdate(this.doc, bytes, this);
      const head = toPlace(at);
      if (head !== null) this.#positions.reset(head);
      this.#isAnswered = true;
      this.#arrive();
    };
    const vector = Y.encodeStateVector(this.doc);
    if (place === null) this.#socket.emit('sync-step-1', vector, answer);
    else this.#socket.emit('sync-step-1', vector, place, answer);
    this.#sendPresence();
  };

  /** The server wants what it has not; after a loss this also finds whatever an acknowledgement did not cover. */
  readonly #onStep1 = (vector: unknown, answer: unknown): void => {
    const bytes = toBytes(vector);
    if (bytes === null || typeof answer !== 'function') return;
    answer(Y.encodeStateAsUpdate(this.doc, bytes));
    this.#goal = bytes;
    if (!this.#live.value) this.#arrive();
    else if (!this.#covers(bytes)) this.#resync();
  };

  /** Whether this document has everything that a state vector names. */
  #covers(vector: Uint8Array): boolean {
    const ours = Y.decodeStateVector(Y.encodeStateVector(this.doc));
    return [...Y.decodeStateVector(vector)].every(([client, clock]) => clock <= (ours.get(client) ?? 0));
  }

  /**
   * The answer to step 1 may be of an older position, with the rows after it in the same write (S1): the document is here
   * when it covers what the server says it has. What does not come by itself was missed, and is asked for.
   */
  #arrive(): void {
    if (this.#live.value || !this.#isAnswered) return;
    if (this.#goal !== null && this.#covers(this.#goal)) {
      this.#becomeLive();
      return;
    }
    this.#arrivalTimer ??= setTimeout(() => {
      this.#arrivalTimer = undefined;
      if (this.#live.value || !this.#socket.connected || !this.#isAnswered) return;
      if (this.#goal === null || this.#covers(this.#goal)) this.#becomeLive();
      else this.#resync(() => this.#becomeLive());
    }, ARRIVAL_MS);
  }

  #becomeLive(): void {
    clearTimeout(this.#arrivalTimer);
    this.#arrivalTimer = undefined;
    this.#attempt = 0;
    this.#opened.value = true;
    this.#live.value = true;
    this.#send();
  }

  #resync(done?: () => void): void {
    const session = this.#session;
    this.#socket.emit('sync-step-1', Y.encodeStateVector(this.doc), (update: unknown, at: unknown) => {
      if (session !== this.#session || this.#destroyed) return;
      const bytes = toBytes(update);
      if (bytes !== null) Y.applyUpdate(this.doc, bytes, this);
      const head = toPlace(at);
      if (head !== null) this.#positions.reset(head);
      done?.();
    });
  }

  readonly #onUpdate = (update: unknown, meta: unknown): void => {
    const bytes = toBytes(update);
    if (bytes === null) return;
    Y.applyUpdate(this.doc, bytes, this);
    this.#arrive();
    const span = toSpan(meta);
    if (span === null) return;
    const place = this.#positions.place;
    if (place !== null && span.epoch !== place.epoch) {
      this.#positions.forget();
      this.#resync();
    } else this.#positions.add(span.from, span.to, span.epoch);
  };

  readonly #onAwareness = (update: unknown): void => {
    const bytes = toBytes(update);
    if (bytes !== null) applyAwarenessUpdate(this.awareness, bytes, this);
  };

  readonly #onLocalUpdate = (update: Uint8Array, origin: unknown): void => {
    if (origin === this) return;
    this.#outgoing.push(update);
    this.#unsaved.value = this.#outgoing.unsaved;
    this.#flushTimer ??= setTimeout(() => this.flush(), FLUSH_DELAY_MS);
  };

  #send(): void {
    if (!this.#live.value || this.#destroyed) return;
    const session = this.#session;
    for (const batch of this.#outgoing.take()) {
      const fresh = batch.sends === 1;
      this.#socket.timeout(ACKNOWLEDGE_TIMEOUT_MS).emit('sync-update', batch.update, (lost: Error | null, raw: unknown) => {
        if (session !== this.#session || this.#destroyed) return;
        if (lost !== null) return this.#restart();
        const answer = toUpdateAnswer(raw);
        if (answer.ok) {
          this.#outgoing.acknowledge(batch.number);
          // What brings nothing new is acknowledged with the head's position, not its own (D5): sent before, or a deletion that another was faster with.
          if (fresh && answer.position !== undefined && bringsStructs(batch.update)) this.#positions.add(answer.position, answer.position);
          this.#unsaved.value = this.#outgoing.unsaved;
          this.#send();
        } else if (answer.retryable) this.#restart();
        else this.#giveUp(this.#lastRefusal ?? { code: answer.code, message: answer.message, elements: [] });
      });
    }
    this.#unsaved.value = this.#outgoing.unsaved;
  }

  /** Leave and come back after a while: the one cure for a lost acknowledgement and for "not now". */
  #restart(): void {
    this.#socket.disconnect();
    this.#scheduleReturn();
  }

  readonly #onDisconnect = (reason: string): void => {
    this.#session += 1;
    this.#live.value = false;
    this.#outgoing.requeue();
    this.#unsaved.value = this.#outgoing.unsaved;
    const others = [...this.awareness.getStates().keys()].filter((client) => client !== this.doc.clientID);
    removeAwarenessStates(this.awareness, others, this);
    if (reason !== 'io server disconnect') return;
    if (this.#lastRefusal !== null) this.#giveUp(this.#lastRefusal);
    else this.#scheduleReturn();
  };

  /** A refusal at the door is permanent; a transport that did not open is the connection's to repeat. */
  readonly #onConnectError = (error: Error): void => {
    if (this.#socket.active) return;
    if (error.message === 'Unauthorized') {
      this.#refused.value = { code: 'unauthorized', message: 'You may not open this design, or it no longer exists.', elements: [] };
    } else this.#scheduleReturn();
  };

  #scheduleReturn(): void {
    if (this.#destroyed || this.#returnTimer !== undefined) return;
    const delay = backoffDelay(this.#attempt++);
    this.#retryAt.value = Date.now() + delay;
    this.#returnTimer = setTimeout(() => {
      this.#returnTimer = undefined;
      if (!this.#destroyed) this.#connection.open(this.#socket);
    }, delay);
  }

  readonly #onRefused = (raw: unknown): void => {
    const why = toRefused(raw);
    if (why.permanent !== false) this.#lastRefusal = why;
    this.#options.onNotice?.(why);
    // Taken and put right, or a viewer's change: its acknowledgement decides. A later cut for another reason must not look like this one.
    setTimeout(() => {
      if (this.#lastRefusal === why) this.#lastRefusal = null;
    }, 2_000);
  };

  #giveUp(why: Refused): void {
    if (this.#refused.value !== null) return;
    this.#refused.value = why;
    this.#options.onRefused?.(why);
  }

  readonly #onLocalAwareness = ({ removed }: { removed: number[] }, origin: unknown): void => {
    if (this.#destroyed) return;
    // Of our own state the server says that it was taken away when it has to be said again at a higher clock (RULE P7).
    if (origin === this && !removed.includes(this.doc.clientID)) return;
    if (this.#presenceTimer !== undefined) return;
    const wait = Math.max(0, this.#presenceSentAt + PRESENCE_INTERVAL_MS - Date.now());
    if (wait === 0) this.#sendPresence();
    else {
      this.#presenceTimer = setTimeout(() => {
        this.#presenceTimer = undefined;
        this.#sendPresence();
      }, wait);
    }
  };

  #sendPresence(): void {
    if (!this.#socket.connected || !this.awareness.meta.has(this.doc.clientID)) return;
    this.#presenceSentAt = Date.now();
    this.#socket.emit('awareness-update', encodeAwarenessUpdate(this.awareness, [this.doc.clientID]));
  }

  #sayGoodbye(): void {
    this.flush();
    if (this.awareness.getLocalState() === null) return;
    removeAwarenessStates(this.awareness, [this.doc.clientID], 'pagehide');
    clearTimeout(this.#presenceTimer);
    this.#presenceTimer = undefined;
    this.#sendPresence();
  }

  #restoredState: Record<string, unknown> | null = null;

  readonly #onPageHide = (): void => {
    this.#restoredState = this.awareness.getLocalState();
    this.#sayGoodbye();
  };

  /** A page that comes back from the browser's cache is the same tab: it is there again. */
  readonly #onPageShow = (event: PageTransitionEvent): void => {
    if (event.persisted && this.#restoredState !== null) this.awareness.setLocalState(this.#restoredState);
  };

  readonly #onBeforeUnload = (event: BeforeUnloadEvent): void => {
    this.flush();
    if (this.#outgoing.unsaved > 0 && this.#refused.value === null) event.preventDefault();
  };
}
