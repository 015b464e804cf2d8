// node tests/harness/designer.mjs: designers on command. One JSON object a line in, {id, ok, …} a line out, in the order done.
//
// A `stock` designer is the npm y-socket.io provider as it is published, `y-websocket` and `y-websocket-2` are that package in
// its newest major version and in the one before. An `acked` one speaks the same protocol through
// socket.io-client and sends every update with an acknowledgement, so that it is known which edits were called durable.
// `hocuspocus` and `hocuspocus-2` are the npm Hocuspocus providers as they are published, the newest and an older major.
import { createInterface } from 'node:readline'
import * as hocuspocus4 from '@hocuspocus/provider'
import * as hocuspocus2 from 'hocuspocus-provider-2'
import { io } from 'socket.io-client'
import { WebSocket } from 'ws'
import { SocketIOProvider } from 'y-socket.io'
import { WebsocketProvider } from 'y-websocket'
import { WebsocketProvider as WebsocketProvider2 } from 'y-websocket-2'
import * as awareness from 'y-protocols/awareness'
import * as Y from 'yjs'
import { digest, look } from './documents.mjs'

process.setMaxListeners(0)
const designers = new Map()
// Sooner than in life, so that tests are short. `timeout`: socket.io-client does not hear of a WebSocket that closes between
// its upgrade and Engine.IO's first packet, as one does when the server stops in that moment, and waits for 20 s by default.
const RETURN_MS = { reconnectionDelay: 20, reconnectionDelayMax: 200, timeout: 3000 }

class Designer {
  constructor({ name, url, room, client, token }) {
    Object.assign(this, { name, url, room })
    this.doc = new Y.Doc()
    if (client) this.doc.clientID = client
    this.auth = token ? { token } : {}
    this.events = []
    this.acked = []
    this.sent = 0
    this.outstanding = new Set()
    this.refused = []
    this.marks = 0
    this.marking = 0
  }

  get connected() { return this.socket.connected }
  get unanswered() { return this.outstanding.size }

  listen() {
    this.socket.on('refused', (refusal) => this.refused.push(refusal))
    this.socket.on('connect_error', (error) => this.events.push(`connect_error ${error.message}`))
    this.socket.on('connect', () => this.events.push('connect'))
    this.socket.on('disconnect', (reason) => this.events.push(`disconnect ${reason}`))
    Object.entries(RETURN_MS).forEach(([option, ms]) => this.socket.io[option](ms))
  }

  /** End the transport without a word, if there is one: what a lost network or a killed tab leaves. */
  cut() {
    const { engine } = this.socket.io
    if (engine?.readyState === 'open') engine.transport.ws.terminate() // while connecting, ws would wait for its time limit
  }
}

class Stock extends Designer {
  constructor(options) {
    super(options)
    this.provider = new SocketIOProvider(this.url, this.room, this.doc, { autoConnect: false, disableBc: true, auth: this.auth })
    this.socket = this.provider.socket
    this.awareness = this.provider.awareness
    this.listen()
  }

  get ready() { return this.connected && this.provider.synced }
  connect() { this.provider.connect() }
  disconnect() { this.provider.disconnect() }
  close() { this.provider.destroy() }
}

/** The npm y-websocket provider; what it says on the console of a refusal is kept as an event. */
class YWebsocket extends Designer {
  constructor({ kind, ...options }) {
    super(options)
    const Provider = kind === 'y-websocket' ? WebsocketProvider : WebsocketProvider2
    this.provider = new Provider(`${this.url.replace('http', 'ws')}/yjs`, this.room, this.doc, {
      connect: false, disableBc: true, params: this.auth, WebSocketPolyfill: WebSocket, maxBackoffTime: options.backoff ?? RETURN_MS.reconnectionDelayMax,
    })
    this.awareness = this.provider.awareness
    this.opened = 0
    this.closes = []
    this.provider.on('status', ({ status }) => { this.events.push(status); if (status === 'connected') this.opened++ })
    this.provider.on('connection-close', (event) => { if (event) this.closes.push(event.code) })
    this.provider.on('connection-error', (event) => this.events.push(`error ${event.message}`))
    this.provider.on('closed', ({ code, reason }) => this.events.push(`closed ${code} ${reason}`))
  }

