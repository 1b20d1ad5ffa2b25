#!/usr/bin/env node
/* What does the same work cost with ws on Node.js? An echo (and broadcast) server over it, to be measured
 * beside weft-echo by bench/run; nothing of weft is in it.
 *
 * The same behaviour as weft-echo --no-compression: perMessageDeflate off (ws's default for servers),
 * messages up to 16 MiB, text checked to be UTF-8, TCP_NODELAY on (ws sets it). One process. bufferutil, the
 * optional C addon, is not installed, since npm does not install it with ws. SIGTERM ends it where it stands.
 *
 * usage: ws_echo.js [--host ADDRESS] [--port N] [--broadcast]; --version */
'use strict';
const { parseArgs } = require('node:util');
const { WebSocket, WebSocketServer } = require('ws');

const MESSAGE_BYTES_MAX = 16 << 20;
const BACKLOG = 4096;

const { values: options } = parseArgs({
  options: {
    host: { type: 'string', default: '127.0.0.1' },
    port: { type: 'string', default: '0' },
    broadcast: { type: 'boolean' },
    version: { type: 'boolean' },
  },
});

function echo(data, binary) {
  this.send(data, { binary });
}

function serve() {
  const server = new WebSocketServer({
    host: options.host,
    port: Number(options.port),
    backlog: BACKLOG,
    perMessageDeflate: false,
    maxPayload: MESSAGE_BYTES_MAX,
  });

  function broadcast(data, binary) {
    for (const client of server.clients)
      if (client.readyState === WebSocket.OPEN) client.send(data, { binary });
  }

  server.on('connection', (connection) => {
    connection.on('message', options.broadcast ? broadcast : echo);
    connection.on('error', () => {}); /* ws closes the connection; the load counts it */
  });
  server.on('listening', () => {
    const { address, port } = server.address();
    console.log(`listening on ${address}:${port}`);
  });
}

for (const name of ['SIGTERM', 'SIGINT']) process.on(name, () => process.exit(0));
if (options.version) console.log(`${require('ws/package.json').version} on Node.js ${process.versions.node}`);
else serve();
