/** New elements: where they go, how large they are and what they look like. */
import { SCHEMA } from '../generated/schema';
import type { NewElement, Xf } from '../document/edits';
import { bounds, type Point } from '../document/matrix';
import type { Asset } from '../net/api';
import type { StudioSession, Tool } from '../studio/session';

export type ShapeTool = Exclude<Tool, 'select' | 'hand' | 'text'>;

export interface Placing {
  readonly tool: ShapeTool | 'text';
  readonly at: Point;
  /** Corners of a box, or ends of a line, that was drawn by hand. */
  readonly drawn?: { readonly from: Point; readonly to: Point };
}

const LOOK: Record<ShapeTool, { fill: string; geometry: NewElement['geometry']; stroke?: unknown; ratio: number }> = {
  rect: { fill: '#0090ff', geometry: { k: 'rect', r: 4 }, ratio: 1 },
  ellipse: { fill: '#f2b705', geometry: { k: 'ellipse' }, ratio: 1 },
  star: { fill: '#e5484d', geometry: { k: 'star', n: 5, q: 0.5 }, ratio: 1 },
  polygon: { fill: '#12a594', geometry: { k: 'polygon', n: 6 }, ratio: 1 },
  line: { fill: 'none', geometry: { k: 'line' }, stroke: { c: '#17181b', w: 2 }, ratio: 0 },
};

/** White ink on a dark product, black on a light one. */
export function inkFor(session: StudioSession): string {
  const base = session.model.scene(session.view.peek()).base;
  const ground = session.model.scene(session.view.peek()).bg;
  const color = ground === 'none' ? base : ground;
  const [r, g, b] = [1, 3, 5].map((i) => Number.parseInt(color.slice(i, i + 2), 16)) as [number, number, number];
  return 0.299 * r + 0.587 * g + 0.114 * b < 128 ? '#ffffff' : '#17181b';
}

/** A tenth and a quarter of the print area are sizes that suit a mug as well as a poster. */
const areaOf = (session: StudioSession): readonly [number, number] => {
  const view = session.product.views.find((candidate) => candidate.id === session.view.peek()) ?? session.product.views[0]!;
  return [view.area[2], view.area[3]];
};

export function addPlaced(session: StudioSession, placing: Placing): string {
  const [width, height] = areaOf(session);
  const small = Math.min(width, height);
  session.undo.begin(session.selection.peek());
  if (placing.tool === 'text') {
    const size = Math.round(small * 0.09);
    const xf: Xf = [placing.at.x, placing.at.y - size * 0.6, 0, 0, 0, 0, 0, 0];
    return session.edits.add(session.view.peek(), { type: 'text', xf, text: '', fill: inkFor(session), style: { font: 'inter-bold', size, align: 'center', lead: SCHEMA.defaults.leading } });
  }
  const look = LOOK[placing.tool];
  const common = { type: 'shape' as const, fill: look.fill, ...(look.stroke ? { stroke: look.stroke } : {}), ...(look.geometry ? { geometry: look.geometry } : {}) };
  let xf: Xf;
  if (placing.drawn && placing.tool === 'line') {
    const { from, to } = placing.drawn;
    const length = Math.hypot(to.x - from.x, to.y - from.y);
    const turn = (Math.atan2(to.y - from.y, to.x - from.x) * 180) / Math.PI;
    xf = [(from.x + to.x) / 2 - length / 2, (from.y + to.y) / 2, length, 0, turn, 0, 0, 0];
  } else if (placing.drawn) {
    const box = bounds([placing.drawn.from, placing.drawn.to]);
    xf = [box.x, box.y, Math.max(1, box.w), Math.max(1, box.h), 0, 0, 0, 0];
  } else {
    const side = small * (placing.tool === 'line' ? 0.4 : 0.28);
    xf = [placing.at.x - side / 2, placing.at.y - (side * look.ratio) / 2, side, side * look.ratio, 0, 0, 0, 0];
  }
  const id = session.edits.add(session.view.peek(), { ...common, xf });
  session.undo.begin();
  return id;
}

/** In the middle of the print area, a little lower for each that already starts there. */
export function addInMiddle(session: StudioSession, tool: ShapeTool | 'text'): string {
  const [width, height] = areaOf(session);
  const shift = (session.model.rootsOf(session.view.peek()).length % 5) * Math.min(width, height) * 0.04;
  return addPlaced(session, { tool, at: { x: width / 2 + (tool === 'text' ? 0 : shift), y: height * 0.38 + shift } });
}

/** As large as fits well, at its own proportions. */
export function addPicture(session: StudioSession, asset: Asset, name: string, at: Point | null): string {
  const [width, height] = areaOf(session);
  const scale = Math.min((width * 0.62) / asset.width, (height * 0.62) / asset.height);
  const w = asset.width * scale;
  const h = asset.height * scale;
  const middle = at ?? { x: width / 2, y: height / 2 };
  session.undo.begin(session.selection.peek());
  const id = session.edits.add(session.view.peek(), {
    type: 'image',
    xf: [middle.x - w / 2, middle.y - h / 2, w, h, 0, 0, 0, 0],
    image: { a: asset.sha256, crop: [0, 0, 1, 1] },
    ...(name ? { name: name.slice(0, 80) } : {}),
  });
  session.undo.begin();
  return id;
}
