/** Lines, runs and carets of one text layer. Source: docs/protocol.md, C23 to C26. */
import { FALLBACK_FONTS, SCHEMA, type Align } from '../generated/schema';
import { fontFile, type FontSource, type ShapingFont } from './shaper';
import { isObject, numberOr, rdiv, round, um } from './values';

const { defaults, ranges, limits, enums } = SCHEMA;

export interface TextStyle {
  readonly font: string;
  /** Em in micrometres. */
  readonly size: number;
  /** Line height in thousandths of the size. */
  readonly leading: number;
  /** Letter spacing in thousandths of an em. */
  readonly tracking: number;
  readonly align: Align;
}

export interface GlyphRun {
  readonly f: string;
  readonly s: number;
  readonly x: number;
  readonly y: number;
  readonly g: readonly number[];
  readonly p: readonly number[];
}

/** Where a caret may stand, in micrometres of the layer's frame. */
export interface CaretStop {
  /** UTF-16 offset in the clean text. */
  readonly at: number;
  readonly x: number;
}

export interface TextLine {
  readonly top: number;
  readonly height: number;
  readonly stops: readonly CaretStop[];
}

export interface TextLayout {
  readonly runs: readonly GlyphRun[];
  readonly box: readonly [number, number, number, number];
  /** Code points that no font has, ascending. */
  readonly missing: readonly number[];
  readonly lines: readonly TextLine[];
  /** Fonts that were needed and not there; the layout is of what was. */
  readonly waiting: readonly string[];
}

const REMOVED =
  // eslint-disable-next-line no-control-regex
  /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff0-\ufffb\u{1bca0}-\u{1bca3}\u{e0000}-\u{e0fff}]/gu;

/** The text that is set (C23). */
export function cleanText(text: string): string {
  const whole = text.replace(/\p{Surrogate}/gu, '\ufffd').normalize('NFC');
  const short = whole.length <= limits.textLength ? whole : [...whole].slice(0, limits.textLength).join('');
  return short
    .replace(/\r\n|\r|\u2028|\u2029/g, '\n')
    .replaceAll('\t', ' ')
    .replace(REMOVED, '');
}

export function readStyle(value: unknown): TextStyle {
  const style = isObject(value) ? value : {};
  return {
    font: typeof style.font === 'string' && fontFile(style.font) ? style.font : defaults.font,
    size: um(numberOr(style.size, defaults.size, ranges.size)),
    leading: round(numberOr(style.lead, defaults.leading, ranges.leading) * 1000),
    tracking: round(numberOr(style.track, defaults.tracking, ranges.tracking)),
    align: (enums.aligns as readonly unknown[]).includes(style.align) ? (style.align as Align) : defaults.align,
  };
}

interface Piece {
  readonly font: ShapingFont;
  readonly text: string;
  /** Offset of each UTF-16 unit of `text` in the clean text. */
  readonly offsets: readonly number[];
  readonly width: number;
  readonly glyphs: readonly number[];
  readonly places: readonly number[];
  /** Pen before each glyph in font units, and its cluster. */
  readonly pens: readonly number[];
  readonly clusters: readonly number[];
}

interface Chunk {
  readonly isGap: boolean;
  readonly start: number;
  readonly end: number;
  readonly pieces: readonly Piece[];
  readonly width: number;
}

const EMPTY: TextLayout = { runs: [], box: [0, 0, 0, 0], missing: [], lines: [], waiting: [] };

/**
 * @param clean the text after `cleanText`.
 * @param width W of the layer in micrometres; 0 is a text that is as wide as it is.
 */
