// Two instances as one chat, through a Redis Cluster that changes: node cluster_test.js PATH_TO_WEFT_CHAT [TEST...]
'use strict';

const assert = require('node:assert');
const {connect, request, run, startServer, until} = require('./harness.js');
const {Cluster} = require('./redis.js');

const program = process.argv[2];
if (!program) {
    console.error('usage: cluster_test.js PATH_TO_WEFT_CHAT [TEST...]');
    process.exit(2);
}

const PRESENCE_MS = 60000; // so that nobody is found or gone because it expires

const startInstance = (cluster) =>
    startServer(program, ['--port=0', '--bus', cluster.url, `--presence-timeout-ms=${PRESENCE_MS}`]);

// A room all of which is at the first master: what is said, and who comes and goes.
function roomAtTheFirst(cluster) {
    for (let i = 0; ; i++) {
        const slots = [`said:room ${i}.`, `who:room ${i}.`].map((topic) => cluster.slotOf(topic));
        if (slots.every((slot) => cluster.homeOf(slot) === 0)) return {room: `room ${i}`, slots};
    }
}

async function isUp(instance) {
    return /^weft_bus_state 1$/m.test((await request(instance.port, '/metrics')).body);
}

// Somebody in a room, and all that they hear there in order; what is said is told apart.
class Person {
    static async arrive(instance, room, name) {
        const p = new Person();
        p.name = name;
        p.connection = await connect({port: instance.port});
        p.answer = await p.connection.join(room, name);
        assert.strictEqual(p.answer.type, 'joined', JSON.stringify(p.answer));
        p.members = new Set(p.answer.members);
        p.said = [...p.answer.history];
        for (const m of p.connection.queue.splice(0)) p.hear(m);
        p.connection.put = (m) => p.hear(m);
        return p;
    }

    hear(m) {
        if (m.type === 'said') this.said.push(m);
        else if (m.type === 'came') this.members.add(m.name);
        else if (m.type === 'went') this.members.delete(m.name);
        else if (!this.isGone) this.trouble = m;
    }

    say(text) {
        this.connection.send({type: 'say', text});
    }

    leave() {
        this.isGone = true;
        this.connection.drop();
    }

    hasHeard(text) {
        return this.said.some((m) => m.text === text);
    }
}

const everybodyHears = (people, text) => until(() => people.every((p) => p.hasHeard(text)), `all hear "${text}"`);

function everybodySees(people, ...names) {
    const isIt = (p) => [...p.members].sort().join() === names.join();
    return until(() => people.every(isIt), `all see ${names}`);
}

// All was heard once, in one order and without a gap, by those who were there from the start.
function assertOneView(people, texts) {
    for (const p of people) {
        assert.strictEqual(p.trouble, undefined);
        assert.deepStrictEqual(p.said, people[0].said);
    }
    const {said} = people[0];
    assert.deepStrictEqual(said.map((m) => m.text).sort(), [...texts].sort());
    said.forEach((m, i) => assert.strictEqual(m.id, said[0].id + i, 'no number is left out'));
    assert.strictEqual(new Set(said.map((m) => m.epoch)).size, 1, 'it is one history');
}

async function assertGoodEnd(instances, cluster) {
    for (const s of instances) {
        await until(() => isUp(s), 'the bus is up');
        assert.match((await request(s.port, '/metrics')).body, /^weft_bus_lost_total 0$/m);
    }
    for (const s of instances) assert.deepStrictEqual(await s.stop(), {code: 0, signal: null});
    await cluster.end();
}

const tests = {
    async a_room_goes_on_when_its_master_is_killed() {
        const cluster = await Cluster.start(3);
        const instances = [await startInstance(cluster), await startInstance(cluster)];
        const {room} = roomAtTheFirst(cluster);
        const ann = await Person.arrive(instances[0], room, 'ann');
        const bob = await Person.arrive(instances[1], room, 'bob');
        const dan = await Person.arrive(instances[1], room, 'dan');
        await everybodySees([ann, bob, dan], 'ann', 'bob', 'dan');
        ann.say('before');
        await everybodyHears([ann, bob, dan], 'before');

        cluster.burySoon();
        await cluster.killWhenReplicated(cluster.masters[0], cluster.replica);
        for (let i = 0; i < 20; i++) (i % 2 ? ann : bob).say(`meanwhile ${i}`);
        dan.leave();
        const asked = await connect({port: instances[0].port});
        asked.send({type: 'join', room, name: 'dan'}); // the name is not free before it is known that he went
        await until(() => cluster.isMaster(cluster.replica), 'the replica takes over');
        for (let i = 0; i < 20; i++) await everybodyHears([ann, bob], `meanwhile ${i}`);
        asked.drop();
        await everybodySees([ann, bob], 'ann', 'bob');

        await cluster.masters[0].run();
        await cluster.isFollowed(cluster.masters[0]);
        bob.say('behind');
        await everybodyHears([ann, bob], 'behind');
        const eve = await Person.arrive(instances[1], room, 'eve');
        assert.strictEqual(eve.answer.gap, false);
        await everybodySees([ann, bob, eve], 'ann', 'bob', 'eve');
        const texts = ['before', 'behind', ...Array.from({length: 20}, (_, i) => `meanwhile ${i}`)];
        assertOneView([ann, bob, eve], texts);
        for (const p of [ann, bob, eve]) p.leave();
        await assertGoodEnd(instances, cluster);
    },

    async a_room_goes_on_while_its_slots_move() {
        const cluster = await Cluster.start(3);
        const instances = [await startInstance(cluster), await startInstance(cluster)];
        const {room, slots} = roomAtTheFirst(cluster);
        const [from, to] = cluster.masters;
        const ann = await Person.arrive(instances[0], room, 'ann');
        const bob = await Person.arrive(instances[1], room, 'bob');
        const texts = [];
        const everythingWorks = async (when) => {
            const dan = await Person.arrive(instances[1], room, 'dan');
            await everybodySees([ann, bob, dan], 'ann', 'bob', 'dan');
            for (const p of [ann, bob, dan]) p.say(`${p.name} ${when}`);
            for (const p of [ann, bob, dan]) {
                texts.push(`${p.name} ${when}`);
                await everybodyHears([ann, bob, dan], `${p.name} ${when}`);
            }
            dan.leave();
            await everybodySees([ann, bob], 'ann', 'bob');
        };

        await everythingWorks('before');
        for (const slot of slots) {
            cluster.beginMove(slot, from, to);
            await everythingWorks(`while ${slot} is to move`);
            assert.ok(cluster.moveKeys(slot, from, to) > 0);
            await everythingWorks(`while ${slot} is on its way`);
            cluster.endMove(slot, from, to);
            await everythingWorks(`when ${slot} has moved`);
        }
        const eve = await Person.arrive(instances[0], room, 'eve');
        assert.deepStrictEqual(eve.answer.members, ['ann', 'bob', 'eve']);
        assertOneView([ann, bob, eve], texts);
        for (const p of [ann, bob, eve]) p.leave();
        await assertGoodEnd(instances, cluster);
    },
};

run(Object.entries(tests)).catch((e) => {
    console.error(e);
    process.exit(1);
});
