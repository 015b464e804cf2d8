// What two documents must share to be called equal, and how rows of a log become a document; for designer.mjs and apply.mjs.
import { createHash } from 'node:crypto'
import * as Y from 'yjs'

/** The roots that tests write: a map, a text, an array, and the marks by which an acknowledged edit is found again. */
export const ROOTS = { el: 'Map', note: 'Text', list: 'Array', marks: 'Map' }

const sorted = (value) => {
  if (Array.isArray(value)) return value.map(sorted)
  if (value === null || typeof value !== 'object') return value
  return Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]))
}

/** Everything that is seen of a document: its roots as JSON, its clocks, and whether something waits for what is missing. */
export function look(doc) {
  const content = {}
  for (const [root, kind] of Object.entries(ROOTS)) content[root] = sorted(doc[`get${kind}`](root).toJSON())
  const clocks = {}
  for (const [client, clock] of [...Y.decodeStateVector(Y.encodeStateVector(doc))].sort((a, b) => a[0] - b[0])) clocks[client] = clock
  const deleted = {}
  const snapshot = Y.snapshot(doc)
  for (const [client, ranges] of [...snapshot.ds.clients].sort((a, b) => a[0] - b[0])) deleted[client] = ranges.map((range) => [range.clock, range.len])
  return { content, clocks, deleted, pending: doc.store.pendingStructs !== null || doc.store.pendingDs !== null }
}

export const digest = (doc) => createHash('sha256').update(JSON.stringify(look(doc))).digest('hex')

/** A document made of rows in log order; throws when one cannot be applied. */
export function documentOf(rows) {
  const doc = new Y.Doc()
  for (const row of rows) Y.applyUpdate(doc, row)
  return doc
}
