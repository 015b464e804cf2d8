/** How long to wait before the next attempt: exponential with full jitter, so that a room does not come back as one wave. */
export const FIRST_DELAY_MS = 250;
export const LONGEST_DELAY_MS = 15_000;

/**
 * Waiting time in milliseconds before attempt number `attempt` (0 is the first one after a loss).
 * Never shorter than a quarter of the exponential delay, never longer than `LONGEST_DELAY_MS`.
 */
export function backoffDelay(attempt: number, random: () => number = Math.random): number {
  const ceiling = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(attempt, 16));
  return Math.round(ceiling * (0.25 + 0.75 * random()));
}