export function layoutText(clean: string, style: TextStyle, width: number, fonts: FontSource): TextLayout {
  const main = fonts.get(style.font);
  if (main === null) return { ...EMPTY, waiting: [style.font] };
  const missing = new Set<number>();
  const waiting = new Set<string>();
  const tracked = style.tracking !== 0;

  const shape = (font: ShapingFont, text: string, offsets: readonly number[]): Piece => {
    const { unitsPerEm } = font.file;
    const extra = rdiv(style.tracking * unitsPerEm, 1000);
    const run = font.shape(text, tracked);
    const places: number[] = [];
    const pens: number[] = [];
    let pen = 0;
    run.glyphs.forEach((_, i) => {
      pens.push(pen);
      places.push(pen + run.offsetsX[i]!, run.offsetsY[i]!);
      const advance = run.advances[i]!;
      pen += advance === 0 ? 0 : advance + extra;
    });
    pens.push(pen);
    return { font, text, offsets, width: rdiv(pen * style.size, unitsPerEm), glyphs: run.glyphs, places, pens, clusters: run.clusters };
  };

  const fontFor = (codePoint: number): ShapingFont | null => {
    if (main.has(codePoint)) return main;
    for (const id of FALLBACK_FONTS) {
      const font = fonts.get(id);
      if (font === null) {
        waiting.add(id);
        return null;
      }
      if (font.has(codePoint)) return font;
    }
    missing.add(codePoint);
    return null;
  };

  const word = (start: number, end: number): Chunk => {
    const pieces: Piece[] = [];
    let font: ShapingFont | null = null;
    let text = '';
    let offsets: number[] = [];
    const seal = (): void => {
      if (font !== null && text !== '') pieces.push(shape(font, text, offsets));
      text = '';
      offsets = [];
    };
    for (let at = start; at < end; ) {
      const codePoint = clean.codePointAt(at)!;
      const length = codePoint > 0xffff ? 2 : 1;
      const owner = fontFor(codePoint);
      if (owner !== null) {
        if (owner !== font) seal();
        font = owner;
        text += clean.slice(at, at + length);
        for (let unit = 0; unit < length; unit += 1) offsets.push(at + unit);
      }
      at += length;
    }
    seal();
    return { isGap: false, start, end, pieces, width: pieces.reduce((sum, piece) => sum + piece.width, 0) };
  };

  const gap = (start: number, end: number): Chunk => {
    const offsets = Array.from({ length: end - start }, (_, i) => start + i);
    const piece = shape(main, clean.slice(start, end), offsets);
    return { isGap: true, start, end, pieces: [piece], width: piece.width };
  };

  const lines: { chunks: Chunk[]; start: number; end: number }[] = [];
  for (let start = 0; start <= clean.length; ) {
    const found = clean.indexOf('\n', start);
    const end = found === -1 ? clean.length : found;
    let line = { chunks: [] as Chunk[], start, end };
    let used = 0;
    let hasWord = false;
    for (let at = start; at < end; ) {
      const isGap = clean[at] === ' ';
      let stop = at + 1;
      while (stop < end && (clean[stop] === ' ') === isGap) stop += 1;
      const chunk = isGap ? gap(at, stop) : word(at, stop);
      if (!isGap && width > 0 && hasWord && used + chunk.width > width) {
        lines.push({ ...line, end: at });
        line = { chunks: [], start: at, end };
        used = 0;
        hasWord = false;
      }
      line.chunks.push(chunk);
      used += chunk.width;
      hasWord ||= !isGap;
      at = stop;
    }
    lines.push(line);
    start = end + 1;
  }

  const { unitsPerEm, ascender, descender } = main.file;
  const height = rdiv(style.size * style.leading, 1000);
  const above = rdiv(ascender * style.size, unitsPerEm);
  const below = rdiv(-descender * style.size, unitsPerEm);
  const baseline = Math.floor((height - above - below) / 2) + above;

  const runs: GlyphRun[] = [];
  const set: TextLine[] = [];
  let left = Number.POSITIVE_INFINITY;
  let right = Number.NEGATIVE_INFINITY;
  lines.forEach((line, number) => {
    const kept = [...line.chunks];
    const dropped: Chunk[] = [];
    while (kept.at(-1)?.isGap) dropped.unshift(kept.pop()!);
    const used = kept.reduce((sum, chunk) => sum + chunk.width, 0);
    const begin = style.align === 'left' ? 0 : style.align === 'center' ? Math.floor((width - used) / 2) : width - used;
    left = Math.min(left, begin);
    right = Math.max(right, begin + used);
    const y = number * height + baseline;
    const stops: CaretStop[] = [];
    let x = begin;
    for (const chunk of kept) {
      for (const piece of chunk.pieces) {
        if (!chunk.isGap && piece.glyphs.length > 0) runs.push({ f: piece.font.file.id, s: style.size, x, y, g: piece.glyphs, p: piece.places });
        addStops(stops, piece, x, style.size);
        x += piece.width;
      }
    }
    // Spaces at a line's end are not set, but a caret may stand among them.
    for (const chunk of dropped) {
      for (const piece of chunk.pieces) {
        addStops(stops, piece, x, style.size);
        x += piece.width;
      }
    }
    if (stops.at(-1)?.at !== line.end) stops.push({ at: line.end, x });
    set.push({ top: number * height, height, stops });
  });
  if (width > 0) {
    left = Math.min(left, 0);
    right = Math.max(right, width);
  }
  return {
    runs,
    box: [left, 0, right - left, lines.length * height],
    missing: [...missing].sort((a, b) => a - b),
    lines: set,
    waiting: [...waiting],
  };
}

/** A stop before each cluster; inside a ligature the stops share its width. */
function addStops(stops: CaretStop[], piece: Piece, x: number, size: number): void {
  const { unitsPerEm } = piece.font.file;
  const { clusters, pens, text, offsets } = piece;
  for (let i = 0; i < clusters.length; ) {
    let next = i + 1;
    while (next < clusters.length && clusters[next] === clusters[i]) next += 1;
    const from = clusters[i]!;
    const to = next < clusters.length ? clusters[next]! : text.length;
    const units = [...text.slice(from, to)];
    let offset = from;
    units.forEach((unit, part) => {
      const pen = pens[i]! + ((pens[next]! - pens[i]!) * part) / units.length;
      stops.push({ at: offsets[offset]!, x: x + (pen * size) / unitsPerEm });
      offset += unit.length;
    });
    i = next;
  }
}

/** Where a caret at `offset` stands: line number and x in micrometres. */
export function caretAt(layout: TextLayout, offset: number): { line: number; x: number } {
  let best = { line: 0, x: 0 };
  for (let line = 0; line < layout.lines.length; line += 1) {
    for (const stop of layout.lines[line]!.stops) {
      if (stop.at > offset) break;
      best = { line, x: stop.x };
    }
  }
  return best;
}

/** The offset nearest to a point of the layer's frame (micrometres). */
export function offsetAt(layout: TextLayout, x: number, y: number): number {
  const line = layout.lines.find((candidate) => y < candidate.top + candidate.height) ?? layout.lines.at(-1);
  if (!line) return 0;
  let best = line.stops[0] ?? { at: 0, x: 0 };
  for (const stop of line.stops) if (Math.abs(stop.x - x) < Math.abs(best.x - x)) best = stop;
  return best.at;
}
