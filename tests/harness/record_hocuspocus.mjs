// node tests/harness/record_hocuspocus.mjs: writes tests/fixtures/hocuspocus/{major}/*.json, what the unmodified npm
// Hocuspocus providers really say on join, edit, cut and return. See tests/fixtures/hocuspocus/README.md.
//
// The server they speak to is played by hand over a bare WebSocket, so no server's habits are in the recording but the frames
// that are written down here. Client ids are fixed, so a recording made again has the same bytes.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import * as newest from '@hocuspocus/provider'
import * as older from 'hocuspocus-provider-2'
import * as decoding from 'lib0/decoding'
import * as encoding from 'lib0/encoding'
import { WebSocket, WebSocketServer } from 'ws'
import * as Y from 'yjs'
import * as awareness from 'y-protocols/awareness'

const here = dirname(fileURLToPath(import.meta.url))
const version = (name) => JSON.parse(readFileSync(join(here, '..', '..', 'node_modules', name, 'package.json'), 'utf8')).version
const hex = (bytes) => Buffer.from(bytes).toString('hex')
const settled = () => new Promise((done) => setTimeout(done, 60))

/** One server for one socket: writes every frame down, and says what a Hocuspocus server must say to go on. */
class Recorder {
  constructor(state) {
    this.state = state
    this.frames = []
    this.paths = []
    this.waiting = []
    this.server = new WebSocketServer({ port: 0, host: '127.0.0.1' })
    this.server.on('connection', (socket, request) => this.#connected(socket, request))
  }

  get url() { return `ws://127.0.0.1:${this.server.address().port}/hocuspocus` }

  async listening() { await new Promise((done) => this.server.once('listening', done)) }

  /** One message: an address, then numbers as they are, strings and bytes with their length. */
  say(address, ...parts) {
    const bytes = encoding.encode((encoder) => {
      encoding.writeVarString(encoder, address)
      for (const part of parts) {
        if (typeof part === 'number') encoding.writeVarUint(encoder, part)
        else if (typeof part === 'string') encoding.writeVarString(encoder, part)
        else encoding.writeVarUint8Array(encoder, part)
      }
    })
    this.raw(bytes)
  }

  raw(bytes) {
    this.frames.push({ from: 'server', hex: hex(bytes) })
    this.socket.send(bytes)
  }

  /** A note between frames: what happened on the client's side. */
  mark(what) { this.frames.push({ note: what }) }

  /** Wait until the client has sent `count` frames since the last mark, and nothing more for a while. */
  async heard(count) {
    const own = () => {
      const since = this.frames.findLastIndex((frame) => frame.note) + 1
      return this.frames.slice(since).filter((frame) => frame.from === 'client').length
    }
    while (own() < count) await new Promise((done) => this.waiting.push(done))
    await settled()
    if (own() !== count) throw new Error(`${own()} frames, not ${count}: ${JSON.stringify(this.frames.slice(-6))}`)
  }

  cut() { this.socket.terminate() }

  close() { this.server.close(); this.socket?.terminate() }

  #connected(socket, request) {
    this.socket = socket
    this.paths.push(request.url)
    socket.on('message', (data) => {
      this.frames.push({ from: 'client', hex: hex(data) })
      this.#answer(new Uint8Array(data))
      for (const done of this.waiting.splice(0)) done()
    })
  }

  #answer(data) {
    if (data.length === 1) return
    const decoder = decoding.createDecoder(data)
    const address = decoding.readVarString(decoder)
    const kind = decoding.readVarUint(decoder)
    if (kind === 2) this.say(address, 2, 2, 'read-write')
    if (kind !== 0) return
    if (decoding.readVarUint(decoder) === 0) {
      this.say(address, 0, 0, Y.encodeStateVector(this.state))
      this.say(address, 0, 1, Y.encodeStateAsUpdate(this.state, decoding.readVarUint8Array(decoder)))
    } else {
      Y.applyUpdate(this.state, decoding.readVarUint8Array(decoder))
      this.say(address, 8, 1)
    }
  }
}

function docOf(client, write = () => {}) {
  const doc = new Y.Doc()
  doc.clientID = client
  write(doc)
  return doc
}

function socketOf({ HocuspocusProviderWebsocket }, recorder) {
  return new HocuspocusProviderWebsocket({ url: recorder.url, WebSocketPolyfill: WebSocket, delay: 10, minDelay: 0, maxDelay: 20 })
}

