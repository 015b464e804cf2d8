// Rules S1 to S6 and T: the provider and the stream client against a real Socket.IO server that can be told to misbehave.
import { createServer, type Server as HttpServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Server, type Socket } from 'socket.io';
import * as Y from 'yjs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Connection } from '../src/net/connection';
import { DocumentProvider } from '../src/net/provider';
import { follow, StreamSocket } from '../src/net/stream';
import type { Refused } from '../src/net/wire';

type Answer = (answer: unknown) => void;

/** A server of one document with a log, and switches for what may go wrong. */
class Room {
  readonly rows: Uint8Array[] = [];
  readonly steps: { vector: Uint8Array; place: unknown }[] = [];
  /** What happens to the next updates, before they are taken. */
  onUpdate: ((socket: Socket, update: Uint8Array, answer: Answer) => boolean) | null = null;
  readonly sockets = new Set<Socket>();
  readonly io: Server;

  constructor(http: HttpServer) {
    this.io = new Server(http, { transports: ['websocket'] });
    this.io.of(/^\/yjs\|.*$/).on('connection', (socket) => {
      this.sockets.add(socket);
      socket.on('disconnect', () => this.sockets.delete(socket));
      socket.on('sync-step-1', (vector: Uint8Array, ...rest: unknown[]) => {
        const answer = rest.at(-1) as (...values: unknown[]) => void;
        const place = rest.length > 1 ? (rest[0] as { position: number }) : null;
        this.steps.push({ vector, place });
        const rows = place === null ? this.rows : this.rows.slice(place.position);
        answer(Buffer.from(rows.length === 0 ? [0, 0] : Y.mergeUpdates(rows)), { epoch: 1, position: this.rows.length });
        socket.emit('sync-step-1', Buffer.from(Y.encodeStateVector(this.doc())), () => undefined);
      });
      socket.on('sync-update', (update: Uint8Array, answer: Answer) => {
        if (this.onUpdate?.(socket, update, answer) === true) return;
        this.take(update, socket);
        answer({ ok: true, position: this.rows.length });
      });
    });
  }

  take(update: Uint8Array, from: Socket | null = null): void {
    this.rows.push(new Uint8Array(update));
    const position = this.rows.length;
    for (const socket of this.sockets) if (socket !== from) socket.emit('sync-update', Buffer.from(update), { epoch: 1, from: position, to: position });
  }

  doc(): Y.Doc {
    const doc = new Y.Doc();
    for (const row of this.rows) Y.applyUpdate(doc, row);
    return doc;
  }

  get text(): string {
    return this.doc().getText('t').toString();
  }
}

let http: HttpServer;
let room: Room;
let connection: Connection;
const open: DocumentProvider[] = [];

async function until(what: () => boolean, limit = 6_000): Promise<void> {
  const end = Date.now() + limit;
  while (!what()) {
    if (Date.now() > end) throw new Error(`It did not come true in ${limit} ms: ${what}`);
    await new Promise((done) => setTimeout(done, 10));
  }
}

function join(options: { onRefused?: (why: Refused) => void } = {}): DocumentProvider {
  const provider = new DocumentProvider({ connection, design: 'd1', doc: new Y.Doc(), ...options });
  open.push(provider);
  return provider;
}

const write = (provider: DocumentProvider, text: string): void => provider.doc.getText('t').insert(provider.doc.getText('t').length, text);
const isSaved = (provider: DocumentProvider): boolean => provider.state.value.kind === 'saved';

beforeEach(async () => {
  http = createServer();
  room = new Room(http);
  await new Promise<void>((done) => http.listen(0, '127.0.0.1', done));
  connection = new Connection(`http://127.0.0.1:${(http.address() as AddressInfo).port}`);
});

afterEach(async () => {
  for (const provider of open.splice(0)) provider.destroy();
  connection.close();
  await room.io.close();
});