  get connected() { return this.provider.wsconnected }
  get ready() { return this.connected && this.provider.synced }
  connect() { this.provider.connect() }
  disconnect() { this.provider.disconnect() }
  close() { this.provider.destroy() }
  cut() { this.provider.ws?.terminate() }
}

console.warn = (text) => { for (const designer of designers.values()) if (designer.provider?.url && text.includes(designer.provider.url)) designer.refused.push(text.split('\n')[1]) }

/** What one update brings: per client the clock it ends at, and the ranges that it deletes. Not what was sent before it. */
function broughtBy(update) {
  const { structs, ds } = Y.decodeUpdate(update)
  const ends = {}
  for (const { id, length } of structs) ends[id.client] = Math.max(ends[id.client] ?? 0, id.clock + length)
  const deletes = [...ds.clients].flatMap(([client, ranges]) => ranges.map(({ clock, len }) => [client, clock, clock + len]))
  return { ends, deletes }
}

class Acked extends Designer {
  constructor(options) {
    super(options)
    this.awareness = new awareness.Awareness(this.doc)
    this.ready = false
    this.socket = io(`${this.url}/yjs|${this.room}`, { autoConnect: false, transports: ['websocket'], forceNew: true, auth: this.auth })
    this.doc.on('update', (update, origin) => {
      if (origin === this) return
      const own = { number: ++this.sent, ...broughtBy(update), mark: this.marking }
      const sent = { online: this.socket.connected }
      this.outstanding.add(sent)
      this.socket.emit('sync-update', update, (answer) => {
        this.outstanding.delete(sent)
        if (answer.ok) this.acked.push({ ...own, position: answer.position })
        else this.refused.push(answer)
      })
    })
    this.socket.on('sync-step-1', (vector, answer) => answer(Y.encodeStateAsUpdate(this.doc, new Uint8Array(vector))))
    this.socket.on('sync-update', (update) => Y.applyUpdate(this.doc, new Uint8Array(update), this))
    this.socket.on('awareness-update', (update) => awareness.applyAwarenessUpdate(this.awareness, new Uint8Array(update), this))
    this.socket.on('connect', () => {
      for (const sent of this.outstanding) sent.online = true // what was buffered has just been sent
      this.socket.emit('sync-step-1', Y.encodeStateVector(this.doc), (update) => {
        Y.applyUpdate(this.doc, new Uint8Array(update), this)
        this.ready = true
      })
      this.socket.emit('awareness-update', awareness.encodeAwarenessUpdate(this.awareness, [this.doc.clientID]))
    })
    this.socket.on('disconnect', () => {
      this.ready = false
      // What was under way is never answered now; what was emitted offline is still to be sent.
      for (const sent of this.outstanding) if (sent.online) this.outstanding.delete(sent)
    })
    this.awareness.on('update', ({ added, updated, removed }, origin) => {
      if (origin !== this) this.socket.volatile.emit('awareness-update', awareness.encodeAwarenessUpdate(this.awareness, [...added, ...updated, ...removed]))
    })
    this.listen()
  }

  connect() { this.socket.connect() }
  disconnect() { this.socket.disconnect() }
  close() { this.socket.disconnect(); this.awareness.destroy() }
}