/** The provider of a whole session; `hocuspocus` is the package in this or that major. */
function providerOf(hocuspocus, recorder, name, document, options = {}) {
  const websocketProvider = options.websocketProvider ?? socketOf(hocuspocus, recorder)
  const provider = new hocuspocus.HocuspocusProvider({
    name, document, token: 'token', broadcast: false, preserveConnection: false, ...options, websocketProvider,
  })
  if (options.sessionAwareness) provider.sessionId = options.session
  provider.attach?.() // 4: attached by hand when it shares a socket; 2: by itself
  return provider
}

const scenarios = {
  async 'join-empty'(hocuspocus, recorder, name) {
    const provider = providerOf(hocuspocus, recorder, name, docOf(101))
    await recorder.heard(4)
    return [provider]
  },

  async 'join-with-content'(hocuspocus, recorder, name) {
    const provider = providerOf(hocuspocus, recorder, name, docOf(102, (doc) => {
      doc.getMap('el').set('own', 'typed before the join')
      doc.getText('note').insert(0, 'héllo 🙂')
    }))
    await recorder.heard(4)
    return [provider]
  },

  async 'join-without-token'(hocuspocus, recorder, name) {
    const provider = providerOf(hocuspocus, recorder, name, docOf(107), { token: null })
    await recorder.heard(hocuspocus === older ? 3 : 4)
    return [provider]
  },

  async edit(hocuspocus, recorder, name) {
    const doc = docOf(103)
    const provider = providerOf(hocuspocus, recorder, name, doc)
    await recorder.heard(4)
    recorder.mark('set a map entry')
    doc.getMap('el').set('colour', '#ff0000')
    await recorder.heard(1)
    recorder.mark('type a word, then delete a letter of it')
    doc.getText('note').insert(0, 'words')
    doc.getText('note').delete(4, 1)
    await recorder.heard(2)
    recorder.mark('push to an array in one transaction with a map entry')
    doc.transact(() => { doc.getArray('list').push([1, 'two', { three: 3 }]); doc.getMap('el').set('colour', '#00ff00') })
    await recorder.heard(1)
    recorder.mark('move the cursor')
    provider.setAwarenessField('cursor', { x: 12, y: 34 })
    await recorder.heard(1)
    recorder.mark('a stateless message')
    provider.sendStateless('{"type":"hello"}')
    await recorder.heard(1)
    recorder.mark('a sync by force')
    provider.forceSync()
    await recorder.heard(2)
    if (provider.hasUnsyncedChanges) throw new Error('the provider counts a change as not stored')
    return [provider]
  },

  async hear(hocuspocus, recorder, name) {
    const provider = providerOf(hocuspocus, recorder, name, docOf(104))
    await recorder.heard(4)
    recorder.mark('another designer is there, and edits')
    const other = docOf(900)
    const people = new awareness.Awareness(other)
    people.setLocalState({ user: { name: 'ben' } })
    recorder.say(name, 1, awareness.encodeAwarenessUpdate(people, [900]))
    await recorder.heard(hocuspocus === older ? 1 : 0) // the older one repeats what it heard
    other.getMap('el').set('heard', true)
    recorder.say(name, 0, 2, Y.encodeStateAsUpdate(other))
    await settled()
    if (provider.document.getMap('el').get('heard') !== true) throw new Error('the provider did not take the update')
    recorder.mark('who is there?')
    recorder.say(name, 3)
    await recorder.heard(1)
    recorder.mark('a stateless message is heard')
    let heard = ''
    provider.on('stateless', ({ payload }) => { heard = payload })
    recorder.say(name, 5, '{"type":"refused"}')
    await settled()
    if (heard !== '{"type":"refused"}') throw new Error('the provider did not hear the message')
    people.destroy()
    return [provider]
  },

  async 'cut-and-return'(hocuspocus, recorder, name) {
    const doc = docOf(105)
    const provider = providerOf(hocuspocus, recorder, name, doc)
    await recorder.heard(4)
    provider.setAwarenessField('user', { name: 'ada' })
    await recorder.heard(5)
    recorder.mark('an edit that arrives')
    doc.getMap('el').set('before', 1)
    await recorder.heard(1)
    recorder.mark('somebody else is there, whom the cut will take away')
    const other = docOf(901)
    const people = new awareness.Awareness(other)
    people.setLocalState({ user: { name: 'ben' } })
    recorder.say(name, 1, awareness.encodeAwarenessUpdate(people, [901]))
    await recorder.heard(hocuspocus === older ? 1 : 0)
    people.destroy()
    recorder.mark('the transport is cut; two edits are made offline; it comes back by itself')
    const socket = provider.configuration.websocketProvider
    const cut = new Promise((done) => socket.on('close', done))
    recorder.cut()
    await cut
    doc.getMap('el').set('offline', 2)
    doc.getText('note').insert(0, 'offline')
    await recorder.heard(hocuspocus === older ? 7 : 6)
    return [provider]
  },

  async leave(hocuspocus, recorder, name) {
    const provider = providerOf(hocuspocus, recorder, name, docOf(106))
    await recorder.heard(4)
    provider.setAwarenessField('user', { name: 'ada' })
    await recorder.heard(5)
    recorder.mark('it leaves by itself')
    provider.destroy()
    await recorder.heard(hocuspocus === older ? 3 : 2)
    return [provider]
  },
}

