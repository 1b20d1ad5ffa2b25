// What the tests of the chat share: a server that is started and ended, and a WebSocket client of a few lines
// that shares no code with weft. Node alone, nothing to install.
'use strict';

const assert = require('node:assert');
const {spawn} = require('node:child_process');
const crypto = require('node:crypto');
const http = require('node:http');

// Longer than a page waits between two attempts, on a machine that is slow and busy.
const TIMEOUT_MS = Number(process.env.WEFT_TEST_TIMEOUT_MS || 60000);

function within(promise, what, ms = TIMEOUT_MS) {
    let timer;
    const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(`${what}: nothing within ${ms} ms`)), ms);
    });
    return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// Resolves to {address, port, process, stop()} once the program accepts.
function startServer(program, args = []) {
    const child = spawn(program, args, {stdio: ['ignore', 'pipe', 'inherit']});
    // Not 'exit', behind which some of what it said may still come.
    const exited = new Promise((resolve) => child.on('close', (code, signal) => resolve({code, signal})));
    let text = '';

    const kill = () => child.kill('SIGKILL');
    process.on('exit', kill);
    exited.then(() => process.off('exit', kill));
    const listening = new Promise((resolve, reject) => {
        child.on('error', reject);
        child.stdout.on('data', (data) => {
            text += data;
            const found = /^listening on (.+)\n/m.exec(text);
            if (found) resolve(found[1]);
        });
        exited.then((status) => reject(new Error(`${program} ended: ${JSON.stringify(status)}`)));
    });
    const stop = (signal = 'SIGTERM') => {
        child.kill(signal);
        return within(exited, `${program} after ${signal}`);
    };
    return within(listening, `${program} did not listen`).then((address) => ({
        address,
        port: Number(address.split(':').pop()),
        process: child,
        exited,
        stop,
        output: () => text,
    }));
}

// One HTTP request; resolves to {status, headers, body}.
function request(port, path, options = {}) {
    return within(
        new Promise((resolve, reject) => {
            const r = http.request({host: '127.0.0.1', port, path, agent: false, ...options}, (response) => {
                let body = '';
                response.setEncoding('utf8');
                response.on('data', (data) => (body += data));
                response.on('end', () =>
                    resolve({status: response.statusCode, headers: response.headers, body})
                );
            });
            r.on('error', reject);
            r.end();
        }),
        `${options.method || 'GET'} ${path}`
    );
}

// Frames as they arrive: feed bytes, get {opcode, payload} for each whole one.
class FrameReader {
    constructor() {
        this.bytes = Buffer.alloc(0);
    }

    *feed(data) {
        this.bytes = Buffer.concat([this.bytes, data]);
        for (;;) {
            const b = this.bytes;
            if (b.length < 2) return;
            let length = b[1] & 0x7f;
            let head = 2;
            if (length === 126) {
                head = 4;
                if (b.length < head) return;
                length = b.readUInt16BE(2);
            } else if (length === 127) {
                head = 10;
                if (b.length < head) return;
                length = Number(b.readBigUInt64BE(2));
            }
            assert.ok(!(b[1] & 0x80), 'a server does not mask');
            if (b.length < head + length) return;
            assert.ok(b[0] & 0x80, 'the chat does not fragment');
            yield {opcode: b[0] & 0x0f, payload: b.subarray(head, head + length)};
            this.bytes = b.subarray(head + length);
        }
    }
}

function frame(opcode, payload) {
    const mask = crypto.randomBytes(4);
    const head =
        payload.length < 126
            ? Buffer.from([0x80 | opcode, 0x80 | payload.length])
            : payload.length < 65536
              ? Buffer.from([0x80 | opcode, 0x80 | 126, payload.length >> 8, payload.length & 255])
              : Buffer.concat([Buffer.from([0x80 | opcode, 0x80 | 127]), Buffer.alloc(8)]);
    if (head.length === 10) head.writeBigUInt64BE(BigInt(payload.length), 2);
    return Buffer.concat([head, mask, Buffer.from(payload.map((byte, i) => byte ^ mask[i & 3]))]);
}

class Client {
    constructor(socket, first) {
        this.socket = socket;
        this.reader = new FrameReader();
        this.queue = []; // messages, and {closed: code} as the last one
        this.waiting = [];
        this.pings = 0;
        this.answersPings = true;
        this.answersClose = true; // else {closing: code} is queued
        socket.on('data', (data) => this.feed(data));
        socket.on('error', () => {});
        socket.on('close', () => this.put({closed: this.code || 1006}));
        this.feed(first);
    }

