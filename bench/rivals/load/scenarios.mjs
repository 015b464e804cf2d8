// The scenarios. Each opens its connections, runs for a bounded time and returns plain figures.
import { counters } from './wire.mjs'
import { Meter, Samples, loadOf, loopLag, round, sleep } from './meter.mjs'
import { awarenessUpdate, history, mapUpdates, random } from './prepare.mjs'

// A marker is "@@" + 4 hex (who) + 6 hex (which) + "@", plain ASCII inside a key or a JSON state, so it is found by scanning
// the bytes, whatever the server merged around it.
const MARK = 13
export const marker = (who, seq) => `@@${who.toString(16).padStart(4, '0')}${seq.toString(16).padStart(6, '0')}@`

const HEX = new Int8Array(256).fill(-1)
for (let i = 0; i < 16; i++) HEX['0123456789abcdef'.charCodeAt(i)] = i

function scan(buffer, start, end, found) {
  for (let i = start, last = end - MARK; i <= last; i++) {
    if (buffer[i] !== 0x40 || buffer[i + 1] !== 0x40 || buffer[i + 12] !== 0x40) continue
    let who = 0
    let seq = 0
    let ok = 0
    for (let k = 2; k < 6; k++) { const h = HEX[buffer[i + k]]; ok |= h; who = who * 16 + h }
    for (let k = 6; k < 12; k++) { const h = HEX[buffer[i + k]]; ok |= h; seq = seq * 16 + h }
    if (ok < 0) continue
    found(who, seq)
    i += MARK - 1
  }
}

/** Open clients a few at a time, wait until all have joined; throws with the first reason when one cannot.
 *  The first of a room joins alone: some servers deadlock when two clients open the same new room at once. */
async function open(target, rooms, hooks, { parallel = 32, deadline = 30_000, alone = true } = {}) {
  const clients = []
  let joined = 0
  let failure = null
  const ready = new Map()
  const all = { ...hooks, onJoin: (c, ...state) => { joined++; ready.set(c.room, true); hooks.onJoin?.(c, ...state) }, onClose: (c, why) => { failure ??= String(why); hooks.onClose?.(c, why) } }
  const until = performance.now() + deadline
  for (let i = 0; i < rooms.length; i++) {
    while (alone && ready.get(rooms[i]) === false && !failure && performance.now() < until) await sleep(1)
    if (!ready.has(rooms[i])) ready.set(rooms[i], false)
    const client = new target.Client(target, rooms[i], all)
    client.index = i
    clients.push(client)
    while (clients.length - joined >= parallel && !failure && performance.now() < until) await sleep(1)
    if (failure) break
  }
  while (joined < rooms.length && !failure && performance.now() < until) await sleep(2)
  if (failure || joined < rooms.length) {
    clients.forEach((c) => c.close())
    throw new Error(failure ?? `only ${joined} of ${rooms.length} joined within ${deadline} ms`)
  }
  return clients
}

/** Call `fire(i)` for every i at its due time; the times are random but the same for every target. */
async function play(due, fire, meter) {
  const start = performance.now()
  let i = 0
  while (i < due.length) {
    const now = performance.now() - start
    while (i < due.length && due[i] <= now) { meter.slips.add(now - due[i]); fire(i++) }
    if (i < due.length) await sleep(Math.max(1, Math.min(5, due[i] - now)))
  }
}

const schedule = (senders, perSecond, seconds, rng) => {
  const events = []
  for (let w = 0; w < senders; w++) {
    const phase = rng()
    for (let k = 0, n = Math.floor(perSecond * seconds); k < n; k++) events.push([((k + phase) / perSecond) * 1000, w, k])
  }
  return events.sort((a, b) => a[0] - b[0])
}

