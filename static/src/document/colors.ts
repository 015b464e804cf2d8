/** Colours by which people in one room are told apart, the same on every screen. */
export const PEOPLE_COLORS = ['#e5484d', '#d6409f', '#8e4ec6', '#5b5bd6', '#0090ff', '#00a2c7', '#12a594', '#30a46c', '#d97706', '#c2410c'] as const;

/** Closer than this (of 441, in RGB) two colours are one to somebody who glances at a pointer. */
const ALIKE = 60;

/** A colour for somebody of whom none is known, always the same one. */
export function colorOf(id: string): string {
  let sum = 0;
  for (const character of id) sum = (sum * 31 + character.codePointAt(0)!) >>> 0;
  return PEOPLE_COLORS[sum % PEOPLE_COLORS.length]!;
}

const channels = (color: string): number[] => [1, 3, 5].map((at) => Number.parseInt(color.slice(at, at + 2), 16));

function distance(one: string, other: string): number {
  const [a, b] = [channels(one), channels(other)];
  return Math.hypot(...a.map((value, i) => value - b[i]!));
}

const nearest = (color: string, taken: readonly string[]): number => Math.min(Number.POSITIVE_INFINITY, ...taken.map((other) => distance(color, other)));

/**
 * What colour each person is shown in. Whoever has been here longest keeps their own; who has one like it gets that colour of
 * the palette which is least like all that are taken. It depends on what everybody says of themselves only, so all screens agree.
 *
 * @param people id, own colour (`#rrggbb`) and since when they are here, in any order, the same person any number of times.
 */
export function coloursApart(people: Iterable<readonly [id: string, color: string, since: number]>): ReadonlyMap<string, string> {
  const own = new Map<string, string>();
  // Of somebody's windows the oldest counts, with its colour.
  for (const [id, color] of [...people].sort((a, b) => a[2] - b[2] || (a.join() < b.join() ? -1 : 1))) if (!own.has(id)) own.set(id, color);
  const shown = new Map<string, string>();
  const taken: string[] = [];
  const give = (id: string, color: string): void => {
    shown.set(id, color);
    taken.push(color);
  };
  // In one pass, so that nobody who comes later changes what was given.
  for (const [id, color] of own) {
    if (nearest(color, taken) > ALIKE) {
      give(id, color);
      continue;
    }
    const free = PEOPLE_COLORS.map((candidate) => ({ candidate, away: nearest(candidate, taken) })).reduce((best, next) => (next.away > best.away ? next : best));
    // A crowd larger than the palette has colours twice.
    give(id, free.away > nearest(color, taken) ? free.candidate : color);
  }
  return shown;
}
