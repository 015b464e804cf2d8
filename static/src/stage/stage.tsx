/** The stage: product, layers, overlay, cursors and the text field, stacked and kept in step with the camera. */
import { computed, effect, signal, useComputed, type ReadonlySignal } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect, useMemo, useRef } from 'preact/hooks';
import type { Preview, Previews } from '../document/design_model';
import type { ProductView } from '../generated/schema';
import type { StudioSession } from '../studio/session';
import { inkOn } from '../ui/avatar';
import { isDark } from '../ui/theme';
import type { Camera } from './camera';
import { ContentCanvas } from './content_canvas';
import { Cursors } from './cursors';
import { selectionFrame } from './handles';
import type { Interaction } from './interaction';
import { mockAddress } from './mock';
import { paintOverlay, type OverlayPalette } from './overlay';
import { subjectsOf } from './subjects';
import { myCaret, TextEditor } from './text_editor';

const MAX_RATIO = 2;
const BLINK_MS = 530;
/** The mock-up is laid out at this many pixels per millimetre and scaled by the compositor from there. */
const MOCK_SCALE = 2;

interface Props {
  readonly session: StudioSession;
  readonly camera: Camera;
  readonly interaction: Interaction;
  readonly previews: ReadonlySignal<Previews>;
  readonly onFit: () => void;
}

/** Everybody's gestures under way; mine win over what others do to the same element. */
export function previewsOf(session: StudioSession): ReadonlySignal<Previews> {
  const kept = new Map<string, Preview>();
  return computed(() => {
    const previews = new Map<string, Preview>();
    const add = (id: string, xf: readonly number[], size: number | null): void => {
      const known = kept.get(id);
      const preview = known && known.xf === xf && known.size === size ? known : { xf, size };
      kept.set(id, preview);
      previews.set(id, preview);
    };
    for (const peer of session.presence.peers.value) for (const [id, xf] of peer.drag) add(id, xf, peer.sizes.get(id) ?? null);
    const mine = session.gesture.value;
    if (mine) for (const [id, xf] of mine.frames) add(id, xf, mine.sizes.get(id) ?? null);
    return previews;
  });
}

export const shownView = (session: StudioSession, id: string): ProductView => session.product.views.find((view) => view.id === id) ?? session.product.views[0]!;

