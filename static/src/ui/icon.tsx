import type { IconNode } from 'lucide';
import { h, type JSX } from 'preact';

interface Props {
  readonly of: IconNode;
  readonly size?: number;
  readonly class?: string;
}

/** One icon of the one set. It is decoration: the control that holds it carries the name. */
export function Icon({ of, size = 18, class: extra = '' }: Props): JSX.Element {
  return (
    <svg class={`icon ${extra}`} width={size} height={size} viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width={1.75} stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">
      {of.map(([tag, attributes], index) => h(tag, { key: index, ...attributes }))}
    </svg>
  );
}
