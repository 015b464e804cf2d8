/** What pointers do on the stage: one gesture at a time, read from pointer events, previewed live and committed once. */
import { signal } from '@preact/signals';
import { bounds, middle, type Box, type Point } from '../document/matrix';
import type { Previews } from '../document/design_model';
import { hasRoom } from '../studio/limits';
import type { StudioSession, Tool } from '../studio/session';
import type { Camera } from './camera';
import { addPlaced, type ShapeTool } from './creation';
import { cursorOf, gripAt, pivotOf, selectionFrame, type HandleSpot } from './handles';
import { snapBox, type Guide } from './snapping';
import { hit, subjectsOf, within, worldCorners } from './subjects';
import { attracted, move, outerBounds, resizeMany, resizeOne, rotate, type Outcome, type Subject } from './transforms';

const DRAG_THRESHOLD = 4;
const TOUCH_DRAG_THRESHOLD = 8;
const SNAP_PIXELS = 6;
const DOUBLE_MS = 360;
const DOUBLE_PIXELS = 12;
const MAX_SNAP_TARGETS = 60;

type Gesture =
  | { readonly kind: 'pan'; last: Point }
  | { readonly kind: 'press'; readonly at: Point; readonly target: string | null; readonly wasChosen: boolean; readonly shift: boolean }
  | { readonly kind: 'band'; readonly from: Point; readonly before: readonly string[] }
  | { readonly kind: 'move'; readonly from: Point; readonly subjects: readonly Subject[]; readonly others: readonly Box[] }
  | { readonly kind: 'resize'; readonly spot: HandleSpot; readonly subjects: readonly Subject[]; readonly offset: Point }
  | { readonly kind: 'rotate'; readonly pivot: Point; readonly startAngle: number; readonly subjects: readonly Subject[] }
  | { readonly kind: 'write'; readonly at: Point }
  | { readonly kind: 'draw'; readonly tool: ShapeTool; readonly from: Point; to: Point };

export class Interaction {
  readonly band = signal<Box | null>(null);
  readonly guides = signal<readonly Guide[]>([]);
  readonly label = signal<{ readonly text: string; readonly at: Point } | null>(null);
  readonly cursor = signal('default');
  readonly isMoving = signal(false);
  /** Space is held: the next drag moves the paper. */
  readonly isPanning = signal(false);

  readonly #session: () => StudioSession;
  readonly #camera: Camera;
  readonly #previews: () => Previews;
  #gesture: Gesture | null = null;
  #touches = new Map<number, Point>();
  #pinch: { readonly distance: number; readonly middle: Point } | null = null;
  #lastTap: { readonly at: Point; readonly time: number } | null = null;

  constructor(session: () => StudioSession, camera: Camera, previews: () => Previews) {
    this.#session = session;
    this.#camera = camera;
    this.#previews = previews;
  }

