import { signal, type ReadonlySignal } from '@preact/signals';
import type { Socket } from 'socket.io-client';
import { backoffDelay } from './backoff';
import type { Connection } from './connection';
import { toFailure, toPlace, type Failure, type Place } from './wire';

const ANSWER_TIMEOUT_MS = 12_000;

type Bag = Record<string, unknown>;
export type Answer = ({ readonly ok: true } & Bag) | Failure;

/** One namespace of streams: requests are `noun:verb` and always answered (docs/protocol.md, T). */
export class StreamSocket {
  readonly #socket: Socket;
  readonly #connection: Connection;
  readonly #ready = signal(false);
  #attempt = 0;

  constructor(connection: Connection, namespace: string) {
    this.#connection = connection;
    this.#socket = connection.socket(namespace);
    this.#socket.on('connect', () => {
      this.#attempt = 0;
      this.#ready.value = true;
    });
    this.#socket.on('disconnect', (reason) => {
      this.#ready.value = false;
      if (reason === 'io server disconnect') this.#comeBack();
    });
    this.#socket.on('connect_error', (error) => {
      if (!this.#socket.active && error.message !== 'Unauthorized') this.#comeBack();
    });
    connection.open(this.#socket);
  }

  get ready(): ReadonlySignal<boolean> {
    return this.#ready;
  }

  on(fact: string, heard: (body: Bag) => void): () => void {
    const listener = (body: unknown): void => heard(typeof body === 'object' && body !== null ? (body as Bag) : {});
    this.#socket.on(fact, listener);
    return () => this.#socket.off(fact, listener);
  }

  /** Never rejects: no connection and no answer are failures like any other, and may be tried again. */
  async request(name: string, body: Bag = {}): Promise<Answer> {
    if (!this.#socket.connected) return { ok: false, code: 'offline', message: 'There is no connection just now.', retryable: true };
    try {
      const answer: unknown = await this.#socket.timeout(ANSWER_TIMEOUT_MS).emitWithAck(name, body);
      return (answer as Bag | null)?.ok === true ? (answer as Answer) : toFailure(answer);
    } catch {
      return { ok: false, code: 'no_answer', message: 'The server did not answer in time.', retryable: true };
    }
  }

  #comeBack(): void {
    setTimeout(() => this.#connection.open(this.#socket), backoffDelay(this.#attempt++));
  }
}

export interface Subscription {
  /** `noun:subscribe`, with whatever names the stream. */
  readonly request: string;
  readonly body?: Bag;
  /** The facts of this stream. */
  readonly facts: readonly string[];
  /** Tells this stream's facts from those of its siblings on the same socket. */
  readonly isMine?: (body: Bag) => boolean;
  /** A whole state, when the last place could not be recovered or there was none. */
  readonly onState: (state: Bag, answer: Bag) => void;
  /** One event, in order and once. */
  readonly onEvent: (fact: string, body: Bag) => void;
  readonly onFailure?: (failure: Failure) => void;
}

/**
 * Follows one stream: subscribes with the last place it knows, takes what it missed, drops what it has, and asks again
 * whenever the socket returns or a position was skipped.
 */
export function follow(socket: StreamSocket, subscription: Subscription): () => void {
  let place: Place | null = null;
  let asking = false;
  let stopped = false;
  let attempt = 0;
  let retry: ReturnType<typeof setTimeout> | undefined;
  let early: [fact: string, body: Bag][] = [];

  const take = (fact: string, body: Bag): void => {
    const at = toPlace(body);
    if (at !== null && place !== null) {
      if (at.epoch === place.epoch && at.position <= place.position) return;
      if (at.epoch !== place.epoch || at.position > place.position + 1) {
        void ask();
        return;
      }
      place = at;
    }
    subscription.onEvent(fact, body);
  };

  const ask = async (): Promise<void> => {
    if (asking || stopped || !socket.ready.peek()) return;
    asking = true;
    const answer = await socket.request(subscription.request, { ...subscription.body, ...(place ?? {}) });
    asking = false;
    const heard = early;
    early = [];
    if (stopped) return;
    if (!answer.ok) {
      subscription.onFailure?.(answer);
      if (answer.retryable) retry = setTimeout(() => void ask(), backoffDelay(attempt++));
      return;
    }
    attempt = 0;
    settle(answer);
    for (const [fact, body] of heard) take(fact, body);
  };

  const settle = (answer: Bag): void => {
    if (answer.recovered === true && Array.isArray(answer.events)) {
      for (const event of answer.events as Bag[]) {
        const at = toPlace(event);
        if (at !== null && place !== null && at.epoch === place.epoch && at.position <= place.position) continue;
        if (at !== null) place = at;
        subscription.onEvent(typeof event.event === 'string' ? event.event : (subscription.facts[0] ?? ''), event);
      }
      return;
    }
    place = toPlace(answer);
    subscription.onState((answer.state as Bag | undefined) ?? {}, answer);
  };

  const silence = subscription.facts.map((fact) =>
    socket.on(fact, (body) => {
      if (subscription.isMine && !subscription.isMine(body)) return;
      // What comes while a question is open is judged after its answer: it may be in it, or just after it.
      if (asking) early.push([fact, body]);
      else take(fact, body);
    }),
  );
  const unwatch = socket.ready.subscribe((ready) => {
    if (ready) void ask();
  });
  return () => {
    stopped = true;
    clearTimeout(retry);
    unwatch();
    for (const off of silence) off();
  };
}
