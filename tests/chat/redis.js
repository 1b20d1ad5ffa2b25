// A redis-server of a test's own: a port and a directory that go with it, and what it has answered outlives its being
// killed. And several of them as a Redis Cluster.
'use strict';

const assert = require('node:assert');
const fs = require('node:fs');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const {spawn, spawnSync} = require('node:child_process');
const {TIMEOUT_MS, sleep, until, within} = require('./harness.js');

const listening = new Promise((resolve, reject) => {
    const listener = net.createServer().unref();
    listener.on('connection', (socket) => socket.on('error', () => {}).unref());
    listener.on('error', reject);
    listener.listen(0, '127.0.0.1', () => resolve(listener.address().port));
});

// Resolves to {port, leave()}: a port that nobody else gets, whether a server listens there just now or not. It is that
// of a connection; all sockets of Node have SO_REUSEADDR, so that a server which has it, too, may listen there.
async function keepPort() {
    const socket = net.connect({host: '127.0.0.1', port: await listening, localAddress: '127.0.0.1'}).unref();
    await new Promise((resolve, reject) => socket.on('connect', resolve).on('error', reject));
    return {port: socket.localPort, leave: () => socket.destroy()};
}

class Redis {
    // moreOf: gives further arguments for another port
    static async start(moreOf = () => []) {
        const redis = new Redis();
        redis.directory = fs.mkdtempSync(path.join(os.tmpdir(), 'weft-redis-'));
        redis.kept = [await keepPort(), await keepPort()];
        [redis.port, redis.busPort] = redis.kept.map(({port}) => port);
        redis.more = moreOf(redis.busPort);
        redis.url = `redis://127.0.0.1:${redis.port}`;
        await redis.run();
        return redis;
    }

    async run() {
        const args = ['--port', this.port, '--bind', '127.0.0.1', '--dir', this.directory, '--save', ''];
        args.push('--appendonly', 'yes', '--appendfsync', 'no', '--daemonize', 'no', ...this.more);
        const child = spawn('redis-server', args.map(String), {stdio: 'ignore'});
        this.process = child;
        this.exited = new Promise((resolve) => child.on('exit', resolve));
        const kill = () => child.kill('SIGKILL');
        process.on('exit', kill);
        this.exited.then(() => process.off('exit', kill));
        for (const end = Date.now() + TIMEOUT_MS; this.cli('PING') !== 'PONG'; await sleep(50)) {
            assert.strictEqual(child.exitCode, null, 'redis-server ended');
            assert.ok(Date.now() < end, 'redis-server answers');
        }
    }

    cli(...args) {
        const done = spawnSync('redis-cli', ['-h', '127.0.0.1', '-p', String(this.port), ...args.map(String)], {
            encoding: 'utf8',
            timeout: TIMEOUT_MS,
        });
        return done.stdout.trim();
    }

    // What must be done.
    demand(...args) {
        assert.strictEqual(this.cli(...args), 'OK', args.join(' '));
    }

    async stop(signal = 'SIGTERM') {
        this.process.kill(signal);
        await within(this.exited, `redis-server after ${signal}`);
    }

    async end() {
        await this.stop('SIGKILL');
        for (const port of this.kept) port.leave();
        fs.rmSync(this.directory, {recursive: true, force: true});
    }
}

const SLOTS = 16384;

// Masters that share all slots evenly, and a replica of the first. Who is only slow is not taken for dead.
class Cluster {
    static async start(masters) {
        const cluster = new Cluster();
        cluster.servers = [];
        for (let i = 0; i <= masters; i++) {
            const server = await Redis.start((busPort) => [
                ...['--cluster-enabled', 'yes', '--cluster-node-timeout', '60000', '--cluster-port', busPort],
                ...['--cluster-require-full-coverage', 'no', '--cluster-allow-replica-migration', 'no'],
                ...['--repl-diskless-sync-delay', '0'],
            ]);
            server.id = server.cli('CLUSTER', 'MYID');
            cluster.servers.push(server);
        }
        cluster.masters = cluster.servers.slice(0, masters);
        cluster.replica = cluster.servers[masters];
        cluster.url = `redis://${cluster.masters.map((s) => `127.0.0.1:${s.port}`).join(',')}`;
        await cluster.comeTogether();
        return cluster;
    }

    async comeTogether() {
        for (const [i, s] of this.masters.entries()) {
            const at = (n) => Math.ceil((n * SLOTS) / this.masters.length);
            s.demand('CLUSTER', 'ADDSLOTSRANGE', at(i), at(i + 1) - 1);
            s.demand('CLUSTER', 'SET-CONFIG-EPOCH', i + 1);
        }
        // Each to each, for rumours take their time.
        for (const [i, s] of this.servers.entries())
            for (const other of this.servers.slice(0, i)) other.demand('CLUSTER', 'MEET', '127.0.0.1', s.port, s.busPort);
        const allSay = (what, ...words) => (s) => words.every((word) => s.cli('CLUSTER', what).includes(word));
        const ids = this.servers.map((s) => s.id);
        await until(() => this.servers.every(allSay('NODES', ...ids)), 'all know each other');
        this.replica.demand('CLUSTER', 'REPLICATE', this.masters[0].id);
        await this.isFollowed(this.replica);
        const isWhole = allSay('INFO', 'cluster_state:ok', `cluster_slots_assigned:${SLOTS}\r`);
        await until(() => this.servers.every(isWhole), 'the cluster is whole');
        await until(() => this.servers.every(allSay('NODES', `slave ${this.masters[0].id}`)), 'all know the replica');
    }

    // From now on a server that is away is found to be dead, soon.
    burySoon() {
        for (const s of this.servers) s.demand('CONFIG', 'SET', 'cluster-node-timeout', 1000);
    }

    isFollowed(replica) {
        const isUp = () => replica.cli('INFO', 'replication').includes('master_link_status:up');
        return until(isUp, 'the replica has what its master has');
    }

    slotOf(topic) {
        return Number(this.servers[0].cli('CLUSTER', 'KEYSLOT', `{t:${topic}}`));
    }

    // The number of the master that had the slot at the start.
    homeOf(slot) {
        return Math.floor((slot * this.masters.length) / SLOTS);
    }

    // The parts of moving a slot, for all to see.
    beginMove(slot, from, to) {
        to.demand('CLUSTER', 'SETSLOT', slot, 'IMPORTING', from.id);
        from.demand('CLUSTER', 'SETSLOT', slot, 'MIGRATING', to.id);
    }

    moveKeys(slot, from, to) {
        const keys = from.cli('CLUSTER', 'GETKEYSINSLOT', slot, 100).split('\n').filter(Boolean);
        if (keys.length) from.demand('MIGRATE', '127.0.0.1', to.port, '', 0, 5000, 'KEYS', ...keys);
        return keys.length;
    }

    endMove(slot, from, to) {
        for (const s of [to, from]) s.demand('CLUSTER', 'SETSLOT', slot, 'NODE', to.id);
    }

    // Killed with nothing that only it knows: replication is asynchronous, and what a replica lacks is a new epoch.
    async killWhenReplicated(master, replica) {
        const offset = (s) => /master_repl_offset:(\d+)/.exec(s.cli('INFO', 'replication'))[1];
        master.demand('CLIENT', 'PAUSE', 60000, 'WRITE');
        await until(() => offset(master) === offset(replica), 'the replica has everything');
        await master.stop('SIGKILL');
    }

    isMaster(server) {
        return server.cli('ROLE').startsWith('master');
    }

    async end() {
        for (const s of this.servers) await s.end();
    }
}

module.exports = {Cluster, Redis, keepPort};
