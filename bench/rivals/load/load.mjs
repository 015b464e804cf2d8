// node load.mjs <scenario> --target <yws|hocuspocus|ysio>:<ws url> [--pid <server pid>] [--metrics <url>] [--N 50 --W 10 …]
// Prints one line of JSON. See ../README.md for the figures.
import { protocols } from './protocols.mjs'
import { scenarios } from './scenarios.mjs'

const [name, ...rest] = process.argv.slice(2)
const options = {}
for (let i = 0; i + 1 < rest.length; i += 2) options[rest[i].replace(/^--/, '')] = rest[i + 1]
const scenario = scenarios[name]
const match = /^(\w+):(wss?:.*)$/.exec(options.target ?? '')
if (!scenario || !match || !protocols[match[1]]) {
  console.error(`usage: load.mjs <${Object.keys(scenarios).join('|')}> --target <${Object.keys(protocols).join('|')}>:ws://127.0.0.1:1234[/prefix] [--pid n] [--metrics url] [--N n …]`)
  process.exit(2)
}
const url = new URL(match[2])
const target = {
  Client: protocols[match[1]], host: url.hostname, port: Number(url.port), prefix: url.pathname.replace(/\/$/, ''),
  room: options.room ?? `bench-${name}`, pid: Number(options.pid) || 0, metrics: options.metrics,
}
const numbers = Object.fromEntries(Object.entries(options)
  .filter(([k]) => !['target', 'room', 'pid', 'metrics'].includes(k)).map(([k, v]) => [k, Number(v)]))

const giveUp = setTimeout(() => { console.log(JSON.stringify({ scenario: name, error: 'gave up after 180 s' })); process.exit(3) }, 180_000)
try {
  const result = await scenario(target, numbers)
  console.log(JSON.stringify({ scenario: name, protocol: match[1], params: numbers, ...result }))
} catch (e) {
  console.log(JSON.stringify({ scenario: name, protocol: match[1], params: numbers, error: String(e.message ?? e) }))
}
clearTimeout(giveUp)
process.exit(0)
