/** What can be done to the chosen elements, from keys, buttons and menus alike. */
import { SCHEMA } from '../generated/schema';
import { readXf, type NewElement, type Xf } from '../document/edits';
import type { RawElement } from '../document/element';
import { bounds } from '../document/matrix';
import { move, outerBounds } from '../stage/transforms';
import { subjectsOf, worldCorners } from '../stage/subjects';
import { hasRoom } from './limits';
import type { StudioSession } from './session';

const KEYS = SCHEMA.elementKeys;
const CLIPBOARD_MARK = 'luneo-elements';

/** One step of undo, made with what is chosen now. */
export function step(session: StudioSession, work: () => void): void {
  session.undo.begin(session.selection.peek());
  work();
  session.undo.begin();
}

export function remove(session: StudioSession): void {
  const ids = session.movable();
  if (ids.length === 0) return;
  step(session, () => session.edits.remove(ids));
  session.select([]);
}

export function duplicate(session: StudioSession): void {
  const ids = session.movable();
  if (ids.length === 0 || !hasRoom(session, ids.length)) return;
  const view = session.product.views.find((candidate) => candidate.id === session.view.peek())!;
  let copies: string[] = [];
  step(session, () => {
    copies = session.edits.duplicate(inOrder(session, ids), Math.min(view.area[2], view.area[3]) * 0.03);
  });
  session.select(copies);
}

/** The given ids, lowest first. */
function inOrder(session: StudioSession, ids: readonly string[]): string[] {
  const parents = new Set(ids.map((id) => session.model.tree.peek().parentOf.get(id)));
  return [...parents].flatMap((parent) => (parent === undefined ? [] : session.model.children(parent).filter((id) => ids.includes(id))));
}

export type Arrange = 'front' | 'forward' | 'backward' | 'back';

export function arrange(session: StudioSession, where: Arrange): void {
  const ids = session.movable();
  const first = ids[0];
  const parent = first === undefined ? undefined : session.model.tree.peek().parentOf.get(first);
  if (parent === undefined) return;
  const all = session.model.children(parent);
  const moved = all.filter((id) => ids.includes(id));
  const staying = all.filter((id) => !ids.includes(id));
  const below = (id: string): number => staying.filter((other) => all.indexOf(other) < all.indexOf(id)).length;
  const at = { front: staying.length, back: 0, forward: below(moved.at(-1)!) + 1, backward: below(moved[0]!) - 1 }[where];
  const place = Math.max(0, Math.min(staying.length, at));
  const result = [...staying.slice(0, place), ...moved, ...staying.slice(place)];
  if (result.every((id, i) => id === all[i])) return;
  step(session, () => session.edits.reorder(moved, parent, place));
}

export type Align = 'left' | 'center' | 'right' | 'top' | 'middle' | 'bottom';

/** One element to the print area, several to their common bounds. */
export function align(session: StudioSession, how: Align): void {
  const subjects = subjectsOf(session.model, session.movable());
  if (subjects.length === 0) return;
  const view = session.product.views.find((candidate) => candidate.id === session.view.peek())!;
  const target = subjects.length > 1 ? outerBounds(subjects) : { x: 0, y: 0, w: view.area[2], h: view.area[3] };
  const frames = new Map<string, Xf>();
  for (const subject of subjects) {
    const box = bounds(worldCorners(session.model, subject.id));
    const dx = { left: target.x - box.x, center: target.x + target.w / 2 - box.x - box.w / 2, right: target.x + target.w - box.x - box.w, top: 0, middle: 0, bottom: 0 }[how];
    const dy = { top: target.y - box.y, middle: target.y + target.h / 2 - box.y - box.h / 2, bottom: target.y + target.h - box.y - box.h, left: 0, center: 0, right: 0 }[how];
    for (const [id, xf] of move([subject], dx, dy).frames) frames.set(id, xf);
  }
  step(session, () => session.edits.setFrames(frames));
}

export function nudge(session: StudioSession, dx: number, dy: number): void {
  const subjects = subjectsOf(session.model, session.movable());
  if (subjects.length > 0) session.edits.setFrames(move(subjects, dx, dy).frames);
}

export function flip(session: StudioSession, bit: 1 | 2): void {
  const ids = session.movable();
  const frames = new Map<string, Xf>();
  for (const id of ids) {
    const raw = session.model.element(id);
    if (!raw) continue;
    const xf = readXf(raw);
    frames.set(id, [xf[0], xf[1], xf[2], xf[3], xf[4], 0, 0, xf[7] ^ bit]);
  }
  step(session, () => session.edits.setFrames(frames));
}

export function toggle(session: StudioSession, ids: readonly string[], key: 'visible' | 'locked'): void {
  const isOn = (raw: RawElement | undefined): boolean => (key === 'visible' ? raw?.vis !== false : raw?.lock === true);
  const all = ids.every((id) => isOn(session.model.element(id)));
  step(session, () => session.edits.set(ids, { [KEYS[key]]: !all }));
}

export function selectAll(session: StudioSession): void {
  session.select(session.model.rootsOf(session.view.peek()).filter((id) => session.model.element(id)?.lock !== true && session.model.element(id)?.vis !== false));
}

/** An element as something that can be made again, here or in another design. */
export function toNew(raw: RawElement): NewElement | null {
  const xf = readXf(raw);
  const common = {
    xf,
    ...(typeof raw.name === 'string' ? { name: raw.name } : {}),
    ...(typeof raw.fill === 'string' ? { fill: raw.fill } : {}),
    ...(raw.stroke !== undefined ? { stroke: raw.stroke } : {}),
    ...(typeof raw.op === 'number' ? { opacity: raw.op } : {}),
  };
  if (raw.t === 'text') return { ...common, type: 'text', text: raw.txt, style: raw.sty ?? {} };
  if (raw.t === 'shape') return { ...common, type: 'shape', geometry: raw.geo as NonNullable<NewElement['geometry']> };
  if (raw.t === 'image') return { ...common, type: 'image', image: raw.img as NonNullable<NewElement['image']> };
  return null;
}

export function copyText(session: StudioSession): string | null {
  const elements = inOrder(session, session.selection.peek())
    .map((id) => session.model.element(id))
    .map((raw) => (raw ? toNew(raw) : null))
    .filter((element) => element !== null);
  return elements.length === 0 ? null : JSON.stringify({ kind: CLIPBOARD_MARK, elements });
}

/** Elements from what was copied here or in another tab; null if it is something else. */
export function readCopied(text: string): NewElement[] | null {
  if (!text.startsWith(`{"kind":"${CLIPBOARD_MARK}"`)) return null;
  try {
    const copied = JSON.parse(text) as { elements: NewElement[] };
    return Array.isArray(copied.elements) ? copied.elements.filter((element) => ['text', 'shape', 'image'].includes(element.type) && Array.isArray(element.xf)) : null;
  } catch {
    return null;
  }
}

export function insert(session: StudioSession, elements: readonly NewElement[], shift: number): void {
  if (!session.canEdit || elements.length === 0 || !hasRoom(session, elements.length)) return;
  let ids: string[] = [];
  step(session, () => {
    ids = session.edits.addAll(
      session.view.peek(),
      elements.map((element) => ({ ...element, xf: [element.xf[0] + shift, element.xf[1] + shift, ...element.xf.slice(2)] as unknown as Xf })),
    );
  });
  session.select(ids);
}
