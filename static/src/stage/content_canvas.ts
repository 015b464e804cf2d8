/** Keeps the canvas of the layers up to date at the least cost: what rests is kept as a bitmap, what moves is painted. */
import type { Scene, SceneLayer } from '../document/scene';
import { isBlending, paintLayers, type Paints } from './painter';
import type { View } from './camera';

/** Below this many layers, painting all of them is cheaper than keeping bitmaps. */
const WORTH_KEEPING = 24;
/** A layer that changed within this time is taken to be changing still. */
const WARM_MS = 500;
const MOST_GHOSTS = 40;
/** A paint that took longer than this is not repeated for every step of a camera that moves. */
const SLOW_PAINT_MS = 9;
/** The camera rests when it has not moved for this long. */
const REST_MS = 110;

interface Sheet {
  readonly canvas: OffscreenCanvas;
  readonly ground: string;
  readonly layers: readonly SceneLayer[];
  readonly view: View;
}

const isSame = (a: readonly SceneLayer[], b: readonly SceneLayer[]): boolean => a.length === b.length && a.every((layer, i) => layer === b[i]);

type Context = CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D;

function fillGround(context: Context, ground: string, width: number, height: number): void {
  if (ground === 'none') return;
  context.fillStyle = ground;
  context.fillRect(0, 0, width, height);
}

export class ContentCanvas {
  readonly #canvas: HTMLCanvasElement;
  readonly #changedAt = new Map<string, number>();
  #before = new Map<string, SceneLayer>();
  #below: Sheet | null = null;
  #above: Sheet | null = null;
  #cost = 0;
  #last: { readonly canvas: OffscreenCanvas; readonly view: View; readonly layers: readonly SceneLayer[] } | null = null;
  #rest: ReturnType<typeof setTimeout> | undefined;

  constructor(canvas: HTMLCanvasElement) {
    this.#canvas = canvas;
  }

  /** Something that no layer shows has changed, a font or a picture that arrived: nothing kept is of use. */
  forget(): void {
    this.#below = null;
    this.#above = null;
    this.#last = null;
  }

  close(): void {
    clearTimeout(this.#rest);
  }

  /**
   * While only the camera moves and painting is dear, the last picture is moved and scaled; the crisp one follows at rest.
   *
   * @param again asks for another paint, later.
   */
  show(scene: Scene, view: View, ratio: number, paints: Paints, now: number, again: () => void): void {
    const { width, height } = this.#canvas;
    const last = this.#last;
    if (last && this.#cost > SLOW_PAINT_MS && last.view !== view && last.canvas.width === width && last.canvas.height === height && isSame(last.layers, scene.layers)) {
      const context = this.#canvas.getContext('2d')!;
      const by = view.zoom / last.view.zoom;
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.clearRect(0, 0, width, height);
      context.setTransform(by, 0, 0, by, (view.x - last.view.x * by) * ratio, (view.y - last.view.y * by) * ratio);
      context.drawImage(last.canvas, 0, 0);
      clearTimeout(this.#rest);
      this.#rest = setTimeout(() => {
        this.#last = null;
        again();
      }, REST_MS);
      return;
    }
    const began = performance.now();
    this.paint(scene, view, ratio, paints, now);
    this.#cost = performance.now() - began;
    if (this.#cost <= SLOW_PAINT_MS) {
      this.#last = null;
      return;
    }
    const canvas = new OffscreenCanvas(Math.max(1, width), Math.max(1, height));
    canvas.getContext('2d')!.drawImage(this.#canvas, 0, 0);
    this.#last = { canvas, view, layers: scene.layers };
  }

  paint(scene: Scene, view: View, ratio: number, paints: Paints, now: number): void {
    const context = this.#canvas.getContext('2d')!;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.#canvas.width, this.#canvas.height);
    const look = (target: Context): void => {
      target.setTransform(view.zoom * ratio, 0, 0, view.zoom * ratio, view.x * ratio, view.y * ratio);
    };
    look(context);
    context.save();
    const [w, h] = [scene.area[0] / 1000, scene.area[1] / 1000];
    context.beginPath();
    context.rect(0, 0, w, h);
    context.clip();
    const { layers } = scene;
    const warm = this.#warm(layers, paints.skip ?? null, now);
    if (layers.length < WORTH_KEEPING || warm === null || warm.last - warm.first > layers.length / 2) {
      fillGround(context, scene.bg, w, h);
      paintLayers(context, layers, paints);
    } else {
      // what blends needs what lies below it: below, that is kept with the ground; above, it is painted each time
      const last = Math.max(warm.last, layers.findLastIndex(isBlending));
      const fill = (target: Context): void => fillGround(target, scene.bg, w, h);
      this.#below = this.#kept(this.#below, scene.bg, layers.slice(0, warm.first), view, look, paints, fill);
      this.#above = this.#kept(this.#above, 'none', layers.slice(last + 1), view, look, paints);
      if (this.#below) this.#lay(context, this.#below);
      else fill(context);
      paintLayers(context, layers.slice(warm.first, last + 1), paints);
      this.#lay(context, this.#above);
    }
    context.restore();
    this.#ghosts(context, layers, w, h, paints);
  }

  #ghosts(context: CanvasRenderingContext2D, layers: readonly SceneLayer[], w: number, h: number, paints: Paints): void {
    const chosen = paints.ghosts && paints.ghosts.size > 0 && paints.ghosts.size <= MOST_GHOSTS ? layers.filter((layer) => paints.ghosts!.has(layer.id)) : [];
    if (chosen.length === 0) return;
    context.save();
    context.beginPath();
    context.rect(-1e5, -1e5, 2e5, 2e5);
    context.rect(0, 0, w, h);
    context.clip('evenodd');
    context.globalAlpha = 0.22;
    paintLayers(context, chosen, paints);
    context.restore();
  }

  /** First and last place among the layers of those that are changing; null if all rest. */
  #warm(layers: readonly SceneLayer[], skip: string | null, now: number): { first: number; last: number } | null {
    const next = new Map<string, SceneLayer>();
    let first = -1;
    let last = -1;
    layers.forEach((layer, i) => {
      next.set(layer.id, layer);
      if (this.#before.get(layer.id) !== layer) this.#changedAt.set(layer.id, now);
      if (layer.id === skip || now - (this.#changedAt.get(layer.id) ?? 0) < WARM_MS) {
        if (first === -1) first = i;
        last = i;
      }
    });
    this.#before = next;
    return first === -1 ? null : { first, last };
  }

  #kept(sheet: Sheet | null, ground: string, layers: readonly SceneLayer[], view: View, look: (target: Context) => void, paints: Paints, fill?: (target: Context) => void): Sheet | null {
    if (layers.length === 0) return null;
    const { width, height } = this.#canvas;
    if (sheet && sheet.view === view && sheet.ground === ground && sheet.canvas.width === width && sheet.canvas.height === height && isSame(sheet.layers, layers)) return sheet;
    const canvas = new OffscreenCanvas(Math.max(1, width), Math.max(1, height));
    const context = canvas.getContext('2d')!;
    look(context);
    fill?.(context);
    paintLayers(context, layers, paints);
    return { canvas, ground, layers, view };
  }

  #lay(context: CanvasRenderingContext2D, sheet: Sheet | null): void {
    if (!sheet) return;
    context.save();
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.drawImage(sheet.canvas, 0, 0);
    context.restore();
  }
}