export function Stage({ session, camera, interaction, previews, onFit }: Props): JSX.Element {
  const root = useRef<HTMLDivElement>(null);
  const content = useRef<HTMLCanvasElement>(null);
  const overlay = useRef<HTMLCanvasElement>(null);
  const under = useRef<HTMLImageElement>(null);
  const over = useRef<HTMLImageElement>(null);
  const view = useComputed(() => shownView(session, session.view.value));
  const base = useComputed(() => {
    void session.model.revision.value;
    return session.model.scene(view.value.id).base.slice(0, 7);
  });
  const blink = useMemo(() => signal(true), []);

  useEffect(() => {
    const element = root.current!;
    const resize = (): void => {
      const { width, height } = element.getBoundingClientRect();
      const before = camera.size.peek();
      if (before.width === width && before.height === height) return;
      camera.size.value = { width, height };
      if (camera.touched && before.width > 1) {
        const moved = camera.view.peek();
        camera.view.value = { ...moved, x: moved.x + (width - before.width) / 2, y: moved.y + (height - before.height) / 2 };
      } else onFit();
    };
    const observer = new ResizeObserver(resize);
    observer.observe(element);
    resize();
    const detach = interaction.attach(element);
    return () => {
      observer.disconnect();
      detach();
    };
  }, [session, interaction]);

  useEffect(() => {
    const canvas = new ContentCanvas(content.current!);
    const { fonts, images } = session.options;
    const refresh = signal(0);
    let arrivals = 0;
    const paint = (now: number): void => {
      if (!content.current) return; // the page is on its way to another
      const { width, height } = camera.size.peek();
      const ratio = Math.min(window.devicePixelRatio || 1, MAX_RATIO);
      fitCanvas(content.current, width, height, ratio);
      const scene = session.model.scene(session.view.peek(), previews.peek());
      const arrived = fonts.arrivals.peek() + images.arrivals.peek();
      if (arrived !== arrivals) canvas.forget();
      arrivals = arrived;
      canvas.show(scene, camera.view.peek(), ratio, { fonts, images, ghosts: new Set(session.selection.peek()) }, now, () => (refresh.value += 1));
    };
    const stop = eachFrame(paint, () => {
      void refresh.value;
      void session.model.revision.value;
      void session.view.value;
      void session.selection.value;
      void previews.value;
      void camera.view.value;
      void camera.size.value;
      void fonts.arrivals.value;
      void images.arrivals.value;
    });
    return () => {
      stop();
      canvas.close();
    };
  }, [session]);

  useEffect(() => {
    const timer = setInterval(() => {
      if (session.editing.peek() !== null) blink.value = !blink.peek();
    }, BLINK_MS);
    const wake = effect(() => {
      void myCaret.value;
      blink.value = true;
    });
    const paint = (): void => {
      if (!overlay.current) return;
      const { width, height } = camera.size.peek();
      const ratio = Math.min(window.devicePixelRatio || 1, MAX_RATIO);
      fitCanvas(overlay.current, width, height, ratio);
      const shown = previews.peek();
      const selection = session.selection.peek();
      const editing = session.editing.peek();
      const movable = session.canEdit && editing === null ? selection.filter((id) => session.model.element(id)?.lock !== true) : [];
      const visible = movable.filter((id) => session.model.element(id)?.vis !== false);
      const area = shownView(session, session.view.peek()).area;
      paintOverlay({
        context: overlay.current.getContext('2d')!,
        ratio,
        camera,
        model: session.model,
        edits: session.edits,
        previews: shown,
        palette: palette(base.peek()),
        area: { x: 0, y: 0, w: area[2], h: area[3] },
        isMoving: interaction.isMoving.peek(),
        selection,
        frame: selectionFrame(subjectsOf(session.model, visible, shown), camera),
        showHandles: !interaction.isMoving.peek(),
        hover: session.hover.peek(),
        band: interaction.band.peek(),
        guides: interaction.guides.peek(),
        label: interaction.label.peek(),
        peers: session.presence.peers.peek(),
        view: session.view.peek(),
        typing: editing === null ? null : { id: editing, range: myCaret.peek(), isCaretShown: blink.peek() },
      });
    };
    const stop = eachFrame(paint, () => {
      void session.model.revision.value;
      void session.view.value;
      void session.selection.value;
      void session.editing.value;
      void session.hover.value;
      void session.presence.peers.value;
      void previews.value;
      void camera.view.value;
      void camera.size.value;
      void interaction.band.value;
      void interaction.guides.value;
      void interaction.label.value;
      void interaction.isMoving.value;
      void myCaret.value;
      void blink.value;
      void isDark.value;
      void session.options.fonts.arrivals.value;
    });
    return () => {
      clearInterval(timer);
      wake();
      stop();
    };
  }, [session]);

  useEffect(
    () =>
      effect(() => {
        const { x, y, zoom } = camera.view.value;
        const [left, top] = view.value.area;
        const transform = `translate(${x - left * zoom}px, ${y - top * zoom}px) scale(${zoom / MOCK_SCALE})`;
        if (under.current) under.current.style.transform = transform;
        if (over.current) over.current.style.transform = transform;
      }),
    [session, view.value],
  );

  const { size } = view.value;
  const mockStyle = { width: `${size[0] * MOCK_SCALE}px`, height: `${size[1] * MOCK_SCALE}px` };
  return (
    <div
      class="stage"
      ref={root}
      role="application"
      aria-label={`Design area, ${view.value.name}`}
      style={{ cursor: interaction.cursor.value }}
      tabIndex={-1}
    >
      <img class="mock" ref={under} src={mockAddress(view.value.under, base.value)} alt="" draggable={false} style={mockStyle} />
      <canvas class="content" ref={content} aria-hidden="true" />
      {view.value.over !== '' && <img class="mock over" ref={over} src={mockAddress(view.value.over, base.value)} alt="" draggable={false} style={mockStyle} />}
      <canvas class="overlay" ref={overlay} aria-hidden="true" />
      {session.editing.value !== null && <TextEditor key={session.editing.value} session={session} camera={camera} id={session.editing.value} previews={() => previews.value} />}
      <Cursors session={session} camera={camera} />
    </div>
  );
}

function fitCanvas(canvas: HTMLCanvasElement, width: number, height: number, ratio: number): void {
  const w = Math.max(1, Math.round(width * ratio));
  const h = Math.max(1, Math.round(height * ratio));
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
}

/** Paints at most once per frame, whenever something that `watch` reads has changed. */
function eachFrame(paint: (now: number) => void, watch: () => void): () => void {
  let asked = 0;
  const stop = effect(() => {
    watch();
    if (asked !== 0) return;
    asked = requestAnimationFrame((now) => {
      asked = 0;
      paint(now);
    });
  });
  return () => {
    stop();
    cancelAnimationFrame(asked);
  };
}

/** The edge of the print area lies on the product, so it goes by the product's colour and not by the page's. */
const palette = (base: string): OverlayPalette => {
  const area = inkOn(base) === '#fff' ? '#e8e6f0' : '#6f6a78';
  return isDark.peek() ? { accent: '#7d75ff', surface: '#ffffff', guide: '#ff5d8f', area } : { accent: '#5145e5', surface: '#ffffff', guide: '#ec3b79', area };
};
