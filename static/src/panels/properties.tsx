/** Everything that can be set on what is chosen; with nothing chosen, on the product and its print area. */
import {
  AlignCenter, AlignCenterHorizontal, AlignCenterVertical, AlignEndHorizontal, AlignEndVertical, AlignLeft, AlignRight, AlignStartHorizontal, AlignStartVertical,
  ArrowDown, ArrowDownToLine, ArrowUp, ArrowUpToLine, CopyPlus, FlipHorizontal2, FlipVertical2, Lock, LockOpen, MousePointer2, Trash2, TriangleAlert,
} from 'lucide';
import type { JSX } from 'preact';
import { SCHEMA, type Align as TextAlign } from '../generated/schema';
import { readXf, type Xf } from '../document/edits';
import type { RawElement } from '../document/element';
import { bounds } from '../document/matrix';
import { readGeometry } from '../document/shapes';
import { readStyle } from '../document/text_layout';
import { color } from '../document/values';
import { subjectOf, worldCorners } from '../stage/subjects';
import { outerBounds, rotate } from '../stage/transforms';
import { pivotOf } from '../stage/handles';
import { align, arrange, duplicate, flip, remove, step, toggle, type Align } from '../studio/actions';
import type { StudioSession } from '../studio/session';
import { Icon } from '../ui/icon';
import { Choice, ColorField, NumberField, SelectField, Slider } from './fields';
import { FontPicker } from './font_picker';
import { BLEND_NAMES, nameOf } from './names';

const KEYS = SCHEMA.elementKeys;
const STYLE = SCHEMA.styleKeys;

/** The value that all have, or null. */
function common<T>(raws: readonly RawElement[], read: (raw: RawElement) => T): T | null {
  const first = raws[0] === undefined ? null : read(raws[0]);
  return raws.every((raw) => read(raw) === first) ? first : null;
}

export function Properties({ session }: { readonly session: StudioSession }): JSX.Element {
  void session.model.revision.value;
  void session.gesture.value;
  const raws = session.selection.value.map((id) => session.model.element(id)).filter((raw) => raw !== undefined);
  if (raws.length === 0) return <Ground session={session} />;
  const isLocked = raws.every((raw) => raw.lock === true);
  const disabled = !session.canEdit || isLocked;
  const kinds = new Set(raws.map((raw) => raw.t));
  const only = raws.length === 1 ? raws[0]! : null;
  return (
    <div class="properties">
      <div class="section head-section">
        <strong class="chosen-name">{only ? nameOf(only) : `${raws.length} layers`}</strong>
        {session.canEdit && (
          <span class="row-buttons">
            <button type="button" class="icon-button tight" aria-label={isLocked ? 'Unlock' : 'Lock'} aria-pressed={isLocked} data-tip={isLocked ? 'Unlock' : 'Lock'} data-tip-side="left" onClick={() => toggle(session, session.selection.peek(), 'locked')}>
              <Icon of={isLocked ? Lock : LockOpen} size={15} />
            </button>
            <button type="button" class="icon-button tight" aria-label="Duplicate" disabled={disabled} data-tip="Duplicate" data-tip-side="left" onClick={() => duplicate(session)}>
              <Icon of={CopyPlus} size={15} />
            </button>
            <button type="button" class="icon-button tight" aria-label="Delete" disabled={disabled} data-tip="Delete" data-tip-side="left" onClick={() => remove(session)}>
              <Icon of={Trash2} size={15} />
            </button>
          </span>
        )}
      </div>
      {kinds.size === 1 && kinds.has('text') && <TextSection session={session} raws={raws} disabled={disabled} />}
      {kinds.size === 1 && kinds.has('shape') && <ShapeSection session={session} raws={raws} disabled={disabled} />}
      {!kinds.has('image') && !kinds.has('group') && <PaintSection session={session} raws={raws} disabled={disabled} />}
      <FrameSection session={session} raws={raws} disabled={disabled} />
      <div class="section">
        <h3>Layer</h3>
        <Slider
          label="Opacity"
          value={common(raws, (raw) => (typeof raw.op === 'number' ? raw.op : 1))}
          min={0}
          max={1}
          step={0.01}
          disabled={disabled}
          format={(value) => `${Math.round(value * 100)} %`}
          onBegin={() => session.undo.begin(session.selection.peek())}
          onChange={(value) => session.edits.set(session.movable(), { [KEYS.opacity]: value })}
        />
        <SelectField
          label="Blend mode"
          value={common(raws, (raw) => session.model.resolved(raw.id)?.layer.bm ?? SCHEMA.defaults.blend)}
          groups={BLEND_NAMES}
          disabled={disabled}
          onChange={(mode) => step(session, () => session.edits.set(session.movable(), { [KEYS.blend]: mode }))}
        />
        {session.canEdit && (
          <div class="button-row" role="group" aria-label="Order">
            {(
              [
                ['front', 'To the front', ArrowUpToLine],
                ['forward', 'Forward', ArrowUp],
                ['backward', 'Backward', ArrowDown],
                ['back', 'To the back', ArrowDownToLine],
              ] as const
            ).map(([where, name, icon]) => (
              <button key={where} type="button" class="icon-button" disabled={disabled} aria-label={name} data-tip={name} onClick={() => arrange(session, where)}>
                <Icon of={icon} size={16} />
              </button>
            ))}
            <span class="divider" />
            <button type="button" class="icon-button" disabled={disabled} aria-label="Mirror left to right" data-tip="Mirror" onClick={() => flip(session, 1)}>
              <Icon of={FlipVertical2} size={16} />
            </button>
            <button type="button" class="icon-button" disabled={disabled} aria-label="Mirror top to bottom" data-tip="Turn over" data-tip-side="left" onClick={() => flip(session, 2)}>
              <Icon of={FlipHorizontal2} size={16} />
            </button>
          </div>
        )}
      </div>
    </div>
  );
}

