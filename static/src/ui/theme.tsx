import { effect, signal } from '@preact/signals';
import { Monitor, Moon, Sun } from 'lucide';
import type { JSX } from 'preact';
import { Icon } from './icon';

export type Theme = 'auto' | 'light' | 'dark';

const KEY = 'luneo.theme';

function stored(): Theme {
  try {
    const value = localStorage.getItem(KEY);
    return value === 'light' || value === 'dark' ? value : 'auto';
  } catch {
    return 'auto';
  }
}

export const theme = signal<Theme>(stored());

/** What the eye sees now: the choice, or the system's where there is none. */
export const isDark = signal(false);

const system = window.matchMedia('(prefers-color-scheme: dark)');
const refresh = (): void => {
  isDark.value = theme.peek() === 'dark' || (theme.peek() === 'auto' && system.matches);
};
system.addEventListener('change', refresh);

effect(() => {
  const root = document.documentElement;
  if (theme.value === 'auto') delete root.dataset.theme;
  else root.dataset.theme = theme.value;
  try {
    localStorage.setItem(KEY, theme.value);
  } catch {
    // A browser without storage forgets the choice; nothing else depends on it.
  }
  refresh();
});

const ORDER: readonly Theme[] = ['auto', 'light', 'dark'];
const LOOK = { auto: { icon: Monitor, name: 'Same as system' }, light: { icon: Sun, name: 'Light' }, dark: { icon: Moon, name: 'Dark' } } as const;

export const nextTheme = (): void => {
  theme.value = ORDER[(ORDER.indexOf(theme.peek()) + 1) % ORDER.length]!;
};

export function ThemeButton(): JSX.Element {
  const look = LOOK[theme.value];
  return (
    <button type="button" class="icon-button" aria-label={`Appearance: ${look.name}. Change`} data-tip={`Appearance: ${look.name}`} data-tip-side="left" onClick={nextTheme}>
      <Icon of={look.icon} />
    </button>
  );
}
