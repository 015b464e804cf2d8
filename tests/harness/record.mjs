// node tests/harness/record.mjs: writes tests/fixtures/ysocketio/*.json, what the unmodified npm y-socket.io provider
// really says on join, edit, cut and return. See tests/fixtures/ysocketio/README.md.
//
// The server it speaks to is played by hand over a bare WebSocket, so no server's habits are in the recording but the frames
// that are written down here. Client ids are fixed, so a recording made again has the same bytes.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { SocketIOProvider } from 'y-socket.io'
import { WebSocketServer } from 'ws'
import * as Y from 'yjs'
import * as awareness from 'y-protocols/awareness'

const here = dirname(fileURLToPath(import.meta.url))
const target = join(here, '..', 'fixtures', 'ysocketio')
const version = (name) => JSON.parse(readFileSync(join(here, '..', '..', 'node_modules', name, 'package.json'), 'utf8')).version
const hex = (bytes) => Buffer.from(bytes).toString('hex')
const HANDSHAKE = { sid: 'engine', upgrades: [], pingInterval: 25000, pingTimeout: 20000, maxPayload: 1000000 }

/** One server for one provider: writes every frame down, and says what Socket.IO must say to go on. */
class Recorder {
  constructor(room, state) {
    this.room = room
    this.state = state
    this.frames = []
    this.paths = []
    this.waiting = []
    this.server = new WebSocketServer({ port: 0, host: '127.0.0.1' })
    this.server.on('connection', (socket, request) => this.#connected(socket, request))
  }

  get url() { return `http://127.0.0.1:${this.server.address().port}` }

  async listening() { await new Promise((done) => this.server.once('listening', done)) }

  say(data) {
    const binary = typeof data !== 'string'
    this.frames.push({ from: 'server', opcode: binary ? 'binary' : 'text', hex: hex(Buffer.from(data)) })
    this.socket.send(data, { binary })
  }

  event(name, bytes, { number = '', extra = '' } = {}) {
    this.say(`451-/yjs|${this.room},${number}["${name}",{"_placeholder":true,"num":0}${extra}]`)
    this.say(bytes)
  }

  /** A note between frames: what happened on the client's side. */
  mark(what) { this.frames.push({ note: what }) }

  /** Wait until the client has sent `count` frames since the last mark. */
  async heard(count) {
    const own = () => {
      const since = this.frames.findLastIndex((frame) => frame.note) + 1
      return this.frames.slice(since).filter((frame) => frame.from === 'client').length
    }
    while (own() < count) await new Promise((done) => this.waiting.push(done))
  }

  cut() { this.socket.terminate() }

  close() { this.server.close(); this.socket?.terminate() }

  #connected(socket, request) {
    this.socket = socket
    this.paths.push(request.url)
    socket.on('message', (data, isBinary) => {
      this.frames.push({ from: 'client', opcode: isBinary ? 'binary' : 'text', hex: hex(data) })
      if (isBinary) this.#attachment()
      else this.#answer(data.toString())
      for (const done of this.waiting.splice(0)) done()
    })
    this.say(`0${JSON.stringify(HANDSHAKE)}`)
  }

  #answer(text) {
    if (text.startsWith('40/yjs|')) {
      this.say(`40/yjs|${this.room},{"sid":"socket"}`)
      this.event('sync-step-1', Y.encodeStateVector(this.state), { number: '0' })
    } else if (/^451-.*"sync-step-1"/.test(text)) this.asked = /,(\d+)\[/.exec(text)[1]
  }

  #attachment() {
    if (this.asked === undefined) return
    this.say(`461-/yjs|${this.room},${this.asked}[{"_placeholder":true,"num":0},{"epoch":1,"position":0}]`)
    this.say(Y.encodeStateAsUpdate(this.state))
    this.asked = undefined
  }
}

function docOf(client, write = () => {}) {
  const doc = new Y.Doc()
  doc.clientID = client
  write(doc)
  return doc
}

function providerOf(recorder, doc) {
  // disableBc: two providers of one Node process would otherwise talk past the server.
  const provider = new SocketIOProvider(recorder.url, recorder.room, doc, { autoConnect: false, disableBc: true, auth: {} })
  provider.socket.io.reconnectionDelay(10)
  return provider
}

const settled = () => new Promise((done) => setTimeout(done, 50))