/** A Hocuspocus provider; `share`: the designer whose socket it sits on, `session`: its address has a session in it. */
class Hocuspocus extends Designer {
  constructor({ kind, share, session, flushDelay = false, ...options }) {
    super(options)
    const { HocuspocusProvider, HocuspocusProviderWebsocket } = kind === 'hocuspocus' ? hocuspocus4 : hocuspocus2
    this.mine = !share
    this.channel = share ? designers.get(share).channel : new HocuspocusProviderWebsocket({
      url: `${this.url.replace('http', 'ws')}/hocuspocus`, WebSocketPolyfill: WebSocket,
      autoConnect: false, connect: false, delay: 20, minDelay: 20, maxDelay: 200, // the second is the older major's name
    })
    this.scopes = []
    this.stateless = []
    this.denied = []
    this.tokens = 0
    this.token = options.token ?? null
    this.provider = new HocuspocusProvider({
      websocketProvider: this.channel, name: this.room, document: this.doc, broadcast: false, preserveConnection: true,
      token: kind === 'hocuspocus' ? () => { this.tokens++; return this.token } : this.token,
      sessionAwareness: Boolean(session), flushDelay,
    })
    this.awareness = this.provider.awareness
    this.provider.on('authenticated', (said) => this.scopes.push(said?.scope ?? this.provider.authorizedScope))
    this.provider.on('authenticationFailed', ({ reason }) => this.denied.push(reason))
    this.provider.on('stateless', ({ payload }) => {
      this.stateless.push(payload)
      try { const fact = JSON.parse(payload); if (fact.type === 'refused') this.refused.push(fact) } catch { /* not ours */ }
    })
    this.channel.on('open', () => this.events.push('open'))
    this.channel.on('close', ({ event }) => this.events.push(`close ${event.code} ${event.reason}`))
    if (!this.mine) this.provider.attach?.()
  }

  get connected() { return this.channel.status === 'connected' }
  get ready() { return this.connected && this.provider.isAuthenticated && this.provider.synced }
  // The older provider counts below zero: it sends what it queued offline without counting it anew.
  get unanswered() { return Math.max(0, this.provider.unsyncedChanges) }
  connect() { this.provider.attach?.(); if (this.mine) this.channel.connect() }
  disconnect() { this.channel.disconnect() }
  close() { this.provider.destroy(); if (this.mine) this.channel.destroy() }
  cut() { this.channel.webSocket?.terminate() }
}

const kinds = {
  stock: Stock, acked: Acked, 'y-websocket': YWebsocket, 'y-websocket-2': YWebsocket,
  hocuspocus: Hocuspocus, 'hocuspocus-2': Hocuspocus,
}

const at = (length, place) => (length ? Math.floor(place * (length + 1)) : 0)
const within = (length, place) => Math.min(length - 1, Math.floor(place * length))

/** One edit; `place` is a share of the length, so that an edit drawn before is legal whatever the document has become. */
const edits = {
  map: (doc, { key, value }) => doc.getMap('el').set(key, value),
  unset: (doc, { key }) => doc.getMap('el').delete(key),
  nested: (doc, { key, field, value }) => {
    const el = doc.getMap('el')
    if (!(el.get(key) instanceof Y.Map)) el.set(key, new Y.Map())
    el.get(key).set(field, value)
  },
  text: (doc, { place, insert }) => { const t = doc.getText('note'); t.insert(at(t.length, place), insert) },
  erase: (doc, { place, length = 1 }) => {
    const t = doc.getText('note')
    if (t.length) { const from = within(t.length, place); t.delete(from, Math.min(length, t.length - from)) }
  },
  push: (doc, { place, values }) => { const l = doc.getArray('list'); l.insert(at(l.length, place), values) },
  remove: (doc, { place }) => { const l = doc.getArray('list'); if (l.length) l.delete(within(l.length, place), 1) },
}

function mark(designer) {
  designer.marking = ++designer.marks
  designer.doc.getMap('marks').set(`${designer.doc.clientID}:${designer.marks}`, designer.marks)
  designer.marking = 0
}

/** A little of everything, from a seeded generator of its own, until stopped. */
function hammer(designer, { seed, every }) {
  let state = seed >>> 0 || 1
  const chance = () => { state ^= state << 13; state >>>= 0; state ^= state >>> 17; state ^= state << 5; state >>>= 0; return state / 2 ** 32 }
  designer.timer = setInterval(() => {
    const place = chance()
    switch (Math.floor(chance() * 6)) {
      case 0: edits.text(designer.doc, { place, insert: 'letters '.slice(0, 1 + Math.floor(chance() * 7)) }); break
      case 1: edits.erase(designer.doc, { place, length: 3 }); break
      case 2: edits.push(designer.doc, { place, values: [Math.floor(chance() * 1000)] }); break
      case 3: edits.remove(designer.doc, { place }); break
      case 4: edits.nested(designer.doc, { key: `layer${Math.floor(chance() * 5)}`, field: 'xf', value: [chance(), chance()] }); break
      default: mark(designer)
    }
  }, every)
}

