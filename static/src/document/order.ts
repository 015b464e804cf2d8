/** Fractional index keys between neighbours, with jitter (C27). */
import { generateKeyBetween } from 'fractional-indexing';

const JITTER_STEPS = 24;

/** A neighbour whose index is no key of the algorithm counts as no neighbour. */
function usable(key: string | null): string | null {
  if (key === null || key === '') return null;
  try {
    generateKeyBetween(key, null);
    return key;
  } catch {
    return null;
  }
}

/** A key between two neighbours; two people who ask for the same place get different keys. */
export function keyBetween(lower: string | null, upper: string | null, random: () => number = Math.random): string {
  let a = usable(lower);
  let b = usable(upper);
  if (a !== null && b !== null && a >= b) b = null;
  let key = generateKeyBetween(a, b);
  for (let step = 0; step < JITTER_STEPS; step += 1) {
    if (random() < 0.5) a = key;
    else b = key;
    key = generateKeyBetween(a, b);
  }
  return key;
}

export interface Placed {
  readonly id: string;
  readonly index: string;
}

/**
 * New indices that put `moved` (in this order) at place `at` of `siblings` (without `moved`, lowest first).
 *
 * Usually only the moved ones get a key. Where two neighbours have equal keys, or one that is no key of the algorithm, the
 * siblings above get new keys as well (C27).
 */
export function placeBetween(siblings: readonly Placed[], moved: readonly string[], at: number, random?: () => number): Map<string, string> {
  const place = Math.max(0, Math.min(at, siblings.length));
  const keys = new Map<string, string>();
  const below = siblings[place - 1]?.index ?? null;
  let last = usable(below);
  const above = siblings[place]?.index ?? null;
  const isClean = (below === null || last !== null) && (above === null || (usable(above) !== null && (last === null || last < above)));
  const ceiling = isClean ? above : null;
  if (!isClean && below !== null && last === null) {
    // The one below is no key either: it and everything under it keep their order by getting keys too.
    for (const sibling of siblings.slice(0, place)) {
      last = keyBetween(last, null, random);
      keys.set(sibling.id, last);
    }
  }
  for (const id of moved) {
    last = keyBetween(last, ceiling, random);
    keys.set(id, last);
  }
  if (!isClean) {
    for (const sibling of siblings.slice(place)) {
      last = keyBetween(last, null, random);
      keys.set(sibling.id, last);
    }
  }
  return keys;
}
