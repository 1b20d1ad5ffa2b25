// Several instances as one chat, through real Redis servers: node scale_test.js PATH_TO_WEFT_CHAT [TEST...]
'use strict';

const assert = require('node:assert');
const {connect, request, run, sleep, startServer, until} = require('./harness.js');
const {Redis} = require('./redis.js');

const program = process.argv[2];
if (!program) {
    console.error('usage: scale_test.js PATH_TO_WEFT_CHAT [TEST...]');
    process.exit(2);
}

const PRESENCE_MS = 3000; // of who is found to be dead; else nobody is gone because it expires
const LASTING = '--presence-timeout-ms=60000';
const INSTANCES = 3;
const CLIENTS = 300;
const ROOMS = 30;

const startInstance = (redis, ...args) =>
    startServer(program, ['--port=0', '--bus', redis.url, `--presence-timeout-ms=${PRESENCE_MS}`, ...args]);

// A client as the page is one: comes back when it was lost, elsewhere if need be, goes on behind what it has seen,
// and says again what turns out not to have been said.
class Person {
    constructor(ports, at, room, name) {
        Object.assign(this, {ports, at, room, name});
        this.seen = []; // "epoch-id text"
        this.members = new Set();
        this.own = []; // said and not heard yet
        this.gaps = 0;
        this.comeBacks = 0;
        this.isIn = false;
        this.isHome = false; // does not come back
    }

    async arrive() {
        while (!this.isHome) {
            try {
                this.connection = await connect({port: this.ports[this.at % this.ports.length]});
                break;
            } catch {
                this.at++;
                await sleep(100);
            }
        }
        if (this.isHome) return;
        for (const m of this.connection.queue.splice(0)) this.hear(m);
        this.connection.put = (m) => this.hear(m);
        this.ask();
    }

    ask() {
        this.connection.send({type: 'join', room: this.room, name: this.name, ...this.place});
    }

    hear(m) {
        if (m.closed) this.lost();
        else this[m.type](m);
    }

    lost() {
        this.isIn = false;
        this.missing = null;
        this.comeBacks++;
        this.at++;
        this.arrive();
    }

    joined(m) {
        this.members = new Set(m.members);
    }

    history(m) {
        this.gaps += m.gap;
        this.missing = m.count;
        this.settle();
    }

    said(m) {
        this.place = {epoch: m.epoch, offset: m.id};
        this.seen.push(`${m.epoch}-${m.id} ${m.text}`);
        this.own = this.own.filter((text) => text !== m.text);
        if (this.missing) {
            this.missing--;
            this.settle();
        }
    }

    settle() {
        if (this.missing !== 0 || this.isIn) return;
        this.isIn = true;
        for (const text of this.own) this.connection.send({type: 'say', text});
    }

    came(m) {
        this.members.add(m.name);
    }

    went(m) {
        this.members.delete(m.name);
    }

    error(m) {
        assert.strictEqual(m.reason, 'name is taken'); // our old instance is not known to be dead yet
        setTimeout(() => this.isHome || this.ask(), 300);
    }

    say(text) {
        this.own.push(text);
        if (this.isIn) this.connection.send({type: 'say', text});
    }

    goHome() {
        this.isHome = true;
        if (this.connection) this.connection.drop();
    }
}

function texts(person) {
    return person.seen.map((line) => line.slice(line.indexOf(' ') + 1));
}

// Who is there is looked at until it is right: where this machine pauses, names may be away for a moment.
async function assertOneView(people, room) {
    const here = people.filter((p) => p.room === room && !p.isHome);
    const names = here.map((p) => p.name).sort().join();
    const [first, ...others] = here;
    await until(() => here.every((p) => [...p.members].sort().join() === names), `all see who is in ${room}`);
    for (const p of others) assert.deepStrictEqual(p.seen, first.seen, `${p.name} sees what ${first.name} sees`);
    assert.strictEqual(new Set(texts(first)).size, first.seen.length, 'nothing is there twice');
    return first;
}

