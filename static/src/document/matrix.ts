/** Affine maps in millimetres, as the canvas writes them: x' = a·x + c·y + e, y' = b·x + d·y + f. */
export interface Matrix {
  readonly a: number;
  readonly b: number;
  readonly c: number;
  readonly d: number;
  readonly e: number;
  readonly f: number;
}

export interface Point {
  readonly x: number;
  readonly y: number;
}

/** left, top, width, height */
export interface Box {
  readonly x: number;
  readonly y: number;
  readonly w: number;
  readonly h: number;
}

export const IDENTITY: Matrix = { a: 1, b: 0, c: 0, d: 1, e: 0, f: 0 };

export const apply = (m: Matrix, p: Point): Point => ({ x: m.a * p.x + m.c * p.y + m.e, y: m.b * p.x + m.d * p.y + m.f });

/** First `n`, then `m`. */
export const multiply = (m: Matrix, n: Matrix): Matrix => ({
  a: m.a * n.a + m.c * n.b,
  b: m.b * n.a + m.d * n.b,
  c: m.a * n.c + m.c * n.d,
  d: m.b * n.c + m.d * n.d,
  e: m.a * n.e + m.c * n.f + m.e,
  f: m.b * n.e + m.d * n.f + m.f,
});

export function invert(m: Matrix): Matrix {
  const det = m.a * m.d - m.b * m.c || 1e-12;
  return {
    a: m.d / det,
    b: -m.b / det,
    c: -m.c / det,
    d: m.a / det,
    e: (m.c * m.f - m.d * m.e) / det,
    f: (m.b * m.e - m.a * m.f) / det,
  };
}

/** The map of a Scene layer: integers in 1/65536 and micrometres. */
export const fromScene = (m: readonly number[]): Matrix => ({
  a: m[0]! / 65536,
  b: m[1]! / 65536,
  c: m[2]! / 65536,
  d: m[3]! / 65536,
  e: m[4]! / 1000,
  f: m[5]! / 1000,
});

export const boxFromScene = (box: readonly number[]): Box => ({ x: box[0]! / 1000, y: box[1]! / 1000, w: box[2]! / 1000, h: box[3]! / 1000 });

export const corners = (box: Box, m: Matrix = IDENTITY): [Point, Point, Point, Point] => [
  apply(m, { x: box.x, y: box.y }),
  apply(m, { x: box.x + box.w, y: box.y }),
  apply(m, { x: box.x + box.w, y: box.y + box.h }),
  apply(m, { x: box.x, y: box.y + box.h }),
];

export function bounds(points: readonly Point[]): Box {
  const xs = points.map((p) => p.x);
  const ys = points.map((p) => p.y);
  const x = Math.min(...xs);
  const y = Math.min(...ys);
  return { x, y, w: Math.max(...xs) - x, h: Math.max(...ys) - y };
}

export const middle = (box: Box): Point => ({ x: box.x + box.w / 2, y: box.y + box.h / 2 });

export const overlaps = (a: Box, b: Box): boolean => a.x <= b.x + b.w && b.x <= a.x + a.w && a.y <= b.y + b.h && b.y <= a.y + a.h;
