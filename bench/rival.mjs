// node bench/rival.mjs: the npm package's own y-socket.io server, which keeps documents in memory and stores nothing.
// Prints the line that the harness waits for.
import { createServer } from 'node:http'
import { Server } from 'socket.io'
import { YSocketIO } from 'y-socket.io/dist/server'

const http = createServer()
const io = new Server(http, { maxHttpBufferSize: 1e8 })
new YSocketIO(io, { gcEnabled: true }).initialize()
http.listen(Number(process.env.PORT ?? 0), '127.0.0.1', () => {
  console.log(`Luneo Live is ready at http://127.0.0.1:${http.address().port}`)
})
