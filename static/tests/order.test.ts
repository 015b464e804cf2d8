// Rules C7 and C27: keys between neighbours, with jitter.
import fc from 'fast-check';
import { generateKeyBetween } from 'fractional-indexing';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { keyBetween, placeBetween, type Placed } from '../src/document/order';

const { cases } = JSON.parse(readFileSync(new URL('../../canvas/vectors/order.json', import.meta.url), 'utf-8')) as { cases: { low: string | null; high: string | null; key: string }[] };

const sorted = (siblings: readonly Placed[]): string[] =>
  [...siblings].sort((a, b) => (a.index < b.index ? -1 : a.index > b.index ? 1 : a.id < b.id ? -1 : 1)).map((sibling) => sibling.id);

describe('order keys', () => {
  it.each(cases)('between $low and $high is $key', ({ low, high, key }) => {
    expect(generateKeyBetween(low, high)).toBe(key);
  });

  it('lie strictly between their neighbours', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(1000), { minLength: 1, maxLength: 60 }), (places) => {
        const keys: string[] = [];
        for (const place of places) {
          const at = place % (keys.length + 1);
          const key = keyBetween(keys[at - 1] ?? null, keys[at] ?? null);
          expect((keys[at - 1] ?? '') < key).toBe(true);
          if (keys[at] !== undefined) expect(key < keys[at]).toBe(true);
          keys.splice(at, 0, key);
        }
        expect(keys.every((key) => /^[0-9A-Za-z]{1,128}$/.test(key))).toBe(true);
      }),
    );
  });

  it('differ when two people add at one place', () => {
    const keys = new Set(Array.from({ length: 500 }, () => keyBetween('a0', 'a1')));
    expect(keys.size).toBe(500);
  });

  it('C27: any indices that were there, equal ones and such as are no keys, the result is in the order asked for', () => {
    const index = fc.oneof(fc.constantFrom('', 'a0', 'a1', 'a1', 'zzz', '0', 'Zz', 'a0V', 'A00000000000000000000000000'), fc.stringMatching(/^[0-9A-Za-z]{1,6}$/));
    fc.assert(
      fc.property(fc.array(index, { maxLength: 12 }), fc.nat(12), fc.integer({ min: 1, max: 3 }), (indices, where, count) => {
        const placed = indices.map((one, i) => ({ id: `e${String(i).padStart(2, '0')}`, index: one }));
        const order = sorted(placed);
        const siblings = order.map((id) => placed.find((one) => one.id === id)!);
        const at = Math.min(where, siblings.length);
        const moved = Array.from({ length: count }, (_, i) => `m${i}`);
        const keys = placeBetween(siblings, moved, at);
        const after = sorted([...siblings.map((one) => ({ id: one.id, index: keys.get(one.id) ?? one.index })), ...moved.map((id) => ({ id, index: keys.get(id)! }))]);
        expect(after).toEqual([...order.slice(0, at), ...moved, ...order.slice(at)]);
      }),
      { numRuns: 400 },
    );
  });
});
