/** Keys of the studio. The list is what the help shows, too. */
import type { Camera } from '../stage/camera';
import type { Interaction } from '../stage/interaction';
import { arrange, copyText, duplicate, insert, nudge, readCopied, remove, selectAll, toggle } from './actions';
import type { StudioSession, Tool } from './session';
import { pictureFiles, upload } from './uploads';

export const isApple = typeof navigator !== 'undefined' && /mac|iphone|ipad/i.test(navigator.platform);
export const COMMAND = isApple ? '⌘' : 'Ctrl';

export const SHORTCUTS: readonly { readonly title: string; readonly keys: readonly (readonly [string, string])[] }[] = [
  {
    title: 'Tools',
    keys: [
      ['V', 'Select and move'],
      ['H or Space', 'Move the paper'],
      ['T', 'Text'],
      ['R', 'Rectangle'],
      ['O', 'Ellipse'],
      ['L', 'Line'],
      ['S', 'Star'],
      ['P', 'Polygon'],
      ['I', 'Upload a picture'],
    ],
  },
  {
    title: 'Edit',
    keys: [
      [`${COMMAND} Z`, 'Undo'],
      [`${COMMAND} Shift Z`, 'Redo'],
      [`${COMMAND} D`, 'Duplicate'],
      [`${COMMAND} C · X · V`, 'Copy, cut, paste'],
      [`${COMMAND} A`, 'Select all'],
      ['Delete', 'Delete'],
      ['Enter', 'Type into a text'],
      ['Arrows', 'Move 1 mm, with Shift 10 mm'],
    ],
  },
  {
    title: 'Order',
    keys: [
      [']', 'Forward'],
      ['[', 'Backward'],
      ['Shift ]', 'To the front'],
      ['Shift [', 'To the back'],
      [`${COMMAND} Shift L`, 'Lock or unlock'],
      [`${COMMAND} Shift H`, 'Hide or show'],
    ],
  },
  {
    title: 'View',
    keys: [
      ['+  −', 'Zoom in and out'],
      ['Shift 1', 'Fit the product'],
      ['Shift 2', 'Fit the print area'],
      ['B', 'Next side of the product'],
      ['C', 'Chat'],
      ['?', 'This list'],
    ],
  },
];

export interface Commands {
  readonly session: () => StudioSession;
  readonly camera: Camera;
  readonly interaction: Interaction;
  readonly fitProduct: () => void;
  readonly fitArea: () => void;
  readonly pickPicture: () => void;
  readonly openChat: () => void;
  readonly toggleHelp: () => void;
}

const TOOLS: Readonly<Record<string, Tool>> = { v: 'select', h: 'hand', t: 'text', r: 'rect', o: 'ellipse', l: 'line', s: 'star', p: 'polygon' };
const ARROWS: Readonly<Record<string, readonly [number, number]>> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

const isTyping = (target: EventTarget | null): boolean =>
  target instanceof HTMLElement && (target.isContentEditable || target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement || (target instanceof HTMLInputElement && target.type !== 'range'));

/** A focused button keeps its own keys; the stage's single letters are for when nothing else wants them. */
const isControl = (target: EventTarget | null): boolean => target instanceof HTMLElement && target.closest('button, a, [role="dialog"], .popover, .layers') !== null;

