/** The live board: one sample a second, and a few minutes of them to look back on. */
import { signal } from '@preact/signals';
import { follow, type StreamSocket } from './stream';
import type { Failure } from './wire';

export interface Sample {
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly connections: number;
  readonly rooms: number;
  readonly people: number;
  readonly edits: number;
  readonly messages: number;
  /** Milliseconds; null while nothing was acknowledged. */
  readonly ackP50: number | null;
  readonly ackP99: number | null;
  readonly memory: number;
  readonly lag: number;
  readonly uptime: number;
  readonly nodes: number;
}

const KEPT = 300;

type Bag = Record<string, unknown>;
const bag = (value: unknown): Bag => (typeof value === 'object' && value !== null ? (value as Bag) : {});
const number = (value: unknown): number => (typeof value === 'number' && Number.isFinite(value) ? value : 0);
const maybe = (value: unknown): number | null => (typeof value === 'number' && Number.isFinite(value) ? value : null);

export function toSample(value: unknown): Sample {
  const raw = bag(value);
  const ack = bag(raw.ack);
  return {
    at: number(raw.at) * 1000,
    connections: number(raw.connections),
    rooms: number(raw.rooms),
    people: number(raw.people),
    edits: number(raw.edits_per_second),
    messages: number(raw.messages_per_second),
    ackP50: maybe(ack.p50_ms),
    ackP99: maybe(ack.p99_ms),
    memory: number(raw.memory_bytes),
    lag: number(raw.loop_lag_ms),
    uptime: number(raw.uptime_seconds),
    nodes: number(raw.node_count),
  };
}

export class Board {
  readonly samples = signal<readonly Sample[]>([]);
  readonly failure = signal<Failure | null>(null);

  constructor(socket: StreamSocket) {
    follow(socket, {
      request: 'metrics:subscribe',
      body: { board: 'live' },
      facts: ['metrics:ticked'],
      onState: (state) => {
        this.samples.value = (Array.isArray(state.samples) ? state.samples : []).map(toSample).slice(-KEPT);
        this.failure.value = null;
      },
      onEvent: (_fact, body) => {
        this.samples.value = [...this.samples.peek(), toSample(body.sample)].slice(-KEPT);
        this.failure.value = null;
      },
      onFailure: (failure) => (this.failure.value = failure),
    });
  }
}
