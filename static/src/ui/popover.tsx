import { useSignal } from '@preact/signals';
import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useRef } from 'preact/hooks';

interface Props {
  readonly label: string;
  readonly tip?: string;
  readonly tipSide?: 'left' | 'right' | 'up';
  readonly trigger: ComponentChildren;
  readonly triggerClass?: string;
  readonly end?: boolean;
  readonly class?: string;
  readonly onOpen?: () => void;
  readonly children: (close: () => void) => ComponentChildren;
}

/** A button and the panel it opens. Escape and a press outside close it; arrow keys walk through its items. */
export function Popover({ label, tip, tipSide, trigger, triggerClass = 'icon-button', end = false, class: extra = '', onOpen, children }: Props): JSX.Element {
  const open = useSignal(false);
  const root = useRef<HTMLDivElement>(null);
  const button = useRef<HTMLButtonElement>(null);
  const close = (): void => {
    open.value = false;
  };

  useEffect(() => {
    if (!open.value) return;
    const outside = (event: PointerEvent): void => {
      if (!root.current?.contains(event.target as Node)) close();
    };
    const keys = (event: KeyboardEvent): void => {
      if (event.key === 'Escape') {
        event.stopPropagation();
        close();
        button.current?.focus();
      }
      if (event.key !== 'ArrowDown' && event.key !== 'ArrowUp') return;
      if (event.target instanceof HTMLInputElement || event.target instanceof HTMLTextAreaElement) return;
      const items = [...(root.current?.querySelectorAll<HTMLElement>('.menu-item:not([disabled])') ?? [])];
      if (items.length === 0) return;
      event.preventDefault();
      const at = items.indexOf(document.activeElement as HTMLElement);
      items[(at + (event.key === 'ArrowDown' ? 1 : -1) + items.length) % items.length]!.focus();
    };
    document.addEventListener('pointerdown', outside, true);
    document.addEventListener('keydown', keys, true);
    return () => {
      document.removeEventListener('pointerdown', outside, true);
      document.removeEventListener('keydown', keys, true);
    };
  }, [open.value]);

  return (
    <div class="popover-root" ref={root}>
      <button
        ref={button}
        type="button"
        class={triggerClass}
        aria-label={label}
        aria-haspopup="true"
        aria-expanded={open.value}
        data-tip={tip}
        data-tip-side={tipSide}
        onClick={() => {
          open.value = !open.value;
          if (open.value) onOpen?.();
        }}
      >
        {trigger}
      </button>
      {open.value && <div class={`popover ${end ? 'end' : ''} ${extra}`}>{children(close)}</div>}
    </div>
  );
}