/** Shared by fanout, rooms and soak-max: `rooms[i]` is the room of client i, `writers` are client indices. */
async function spread(target, { rooms, writers, rate, seconds, warm, drain = 5_000 }) {
  const rng = random(7)
  const events = schedule(writers.length, rate, seconds + warm, rng)
  const per = Math.floor(rate * (seconds + warm))
  const members = new Map()
  rooms.forEach((room) => members.set(room, (members.get(room) ?? 0) + 1))
  const sentAt = new Float64Array(writers.length * per)
  const seen = rooms.map(() => new Uint8Array(writers.length * per))
  const counts = new Uint8Array(writers.length * per) // whether the marker belongs to the measured window
  const latency = new Samples(1 << 20)
  let delivered = 0
  let late = 0
  let finished = false
  let outstanding = 0
  let double = 0
  let dropped = 0
  let ended = false
  let now = 0
  let current = null
  const found = (who, seq) => {
    if (who >= writers.length || seq >= per) return
    const id = who * per + seq
    if (sentAt[id] === 0 || writers[who] === current.index) return
    const mine = seen[current.index]
    if (mine[id]) { double++; return }
    mine[id] = 1
    outstanding--
    if (counts[id]) { delivered++; late += finished; latency.add(now - sentAt[id]) }
  }
  const clients = await open(target, rooms, {
    onPayload: (client, buffer, start, end) => { now = performance.now(); current = client; scan(buffer, start, end, found) },
    onClose: () => { if (!ended) dropped++ },
  })
  const frames = writers.map((index, w) => mapUpdates(w, per, (k) => marker(w, k)).map((u) => clients[index].update(u)))
  await sleep(300)
  const meter = new Meter(target.pid)
  await loopLag(target)
  let started = false
  let expected = 0
  await play(events.map((e) => e[0]), (i) => {
    const [at, w, k] = events[i]
    if (at >= warm * 1000 && !started) { started = true; meter.start() }
    const id = w * per + k
    const others = members.get(rooms[writers[w]]) - 1
    if (started) { counts[id] = 1; expected += others }
    outstanding += others
    sentAt[id] = performance.now()
    clients[writers[w]].send(frames[w][k])
  }, meter)
  const figures = meter.stop()
  figures.loopLagMs = await loopLag(target)
  finished = true
  const until = performance.now() + drain
  while (outstanding > 0 && performance.now() < until) await sleep(10)
  const drained = performance.now()
  ended = true
  clients.forEach((c) => c.close())
  return {
    expected, delivered, lost: expected - delivered, double, dropped,
    perSecond: round((delivered - late) / figures.wall, 0), ...latency.summary(), drain: round(drained - until + drain, 0), ...figures,
  }
}

export const fanout = (target, { N = 50, W = 10, U = 10, T = 6, warm = 2 }) =>
  spread(target, { rooms: Array(N).fill(target.room), writers: [...Array(W).keys()], rate: U, seconds: T, warm })

export const rooms = (target, { M = 200, U = 5, T = 6, warm = 2 }) =>
  spread(target, {
    rooms: Array.from({ length: 2 * M }, (_, i) => `${target.room}-${String(i >> 1).padStart(4, '0')}`),
    writers: [...Array(2 * M).keys()], rate: U, seconds: T, warm })

/** Raise the rate until p99 passes 100 ms or something is lost, twice in a row (a noisy machine fails once); then look once
 *  between the last good and the bad rate. */