interface SectionProps {
  readonly session: StudioSession;
  readonly raws: readonly RawElement[];
  readonly disabled: boolean;
}

function FrameSection({ session, raws, disabled }: SectionProps): JSX.Element {
  const gesture = session.gesture.value;
  const previews = gesture === null ? undefined : new Map([...gesture.frames].map(([id, xf]) => [id, { xf, size: gesture.sizes.get(id) ?? null }]));
  const only = raws.length === 1 ? raws[0]! : null;
  const box = bounds(raws.flatMap((raw) => worldCorners(session.model, raw.id, previews)));
  const subject = only ? subjectOf(session.model, only.id, previews) : null;
  const isText = subject?.kind === 'text';
  const shift = (dx: number, dy: number): void => {
    const frames = new Map<string, Xf>();
    const movable = session.movable();
    for (const raw of raws.filter(({ id }) => movable.includes(id))) {
      const xf = readXf(raw);
      frames.set(raw.id, [xf[0] + dx, xf[1] + dy, xf[2], xf[3], xf[4], 0, 0, xf[7]]);
    }
    step(session, () => session.edits.setFrames(frames));
  };
  const size = (w: number, h: number): void => {
    if (!only) return;
    const xf = readXf(only);
    step(session, () => session.edits.setFrames(new Map([[only.id, [xf[0], xf[1], w, h, xf[4], 0, 0, xf[7]] as Xf]])));
  };
  const turn = (degrees: number): void => {
    if (!subject) return;
    step(session, () => session.edits.setFrames(rotate([subject], pivotOf([subject]), degrees - subject.xf[4]).frames));
  };
  return (
    <div class="section">
      <h3>Place and size</h3>
      <div class="number-grid">
        <NumberField label="Distance from the left" short="X" unit="mm" value={box.x} disabled={disabled} onChange={(value) => shift(value - box.x, 0)} />
        <NumberField label="Distance from the top" short="Y" unit="mm" value={box.y} disabled={disabled} onChange={(value) => shift(0, value - box.y)} />
        <NumberField label="Width" short="W" unit="mm" value={subject ? (isText ? subject.box.w : subject.xf[2]) : outerBounds(raws.map((raw) => subjectOf(session.model, raw.id, previews)!).filter(Boolean)).w} min={0.1} max={10_000} disabled={disabled || !subject || subject.kind === 'group'} onChange={(value) => subject && size(value, isText ? 0 : subject.xf[3])} />
        <NumberField label="Height" short="H" unit="mm" value={subject ? (isText ? subject.box.h : subject.xf[3]) : box.h} min={0} max={10_000} disabled={disabled || !subject || isText || subject.kind === 'group'} onChange={(value) => subject && size(subject.xf[2], value)} />
        <NumberField label="Rotation" short="∠" unit="°" value={subject ? subject.xf[4] : null} disabled={disabled || !subject} onChange={turn} />
        {isText && subject.xf[2] > 0 && (
          <button type="button" class="button small" disabled={disabled} onClick={() => size(0, 0)}>
            Fit width
          </button>
        )}
      </div>
      {session.canEdit && (
        <div class="button-row" role="group" aria-label={raws.length > 1 ? 'Align with each other' : 'Align with the print area'}>
          {(
            [
              ['left', 'Left', AlignStartVertical],
              ['center', 'Centre', AlignCenterVertical],
              ['right', 'Right', AlignEndVertical],
              ['top', 'Top', AlignStartHorizontal],
              ['middle', 'Middle', AlignCenterHorizontal],
              ['bottom', 'Bottom', AlignEndHorizontal],
            ] as const
          ).map(([how, name, icon]) => (
            <button key={how} type="button" class="icon-button" disabled={disabled} aria-label={`Align: ${name.toLowerCase()}`} data-tip={name} onClick={() => align(session, how as Align)}>
              <Icon of={icon} size={16} />
            </button>
          ))}
        </div>
      )}
    </div>
  );
}

