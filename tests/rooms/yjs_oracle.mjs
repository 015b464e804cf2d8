// A second opinion: yjs and y-protocols, asked over lines of JSON. One request a line, one answer a line.
import { createInterface } from 'node:readline'
import * as Y from 'yjs'
import * as awarenessProtocol from 'y-protocols/awareness'

console.log = console.error // answers only on stdout
const decode = (text) => new Uint8Array(Buffer.from(text, 'base64'))
const encode = (bytes) => Buffer.from(bytes).toString('base64')

/** A small seeded generator of numbers (mulberry32). */
const random = (seed) => {
  let a = seed >>> 0
  const next = () => {
    a = (a + 0x6d2b79f5) >>> 0
    let t = a
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
  return { next, below: (n) => Math.floor(next() * n), pick: (list) => list[Math.floor(next() * list.length)] }
}

const WORDS = ['a', 'hello', 'é', 'ß€', '😀', 'x😀y😀', '', '\ud83d', '\ude00', 'שלום', '\u0000', '👩‍👩‍👧', 'z'.repeat(200)]

const value = (rng, depth = 0) => {
  const kinds = [
    () => rng.below(1000), () => -rng.below(100000), () => rng.next(), () => 1e300 * rng.next(), () => null,
    () => undefined, () => true, () => false, () => rng.pick(WORDS),
    () => new Uint8Array(rng.below(40)), () => 2 ** 40 + rng.below(1000), () => 0.5
  ]
  if (depth < 3) {
    kinds.push(() => Array.from({ length: rng.below(4) }, () => value(rng, depth + 1)))
    kinds.push(() => Object.fromEntries(Array.from({ length: rng.below(4) }, (_, i) => ['k' + i, value(rng, depth + 1)])))
  }
  return rng.pick(kinds)()
}

/** What an array takes: nothing undefined. */
const item = (rng) => { const v = value(rng); return v === undefined ? 7 : v }

/** JSON without lone halves: the one thing that yjs writes there and yrs refuses. */
const plain = (rng) => rng.pick([1, 1.5, true, null, 'bold', '😀', { a: [1, 'x'] }, [], {}, -3e-7])

const type = (rng) => rng.pick([
  () => new Y.Map(), () => new Y.Array(), () => new Y.Text(), () => new Y.XmlElement('p'), () => new Y.XmlText(),
  () => new Y.XmlFragment()
])()

const types = (doc) => {
  const found = [doc.getMap('m'), doc.getArray('a'), doc.getText('t'), doc.getXmlFragment('x')]
  for (let i = 0; i < found.length && found.length < 60; i++) {
    const at = found[i]
    const below = at instanceof Y.Map ? [...at.values()] : at instanceof Y.Text ? [] : at.toArray()
    found.push(...below.filter((child) => child instanceof Y.AbstractType))
  }
  return found
}

const edit = (rng, doc) => {
  const at = rng.pick(types(doc))
  if (at instanceof Y.Text) {
    const what = rng.below(6)
    if (what < 3 || at.length === 0) at.insert(rng.below(at.length + 1), rng.pick(WORDS) || 'w', rng.below(3) ? undefined : { bold: plain(rng) })
    else if (what === 3) { const i = rng.below(at.length); at.delete(i, 1 + rng.below(Math.min(4, at.length - i))) } else if (what === 4) { const i = rng.below(at.length); at.format(i, 1 + rng.below(at.length - i), { [rng.pick(['bold', 'color'])]: plain(rng) }) } else at.insertEmbed(rng.below(at.length + 1), { image: plain(rng) })
  } else if (at instanceof Y.Map) {
    const key = 'k' + rng.below(6)
    if (rng.below(5) === 0) at.delete(key)
    else if (rng.below(40) === 0) at.set(key, new Y.Doc({ autoLoad: rng.below(2) === 1, gc: rng.below(2) === 1 }))
    else at.set(key, rng.below(4) ? value(rng) : type(rng))
  } else if (at instanceof Y.XmlFragment) {
    if (at instanceof Y.XmlElement && rng.below(2)) at.setAttribute(rng.pick(['id', 'class']), rng.pick(WORDS))
    else if (at.length && rng.below(4) === 0) at.delete(rng.below(at.length), 1)
    else at.insert(rng.below(at.length + 1), [rng.pick([() => new Y.XmlElement('i'), () => new Y.XmlText('😀t')])()])
  } else if (at.length && rng.below(4) === 0) {
    const i = rng.below(at.length)
    at.delete(i, 1 + rng.below(Math.min(3, at.length - i)))
  } else {
    at.insert(rng.below(at.length + 1), rng.below(4) ? Array.from({ length: 1 + rng.below(3) }, () => item(rng)) : [type(rng)])
  }
}

/** A document's life: some people edit, behind one another's backs; a log in an order that every prefix of it can be taken. */
const generate = ({ seed, steps, people = 3, ids = 32 }) => {
  const rng = random(seed)
  const log = []
  const taken = new Set()
  const docs = Array.from({ length: people }, () => {
    const doc = new Y.Doc()
    do doc.clientID = ids === 53 ? rng.below(2 ** 52) * 2 + 1 : rng.below(2 ** rng.pick([4, 10, 31])); while (taken.has(doc.clientID))
    taken.add(doc.clientID)
    const state = { doc, read: 0, undo: null }
    doc.on('update', (update, origin) => { if (origin !== 'log') log.push(update) })
    state.undo = new Y.UndoManager([doc.getMap('m'), doc.getText('t'), doc.getArray('a')], { captureTimeout: 0 })
    return state
  })
  const catchUp = (person, to) => { while (person.read < to) Y.applyUpdate(person.doc, log[person.read++], 'log') }
  const extras = []
  for (let i = 0; i < steps; i++) {
    const person = rng.pick(docs)
    if (rng.below(3) === 0) catchUp(person, person.read + rng.below(log.length - person.read + 1))
    if (rng.below(12) === 0) person.undo.undo()
    else if (rng.below(12) === 0) person.undo.redo()
    else if (rng.below(4) === 0) person.doc.transact(() => { for (let k = rng.below(6); k >= 0; k--) edit(rng, person.doc) })
    else edit(rng, person.doc)
    if (rng.below(10) === 0) extras.push(Y.encodeStateAsUpdate(person.doc))
    if (rng.below(10) === 0) extras.push(Y.encodeStateAsUpdate(person.doc, Y.encodeStateVector(rng.pick(docs).doc)))
    if (log.length > 3 && rng.below(8) === 0) extras.push(Y.mergeUpdates(log.filter(() => rng.below(3) > 0).slice(-8).concat([log[0]])))
    if (log.length > 3 && rng.below(8) === 0) extras.push(Y.diffUpdate(Y.mergeUpdates(log), Y.encodeStateVector(person.doc)))
  }
  for (const person of docs) catchUp(person, log.length)
  for (const person of docs) extras.push(Y.encodeStateAsUpdate(person.doc))
  return { log: log.map(encode), extras: extras.map(encode), ...look(docs[0].doc) }
}

/** With sorted keys: an object's order is not part of what it says, and yrs writes another. */
const json = (doc) => JSON.stringify({
  m: doc.getMap('m').toJSON(), a: doc.getArray('a').toJSON(), t: doc.getText('t').toDelta(), x: doc.getXmlFragment('x').toString()
}, (_, v) => {
  if (v instanceof Y.AbstractType) v = v.toJSON()
  if (v instanceof Y.Doc) return 'doc'
  return v && Object.getPrototypeOf(v) === Object.prototype
    ? Object.fromEntries(Object.entries(v).sort(([a], [b]) => (a < b ? -1 : 1)))
    : v
})

const deletes = (doc) => Object.fromEntries([...Y.createDeleteSetFromStructStore(doc.store).clients].map(
  ([client, items]) => [client, items.map((item) => [item.clock, item.clock + item.len])]
))

const look = (doc) => ({
  pending: doc.store.pendingStructs !== null || doc.store.pendingDs !== null,
  vector: Object.fromEntries(Y.decodeStateVector(Y.encodeStateVector(doc))),
  deletes: deletes(doc)
})

const OPERATIONS = {
  generate,
  /** Each of `updates` on a fresh document that holds `base`. */
  apply: ({ base, updates }) => ({
    results: updates.map((update) => {
      const doc = new Y.Doc()
      base.forEach((row) => Y.applyUpdate(doc, decode(row)))
      const known = look(doc)
      if (known.pending) return { error: 'the base has a gap' }
      try {
        Y.applyUpdate(doc, decode(update))
        Y.applyUpdate(new Y.Doc(), Y.encodeStateAsUpdate(doc))
        return look(doc)
      } catch (error) {
        return { error: String(error) }
      }
    })
  }),
  /** One document that takes `updates` in order. */
  open: ({ updates }) => {
    const doc = new Y.Doc()
    updates.forEach((update) => Y.applyUpdate(doc, decode(update)))
    return { ...look(doc), json: json(doc), sv: encode(Y.encodeStateVector(doc)), state: encode(Y.encodeStateAsUpdate(doc)) }
  },
  /** A document after each prefix of `updates`: does it wait for something? */
  pendings: ({ updates }) => {
    const doc = new Y.Doc()
    return { pendings: updates.map((update) => { Y.applyUpdate(doc, decode(update)); return look(doc) }) }
  },
  /** What differs of `updates` for one who has read `known` of them, taken by that one. */
  caught_up: ({ updates, known, difference }) => {
    const doc = new Y.Doc()
    updates.slice(0, known).forEach((update) => Y.applyUpdate(doc, decode(update)))
    Y.applyUpdate(doc, decode(difference))
    return { ...look(doc), json: json(doc) }
  },
  half: () => {
    // One emoji is replaced by another as a naive text area does it: only the halves that differ.
    const doc = new Y.Doc()
    doc.clientID = 1
    const log = []
    doc.on('update', (update) => log.push(update))
    const text = doc.getText('t')
    text.insert(0, 'ab😀cd')
    text.delete(3, 1)
    text.insert(3, '\ude01')
    return { log: log.map(encode) }
  }
}

/** People of y-protocols, by name. */
const people = new Map()
const person = (name) => people.get(name)
OPERATIONS.aware = ({ name, client }) => {
  const doc = new Y.Doc()
  doc.clientID = client
  const awareness = new awarenessProtocol.Awareness(doc)
  clearInterval(awareness._checkInterval)
  const sent = []
  awareness.on('update', ({ added, updated, removed }) => {
    sent.push(awarenessProtocol.encodeAwarenessUpdate(awareness, added.concat(updated, removed)))
  })
  people.set(name, { awareness, sent })
  return {}
}
OPERATIONS.set_state = ({ name, state }) => { person(name).awareness.setLocalState(state); return OPERATIONS.sent({ name }) }
OPERATIONS.sent = ({ name }) => ({ frames: person(name).sent.splice(0).map(encode) })
OPERATIONS.announce = ({ name }) => ({
  frames: [encode(awarenessProtocol.encodeAwarenessUpdate(person(name).awareness, [person(name).awareness.clientID]))]
})
OPERATIONS.hear = ({ name, frame }) => { awarenessProtocol.applyAwarenessUpdate(person(name).awareness, decode(frame), 'server'); return {} }
/** As y-websocket does when its connection is lost: everybody else is taken out, and repeated with null. */
OPERATIONS.cut = ({ name }) => {
  const { awareness } = person(name)
  awarenessProtocol.removeAwarenessStates(awareness, [...awareness.states.keys()].filter((id) => id !== awareness.clientID), 'cut')
  return OPERATIONS.sent({ name })
}
OPERATIONS.sees = ({ name }) => ({
  states: Object.fromEntries(person(name).awareness.states), local: person(name).awareness.getLocalState()
})

createInterface({ input: process.stdin }).on('line', (line) => {
  const request = JSON.parse(line)
  let answer
  try {
    answer = OPERATIONS[request.op](request)
  } catch (error) {
    answer = { error: String(error.stack) }
  }
  process.stdout.write(JSON.stringify(answer) + '\n')
})
