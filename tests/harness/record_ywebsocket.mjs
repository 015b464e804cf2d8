// node tests/harness/record_ywebsocket.mjs: writes tests/fixtures/ywebsocket/{major}/*.json, what the unmodified npm
// y-websocket provider really says on join, edit, cut and return. See tests/fixtures/ywebsocket/README.md.
//
// The server it speaks to is played by hand over a bare WebSocket: one sync step 1, the answer to the client's own, and
// nothing else. Client ids are fixed, so a recording made again has the same bytes.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { WebSocket, WebSocketServer } from 'ws'
import { WebsocketProvider } from 'y-websocket'
import { WebsocketProvider as WebsocketProvider2 } from 'y-websocket-2'
import * as awareness from 'y-protocols/awareness'
import * as Y from 'yjs'

const here = dirname(fileURLToPath(import.meta.url))
const version = (name) => JSON.parse(readFileSync(join(here, '..', '..', 'node_modules', name, 'package.json'), 'utf8')).version
const hex = (bytes) => Buffer.from(bytes).toString('hex')

/** One number as lib0 writes it, and bytes with their length before them. */
const varint = (n) => (n < 128 ? [n] : [(n & 127) | 128, ...varint(n >>> 7)])
const message = (head, bytes) => Uint8Array.from([...head, ...varint(bytes.length), ...bytes])

/** One server for one provider: writes every message down, and says what y-websocket must hear to go on. */
class Recorder {
  constructor(room, state) {
    Object.assign(this, { room, state, frames: [], paths: [], waiting: [] })
    this.server = new WebSocketServer({ port: 0, host: '127.0.0.1' })
    this.server.on('connection', (socket, request) => {
      this.socket = socket
      this.paths.push(request.url)
      this.frames.push({ note: 'a connection' })
      socket.on('message', (data) => {
        this.frames.push({ from: 'client', hex: hex(data) })
        if (data[0] === 0 && data[1] === 0) this.say(message([0, 1], Y.encodeStateAsUpdate(this.state)))
        for (const done of this.waiting.splice(0)) done()
      })
      this.say(message([0, 0], Y.encodeStateVector(this.state)))
    })
  }

  get url() { return `ws://127.0.0.1:${this.server.address().port}/yjs` }
  async listening() { await new Promise((done) => this.server.once('listening', done)) }
  say(bytes) { this.frames.push({ from: 'server', hex: hex(bytes) }); this.socket.send(bytes) }
  mark(what) { this.frames.push({ note: what }) }
  cut() { this.socket.terminate() }
  close() { this.server.close(); this.socket?.terminate() }

  /** Wait until the client has sent `count` messages since the last note. */
  async heard(count) {
    const own = () => this.frames.slice(this.frames.findLastIndex((frame) => frame.note) + 1).filter((frame) => frame.from === 'client').length
    while (own() < count) await new Promise((done) => this.waiting.push(done))
  }
}

function docOf(client, write = () => {}) {
  const doc = new Y.Doc()
  doc.clientID = client
  write(doc)
  return doc
}

const JOIN = 3 // its step 1, its presence, its answer to the server's step 1
const settled = () => new Promise((done) => setTimeout(done, 50))

const scenarios = {
  async 'join-empty'(recorder, open) { open(docOf(101)); await recorder.heard(JOIN) },

  async 'join-with-content'(recorder, open) {
    open(docOf(102, (doc) => {
      doc.getMap('el').set('own', 'typed before the join')
      doc.getText('note').insert(0, 'héllo 🙂')
    }))
    await recorder.heard(JOIN)
  },

  async edit(recorder, open) {
    const { doc, awareness: people } = open(docOf(103))
    await recorder.heard(JOIN)
    recorder.mark('a map entry, typing and deleting')
    doc.getMap('el').set('colour', '#ff0000')
    doc.getText('note').insert(0, 'héllo 🙂')
    doc.getText('note').delete(0, 2)
    await recorder.heard(3)
    recorder.mark('an array and a map in one transaction')
    doc.transact(() => { doc.getArray('list').push([1, 'two', null]); doc.getMap('el').set('n', { m: 1 }) })
    await recorder.heard(1)
    recorder.mark('a cursor')
    people.setLocalStateField('cursor', { x: 1, y: 2 })
    await recorder.heard(1)
  },

  async hear(recorder, open) {
    open(docOf(104))
    await recorder.heard(JOIN)
    recorder.mark('it hears somebody, and repeats it')
    const theirs = new awareness.Awareness(docOf(901))
    theirs.setLocalState({ user: { name: 'ben' } })
    recorder.say(message([1], awareness.encodeAwarenessUpdate(theirs, [901])))
    theirs.destroy()
    await recorder.heard(1)
    recorder.mark('it hears an update, and does not')
    const before = Y.encodeStateVector(recorder.state)
    recorder.state.getMap('el').set('theirs', 'there')
    recorder.say(message([0, 2], Y.encodeStateAsUpdate(recorder.state, before)))
    recorder.mark('and an awareness update of nobody, to which it says nothing')
    recorder.say(Uint8Array.of(1, 1, 0))
    await settled()
  },

  async 'cut-and-return'(recorder, open) {
    const { doc } = open(docOf(105))
    await recorder.heard(JOIN)
    const theirs = new awareness.Awareness(docOf(901))
    theirs.setLocalState({ user: { name: 'ben' } })
    recorder.say(message([1], awareness.encodeAwarenessUpdate(theirs, [901])))
    theirs.destroy()
    await recorder.heard(JOIN + 1)
    recorder.mark('an edit, then the transport is cut')
    doc.getMap('el').set('before', 1)
    await recorder.heard(1)
    recorder.cut()
    await settled()
    recorder.mark('edits without a connection')
    doc.getMap('el').set('offline', 1)
    doc.getText('note').insert(0, 'typed offline')
    await recorder.heard(JOIN)
  },

  async leave(recorder, open) {
    const provider = open(docOf(106))
    await recorder.heard(JOIN)
    recorder.mark('it leaves by itself')
    provider.disconnect()
    await settled()
  },
}

for (const [major, Provider, name] of [['3', WebsocketProvider, 'y-websocket'], ['2', WebsocketProvider2, 'y-websocket-2']]) {
  const target = join(here, '..', 'fixtures', 'ywebsocket', major)
  mkdirSync(target, { recursive: true })
  for (const [scenario, play] of Object.entries(scenarios)) {
    const state = docOf(900)
    if (scenario === 'join-with-content') state.getMap('el').set('theirs', 'there before')
    const recorder = new Recorder(scenario, state)
    await recorder.listening()
    let provider
    await play(recorder, (doc) => {
      provider = new Provider(recorder.url, scenario, doc, { disableBc: true, WebSocketPolyfill: WebSocket, maxBackoffTime: 100 })
      return provider
    })
    await settled()
    const recording = {
      scenario,
      room: scenario,
      client: provider.doc.clientID,
      made_with: { [name]: version(name), yjs: version('yjs'), 'y-protocols': version('y-protocols') },
      paths: recorder.paths,
      state: hex(Y.encodeStateAsUpdate(provider.doc)),
      frames: recorder.frames.slice(),
    }
    provider.destroy()
    recorder.close()
    const lines = recording.frames.map((frame) => `    ${JSON.stringify(frame)}`).join(',\n')
    const head = JSON.stringify({ ...recording, frames: undefined }, null, 2).slice(0, -2)
    writeFileSync(join(target, `${scenario}.json`), `${head},\n  "frames": [\n${lines}\n  ]\n}\n`)
    console.log(`${major} ${scenario}: ${recording.frames.length} frames`)
  }
}
process.exit(0)
