// node tests/harness/judge.mjs: lines {id, sets: [[base64, …], …]} in, {id, looks: [{digest, content, clocks, deleted, pending}, …]} out.
// Each set of updates, applied in order, is one document; what cannot be applied is {error}.
import { createInterface } from 'node:readline'
import { digest, documentOf, look } from './documents.mjs'

for await (const line of createInterface({ input: process.stdin })) {
  const { id, sets } = JSON.parse(line)
  const looks = sets.map((rows) => {
    try {
      const doc = documentOf(rows.map((row) => Buffer.from(row, 'base64')))
      return { digest: digest(doc), ...look(doc) }
    } catch (error) {
      return { error: String(error) }
    }
  })
  process.stdout.write(JSON.stringify({ id, looks }) + '\n')
}