function TextSection({ session, raws, disabled }: SectionProps): JSX.Element {
  const ids = session.movable();
  const style = (values: Readonly<Record<string, unknown>>): void => step(session, () => session.edits.setStyle(ids, values));
  const missing = new Set(raws.flatMap((raw) => session.model.resolved(raw.id)?.text?.missing ?? []));
  return (
    <div class="section">
      <h3>Text</h3>
      <FontPicker value={common(raws, (raw) => readStyle(raw.sty).font)} disabled={disabled} onChange={(font) => style({ [STYLE.font]: font })} />
      <div class="number-grid">
        <NumberField label="Size" short="Size" unit="mm" value={common(raws, (raw) => readStyle(raw.sty).size / 1000)} min={0.5} max={2000} disabled={disabled} onChange={(size) => style({ [STYLE.size]: size })} />
        <NumberField label="Line height" short="Line" value={common(raws, (raw) => readStyle(raw.sty).leading / 1000)} step={0.05} digits={2} min={0.5} max={4} disabled={disabled} onChange={(lead) => style({ [STYLE.leading]: lead })} />
        <NumberField label="Letter spacing" short="Space" unit="‰" value={common(raws, (raw) => readStyle(raw.sty).tracking)} step={10} digits={0} min={-500} max={5000} disabled={disabled} onChange={(track) => style({ [STYLE.tracking]: track })} />
        <Choice<TextAlign>
          label="Alignment"
          value={common(raws, (raw) => readStyle(raw.sty).align)}
          disabled={disabled}
          options={[
            { value: 'left', name: 'Left', icon: AlignLeft },
            { value: 'center', name: 'Centred', icon: AlignCenter },
            { value: 'right', name: 'Right', icon: AlignRight },
          ]}
          onChange={(value) => style({ [STYLE.align]: value })}
        />
      </div>
      {missing.size > 0 && (
        <p class="note warn">
          <Icon of={TriangleAlert} size={15} />
          No font here has {[...missing].slice(0, 6).map((code) => String.fromCodePoint(code)).join(' ')}. It is left out of the print.
        </p>
      )}
    </div>
  );
}

function ShapeSection({ session, raws, disabled }: SectionProps): JSX.Element | null {
  const kind = common(raws, (raw) => readGeometry(raw.geo).k);
  const set = (values: Readonly<Record<string, unknown>>): void => step(session, () => session.edits.setRegister(session.movable(), KEYS.geometry, values));
  if (kind !== 'rect' && kind !== 'polygon' && kind !== 'star') return null;
  return (
    <div class="section">
      <h3>Shape</h3>
      <div class="number-grid">
        {kind === 'rect' && <NumberField label="Corner radius" short="Radius" unit="mm" value={common(raws, (raw) => readGeometry(raw.geo).r)} min={0} max={10_000} disabled={disabled} onChange={(r) => set({ r })} />}
        {kind !== 'rect' && <NumberField label={kind === 'star' ? 'Points' : 'Corners'} short={kind === 'star' ? 'Points' : 'Corners'} digits={0} value={common(raws, (raw) => readGeometry(raw.geo).n)} min={3} max={64} disabled={disabled} onChange={(n) => set({ n: Math.round(n) })} />}
        {kind === 'star' && <NumberField label="Inner radius" short="Inner" unit="%" digits={0} value={(common(raws, (raw) => readGeometry(raw.geo).q) ?? 0.5) * 100} min={5} max={95} disabled={disabled} onChange={(q) => set({ q: q / 100 })} />}
      </div>
    </div>
  );
}

