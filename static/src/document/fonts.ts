/** The fonts of this page: fetched when a text asks for them, from the address that carries their hash. */
import { signal } from '@preact/signals';
import harfbuzzAddress from 'harfbuzzjs/dist/harfbuzz.wasm?url';
import { FONTS } from '../generated/schema';
import { fontFile, shapingFont, type FontSource, type ShapingFont } from './shaper';

const RETRY_MS = 4_000;

async function whole(address: string): Promise<ArrayBuffer> {
  const response = await fetch(address);
  if (!response.ok) throw new Error(`${address}: ${response.status}`);
  return response.arrayBuffer();
}

let isProgramHere = false;

/**
 * HarfBuzz. Its module fetches the program while it is evaluated, and a module whose evaluation failed stays failed until the
 * page is loaded again; so the program is brought into the browser's cache first, which may be tried as often as it takes.
 */
async function shaper(): Promise<typeof import('harfbuzzjs')> {
  if (!isProgramHere) await whole(harfbuzzAddress);
  isProgramHere = true;
  return import('harfbuzzjs');
}

export class FontLibrary implements FontSource {
  /** Grows whenever a font has arrived; a layout that waited is made again. */
  readonly arrivals = signal(0);
  /** A font that could not be fetched, said once to whoever shows it. */
  readonly failed = signal<string | null>(null);
  readonly #ready = new Map<string, ShapingFont>();
  readonly #asked = new Map<string, Promise<ShapingFont | null>>();

  get(id: string): ShapingFont | null {
    const font = this.#ready.get(id);
    if (font) return font;
    void this.load(id);
    return null;
  }

  load(id: string): Promise<ShapingFont | null> {
    let asked = this.#asked.get(id);
    if (!asked) {
      asked = this.#fetch(id);
      this.#asked.set(id, asked);
    }
    return asked;
  }

  /** Waits until nothing that was asked for is on its way. */
  async settled(): Promise<void> {
    let count = -1;
    while (count !== this.#asked.size) {
      count = this.#asked.size;
      await Promise.all(this.#asked.values());
    }
  }

  async #fetch(id: string): Promise<ShapingFont | null> {
    const file = fontFile(id);
    if (!file) return null;
    try {
      const [hb, bytes] = await Promise.all([shaper(), whole(file.path)]);
      const font = shapingFont(hb, file, bytes);
      this.#ready.set(id, font);
      this.arrivals.value += 1;
      return font;
    } catch {
      this.failed.value = file.family;
      // Asked again later, by whoever still needs it.
      setTimeout(() => {
        this.#asked.delete(id);
        this.arrivals.value += 1;
      }, RETRY_MS);
      return null;
    }
  }
}

const faces = new Map<string, Promise<void>>();

/** The CSS family under which the browser itself may set a font: for the text field that lies over a text, and for previews of names. */
export const cssFamily = (id: string): string => `luneo-${id}`;

export function loadCssFont(id: string): Promise<void> {
  let asked = faces.get(id);
  if (!asked) {
    const file = FONTS.find((font) => font.id === id);
    if (!file) return Promise.resolve();
    const face = new FontFace(cssFamily(id), `url(${file.path})`);
    asked = face
      .load()
      .then((loaded) => {
        document.fonts.add(loaded);
      })
      .catch(() => {
        faces.delete(id);
      });
    faces.set(id, asked);
  }
  return asked;
}
