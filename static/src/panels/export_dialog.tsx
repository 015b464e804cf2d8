import { useSignal } from '@preact/signals';
import { CircleAlert, Download, Shirt, SquareDashed } from 'lucide';
import type { JSX } from 'preact';
import { useEffect, useMemo } from 'preact/hooks';
import { ApiError, exportPicture, renderAddress, type RenderPart } from '../net/api';
import { download } from '../studio/recovery';
import type { StudioSession } from '../studio/session';
import { Dialog } from '../ui/dialog';
import { Icon } from '../ui/icon';

interface Props {
  readonly session: StudioSession;
  readonly title: string;
  readonly onClose: () => void;
}

type State = { readonly kind: 'asking' } | { readonly kind: 'waiting'; readonly says: string; readonly part: number | null } | { readonly kind: 'failed'; readonly message: string };

const WIDTHS = [800, 1200, 2400, 4000] as const;
const SAVE_PATIENCE_MS = 8_000;

const advice = (error: ApiError): string => {
  if (error.status === 0) return error.message;
  if (error.status === 403) return `${error.message} Choose a smaller width, or ask the owner for the right to export.`;
  if (error.status === 413 || error.code.includes('limit')) return `${error.message}`;
  if (error.status >= 500) return `${error.message} Try again in a moment; your design is safe.`;
  return error.message;
};

/** The picture comes from the server, which draws what is stored: so it waits until everything of this tab is. */
async function whenSaved(session: StudioSession): Promise<void> {
  session.provider.flush();
  const until = Date.now() + SAVE_PATIENCE_MS;
  while (session.provider.unsaved > 0) {
    if (Date.now() > until) throw new ApiError(0, 'not_saved', 'Your latest changes are not stored yet, so they would be missing. Wait until the bar says “Saved”, then export again.');
    await new Promise((done) => setTimeout(done, 60));
  }
}

export function ExportDialog({ session, title, onClose }: Props): JSX.Element {
  const width = useSignal<number>(1200);
  const part = useSignal<RenderPart>('area');
  const state = useSignal<State>({ kind: 'asking' });
  const stopper = useMemo(() => new AbortController(), []);
  const view = session.product.views.find((candidate) => candidate.id === session.view.value) ?? session.product.views[0]!;
  const box = part.value === 'area' ? [view.area[2], view.area[3]] : view.size;
  const height = Math.round((width.value * box[1]!) / box[0]!);
  const dpi = Math.round((width.value / box[0]!) * 25.4);

  useEffect(() => () => stopper.abort(), []);

  const run = async (): Promise<void> => {
    state.value = { kind: 'waiting', says: 'Waiting until everything is saved…', part: null };
    try {
      await whenSaved(session);
      state.value = { kind: 'waiting', says: 'The server is drawing…', part: null };
      const blob = await exportPicture(
        renderAddress(session.options.design, view.id, width.value, part.value),
        (progress) => (state.value = { kind: 'waiting', says: 'Fetching the picture…', part: progress.part }),
        stopper.signal,
      );
      const name = (title || 'design').replace(/[^\p{L}\p{N} _-]+/gu, '').trim().replace(/\s+/g, '-').toLowerCase() || 'design';
      download(`${name}-${view.id}${part.value === 'view' ? `-on-${session.product.id}` : ''}-${width.value}.png`, blob);
      onClose();
    } catch (error) {
      if (error instanceof ApiError) state.value = { kind: 'failed', message: advice(error) };
      else if ((error as Error).name !== 'AbortError') state.value = { kind: 'failed', message: 'The picture did not arrive whole. Try again.' };
    }
  };

  return (
    <Dialog title={`Export ${view.name.toLowerCase()} as PNG`} onClose={onClose}>
      <div class="export-parts" role="radiogroup" aria-label="What to show">
        {(
          [
            ['area', 'The design', 'on a transparent ground', SquareDashed],
            ['view', 'On the product', `on the ${session.product.name.toLowerCase()}`, Shirt],
          ] as const
        ).map(([value, name, says, icon]) => (
          <button key={value} type="button" role="radio" aria-checked={part.value === value} class="export-part" onClick={() => (part.value = value)}>
            <Icon of={icon} size={20} />
            <span>
              <strong>{name}</strong>
              <span class="small quiet">{says}</span>
            </span>
          </button>
        ))}
      </div>
      <div class="field">
        <span>Width in pixels</span>
        <div class="export-widths" role="group" aria-label="Width">
          {WIDTHS.map((value) => (
            <button key={value} type="button" class="button" aria-pressed={width.value === value} onClick={() => (width.value = value)}>
              {value}
            </button>
          ))}
          <input class="input numbers" type="number" min={16} max={8192} aria-label="Width in pixels" value={width.value} onInput={(event) => {
              const value = Math.round(Number(event.currentTarget.value));
              if (value >= 16 && value <= 8192) width.value = value;
            }} />
        </div>
      </div>
      <p class="small quiet numbers">
        {width.value} × {height} pixels{part.value === 'area' ? `, ${dpi} dpi in print` : ''}. Drawn by the server from what is saved.
      </p>
      {state.value.kind === 'failed' && (
        <p class="note bad" role="alert">
          <Icon of={CircleAlert} size={16} /> {state.value.message}
        </p>
      )}
      {state.value.kind === 'waiting' && (
        <div class="export-wait" role="status">
          <span class="small">{state.value.says}</span>
          <progress {...(state.value.part === null ? {} : { value: state.value.part })} max={1} />
        </div>
      )}
      <div class="dialog-foot">
        <button type="button" class="button" onClick={onClose}>
          Cancel
        </button>
        <button type="button" class="button primary" disabled={state.value.kind === 'waiting'} onClick={() => void run()}>
          <Icon of={Download} size={16} /> {state.value.kind === 'failed' ? 'Try again' : 'Export PNG'}
        </button>
      </div>
    </Dialog>
  );
}
