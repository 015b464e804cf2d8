/** Paints what lies over the design: outlines, handles, guides, other people's selections and carets. */
import * as Y from 'yjs';
import { apply, type Box, type Point } from '../document/matrix';
import { caretAt, type TextLayout } from '../document/text_layout';
import type { DesignModel, Previews } from '../document/design_model';
import type { Peer } from '../document/presence';
import type { Edits } from '../document/edits';
import { inkOn } from '../ui/avatar';
import type { Camera } from './camera';
import type { Frame } from './handles';
import type { Guide } from './snapping';
import { worldCorners, worldMatrix } from './subjects';

export interface OverlayPalette {
  readonly accent: string;
  readonly surface: string;
  readonly guide: string;
  readonly area: string;
}

export interface CaretRange {
  readonly anchor: number;
  readonly head: number;
}

export interface OverlayInput {
  readonly context: CanvasRenderingContext2D;
  readonly ratio: number;
  readonly camera: Camera;
  readonly model: DesignModel;
  readonly edits: Edits;
  readonly previews: Previews;
  readonly palette: OverlayPalette;
  readonly area: Box;
  readonly isMoving: boolean;
  readonly selection: readonly string[];
  readonly frame: Frame | null;
  readonly showHandles: boolean;
  readonly hover: string | null;
  readonly band: Box | null;
  readonly guides: readonly Guide[];
  readonly label: { readonly text: string; readonly at: Point } | null;
  readonly peers: readonly Peer[];
  readonly view: string;
  /** The text that is being typed into, with my own caret. */
  readonly typing: { readonly id: string; readonly range: CaretRange; readonly isCaretShown: boolean } | null;
}

const FONT = "550 11px Inter, system-ui, sans-serif";

export function paintOverlay(input: OverlayInput): void {
  const { context, ratio, camera, palette } = input;
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, context.canvas.width, context.canvas.height);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.lineJoin = 'round';
  paintArea(input);
  for (const peer of input.peers) if (peer.view === input.view) paintPeer(input, peer);
  if (input.hover !== null && !input.selection.includes(input.hover)) outline(input, input.hover, palette.accent, 1.5);
  for (const id of input.selection) outline(input, id, palette.accent, 1.25);
  if (input.typing) paintTyping(input, input.typing.id, input.typing.range, palette.accent, input.typing.isCaretShown);
  if (input.frame) paintFrame(input, input.frame);
  context.strokeStyle = palette.guide;
  context.lineWidth = 1;
  for (const guide of input.guides) {
    const from = camera.toPixels(guide.axis === 'x' ? { x: guide.at, y: guide.from } : { x: guide.from, y: guide.at });
    const to = camera.toPixels(guide.axis === 'x' ? { x: guide.at, y: guide.to } : { x: guide.to, y: guide.at });
    context.beginPath();
    context.moveTo(Math.round(from.x) + 0.5, Math.round(from.y) + 0.5);
    context.lineTo(Math.round(to.x) + 0.5, Math.round(to.y) + 0.5);
    context.stroke();
  }
  if (input.band) {
    const a = camera.toPixels({ x: input.band.x, y: input.band.y });
    const b = camera.toPixels({ x: input.band.x + input.band.w, y: input.band.y + input.band.h });
    context.globalAlpha = 0.12;
    context.fillStyle = palette.accent;
    context.fillRect(a.x, a.y, b.x - a.x, b.y - a.y);
    context.globalAlpha = 1;
    context.strokeStyle = palette.accent;
    context.strokeRect(Math.round(a.x) + 0.5, Math.round(a.y) + 0.5, Math.round(b.x - a.x), Math.round(b.y - a.y));
  }
  if (input.label) chip(context, input.label.text, input.label.at, palette.accent, palette.surface, 'middle');
}

function paintArea({ context, camera, area, palette, isMoving }: OverlayInput): void {
  const a = camera.toPixels({ x: area.x, y: area.y });
  const b = camera.toPixels({ x: area.x + area.w, y: area.y + area.h });
  context.setLineDash([5, 4]);
  context.lineWidth = 1;
  context.globalAlpha = isMoving ? 0.9 : 0.5;
  context.strokeStyle = isMoving ? palette.accent : palette.area;
  context.strokeRect(Math.round(a.x) - 0.5, Math.round(a.y) - 0.5, Math.round(b.x - a.x) + 1, Math.round(b.y - a.y) + 1);
  context.setLineDash([]);
  context.globalAlpha = 1;
}

function trace(context: CanvasRenderingContext2D, points: readonly Point[]): void {
  context.beginPath();
  points.forEach((p, i) => (i === 0 ? context.moveTo(p.x, p.y) : context.lineTo(p.x, p.y)));
  context.closePath();
}

function outline(input: OverlayInput, id: string, color: string, width: number): readonly Point[] | null {
  if (!input.model.isAlive(id) || input.model.element(id)?.vis === false) return null;
  const points = worldCorners(input.model, id, input.previews).map((p) => input.camera.toPixels(p));
  trace(input.context, points);
  input.context.lineWidth = width;
  input.context.strokeStyle = color;
  input.context.stroke();
  return points;
}

