/** HarfBuzz behind a small face: fonts by id, runs shaped and kept, outlines of glyphs. */
import type * as HarfBuzz from 'harfbuzzjs';
import { FONTS, type FontFile } from '../generated/schema';

export interface ShapedRun {
  readonly glyphs: readonly number[];
  /** Where in the run's text (UTF-16 units) each glyph's cluster begins. */
  readonly clusters: readonly number[];
  /** Font units, y up. */
  readonly advances: readonly number[];
  readonly offsetsX: readonly number[];
  readonly offsetsY: readonly number[];
}

export interface ShapingFont {
  readonly file: FontFile;
  has(codePoint: number): boolean;
  /** One run, left to right; `tracked` switches off what letter spacing would tear apart (C24). */
  shape(text: string, tracked: boolean): ShapedRun;
  /** SVG path of a glyph in font units, y up. */
  glyphPath(glyph: number): string;
}

/** What text layout asks for. A font that is not there yet is null, and asked for again when it has come. */
export interface FontSource {
  get(id: string): ShapingFont | null;
}

/** Shaped runs kept per font; a design repeats its words at every keystroke. */
const KEPT_RUNS = 4_000;

export function shapingFont(hb: typeof HarfBuzz, file: FontFile, bytes: ArrayBuffer | Uint8Array): ShapingFont {
  const font = new hb.Font(new hb.Face(new hb.Blob(bytes), 0));
  font.setScale(file.unitsPerEm, file.unitsPerEm);
  const untied = [new hb.Feature('liga', 0), new hb.Feature('clig', 0)];
  const runs = new Map<string, ShapedRun>();
  const nominal = new Map<number, boolean>();
  const paths = new Map<number, string>();

  const has = (codePoint: number): boolean => {
    let known = nominal.get(codePoint);
    if (known === undefined) {
      known = (font.nominalGlyph(codePoint) ?? 0) !== 0;
      nominal.set(codePoint, known);
    }
    return known;
  };

  const shape = (text: string, tracked: boolean): ShapedRun => {
    const key = (tracked ? '1' : '0') + text;
    const kept = runs.get(key);
    if (kept) return kept;
    const buffer = new hb.Buffer();
    buffer.addText(text);
    buffer.setDirection(hb.Direction.LTR);
    buffer.setLanguage('en');
    buffer.guessSegmentProperties();
    hb.shape(font, buffer, tracked ? untied : []);
    const infos = buffer.getGlyphInfos();
    const positions = buffer.getGlyphPositions();
    const run: ShapedRun = {
      glyphs: infos.map((info) => info.codepoint),
      clusters: infos.map((info) => info.cluster),
      advances: positions.map((position) => position.xAdvance),
      offsetsX: positions.map((position) => position.xOffset),
      offsetsY: positions.map((position) => position.yOffset),
    };
    if (runs.size >= KEPT_RUNS) runs.delete(runs.keys().next().value!);
    runs.set(key, run);
    return run;
  };

  const glyphPath = (glyph: number): string => {
    let path = paths.get(glyph);
    if (path === undefined) {
      path = font.glyphToPath(glyph);
      paths.set(glyph, path);
    }
    return path;
  };

  return { file, has, shape, glyphPath };
}

export const fontFile = (id: string): FontFile | undefined => FONTS.find((font) => font.id === id);