    feed(data) {
        for (const {opcode, payload} of this.reader.feed(data)) {
            if (opcode === 1) {
                this.put(JSON.parse(payload.toString('utf8')));
            } else if (opcode === 9) {
                this.pings++;
                if (this.answersPings) this.socket.write(frame(10, payload));
            } else if (opcode === 8) {
                this.code = payload.length ? payload.readUInt16BE(0) : 1005;
                if (this.answersClose) this.socket.end(frame(8, payload));
                else this.put({closing: this.code});
            }
        }
    }

    put(message) {
        const waiter = this.waiting.shift();
        if (waiter) waiter(message);
        else this.queue.push(message);
    }

    next(what = 'a message') {
        if (this.queue.length) return Promise.resolve(this.queue.shift());
        return within(new Promise((resolve) => this.waiting.push(resolve)), what);
    }

    // The next message of that type; others before it are given up.
    async nextOf(type) {
        for (;;) {
            const m = await this.next(type);
            if (m.type === type) return m;
            assert.ok(!m.closed, `closed with ${m.closed} while waiting for ${type}`);
        }
    }

    send(object) {
        this.sendText(JSON.stringify(object));
    }

    sendText(text) {
        this.socket.write(frame(1, Buffer.from(text, 'utf8')));
    }

    sendBinary(bytes) {
        this.socket.write(frame(2, bytes));
    }

    // The answer: an error, or `joined` with what follows it in `history` and `gap`. place: {epoch, offset}
    async join(room, name, place = {}) {
        this.send({type: 'join', room, name, ...place});
        let answer;
        do answer = await this.next(`an answer to join ${room}`);
        while (answer.type === 'waiting'); // an instance that is not connected to the others yet
        if (answer.type !== 'joined') return answer;
        const between = []; // who comes and goes meanwhile is heard later
        const take = async (type) => {
            for (;;) {
                const m = await this.next(`${type} behind the answer to join ${room}`);
                if (m.type === type) return m;
                between.push(m);
                if (m.closed) throw new Error(`closed with ${m.closed} instead of ${type}`);
            }
        };
        const head = await take('history');
        answer.gap = head.gap;
        answer.place = {epoch: head.epoch, offset: head.offset};
        answer.history = [];
        while (answer.history.length < head.count) answer.history.push(await take('said'));
        this.queue.unshift(...between);
        return answer;
    }

    drop() {
        this.socket.destroy();
    }

    async close(code = 1000) {
        this.socket.write(frame(8, Buffer.from([code >> 8, code & 255])));
        for (;;) {
            const m = await this.next('the end');
            if (m.closed) return m.closed;
        }
    }
}

// where: {port} or {socketPath}; behind: a text message sent without waiting for the handshake's answer
function connect(where, path = '/chat', behind = null) {
    const key = crypto.randomBytes(16).toString('base64');
    const wanted = crypto
        .createHash('sha1')
        .update(key + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11')
        .digest('base64');
    return within(
        new Promise((resolve, reject) => {
            const r = http.request({
                host: '127.0.0.1',
                ...where,
                path,
                agent: false,
                headers: {
                    Connection: 'Upgrade',
                    Upgrade: 'websocket',
                    'Sec-WebSocket-Version': '13',
                    'Sec-WebSocket-Key': key,
                },
            });
            r.on('upgrade', (response, socket, first) => {
                assert.strictEqual(response.headers['sec-websocket-accept'], wanted);
                resolve(new Client(socket, first));
            });
            r.on('response', (response) => {
                response.resume();
                reject(new Error(`refused with ${response.statusCode}`));
            });
            r.on('error', reject);
            r.on('finish', () => behind && r.socket.write(frame(1, Buffer.from(behind))));
            r.end();
        }),
        `opening ${path}`
    );
}

// Runs the tests one after the other and ends the process: [[name, function], ...]
async function run(tests, after = async () => {}) {
    const wanted = process.argv.slice(3).filter((arg) => !arg.startsWith('--'));
    let passed = 0;
    let failed = 0;
    for (const [name, test] of tests) {
        if (wanted.length && !wanted.includes(name)) continue;
        try {
            await within(test(), name, 3 * TIMEOUT_MS);
            console.log(`ok   ${name}`);
            passed++;
        } catch (error) {
            console.log(`FAIL ${name}\n     ${String(error.stack).replace(/\n/g, '\n     ')}`);
            failed++;
        }
    }
    try {
        await after();
    } catch (error) {
        console.log(`FAIL the end\n     ${error.stack}`);
        failed++;
    }
    console.log(`${passed} passed, ${failed} failed`);
    process.exit(failed ? 1 : 0);
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Look again and again until it is true.
async function until(condition, what, ms = TIMEOUT_MS) {
    const end = Date.now() + ms;
    while (!(await condition())) {
        if (Date.now() > end) throw new Error(`${what}: not within ${ms} ms`);
        await sleep(20);
    }
}

module.exports = {TIMEOUT_MS, connect, request, run, sleep, startServer, until, within};
