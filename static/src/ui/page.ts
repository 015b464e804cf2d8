/** What every page has: who I am, the one connection, my inbox. */
import { signal } from '@preact/signals';
import { getSession, type SessionInfo } from '../net/api';
import { pageConnection } from '../net/connection';
import { Inbox } from '../net/inbox';
import { StreamSocket } from '../net/stream';

export const me = signal<SessionInfo | null>(null);

let inbox: Inbox | null = null;

export function pageInbox(): Inbox {
  inbox ??= new Inbox(new StreamSocket(pageConnection(), '/notifications'));
  return inbox;
}

/** Asks who I am; without a session in closed mode the door is the place to go. */
export async function introduce(): Promise<SessionInfo> {
  const session = await getSession();
  me.value = session;
  return session;
}
