// What weft-echo's options do, seen from outside: node echo_test.js PATH_TO_WEFT_ECHO [TEST...]
'use strict';

const assert = require('node:assert');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const {spawnSync} = require('node:child_process');
const {TIMEOUT_MS, connect, run, startServer, until} = require('./harness.js');

const program = process.argv[2];
if (!program) {
    console.error('usage: echo_test.js PATH_TO_WEFT_ECHO [TEST...]');
    process.exit(2);
}

async function withServer(args, use) {
    const server = await startServer(program, ['--port=0', ...args]);
    try {
        await use(server);
    } finally {
        assert.deepStrictEqual(await server.stop(), {code: 0, signal: null});
    }
}

async function echoes(client, count) {
    for (let i = 0; i < count; i++) client.send({n: i});
    for (let i = 0; i < count; i++) assert.deepStrictEqual(await client.next(), {n: i});
}

const tests = {
    async it_echoes_from_workers_and_inline() {
        for (const args of [[], ['--inline'], ['--workers=1'], ['--io-threads', '2', '--no-compression']])
            await withServer(args, async ({port}) => {
                const clients = [];
                for (let i = 0; i < 4; i++) clients.push(await connect({port}));
                await Promise.all(clients.map((c) => echoes(c, 200)));
                clients[0].send({long: 'x'.repeat(900000)});
                assert.strictEqual((await clients[0].next()).long.length, 900000);
                for (const c of clients) assert.strictEqual(await c.close(), 1000);
            });
    },

    async it_broadcasts_to_all() {
        await withServer(['--broadcast'], async ({port}) => {
            const a = await connect({port});
            const b = await connect({port});
            await echoes(a, 1);
            assert.deepStrictEqual(await b.next(), {n: 0});
            b.send({from: 'b'});
            for (const c of [a, b]) assert.deepStrictEqual(await c.next(), {from: 'b'});
            await a.close();
            await b.close();
        });
    },

    async the_share_of_calls_that_sleeps_is_exact() {
        await withServer(['--sleep-ms=40', '--sleep-share=0.25', '--stats'], async (server) => {
            const c = await connect({port: server.port});
            const fast = new Set(); // which of the sixteen were, at least once: a busy machine makes any of them slow
            for (let round = 0; round < 2 || fast.size < 12; round++)
                for (let i = 0; i < 16; i++) {
                    const begin = process.hrtime.bigint();
                    await echoes(c, 1);
                    if (process.hrtime.bigint() - begin < 40000000n) fast.add(i);
                }
            assert.strictEqual(fast.size, 12, [...fast].join());
            await c.close();
        });
    },

    async a_burning_handler_takes_its_time() {
        await withServer(['--burn-us=30000'], async ({port}) => {
            const c = await connect({port});
            const begin = Date.now();
            await echoes(c, 4);
            assert.ok(Date.now() - begin >= 119); // the clock is in whole milliseconds
            await c.close();
        });
    },

    async limits_arrive_at_the_server() {
        await withServer(['--message-bytes-max=100'], async ({port}) => {
            const c = await connect({port});
            c.send({text: 'x'.repeat(100)});
            assert.deepStrictEqual(await c.next(), {closed: 1009});
        });
        await withServer(['--ping-interval-ms=50', '--ping-timeout-ms=60000'], async ({port}) => {
            const c = await connect({port});
            await until(() => c.pings > 3, 'pings');
            await echoes(c, 1);
            await c.close();
        });
        await withServer(['--ping-interval-ms=50', '--ping-timeout-ms=150'], async ({port}) => {
            const c = await connect({port});
            c.answersPings = false;
            assert.ok((await c.next()).closed);
        });
    },

    async it_listens_on_tcp_and_unix_at_once() {
        const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'weft-echo-'));
        const socketPath = path.join(directory, 'echo.sock');
        try {
            await withServer(['--unix', socketPath], async (server) => {
                await until(() => server.output().includes('unix:'), 'the second place');
                assert.match(server.output(), /^listening on 127\.0\.0\.1:\d+\nlistening on unix:.+\n$/);
                for (const where of [{port: server.port}, {socketPath}]) {
                    const c = await connect(where);
                    await echoes(c, 3);
                    await c.close();
                }
            });
        } finally {
            fs.rmSync(directory, {recursive: true});
        }
    },

    async it_prints_statistics_when_asked_and_at_the_end() {
        const server = await startServer(program, ['--port=0', '--stats']);
        const c = await connect({port: server.port});
        await echoes(c, 10);
        server.process.kill('SIGUSR1');
        await until(() => /\}\n/.test(server.output()), 'the figures');
        await c.close();
        await server.stop();
        const [now, last] = server
            .output()
            .trim()
            .split('\n')
            .slice(1)
            .map((line) => JSON.parse(line));
        assert.strictEqual(now.connections, 1);
        assert.strictEqual(now.messages_in, 10);
        assert.strictEqual(last.opened, 1);
        assert.strictEqual(last.closed, 1);
        assert.strictEqual(last.connections, 0);
        assert.strictEqual(last.handover_us.length, 20);
    },

    async every_option_is_read() {
        const help = spawnSync(program, ['--help'], {encoding: 'utf8'}).stdout;
        const numbers = [...help.matchAll(/^ {2}(--[a-z-]+) N /gm)].map((m) => m[1]);
        assert.ok(numbers.length > 20, help);
        for (const option of numbers)
            for (const value of ['-1', '', 'x', '1x', '99999999999999999999'])
                assert.strictEqual(spawnSync(program, [option, value]).status, 2, `${option} ${value}`);
        await withServer(
            ['--slow-policy=drop-oldest', '--normal-scheduling', '--log-level=error'],
            async () => {}
        );
        assert.strictEqual(spawnSync(program, ['--slow-policy', 'wait']).status, 2);
        assert.strictEqual(spawnSync(program, ['--sleep-share', '1.5']).status, 2);
    },

    async what_the_library_refuses_ends_with_2() {
        const done = spawnSync(program, ['--port=0', '--inbox-high=4', '--inbox-low=5'], {
            encoding: 'utf8',
            timeout: TIMEOUT_MS,
        });
        assert.strictEqual(done.status, 2);
        assert.match(done.stderr, /weft-echo: cannot make the server/);
    },
};

run(Object.entries(tests));
