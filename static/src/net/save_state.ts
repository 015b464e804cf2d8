import type { Refused } from './wire';

/** What the studio may say about the work, in one word. It says "saved" only when every change is durable on the server. */
export type SaveState =
  | { readonly kind: 'opening' }
  | { readonly kind: 'saved' }
  | { readonly kind: 'saving'; readonly unsaved: number }
  | { readonly kind: 'offline'; readonly unsaved: number; readonly retryAt: number | null }
  | { readonly kind: 'refused'; readonly why: Refused };

export interface Facts {
  /** The namespace is connected and its first answer has been applied. */
  readonly live: boolean;
  /** The document was live at least once. */
  readonly opened: boolean;
  readonly unsaved: number;
  /** When the next attempt to connect starts (milliseconds since the epoch), if one is planned. */
  readonly retryAt: number | null;
  readonly refused: Refused | null;
}

export function saveState(facts: Facts): SaveState {
  if (facts.refused !== null) return { kind: 'refused', why: facts.refused };
  if (!facts.live && (facts.opened || facts.retryAt !== null)) return { kind: 'offline', unsaved: facts.unsaved, retryAt: facts.retryAt };
  if (!facts.live) return { kind: 'opening' };
  return facts.unsaved > 0 ? { kind: 'saving', unsaved: facts.unsaved } : { kind: 'saved' };
}
