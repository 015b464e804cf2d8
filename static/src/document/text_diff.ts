/** The smallest change from one text to another, as one replacement that never splits a surrogate pair. */
export interface Replacement {
  readonly at: number;
  readonly remove: number;
  readonly insert: string;
}

const isHigh = (text: string, at: number): boolean => at >= 0 && at < text.length && (text.charCodeAt(at) & 0xfc00) === 0xd800;
const isLow = (text: string, at: number): boolean => at >= 0 && at < text.length && (text.charCodeAt(at) & 0xfc00) === 0xdc00;

/** `at` lies inside a pair of `text`. */
const splits = (text: string, at: number): boolean => isHigh(text, at - 1) && isLow(text, at);

/**
 * @param caret where the caret stands in `next`, if known: among equal changes ("aa" to "aaa") it picks the one that was meant.
 * @returns null if the texts are equal. Offsets are UTF-16 units, like those of Y.Text.
 */
export function textDiff(before: string, next: string, caret: number | null = null): Replacement | null {
  if (before === next) return null;
  const shorter = Math.min(before.length, next.length);
  let end = 0;
  const endLimit = caret === null ? shorter : Math.min(shorter, Math.max(0, next.length - caret));
  while (end < endLimit && before[before.length - 1 - end] === next[next.length - 1 - end]) end += 1;
  let start = 0;
  while (start < shorter - end && before[start] === next[start]) start += 1;
  // With a caret the tail was limited to what is after it; what is left may still have a longer common tail.
  while (end < shorter - start && before[before.length - 1 - end] === next[next.length - 1 - end]) end += 1;
  while (start > 0 && (splits(before, start) || splits(next, start))) start -= 1;
  while (end > 0 && (splits(before, before.length - end) || splits(next, next.length - end))) end -= 1;
  return { at: start, remove: before.length - end - start, insert: next.slice(start, next.length - end) };
}

/** Where an offset of the text is after a replacement by somebody else; at the very place of an insertion it stays before it. */
export function shiftOffset(offset: number, change: Replacement): number {
  if (offset <= change.at) return offset;
  if (offset >= change.at + change.remove) return offset + change.insert.length - change.remove;
  return change.at + change.insert.length;
}

/** The nearest offset that does not lie inside a pair. */
export const wholeOffset = (text: string, offset: number): number => (splits(text, offset) ? offset - 1 : offset);