const tests = {
    async two_instances_are_one_chat() {
        const redis = await Redis.start();
        const a = await startInstance(redis, LASTING);
        const b = await startInstance(redis, LASTING);
        const ann = await connect({port: a.port});
        assert.deepStrictEqual((await ann.join('lobby *', 'ann')).members, ['ann']);
        const bob = await connect({port: b.port});
        assert.deepStrictEqual(await bob.join('lobby *', 'ann'), {type: 'error', reason: 'name is taken'});
        assert.deepStrictEqual((await bob.join('lobby *', 'bob')).members, ['ann', 'bob']);
        assert.deepStrictEqual(await ann.next(), {type: 'came', name: 'bob'});
        ann.send({type: 'say', text: 'over there'});
        const said = await bob.next();
        assert.strictEqual(said.text, 'over there');
        assert.deepStrictEqual(await ann.next(), said);
        bob.send({type: 'typing'});
        assert.deepStrictEqual(await ann.next(), {type: 'typing', name: 'bob'});
        await bob.close();
        assert.deepStrictEqual(await ann.next(), {type: 'went', name: 'bob'});
        const eve = await connect({port: b.port});
        assert.deepStrictEqual((await eve.join('lobby *', 'eve')).history, [said]);
        assert.match((await request(a.port, '/metrics')).body, /^weft_bus_state 1$/m);
        await eve.close();
        await ann.close();
        for (const s of [a, b]) assert.deepStrictEqual(await s.stop(), {code: 0, signal: null});
        await redis.end();
    },

    async of_many_who_want_one_name_at_once_one_gets_it() {
        const redis = await Redis.start();
        const instances = [];
        for (let i = 0; i < INSTANCES; i++) instances.push(await startInstance(redis, LASTING));
        for (let round = 0; round < 10; round++) {
            const people = [];
            for (let i = 0; i < 12; i++) people.push(await connect({port: instances[i % INSTANCES].port}));
            const answers = await Promise.all(people.map((c) => c.join(`room ${round}`, 'ann')));
            assert.strictEqual(answers.filter((m) => m.type === 'joined').length, 1);
            for (const m of answers.filter((x) => x.type !== 'joined'))
                assert.deepStrictEqual(m, {type: 'error', reason: 'name is taken'});
            for (const c of people) c.drop();
        }
        for (const s of instances) await s.stop();
        await redis.end();
    },

    async people_of_a_killed_instance_leave() {
        const redis = await Redis.start();
        const a = await startInstance(redis);
        const b = await startInstance(redis);
        const ann = await connect({port: a.port});
        const bob = await connect({port: b.port});
        await ann.join('lobby', 'ann');
        await bob.join('lobby', 'bob');
        assert.deepStrictEqual(await ann.next(), {type: 'came', name: 'bob'});
        b.process.kill('SIGKILL');
        const before = Date.now();
        assert.deepStrictEqual(await ann.next(), {type: 'went', name: 'bob'});
        const ms = Date.now() - before;
        assert.ok(ms < 1.5 * PRESENCE_MS + 10000, `noticed after ${ms} ms`); // chat.h says when; and a machine may be busy
        console.log(`     noticed after ${ms} ms (timeout ${PRESENCE_MS})`);
        await ann.close();
        await a.stop();
        await redis.end();
    },

    // Redis loses all it had: a new epoch, and everybody is told.
    async a_redis_that_lost_everything_is_a_gap_and_the_chat_goes_on() {
        const redis = await Redis.start();
        const a = await startInstance(redis);
        const ann = await connect({port: a.port});
        await ann.join('lobby', 'ann');
        ann.send({type: 'say', text: 'before'});
        const before = await ann.next();
        // What Redis has not answered yet is published once more.
        await until(async () => /^weft_bus_queued_bytes 0$/m.test((await request(a.port, '/metrics')).body), 'it is answered');
        redis.cli('FLUSHALL');
        await redis.stop('SIGKILL');
        await redis.run();
        ann.send({type: 'say', text: 'after'});
        const after = await ann.nextOf('said');
        assert.strictEqual(after.text, 'after');
        assert.notStrictEqual(after.epoch, before.epoch);
        const bob = await connect({port: a.port});
        const joined = await bob.join('lobby', 'bob', {epoch: before.epoch, offset: before.id});
        assert.strictEqual(joined.gap, true);
        assert.deepStrictEqual(joined.history, [after]);
        await bob.close();
        await ann.close();
        await a.stop();
        await redis.end();
    },

    async everybody_sees_the_same_over_a_killed_instance_and_a_restart_of_redis() {
        const began = Date.now();
        const redis = await Redis.start();
        const instances = [];
        for (let i = 0; i < INSTANCES; i++) instances.push(await startInstance(redis));
        const ports = instances.map((s) => s.port);
        const people = [];
        for (let i = 0; i < CLIENTS; i++)
            people.push(new Person(ports, (i + Math.floor(i / ROOMS)) % INSTANCES, `room ${i % ROOMS}`, `p${i}`));
        let said = 0;
        const everybodySays = async (what) => {
            for (const [i, p] of people.entries()) {
                if (p.isHome) continue;
                p.say(`${p.name} ${what}`);
                said++;
                if (i % 30 === 0) await sleep(15);
            }
        };
        for (const [i, p] of people.entries()) {
            p.arrive();
            if (i % 30 === 0) await sleep(20);
        }
        await until(() => people.every((p) => p.isIn), 'all are in');
        await everybodySays('one');

        const killed = instances.pop();
        const stranded = people.filter((p) => p.at % INSTANCES === INSTANCES - 1);
        const dying = everybodySays('two');
        await sleep(60);
        killed.process.kill('SIGKILL');
        await dying;
        for (const p of stranded.slice(0, 15)) p.goHome(); // in 15 rooms somebody is never seen again
        await everybodySays('three');

        await redis.stop();
        await everybodySays('four');
        await sleep(700);
        await redis.run();
        await everybodySays('five');
        await until(() => people.every((p) => p.isHome || (p.isIn && p.own.length === 0)), 'all is said');
        await everybodySays('six');
        await until(() => people.every((p) => p.isHome || p.own.length === 0), 'all is said again');
        const gone = new Set(people.filter((p) => p.isHome).map((p) => p.name));
        await until(
            () => people.every((p) => p.isHome || ![...p.members].some((name) => gone.has(name))),
            'the dead are gone'
        );
        const words = ['one', 'two', 'three', 'four', 'five', 'six'];
        for (let room = 0; room < ROOMS; room++) {
            const here = people.filter((p) => p.room === `room ${room}` && !p.isHome);
            const all = here.flatMap((p) => words.map((what) => `${p.name} ${what}`));
            const hasAll = (p) => all.every((text) => texts(p).includes(text)) && here.every((q) => p.members.has(q.name));
            await until(() => here.every(hasAll), `room ${room} has heard all that its people said`);
        }
        await sleep(PRESENCE_MS); // some looks more, which must not change anything

        let seen = 0;
        for (let room = 0; room < ROOMS; room++) {
            const one = await assertOneView(people, `room ${room}`);
            const there = new Set(texts(one));
            for (const p of people.filter((q) => q.room === one.room && !q.isHome))
                for (const what of words)
                    assert.ok(there.has(`${p.name} ${what}`), `${p.name} ${what} is in ${p.room}`);
            seen += one.seen.length;
        }
        assert.strictEqual(people.reduce((sum, p) => sum + p.gaps, 0), 0);
        assert.ok(stranded.every((p) => p.isHome || p.comeBacks > 0));
        console.log(
            `     ${CLIENTS} people in ${ROOMS} rooms said ${said}, each view has all ${seen};` +
                ` ${stranded.length} lost their instance; ${Date.now() - began} ms`
        );
        for (const p of people) p.goHome();
        for (const s of instances) assert.deepStrictEqual(await s.stop(), {code: 0, signal: null});
        await redis.end();
    },
};

run(Object.entries(tests)).catch((e) => {
    console.error(e);
    process.exit(1);
});
