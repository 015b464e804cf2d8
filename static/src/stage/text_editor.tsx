/** A text field that lies exactly over a text: it takes the keys and the touches, the stage draws what is read. */
import type { JSX } from 'preact';
import { useLayoutEffect, useRef } from 'preact/hooks';
import { effect, signal, untracked } from '@preact/signals';
import * as Y from 'yjs';
import { cssFamily, loadCssFont } from '../document/fonts';
import { shiftOffset, textDiff, wholeOffset, type Replacement } from '../document/text_diff';
import { readStyle } from '../document/text_layout';
import type { Previews } from '../document/design_model';
import { fitting, tellTextLimit } from '../studio/limits';
import type { StudioSession } from '../studio/session';
import type { Camera } from './camera';
import type { CaretRange } from './overlay';
import { bounds } from '../document/matrix';
import { worldCorners, worldMatrix } from './subjects';

/** Where my own caret is; the stage draws it. */
export const myCaret = signal<CaretRange>({ anchor: 0, head: 0 });

interface Props {
  readonly session: StudioSession;
  readonly camera: Camera;
  readonly id: string;
  readonly previews: () => Previews;
}

export function TextEditor({ session, camera, id, previews }: Props): JSX.Element {
  const field = useRef<HTMLTextAreaElement>(null);

  useLayoutEffect(() => {
    const area = field.current!;
    const text = session.edits.text(id);
    if (!text) {
      session.editing.value = null;
      return;
    }
    session.undo.begin([id]);
    let shadow = text.toString();
    let isComposing = false;
    let heardMeanwhile: Replacement[] = [];
    area.value = shadow;

    const tellCaret = (): void => {
      const isBackward = area.selectionDirection === 'backward';
      const start = wholeOffset(area.value, area.selectionStart);
      const end = wholeOffset(area.value, area.selectionEnd);
      const range = isBackward ? { anchor: end, head: start } : { anchor: start, head: end };
      myCaret.value = range;
      const place = (offset: number): unknown => Y.relativePositionToJSON(Y.createRelativePositionFromTypeIndex(text, Math.min(offset, text.length), offset >= text.length ? -1 : 0));
      session.presence.set({ editing: { el: id, anchor: place(range.anchor), head: place(range.head) } });
    };

    /** What is typed or pasted beyond the limit of a text is taken out of the field again, and told. */
    const bound = (): void => {
      const change = textDiff(shadow, area.value, area.selectionEnd);
      if (!change || change.insert === '') return;
      const before = shadow.slice(0, change.at);
      const after = shadow.slice(change.at + change.remove);
      const fits = fitting(change.insert, before + after);
      if (fits === change.insert) return;
      area.value = before + fits + after;
      area.setSelectionRange(before.length + fits.length, before.length + fits.length);
      tellTextLimit();
    };

    const write = (): void => {
      bound();
      const change = textDiff(shadow, area.value, area.selectionEnd);
      if (!change) {
        // A word was begun and given up, while others went on.
        if (heardMeanwhile.length > 0) showAfter(heardMeanwhile.splice(0));
        return;
      }
      if (heardMeanwhile.length === 0) {
        session.edits.writeText(id, area.value, area.selectionEnd);
        shadow = area.value;
        return;
      }
      // Others typed while a word was being composed: our change goes where its place has moved to.
      const end = heardMeanwhile.reduce((offset, other) => shiftOffset(offset, other), change.at + change.remove);
      const at = Math.min(end, heardMeanwhile.reduce((offset, other) => shiftOffset(offset, other), change.at));
      heardMeanwhile = [];
      session.edits.transact(() => {
        if (end > at) text.delete(at, end - at);
        if (change.insert !== '') text.insert(at, change.insert);
      });
      show(at + change.insert.length, at + change.insert.length);
    };

    const show = (start: number, end: number): void => {
      shadow = text.toString();
      area.value = shadow;
      area.setSelectionRange(Math.min(start, shadow.length), Math.min(end, shadow.length));
      tellCaret();
    };

    const onText = (event: Y.YTextEvent, transaction: Y.Transaction): void => {
      if (transaction.origin === session.origin) return;
      const changes: Replacement[] = [];
      let at = 0;
      for (const part of event.delta) {
        if (part.retain !== undefined) at += part.retain as number;
        else if (part.delete !== undefined) changes.push({ at, remove: part.delete, insert: '' });
        else if (typeof part.insert === 'string') {
          changes.push({ at, remove: 0, insert: part.insert });
          at += part.insert.length;
        }
      }
      if (isComposing) {
        heardMeanwhile.push(...changes);
        return;
      }
      showAfter(changes);
    };

    const showAfter = (changes: readonly Replacement[]): void => {
      const start = changes.reduce((offset, change) => shiftOffset(offset, change), area.selectionStart);
      const end = changes.reduce((offset, change) => shiftOffset(offset, change), area.selectionEnd);
      show(start, end);
    };

    const onInput = (): void => {
      if (!isComposing) write();
      tellCaret();
    };
    const onCompositionStart = (): void => {
      isComposing = true;
    };
    const onCompositionEnd = (): void => {
      isComposing = false;
      write();
      tellCaret();
    };
    const onKeys = (event: KeyboardEvent): void => {
      event.stopPropagation();
      const isCommand = event.metaKey || event.ctrlKey;
      if (event.key === 'Escape' || (event.key === 'Enter' && isCommand)) {
        event.preventDefault();
        session.editing.value = null;
      } else if (isCommand && event.key.toLowerCase() === 'z') {
        event.preventDefault();
        if (event.shiftKey) session.undo.redo();
        else session.undo.undo();
      } else if (isCommand && event.key.toLowerCase() === 'y') {
        event.preventDefault();
        session.undo.redo();
      }
    };
    const onBeforeInput = (event: InputEvent): void => {
      if (event.inputType !== 'historyUndo' && event.inputType !== 'historyRedo') return;
      event.preventDefault();
      if (event.inputType === 'historyUndo') session.undo.undo();
      else session.undo.redo();
    };
    text.observe(onText);
    area.addEventListener('input', onInput);
    area.addEventListener('compositionstart', onCompositionStart);
    area.addEventListener('compositionend', onCompositionEnd);
    area.addEventListener('keydown', onKeys);
    area.addEventListener('beforeinput', onBeforeInput);
    const onSelection = (): void => {
      if (document.activeElement === area) tellCaret();
    };
    document.addEventListener('selectionchange', onSelection);
    const stopPlacing = effect(() => place(area, session, camera, id, previews()));
    // A keyboard that comes up makes the stage smaller; what is typed stays in sight.
    const stopRevealing = effect(() => {
      void camera.size.value;
      untracked(() => reveal(session, camera, id, previews()));
    });
    area.focus({ preventScroll: true });
    area.select();
    tellCaret();

    return () => {
      write();
      stopPlacing();
      stopRevealing();
      document.removeEventListener('selectionchange', onSelection);
      text.unobserve(onText);
      session.presence.set({ editing: null });
      session.undo.begin();
      // A text without a letter would be an element that nobody can see.
      if (session.model.isAlive(id) && text.length === 0) session.edits.remove([id]);
    };
  }, [session, id]);

  return (
    <textarea
      ref={field}
      class="text-editor"
      aria-label="Text"
      spellcheck={false}
      autocapitalize="off"
      autocomplete="off"
      onBlur={(event) => {
        // Leaving the window is not leaving the text.
        if (document.hasFocus() && !(event.relatedTarget as HTMLElement | null)?.closest?.('.keeps-editing')) session.editing.value = null;
      }}
    />
  );
}

