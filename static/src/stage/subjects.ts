/** Elements as the stage handles them: frames, visible boxes and what is under a point. */
import { apply, bounds, boxFromScene, corners, fromScene, IDENTITY, invert, multiply, overlaps, type Box, type Matrix, type Point } from '../document/matrix';
import { readXf } from '../document/edits';
import type { DesignModel, Previews } from '../document/design_model';
import { readStyle } from '../document/text_layout';
import type { Scene, SceneLayer } from '../document/scene';
import { shapePath } from './painter';
import type { Subject } from './transforms';

/** The parent's frame of an element to the print area. */
export function parentMatrix(model: DesignModel, id: string, previews?: Previews): Matrix {
  const parents = model.tree.peek().parentOf;
  let m = IDENTITY;
  let at = parents.get(id);
  for (let steps = 0; at !== undefined && !at.startsWith('view:') && steps < 64; steps += 1) {
    const resolved = model.resolved(at, previews);
    if (resolved) m = multiply(fromScene(resolved.layer.m), m);
    at = parents.get(at);
  }
  return m;
}

/** The visible box of an element in its own frame; that of a group holds its children. */
export function localBox(model: DesignModel, id: string, previews?: Previews): Box {
  const resolved = model.resolved(id, previews);
  if (!resolved) return { x: 0, y: 0, w: 0, h: 0 };
  const own = boxFromScene(resolved.layer.box);
  if (resolved.layer.t !== 'group') return own;
  const inside = model.children(id).flatMap((child) => {
    const inner = model.resolved(child, previews);
    return inner ? corners(localBox(model, child, previews), fromScene(inner.layer.m)) : [];
  });
  return inside.length === 0 ? own : bounds(inside);
}

export function subjectOf(model: DesignModel, id: string, previews?: Previews): Subject | null {
  const raw = model.element(id);
  const resolved = model.resolved(id, previews);
  if (!raw || !resolved) return null;
  const preview = previews?.get(id);
  const kind = resolved.layer.t;
  return {
    id,
    kind,
    xf: preview ? readXf({ ...raw, xf: [...preview.xf] }) : readXf(raw),
    box: localBox(model, id, previews),
    parent: parentMatrix(model, id, previews),
    size: kind === 'text' ? (preview?.size ?? readStyle(raw.sty).size / 1000) : null,
  };
}

export const subjectsOf = (model: DesignModel, ids: readonly string[], previews?: Previews): Subject[] =>
  ids.map((id) => subjectOf(model, id, previews)).filter((subject) => subject !== null);

/** An element's frame to the print area. */
export function worldMatrix(model: DesignModel, id: string, previews?: Previews): Matrix {
  const resolved = model.resolved(id, previews);
  return resolved ? multiply(parentMatrix(model, id, previews), fromScene(resolved.layer.m)) : IDENTITY;
}

export const worldCorners = (model: DesignModel, id: string, previews?: Previews): [Point, Point, Point, Point] =>
  corners(localBox(model, id, previews), worldMatrix(model, id, previews));

const probe = typeof OffscreenCanvas === 'undefined' ? null : new OffscreenCanvas(1, 1).getContext('2d');

function isOn(layer: SceneLayer, outer: Matrix, p: Point, reach: number): boolean {
  const m = multiply(outer, fromScene(layer.m));
  if (layer.t === 'group') return layer.layers.some((child) => isOn(child, m, p, reach));
  const at = apply(invert(m), p);
  const box = boxFromScene(layer.box);
  if (at.x < box.x - reach || at.y < box.y - reach || at.x > box.x + box.w + reach || at.y > box.y + box.h + reach) return false;
  if (layer.t !== 'shape' || probe === null || layer.d === '') return true;
  const path = shapePath(layer);
  probe.lineWidth = Math.max(layer.stroke?.w ?? 0, reach * 2000);
  const isInside = layer.fill !== 'none' || layer.stroke === null;
  return (isInside && probe.isPointInPath(path, at.x * 1000, at.y * 1000)) || probe.isPointInStroke(path, at.x * 1000, at.y * 1000);
}

/** The topmost element under a point that may be chosen; a group stands for its children. `reach` is in mm. */
export function hit(scene: Scene, model: DesignModel, p: Point, reach: number): string | null {
  for (let i = scene.layers.length - 1; i >= 0; i -= 1) {
    const layer = scene.layers[i]!;
    if (model.element(layer.id)?.lock !== true && isOn(layer, IDENTITY, p, reach)) return layer.id;
  }
  return null;
}

/** What a rubber band touches. */
export function within(scene: Scene, model: DesignModel, band: Box): string[] {
  return scene.layers
    .filter((layer) => model.element(layer.id)?.lock !== true && overlaps(bounds(worldCorners(model, layer.id)), band))
    .map((layer) => layer.id);
}