  attach(element: HTMLElement): () => void {
    const at = (event: { clientX: number; clientY: number }): Point => {
      const rect = element.getBoundingClientRect();
      return { x: event.clientX - rect.left, y: event.clientY - rect.top };
    };
    const down = (event: PointerEvent): void => {
      if ((event.target as HTMLElement).closest('textarea, .stage-float')) return;
      element.setPointerCapture(event.pointerId);
      (document.activeElement as HTMLElement | null)?.blur();
      if (event.pointerType === 'touch') this.#touches.set(event.pointerId, at(event));
      if (this.#touches.size === 2) this.#beginPinch();
      else if (this.#touches.size < 2) this.#down(at(event), event);
    };
    const moved = (event: PointerEvent): void => {
      const p = at(event);
      if (this.#touches.has(event.pointerId)) this.#touches.set(event.pointerId, p);
      if (this.#pinch) this.#movePinch();
      else this.#move(p, event);
      this.#session().presence.set({ cursor: this.#round(this.#camera.toMm(p)) });
    };
    const up = (event: PointerEvent): void => {
      this.#touches.delete(event.pointerId);
      if (this.#pinch) {
        if (this.#touches.size < 2) this.#pinch = null;
        this.#gesture = null;
        return;
      }
      this.#up(at(event), event);
    };
    const cancel = (event: PointerEvent): void => {
      this.#touches.delete(event.pointerId);
      this.#pinch = null;
      this.cancel();
    };
    const left = (): void => {
      this.#session().presence.set({ cursor: null });
      if (!this.#gesture) this.#session().hover.value = null;
    };
    const wheel = (event: WheelEvent): void => {
      event.preventDefault();
      const unit = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
      if (event.ctrlKey || event.metaKey) this.#camera.zoomAt(at(event), Math.exp(-event.deltaY * unit * (event.ctrlKey && Math.abs(event.deltaY) < 40 ? 0.01 : 0.0022)));
      else if (event.shiftKey && event.deltaX === 0) this.#camera.pan(-event.deltaY * unit, 0);
      else this.#camera.pan(-event.deltaX * unit, -event.deltaY * unit);
    };
    // The stage takes no focus by itself: whoever just began to type keeps it.
    const keepFocus = (event: MouseEvent): void => {
      if (!(event.target as HTMLElement).closest('textarea')) event.preventDefault();
    };
    element.addEventListener('mousedown', keepFocus);
    element.addEventListener('pointerdown', down);
    element.addEventListener('pointermove', moved);
    element.addEventListener('pointerup', up);
    element.addEventListener('pointercancel', cancel);
    element.addEventListener('pointerleave', left);
    element.addEventListener('wheel', wheel, { passive: false });
    return () => {
      element.removeEventListener('mousedown', keepFocus);
      element.removeEventListener('pointerdown', down);
      element.removeEventListener('pointermove', moved);
      element.removeEventListener('pointerup', up);
      element.removeEventListener('pointercancel', cancel);
      element.removeEventListener('pointerleave', left);
      element.removeEventListener('wheel', wheel);
    };
  }

  get isActive(): boolean {
    return this.#gesture !== null && this.#gesture.kind !== 'press';
  }

  /** Ends a gesture as if it had not begun. */
  cancel(): void {
    if (this.#gesture?.kind === 'band') this.#session().select(this.#gesture.before);
    this.#session().finish(false);
    this.#settle();
  }

  #settle(): void {
    this.#gesture = null;
    this.band.value = null;
    this.guides.value = [];
    this.label.value = null;
    this.isMoving.value = false;
  }

  #round(p: Point): Point {
    return { x: Math.round(p.x * 10) / 10, y: Math.round(p.y * 10) / 10 };
  }

  #reach(event: PointerEvent): number {
    return (event.pointerType === 'mouse' ? 3 : 10) / this.#camera.view.peek().zoom;
  }

  #gripAt(p: Point, event: PointerEvent): HandleSpot | null {
    const session = this.#session();
    const movable = session.movable();
    if (movable.length === 0 || session.editing.peek() !== null) return null;
    const frame = selectionFrame(subjectsOf(session.model, movable, this.#previews()), this.#camera);
    return frame && gripAt(frame, p, event.pointerType === 'mouse' ? 11 : 24);
  }

  #hit(p: Point, event: PointerEvent): string | null {
    const session = this.#session();
    return hit(session.model.scene(session.view.peek(), this.#previews()), session.model, this.#camera.toMm(p), this.#reach(event));
  }

  #down(p: Point, event: PointerEvent): void {
    const session = this.#session();
    const tool: Tool = session.tool.peek();
    if (event.button === 1 || this.isPanning.peek() || tool === 'hand') {
      this.#gesture = { kind: 'pan', last: p };
      this.cursor.value = 'grabbing';
      return;
    }
    if (event.button !== 0) return;
    const mm = this.#camera.toMm(p);
    if (session.editing.peek() !== null) session.editing.value = null;
    if (tool !== 'select' && session.canEdit) {
      this.#gesture = tool === 'text' ? { kind: 'write', at: mm } : { kind: 'draw', tool, from: mm, to: mm };
      return;
    }
    const spot = this.#gripAt(p, event);
    if (spot) {
      const subjects = subjectsOf(session.model, session.movable());
      if (spot.grip.kind === 'rotate') {
        const pivot = pivotOf(subjects);
        this.#gesture = { kind: 'rotate', pivot, subjects, startAngle: Math.atan2(mm.y - pivot.y, mm.x - pivot.x) };
      } else {
        const at = this.#camera.toMm(spot.at);
        this.#gesture = { kind: 'resize', spot, subjects, offset: { x: at.x - mm.x, y: at.y - mm.y } };
      }
      return;
    }
    const target = this.#hit(p, event);
    const chosen = session.selection.peek();
    const wasChosen = target !== null && chosen.includes(target);
    const onChosen = wasChosen || (!event.shiftKey && chosen.some((id) => this.#contains(id, mm)));
    if (target !== null && !onChosen) {
      session.select(event.shiftKey ? [...chosen, target] : [target]);
    }
    this.#gesture = { kind: 'press', at: p, target: onChosen && target === null ? (chosen[0] ?? null) : target, wasChosen: onChosen, shift: event.shiftKey };
  }

  /** A chosen element holds on to the pointer even where something else lies above it. */
  #contains(id: string, p: Point): boolean {
    const [a, b, , d] = worldCorners(this.#session().model, id, this.#previews()) as [Point, Point, Point, Point];
    const u = { x: b.x - a.x, y: b.y - a.y };
    const v = { x: d.x - a.x, y: d.y - a.y };
    const det = u.x * v.y - u.y * v.x;
    if (Math.abs(det) < 1e-9) return false;
    const s = ((p.x - a.x) * v.y - (p.y - a.y) * v.x) / det;
    const t = (u.x * (p.y - a.y) - u.y * (p.x - a.x)) / det;
    return s >= 0 && s <= 1 && t >= 0 && t <= 1;
  }

  #move(p: Point, event: PointerEvent): void {
    const gesture = this.#gesture;
    const session = this.#session();
    const mm = this.#camera.toMm(p);
    if (!gesture) {
      if (event.pointerType !== 'touch') this.#hover(p, event);
      return;
    }
    switch (gesture.kind) {
      case 'pan':
        this.#camera.pan(p.x - gesture.last.x, p.y - gesture.last.y);
        gesture.last = p;
        return;
      case 'press':
        if (Math.hypot(p.x - gesture.at.x, p.y - gesture.at.y) < (event.pointerType === 'mouse' ? DRAG_THRESHOLD : TOUCH_DRAG_THRESHOLD)) return;
        this.#beginDrag(gesture, p, event);
        return;
      case 'band': {
        const band = bounds([gesture.from, mm]);
        this.band.value = band;
        const inside = within(session.model.scene(session.view.peek()), session.model, band);
        session.select([...new Set([...gesture.before, ...inside])]);
        return;
      }
      case 'move':
        this.#drag(gesture, mm, event);
        return;
      case 'resize':
        this.#resize(gesture, mm, p, event);
        return;
      case 'rotate': {
        const turned = ((Math.atan2(mm.y - gesture.pivot.y, mm.x - gesture.pivot.x) - gesture.startAngle) * 180) / Math.PI;
        const first = gesture.subjects.length === 1 ? gesture.subjects[0]!.xf[4] : 0;
        const angle = attracted(first + turned, event.shiftKey);
        this.#preview(rotate(gesture.subjects, gesture.pivot, angle - first), `${Math.round((((angle + 180) % 360) + 360) % 360 - 180)}°`, p);
        return;
      }
      case 'draw': {
        gesture.to = event.shiftKey && gesture.tool !== 'line' ? square(gesture.from, mm) : mm;
        const box = bounds([gesture.from, gesture.to]);
        this.band.value = box;
        this.#say(`${box.w.toFixed(0)} × ${box.h.toFixed(0)} mm`, p);
      }
    }
  }

  #beginDrag(press: Extract<Gesture, { kind: 'press' }>, p: Point, event: PointerEvent): void {
    const session = this.#session();
    const from = this.#camera.toMm(press.at);
    if (press.target === null || press.shift) {
      // A finger on empty ground moves the paper; a mouse draws a band.
      if (event.pointerType === 'touch') this.#gesture = { kind: 'pan', last: p };
      else {
        const before = press.shift ? session.selection.peek() : [];
        if (!press.shift) session.select([]);
        this.#gesture = { kind: 'band', from, before };
      }
      return;
    }
    const subjects = subjectsOf(session.model, session.movable());
    if (subjects.length === 0) {
      this.#gesture = event.pointerType === 'touch' ? { kind: 'pan', last: p } : null;
      return;
    }
    const ids = new Set(subjects.map((subject) => subject.id));
    const view = session.product.views.find((candidate) => candidate.id === session.view.peek()) ?? session.product.views[0]!;
    const scene = session.model.scene(session.view.peek());
    const others = [
      { x: 0, y: 0, w: view.area[2], h: view.area[3] },
      ...scene.layers
        .filter((layer) => !ids.has(layer.id))
        .slice(-MAX_SNAP_TARGETS)
        .map((layer) => bounds(worldCorners(session.model, layer.id))),
    ];
    session.hover.value = null;
    this.isMoving.value = true;
    this.#gesture = { kind: 'move', from, subjects, others };
    this.#drag(this.#gesture, this.#camera.toMm(p), event);
  }

  #drag(gesture: Extract<Gesture, { kind: 'move' }>, mm: Point, event: PointerEvent): void {
    let dx = mm.x - gesture.from.x;
    let dy = mm.y - gesture.from.y;
    if (event.shiftKey) {
      if (Math.abs(dx) > Math.abs(dy)) dy = 0;
      else dx = 0;
    }
    const box = outerBounds(gesture.subjects);
    const snap =
      event.ctrlKey || event.metaKey
        ? { dx: 0, dy: 0, guides: [] }
        : snapBox({ ...box, x: box.x + dx, y: box.y + dy }, gesture.others, SNAP_PIXELS / this.#camera.view.peek().zoom);
    this.guides.value = snap.guides;
    this.#preview(move(gesture.subjects, dx + snap.dx, dy + snap.dy), null, null);
  }

  #resize(gesture: Extract<Gesture, { kind: 'resize' }>, mm: Point, p: Point, event: PointerEvent): void {
    if (gesture.spot.grip.kind !== 'resize') return;
    const { handle } = gesture.spot.grip;
    const pointer = { x: mm.x + gesture.offset.x, y: mm.y + gesture.offset.y };
    const only = gesture.subjects.length === 1 ? gesture.subjects[0]! : null;
    if (!only || only.kind === 'group') {
      this.#preview(resizeMany(gesture.subjects, handle, pointer, event.altKey), null, null);
      return;
    }
    const isPicture = only.kind === 'image' && handle.x !== 0 && handle.y !== 0;
    const outcome = resizeOne(only, handle, pointer, { keepRatio: isPicture !== event.shiftKey, fromMiddle: event.altKey });
    const size = outcome.sizes.get(only.id);
    const xf = outcome.frames.get(only.id)!;
    this.#preview(outcome, size === undefined ? `${xf[2].toFixed(0)} × ${only.kind === 'text' ? only.box.h.toFixed(0) : xf[3].toFixed(0)} mm` : `${size.toFixed(1)} mm`, p);
  }

  #preview(outcome: Outcome, text: string | null, at: Point | null): void {
    this.isMoving.value = true;
    this.#session().preview(outcome);
    if (text !== null && at !== null) this.#say(text, at);
  }

  #say(text: string, at: Point): void {
    this.label.value = { text, at: { x: at.x, y: at.y + 22 } };
  }

  #up(p: Point, event: PointerEvent): void {
    const gesture = this.#gesture;
    const session = this.#session();
    switch (gesture?.kind) {
      case 'press':
        this.#click(gesture, p, event);
        break;
      case 'move':
      case 'resize':
      case 'rotate':
        session.finish(true);
        break;
      case 'write': {
        if (!hasRoom(session)) break;
        const id = addPlaced(session, { tool: 'text', at: gesture.at });
        session.tool.value = 'select';
        session.select([id]);
        session.editing.value = id;
        break;
      }
      case 'draw': {
        if (!hasRoom(session)) break;
        const box = bounds([gesture.from, gesture.to]);
        const isClick = Math.max(box.w, box.h) * this.#camera.view.peek().zoom < DRAG_THRESHOLD * 2;
        const id = addPlaced(session, isClick ? { tool: gesture.tool, at: gesture.from } : { tool: gesture.tool, at: middle(box), drawn: { from: gesture.from, to: gesture.to } });
        session.tool.value = 'select';
        session.select([id]);
        break;
      }
    }
    this.#settle();
    if (event.pointerType !== 'touch') this.#hover(p, event);
  }

  #click(press: Extract<Gesture, { kind: 'press' }>, p: Point, event: PointerEvent): void {
    const session = this.#session();
    const target = this.#hit(p, event);
    const chosen = session.selection.peek();
    const now = event.timeStamp;
    const isDouble = this.#lastTap !== null && now - this.#lastTap.time < DOUBLE_MS && Math.hypot(p.x - this.#lastTap.at.x, p.y - this.#lastTap.at.y) < DOUBLE_PIXELS;
    this.#lastTap = isDouble ? null : { at: p, time: now };
    if (isDouble) {
      const text = [target, ...chosen].find((id) => id !== null && session.model.element(id)?.t === 'text');
      if (text && session.canEdit && session.model.element(text)?.lock !== true) {
        session.select([text]);
        session.editing.value = text;
      }
      return;
    }
    if (press.shift) {
      if (press.wasChosen && target !== null) session.select(chosen.filter((id) => id !== target));
      return;
    }
    session.select(target === null ? [] : [target]);
  }

