import { mergeUpdates } from 'yjs';

/** Several changes may be on their way at once; what is typed meanwhile is merged into the next one. */
export const MAX_IN_FLIGHT = 8;
/** A merged update stops growing here, far below the server's limit for one update. */
export const MERGE_LIMIT_BYTES = 48 * 1024;

export interface Batch {
  readonly number: number;
  readonly update: Uint8Array;
  /** How often it has been handed to a connection. */
  sends: number;
}

/**
 * What this tab has changed and the server has not yet said to be durable, in the order in which it was made.
 *
 * A batch leaves only when it was acknowledged. After a connection was lost everything left is sent again, with the same
 * bytes and in the same order; updates are idempotent, so a change that was logged before the loss is simply acknowledged.
 */
export class Outgoing {
  #next = 1;
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #unsent: Batch[] = [];
  #flying = new Map<number, Batch>();

  push(update: Uint8Array): void {
    if (this.#waitingBytes > 0 && this.#waitingBytes + update.byteLength > MERGE_LIMIT_BYTES) this.#seal();
    this.#waiting.push(update);
    this.#waitingBytes += update.byteLength;
  }

  /** The batches that may be sent now; they count as in flight from here on. */
  take(): Batch[] {
    const ready: Batch[] = [];
    while (this.#flying.size < MAX_IN_FLIGHT) {
      if (this.#unsent.length === 0) this.#seal();
      const batch = this.#unsent.shift();
      if (batch === undefined) break;
      batch.sends += 1;
      this.#flying.set(batch.number, batch);
      ready.push(batch);
    }
    return ready;
  }

  /** The batch is durable. An acknowledgement that comes twice, or late, changes nothing. */
  acknowledge(number: number): Batch | null {
    const batch = this.#flying.get(number) ?? null;
    this.#flying.delete(number);
    return batch;
  }

  /** The connection is gone: everything in flight waits again, before what was made later. */
  requeue(): void {
    const back = [...this.#flying.values()].sort((a, b) => a.number - b.number);
    this.#flying.clear();
    this.#unsent = [...back, ...this.#unsent].sort((a, b) => a.number - b.number);
  }

  clear(): void {
    this.#waiting = [];
    this.#waitingBytes = 0;
    this.#unsent = [];
    this.#flying.clear();
  }

  /** Changes that are not durable: batches under way or waiting, and what is not yet in a batch. */
  get unsaved(): number {
    return this.#flying.size + this.#unsent.length + this.#waiting.length;
  }

  get inFlight(): number {
    return this.#flying.size;
  }

  #seal(): void {
    if (this.#waiting.length === 0) return;
    const update = this.#waiting.length === 1 ? this.#waiting[0]! : mergeUpdates(this.#waiting);
    this.#unsent.push({ number: this.#next++, update, sends: 0 });
    this.#waiting = [];
    this.#waitingBytes = 0;
  }
}
