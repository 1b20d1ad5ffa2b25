// A client of npm's ws for the interoperation tests; README.md says what servers do, and lists the cases.
//
// usage: ws_client.js URL [--compression on|off] [--ca FILE] [CASE...]
'use strict';

const assert = require('node:assert');
const fs = require('node:fs');
const {parseArgs} = require('node:util');
const {WebSocket} = require('ws');

const MIB = 1 << 20;
const PATIENCE_MS = 20000;
const MANY = 1000;
const LENGTHS = [0, 1, 2, 124, 125, 126, 127, 1000, 65534, 65535, 65536, 65537, 200000];

const {values: options, positionals} = parseArgs({
    allowPositionals: true,
    options: {compression: {type: 'string', default: 'off'}, ca: {type: 'string'}},
});
const [url, ...wanted] = positionals;
let number = 0;

function within(promise, what) {
    let timer;
    const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(`${what}: nothing within ${PATIENCE_MS} ms`)), PATIENCE_MS);
    });
    return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// What comes is kept in order until it is asked for.
class Connection {
    constructor(path, subprotocols = []) {
        this.number = ++number;
        this.messages = [];
        this.c = new WebSocket(`${url}${path}?${this.number}`, subprotocols, {
            perMessageDeflate: options.compression === 'on',
            ca: options.ca && fs.readFileSync(options.ca),
        });
        this.c.on('message', (data, isBinary) => {
            this.messages.push({data, isBinary});
            if (this.arrived) this.arrived();
        });
        this.ended = new Promise((resolve) => this.c.on('close', (code, reason) => resolve(`${code} ${reason}`)));
        this.opened = new Promise((resolve, reject) => {
            this.c.on('open', resolve);
            this.c.on('error', reject);
        });
        this.opened.catch(() => {});
    }

    open() {
        return within(this.opened, 'open').then(() => this);
    }

    async next() {
        if (!this.messages.length) await within(new Promise((resolve) => (this.arrived = resolve)), 'a message');
        this.arrived = undefined;
        return this.messages.shift();
    }

    async expect(data, isBinary) {
        const answer = await this.next();
        assert.strictEqual(answer.isBinary, isBinary);
        assert.ok(answer.data.equals(data), `${data.length} bytes came back as ${answer.data.length} others`);
    }

    async end(code = 1000, reason = '') {
        this.c.close(code, reason);
        return within(this.ended, 'the end');
    }
}

const open = (path, subprotocols) => new Connection(path, subprotocols).open();

// Of two bytes a character, with one more in front when the length is odd.
function text(length) {
    const bytes = Buffer.alloc(length);
    const odd = length % 2;

    if (odd) bytes[0] = 0x78;
    for (let i = odd; i < length; i += 2) {
        bytes[i] = 0xc3;
        bytes[i + 1] = 0x80 + ((i >> 1) % 64);
    }
    return bytes;
}

const binary = (length) => Buffer.from(Array.from({length}, (_, i) => i * 7 + (i >> 8)));
const kinds = [[text, false], [binary, true]];

async function thereAndBack(path, lengths) {
    const k = await open(path);

    for (const length of lengths)
        for (const [make, isBinary] of kinds) {
            const data = make(length);
            k.c.send(data, {binary: isBinary});
            await k.expect(data, isBinary);
        }
    assert.strictEqual(await k.end(), '1000 ');
}

async function expectEnded(ofNumber, expected) {
    const k = await open('/ended');

    k.c.send(String(ofNumber));
    assert.strictEqual((await k.next()).data.toString(), expected);
    await k.end();
}

const cases = {
    messages_of_many_lengths: () => thereAndBack('/echo', LENGTHS),
    one_mebibyte: () => thereAndBack('/echo', [MIB]),
    the_server_sends_fragments: () => thereAndBack('/pieces', [0, 1, 999, 1000, 1001, 12345, 300000]),

    async the_client_sends_fragments() {
        const k = await open('/echo');

        for (const [make, isBinary] of kinds) {
            const data = make(30001);
            for (let at = 0, n = 1; at < data.length; at += n, n = 2 * n + 1) {
                k.c.send(data.subarray(at, at + n), {binary: isBinary, fin: at + n >= data.length});
                k.c.ping('between');
            }
            await k.expect(data, isBinary);
        }
        await k.end();
    },

    async a_thousand_messages_under_way() {
        const k = await open('/echo');

        for (let i = 0; i < MANY; i++) k.c.send(`message ${i}`);
        for (let i = 0; i < MANY; i++) await k.expect(Buffer.from(`message ${i}`), false);
        await k.end();
    },

    async pings_are_answered() {
        const k = await open('/echo');

        for (const payload of [Buffer.alloc(0), Buffer.from('x'), binary(125)]) {
            const pong = new Promise((resolve) => k.c.once('pong', resolve));
            k.c.ping(payload);
            assert.ok((await within(pong, 'a Pong')).equals(payload));
        }
        await k.end();
    },

    async the_server_pings() {
        for (const payload of ['x', 'a payload that comes back as it is', 'l'.repeat(125)]) {
            const k = await open('/ping');
            k.c.send(payload);
            await k.expect(Buffer.from('pong'), false);
            await k.end();
        }
    },

    async a_subprotocol_is_chosen() {
        for (const [offered, chosen] of [[['chat.v1', 'chat.v2'], 'chat.v2'], [[], '']]) {
            const k = await open('/echo', offered);
            assert.strictEqual(k.c.protocol, chosen);
            await k.end();
        }
    },

    async a_refusal_has_a_status() {
        await assert.rejects(open('/nowhere'), /404/);
    },

    async the_client_closes_first() {
        for (const [code, reason] of [[3001, 'the client is done'], [1000, ''], [4999, 'gr\u00fc\u00dfe']]) {
            const k = await open('/echo');
            assert.match(await k.end(code, reason), new RegExp(`^${code} `));
            await expectEnded(k.number, `${code} ${reason}`);
        }
    },

    async the_server_closes_first() {
        const k = await open('/close');

        k.c.send('3002 the server is done');
        assert.strictEqual(await within(k.ended, 'the end'), '3002 the server is done');
        await expectEnded(k.number, '3002 the server is done'); // ws sends the reason back
    },

    async both_close() {
        for (let i = 0; i < 20; i++) {
            const k = await open('/both');
            assert.match(await k.end(3002, 'the client'), /^3002 |^3003 the server$/);
        }
    },

    async the_client_aborts() {
        const k = await open('/echo');

        k.c.send('x');
        await k.next();
        k.c.terminate();
        await k.ended;
        await expectEnded(k.number, '1006 ');
    },

    async the_server_dies() {
        const k = await open('/drop');

        k.c.send('die');
        assert.strictEqual(await within(k.ended, 'the end'), '1006 ');
    },
};

async function main() {
    let passed = 0;
    let failed = 0;

    for (const [name, run] of Object.entries(cases)) {
        if (wanted.length && !wanted.includes(name)) continue;
        try {
            await run();
            passed++;
            console.log(`ok   interop/${name}`);
        } catch (error) {
            failed++;
            console.log(`FAIL interop/${name}: ${error.stack}`);
        }
    }
    console.log(`interop: ${passed} passed, ${failed} failed`);
    process.exitCode = failed || !passed ? 1 : 0;
}

main();
