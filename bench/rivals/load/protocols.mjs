// The three wire protocols, each as: where to connect, what to say at the door, how to wrap an update or an awareness state.
// A client is joined when the server's sync step 2 (its whole state) is in.
import { BINARY, TEXT, Wire, frame } from './wire.mjs'
import * as encoding from 'lib0/encoding'

const EMPTY_STATE_VECTOR = Uint8Array.of(0)
const EMPTY_UPDATE = Uint8Array.of(0, 0)

const message = (write) => { const e = encoding.createEncoder(); write(e); return encoding.toUint8Array(e) }
const sync = (kind, bytes, prefix) => message((e) => {
  if (prefix !== undefined) encoding.writeVarString(e, prefix)
  encoding.writeVarUint(e, 0)
  encoding.writeVarUint(e, kind)
  encoding.writeVarUint8Array(e, bytes)
})
const aware = (bytes, prefix) => message((e) => {
  if (prefix !== undefined) encoding.writeVarString(e, prefix)
  encoding.writeVarUint(e, 1)
  encoding.writeVarUint8Array(e, bytes)
})

/** Base of the three: `onPayload(client, buffer, start, end, isAwareness)` gets every data payload after the join. */
class Client {
  constructor(target, room, hooks) {
    this.room = room
    this.hooks = hooks
    this.joined = false
    this.startedAt = performance.now()
    this.wire = new Wire({
      host: target.host, port: target.port, path: this.path(target),
      onOpen: () => this.hello(),
      onFrame: (opcode, buffer, start, end) => this.receive(opcode, buffer, start, end),
      onClose: (why) => hooks.onClose?.(this, why),
    })
  }

  join(buffer, start, end) {
    if (this.joined) return
    this.joined = true
    this.hooks.onJoin?.(this, buffer, start, end)
  }

  send(prepared) { this.wire.write(prepared) }
  close() { this.wire.close() }
}

/** y-websocket: /<prefix>/<room>, one y-protocols message per binary frame. */
class YWebsocket extends Client {
  path(target) { return `${target.prefix}/${this.room}` }
  hello() { this.wire.write(frame(BINARY, sync(0, EMPTY_STATE_VECTOR))) }
  update(bytes) { return frame(BINARY, sync(2, bytes)) }
  awareness(bytes) { return frame(BINARY, aware(bytes)) }
  echo(buffer, start, end) { return frame(BINARY, buffer.subarray(start, end)) }

  receive(opcode, buffer, start, end) {
    if (buffer[start] === 0 && buffer[start + 1] === 0) this.wire.write(frame(BINARY, sync(1, EMPTY_UPDATE)))
    else if (buffer[start] === 0 && buffer[start + 1] === 1 && !this.joined) this.join(buffer, start, end)
    else this.hooks.onPayload?.(this, buffer, start, end, buffer[start] === 1)
  }
}

/** Hocuspocus: every message begins with the document's name; an auth message comes first. */
class Hocuspocus extends Client {
  path(target) { return `${target.prefix}/` }
  hello() {
    this.wire.write(frame(BINARY, message((e) => {
      encoding.writeVarString(e, this.room)
      encoding.writeVarUint(e, 2)
      encoding.writeVarUint(e, 0)
      encoding.writeVarString(e, 'token')
      encoding.writeVarString(e, '4.7.0')
    })))
  }
  update(bytes) { return frame(BINARY, sync(2, bytes, this.room)) }
  awareness(bytes) { return frame(BINARY, aware(bytes, this.room)) }
  echo(buffer, start, end) { return frame(BINARY, buffer.subarray(start, end)) }

  receive(opcode, buffer, start, end) {
    const at = start + 1 + buffer[start] // names here are shorter than 128 bytes
    const kind = buffer[at]
    if (kind === 2) this.wire.write(frame(BINARY, sync(0, EMPTY_STATE_VECTOR, this.room)))
    else if ((kind === 0 || kind === 4) && buffer[at + 1] === 0) this.wire.write(frame(BINARY, sync(1, EMPTY_UPDATE, this.room)))
    else if ((kind === 0 || kind === 4) && buffer[at + 1] === 1 && !this.joined) this.join(buffer, start, end)
    else this.hooks.onPayload?.(this, buffer, start, end, kind === 1)
  }
}

/** y-socket.io: Engine.IO 4 and Socket.IO 5 by hand over the WebSocket transport; every event carries one attachment. */
class YSocketIo extends Client {
  path(target) { return `${target.prefix}/socket.io/?EIO=4&transport=websocket` }
  hello() { this.expects = null }
  event(name, bytes, ack = '') {
    return Buffer.concat([
      frame(TEXT, `451-/yjs|${this.room},${ack}["${name}",{"_placeholder":true,"num":0}]`), frame(BINARY, bytes)])
  }
  update(bytes) { return this.event('sync-update', bytes) }
  awareness(bytes) { return this.event('awareness-update', bytes) }
  echo(buffer, start, end) { return this.event('awareness-update', buffer.subarray(start, end)) }

  receive(opcode, buffer, start, end) {
    if (opcode === BINARY) {
      const kind = this.expects
      this.expects = null
      if (kind === 'ack') this.join(buffer, start, end)
      else if (kind !== 'step1') this.hooks.onPayload?.(this, buffer, start, end, kind === 'awareness')
      return
    }
    const engine = buffer[start]
    const kind = buffer[start + 1]
    if (engine === 0x30) this.wire.write(frame(TEXT, `40/yjs|${this.room},`))
    else if (engine === 0x32) this.wire.write(frame(TEXT, '3'))
    else if (engine === 0x34 && kind === 0x30) this.wire.write(this.event('sync-step-1', EMPTY_STATE_VECTOR, '0'))
    else if (engine === 0x34 && kind === 0x36) this.expects = 'ack'
    else if (engine === 0x34 && kind === 0x35) {
      const at = start + 4 + 5 + this.room.length + 1 // after "451-" + "/yjs|" + room + ","
      const first = buffer[at]
      if (first === 0x5b) this.expects = buffer[at + 2] === 0x61 ? 'awareness' : 'update' // ["a… or ["s…
      else {
        const id = /^\d+/.exec(buffer.latin1Slice(at, at + 12))[0]
        this.expects = 'step1'
        this.wire.write(Buffer.concat([
          frame(TEXT, `461-/yjs|${this.room},${id}[{"_placeholder":true,"num":0}]`), frame(BINARY, EMPTY_UPDATE)]))
      }
    } else if (engine === 0x34 && kind === 0x34) this.hooks.onClose?.(this, buffer.utf8Slice(start, end))
  }
}

export const protocols = { yws: YWebsocket, hocuspocus: Hocuspocus, ysio: YSocketIo }