const scenarios = {
  async 'join-empty'(recorder) {
    const provider = providerOf(recorder, docOf(101))
    provider.connect()
    await recorder.heard(7)
    return provider
  },

  async 'join-with-content'(recorder) {
    const provider = providerOf(recorder, docOf(102, (doc) => {
      doc.getMap('el').set('own', 'typed before the join')
      doc.getText('note').insert(0, 'héllo 🙂')
    }))
    provider.connect()
    await recorder.heard(7)
    return provider
  },

  async edit(recorder) {
    const doc = docOf(103)
    const provider = providerOf(recorder, doc)
    provider.connect()
    await recorder.heard(7)
    recorder.mark('set a map entry')
    doc.getMap('el').set('colour', '#ff0000')
    await recorder.heard(2)
    recorder.mark('type a word, then delete a letter of it')
    doc.getText('note').insert(0, 'words')
    doc.getText('note').delete(4, 1)
    await recorder.heard(4)
    recorder.mark('push to an array in one transaction with a map entry')
    doc.transact(() => { doc.getArray('list').push([1, 'two', { three: 3 }]); doc.getMap('el').set('colour', '#00ff00') })
    await recorder.heard(2)
    recorder.mark('move the cursor')
    provider.awareness.setLocalStateField('cursor', { x: 12, y: 34 })
    await recorder.heard(2)
    return provider
  },

  async hear(recorder) {
    const provider = providerOf(recorder, docOf(104))
    provider.connect()
    await recorder.heard(7)
    recorder.mark('another designer is there, and edits')
    const other = docOf(900)
    const people = new awareness.Awareness(other)
    people.setLocalState({ user: { name: 'ben' } })
    recorder.event('awareness-update', awareness.encodeAwarenessUpdate(people, [900]))
    await recorder.heard(2) // it repeats what it heard
    recorder.mark('an update with the second argument of this server')
    other.getMap('el').set('heard', true)
    recorder.event('sync-update', Y.encodeStateAsUpdate(other), { extra: ',{"epoch":1,"from":1,"to":1}' })
    await settled()
    if (provider.doc.getMap('el').get('heard') !== true) throw new Error('the provider did not take the update')
    people.destroy()
    return provider
  },

  async 'cut-and-return'(recorder) {
    const doc = docOf(105)
    const provider = providerOf(recorder, doc)
    provider.connect()
    await recorder.heard(7)
    provider.awareness.setLocalStateField('user', { name: 'ada' })
    await recorder.heard(9)
    recorder.mark('an edit that arrives')
    doc.getMap('el').set('before', 1)
    await recorder.heard(2)
    recorder.mark('somebody else is there, whom the cut will take away')
    const other = docOf(901)
    const people = new awareness.Awareness(other)
    people.setLocalState({ user: { name: 'ben' } })
    people.setLocalState({ user: { name: 'ben' }, cursor: null })
    recorder.event('awareness-update', awareness.encodeAwarenessUpdate(people, [901]))
    await recorder.heard(2)
    people.destroy()
    recorder.mark('the transport is cut; two edits are made offline; it comes back by itself')
    const cut = new Promise((done) => provider.socket.once('disconnect', done))
    recorder.cut()
    await cut
    doc.getMap('el').set('offline', 2)
    doc.getText('note').insert(0, 'offline')
    await recorder.heard(13)
    return provider
  },

  async leave(recorder) {
    const provider = providerOf(recorder, docOf(106))
    provider.connect()
    await recorder.heard(7)
    provider.awareness.setLocalStateField('user', { name: 'ada' })
    await recorder.heard(9)
    recorder.mark('it leaves by itself')
    provider.disconnect()
    await recorder.heard(1)
    return provider
  },
}

mkdirSync(target, { recursive: true })
for (const [name, play] of Object.entries(scenarios)) {
  const state = docOf(900)
  if (name === 'join-with-content') state.getMap('el').set('theirs', 'there before')
  const recorder = new Recorder(name, state)
  await recorder.listening()
  const provider = await play(recorder)
  await settled()
  const recording = {
    scenario: name,
    room: name,
    client: provider.doc.clientID,
    made_with: Object.fromEntries(['y-socket.io', 'socket.io-client', 'yjs', 'y-protocols'].map((p) => [p, version(p)])),
    paths: recorder.paths,
    state: hex(Y.encodeStateAsUpdate(provider.doc)),
    frames: recorder.frames.slice(),
  }
  provider.awareness.destroy()
  provider.socket.disconnect()
  recorder.close()
  const lines = recording.frames.map((frame) => `    ${JSON.stringify(frame)}`).join(',\n')
  const head = JSON.stringify({ ...recording, frames: undefined }, null, 2).slice(0, -2)
  writeFileSync(join(target, `${name}.json`), `${head},\n  "frames": [\n${lines}\n  ]\n}\n`)
  console.log(`${name}: ${recording.frames.length} frames`)
}
process.exit(0)
