/** Paints a Scene. The same code draws the stage, a gesture's preview and the picture that is compared with the server's. */
import { fromScene, type Matrix } from '../document/matrix';
import type { ImageLayer, Scene, SceneLayer, TextLayer } from '../document/scene';
import type { FontSource } from '../document/shaper';
import type { ImageLibrary } from './images';

type Context = CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D;

const textPaths = new WeakMap<TextLayer['runs'], Path2D>();
const shapePaths = new WeakMap<SceneLayer, Path2D>();
const glyphPaths = new Map<string, Path2D>();
const KEPT_GLYPHS = 6_000;

function glyph(fonts: FontSource, id: string, number: number): { path: Path2D; unitsPerEm: number } | null {
  const font = fonts.get(id);
  if (!font) return null;
  const key = `${id} ${number}`;
  let path = glyphPaths.get(key);
  if (!path) {
    if (glyphPaths.size > KEPT_GLYPHS) glyphPaths.clear();
    path = new Path2D(font.glyphPath(number));
    glyphPaths.set(key, path);
  }
  return { path, unitsPerEm: font.file.unitsPerEm };
}

/** All outlines of a text as one path, in micrometres (C26). */
export function textPath(runs: TextLayer['runs'], fonts: FontSource): Path2D {
  const known = textPaths.get(runs);
  if (known) return known;
  const path = new Path2D();
  let isWhole = true;
  for (const run of runs) {
    run.g.forEach((number, i) => {
      const outline = glyph(fonts, run.f, number);
      if (!outline) {
        isWhole = false;
        return;
      }
      const scale = run.s / outline.unitsPerEm;
      path.addPath(outline.path, { a: scale, b: 0, c: 0, d: -scale, e: run.x + run.p[2 * i]! * scale, f: run.y - run.p[2 * i + 1]! * scale });
    });
  }
  if (isWhole) textPaths.set(runs, path);
  return path;
}

/** The outline of a shape in micrometres. */
export function shapePath(layer: SceneLayer & { t: 'shape' }): Path2D {
  let path = shapePaths.get(layer);
  if (!path) {
    path = new Path2D(layer.d);
    shapePaths.set(layer, path);
  }
  return path;
}

export interface Paints {
  readonly fonts: FontSource;
  readonly images: ImageLibrary;
  /** A layer that is not painted, since something else shows it just now. */
  readonly skip?: string | null;
  /** Chosen layers: what of them lies beyond the print area, and will not be printed, is shown faintly. */
  readonly ghosts?: ReadonlySet<string>;
}

/** The context's map must lead from millimetres of the print area to pixels. */
export function paintLayers(context: Context, layers: readonly SceneLayer[], paints: Paints): void {
  for (const layer of layers) if (layer.id !== paints.skip) paintLayer(context, layer, paints);
}

function paintLayer(context: Context, layer: SceneLayer, paints: Paints): void {
  if (layer.op === 0) return;
  const isSpecial = layer.op < 65536 || layer.bm !== 'normal';
  const isMixed = layer.t === 'group' || ('stroke' in layer && layer.stroke !== null && layer.fill !== 'none');
  if (isSpecial && isMixed) {
    isolated(context, layer, (inner) => paintPlain(inner, layer, paints));
    return;
  }
  context.save();
  if (isSpecial) look(context, layer);
  paintPlain(context, layer, paints);
  context.restore();
}

/** How what is painted next goes onto what is there (C30). */
function look(context: Context, { op, bm }: SceneLayer): void {
  context.globalAlpha *= op / 65536;
  context.globalCompositeOperation = bm === 'normal' ? 'source-over' : bm;
}

/** Whether the layer mixes with what lies below it, or a layer in it does that is not held apart by its group. */
export const isBlending = (layer: SceneLayer): boolean =>
  layer.op > 0 && (layer.bm !== 'normal' || (layer.t === 'group' && layer.op === 65536 && layer.layers.some(isBlending)));

/** Paints onto a sheet of its own, which is then laid down as one picture (C16). */
function isolated(context: Context, layer: SceneLayer, paint: (inner: Context) => void): void {
  const sheet = new OffscreenCanvas(Math.max(1, context.canvas.width), Math.max(1, context.canvas.height));
  const inner = sheet.getContext('2d')!;
  inner.setTransform(context.getTransform());
  paint(inner);
  context.save();
  context.setTransform(1, 0, 0, 1, 0, 0);
  look(context, layer);
  context.drawImage(sheet, 0, 0);
  context.restore();
}

const transform = (context: Context, m: Matrix): void => context.transform(m.a, m.b, m.c, m.d, m.e, m.f);

function paintPlain(context: Context, layer: SceneLayer, paints: Paints): void {
  context.save();
  transform(context, fromScene(layer.m));
  switch (layer.t) {
    case 'group':
      paintLayers(context, layer.layers, paints);
      break;
    case 'image':
      paintImage(context, layer, paints);
      break;
    case 'shape': {
      context.scale(0.001, 0.001);
      const path = shapePath(layer);
      if (layer.fill !== 'none') {
        context.fillStyle = layer.fill;
        context.fill(path);
      }
      if (layer.stroke) {
        context.lineWidth = layer.stroke.w;
        context.strokeStyle = layer.stroke.c;
        context.lineJoin = 'miter';
        context.miterLimit = 4;
        context.lineCap = 'butt';
        context.stroke(path);
      }
      break;
    }
    case 'text': {
      context.scale(0.001, 0.001);
      const path = textPath(layer.runs, paints.fonts);
      if (layer.stroke) {
        context.lineWidth = layer.stroke.w;
        context.strokeStyle = layer.stroke.c;
        context.lineJoin = 'round';
        context.lineCap = 'round';
        context.stroke(path);
      }
      if (layer.fill !== 'none') {
        context.fillStyle = layer.fill;
        context.fill(path);
      }
      break;
    }
  }
  context.restore();
}

function paintImage(context: Context, layer: ImageLayer, paints: Paints): void {
  if (layer.a === null || layer.box[2] === 0 || layer.box[3] === 0) return;
  const entry = paints.images.get(layer.a);
  if (entry.kind !== 'here') return;
  const [l, t, r, b] = layer.crop.map((part) => part / 65536) as [number, number, number, number];
  context.imageSmoothingEnabled = true;
  context.imageSmoothingQuality = 'high';
  context.drawImage(
    entry.picture,
    l * entry.width,
    t * entry.height,
    (r - l) * entry.width,
    (b - t) * entry.height,
    0,
    0,
    layer.box[2] / 1000,
    layer.box[3] / 1000,
  );
}

/** The print area alone, `width` pixels wide, as the server's render shows it: no product, nothing of the studio. */
export function paintPicture(scene: Scene, width: number, paints: Paints): OffscreenCanvas {
  const zoom = width / (scene.area[0] / 1000);
  const sheet = new OffscreenCanvas(width, Math.max(1, Math.round((scene.area[1] / 1000) * zoom)));
  const context = sheet.getContext('2d')!;
  context.setTransform(zoom, 0, 0, zoom, 0, 0);
  if (scene.bg !== 'none') {
    context.fillStyle = scene.bg;
    context.fillRect(0, 0, scene.area[0] / 1000, scene.area[1] / 1000);
  }
  paintLayers(context, scene.layers, paints);
  return sheet;
}
