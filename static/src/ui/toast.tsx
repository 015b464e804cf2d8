import { signal } from '@preact/signals';
import { CircleAlert, CircleCheck, Info, X } from 'lucide';
import type { JSX } from 'preact';
import { Icon } from './icon';

export interface ToastAction {
  readonly name: string;
  readonly run: () => void;
  /** Stays open after the action. */
  readonly keeps?: boolean;
}

export interface Toast {
  readonly id: number;
  readonly kind: 'info' | 'good' | 'bad';
  readonly title: string;
  readonly text?: string;
  readonly actions?: readonly ToastAction[];
  /** Stays until it is closed by hand. */
  readonly sticky?: boolean;
}

const SHOWN_MS = 6_000;
const MOST = 4;
let next = 1;
const toasts = signal<readonly Toast[]>([]);

export function dismiss(id: number): void {
  toasts.value = toasts.peek().filter((toast) => toast.id !== id);
}

/** The same sentence twice is said once. */
export function toast(entry: Omit<Toast, 'id'>): number {
  const twin = toasts.peek().find((other) => other.title === entry.title && other.text === entry.text);
  if (twin) return twin.id;
  const id = next++;
  toasts.value = [...toasts.peek(), { ...entry, id }].slice(-MOST);
  if (entry.sticky !== true) setTimeout(() => dismiss(id), SHOWN_MS);
  return id;
}

const ICONS = { info: Info, good: CircleCheck, bad: CircleAlert };

export function Toasts(): JSX.Element {
  return (
    <div class="toasts" role="region" aria-label="Notices" aria-live="polite">
      {toasts.value.map((entry) => (
        <div key={entry.id} class={`toast ${entry.kind}`} role={entry.kind === 'bad' ? 'alert' : 'status'}>
          <Icon of={ICONS[entry.kind]} class="kind" />
          <div>
            <div class={entry.text ? 'toast-title' : ''}>{entry.title}</div>
            {entry.text && <div>{entry.text}</div>}
            {entry.actions && (
              <div class="toast-actions">
                {entry.actions.map((action) => (
                  <button
                    key={action.name}
                    type="button"
                    class="button small"
                    onClick={() => {
                      action.run();
                      if (action.keeps !== true) dismiss(entry.id);
                    }}
                  >
                    {action.name}
                  </button>
                ))}
              </div>
            )}
          </div>
          <button type="button" class="icon-button tight" aria-label="Close message" onClick={() => dismiss(entry.id)}>
            <Icon of={X} size={15} />
          </button>
        </div>
      ))}
    </div>
  );
}
