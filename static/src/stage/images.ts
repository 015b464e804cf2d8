/** Pictures by the hash of their bytes: fetched once, decoded off the main path, kept while the page lives. */
import { signal } from '@preact/signals';
import { assetAddress } from '../net/api';

const RETRY_MS = 3_000;
const ATTEMPTS = 8;

type Entry = { readonly kind: 'here'; readonly picture: ImageBitmap | HTMLImageElement; readonly width: number; readonly height: number } | { readonly kind: 'coming' } | { readonly kind: 'absent' };

export class ImageLibrary {
  /** Grows whenever a picture has arrived. */
  readonly arrivals = signal(0);
  readonly #entries = new Map<string, Entry>();
  readonly #asked = new Map<string, Promise<void>>();

  get(sha256: string): Entry {
    const entry = this.#entries.get(sha256);
    if (entry) return entry;
    const coming: Entry = { kind: 'coming' };
    this.#entries.set(sha256, coming);
    this.#asked.set(sha256, this.#load(sha256, 0));
    return coming;
  }

  async settled(): Promise<void> {
    await Promise.all(this.#asked.values());
  }

  async #load(sha256: string, attempt: number): Promise<void> {
    const picture = new Image();
    picture.decoding = 'async';
    picture.src = assetAddress(sha256);
    try {
      await picture.decode();
      this.#entries.set(sha256, { kind: 'here', picture, width: picture.naturalWidth, height: picture.naturalHeight });
    } catch {
      this.#entries.set(sha256, { kind: 'absent' });
      // Its bytes may still be on their way to the server, from the person who placed it.
      if (attempt < ATTEMPTS) setTimeout(() => void this.#load(sha256, attempt + 1), RETRY_MS * (attempt + 1));
    }
    this.arrivals.value += 1;
  }
}
