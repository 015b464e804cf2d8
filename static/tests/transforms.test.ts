// Gestures: what is held stays where it is, whatever the element's rotation and mirroring.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { apply, fromScene, IDENTITY, type Point } from '../src/document/matrix';
import type { Xf } from '../src/document/edits';
import { frameMatrix, readFrame } from '../src/document/scene';
import { snapBox } from '../src/stage/snapping';
import { attracted, frameOf, move, outerBounds, resizeMany, resizeOne, rotate, type Handle, type Subject } from '../src/stage/transforms';

const mm = fc.integer({ min: -2000, max: 2000 }).map((x) => x / 10);
const length = fc.integer({ min: 20, max: 2000 }).map((x) => x / 10);
const xf: fc.Arbitrary<Xf> = fc.tuple(mm, mm, length, length, fc.integer({ min: -180, max: 180 }), fc.constant(0), fc.constant(0), fc.integer({ min: 0, max: 3 }));
const handle = fc.constantFrom<Handle[]>({ x: 1, y: 1 }, { x: -1, y: 1 }, { x: 1, y: -1 }, { x: -1, y: -1 }, { x: 1, y: 0 }, { x: 0, y: -1 });
const point = fc.record({ x: mm, y: mm });

const shape = (frame: Xf, id = 'a'): Subject => ({ id, kind: 'shape', xf: frame, box: { x: 0, y: 0, w: frame[2], h: frame[3] }, parent: IDENTITY, size: null });
const near = (a: Point, b: Point, within = 1e-6): void => {
  expect(Math.abs(a.x - b.x)).toBeLessThan(within);
  expect(Math.abs(a.y - b.y)).toBeLessThan(within);
};

describe('frames', () => {
  it('C14: are what the Scene makes of them, but for rounding', () => {
    fc.assert(
      fc.property(xf, fc.record({ x: fc.integer({ min: 0, max: 200 }), y: fc.integer({ min: 0, max: 200 }) }), (frame, p) => {
        near(apply(frameOf(frame), p), apply(fromScene(frameMatrix(readFrame([...frame]))), p), 0.02);
      }),
    );
  });
});

describe('sizing', () => {
  it('keeps the opposite side where it is', () => {
    fc.assert(
      fc.property(xf, handle, point, fc.boolean(), (frame, pulled, pointer, keepRatio) => {
        const next = resizeOne(shape(frame), pulled, pointer, { keepRatio, fromMiddle: false }).frames.get('a')!;
        const opposite = (of: Xf): Point => ({ x: pulled.x > 0 ? 0 : pulled.x < 0 ? of[2] : of[2] / 2, y: pulled.y > 0 ? 0 : pulled.y < 0 ? of[3] : of[3] / 2 });
        near(apply(frameOf(next), opposite(next)), apply(frameOf(frame), opposite(frame)));
        expect(next[2]).toBeGreaterThan(0);
        expect(next[3]).toBeGreaterThan(0);
        if (keepRatio) expect(next[2] / next[3]).toBeCloseTo(frame[2] / frame[3], 6);
      }),
    );
  });

  it('puts a pulled corner under the pointer', () => {
    const next = resizeOne(shape([10, 10, 40, 20, 0, 0, 0, 0]), { x: 1, y: 1 }, { x: 70, y: 50 }, { keepRatio: false, fromMiddle: false }).frames.get('a')!;
    expect(next.slice(0, 4)).toEqual([10, 10, 60, 40]);
  });

  it('of a text at a corner sizes its letters, at a side its column', () => {
    const text: Subject = { id: 't', kind: 'text', xf: [50, 20, 0, 0, 0, 0, 0, 0], box: { x: -30, y: 0, w: 60, h: 12 }, parent: IDENTITY, size: 10 };
    const grown = resizeOne(text, { x: 1, y: 1 }, { x: 140, y: 44 }, { keepRatio: true, fromMiddle: false });
    expect(grown.sizes.get('t')).toBeCloseTo(20);
    const wide = resizeOne(text, { x: 1, y: 0 }, { x: 100, y: 25 }, { keepRatio: false, fromMiddle: false });
    expect(wide.sizes.size).toBe(0);
    expect(wide.frames.get('t')![2]).toBeCloseTo(80);
    expect(wide.frames.get('t')![0]).toBeCloseTo(20);
  });

  it('of several scales all about the opposite corner', () => {
    const subjects = [shape([0, 0, 10, 10, 0, 0, 0, 0], 'a'), shape([30, 10, 10, 10, 0, 0, 0, 0], 'b')];
    const { frames } = resizeMany(subjects, { x: 1, y: 1 }, { x: 80, y: 40 }, false);
    expect(frames.get('a')!.slice(0, 4)).toEqual([0, 0, 20, 20]);
    expect(frames.get('b')!.slice(0, 4)).toEqual([60, 20, 20, 20]);
  });
});

describe('turning and moving', () => {
  it('turns about the pivot and back again', () => {
    fc.assert(
      fc.property(xf, point, fc.integer({ min: -170, max: 170 }), (frame, pivot, degrees) => {
        const there = rotate([shape(frame)], pivot, degrees).frames.get('a')!;
        const back = rotate([shape(there)], pivot, -degrees).frames.get('a')!;
        for (let i = 0; i < 5; i += 1) expect(back[i]).toBeCloseTo(frame[i]!, 6);
      }),
    );
  });

  it('moves by what the pointer moves', () => {
    const before = outerBounds([shape([5, 5, 20, 10, 30, 0, 0, 0])]);
    const after = outerBounds([shape(move([shape([5, 5, 20, 10, 30, 0, 0, 0])], 7, -3).frames.get('a')!)]);
    near(after, { x: before.x + 7, y: before.y - 3 });
  });

  it('clings to right angles, to the middle and to edges', () => {
    expect(attracted(91, false)).toBe(90);
    expect(attracted(50, true)).toBe(45);
    expect(attracted(50, false)).toBe(50);
    expect(snapBox({ x: 44, y: 3, w: 10, h: 10 }, [{ x: 0, y: 0, w: 100, h: 100 }], 2)).toMatchObject({ dx: 1, dy: 0 });
    expect(snapBox({ x: 1, y: 50, w: 10, h: 10 }, [{ x: 0, y: 0, w: 100, h: 100 }], 2)).toMatchObject({ dx: -1 });
  });
});
