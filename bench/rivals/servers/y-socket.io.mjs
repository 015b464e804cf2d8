// y-socket.io on socket.io, in memory, default settings.
import { createServer } from 'node:http'
import { Server } from 'socket.io'
import { YSocketIO } from 'y-socket.io/dist/server'

const port = Number(process.env.PORT)
const http = createServer((_, response) => response.end('ok'))
new YSocketIO(new Server(http), {}).initialize()
http.listen(port, '127.0.0.1', () => console.log(`Luneo Live is ready at http://127.0.0.1:${port}`))