const REVEAL_MARGIN = 24;

/** Moves the paper just so far that the text lies within the stage, its beginning first. */
function reveal(session: StudioSession, camera: Camera, id: string, previews: Previews): void {
  if (!session.model.resolved(id, previews)) return;
  const box = bounds(worldCorners(session.model, id, previews).map((corner) => camera.toPixels(corner)));
  const { width, height } = camera.size.peek();
  const shift = (from: number, length: number, room: number): number => {
    const over = from + length + REVEAL_MARGIN - room;
    const by = over > 0 ? -over : 0;
    return from + by < REVEAL_MARGIN ? Math.max(by, REVEAL_MARGIN - from) : by;
  };
  const middleX = box.x + box.w / 2;
  const dx = middleX < 0 || middleX > width ? width / 2 - middleX : 0;
  const dy = shift(box.y, box.h, height);
  if (dx !== 0 || dy !== 0) camera.pan(dx, dy);
}

/** Lays the field over the text as it is drawn: same font, same size, same map. */
function place(area: HTMLTextAreaElement, session: StudioSession, camera: Camera, id: string, previews: Previews): void {
  void session.model.revision.value;
  const { zoom, x, y } = camera.view.value;
  const raw = session.model.element(id);
  const resolved = session.model.resolved(id, previews);
  if (!raw || !resolved) return;
  const style = readStyle(raw.sty);
  void loadCssFont(style.font);
  const [left, , width, height] = resolved.layer.box.map((part) => part / 1000) as [number, number, number, number];
  const m = worldMatrix(session.model, id, previews);
  const wraps = resolved.text !== null && Array.isArray(raw.xf) && Number(raw.xf[2]) > 0;
  const slack = wraps ? 0 : (style.size / 1000) * 2;
  const px = (mm: number): string => `${mm * zoom}px`;
  Object.assign(area.style, {
    width: px(width + slack * 2),
    height: px(Math.max(height, style.size / 1000)),
    fontFamily: `"${cssFamily(style.font)}"`,
    fontSize: px(style.size / 1000),
    lineHeight: String(style.leading / 1000),
    letterSpacing: px(((style.size / 1000) * style.tracking) / 1000),
    textAlign: style.align,
    whiteSpace: wraps ? 'pre-wrap' : 'pre',
    transform: `matrix(${m.a}, ${m.b}, ${m.c}, ${m.d}, ${m.e * zoom + x}, ${m.f * zoom + y}) translate(${(left - slack) * zoom}px, 0)`,
    paddingInline: wraps ? '0' : style.align === 'left' ? `${slack * zoom}px 0` : style.align === 'right' ? `0 ${slack * zoom}px` : '0',
  });
}
