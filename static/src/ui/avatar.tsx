import type { JSX } from 'preact';

/** Up to two letters, whole characters only. */
export function initials(name: string): string {
  const words = name.trim().split(/\s+/).filter(Boolean);
  const first = [...(words[0] ?? '?')][0] ?? '?';
  const last = words.length > 1 ? ([...words.at(-1)!][0] ?? '') : '';
  return (first + last).toUpperCase();
}

/** Black or white, whichever reads better on `color` (WCAG relative luminance). */
export function inkOn(color: string): string {
  const match = /^#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})/i.exec(color);
  if (!match) return '#fff';
  const [r, g, b] = match.slice(1).map((part) => {
    const value = Number.parseInt(part, 16) / 255;
    return value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  }) as [number, number, number];
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.36 ? '#17151d' : '#fff';
}

export function Avatar({ name, color, small = false }: { readonly name: string; readonly color: string; readonly small?: boolean }): JSX.Element {
  return (
    <span class={`avatar ${small ? 'small' : ''}`} style={{ background: color, color: inkOn(color) }} aria-hidden="true">
      {initials(name)}
    </span>
  );
}
