// node tests/harness/apply.mjs < JSON {rows: [hex, …]}: what yjs makes of rows that somebody read from a database.
// Prints {digest, content, clocks, deleted, pending}.
import { readFileSync } from 'node:fs'
import { digest, documentOf, look } from './documents.mjs'

const { rows } = JSON.parse(readFileSync(0, 'utf8'))
const doc = documentOf(rows.map((row) => Buffer.from(row, 'hex')))
process.stdout.write(JSON.stringify({ digest: digest(doc), ...look(doc) }))
