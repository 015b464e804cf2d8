// @hocuspocus/server, in memory, default settings (which merge what arrives within one turn of the event loop). The last line is the one that the harness waits for.
// FLUSH_MS widens that window.
import { Server } from '@hocuspocus/server'

const port = Number(process.env.PORT)
const window = process.env.FLUSH_MS ? { flushDelay: Number(process.env.FLUSH_MS) } : {}
await new Server({ address: '127.0.0.1', port, quiet: true, ...window }).listen()
console.log(`Luneo Live is ready at http://127.0.0.1:${port}`)
