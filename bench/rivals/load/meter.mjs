// What a run cost: the server's CPU and memory from /proc, the generator's own CPU and lag, and what else used the machine.
import { readFileSync } from 'node:fs'
import { counters } from './wire.mjs'

const TICK = 100 // clock ticks a second, as everywhere on Linux

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms))
export const round = (x, digits = 2) => (Number.isFinite(x) ? Number(x.toFixed(digits)) : null)

export class Samples {
  constructor(capacity) { this.values = new Float64Array(Math.max(16, capacity)); this.n = 0 }
  add(x) {
    if (this.n === this.values.length) { const bigger = new Float64Array(this.n * 2); bigger.set(this.values); this.values = bigger }
    this.values[this.n++] = x
    this.sorted = null
  }
  at(q) {
    if (!this.n) return null
    this.sorted ??= this.values.slice(0, this.n).sort()
    return round(this.sorted[Math.min(this.n - 1, Math.floor(q * this.n))])
  }
  mean() { let s = 0; for (let i = 0; i < this.n; i++) s += this.values[i]; return this.n ? round(s / this.n) : null }
  summary() { return { p50: this.at(0.5), p95: this.at(0.95), p99: this.at(0.99), max: this.at(1) } }
}

/** CPU seconds and memory of one process and all below it, those included that have ended and were waited for; null when there
 *  is none to look at. */
export function loadOf(pid) {
  if (!pid) return null
  let cpu = 0
  let rssKb = 0
  let peakKb = 0
  const pids = [pid]
  for (let i = 0; i < pids.length && i < 64; i++) {
    try {
      const stat = readFileSync(`/proc/${pids[i]}/stat`, 'latin1')
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
      cpu += fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) / TICK
      const status = readFileSync(`/proc/${pids[i]}/status`, 'latin1')
      rssKb += Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0)
      peakKb += Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0)
      pids.push(...readFileSync(`/proc/${pids[i]}/task/${pids[i]}/children`, 'latin1').trim().split(' ').filter(Boolean).map(Number))
    } catch { if (i === 0) return null }
  }
  return { cpu, rssKb, peakKb }
}

/** The longest time the server's event loop was late since this was asked last, ms; null when it does not publish it. */
export async function loopLag(target) {
  if (!target.metrics) return null
  const text = await (await fetch(target.metrics)).text()
  const found = /^luneo_loop_lag_max_seconds (\S+)$/m.exec(text)
  return found && round(Number(found[1]) * 1000)
}

function machine() {
  const fields = readFileSync('/proc/stat', 'latin1').split('\n')[0].trim().split(/\s+/).slice(1).map(Number)
  const [user, nice, system, , , irq, soft, steal] = fields
  return { busy: (user + nice + system + irq + soft) / TICK, steal: steal / TICK }
}

export class Meter {
  constructor(pid) { this.pid = pid; this.slips = new Samples(1 << 16); this.lags = new Samples(1 << 14) }

  start() {
    this.slips.n = 0
    this.began = performance.now()
    this.own = process.cpuUsage()
    this.server = loadOf(this.pid)
    this.machine = machine()
    this.counters = { ...counters }
    let last = performance.now()
    this.timer = setInterval(() => { const t = performance.now(); this.lags.add(Math.max(0, t - last - 5)); last = t }, 5)
  }

  /** The generator counts as the limit when it had hardly any CPU left, or its own lag makes up much of what was measured. */
  stop() {
    clearInterval(this.timer)
    const wall = (performance.now() - this.began) / 1000
    const own = process.cpuUsage(this.own)
    const genCpu = (own.user + own.system) / 1e6 / wall
    const server = loadOf(this.pid)
    const after = machine()
    const serverCpu = server && this.server ? server.cpu - this.server.cpu : null
    const other = after.busy - this.machine.busy - genCpu * wall - (serverCpu ?? 0)
    const lag = this.lags.at(0.99) ?? 0
    return {
      wall: round(wall),
      frames: counters.frames - this.counters.frames,
      bytes: counters.bytes - this.counters.bytes,
      server: server && { cpuSeconds: round(serverCpu), cpu: round((serverCpu / wall) * 100, 1), rssMb: round(server.rssKb / 1024, 1), peakMb: round(server.peakKb / 1024, 1) },
      gen: { cpu: round(genCpu * 100, 1), lagP99: round(lag), slipP99: this.slips.at(0.99), bound: genCpu > 0.85 || lag > 25 },
      noise: { otherCpu: round((Math.max(0, other) / wall) * 100, 1), steal: round(((after.steal - this.machine.steal) / wall) * 100, 1) },
    }
  }
}
