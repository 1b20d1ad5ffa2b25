// A server of npm's ws for the interoperation tests; README.md says what it does.
'use strict';

const fs = require('node:fs');
const {parseArgs} = require('node:util');
const {WebSocketServer} = require('ws');

const PIECE = 1000;
const {values: options} = parseArgs({
    options: {
        port: {type: 'string', default: '0'},
        compression: {type: 'string', default: 'off'},
        cert: {type: 'string'},
        key: {type: 'string'},
    },
});

const ended = new Map(); // by number: {promise, resolve} of what was received at the end

function endOf(number) {
    if (!ended.has(number)) {
        const end = {};
        end.promise = new Promise((resolve) => (end.resolve = resolve));
        ended.set(number, end);
    }
    return ended.get(number);
}

function sendInPieces(connection, data, binary) {
    for (let at = 0; at < data.length || at === 0; at += PIECE)
        connection.send(data.subarray(at, at + PIECE), {binary, fin: at + PIECE >= data.length});
}

function pong(connection, payload) {
    connection.once('pong', (data) => connection.send(data.equals(payload) ? 'pong' : 'another payload'));
    connection.ping(payload);
}

function close(connection, text) {
    const [, code, reason] = /^(\d+) (.*)$/.exec(text);
    connection.close(Number(code), reason);
}

const routes = {
    '/echo': (c) => c.on('message', (data, binary) => c.send(data, {binary})),
    '/pieces': (c) => c.on('message', (data, binary) => sendInPieces(c, data, binary)),
    '/close': (c) => c.once('message', (data) => close(c, data.toString())),
    '/both': (c) => c.close(3003, 'the server'),
    '/drop': (c) => c.once('message', () => c.terminate()),
    '/ping': (c) => c.once('message', (data) => pong(c, data)),
    '/ended': (c) => c.on('message', async (data) => c.send(await endOf(data.toString()).promise)),
};

const pathOf = (request) => request.url.split('?')[0];

function serve(connection, request) {
    connection.on('error', () => {});
    connection.on('close', (code, reason) => endOf(request.url.split('?')[1]).resolve(`${code} ${reason}`));
    routes[pathOf(request)](connection);
}

const server = options.cert
    ? require('node:https').createServer({cert: fs.readFileSync(options.cert), key: fs.readFileSync(options.key)})
    : require('node:http').createServer();
new WebSocketServer({
    server,
    perMessageDeflate: options.compression === 'on',
    handleProtocols: (offered) => (offered.has('chat.v2') ? 'chat.v2' : false),
    verifyClient: ({req}, answer) => answer(pathOf(req) in routes, 404, 'Not Found'),
}).on('connection', serve);
server.listen(Number(options.port), '127.0.0.1', () => console.log(`listening on 127.0.0.1:${server.address().port}`));
process.on('SIGTERM', () => process.exit(0));
