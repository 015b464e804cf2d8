import { signal } from '@preact/signals';
import { render, type JSX } from 'preact';
import { useEffect } from 'preact/hooks';
import '../ui/base.css';
import './dashboard.css';
import { Board, type Sample } from '../net/board';
import { pageConnection } from '../net/connection';
import { StreamSocket } from '../net/stream';
import { Fault } from '../ui/fault';
import { introduce } from '../ui/page';
import { PageHead } from '../ui/page_head';
import { Toasts } from '../ui/toast';

const fault = signal<unknown>(null);
const board = signal<Board | null>(null);
const isOnline = pageConnection().online;

interface Tile {
  readonly title: string;
  readonly says: string;
  readonly read: (sample: Sample) => number | null;
  readonly write: (value: number) => string;
  readonly tone: 'accent' | 'good' | 'warn';

}

const whole = (value: number): string => value.toLocaleString('en', { maximumFractionDigits: 0 });
const rate = (value: number): string => value.toLocaleString('en', { maximumFractionDigits: value < 10 ? 1 : 0 });
const milliseconds = (value: number): string => `${value.toLocaleString('en', { maximumFractionDigits: value < 10 ? 1 : 0 })} ms`;

const TILES: readonly Tile[] = [
  { title: 'People', says: 'connected now', read: (s) => s.people, write: whole, tone: 'accent' },
  { title: 'Connections', says: 'open sockets', read: (s) => s.connections, write: whole, tone: 'accent' },
  { title: 'Rooms', says: 'designs being worked on', read: (s) => s.rooms, write: whole, tone: 'accent' },
  { title: 'Edits', says: 'stored per second', read: (s) => s.edits, write: rate, tone: 'good' },
  { title: 'Messages', says: 'written per second', read: (s) => s.messages, write: rate, tone: 'good' },
  { title: 'Saved, p50', says: 'half of all edits are durable within', read: (s) => s.ackP50, write: milliseconds, tone: 'warn' },
  { title: 'Saved, p99', says: '99 of 100 edits are durable within', read: (s) => s.ackP99, write: milliseconds, tone: 'warn' },
  { title: 'Loop lag', says: 'how late the server runs', read: (s) => s.lag, write: milliseconds, tone: 'warn' },
];

const WIDTH = 240;
const HEIGHT = 56;
/** The line fills the tile soon after opening, and shows two minutes at most. */
const SHORTEST_SPAN_MS = 20_000;
const LONGEST_SPAN_MS = 120_000;

/** The last minutes as a line; a second without a value is a gap, not a zero. */
function Spark({ samples, tile }: { readonly samples: readonly Sample[]; readonly tile: Tile }): JSX.Element {
  const end = samples.at(-1)?.at ?? 0;
  const span = Math.min(LONGEST_SPAN_MS, Math.max(SHORTEST_SPAN_MS, end - (samples[0]?.at ?? end)));
  const shown = samples.filter((sample) => end - sample.at <= span);
  const values = shown.map(tile.read);
  const most = Math.max(1e-9, ...values.map((value) => value ?? 0));
  const x = (sample: Sample): number => WIDTH - ((end - sample.at) / span) * WIDTH;
  const y = (value: number): number => HEIGHT - 3 - (value / most) * (HEIGHT - 8);
  let line = '';
  let area = '';
  let start: number | null = null;
  shown.forEach((sample, i) => {
    const value = values[i];
    if (value === null || value === undefined) {
      if (start !== null) area += `L${x(shown[i - 1]!)} ${HEIGHT}Z`;
      start = null;
      return;
    }
    const point = `${x(sample).toFixed(1)} ${y(value).toFixed(1)}`;
    line += `${start === null ? 'M' : 'L'}${point}`;
    area += start === null ? `M${x(sample).toFixed(1)} ${HEIGHT}L${point}` : `L${point}`;
    start ??= x(sample);
  });
  if (start !== null) area += `L${WIDTH} ${HEIGHT}Z`;
  return (
    <svg class={`spark ${tile.tone}`} viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label={`${tile.title}, the last two minutes; most: ${tile.write(most)}`}>
      <path class="spark-area" d={area} />
      <path class="spark-line" d={line} vector-effect="non-scaling-stroke" />
    </svg>
  );
}

function TileCard({ tile, samples }: { readonly tile: Tile; readonly samples: readonly Sample[] }): JSX.Element {
  const value = samples.length === 0 ? null : tile.read(samples.at(-1)!);
  const lastKnown = value ?? [...samples].reverse().map(tile.read).find((one) => one !== null) ?? null;
  return (
    <article class="card tile">
      <header>
        <h3>{tile.title}</h3>
        <span class="small quiet">{tile.says}</span>
      </header>
      <strong class={`tile-value numbers ${value === null ? 'stale' : ''}`}>{lastKnown === null ? '–' : tile.write(lastKnown)}</strong>
      <Spark samples={samples} tile={tile} />
    </article>
  );
}

function uptime(seconds: number): string {
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor((seconds % 3600) / 60);
  return hours > 0 ? `${hours} h ${minutes} min` : minutes > 0 ? `${minutes} min` : `${Math.floor(seconds)} s`;
}

function Dashboard(): JSX.Element {
  useEffect(() => {
    introduce()
      .then(() => (board.value = new Board(new StreamSocket(pageConnection(), '/metrics'))))
      .catch((error: unknown) => (fault.value = error));
  }, []);
  const samples = board.value?.samples.value ?? [];
  const last = samples.at(-1);
  const isLive = isOnline.value && last !== undefined;
  const refused = board.value?.failure.value;
  return (
    <>
      <PageHead here="live" />
      <main class="page">
        <div class="live-head">
          <div>
            <h1>Live</h1>
            <p class="quiet">What happens on this service right now, once a second.</p>
          </div>
          <span class={`pill ${isLive ? 'good' : 'warn'}`} role="status">
            <span class="dot" />
            {isLive ? 'Live' : isOnline.value ? 'Waiting for the first second' : 'Reconnecting'}
            {last && ` · up ${uptime(last.uptime)} · ${last.nodes} ${last.nodes === 1 ? 'node' : 'nodes'} · ${Math.round(last.memory / 1e6)} MB`}
          </span>
        </div>
        {fault.value !== null || (refused && !refused.retryable) ? (
          <Fault title="The live board could not be opened" error={fault.value ?? new Error(refused!.message)} onRetry={() => window.location.reload()} />
        ) : (
          <div class="tiles">
            {TILES.map((tile) => (
              <TileCard key={tile.title} tile={tile} samples={samples} />
            ))}
          </div>
        )}
        {last !== undefined && last.rooms === 0 && (
          <div class="card live-next">
            <span>
              <strong>Quiet just now.</strong> <span class="quiet">Open a design in another window and draw: rooms, edits and how fast they are saved move here within a second.</span>
            </span>
            <a class="button" href="/">
              Open a design
            </a>
          </div>
        )}
      </main>
      <Toasts />
    </>
  );
}

render(<Dashboard />, document.getElementById('app')!);
