import type { Place } from './wire';

/**
 * Which rows of a document's log this tab has seen.
 *
 * A tick with one sender is not sent back to it (S7), so its rows are known from their acknowledgements, other people's from
 * their spans, and both may come in any order. Only a prefix without holes may be claimed when resuming (S5): the server then
 * sends what comes after it and nothing else.
 */
export class Positions {
  #epoch = 0;
  #head = 0;
  #beyond: [from: number, to: number][] = [];

  /** The place to resume from, or null before the first whole state. */
  get place(): Place | null {
    return this.#epoch === 0 ? null : { epoch: this.#epoch, position: this.#head };
  }

  /** Rows are known beyond a hole, so the server's answer to a resume would be longer than a difference. */
  get hasHoles(): boolean {
    return this.#beyond.length > 0;
  }

  /** Everything up to `place` is here. */
  reset(place: Place): void {
    this.#epoch = place.epoch;
    this.#head = place.position;
    this.#beyond = [];
  }

  forget(): void {
    this.#epoch = 0;
    this.#head = 0;
    this.#beyond = [];
  }

  /** Rows `from` to `to`, both inclusive, are here. Rows of another epoch say nothing about this one. */
  add(from: number, to: number, epoch: number = this.#epoch): void {
    if (this.#epoch === 0 || epoch !== this.#epoch || to < from || to <= this.#head) return;
    this.#beyond.push([from, to]);
    this.#beyond.sort((a, b) => a[0] - b[0]);
    while (this.#beyond.length > 0 && this.#beyond[0]![0] <= this.#head + 1) {
      const [, end] = this.#beyond.shift()!;
      this.#head = Math.max(this.#head, end);
    }
  }
}
