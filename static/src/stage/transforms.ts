/** The arithmetic of moving, sizing and turning, in millimetres and without a screen. */
import { apply, bounds, corners, invert, middle, type Box, type Matrix, type Point } from '../document/matrix';
import type { Xf } from '../document/edits';

export const MIN_EDGE_MM = 1;

/** The map of a frame to its parent's, like C14 but without rounding to integers. */
export function frameOf(xf: Xf): Matrix {
  const [x, y, w, h, rot, , , flip] = xf;
  const c = Math.cos((rot * Math.PI) / 180);
  const s = Math.sin((rot * Math.PI) / 180);
  const sx = flip & 1 ? -1 : 1;
  const sy = flip & 2 ? -1 : 1;
  const m = { a: c * sx, b: s * sx, c: -s * sy, d: c * sy };
  return { ...m, e: x + w / 2 - (m.a * w) / 2 - (m.c * h) / 2, f: y + h / 2 - (m.b * w) / 2 - (m.d * h) / 2 };
}

/** The same frame, moved so that a point of it lies at a point of the parent. */
export function pinned(xf: Xf, local: Point, outer: Point): Xf {
  const at = apply(frameOf(xf), local);
  return [xf[0] + outer.x - at.x, xf[1] + outer.y - at.y, xf[2], xf[3], xf[4], 0, 0, xf[7]];
}

/** What is being transformed, as it was when the gesture began. */
export interface Subject {
  readonly id: string;
  readonly kind: 'text' | 'image' | 'shape' | 'group';
  readonly xf: Xf;
  /** The visible box in the element's own frame, mm. */
  readonly box: Box;
  /** The parent's frame to the print area. */
  readonly parent: Matrix;
  /** Size of a text's em in mm. */
  readonly size: number | null;
}

export interface Outcome {
  readonly frames: ReadonlyMap<string, Xf>;
  readonly sizes: ReadonlyMap<string, number>;
}

export interface Handle {
  readonly x: -1 | 0 | 1;
  readonly y: -1 | 0 | 1;
}

const inOuter = (subject: Subject, p: Point): Point => apply(invert(subject.parent), p);

export const outerCorners = (subject: Subject): [Point, Point, Point, Point] => {
  const inner = corners(subject.box, frameOf(subject.xf));
  return inner.map((p) => apply(subject.parent, p)) as [Point, Point, Point, Point];
};

export const outerBounds = (subjects: readonly Subject[]): Box => bounds(subjects.flatMap((subject) => outerCorners(subject)));

export function move(subjects: readonly Subject[], dx: number, dy: number): Outcome {
  const frames = new Map<string, Xf>();
  for (const subject of subjects) {
    const back = invert(subject.parent);
    const [x, y, w, h, rot, , , flip] = subject.xf;
    frames.set(subject.id, [x + back.a * dx + back.c * dy, y + back.b * dx + back.d * dy, w, h, rot, 0, 0, flip]);
  }
  return { frames, sizes: new Map() };
}

export interface ResizeOptions {
  readonly keepRatio: boolean;
  readonly fromMiddle: boolean;
}

