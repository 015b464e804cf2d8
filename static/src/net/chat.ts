/** The conversation of a room: stored, live, paged back. */
import { computed, signal, type ReadonlySignal } from '@preact/signals';
import { follow, type StreamSocket } from './stream';
import { toMessage, type Failure, type Message } from './wire';

const PAGE = 50;

export interface Sending {
  readonly id: string;
  readonly text: string;
  readonly mentions: readonly string[];
  readonly failure: Failure | null;
}

export class Chat {
  readonly messages: ReadonlySignal<readonly Message[]>;
  /** What I sent and the server has not yet stored. */
  readonly sending = signal<readonly Sending[]>([]);
  readonly hasMore = signal(false);
  readonly isLoading = signal(true);
  readonly failure = signal<Failure | null>(null);
  /** Grows with every message that arrived live. */
  readonly heard = signal(0);

  readonly #socket: StreamSocket;
  readonly #design: string;
  readonly #byId = signal<ReadonlyMap<string, Message>>(new Map());
  readonly #stop: () => void;

  constructor(socket: StreamSocket, design: string) {
    this.#socket = socket;
    this.#design = design;
    this.messages = computed(() => [...this.#byId.value.values()].sort((a, b) => a.position - b.position || a.at - b.at));
    this.#stop = follow(socket, {
      request: 'chat:subscribe',
      body: { design },
      facts: ['chat:posted'],
      isMine: (body) => body.stream === undefined || body.stream === `chat:${design}`,
      onState: (state) => {
        this.#byId.value = new Map();
        this.#take(Array.isArray(state.messages) ? state.messages : []);
        this.hasMore.value = state.has_more === true;
        this.#ready();
      },
      onEvent: (_fact, body) => {
        this.#take([{ position: body.position, ...(body.message as object) }]);
        this.heard.value += 1;
        this.#ready();
      },
      onFailure: (failure) => {
        this.failure.value = failure;
        this.isLoading.value = false;
      },
    });
  }

  /** Posts, and keeps what could not be sent so that it can be tried again under the same id: the server stores an id once. */
  async post(text: string, mentions: readonly string[], id: string = crypto.randomUUID?.() ?? `m${Date.now()}-${Math.random().toString(36).slice(2)}`): Promise<void> {
    const entry: Sending = { id, text, mentions, failure: null };
    this.sending.value = [...this.sending.peek().filter((other) => other.id !== id), entry];
    const answer = await this.#socket.request('chat:post', { design: this.#design, id, text, mentions });
    if (answer.ok) {
      this.sending.value = this.sending.peek().filter((other) => other.id !== id);
      this.#take([answer.message]);
      return;
    }
    this.sending.value = this.sending.peek().map((other) => (other.id === id ? { ...other, failure: answer } : other));
  }

  discard(id: string): void {
    this.sending.value = this.sending.peek().filter((other) => other.id !== id);
  }

  async older(): Promise<void> {
    const first = this.messages.peek()[0];
    if (!first || this.isLoading.peek()) return;
    this.isLoading.value = true;
    const answer = await this.#socket.request('chat:history', { design: this.#design, before: first.position, limit: PAGE });
    this.isLoading.value = false;
    if (!answer.ok) return;
    const state = (answer.state ?? answer) as Record<string, unknown>;
    this.#take(Array.isArray(state.messages) ? state.messages : []);
    this.hasMore.value = state.has_more === true;
  }

  /** Who can be mentioned; empty if the server cannot say just now. */
  async people(): Promise<{ readonly id: string; readonly name: string; readonly color: string }[]> {
    const answer = await this.#socket.request('chat:people', { design: this.#design });
    if (!answer.ok || !Array.isArray(answer.people)) return [];
    return (answer.people as Record<string, unknown>[]).map((person) => ({ id: String(person.id ?? ''), name: String(person.name ?? ''), color: String(person.color ?? '') }));
  }

  get ready(): StreamSocket['ready'] {
    return this.#socket.ready;
  }

  close(): void {
    this.#stop();
    void this.#socket.request('chat:unsubscribe', { design: this.#design });
  }

  #ready(): void {
    this.isLoading.value = false;
    this.failure.value = null;
  }

  #take(raw: readonly unknown[]): void {
    const next = new Map(this.#byId.peek());
    for (const value of raw) {
      const message = toMessage(value);
      if (message) next.set(message.id, message);
    }
    this.#byId.value = next;
  }
}
