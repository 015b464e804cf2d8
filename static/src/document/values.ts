/** How values of a document become the integers of a Scene. Source: docs/protocol.md, C1 to C3 and C13. */
import { SCHEMA } from '../generated/schema';

/** Half goes up, in both languages (C1). */
export const round = (x: number): number => Math.floor(x + 0.5);

/** Integer division, rounded; `d` > 0. All operands stay far below 2^53, so the double division is exact enough (C1). */
export const rdiv = (n: number, d: number): number => Math.floor((2 * n + d) / (2 * d));

/** Millimetres to micrometres. */
export const um = (mm: number): number => round(mm * 1000);

/** To 1/65536. */
export const fixed = (x: number): number => round(x * 65536);

/** The number that a value is, or null; booleans and strings are none (C2). */
export function asNumber(value: unknown): number | null {
  if (typeof value === 'bigint') return Number(value);
  return typeof value === 'number' && Number.isFinite(value) ? value : null;
}

export const clamp = (x: number, range: readonly [number, number]): number => Math.min(range[1], Math.max(range[0], x));

export function numberOr(value: unknown, otherwise: number, range: readonly [number, number]): number {
  const known = asNumber(value);
  return known === null ? otherwise : clamp(known, range);
}

const COLOR = new RegExp(`^(?:${SCHEMA.patterns.color})$`);

/** `#rrggbbaa` in lower case, or `none` (C3). */
export function color(value: unknown, otherwise: string): string {
  if (value === 'none') return 'none';
  if (typeof value !== 'string' || !COLOR.test(value)) return otherwise === 'none' ? 'none' : color(otherwise, '#000000');
  const lower = value.toLowerCase();
  return lower.length === 7 ? `${lower}ff` : lower;
}

/** Sine of thousandths of a degree, 0 to below 360000, in 1/65536 (C13). */
export const sine = (d: number): number => round(Math.sin((d * Math.PI) / 180_000) * 65536);
export const cosine = (d: number): number => round(Math.cos((d * Math.PI) / 180_000) * 65536);

export const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array);