  #hover(p: Point, event: PointerEvent): void {
    const session = this.#session();
    const tool = session.tool.peek();
    if (this.isPanning.peek() || tool === 'hand') {
      this.cursor.value = 'grab';
      return;
    }
    if (tool !== 'select') {
      this.cursor.value = tool === 'text' ? 'text' : 'crosshair';
      return;
    }
    const spot = this.#gripAt(p, event);
    if (spot) {
      this.cursor.value = cursorOf(spot);
      session.hover.value = null;
      return;
    }
    const target = this.#hit(p, event);
    session.hover.value = target;
    this.cursor.value = target !== null && session.canEdit ? 'move' : 'default';
  }

  #beginPinch(): void {
    this.cancel();
    const [a, b] = [...this.#touches.values()] as [Point, Point];
    this.#pinch = { distance: Math.hypot(a.x - b.x, a.y - b.y), middle: { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 } };
  }

  #movePinch(): void {
    if (!this.#pinch || this.#touches.size < 2) return;
    const [a, b] = [...this.#touches.values()] as [Point, Point];
    const distance = Math.hypot(a.x - b.x, a.y - b.y);
    const centre = { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 };
    this.#camera.pan(centre.x - this.#pinch.middle.x, centre.y - this.#pinch.middle.y);
    if (this.#pinch.distance > 0) this.#camera.zoomAt(centre, distance / this.#pinch.distance);
    this.#pinch = { distance, middle: centre };
  }
}

/** The other corner, so that both sides are equal. */
function square(from: Point, to: Point): Point {
  const side = Math.max(Math.abs(to.x - from.x), Math.abs(to.y - from.y));
  return { x: from.x + Math.sign(to.x - from.x || 1) * side, y: from.y + Math.sign(to.y - from.y || 1) * side };
}
