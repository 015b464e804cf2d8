import { signal, type ReadonlySignal } from '@preact/signals';
import { Manager, type Socket } from 'socket.io-client';
import { backoffDelay } from './backoff';

/** How long an open connection must last before the next loss starts from the shortest delay again. */
const STEADY_AFTER_MS = 5_000;

/**
 * The one Engine.IO connection of this page, shared by all namespaces.
 *
 * socket.io-client brings a lost transport back by itself, but never a namespace that the server closed, and knows nothing of
 * `online` events. Both are decided here, so its own reconnection is switched off.
 */
export class Connection {
  readonly manager: Manager;
  readonly #online = signal(false);
  readonly #retryAt = signal<number | null>(null);
  #attempt = 0;
  #openedAt = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #wanted = false;
  #ended = false;

  constructor(address: string) {
    this.manager = new Manager(address, { transports: ['websocket'], reconnection: false, autoConnect: false, timeout: 10_000 });
    this.manager.on('open', () => {
      this.#openedAt = Date.now();
      this.#online.value = true;
      this.#retryAt.value = null;
    });
    this.manager.on('error', () => this.#lost());
    this.manager.on('close', () => this.#lost());
    if (typeof window !== 'undefined') {
      window.addEventListener('online', this.retryNow);
      window.addEventListener('pageshow', this.retryNow);
      document.addEventListener('visibilitychange', this.#onVisible);
    }
  }

  /** The transport is open; says nothing about any namespace. */
  get online(): ReadonlySignal<boolean> {
    return this.#online;
  }

  get retryAt(): ReadonlySignal<number | null> {
    return this.#retryAt;
  }

  /** A namespace on the shared connection; it connects when `connect()` is called on it, and again whenever the transport returns. */
  socket(namespace: string): Socket {
    return this.manager.socket(namespace);
  }

  open(socket: Socket): void {
    this.#wanted = true;
    socket.connect();
  }

  readonly retryNow = (): void => {
    if (!this.#wanted || this.#ended || this.#online.value) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#retryAt.value = null;
    this.manager.open();
  };

  close(): void {
    this.#ended = true;
    clearTimeout(this.#timer);
    if (typeof window !== 'undefined') {
      window.removeEventListener('online', this.retryNow);
      window.removeEventListener('pageshow', this.retryNow);
      document.removeEventListener('visibilitychange', this.#onVisible);
    }
    this.manager.engine?.close();
  }

  readonly #onVisible = (): void => {
    if (document.visibilityState === 'visible') this.retryNow();
  };

  #lost(): void {
    if (this.#online.value && Date.now() - this.#openedAt > STEADY_AFTER_MS) this.#attempt = 0;
    this.#online.value = false;
    if (this.#ended || !this.#wanted || this.#timer !== undefined) return;
    const delay = backoffDelay(this.#attempt++);
    this.#retryAt.value = Date.now() + delay;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.manager.open();
    }, delay);
  }
}

let shared: Connection | null = null;

/** The connection of this page. Tests and tools make their own. */
export function pageConnection(): Connection {
  shared ??= new Connection(window.location.origin);
  return shared;
}
