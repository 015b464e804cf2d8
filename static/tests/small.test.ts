// Small things that would be noticed: mentions, hashes, wire shapes, addresses.
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { sha256 } from '../src/document/sha256';
import { canonicalJson } from '../src/document/canonical';
import { coloursApart } from '../src/document/colors';
import { readPeer } from '../src/document/presence';
import { fitting } from '../src/studio/limits';
import { toInboxItem, toMessage, toSpan, toUpdateAnswer } from '../src/net/wire';
import { findMentions, mentionQuery, splitMentions } from '../src/panels/mentions';

const PEOPLE = [
  { id: 'u1', name: 'Ann', color: '' },
  { id: 'u2', name: 'Ann Lee', color: '' },
  { id: 'u3', name: 'Zoë', color: '' },
];

describe('mentions', () => {
  it('finds the longest name, once each', () => {
    expect(findMentions('@Ann Lee and @Ann, @Ann Lee', PEOPLE)).toEqual(['u2', 'u1']);
    expect(findMentions('mail@Ann @Annabel', PEOPLE)).toEqual([]);
    expect(findMentions('@Zoë!', PEOPLE)).toEqual(['u3']);
  });

  it('puts a text together again', () => {
    fc.assert(fc.property(fc.array(fc.constantFrom('@', 'Ann', ' ', 'Lee', 'x', '\n'), { maxLength: 20 }), (parts) => {
      const text = parts.join('');
      expect(splitMentions(text, PEOPLE).map((part) => part.text).join('')).toBe(text);
    }));
  });

  it('knows the name that is being written', () => {
    expect(mentionQuery('hi @An', 6)).toEqual({ at: 3, word: 'An' });
    expect(mentionQuery('hi@An', 5)).toBeNull();
    expect(mentionQuery('@a\nb', 4)).toBeNull();
  });
});

describe('hashes', () => {
  it('are those of node', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      expect(sha256(bytes)).toBe(createHash('sha256').update(bytes).digest('hex'));
    }));
  });

  it('C10: canonical JSON sorts keys and knows no minus zero', () => {
    expect(canonicalJson({ b: -0, a: [1, { d: null, c: 'x' }] })).toBe('{"a":[1,{"c":"x","d":null}],"b":0}');
  });
});

describe('what comes from the wire', () => {
  it('is read by its kind, never trusted', () => {
    fc.assert(fc.property(fc.anything(), (value) => {
      expect(() => [toMessage(value), toInboxItem(value), toSpan(value), toUpdateAnswer(value), readPeer(1, value)]).not.toThrow();
    }));
    expect(toUpdateAnswer({ ok: true, position: 4 })).toEqual({ ok: true, position: 4 });
    expect(toUpdateAnswer(undefined)).toMatchObject({ ok: false, retryable: false });
    expect(toSpan({ epoch: 1, from: 2, to: 3 })).toEqual({ epoch: 1, from: 2, to: 3 });
  });
});

describe('colours of people', () => {
  const color = fc.integer({ min: 0, max: 0xffffff }).map((value) => `#${value.toString(16).padStart(6, '0')}`);

  it('are the same on every screen, whatever order it heard of them in', () => {
    const person = fc.tuple(fc.string({ minLength: 1 }), color, fc.nat(5));
    fc.assert(fc.property(fc.array(person, { maxLength: 14 }), (people) => {
      const there = coloursApart([...people].reverse());
      expect([...coloursApart([...people, ...people.slice(0, 2)])]).toEqual([...there]);
    }));
  });

  it('do not change for those who were here when somebody comes', () => {
    fc.assert(fc.property(fc.array(color, { minLength: 1, maxLength: 14 }), (colors) => {
      const people = colors.map((own, i) => [`u${99 - i}`, own, i] as const);
      const before = coloursApart(people.slice(0, -1));
      const after = coloursApart(people);
      for (const [id, shown] of before) expect(after.get(id)).toBe(shown);
    }));
  });

  it('tell ten people with one colour apart', () => {
    const shown = coloursApart(Array.from({ length: 10 }, (_, i) => [`u${i}`, '#d6336c', 100 - i] as const));
    expect(new Set(shown.values()).size).toBe(10);
    expect(shown.get('u9')).toBe('#d6336c'); // who was there first
  });

  it('stay as they are where nobody is like another', () => {
    expect([...coloursApart([['b', '#0000ff', 2], ['a', '#ff0000', 1]])]).toEqual([['a', '#ff0000'], ['b', '#0000ff']]);
  });
});

describe('the limit of a text', () => {
  it('counts characters, and never halves one', () => {
    expect(fitting('abc', 'x'.repeat(9_998))).toBe('ab');
    expect(fitting('\u{1f389}\u{1f389}', 'x'.repeat(9_999))).toBe('\u{1f389}');
    expect(fitting('more', 'x'.repeat(10_000))).toBe('');
    expect(fitting('\u{1f389}'.repeat(10_000), '')).toHaveLength(20_000);
  });
});