function PaintSection({ session, raws, disabled }: SectionProps): JSX.Element {
  const begin = (): void => session.undo.begin(session.selection.peek());
  const isLine = raws.every((raw) => raw.t === 'shape' && readGeometry(raw.geo).k === 'line');
  const strokeOf = (raw: RawElement): { c: string; w: number } => {
    const layer = session.model.resolved(raw.id)?.layer;
    return layer && 'stroke' in layer && layer.stroke ? { c: layer.stroke.c, w: layer.stroke.w / 1000 } : { c: 'none', w: 0 };
  };
  const width = common(raws, (raw) => strokeOf(raw).w);
  const setStroke = (values: { c?: string; w?: number }): void => {
    const before = strokeOf(raws[0]!);
    const c = values.c ?? (before.c === 'none' ? '#17181b' : before.c);
    const w = values.w ?? (before.w > 0 ? before.w : 1);
    session.edits.set(session.movable(), { [KEYS.stroke]: c === 'none' ? null : { c, w } });
  };
  return (
    <>
      {!isLine && (
        <div class="section">
          <h3>Fill</h3>
          <ColorField
            label="Fill"
            allowNone={raws.every((raw) => raw.t === 'shape')}
            value={common(raws, (raw) => color(raw.fill, raw.t === 'text' ? SCHEMA.defaults.textFill : SCHEMA.defaults.shapeFill))}
            disabled={disabled}
            onBegin={begin}
            onChange={(fill) => session.edits.set(session.movable(), { [KEYS.fill]: fill })}
          />
        </div>
      )}
      <div class="section">
        <h3>{isLine ? 'Line' : 'Outline'}</h3>
        <ColorField label={isLine ? 'Line' : 'Outline'} allowNone={!isLine} value={common(raws, (raw) => strokeOf(raw).c)} disabled={disabled} onBegin={begin} onChange={(c) => setStroke({ c })} />
        {width !== 0 && (
          <div class="number-grid">
            <NumberField label="Width of the line" short="Width" unit="mm" step={0.5} value={width} min={0.1} max={1000} disabled={disabled} onChange={(w) => step(session, () => setStroke({ w }))} />
          </div>
        )}
      </div>
    </>
  );
}

function Ground({ session }: { readonly session: StudioSession }): JSX.Element {
  const { product } = session;
  const scene = session.model.scene(session.view.value);
  const view = product.views.find((candidate) => candidate.id === session.view.value) ?? product.views[0]!;
  const begin = (): void => session.undo.begin();
  return (
    <div class="properties">
      <div class="section head-section">
        <strong class="chosen-name">{product.name}</strong>
        <span class="pill">
          {view.area[2]} × {view.area[3]} mm
        </span>
      </div>
      <div class="section">
        <h3>Product colour</h3>
        <ColorField label="Product colour" value={scene.base.slice(0, 7)} swatches={product.colors} disabled={!session.canEdit} onBegin={begin} onChange={(value) => session.edits.setProductColor(value)} />
      </div>
      <div class="section">
        <h3>Print area, {view.name.toLowerCase()}</h3>
        <ColorField label="Ground" value={scene.bg === 'none' ? 'none' : scene.bg.slice(0, 7)} allowNone disabled={!session.canEdit} onBegin={begin} onChange={(value) => session.edits.setGround(view.id, value)} />
      </div>
      <div class="empty hint">
        <Icon of={MousePointer2} size={22} />
        <strong>Nothing selected</strong>
        <p>{session.canEdit ? 'Click a layer to change it. Press T and click to write on the product.' : 'You are viewing. Click a layer to see its details.'}</p>
      </div>
    </div>
  );
}