async function until(look_, within_) {
  const deadline = performance.now() + within_ * 1000
  while (!look_()) {
    if (performance.now() > deadline) return false
    await new Promise((done) => setTimeout(done, 5))
  }
  return true
}

const of = (names) => names.map((name) => designers.get(name))

const commands = {
  open({ name, kind = 'stock', connect = true, ...options }) {
    const designer = new kinds[kind]({ name, kind, ...options })
    designers.set(name, designer)
    if (connect) designer.connect()
    return { client: designer.doc.clientID }
  },
  connect({ name }) { designers.get(name).connect() },
  disconnect({ name }) { designers.get(name).disconnect() },
  cut({ names }) { of(names).forEach((designer) => designer.cut()) },
  close({ name }) { designers.get(name).close(); designers.delete(name) },
  edit({ name, op, ...edit }) { edits[op](designers.get(name).doc, edit) },
  mark({ name }) { mark(designers.get(name)) },
  stateless({ name, payload }) { designers.get(name).provider.sendStateless(payload) },
  token({ name, token }) { designers.get(name).token = token },
  presence({ name, state }) { designers.get(name).awareness.setLocalState(state) },
  hammer({ name, ...options }) { hammer(designers.get(name), options) },
  rest({ names }) { of(names).forEach((designer) => clearInterval(designer.timer)) },
  look({ name }) { const { doc } = designers.get(name); return { digest: digest(doc), ...look(doc) } },
  people({ name }) { return { people: Object.fromEntries(designers.get(name).awareness.getStates()) } },
  report({ name }) {
    const { doc, acked, sent, events, refused, connected, marks, opened, closes } = designers.get(name)
    const { scopes, stateless, denied, tokens, unanswered } = designers.get(name)
    return {
      client: doc.clientID, acked, sent, events, refused, connected, marks, opened, closes,
      scopes, stateless, denied, tokens, unanswered,
    }
  },
  async 'until-ready'({ names, within }) { return { met: await until(() => of(names).every((d) => d.ready), within) } },
  async 'until-gone'({ names, within }) { return { met: await until(() => of(names).every((d) => !d.connected), within) } },
  async 'until-acked'({ names, within }) { return { met: await until(() => of(names).every((d) => d.unanswered === 0), within) } },
  async 'until-equal'({ names, within }) {
    const equal = () => of(names).every((d) => d.ready) && new Set(of(names).map((d) => digest(d.doc))).size === 1
    const met = await until(equal, within)
    return { met, digests: of(names).map((d) => digest(d.doc)), ready: of(names).map((d) => d.ready) }
  },
  async 'until-person'({ name, client, key, value, there = true, within }) {
    const started = performance.now()
    const { awareness: people } = designers.get(name)
    const seen = () => {
      const state = people.getStates().get(client)
      return there ? state !== undefined && (key === undefined || JSON.stringify(state[key]) === JSON.stringify(value)) : state === undefined
    }
    const met = await until(seen, within)
    return { met, seconds: (performance.now() - started) / 1000, state: people.getStates().get(client) ?? null }
  },
}

for await (const line of createInterface({ input: process.stdin })) {
  const { id, do: command, ...options } = JSON.parse(line)
  const answer = (more) => process.stdout.write(`${JSON.stringify({ id, ...more })}\n`)
  try {
    const result = commands[command](options)
    if (result instanceof Promise) result.then((r) => answer({ ok: true, ...r }), (e) => answer({ ok: false, error: String(e.stack) }))
    else answer({ ok: true, ...result })
  } catch (error) {
    answer({ ok: false, error: String(error.stack) })
  }
}
process.exit(0)
