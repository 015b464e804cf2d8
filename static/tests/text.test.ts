// RULES 34: a text field's change reaches the Y.Text as the smallest one, and never splits a surrogate pair.
import fc from 'fast-check';
import * as Y from 'yjs';
import { describe, expect, it } from 'vitest';
import { shiftOffset, textDiff, wholeOffset } from '../src/document/text_diff';
import { cleanText } from '../src/document/text_layout';

const isHigh = (unit: number): boolean => (unit & 0xfc00) === 0xd800;
const isLow = (unit: number): boolean => (unit & 0xfc00) === 0xdc00;
const splitsPair = (text: string, at: number): boolean => at > 0 && at < text.length && isHigh(text.charCodeAt(at - 1)) && isLow(text.charCodeAt(at));

const words = fc.array(fc.constantFrom('a', 'b', ' ', '\n', '😀', '😁', '🎉', 'é', '한'), { maxLength: 12 }).map((parts) => parts.join(''));

describe('textDiff', () => {
  it('leads from one text to the other, at the edges of characters', () => {
    fc.assert(
      fc.property(words, words, fc.option(fc.nat(20), { nil: null }), (before, after, caret) => {
        const change = textDiff(before, after, caret === null ? null : Math.min(caret, after.length));
        if (change === null) {
          expect(before).toBe(after);
          return;
        }
        expect(before.slice(0, change.at) + change.insert + before.slice(change.at + change.remove)).toBe(after);
        expect(splitsPair(before, change.at)).toBe(false);
        expect(splitsPair(before, change.at + change.remove)).toBe(false);
      }),
      { numRuns: 2000 },
    );
  });

  it('replaces an emoji by another one whole, though they share their first half', () => {
    expect(textDiff('😀', '😁')).toEqual({ at: 0, remove: 2, insert: '😁' });
    expect(textDiff('x😀y', 'x😁y')).toEqual({ at: 1, remove: 2, insert: '😁' });
  });

  it('puts a repeated letter where the caret is', () => {
    expect(textDiff('aa', 'aaa', 1)).toEqual({ at: 0, remove: 0, insert: 'a' });
    expect(textDiff('aa', 'aaa', 2)).toEqual({ at: 1, remove: 0, insert: 'a' });
    expect(textDiff('aa', 'aaa', 3)).toEqual({ at: 2, remove: 0, insert: 'a' });
  });

  it('is small: a letter typed into a long text touches nothing else', () => {
    const long = 'word '.repeat(1000);
    expect(textDiff(long, `${long.slice(0, 500)}!${long.slice(500)}`, 501)).toEqual({ at: 500, remove: 0, insert: '!' });
  });

  it('leaves pairs whole in the document when two people type emoji at once', () => {
    fc.assert(
      fc.property(fc.array(fc.record({ who: fc.boolean(), text: words }), { maxLength: 12 }), (steps) => {
        const docs = [new Y.Doc(), new Y.Doc()] as const;
        const meet = (): void => {
          Y.applyUpdate(docs[0], Y.encodeStateAsUpdate(docs[1], Y.encodeStateVector(docs[0])));
          Y.applyUpdate(docs[1], Y.encodeStateAsUpdate(docs[0], Y.encodeStateVector(docs[1])));
        };
        for (const { who, text } of steps) {
          const own = docs[who ? 0 : 1].getText('t');
          const change = textDiff(own.toString(), text);
          if (change) {
            own.delete(change.at, change.remove);
            own.insert(change.at, change.insert);
          }
          if (text.length % 3 === 0) meet();
        }
        meet();
        const [one, other] = [docs[0].getText('t').toString(), docs[1].getText('t').toString()];
        expect(one).toBe(other);
        expect(/\p{Surrogate}/u.test(one)).toBe(false);
        expect(one.includes('\ufffd')).toBe(false);
      }),
    );
  });
});

describe('offsets', () => {
  it('move with what others type before them, and stay when it is after them', () => {
    expect(shiftOffset(5, { at: 2, remove: 0, insert: 'abc' })).toBe(8);
    expect(shiftOffset(5, { at: 5, remove: 0, insert: 'abc' })).toBe(5);
    expect(shiftOffset(5, { at: 6, remove: 1, insert: '' })).toBe(5);
    expect(shiftOffset(5, { at: 3, remove: 4, insert: 'x' })).toBe(4);
  });

  it('are never inside a pair', () => {
    expect(wholeOffset('a😀', 2)).toBe(1);
    expect(wholeOffset('a😀', 3)).toBe(3);
  });
});

describe('cleanText (C23)', () => {
  it('drops what is not set and keeps what is', () => {
    expect(cleanText('a\r\nb\rc\u2028d\te\u200bf\u0007')).toBe('a\nb\nc\nd ef');
    expect(cleanText('e\u0301')).toBe('é');
    expect(cleanText('\ud83d')).toBe('\ufffd');
    expect([...cleanText('😀'.repeat(10_005))].length).toBe(10_000);
  });
});
