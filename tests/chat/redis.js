// A redis-server of a test's own: a free port, a directory that goes with it, everything on disk at once.
'use strict';

const assert = require('node:assert');
const fs = require('node:fs');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const {spawn, spawnSync} = require('node:child_process');
const {sleep, within} = require('./harness.js');

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
        redis.port = await freePort();
        redis.url = `redis://127.0.0.1:${redis.port}`;
        redis.directory = fs.mkdtempSync(path.join(os.tmpdir(), 'weft-redis-'));
        await redis.run();
        return redis;
    }

    async run() {
        const args = ['--port', this.port, '--bind', '127.0.0.1', '--dir', this.directory, '--save', ''];
        args.push('--appendonly', 'yes', '--appendfsync', 'always', '--daemonize', 'no');
        const child = spawn('redis-server', args.map(String), {stdio: 'ignore'});
        this.process = child;
        this.exited = new Promise((resolve) => child.on('exit', resolve));
        const kill = () => child.kill('SIGKILL');
        process.on('exit', kill);
        this.exited.then(() => process.off('exit', kill));
        for (let i = 0; this.cli('PING') !== 'PONG'; i++) {
            assert.ok(i < 200 && child.exitCode === null, 'redis-server answers');
            await sleep(50);
        }
    }

    cli(...args) {
        const done = spawnSync('redis-cli', ['-h', '127.0.0.1', '-p', String(this.port), ...args], {
            encoding: 'utf8',
            timeout: 10000,
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
