/** What a person should hear of, live in every open page. */
import { computed, signal, type ReadonlySignal } from '@preact/signals';
import { follow, type StreamSocket } from './stream';
import { toCounts, toInboxItem, type InboxCounts, type InboxItem } from './wire';

export class Inbox {
  readonly items: ReadonlySignal<readonly InboxItem[]>;
  readonly counts = signal<InboxCounts>({ unread: 0, unseen: 0 });
  readonly isReady = signal(false);
  /** The newest item that came while this page was open. */
  readonly latest = signal<InboxItem | null>(null);

  readonly #socket: StreamSocket;
  readonly #byId = signal<ReadonlyMap<string, InboxItem>>(new Map());

  constructor(socket: StreamSocket) {
    this.#socket = socket;
    this.items = computed(() => [...this.#byId.value.values()].sort((a, b) => b.at - a.at));
    follow(socket, {
      request: 'inbox:subscribe',
      facts: ['inbox:added', 'inbox:changed'],
      onState: (state, answer) => {
        this.#byId.value = new Map();
        this.#take(Array.isArray(state.items) ? state.items : []);
        this.#count(state.counts ?? answer.counts);
        this.isReady.value = true;
      },
      onEvent: (fact, body) => {
        if (fact === 'inbox:added') {
          const item = toInboxItem(body.item);
          if (item) {
            this.#take([body.item]);
            this.latest.value = item;
          }
        } else this.#changed(body);
        this.#count(body.counts);
        this.isReady.value = true;
      },
    });
  }

  /** The list was opened: nothing is new any more, though it may be unread. */
  async seen(): Promise<void> {
    if (this.counts.peek().unseen === 0) return;
    const answer = await this.#socket.request('inbox:seen');
    if (answer.ok) this.#count(answer.counts ?? { ...this.counts.peek(), unseen: 0 });
  }

  async read(ids: readonly string[] | 'all'): Promise<void> {
    const answer = await this.#socket.request('inbox:read', ids === 'all' ? { all: true } : { ids });
    if (!answer.ok) return;
    this.#mark((item) => (ids === 'all' || ids.includes(item.id) ? { ...item, read: true, seen: true } : item));
    if (answer.counts) this.#count(answer.counts);
  }

  #changed(body: Record<string, unknown>): void {
    const ids = Array.isArray(body.ids) ? body.ids.map(String) : null;
    if (Array.isArray(body.items)) this.#take(body.items);
    const isRead = body.state !== 'seen';
    this.#mark((item) => (body.all === true || ids?.includes(item.id) ? { ...item, seen: true, read: item.read || isRead } : item));
  }

  #mark(change: (item: InboxItem) => InboxItem): void {
    this.#byId.value = new Map([...this.#byId.peek()].map(([id, item]) => [id, change(item)]));
  }

  #count(raw: unknown): void {
    const counts = toCounts(raw);
    if (counts) this.counts.value = counts;
    else this.counts.value = { unread: this.items.peek().filter((item) => !item.read).length, unseen: this.items.peek().filter((item) => !item.seen).length };
  }

  #take(raw: readonly unknown[]): void {
    const next = new Map(this.#byId.peek());
    for (const value of raw) {
      const item = toInboxItem(value);
      if (item) next.set(item.id, item);
    }
    this.#byId.value = next;
  }
}
