/** Where one looks: a translation and a zoom from millimetres of the print area to pixels of the stage. */
import { signal } from '@preact/signals';
import type { Box, Point } from '../document/matrix';

export interface View {
  /** Pixels from the stage's corner to the print area's corner. */
  readonly x: number;
  readonly y: number;
  /** Pixels per millimetre. */
  readonly zoom: number;
}

export const MIN_ZOOM = 0.05;
export const MAX_ZOOM = 40;

export class Camera {
  readonly view = signal<View>({ x: 0, y: 0, zoom: 1 });
  /** Size of the stage in pixels. */
  readonly size = signal<{ readonly width: number; readonly height: number }>({ width: 1, height: 1 });
  /** The person has moved it; a new size of the window then keeps the middle instead of fitting again. */
  touched = false;

  toMm(p: Point): Point {
    const { x, y, zoom } = this.view.peek();
    return { x: (p.x - x) / zoom, y: (p.y - y) / zoom };
  }

  toPixels(p: Point): Point {
    const { x, y, zoom } = this.view.peek();
    return { x: p.x * zoom + x, y: p.y * zoom + y };
  }

  pan(dx: number, dy: number): void {
    this.touched = true;
    const { x, y, zoom } = this.view.peek();
    this.view.value = { x: x + dx, y: y + dy, zoom };
  }

  /** Zooms by a factor and keeps what is under `at` (pixels) where it is. */
  zoomAt(at: Point, factor: number): void {
    this.touched = true;
    const { x, y, zoom } = this.view.peek();
    const next = Math.min(MAX_ZOOM, Math.max(MIN_ZOOM, zoom * factor));
    const by = next / zoom;
    this.view.value = { x: at.x - (at.x - x) * by, y: at.y - (at.y - y) * by, zoom: next };
  }

  zoomBy(factor: number): void {
    const { width, height } = this.size.peek();
    this.zoomAt({ x: width / 2, y: height / 2 }, factor);
  }

  /** Shows a box of millimetres with a margin of pixels around it. */
  fit(box: Box, margin: number): void {
    const { width, height } = this.size.peek();
    const zoom = Math.min(MAX_ZOOM, Math.max(MIN_ZOOM, Math.min((width - 2 * margin) / box.w, (height - 2 * margin) / box.h)));
    this.view.value = { zoom, x: width / 2 - (box.x + box.w / 2) * zoom, y: height / 2 - (box.y + box.h / 2) * zoom };
    this.touched = false;
  }
}
