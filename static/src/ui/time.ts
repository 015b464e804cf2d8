const UNITS: readonly [Intl.RelativeTimeFormatUnit, number][] = [
  ['year', 31_536_000],
  ['month', 2_592_000],
  ['week', 604_800],
  ['day', 86_400],
  ['hour', 3_600],
  ['minute', 60],
];

const words = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });

/** "3 minutes ago"; what is younger than a minute is "just now". Times are milliseconds since the epoch. */
export function ago(at: number, now: number = Date.now()): string {
  const seconds = (now - at) / 1000;
  for (const [unit, size] of UNITS) {
    if (Math.abs(seconds) >= size) return words.format(-Math.round(seconds / size), unit);
  }
  return 'just now';
}

export const clock = (at: number): string => new Intl.DateTimeFormat('en', { hour: '2-digit', minute: '2-digit', hour12: false }).format(at);

export const day = (at: number): string => new Intl.DateTimeFormat('en', { weekday: 'long', day: 'numeric', month: 'long' }).format(at);