export async function soakMax(target, { N = 50, W = 25, from = 300, factor = 1.7, T = 2, limit = 100, steps = 14 }) {
  const trail = []
  let best = null
  let bad = null
  let rate = from
  const holds = async () => {
    const room = `${target.room}-s${String(trail.length).padStart(2, '0')}`
    let result
    try {
      result = await spread(target, { rooms: Array(N).fill(room), writers: [...Array(W).keys()], rate: rate / W, seconds: T, warm: 1, drain: 4_000 })
    } catch (e) { result = { lost: -1, p99: null, error: String(e.message ?? e) } }
    const good = result.lost === 0 && result.p99 <= limit
    trail.push({ rate: round(rate, 0), perSecond: result.perSecond, p99: result.p99, lost: result.lost, serverCpu: result.server?.cpu, genCpu: result.gen?.cpu, genBound: result.gen?.bound, steal: result.noise?.steal, ...(result.error && { error: result.error }) })
    if (good) best = { ...result, rate: round(rate, 0) }
    await sleep(500)
    return good
  }
  while (trail.length < steps) {
    const good = (await holds()) || (await holds())
    if (good && bad) break
    else if (good) rate *= factor
    else if (!best && rate > from / 5) rate /= 2
    else if (!best || bad) break
    else { bad = trail[trail.length - 1]; rate = Math.sqrt(best.rate * rate) }
  }
  return { ...(best ?? {}), perSecond: best?.perSecond ?? 0, rate: best?.rate ?? 0, generatorLimited: Boolean(bad?.genBound || best?.gen?.bound), trail }
}

/** Every client changes its state R times a second. A state counts as seen when it or a newer one has arrived. */
export async function awareness(target, { N = 50, R = 10, T = 6, warm = 2, echo = 0 }) {
  const rng = random(11)
  const events = schedule(N, R, T + warm, rng)
  const per = Math.floor(R * (T + warm))
  const sentAt = new Float64Array(N * per)
  const sent = new Int32Array(N).fill(-1)
  const seen = new Int32Array(N * N).fill(-1) // receiver × sender: the newest state seen
  const latency = new Samples(1 << 21)
  const stale = new Samples(1 << 20)
  let first = new Int32Array(N).fill(1 << 30)
  let states = 0
  let delivered = 0
  let late = 0
  let finished = false
  let measured = false
  let now = 0
  let current = null
  let fresh = false
  let echoed = 0
  const found = (who, seq) => {
    if (who >= N || seq >= per || who === current.index) return
    const at = current.index * N + who
    const before = seen[at]
    if (seq <= before || sent[who] < seq) return
    fresh = true
    if (measured && !finished) states++
    for (let k = Math.max(before + 1, first[who]); k <= seq; k++) { delivered++; late += finished; latency.add(now - sentAt[who * per + k]) }
    seen[at] = seq
  }
  const clients = await open(target, Array(N).fill(target.room), {
    onPayload: (client, buffer, start, end, isAwareness) => {
      if (!isAwareness) return
      now = performance.now()
      current = client
      fresh = false
      scan(buffer, start, end, found)
      // What the Yjs providers do: an awareness change from outside is announced again, as one message.
      if (echo && fresh) { echoed += !finished; client.send(client.echo(buffer, start, end)) }
    },
  })
  const frames = clients.map((client, i) => Array.from({ length: per }, (_, k) => client.awareness(awarenessUpdate(i, k + 1, {
    user: { name: `Designer ${i}`, color: '#30bced' }, cursor: { x: (i * 37 + k * 11) % 1920, y: (i * 53 + k * 7) % 1080 }, selection: [`layer-${i % 97}`], mark: marker(i, k) }))))
  await sleep(300)
  const meter = new Meter(target.pid)
  await loopLag(target)
  const look = setInterval(() => {
    if (!measured) return
    const t = performance.now()
    for (let n = 0; n < 1000; n++) {
      const r = Math.floor(rng() * N)
      const s = Math.floor(rng() * N)
      if (r === s) continue
      const has = seen[r * N + s]
      stale.add(has >= sent[s] ? 0 : t - sentAt[s * per + has + 1])
    }
  }, 100)
  await play(events.map((e) => e[0]), (i) => {
    const [at, w, k] = events[i]
    if (at >= warm * 1000 && !measured) { measured = true; meter.start(); echoed = 0 }
    if (measured && k < first[w]) first[w] = k
    sentAt[w * per + k] = performance.now()
    sent[w] = k
    clients[w].send(frames[w][k])
  }, meter)
  const figures = meter.stop()
  finished = true
  clearInterval(look)
  figures.loopLagMs = await loopLag(target)
  const missing = () => { let m = 0; for (let r = 0; r < N; r++) for (let s = 0; s < N; s++) if (r !== s && seen[r * N + s] < per - 1) m++; return m }
  const until = performance.now() + 5_000
  while (missing() && performance.now() < until) await sleep(20)
  let expected = 0
  for (let w = 0; w < N; w++) expected += (per - first[w]) * (N - 1)
  const result = { expected, delivered, lost: expected - delivered, missing: missing(), statesPerSecond: round(states / figures.wall, 0), echoesPerSecond: round(echoed / figures.wall, 0), perSecond: round((delivered - late) / figures.wall, 0), ...latency.summary(), staleMean: stale.mean(), staleP99: stale.at(0.99), ...figures }
  clients.forEach((c) => c.close())
  return result
}

