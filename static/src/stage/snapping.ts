/** Lines that a moving box clings to: the print area's edges and middle, and other elements' edges and middles. */
import type { Box } from '../document/matrix';

export interface Guide {
  readonly axis: 'x' | 'y';
  /** Where the line stands, mm. */
  readonly at: number;
  /** From where to where it is drawn, mm. */
  readonly from: number;
  readonly to: number;
}

export interface Snap {
  readonly dx: number;
  readonly dy: number;
  readonly guides: readonly Guide[];
}

interface Line {
  readonly at: number;
  readonly from: number;
  readonly to: number;
}

const linesX = (box: Box): Line[] => [box.x, box.x + box.w / 2, box.x + box.w].map((at) => ({ at, from: box.y, to: box.y + box.h }));
const linesY = (box: Box): Line[] => [box.y, box.y + box.h / 2, box.y + box.h].map((at) => ({ at, from: box.x, to: box.x + box.w }));

function nearest(own: readonly Line[], others: readonly Line[], reach: number): { shift: number; line: Line } | null {
  let best: { shift: number; line: Line } | null = null;
  for (const mine of own) {
    for (const line of others) {
      const shift = line.at - mine.at;
      if (Math.abs(shift) <= reach && (best === null || Math.abs(shift) < Math.abs(best.shift) - 1e-9)) best = { shift, line };
    }
  }
  return best;
}

/** @param reach how near is near, mm. */
export function snapBox(box: Box, others: readonly Box[], reach: number): Snap {
  const x = nearest(linesX(box), others.flatMap(linesX), reach);
  const y = nearest(linesY(box), others.flatMap(linesY), reach);
  const dx = x?.shift ?? 0;
  const dy = y?.shift ?? 0;
  const guides: Guide[] = [];
  if (x) guides.push({ axis: 'x', at: x.line.at, from: Math.min(x.line.from, box.y + dy), to: Math.max(x.line.to, box.y + box.h + dy) });
  if (y) guides.push({ axis: 'y', at: y.line.at, from: Math.min(y.line.from, box.x + dx), to: Math.max(y.line.to, box.x + box.w + dx) });
  return { dx, dy, guides };
}
