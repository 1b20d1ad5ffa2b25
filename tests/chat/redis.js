// A redis-server of a test's own: a free port, a directory that goes with it, everything on disk at once.
'use strict';

const assert = require('node:assert');
const fs = require('node:fs');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const {spawn, spawnSync} = require('node:child_process');
const {TIMEOUT_MS, sleep, within} = require('./harness.js');

function freePort() {
    return new Promise((resolve, reject) => {
        const listener = net.createServer();
        listener.on('error', reject);
        listener.listen(0, '127.0.0.1', () => {
            const {port} = listener.address();
            listener.close(() => resolve(port));
        });
    });
}

class Redis {
    static async start() {
        const redis = new Redis();
        redis.directory = fs.mkdtempSync(path.join(os.tmpdir(), 'weft-redis-'));
        // Somebody else may have taken the port meanwhile.
        do redis.port = await freePort();
        while (!(await redis.begins()));
        redis.url = `redis://127.0.0.1:${redis.port}`;
        return redis;
    }

    async run() {
        assert.ok(await this.begins(), `redis-server ended: ${this.process.exitCode}`);
    }

    // False: it has ended at once.
    async begins() {
        const args = ['--port', this.port, '--bind', '127.0.0.1', '--dir', this.directory, '--save', ''];
        args.push('--appendonly', 'yes', '--appendfsync', 'always', '--daemonize', 'no');
        const child = spawn('redis-server', args.map(String), {stdio: 'ignore'});
        this.process = child;
        this.exited = new Promise((resolve) => child.on('exit', resolve));
        const kill = () => child.kill('SIGKILL');
        process.on('exit', kill);
        this.exited.then(() => process.off('exit', kill));
        for (const end = Date.now() + TIMEOUT_MS; this.cli('PING') !== 'PONG'; await sleep(50)) {
            if (child.exitCode !== null) return false;
            assert.ok(Date.now() < end, 'redis-server answers');
        }
        return child.exitCode === null; // else it is another's that answers
    }

    cli(...args) {
        const done = spawnSync('redis-cli', ['-h', '127.0.0.1', '-p', String(this.port), ...args], {
            encoding: 'utf8',
            timeout: TIMEOUT_MS,
        });
        return done.stdout.trim();
    }

    async stop(signal = 'SIGTERM') {
        this.process.kill(signal);
        await within(this.exited, `redis-server after ${signal}`);
    }

    async end() {
        await this.stop('SIGKILL');
        fs.rmSync(this.directory, {recursive: true, force: true});
    }
}

module.exports = {Redis};