export function listenKeys(commands: Commands): () => void {
  let lastNudge = 0;

  const down = (event: KeyboardEvent): void => {
    if (isTyping(event.target) || document.querySelector('[role="dialog"]')) return;
    const session = commands.session();
    const isCommand = event.metaKey || event.ctrlKey;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const done = (work: () => void): void => {
      event.preventDefault();
      work();
    };
    if (isCommand) {
      if (key === 'z') return done(() => (event.shiftKey ? session.undo.redo() : session.undo.undo()));
      if (key === 'y') return done(() => session.undo.redo());
      if (key === 'a') return done(() => selectAll(session));
      if (key === 'd') return done(() => duplicate(session));
      if (key === ']') return done(() => arrange(session, 'forward'));
      if (key === '[') return done(() => arrange(session, 'backward'));
      if (key === 'l' && event.shiftKey) return done(() => toggle(session, session.selection.peek(), 'locked'));
      if (key === 'h' && event.shiftKey) return done(() => toggle(session, session.selection.peek(), 'visible'));
      if (key === '0') return done(commands.fitProduct);
      return;
    }
    if (event.altKey) return;
    if (key === 'Escape') {
      if (commands.interaction.isActive) return done(() => commands.interaction.cancel());
      if (session.tool.peek() !== 'select') return done(() => (session.tool.value = 'select'));
      return done(() => session.select([]));
    }
    if (key === '?') return done(commands.toggleHelp);
    if (isControl(event.target) && (key === ' ' || key === 'Enter' || key.startsWith('Arrow'))) return;
    if (key === ' ') return done(() => (commands.interaction.isPanning.value = true));
    if (key === '+' || key === '=') return done(() => commands.camera.zoomBy(1.25));
    if (key === '-' || key === '_') return done(() => commands.camera.zoomBy(0.8));
    if (event.shiftKey && event.code === 'Digit1') return done(commands.fitProduct);
    if (event.shiftKey && event.code === 'Digit2') return done(commands.fitArea);
    if (key === 'c') return done(commands.openChat);
    if (key === 'b' && !event.shiftKey && session.product.views.length > 1) {
      return done(() => {
        const ids = session.product.views.map((view) => view.id);
        session.show(ids[(ids.indexOf(session.view.peek()) + 1) % ids.length]!);
      });
    }
    if (!session.canEdit) return;
    const arrow = ARROWS[event.key];
    if (arrow && session.selection.peek().length > 0) {
      return done(() => {
        // Steps in quick succession are one step of undo.
        if (event.timeStamp - lastNudge > 700) session.undo.begin(session.selection.peek());
        lastNudge = event.timeStamp;
        nudge(session, arrow[0] * (event.shiftKey ? 10 : 1), arrow[1] * (event.shiftKey ? 10 : 1));
      });
    }
    if (key === 'Delete' || key === 'Backspace') return done(() => remove(session));
    if (key === 'Enter') {
      const only = session.movable();
      if (only.length === 1 && session.model.element(only[0]!)?.t === 'text') return done(() => (session.editing.value = only[0]!));
      return;
    }
    if (event.code === 'BracketRight') return done(() => arrange(session, event.shiftKey ? 'front' : 'forward'));
    if (event.code === 'BracketLeft') return done(() => arrange(session, event.shiftKey ? 'back' : 'backward'));
    if (key === 'i') return done(commands.pickPicture);
    const tool = event.shiftKey ? undefined : TOOLS[key];
    if (tool) done(() => (session.tool.value = tool));
  };

  const up = (event: KeyboardEvent): void => {
    if (event.key === ' ') commands.interaction.isPanning.value = false;
  };
  const blur = (): void => {
    commands.interaction.isPanning.value = false;
  };

  const copy = (event: ClipboardEvent): void => {
    if (isTyping(event.target) || (window.getSelection()?.toString() ?? '') !== '') return;
    const session = commands.session();
    const text = copyText(session);
    if (text === null) return;
    event.preventDefault();
    event.clipboardData?.setData('text/plain', text);
    if (event.type === 'cut') remove(session);
  };

  const paste = (event: ClipboardEvent): void => {
    if (isTyping(event.target)) return;
    const session = commands.session();
    if (!session.canEdit) return;
    const files = pictureFiles(event.clipboardData);
    if (files.length > 0) {
      event.preventDefault();
      void upload(commands.session, files, null);
      return;
    }
    const elements = readCopied(event.clipboardData?.getData('text/plain') ?? '');
    if (elements) {
      event.preventDefault();
      insert(session, elements, 6);
    }
  };

  window.addEventListener('keydown', down);
  window.addEventListener('keyup', up);
  window.addEventListener('blur', blur);
  document.addEventListener('copy', copy);
  document.addEventListener('cut', copy);
  document.addEventListener('paste', paste);
  return () => {
    window.removeEventListener('keydown', down);
    window.removeEventListener('keyup', up);
    window.removeEventListener('blur', blur);
    document.removeEventListener('copy', copy);
    document.removeEventListener('cut', copy);
    document.removeEventListener('paste', paste);
  };
}
