/** Where the handles of the chosen lie on the screen, and which one a pointer has. */
import { apply, bounds, middle, type Box, type Point } from '../document/matrix';
import { frameOf, outerBounds, outerCorners, type Handle, type Subject } from './transforms';
import type { Camera } from './camera';

export type Grip = { readonly kind: 'resize'; readonly handle: Handle } | { readonly kind: 'rotate' };

export interface HandleSpot {
  readonly grip: Grip;
  readonly at: Point;
  /** Direction outwards in degrees on the screen, for the cursor. */
  readonly angle: number;
}

export interface Frame {
  /** Corners on the screen: top left, top right, bottom right, bottom left of the (turned) box. */
  readonly corners: readonly [Point, Point, Point, Point];
  readonly spots: readonly HandleSpot[];
}

export const ROTATE_DISTANCE = 26;

/** On a touch screen small boxes keep their corners only, or there would be no place left to hold them. */
const SIDE_HANDLES_FROM = typeof window !== 'undefined' && window.matchMedia('(pointer: coarse)').matches ? 72 : 26;

const lerp = (a: Point, b: Point, t: number): Point => ({ x: a.x + (b.x - a.x) * t, y: a.y + (b.y - a.y) * t });
const distance = (a: Point, b: Point): number => Math.hypot(a.x - b.x, a.y - b.y);

export function selectionFrame(subjects: readonly Subject[], camera: Camera): Frame | null {
  if (subjects.length === 0) return null;
  const single = subjects.length === 1 ? subjects[0]! : null;
  const box: Box = outerBounds(subjects);
  const outer: [Point, Point, Point, Point] = single
    ? outerCorners(single)
    : [
        { x: box.x, y: box.y },
        { x: box.x + box.w, y: box.y },
        { x: box.x + box.w, y: box.y + box.h },
        { x: box.x, y: box.y + box.h },
      ];
  const corners = outer.map((p) => camera.toPixels(p)) as [Point, Point, Point, Point];
  const width = distance(corners[0], corners[1]);
  const height = distance(corners[0], corners[3]);
  const centre = middle(bounds(corners));
  const sideX = single !== null && single.kind !== 'group' && height >= SIDE_HANDLES_FROM;
  const sideY = single !== null && single.kind !== 'group' && single.kind !== 'text' && width >= SIDE_HANDLES_FROM;
  const handles: Handle[] = [
    { x: -1, y: -1 },
    { x: 1, y: -1 },
    { x: 1, y: 1 },
    { x: -1, y: 1 },
    ...(sideX ? ([{ x: 1, y: 0 }, { x: -1, y: 0 }] as Handle[]) : []),
    ...(sideY ? ([{ x: 0, y: -1 }, { x: 0, y: 1 }] as Handle[]) : []),
  ];
  const spots: HandleSpot[] = handles.map((handle) => {
    const top = lerp(corners[0], corners[1], (handle.x + 1) / 2);
    const bottom = lerp(corners[3], corners[2], (handle.x + 1) / 2);
    const at = lerp(top, bottom, (handle.y + 1) / 2);
    return { grip: { kind: 'resize', handle }, at, angle: (Math.atan2(at.y - centre.y, at.x - centre.x) * 180) / Math.PI };
  });
  // The knob hangs on the side that lies lowest on the screen's way down from the box, so that it never covers the box.
  const below = lerp(corners[3], corners[2], 0.5);
  const above = lerp(corners[0], corners[1], 0.5);
  const length = distance(above, below) || 1;
  const out = height < 1 ? { x: 0, y: 1 } : { x: (below.x - above.x) / length, y: (below.y - above.y) / length };
  spots.push({ grip: { kind: 'rotate' }, at: { x: below.x + out.x * ROTATE_DISTANCE, y: below.y + out.y * ROTATE_DISTANCE }, angle: 0 });
  return { corners, spots };
}

/** Inside a small thing most of the room belongs to moving it: there a handle reaches no farther than this part of the smaller side. */
const REACH_INSIDE = 0.3;

/** The handle nearest to a pointer within `reach` pixels. The knob comes first: nothing else is near it on purpose. */
export function gripAt(frame: Frame, p: Point, reach: number): HandleSpot | null {
  let best: HandleSpot | null = null;
  const [a, b, , d] = frame.corners;
  const along = part(a, b, p);
  const down = part(a, d, p);
  const isInside = along > 0 && along < 1 && down > 0 && down < 1;
  let nearest = isInside ? Math.min(reach, Math.max(4, REACH_INSIDE * Math.min(distance(a, b), distance(a, d)))) : reach;
  for (const spot of frame.spots) {
    const away = distance(spot.at, p) - (spot.grip.kind === 'rotate' ? 4 : 0);
    if (away < nearest) {
      nearest = away;
      best = spot;
    }
  }
  return best;
}

/** How far along a side of a rectangle a point lies: 0 at its beginning, 1 at its end. */
function part(from: Point, to: Point, p: Point): number {
  const length = (to.x - from.x) ** 2 + (to.y - from.y) ** 2;
  return length === 0 ? 0 : ((p.x - from.x) * (to.x - from.x) + (p.y - from.y) * (to.y - from.y)) / length;
}

const CURSORS = ['ew-resize', 'nwse-resize', 'ns-resize', 'nesw-resize'] as const;

export function cursorOf(spot: HandleSpot): string {
  if (spot.grip.kind === 'rotate') return 'grab';
  return CURSORS[(((Math.round(spot.angle / 45) % 4) + 4) % 4) as 0 | 1 | 2 | 3];
}

/** Middle of what is chosen, in millimetres of the print area. */
export function pivotOf(subjects: readonly Subject[]): Point {
  const single = subjects.length === 1 ? subjects[0]! : null;
  if (!single) return middle(outerBounds(subjects));
  return apply(single.parent, apply(frameOf(single.xf), middle(single.box)));
}