/** One element, pulled at a handle of its own box to `pointer` (print area). */
export function resizeOne(subject: Subject, handle: Handle, pointer: Point, options: ResizeOptions): Outcome {
  const { box, xf } = subject;
  const frame = frameOf(xf);
  const at = apply(invert(frame), inOuter(subject, pointer));
  const anchor: Point = options.fromMiddle
    ? middle(box)
    : { x: handle.x > 0 ? box.x : handle.x < 0 ? box.x + box.w : box.x + box.w / 2, y: handle.y > 0 ? box.y : handle.y < 0 ? box.y + box.h : box.y + box.h / 2 };
  const reach = options.fromMiddle ? 2 : 1;
  let w = handle.x === 0 ? box.w : Math.max(MIN_EDGE_MM, (at.x - anchor.x) * handle.x * reach);
  let h = handle.y === 0 ? box.h : Math.max(MIN_EDGE_MM, (at.y - anchor.y) * handle.y * reach);
  const anchored = apply(frame, anchor);

  if (subject.kind === 'text' && subject.size !== null) {
    if (handle.y === 0) {
      const wide: Xf = [xf[0], xf[1], w, 0, xf[4], 0, 0, xf[7]];
      const local = { x: options.fromMiddle ? w / 2 : handle.x > 0 ? 0 : w, y: anchor.y };
      return { frames: new Map([[subject.id, pinned(wide, local, anchored)]]), sizes: new Map() };
    }
    const scale = Math.max(box.w > 0 ? w / box.w : 0, box.h > 0 ? h / box.h : 0, 0.01);
    const size = Math.min(2000, Math.max(0.5, subject.size * scale));
    const by = size / subject.size;
    const grown: Xf = [xf[0], xf[1], xf[2] * by, 0, xf[4], 0, 0, xf[7]];
    return { frames: new Map([[subject.id, pinned(grown, { x: anchor.x * by, y: anchor.y * by }, anchored)]]), sizes: new Map([[subject.id, size]]) };
  }

  if (options.keepRatio && box.w > 0 && box.h > 0) {
    const scale = handle.x === 0 ? h / box.h : handle.y === 0 ? w / box.w : Math.max(w / box.w, h / box.h);
    w = box.w * scale;
    h = box.h * scale;
  }
  const sized: Xf = [xf[0], xf[1], w, h, xf[4], 0, 0, xf[7]];
  const local = options.fromMiddle
    ? { x: w / 2, y: h / 2 }
    : { x: handle.x > 0 ? 0 : handle.x < 0 ? w : w / 2, y: handle.y > 0 ? 0 : handle.y < 0 ? h : h / 2 };
  return { frames: new Map([[subject.id, pinned(sized, local, anchored)]]), sizes: new Map() };
}

/** Several elements, scaled alike about the opposite corner of their common bounds. */
export function resizeMany(subjects: readonly Subject[], handle: Handle, pointer: Point, fromMiddle: boolean): Outcome {
  const around = outerBounds(subjects);
  const anchor: Point = fromMiddle
    ? middle(around)
    : { x: handle.x > 0 ? around.x : handle.x < 0 ? around.x + around.w : around.x + around.w / 2, y: handle.y > 0 ? around.y : handle.y < 0 ? around.y + around.h : around.y + around.h / 2 };
  const reach = fromMiddle ? 2 : 1;
  const byX = handle.x === 0 || around.w === 0 ? 0 : ((pointer.x - anchor.x) * handle.x * reach) / around.w;
  const byY = handle.y === 0 || around.h === 0 ? 0 : ((pointer.y - anchor.y) * handle.y * reach) / around.h;
  const scale = Math.max(0.02, byX, byY);
  const frames = new Map<string, Xf>();
  const sizes = new Map<string, number>();
  for (const subject of subjects) {
    const { xf } = subject;
    const corner = apply(subject.parent, apply(frameOf(xf), { x: 0, y: 0 }));
    const moved = inOuter(subject, { x: anchor.x + (corner.x - anchor.x) * scale, y: anchor.y + (corner.y - anchor.y) * scale });
    const grown: Xf = [xf[0], xf[1], xf[2] * scale, xf[3] * scale, xf[4], 0, 0, xf[7]];
    frames.set(subject.id, pinned(grown, { x: 0, y: 0 }, moved));
    if (subject.size !== null) sizes.set(subject.id, Math.min(2000, Math.max(0.5, subject.size * scale)));
  }
  return { frames, sizes };
}

/** All of them, turned about one point by `degrees`. */
export function rotate(subjects: readonly Subject[], about: Point, degrees: number): Outcome {
  const c = Math.cos((degrees * Math.PI) / 180);
  const s = Math.sin((degrees * Math.PI) / 180);
  const frames = new Map<string, Xf>();
  for (const subject of subjects) {
    const { xf } = subject;
    const pin = middle(subject.box);
    const at = apply(subject.parent, apply(frameOf(xf), pin));
    const turned = { x: about.x + c * (at.x - about.x) - s * (at.y - about.y), y: about.y + s * (at.x - about.x) + c * (at.y - about.y) };
    frames.set(subject.id, pinned([xf[0], xf[1], xf[2], xf[3], xf[4] + degrees, 0, 0, xf[7]], pin, inOuter(subject, turned)));
  }
  return { frames, sizes: new Map() };
}

/** Right angles attract; with `steps` every 15 degrees. */
export function attracted(angle: number, steps: boolean): number {
  if (steps) return Math.round(angle / 15) * 15;
  const right = Math.round(angle / 90) * 90;
  return Math.abs(angle - right) < 2.5 ? right : angle;
}