/** A document with a history is uploaded, then `clients` join at once. A client has joined when it has the last edit of that
 *  history: a server may send a state that is older and the edits after it. */
export async function join(target, { clients: count = 50, layers = 2000, edits = 20000 }) {
  const updates = [...history(layers, edits), ...mapUpdates(0, 1, () => marker(0, 0))]
  const last = Buffer.from(marker(0, 0))
  const enter = async (clients, parallel) => {
    const times = new Samples(clients)
    let bytes = 0
    const look = (client, buffer, start, end) => {
      bytes += end - start
      if (client.complete || !buffer.subarray(start, end).includes(last)) return
      client.complete = true
      times.add(performance.now() - client.startedAt)
    }
    const all = await open(target, Array(clients).fill(target.room), { onJoin: look, onPayload: look }, { parallel, alone: false })
    const until = performance.now() + (clients === 1 ? 100 : 30_000)
    while (times.n < clients && performance.now() < until) await sleep(2)
    return { all, times, bytes }
  }
  const began = performance.now()
  const [keeper] = await open(target, [target.room], {})
  for (const u of updates) { keeper.send(keeper.update(u)); await sleep(2) }
  for (let there = false, tries = 0; !there; tries++) {
    if (tries === 100) throw new Error('the design was not there after its upload')
    const probe = await enter(1, 1)
    probe.all[0].close()
    there = probe.times.n === 1
  }
  const loadMs = round(performance.now() - began, 0)
  await sleep(500)
  const meter = new Meter(target.pid)
  await loopLag(target)
  meter.start()
  const { all, times, bytes } = await enter(count, count + 1)
  const figures = meter.stop()
  figures.loopLagMs = await loopLag(target)
  all.forEach((c) => c.close())
  keeper.close()
  return {
    uploadBytes: updates.reduce((n, u) => n + u.length, 0), loadMs, clients: count, lost: count - times.n,
    stateBytes: round(bytes / count, 0), allMs: round(figures.wall * 1000, 0), ...times.summary(), ...figures,
  }
}

/** C connections that do nothing: what one costs in memory, how fast they come in, what holding them costs. */
export async function idle(target, { C = 2000, per = 20, T = 5, parallel = 64 }) {
  await loopLag(target)
  const before = loadOf(target.pid)
  const t = performance.now()
  const meter = new Meter(target.pid)
  meter.start()
  const all = await open(target, Array.from({ length: C }, (_, i) => `${target.room}-${String(Math.floor(i / per)).padStart(4, '0')}`), {}, { parallel, deadline: 120_000 })
  const opening = meter.stop()
  const seconds = (performance.now() - t) / 1000
  opening.loopLagMs = await loopLag(target)
  await sleep(1500)
  const hold = new Meter(target.pid)
  hold.start()
  await sleep(T * 1000)
  const holding = hold.stop()
  const after = loadOf(target.pid)
  const closed = counters.closed
  all.forEach((c) => c.close())
  return { connections: C, closed, connectPerSecond: round(C / seconds, 0), kbPerConnection: before && after ? round((after.rssKb - before.rssKb) / C, 1) : null, idleCpu: holding.server?.cpu, ...opening }
}

export const scenarios = { fanout, awareness, rooms, join, idle, 'soak-max': soakMax }