describe('DocumentProvider', () => {
  it('says saved when, and only when, the server has acknowledged', async () => {
    let release: Answer | null = null;
    room.onUpdate = (socket, update, answer) => {
      release = () => {
        room.take(update, socket);
        answer({ ok: true, position: room.rows.length });
      };
      return true;
    };
    const provider = join();
    await until(() => isSaved(provider));
    write(provider, 'hello');
    expect(provider.state.value).toEqual({ kind: 'saving', unsaved: 1 });
    await until(() => release !== null);
    expect(provider.state.value.kind).toBe('saving');
    release!(null);
    await until(() => isSaved(provider));
    expect(room.text).toBe('hello');
  });

  it('sends again what was lost with its connection, before or after it was stored', async () => {
    for (const isStored of [false, true]) {
      let cuts = 0;
      room.onUpdate = (socket, update) => {
        if (cuts > 0) return false;
        cuts += 1;
        if (isStored) room.take(update, socket);
        socket.conn.close();
        return true;
      };
      const provider = join();
      await until(() => isSaved(provider));
      write(provider, 'x');
      await until(() => provider.state.value.kind === 'offline');
      expect(provider.state.value).toMatchObject({ unsaved: 1 });
      write(provider, 'y');
      await until(() => isSaved(provider));
      provider.destroy();
    }
    expect(room.text).toBe('xyxy');
  });

  it('comes back when the server closed its namespace for a passing reason', async () => {
    const provider = join();
    await until(() => isSaved(provider));
    for (const socket of room.sockets) socket.disconnect(false);
    await until(() => provider.state.value.kind === 'offline');
    write(provider, 'still here');
    await until(() => isSaved(provider));
    expect(room.text).toBe('still here');
  });

  it('resumes from its place, own rows included', async () => {
    const provider = join();
    await until(() => isSaved(provider));
    write(provider, 'a');
    await until(() => isSaved(provider));
    const other = new Y.Doc();
    other.getText('t').insert(0, 'b');
    room.take(Y.encodeStateAsUpdate(other));
    await until(() => provider.doc.getText('t').length === 2);
    for (const socket of room.sockets) socket.conn.close();
    await until(() => room.steps.length === 2 && isSaved(provider));
    expect(room.steps[0]!.place).toBeNull();
    expect(room.steps[1]!.place).toEqual({ epoch: 1, position: 2 });
  });

  it('asks for everything when the server turns out to have more than the place promised', async () => {
    const provider = join();
    await until(() => isSaved(provider));
    const other = new Y.Doc();
    other.getText('t').insert(0, 'missed');
    room.rows.push(Y.encodeStateAsUpdate(other));
    for (const socket of room.sockets) socket.emit('sync-step-1', Buffer.from(Y.encodeStateVector(room.doc())), () => undefined);
    await until(() => provider.doc.getText('t').toString() === 'missed');
  });

  it('gives a permanent refusal to its owner, once, and does not come back', async () => {
    room.onUpdate = (socket) => {
      socket.emit('refused', { code: 'malformed_update', message: 'This cannot be read.', elements: ['a'] });
      socket.disconnect(false);
      return true;
    };
    const heard: Refused[] = [];
    const provider = join({ onRefused: (why) => heard.push(why) });
    await until(() => isSaved(provider));
    write(provider, 'x');
    await until(() => heard.length > 0);
    expect(heard).toEqual([{ code: 'malformed_update', message: 'This cannot be read.', elements: ['a'] }]);
    expect(provider.state.value.kind).toBe('refused');
    await new Promise((done) => setTimeout(done, 400));
    expect(room.sockets.size).toBe(0);
  });

  it('takes a negative answer for good unless it may be tried again', async () => {
    let answers = 0;
    room.onUpdate = (_socket, _update, answer) => {
      answers += 1;
      if (answers === 1) answer({ ok: false, code: 'overloaded', message: 'Later.', retryable: true });
      else if (answers === 2) return false;
      else answer({ ok: false, code: 'not_permitted', message: 'You may look only.', retryable: false });
      return true;
    };
    const heard: Refused[] = [];
    const provider = join({ onRefused: (why) => heard.push(why) });
    await until(() => isSaved(provider));
    write(provider, 'a');
    await until(() => isSaved(provider) && answers === 2);
    write(provider, 'b');
    await until(() => heard.length === 1);
    expect(heard[0]).toMatchObject({ code: 'not_permitted' });
    expect(room.text).toBe('a');
  });
});

describe('follow', () => {
  it('takes every event once and in order, through cuts, gaps and what comes before its answer', async () => {
    const log: number[] = [];
    const sockets = new Set<Socket>();
    const event = (position: number): unknown => ({ event: 'chat:posted', epoch: 1, position, message: position });
    room.io.of('/chat').on('connection', (socket) => {
      sockets.add(socket);
      socket.on('disconnect', () => sockets.delete(socket));
      socket.on('chat:subscribe', (since: { position?: number }, answer: Answer) => {
        socket.emit('chat:posted', event(log.length));
        if (since.position === undefined) answer({ ok: true, recovered: false, state: { messages: [...log] }, epoch: 1, position: log.length });
        else answer({ ok: true, recovered: true, events: log.slice(since.position).map((_, i) => event(since.position! + i + 1)), epoch: 1, position: log.length });
      });
    });
    const say = (isLost = false): void => {
      log.push(log.length + 1);
      if (!isLost) for (const socket of sockets) socket.emit('chat:posted', event(log.length));
    };
    say(true);
    const taken: number[] = [];
    const stop = follow(new StreamSocket(connection, '/chat'), {
      request: 'chat:subscribe',
      facts: ['chat:posted'],
      onState: (state) => taken.push(...(state.messages as number[])),
      onEvent: (_fact, body) => taken.push(body.message as number),
    });
    await until(() => taken.length === 1);
    say();
    await until(() => taken.length === 2);
    say(true);
    say(true);
    say();
    await until(() => taken.length === 5);
    for (const socket of sockets) socket.conn.close();
    say(true);
    await until(() => taken.length === 6);
    expect(taken).toEqual([1, 2, 3, 4, 5, 6]);
    stop();
  });
});
