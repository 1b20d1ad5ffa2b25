// The chat's protocol against the running program: node chat_protocol_test.js PATH_TO_WEFT_CHAT [TEST...]
'use strict';

const assert = require('node:assert');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const {spawnSync} = require('node:child_process');
const {TIMEOUT_MS, connect, request, run, sleep, startServer, until, within} = require('./harness.js');

const program = process.argv[2];
if (!program) {
    console.error('usage: chat_protocol_test.js PATH_TO_WEFT_CHAT [TEST...]');
    process.exit(2);
}

let server;
let roomCount = 0;
const newRoom = () => `room ${++roomCount}`;
const open = () => connect({port: server.port});
const error = (reason) => ({type: 'error', reason});

async function openIn(room, name) {
    const c = await open();
    c.joined = await c.join(room, name);
    assert.strictEqual(c.joined.type, 'joined', JSON.stringify(c.joined));
    return c;
}

// Nothing may be waiting: a malformed message is answered, and its answer must be what arrives next.
async function assertQuiet(c) {
    c.sendText('?');
    assert.deepStrictEqual(await c.next(), error('not a JSON object'));
}

async function metric(name, {port} = server) {
    const {body} = await request(port, '/metrics');
    return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(body)[1]);
}

const tests = {
    async two_people_meet_talk_and_part() {
        const room = newRoom();
        const ann = await openIn(room, 'ann');
        assert.deepStrictEqual(
            {...ann.joined, place: null},
            {type: 'joined', room, name: 'ann', members: ['ann'], history: [], gap: false, place: null}
        );
        const bob = await openIn(room, 'bob');
        assert.deepStrictEqual(bob.joined.members, ['ann', 'bob']);
        assert.deepStrictEqual(await ann.next(), {type: 'came', name: 'bob'});
        const before = Date.now();
        ann.send({type: 'say', text: 'hello <b>&amp;</b> \u{1f600} "\\\n'});
        const said = await ann.next();
        assert.deepStrictEqual(await bob.next(), said);
        assert.strictEqual(said.id, 1);
        assert.match(said.epoch, /^\d+$/);
        assert.ok(Math.abs(said.at - before) < 10000);
        assert.deepStrictEqual(
            {...said, epoch: '', at: 0},
            {type: 'said', id: 1, epoch: '', room, name: 'ann', text: 'hello <b>&amp;</b> \u{1f600} "\\\n', at: 0}
        );
        bob.send({type: 'typing'});
        assert.deepStrictEqual(await ann.next(), {type: 'typing', name: 'bob'});
        bob.send({type: 'leave'});
        assert.deepStrictEqual(await ann.next(), {type: 'went', name: 'bob'});
        await assertQuiet(bob);
        bob.send({type: 'say', text: 'x'});
        assert.deepStrictEqual(await bob.next(), error('join a room first'));
        assert.strictEqual(await ann.close(), 1000);
        assert.strictEqual(await bob.close(), 1000);
    },

    async names_are_unique_per_room() {
        const room = newRoom();
        const ann = await openIn(room, 'ann');
        const other = await open();
        assert.deepStrictEqual(await other.join(room, 'ann'), error('name is taken'));
        assert.strictEqual((await other.join(newRoom(), 'ann')).type, 'joined');
        assert.strictEqual((await other.join(room, 'Ann')).type, 'joined');
        await ann.close();
        await other.close();
    },

    async a_name_is_free_again_after_a_dropped_connection() {
        const room = newRoom();
        const ann = await openIn(room, 'ann');
        const bob = await openIn(room, 'bob');
        bob.drop();
        await ann.nextOf('came');
        assert.deepStrictEqual(await ann.next(), {type: 'went', name: 'bob'});
        const again = await openIn(room, 'bob');
        assert.deepStrictEqual(again.joined.members, ['ann', 'bob']);
        await ann.close();
        await again.close();
    },

    async a_second_join_moves_and_renames() {
        const first = newRoom();
        const second = newRoom();
        const ann = await openIn(first, 'ann');
        const eve = await openIn(second, 'eve');
        const bob = await openIn(first, 'bob');
        await ann.nextOf('came');
        assert.deepStrictEqual((await bob.join(second, 'bob')).members, ['eve', 'bob']);
        assert.deepStrictEqual(await ann.next(), {type: 'went', name: 'bob'});
        assert.deepStrictEqual(await eve.next(), {type: 'came', name: 'bob'});
        bob.send({type: 'join', room: second, name: 'rob'}); // no history: nothing was missed
        const renamed = await bob.next();
        assert.deepStrictEqual(renamed, {type: 'joined', room: second, name: 'rob', members: ['eve', 'rob']});
        assert.deepStrictEqual(await eve.next(), {type: 'came', name: 'rob'});
        for (const c of [eve, bob]) assert.deepStrictEqual(await c.next(), {type: 'went', name: 'bob'});
        assert.deepStrictEqual(await bob.join(first, 'ann'), error('name is taken'));
        eve.send({type: 'say', text: 'still together'});
        assert.strictEqual((await bob.next()).text, 'still together');
        for (const c of [ann, bob, eve]) await c.close();
    },

    async rooms_do_not_hear_each_other() {
        const ann = await openIn(newRoom(), 'ann');
        const bob = await openIn(newRoom(), 'bob');
        ann.send({type: 'say', text: 'only here'});
        ann.send({type: 'typing'});
        await ann.nextOf('said');
        await assertQuiet(bob);
        await ann.close();
        await bob.close();
    },

    // Many say at once while others come: the ids grow, everybody gets the same order, and `joined` and what
    // follows it make one whole.
    async everybody_sees_one_order_without_gap_or_double() {
        const room = newRoom();
        const speakers = [];
        for (let i = 0; i < 8; i++) speakers.push(await openIn(room, `s${i}`));
        const late = [];
        for (let round = 0; round < 30; round++) {
            for (const s of speakers) s.send({type: 'say', text: `round ${round}`});
            if (round % 6 === 5) late.push(openIn(room, `late${round}`));
        }
        const all = [...speakers, ...(await Promise.all(late))];
        speakers[0].send({type: 'say', text: 'end'});
        const orders = [];
        for (const c of all) {
            const ids = c.joined.history.map((m) => m.id);
            for (let m = await c.nextOf('said'); ; m = await c.nextOf('said')) {
                ids.push(m.id);
                if (m.text === 'end') break;
            }
            orders.push(ids);
        }
        assert.strictEqual(orders[0].length, 8 * 30 + 1);
        for (let i = 1; i < orders[0].length; i++) assert.ok(orders[0][i] > orders[0][i - 1], 'ids grow');
        for (const ids of orders) assert.deepStrictEqual(ids, orders[0].slice(orders[0].length - ids.length));
        for (const c of all) await c.close();
    },

    async who_joins_gets_the_last_hundred() {
        const room = newRoom();
        const speakers = [];
        for (let i = 0; i < 4; i++) speakers.push(await openIn(room, `s${i}`));
        let last;
        for (let i = 0; i < 130; i++) {
            const speaker = speakers[i % 4];
            speaker.send({type: 'say', text: `t${i}`});
            last = await speaker.nextOf('said');
            while (last.text !== `t${i}`) last = await speaker.nextOf('said');
        }
        const late = await openIn(room, 'late');
        assert.deepStrictEqual(
            late.joined.history.map((m) => m.text),
            Array.from({length: 100}, (_, i) => `t${i + 30}`)
        );
        assert.deepStrictEqual(late.joined.history[99], last);
        for (const c of [...speakers, late]) await c.close();
        const alone = await openIn(room, 'alone');
        assert.strictEqual(alone.joined.history.length, 100, 'an empty room keeps its history');
        assert.deepStrictEqual(alone.joined.members, ['alone']);
        await alone.close();
    },

    async malformed_input_is_answered_and_the_connection_lives_on() {
        const texts = [
            '',
            ' ',
            'x',
            '{',
            '}',
            '[]',
            '[{}]',
            'null',
            'true',
            '1',
            '"x"',
            '{"type"}',
            '{"type":}',
            "{'type':'say'}",
            '{"type":"leave",}',
            '{"type":"leave"}{"type":"leave"}',
            '{"type":"leave","type":"leave"}',
            '{"type":"\\u0000"}',
            '{"type":"\\ud800"}',
            '{"type":"\\x"}',
            '{"type":"a\nb"}',
            '\ufeff{"type":"leave"}',
            '/* */ {"type":"leave"}',
            '{"type":NaN}',
            '{"type":1e999}',
            '['.repeat(30000),
            '{"a":'.repeat(5000),
        ];
        const objects = [
            {},
            {type: 1},
            {type: null},
            {type: ['say']},
            {type: 'shout'},
            {type: 'SAY', text: 'x'},
            {type: 'said', text: 'x'},
        ];
        const fields = [
            {type: 'join'},
            {type: 'join', room: 'a'},
            {type: 'join', room: '', name: 'a'},
            {type: 'join', room: 'a', name: ' a'},
            {type: 'join', room: 1, name: 'a'},
            {type: 'join', room: 'a'.repeat(65), name: 'a'},
            {type: 'join', room: 'a', name: 'ä'.repeat(17)},
            {type: 'join', room: 'a\u0007', name: 'a'},
            {type: 'join', room: 'a', name: 'a\u202eb'},
            {type: 'say'},
            {type: 'say', text: ''},
        ];
        const ann = await open();
        for (const text of [...texts, ...objects.map((o) => JSON.stringify(o))]) {
            ann.sendText(text);
            const m = await ann.next(text.slice(0, 60));
            assert.strictEqual(m.type, 'error', text.slice(0, 60));
            assert.ok(m.reason.length > 0);
            assert.notStrictEqual(m.reason, 'too fast');
        }
        for (const field of fields) {
            const bob = await open(); // a join costs as much as five of the others
            bob.send(field);
            const m = await bob.next(JSON.stringify(field));
            assert.strictEqual(m.type, 'error', JSON.stringify(field));
            assert.notStrictEqual(m.reason, 'too fast');
            bob.drop();
        }
        await sleep(1000); // for the last two, if this was quick
        ann.sendBinary(Buffer.from('{"type":"leave"}'));
        assert.deepStrictEqual(await ann.next(), error('messages must be text'));
        assert.strictEqual((await ann.join(newRoom(), 'ann')).type, 'joined');
        await ann.close();
    },

    async a_message_of_4096_bytes_passes_and_a_longer_one_does_not() {
        const ann = await openIn(newRoom(), 'ann');
        const tooLong = error('text must be 1 to 4096 bytes without control characters');
        ann.send({type: 'say', text: 'x'.repeat(4096)});
        assert.strictEqual((await ann.next()).text.length, 4096);
        ann.send({type: 'say', text: 'ä'.repeat(2048)});
        assert.strictEqual((await ann.next()).text.length, 2048);
        ann.send({type: 'say', text: 'x'.repeat(4097)});
        assert.deepStrictEqual(await ann.next(), tooLong);
        ann.send({type: 'say', text: 'x'.repeat(40000)});
        assert.deepStrictEqual(await ann.next(), error('message is too long'));
        ann.send({type: 'say', text: 'x'.repeat(42000)});
        assert.deepStrictEqual(await ann.next(), {closed: 1009});
    },

    // 40 at once and 10 a second: so many that also who is slow in sending them is refused.
    async who_talks_too_fast_is_refused_for_a_moment() {
        const COUNT = 400;
        const began = Date.now();
        const ann = await openIn(newRoom(), 'ann');
        const bob = await openIn(newRoom(), 'bob');
        for (let i = 0; i < COUNT; i++) ann.send({type: 'say', text: `t${i}`});
        let said = 0;
        for (let i = 0; i < COUNT; i++) {
            const m = await ann.next();
            if (m.type === 'said') said++;
            else assert.deepStrictEqual(m, error('too fast'));
        }
        const most = 40 + (Date.now() - began) / 100 + 1;
        assert.ok(said >= 35 && said <= most && said < COUNT, `${said} of at most ${most} passed`);
        bob.send({type: 'say', text: 'not me'});
        assert.strictEqual((await bob.next()).text, 'not me');
        await sleep(300);
        ann.send({type: 'say', text: 'again'});
        assert.strictEqual((await ann.next()).text, 'again');
        await ann.close();
        await bob.close();
    },

    async who_never_stops_is_closed_with_1008() {
        const ann = await open();
        for (let i = 0; i < 1200; i++) ann.sendText('x');
        let m = await ann.next();
        while (m.type === 'error') m = await ann.next();
        assert.deepStrictEqual(m, {closed: 1008});
    },

    // Not even when one is let through now and then, and each is right in itself.
    async who_goes_on_too_fast_at_a_moderate_rate_is_closed_with_1008() {
        const ann = await openIn(newRoom(), 'ann');
        const began = Date.now();
        let over = false;
        ann.socket.on('close', () => (over = true));
        const left = Date.now() + TIMEOUT_MS;
        while (!over && Date.now() < left) {
            for (let i = 0; i < 30; i++) ann.send({type: 'say', text: 'buy', more: [1, 2, 3]});
            await sleep(20); // 1500 a second
        }
        let said = 0;
        let m = await ann.next();
        for (; m.type; m = await ann.next()) said += m.type === 'said';
        assert.deepStrictEqual(m, {closed: 1008});
        assert.ok(said >= 35 && said <= 41 + (Date.now() - began) / 100, `${said} got through`);
    },

    // What is said to the one who does not read fills the sockets' buffers and then the outbox, to its bound.
    async who_does_not_read_is_closed_and_the_others_go_on() {
        const room = newRoom();
        const deaf = await openIn(room, 'deaf');
        const before = await metric('weft_closed_slow_total');
        const text = '"'.repeat(4096); // 8 KiB as JSON
        deaf.socket.pause();
        for (let i = 0; i < 200 && (await metric('weft_closed_slow_total')) === before; i++) {
            const speaker = await openIn(room, `s${i}`);
            for (let k = 0; k < 35; k++) speaker.send({type: 'say', text});
            for (let k = 0; k < 35; k++) assert.strictEqual((await speaker.nextOf('said')).name, `s${i}`);
            await speaker.close();
        }
        assert.strictEqual(await metric('weft_closed_slow_total'), before + 1);
        deaf.drop();
        const ann = await openIn(room, 'ann');
        ann.send({type: 'say', text: 'all well'});
        assert.strictEqual((await ann.nextOf('said')).text, 'all well');
        await ann.close();
    },

    // It may arrive while the server still opens the connection.
    async a_message_right_behind_the_handshake_is_answered() {
        for (let i = 0; i < 300; i++) {
            const c = await connect({port: server.port}, '/chat', '{"type":"leave"}');
            assert.deepStrictEqual(await c.next(), error('join a room first'));
            c.drop();
        }
    },

    async the_port_answers_plain_http() {
        const page = await request(server.port, '/');
        assert.strictEqual(page.status, 200);
        assert.match(page.headers['content-type'], /^text\/html; *charset=utf-8$/i);
        assert.match(page.headers['content-security-policy'], /default-src 'none'/);
        assert.strictEqual(page.headers['x-content-type-options'], 'nosniff');
        assert.ok(page.body.endsWith('</html>\n'));
        assert.strictEqual(
            page.body,
            fs.readFileSync(path.join(__dirname, '../../server/page/index.html'), 'utf8')
        );
        const head = await request(server.port, '/', {method: 'HEAD'});
        assert.strictEqual(head.status, 200);
        assert.strictEqual(head.body, '');
        assert.strictEqual(Number(head.headers['content-length']), Buffer.byteLength(page.body));
        assert.deepStrictEqual(
            await request(server.port, '/healthz').then(({status, body}) => [status, body]),
            [200, 'ok']
        );
        assert.strictEqual((await request(server.port, '/healthz?full=1')).status, 200);
        for (const missing of ['/nothing', '/chat/', '/index.html', '/..', '/%2e%2e/etc/passwd'])
            assert.strictEqual((await request(server.port, missing)).status, 404, missing);
        for (const known of ['/', '/healthz', '/metrics', '/chat']) {
            const refused = await request(server.port, known, {method: 'DELETE'});
            assert.strictEqual(refused.status, 405, known);
            assert.strictEqual(refused.headers.allow, 'GET, HEAD');
        }
        const upgrade = await request(server.port, '/chat');
        assert.strictEqual(upgrade.status, 426);
        assert.strictEqual(upgrade.headers.upgrade, 'websocket');
        await assert.rejects(connect({port: server.port}, '/elsewhere'), /refused with 404/);
    },

    async the_metrics_are_well_formed_and_count() {
        const other = await startServer(program, ['--port', '0']);
        assert.strictEqual(await metric('weft_chat_rooms', other), 0);
        const ann = await connect({port: other.port});
        assert.strictEqual((await ann.join(newRoom(), 'ann')).type, 'joined');
        ann.send({type: 'say', text: 'x'});
        await ann.next();
        assert.strictEqual(await metric('weft_chat_rooms', other), 1);
        assert.strictEqual(await metric('weft_chat_said_total', other), 1);
        assert.ok((await metric('weft_connections', other)) >= 1);
        const {headers, body} = await request(other.port, '/metrics');
        assert.match(headers['content-type'], /^text\/plain; version=0\.0\.4/);
        assert.ok(body.endsWith('\n'));
        const types = new Map();
        let bucket = -1;
        for (const line of body.slice(0, -1).split('\n')) {
            const type = /^# TYPE ([a-z_]+) (gauge|counter|histogram)$/.exec(line);
            if (type) {
                assert.ok(!types.has(type[1]), `${type[1]} has one TYPE`);
                types.set(type[1], type[2]);
                continue;
            }
            if (/^# HELP [a-z_]+ \S/.test(line)) continue;
            const sample = /^([a-z_]+)(\{le="([0-9.]+|\+Inf)"\})? ([0-9.]+)$/.exec(line);
            assert.ok(sample, line);
            const name = sample[1].replace(/_(bucket|count)$/, '');
            assert.ok(types.has(name), `${name} has a TYPE before it`);
            if (types.get(name) === 'counter') assert.ok(name.endsWith('_total'), name);
            if (sample[2]) {
                assert.ok(Number(sample[4]) >= bucket, 'buckets are cumulative');
                bucket = Number(sample[4]);
            }
        }
        assert.strictEqual(types.get('weft_handover_seconds'), 'histogram');
        assert.match(
            body,
            new RegExp(`_bucket\\{le="\\+Inf"\\} ${bucket}\nweft_handover_seconds_count ${bucket}\n`)
        );
        await ann.close();
        assert.deepStrictEqual(await other.stop(), {code: 0, signal: null});
    },

    async it_listens_on_a_unix_socket_alone_when_asked() {
        const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'weft-chat-'));
        const socketPath = path.join(directory, 'chat.sock');
        try {
            const other = await startServer(program, ['--unix', socketPath]);
            assert.strictEqual(other.address, `unix:${socketPath}`);
            const ann = await connect({socketPath});
            assert.strictEqual((await ann.join('lobby', 'ann')).type, 'joined');
            assert.strictEqual(other.output(), `listening on unix:${socketPath}\n`);
            await ann.close();
            assert.deepStrictEqual(await other.stop(), {code: 0, signal: null});
        } finally {
            fs.rmSync(directory, {recursive: true});
        }
    },

    async pages_of_other_origins_can_be_kept_out() {
        const other = await startServer(program, [
            '--port=0',
            '--origin',
            'https://chat.example',
            '--origin=https://two.example',
        ]);
        const upgrade = (origin) =>
            request(other.port, '/chat', {
                headers: {
                    Connection: 'Upgrade',
                    Upgrade: 'websocket',
                    'Sec-WebSocket-Version': '13',
                    'Sec-WebSocket-Key': 'AAAAAAAAAAAAAAAAAAAAAA==',
                    Origin: origin,
                },
            });
        assert.strictEqual((await upgrade('https://evil.example')).status, 403);
        await (await connect({port: other.port})).close();
        await other.stop();
    },

    async bad_options_are_explained_and_end_with_2() {
        for (const args of [
            ['--port', '-1'],
            ['--port', '65536'],
            ['--port', '80x'],
            ['--port'],
            ['--workers', '1e3'],
            ['--cert', 'x'],
            ['extra'],
            ['--host='],
            ['--log-level', 'loud'],
            ['--unix'],
            ['--bus', 'nonsense'],
            ['--bus', 'redis://host:port'],
            ['--bus', 'redis://127.0.0.1:1', '--history', 'x'],
            ['--presence-timeout-ms', '0'],
            ['--bus', 'redis://127.0.0.1:1', '--bus-file', 'x'],
            ['--history-bytes-max', '1'],
            ['--metrics', 'some'],
        ]) {
            const done = spawnSync(program, args, {encoding: 'utf8', timeout: TIMEOUT_MS});
            assert.strictEqual(done.status, 2, args.join(' '));
            assert.match(done.stderr, /^weft-chat: .+\n$/m);
            assert.strictEqual(done.stdout, '');
        }
        const help = spawnSync(program, ['--help'], {encoding: 'utf8'});
        assert.strictEqual(help.status, 0);
        for (const option of ['--port', '--host', '--unix', '--io-threads', '--workers', '--bus', '--history', '--version'])
            assert.ok(help.stdout.includes(`\n  ${option} `), option);
        assert.match(
            spawnSync(program, ['--version'], {encoding: 'utf8'}).stdout,
            /^weft-chat \d+\.\d+\.\d+\n$/
        );
    },

    // Whatever goes wrong, and in the list of processes.
    async the_password_of_the_bus_is_shown_nowhere() {
        const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'weft-chat-'));
        const file = path.join(directory, 'bus');
        const run = (args) => spawnSync(program, args, {encoding: 'utf8', timeout: TIMEOUT_MS});
        const wrong = ['redis://:s3cret@h/x', 'redis://ann:s3cret@', 'nonsense:s3cret@h', 'redis://:s3cret', 'redis://a:s3@s3cret@h/x'];
        try {
            for (const url of wrong) {
                fs.writeFileSync(file, `${url}\n`);
                for (const args of [['--bus', url], [`--bus=${url}`], ['--bus-file', file]]) {
                    const done = run(['--port=0', '--log-level', 'debug', ...args]);
                    assert.strictEqual(done.status, 2, done.stderr);
                    assert.match(done.stderr, /^weft-chat: cannot open the bus .+$/m);
                    assert.ok(!`${done.stdout}${done.stderr}`.includes('s3cret'), done.stderr);
                }
            }
            fs.writeFileSync(file, '');
            assert.match(run(['--bus-file', file]).stderr, /first line of \S+ is no URL/);
            const missing = run(['--bus-file', path.join(directory, 'nowhere')]);
            assert.strictEqual(missing.status, 1);
            assert.match(missing.stderr, /cannot read \S+nowhere: No such file/);
            const other = await startServer(program, ['--port=0', '--bus', 'redis://:s3cret@127.0.0.1:1']);
            const line = fs.readFileSync(`/proc/${other.process.pid}/cmdline`, 'utf8');
            assert.ok(!line.includes('s3cret') && line.includes('127.0.0.1:1'), line);
            await other.stop('SIGKILL');
        } finally {
            fs.rmSync(directory, {recursive: true});
        }
    },

    async without_redis_it_is_not_healthy_and_who_joins_is_told() {
        const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'weft-chat-'));
        try {
            fs.writeFileSync(path.join(directory, 'bus'), 'redis://127.0.0.1:1/0\nwhat follows is not looked at\n');
            const other = await startServer(program, ['--port=0', '--bus-file', path.join(directory, 'bus')]);
            assert.strictEqual((await request(other.port, '/healthz')).status, 503);
            const ann = await connect({port: other.port});
            ann.send({type: 'join', room: 'lobby', name: 'ann'});
            assert.deepStrictEqual(await ann.next(), {
                type: 'waiting',
                reason: 'the chat is not connected to its others',
            });
            await other.stop('SIGKILL');
        } finally {
            fs.rmSync(directory, {recursive: true});
        }
    },

    async a_full_server_says_so_if_it_is_to() {
        const other = await startServer(program, ['--port=0', '--connections-max', '1', '--refuse-when-full']);
        const ann = await connect({port: other.port});
        assert.strictEqual((await request(other.port, '/healthz')).status, 503);
        await ann.close();
        await until(async () => (await request(other.port, '/healthz')).status === 200, 'there is room again');
        await other.stop();
    },

    async the_metrics_are_not_for_whom_a_proxy_speaks() {
        const headers = {'X-Forwarded-For': '10.1.2.3'};
        assert.strictEqual((await request(server.port, '/metrics', {headers})).status, 403);
        const none = await startServer(program, ['--port=0', '--metrics', 'none']);
        const all = await startServer(program, ['--port=0', '--metrics=all']);
        assert.strictEqual((await request(none.port, '/metrics')).status, 403);
        assert.strictEqual((await request(all.port, '/metrics', {headers})).status, 200);
        await none.stop();
        await all.stop();
    },

    async what_was_said_outlives_a_kill_with_history() {
        const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'weft-chat-'));
        const file = path.join(directory, 'history.db');
        const begin = () => startServer(program, ['--port=0', '--history', file]);
        try {
            let other = await begin();
            const ann = await connect({port: other.port});
            await ann.join('lobby', 'ann');
            const said = [];
            for (let i = 0; i < 30; i++) {
                ann.send({type: 'say', text: `t${i}`});
                said.push(await ann.next());
            }
            await other.stop('SIGKILL'); // what is told is written
            other = await begin();
            const again = await connect({port: other.port});
            const joined = await again.join('lobby', 'ann', {epoch: said[9].epoch, offset: said[9].id});
            assert.deepStrictEqual(joined.history, said.slice(10));
            assert.strictEqual(joined.gap, false);
            assert.deepStrictEqual(joined.members, ['ann']);
            again.send({type: 'say', text: 'on and on'});
            assert.strictEqual((await again.next()).id, said.length + 1);
            assert.deepStrictEqual(await other.stop(), {code: 0, signal: null}); // writes what is left
            other = await begin();
            const bob = await connect({port: other.port});
            assert.strictEqual((await bob.join('lobby', 'bob')).history.length, said.length + 1);
            await other.stop();
        } finally {
            fs.rmSync(directory, {recursive: true});
        }
    },

    // Four pages that talk as fast as they are answered, and a chat that is killed meanwhile, three times.
    async pages_go_on_behind_a_kill_under_load_and_miss_double_and_reorder_nothing() {
        const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'weft-chat-'));
        const file = path.join(directory, 'history.db');
        const pages = ['ann', 'bob', 'eve', 'joe'].map((name) => ({name, seen: [], place: {}}));
        const hear = (page, m) => {
            page.seen.push(`${m.epoch} ${m.id} ${m.text}`);
            page.place = {epoch: m.epoch, offset: m.id};
        };
        const talk = async (page, round) => {
            for (let i = 0; ; i++) {
                page.connection.send({type: 'say', text: `${page.name} ${round} ${i}`});
                for (let own = false; !own; ) {
                    const m = await page.connection.next();
                    if (m.closed) return;
                    if (m.type !== 'said') continue;
                    hear(page, m);
                    own = m.name === page.name;
                }
            }
        };
        try {
            for (let round = 0; round < 4; round++) {
                const other = await startServer(program, ['--port=0', '--history', file]);
                for (const page of pages) {
                    page.connection = await connect({port: other.port});
                    const joined = await page.connection.join('lobby', page.name, page.place);
                    assert.strictEqual(joined.gap, false, `${page.name} is told no gap`);
                    for (const m of joined.history) hear(page, m);
                }
                const before = pages[0].seen.length;
                const talks = round < 3 ? pages.map((page) => talk(page, round)) : [];
                while (round < 3 && pages[0].seen.length < before + 20) await sleep(1);
                await other.stop('SIGKILL');
                await Promise.all(talks);
            }
            const [first, ...others] = pages; // the first one was there when the room was empty
            const number = (line) => Number(line.split(' ')[1]);
            first.seen.forEach((line, i) => assert.strictEqual(number(line), i + 1));
            assert.strictEqual(new Set(first.seen.map((line) => line.split(' ')[0])).size, 1, 'one epoch');
            for (const page of others) assert.deepStrictEqual(page.seen, first.seen, page.name);
            assert.ok(first.seen.length >= 60);
        } finally {
            fs.rmSync(directory, {recursive: true});
        }
    },

    async a_history_whose_disk_is_full_does_not_stop_the_chat() {
        const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'weft-chat-'));
        const file = path.join(directory, 'history.db');
        const text = 'x'.repeat(4000);
        try {
            // No file may be larger than 100 KiB.
            const bounded = ['-c', 'ulimit -f 200; exec "$@"', 'sh', program, '--port=0', '--history', file];
            const other = await startServer('sh', bounded);
            const ann = await connect({port: other.port});
            await ann.join('lobby', 'ann');
            for (let i = 0; i < 40; i++) {
                ann.send({type: 'say', text: `${i} ${text}`});
                assert.ok((await ann.nextOf('said')).text.startsWith(`${i} `));
                await sleep(60); // stays below the rate limit with its burst
            }
            assert.match((await request(other.port, '/metrics')).body, /^weft_bus_state 3$/m);
            const bob = await connect({port: other.port});
            assert.strictEqual((await bob.join('lobby', 'bob')).history.length, 40);
            assert.deepStrictEqual(await other.stop(), {code: 0, signal: null});
            const next = await startServer(program, ['--port=0', '--history', file]);
            const again = await connect({port: next.port});
            const {length} = (await again.join('lobby', 'ann')).history;
            assert.ok(length > 0 && length < 40, `${length} were written`);
            assert.deepStrictEqual(await next.stop(), {code: 0, signal: null});
        } finally {
            fs.rmSync(directory, {recursive: true});
        }
    },

    async a_history_belongs_to_one_chat_at_a_time() {
        const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'weft-chat-'));
        const file = path.join(directory, 'history.db');
        try {
            const one = await startServer(program, ['--port=0', '--history', file]);
            const two = spawnSync(program, ['--port=0', '--history', file], {encoding: 'utf8', timeout: TIMEOUT_MS});
            assert.strictEqual(two.status, 2);
            assert.match(two.stderr, /locked by another process/);
            const ann = await connect({port: one.port});
            await ann.join('lobby', 'ann');
            ann.send({type: 'say', text: 'still here'});
            assert.strictEqual((await ann.next()).text, 'still here');
            assert.deepStrictEqual(await one.stop(), {code: 0, signal: null});
        } finally {
            fs.rmSync(directory, {recursive: true});
        }
    },

    async a_history_that_cannot_be_used_is_an_error_with_a_sentence() {
        const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'weft-chat-'));
        const file = (name) => path.join(directory, name);
        fs.writeFileSync(file('corrupt'), 'this is no database at all, but rather long\n'.repeat(200));
        fs.mkdirSync(file('directory'));
        fs.writeFileSync(file('read-only'), '', {mode: 0o400});
        const bads = ['corrupt', 'directory', 'nowhere/history.db'];
        if (process.getuid() !== 0) bads.push('read-only'); // root writes everywhere
        try {
            for (const bad of bads) {
                const done = spawnSync(program, ['--port=0', '--history', file(bad)], {
                    encoding: 'utf8',
                    timeout: TIMEOUT_MS,
                });
                assert.ok([1, 2].includes(done.status), `${bad}: ${done.status} ${done.stderr}`);
                assert.match(done.stderr, /^weft-chat: cannot open the history \S+: .+$/m, bad);
                assert.ok(done.stderr.includes(file(bad)), done.stderr);
                assert.strictEqual(done.stdout, '');
            }
        } finally {
            fs.rmSync(directory, {recursive: true});
        }
    },

    async a_port_in_use_is_an_error_with_a_sentence() {
        const done = spawnSync(program, ['--port', String(server.port)], {encoding: 'utf8', timeout: TIMEOUT_MS});
        assert.strictEqual(done.status, 1);
        assert.match(done.stderr, /^weft-chat: cannot listen on 127\.0\.0\.1 port \d+: /m);
    },

    async a_signal_closes_with_1001_and_ends_with_0() {
        for (const signal of ['SIGTERM', 'SIGINT']) {
            const other = await startServer(program, ['--port=0', '--stats']);
            const ann = await connect({port: other.port});
            await ann.join('lobby', 'ann');
            other.process.kill('SIGUSR1');
            await until(() => other.output().includes('"messages_in":1'), 'the figures');
            const ended = other.stop(signal);
            assert.deepStrictEqual(await ann.next(), {closed: 1001});
            assert.deepStrictEqual(await ended, {code: 0, signal: null});
            const lines = other
                .output()
                .trim()
                .split('\n')
                .slice(1)
                .map((line) => JSON.parse(line));
            assert.strictEqual(lines.length, 2);
            assert.strictEqual(lines[1].closed, 1);
        }
    },

    async a_second_signal_does_not_wait() {
        const other = await startServer(program, ['--port=0', '--stop-deadline-ms=600000']);
        const ann = await connect({port: other.port});
        ann.answersClose = false;
        other.process.kill('SIGTERM');
        assert.deepStrictEqual(await ann.next(), {closing: 1001});
        assert.strictEqual(other.process.exitCode, null, 'it waits for the closing handshake');
        assert.deepStrictEqual(await other.stop('SIGTERM'), {code: 0, signal: null});
        ann.drop();
    },
};

async function main() {
    server = await startServer(program, ['--port', '0']);
    await run(Object.entries(tests), async () => {
        assert.deepStrictEqual(await server.stop(), {code: 0, signal: null});
        await within(server.exited, "the server's end");
    });
}

main().catch((e) => {
    console.error(e);
    process.exit(1);
});