/** What only the newest major says. */
const newestOnly = {
  async 'token-again'(hocuspocus, recorder, name) {
    let asked = 0
    const provider = providerOf(hocuspocus, recorder, name, docOf(108), { token: () => `token ${++asked}` })
    await recorder.heard(4)
    recorder.mark('the server asks for the token again')
    recorder.say(name, 2, 0)
    await recorder.heard(1)
    recorder.mark('a ping of one byte')
    recorder.raw(Uint8Array.of(9))
    await recorder.heard(1)
    return [provider]
  },

  async flush(hocuspocus, recorder, name) {
    const doc = docOf(109)
    const provider = providerOf(hocuspocus, recorder, name, doc, { flushDelay: 20 })
    await recorder.heard(4)
    recorder.mark('three edits and two cursors within one window')
    for (const key of ['a', 'b', 'c']) doc.getMap('el').set(key, key)
    provider.setAwarenessField('cursor', { x: 1, y: 1 })
    provider.setAwarenessField('cursor', { x: 2, y: 2 })
    await recorder.heard(2)
    if (provider.hasUnsyncedChanges) throw new Error('the provider counts a change as not stored')
    return [provider]
  },

  async sessions(hocuspocus, recorder, name) {
    const websocketProvider = socketOf(hocuspocus, recorder)
    const options = { sessionAwareness: true, websocketProvider }
    const first = providerOf(hocuspocus, recorder, name, docOf(110), { ...options, session: 'one' })
    await recorder.heard(4)
    recorder.mark('the same document again on the same socket')
    const second = providerOf(hocuspocus, recorder, name, docOf(111), { ...options, session: 'two' })
    await recorder.heard(4)
    first.document.getMap('el').set('from', 'one')
    await recorder.heard(5)
    recorder.mark('the first leaves; the second stays')
    first.destroy()
    await recorder.heard(2)
    return [second]
  },
}

for (const [major, hocuspocus] of Object.entries({ 4: newest, 2: older })) {
  const target = join(here, '..', 'fixtures', 'hocuspocus', major)
  mkdirSync(target, { recursive: true })
  for (const [name, play] of Object.entries(major === '4' ? { ...scenarios, ...newestOnly } : scenarios)) {
    const state = docOf(900)
    if (name === 'join-with-content') state.getMap('el').set('theirs', 'there before')
    const recorder = new Recorder(state)
    await recorder.listening()
    const providers = await play(hocuspocus, recorder, name)
    await settled()
    const recording = {
      scenario: name,
      room: name,
      client: providers[0].document.clientID,
      made_with: {
        '@hocuspocus/provider': version(major === '4' ? '@hocuspocus/provider' : 'hocuspocus-provider-2'),
        yjs: version('yjs'),
        'y-protocols': version('y-protocols'),
      },
      paths: recorder.paths,
      state: hex(Y.encodeStateAsUpdate(recorder.state)),
      frames: recorder.frames.slice(),
    }
    for (const provider of providers) {
      const socket = provider.configuration.websocketProvider
      if (name !== 'leave') provider.destroy()
      socket.destroy()
    }
    recorder.close()
    const lines = recording.frames.map((frame) => `    ${JSON.stringify(frame)}`).join(',\n')
    const head = JSON.stringify({ ...recording, frames: undefined }, null, 2).slice(0, -2)
    writeFileSync(join(target, `${name}.json`), `${head},\n  "frames": [\n${lines}\n  ]\n}\n`)
    console.log(`${major} ${name}: ${recording.frames.length} frames`)
  }
}
process.exit(0)
