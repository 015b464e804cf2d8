// A WebSocket client reduced to what a load generator needs: one shared read buffer for all sockets, frames handed out as
// (buffer, start, end) without a copy, frames to send prepared once and written as they are.
import net from 'node:net'

const SHARED = Buffer.allocUnsafe(1 << 18)
const KEY = 'dGhlIHNhbXBsZSBub25jZQ=='

export const TEXT = 1
export const BINARY = 2

/** One client frame. The masking key is zero: legal on the wire, the server still does its unmasking work. */
export function frame(opcode, payload) {
  const data = typeof payload === 'string' ? Buffer.from(payload) : payload
  const n = data.length
  const head = n < 126 ? 6 : n < 65536 ? 8 : 14
  const out = Buffer.alloc(head + n)
  out[0] = 0x80 | opcode
  if (n < 126) out[1] = 0x80 | n
  else if (n < 65536) { out[1] = 0x80 | 126; out.writeUInt16BE(n, 2) }
  else { out[1] = 0x80 | 127; out.writeBigUInt64BE(BigInt(n), 2) }
  out.set(data, head)
  return out
}

const PONG = 10
export const counters = { frames: 0, bytes: 0, reads: 0, closed: 0 }

export class Wire {
  /** onFrame(opcode, buffer, start, end): the bytes are valid only during the call. */
  constructor({ host, port, path, onOpen, onFrame, onClose }) {
    this.open = false
    this.dead = false
    this.onOpen = onOpen
    this.onFrame = onFrame
    this.onClose = onClose
    this.chunks = []
    this.have = 0
    this.need = 0
    this.parts = null
    this.socket = net.connect({
      host, port, noDelay: true,
      onread: { buffer: SHARED, callback: (n, buffer) => { this.#read(buffer, n); return true } },
    })
    this.socket.on('connect', () => this.socket.write(
      `GET ${path} HTTP/1.1\r\nHost: ${host}:${port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
      `Sec-WebSocket-Key: ${KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n`))
    this.socket.on('error', (e) => this.#gone(e.code ?? String(e)))
    this.socket.on('close', () => this.#gone('closed'))
  }

  write(bytes) { if (!this.dead) this.socket.write(bytes) }

  close() { this.dead = true; this.socket.destroy() }

  #gone(why) {
    if (this.dead) return
    this.dead = true
    counters.closed++
    this.onClose?.(why)
  }

  #read(buffer, n) {
    counters.reads++
    counters.bytes += n
    let from = 0
    if (this.have) {
      // A partial frame waits: keep collecting until it is whole, then look at everything at once.
      this.chunks.push(Buffer.from(buffer.subarray(0, n)))
      this.have += n
      if (this.have < this.need) return
      buffer = this.chunks.length === 1 ? this.chunks[0] : Buffer.concat(this.chunks, this.have)
      n = this.have
      this.chunks = []
      this.have = 0
    }
    if (!this.open) {
      const end = buffer.subarray(0, n).indexOf('\r\n\r\n')
      if (end < 0) return this.#keep(buffer, 0, n, n + 1)
      const status = buffer.latin1Slice(9, 12)
      if (status !== '101') { this.#gone(`http ${status}`); this.socket.destroy(); return }
      this.open = true
      from = end + 4
      this.onOpen?.()
    }
    while (!this.dead && n - from >= 2) {
      let length = buffer[from + 1] & 127
      let start = from + 2
      if (length === 126) {
        if (n - from < 4) break
        length = buffer.readUInt16BE(from + 2)
        start = from + 4
      } else if (length === 127) {
        if (n - from < 10) break
        length = Number(buffer.readBigUInt64BE(from + 2))
        start = from + 10
      }
      const end = start + length
      if (end > n) return this.#keep(buffer, from, n, end - from)
      this.#frame(buffer, from, start, end)
      from = end
    }
    if (from < n) this.#keep(buffer, from, n, n - from + 1)
  }

  #keep(buffer, from, n, need) {
    this.chunks = [Buffer.from(buffer.subarray(from, n))]
    this.have = n - from
    this.need = need
  }

  #frame(buffer, from, start, end) {
    const fin = buffer[from] & 0x80
    const opcode = buffer[from] & 15
    if (opcode === 9) { this.write(frame(PONG, buffer.subarray(start, end))); return }
    if (opcode === 8) {
      this.#gone(`close ${end - start >= 2 ? buffer.readUInt16BE(start) : ''} ${buffer.utf8Slice(start + 2, end)}`)
      this.socket.destroy()
      return
    }
    if (opcode === 10) return
    counters.frames++
    if (fin && opcode) return this.onFrame(opcode, buffer, start, end)
    if (opcode) this.parts = { opcode, list: [] }
    this.parts.list.push(Buffer.from(buffer.subarray(start, end)))
    if (!fin) return
    const whole = Buffer.concat(this.parts.list)
    const kind = this.parts.opcode
    this.parts = null
    this.onFrame(kind, whole, 0, whole.length)
  }
}