function paintFrame({ context, palette, showHandles, selection }: OverlayInput, frame: Frame): void {
  if (selection.length > 1) {
    trace(context, frame.corners);
    context.lineWidth = 1;
    context.strokeStyle = palette.accent;
    context.stroke();
  }
  if (!showHandles) return;
  const knob = frame.spots.find((spot) => spot.grip.kind === 'rotate')!;
  for (const { grip, at } of frame.spots) {
    context.save();
    context.shadowColor = 'rgb(0 0 0 / 0.22)';
    context.shadowBlur = 3;
    context.shadowOffsetY = 1;
    context.fillStyle = '#ffffff';
    context.beginPath();
    if (grip.kind === 'rotate') context.arc(at.x, at.y, 10, 0, Math.PI * 2);
    else if (grip.handle.x !== 0 && grip.handle.y !== 0) context.roundRect(at.x - 5, at.y - 5, 10, 10, 3);
    else if (grip.handle.x !== 0) context.roundRect(at.x - 3, at.y - 8, 6, 16, 3);
    else context.roundRect(at.x - 8, at.y - 3, 16, 6, 3);
    context.fill();
    context.restore();
    context.lineWidth = 1;
    context.strokeStyle = palette.accent;
    context.stroke();
  }
  // A round arrow in the knob.
  context.save();
  context.translate(knob.at.x, knob.at.y);
  context.strokeStyle = palette.accent;
  context.lineWidth = 1.6;
  context.lineCap = 'round';
  context.beginPath();
  context.arc(0, 0, 4.6, -0.35, Math.PI * 1.42);
  context.moveTo(4.8, -5);
  context.lineTo(4.9, -1.3);
  context.lineTo(1.3, -1.6);
  context.stroke();
  context.restore();
}

function chip(context: CanvasRenderingContext2D, text: string, at: Point, background: string, ink: string, align: 'middle' | 'start'): void {
  context.font = FONT;
  const width = context.measureText(text).width + 12;
  const x = Math.round(align === 'middle' ? at.x - width / 2 : at.x);
  const y = Math.round(at.y);
  context.fillStyle = background;
  context.beginPath();
  context.roundRect(x, y, width, 18, 5);
  context.fill();
  context.fillStyle = ink;
  context.textBaseline = 'middle';
  context.fillText(text, x + 6, y + 9.5);
}

function paintPeer(input: OverlayInput, peer: Peer): void {
  const { color, name } = peer.user;
  let top: Point | null = null;
  for (const id of peer.selection) {
    const points = outline(input, id, color, 1.75);
    if (!points) continue;
    const highest = points.reduce((best, p) => (p.y < best.y ? p : best));
    const leftmost = Math.min(...points.map((p) => p.x));
    if (top === null || highest.y < top.y) top = { x: leftmost, y: highest.y };
  }
  const range = peer.editing ? absoluteRange(input, peer.editing.el, peer.editing.anchor, peer.editing.head) : null;
  if (peer.editing && range) {
    const caret = paintTyping(input, peer.editing.el, range, color, true);
    if (caret) {
      chip(input.context, name, { x: caret.x - 1, y: caret.y - 19 }, color, inkOn(color), 'start');
      return;
    }
  }
  if (top) chip(input.context, name, { x: top.x - 1, y: top.y - 21 }, color, inkOn(color), 'start');
}

function absoluteRange({ edits, model }: OverlayInput, el: string, anchor: unknown, head: unknown): CaretRange | null {
  const text = edits.text(el);
  if (!text || typeof anchor !== 'object' || typeof head !== 'object' || anchor === null || head === null) return null;
  try {
    const a = Y.createAbsolutePositionFromRelativePosition(Y.createRelativePositionFromJSON(anchor), model.doc);
    const h = Y.createAbsolutePositionFromRelativePosition(Y.createRelativePositionFromJSON(head), model.doc);
    return a && h && a.type === text && h.type === text ? { anchor: a.index, head: h.index } : null;
  } catch {
    // A position made up by a foreign client shows nobody's caret.
    return null;
  }
}

/** Selection and caret in a text; returns the caret's top on the screen. */
function paintTyping(input: OverlayInput, id: string, range: CaretRange, color: string, isCaretShown: boolean): Point | null {
  const layout = input.model.resolved(id, input.previews)?.text;
  if (!layout || layout.lines.length === 0) return null;
  const m = worldMatrix(input.model, id, input.previews);
  const at = (x: number, y: number): Point => input.camera.toPixels(apply(m, { x: x / 1000, y: y / 1000 }));
  const { context } = input;
  const from = Math.min(range.anchor, range.head);
  const to = Math.max(range.anchor, range.head);
  if (to > from) {
    context.globalAlpha = 0.24;
    context.fillStyle = color;
    for (const [left, right, line] of selectionBars(layout, from, to)) {
      trace(context, [at(left, line.top), at(right, line.top), at(right, line.top + line.height), at(left, line.top + line.height)]);
      context.fill();
    }
    context.globalAlpha = 1;
  }
  const caret = caretAt(layout, range.head);
  const line = layout.lines[caret.line]!;
  const inset = line.height * 0.06;
  const top = at(caret.x, line.top + inset);
  const bottom = at(caret.x, line.top + line.height - inset);
  if (isCaretShown) {
    context.lineWidth = 2;
    context.strokeStyle = color;
    context.lineCap = 'round';
    context.beginPath();
    context.moveTo(top.x, top.y);
    context.lineTo(bottom.x, bottom.y);
    context.stroke();
  }
  return top;
}

function* selectionBars(layout: TextLayout, from: number, to: number): Generator<[number, number, { top: number; height: number }]> {
  const first = caretAt(layout, from);
  const last = caretAt(layout, to);
  for (let i = first.line; i <= last.line; i += 1) {
    const line = layout.lines[i]!;
    const left = i === first.line ? first.x : (line.stops[0]?.x ?? 0);
    const right = i === last.line ? last.x : (line.stops.at(-1)?.x ?? 0) + line.height * 0.12;
    yield [left, Math.max(right, left), line];
  }
}
