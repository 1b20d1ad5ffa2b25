// A program with --cert and --key, and Node's TLS at the other end: node tls_test.js PATH_TO_WEFT_CHAT MAKE_CERTS [TEST...]
'use strict';

const assert = require('node:assert');
const fs = require('node:fs');
const https = require('node:https');
const os = require('node:os');
const path = require('node:path');
const tls = require('node:tls');
const {spawnSync} = require('node:child_process');
const {TIMEOUT_MS, run, startServer, within} = require('./harness.js');

const [program, makeCerts] = process.argv.splice(2, 2);
if (!makeCerts) {
    console.error('usage: tls_test.js PATH_TO_WEFT_CHAT MAKE_CERTS [TEST...]');
    process.exit(2);
}
process.argv.splice(2, 0, program); // names of tests stand behind it

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'weft-tls-'));
process.on('exit', () => fs.rmSync(folder, {recursive: true}));
assert.strictEqual(spawnSync(makeCerts, [folder]).status, 0);
const file = (name) => path.join(folder, name);
const ca = fs.readFileSync(file('ca.pem'));

function install(name) {
    fs.copyFileSync(file(`${name}.pem`), file('live.pem'));
    fs.copyFileSync(file(`${name}.key`), file('live.key'));
}

// The common name of the certificate, the status of the page, and a line of it.
function get(port, options = {}) {
    return within(new Promise((resolve, reject) => {
        https.get({host: 'localhost', port, ca, agent: false, ...options}, (answer) => {
            const name = answer.socket.getPeerCertificate().subject.CN;
            let body = '';
            answer.setEncoding('utf8');
            answer.on('data', (part) => (body += part));
            answer.on('end', () => resolve({name, status: answer.statusCode, body}));
        }).on('error', reject);
    }), 'the page over TLS');
}

async function withServer(use) {
    install('server');
    const server = await startServer(program, ['--port=0', '--cert', file('live.pem'), '--key', file('live.key')]);
    try {
        await use(server);
    } finally {
        assert.deepStrictEqual(await server.stop(), {code: 0, signal: null});
    }
}

async function isShown(port, name, options) {
    for (;;) {
        const {name: shown} = await get(port, options);
        if (shown === name) return;
    }
}

const tests = {
    async the_page_comes_over_tls() {
        await withServer(async ({port}) => {
            for (const maxVersion of ['TLSv1.2', 'TLSv1.3']) {
                const {name, status, body} = await get(port, {maxVersion});
                assert.strictEqual(status, 200);
                assert.strictEqual(name, 'server');
                assert.match(body, /<\/html>\s*$/);
            }
        });
    },

    async hangup_reads_the_certificate_again() {
        await withServer(async (server) => {
            const {port} = server;
            const open = tls.connect({host: 'localhost', port, ca, servername: 'localhost'});
            await within(new Promise((resolve, reject) => open.on('secureConnect', resolve).on('error', reject)), 'TLS');
            install('rsa');
            server.process.kill('SIGHUP');
            await within(isShown(port, 'rsa'), 'the new certificate');
            fs.writeFileSync(file('live.pem'), 'nothing');
            server.process.kill('SIGHUP');
            assert.strictEqual((await get(port)).name, 'rsa');
            const answer = new Promise((resolve) => open.once('data', (part) => resolve(String(part))));
            open.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n');
            assert.match(await within(answer, 'the connection from before'), /^HTTP\/1.1 200 /);
            open.destroy();
        });
    },

    async half_of_a_pair_is_refused() {
        for (const [args, status, said] of [
            [['--cert', file('server.pem')], 2, /belong together/],
            [['--cert', file('server.pem'), '--key', file('rsa.key')], 1, /does not belong/],
            [['--cert', file('none.pem'), '--key', file('rsa.key')], 1, /none\.pem/],
        ]) {
            const done = spawnSync(program, ['--port=0', ...args], {encoding: 'utf8', timeout: TIMEOUT_MS});
            assert.strictEqual(done.status, status, done.stderr);
            assert.match(done.stderr, said);
        }
    },
};

run(Object.entries(tests));
