// @y/websocket-server as its own server.js starts it, in memory. It says when it listens; that line is put into our words.
process.env.HOST = '127.0.0.1'
const say = console.log
console.log = (text) => { if (String(text).startsWith('running at')) say(`Luneo Live is ready at http://127.0.0.1:${process.env.PORT}`) }
await import(new URL('../node_modules/@y/websocket-server/src/server.js', import.meta.url))
