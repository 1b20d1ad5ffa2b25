// Two pages in headless Chromium talk to each other:
//     node chat_test.js PATH_TO_WEFT_CHAT [--screenshots DIRECTORY] [--tls MAKE_CERTS] [TEST...]
//
// With --tls the tests are those over wss instead, with certificates of an authority that is made for them and that
// only the browser of the test trusts (by certutil).
//
// The browser is driven by its DevTools protocol over two pipes, so nothing has to be installed beside node
// and Chromium. Each page lives in a browser context of its own, as if two people had it open.
'use strict';

const assert = require('node:assert');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const {spawn, spawnSync} = require('node:child_process');
const {Redis, keepPort} = require('../chat/redis.js');
const {TIMEOUT_MS, connect, run, sleep, startServer, until, within} = require('../chat/harness.js');

const program = process.argv[2];
const flag = process.argv.indexOf('--screenshots');
const screenshots = flag > 0 ? process.argv.splice(flag, 2)[1] : null;
const tlsFlag = process.argv.indexOf('--tls');
const makeCerts = tlsFlag > 0 ? process.argv.splice(tlsFlag, 2)[1] : null;
const chromium = process.env.CHROMIUM || '/usr/bin/chromium';
if (!program) {
    console.error(
        'usage: chat_test.js PATH_TO_WEFT_CHAT [--screenshots DIRECTORY] [--tls MAKE_CERTS] [TEST...]'
    );
    process.exit(2);
}

// Evaluated in the page.
const TEXTS = '[...document.querySelectorAll("#log .said .text")].map((e) => e.textContent)';
const MEMBERS = '[...document.querySelectorAll("#members li")].map((e) => e.dataset.name)';

function mustRun(command, args) {
    const {status, stdout, stderr} = spawnSync(command, args, {encoding: 'utf8'});
    assert.strictEqual(status, 0, `${command} ${args.join(' ')}: ${stdout}${stderr}`);
}

// Chromium reads who is trusted from a database in the home directory.
function trust(home, authority) {
    const database = path.join(home, '.pki', 'nssdb');
    fs.mkdirSync(database, {recursive: true});
    mustRun('certutil', ['-d', `sql:${database}`, '-N', '--empty-password']);
    mustRun('certutil', ['-d', `sql:${database}`, '-A', '-t', 'C,,', '-n', 'authority of the test', '-i', authority]);
}

class Browser {
    // authority: the file of one that is trusted beside the usual ones.
    static async start({authority = null} = {}) {
        const browser = new Browser();
        browser.directory = fs.mkdtempSync(path.join(os.tmpdir(), 'weft-chat-browser-'));
        const home = path.join(browser.directory, 'home');
        fs.mkdirSync(home);
        if (authority) trust(home, authority);
        browser.process = spawn(
            chromium,
            [
                '--headless',
                '--no-sandbox',
                '--disable-gpu',
                '--disable-quic',
                '--no-first-run',
                '--disable-background-networking',
                '--disable-component-update',
                '--disable-sync',
                '--disable-dev-shm-usage',
                '--disable-extensions',
                '--disable-breakpad',
                '--mute-audio',
                '--no-proxy-server',
                '--remote-debugging-pipe',
                `--user-data-dir=${path.join(browser.directory, 'data')}`,
                'about:blank',
            ],
            {
                stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
                detached: true,
                env: {...process.env, HOME: home, XDG_DATA_HOME: path.join(home, '.local', 'share')},
            }
        );
        browser.ended = new Promise((resolve) => browser.process.on('exit', resolve));
        process.on('exit', () => browser.kill());
        browser.calls = new Map();
        browser.listeners = new Map(); // session -> function(method, params)
        browser.nextId = 1;
        browser.read(browser.process.stdio[4]);
        await browser.call('Browser.getVersion');
        return browser;
    }

    // Its own process group: the browser's helpers must not outlive the test.
    kill() {
        try {
            process.kill(-this.process.pid, 'SIGKILL');
        } catch {
            /* all gone already */
        }
    }

    read(pipe) {
        let rest = Buffer.alloc(0);
        pipe.on('error', () => {});
        pipe.on('data', (data) => {
            rest = Buffer.concat([rest, data]);
            for (let end = rest.indexOf(0); end >= 0; end = rest.indexOf(0)) {
                this.receive(JSON.parse(rest.subarray(0, end).toString('utf8')));
                rest = rest.subarray(end + 1);
            }
        });
    }

    receive(message) {
        if (message.id === undefined) {
            const listener = this.listeners.get(message.sessionId);
            if (listener) listener(message.method, message.params);
            return;
        }
        const {resolve, reject, method} = this.calls.get(message.id);
        this.calls.delete(message.id);
        if (message.error) reject(new Error(`${method}: ${message.error.message}`));
        else resolve(message.result);
    }

    call(method, params = {}, sessionId = undefined) {
        const id = this.nextId++;
        const answer = new Promise((resolve, reject) => this.calls.set(id, {resolve, reject, method}));
        this.process.stdio[3].write(JSON.stringify({id, method, params, sessionId}) + '\0');
        return within(answer, method);
    }

    async stop() {
        await this.call('Browser.close').catch(() => {});
        await within(this.ended, "the browser's end", 5000).catch(() => {});
        this.kill();
        fs.rmSync(this.directory, {recursive: true, force: true, maxRetries: 20, retryDelay: 100});
    }
}

class Page {
    static async open(browser, url, options = {}) {
        const page = await Page.blank(browser, options);
        await page.call('Page.navigate', {url});
        await page.until(
            'document.readyState === "complete" && document.body.dataset.state === "open"',
            'the page connects'
        );
        return page;
    }

    static async blank(browser, {phone = false, dark = false} = {}) {
        const page = new Page();
        page.browser = browser;
        page.faults = []; // whatever the console calls an error
        page.sockets = []; // URLs
        const {browserContextId} = await browser.call('Target.createBrowserContext');
        const {targetId} = await browser.call('Target.createTarget', {url: 'about:blank', browserContextId});
        const {sessionId} = await browser.call('Target.attachToTarget', {targetId, flatten: true});
        page.session = sessionId;
        page.context = browserContextId;
        browser.listeners.set(sessionId, (method, params) => page.event(method, params));
        for (const domain of ['Page', 'Runtime', 'Log', 'Network']) await page.call(`${domain}.enable`);
        await page.call('Emulation.setFocusEmulationEnabled', {enabled: true});
        await page.call(
            'Emulation.setDeviceMetricsOverride',
            phone
                ? {width: 390, height: 844, deviceScaleFactor: 2, mobile: true}
                : {width: 1100, height: 760, deviceScaleFactor: 1, mobile: false}
        );
        await page.call('Emulation.setEmulatedMedia', {
            features: [{name: 'prefers-color-scheme', value: dark ? 'dark' : 'light'}],
        });
        return page;
    }

    call(method, params) {
        return this.browser.call(method, params, this.session);
    }

    event(method, params) {
        if (method === 'Runtime.exceptionThrown')
            this.faults.push(params.exceptionDetails.exception?.description || params.exceptionDetails.text);
        else if (
            method === 'Runtime.consoleAPICalled' &&
            (params.type === 'error' || params.type === 'warning')
        )
            this.faults.push(params.args.map((a) => a.value).join(' '));
        else if (method === 'Network.webSocketCreated') this.sockets.push(params.url);
        else if (method === 'Log.entryAdded' && params.entry.level === 'error')
            this.faults.push(`${params.entry.text} ${params.entry.url || ''}`);
    }

    async evaluate(expression) {
        const {result, exceptionDetails} = await this.call('Runtime.evaluate', {
            expression,
            returnByValue: true,
            awaitPromise: true,
        });
        if (exceptionDetails)
            throw new Error(
                `${expression}: ${exceptionDetails.exception?.description || exceptionDetails.text}`
            );
        return result.value;
    }

    async until(condition, what, ms = TIMEOUT_MS) {
        const end = Date.now() + ms;
        for (;;) {
            // Between two documents there is nothing to evaluate in.
            if (await this.evaluate(condition).catch(() => false)) return;
            if (Date.now() > end)
                throw new Error(
                    `${what}: not within ${ms} ms; ${await this.evaluate('document.body.innerText')}`
                );
            await sleep(25);
        }
    }

    insert(text) {
        return this.call('Input.insertText', {text});
    }

    async key(key, modifiers = 0) {
        const codes = {Enter: 13, Tab: 9};
        const params = {
            key,
            code: key,
            modifiers,
            windowsVirtualKeyCode: codes[key],
            text: key === 'Enter' ? '\r' : undefined,
        };
        await this.call('Input.dispatchKeyEvent', {type: 'keyDown', ...params});
        await this.call('Input.dispatchKeyEvent', {type: 'keyUp', ...params, text: undefined});
    }

    // By keyboard alone: the name has the focus when the page opens.
    async join(room, name) {
        assert.strictEqual(await this.focused(), 'name');
        await this.insert(name);
        await this.key('Tab');
        assert.strictEqual(await this.focused(), 'room');
        await this.evaluate('document.activeElement.select()');
        await this.insert(room);
        await this.key('Enter');
        await this.untilState('joined');
        assert.strictEqual(await this.focused(), 'text');
    }

    async say(text) {
        await this.evaluate('document.getElementById("text").focus()');
        await this.insert(text);
        await this.key('Enter');
    }

    focused() {
        return this.evaluate('document.activeElement.id');
    }

    untilState(state) {
        return this.until(`document.body.dataset.state === ${JSON.stringify(state)}`, `the state ${state}`);
    }

    texts() {
        return this.evaluate(TEXTS);
    }

    async untilText(text) {
        await this.until(`${TEXTS}.includes(${JSON.stringify(text)})`, `the message ${JSON.stringify(text)}`);
    }

    members() {
        return this.evaluate(MEMBERS);
    }

    untilMembers(...names) {
        return this.until(`${MEMBERS}.join() === ${JSON.stringify(names.join())}`, `members ${names}`);
    }

    // A notice lasts a few seconds only: whether it was there since then.
    watchTyping() {
        return this.evaluate(`(() => {
            const typing = document.getElementById('typing');
            window.typings = [];
            new MutationObserver(() => typings.push(typing.textContent)).observe(typing, {childList: true});
        })()`);
    }

    untilTyping(text) {
        return this.until(`typings.includes(${JSON.stringify(text)})`, `the notice ${text}`);
    }

    text(id) {
        return this.evaluate(`document.getElementById(${JSON.stringify(id)}).textContent`);
    }

    async reload() {
        await this.evaluate('window.isOld = true');
        await this.call('Page.reload');
        await this.until('!window.isOld && document.readyState === "complete"', 'the reload');
    }

    // From now on a wait for the next attempt to connect lasts until comeBack: chance, which is half of it, says so.
    stayAway() {
        return this.evaluate('window.chance = Math.random; Math.random = () => 10000; undefined');
    }

    async comeBack() {
        await this.untilState('waiting');
        await this.evaluate(
            'Math.random = window.chance; document.getElementById("retry-now").click()'
        );
    }

    async screenshot(name) {
        if (!screenshots) return;
        const {data} = await this.call('Page.captureScreenshot', {format: 'png'});
        fs.mkdirSync(screenshots, {recursive: true});
        fs.writeFileSync(path.join(screenshots, `${name}.png`), Buffer.from(data, 'base64'));
    }

    async close() {
        this.browser.listeners.delete(this.session);
        await this.browser.call('Target.disposeBrowserContext', {browserContextId: this.context});
    }

    // Chromium calls each refused attempt to connect an error; no page can keep it from that.
    assertNoFaults({disconnected = false} = {}) {
        const faults = this.faults.filter(
            (f) => !(disconnected && /^WebSocket connection to|ERR_CONNECTION_REFUSED/.test(f))
        );
        assert.deepStrictEqual(faults, []);
        this.faults = [];
    }
}

let server;
let browser;
const url = () => `http://127.0.0.1:${server.port}/`;
const newPage = (options) => Page.open(browser, url(), options);

async function pair(room) {
    const ann = await newPage();
    const bob = await newPage({phone: true, dark: true});
    await ann.join(room, 'ann');
    await bob.join(room, 'bob');
    await ann.untilMembers('ann', 'bob');
    return [ann, bob];
}

async function closeAll(pages, faults) {
    for (const page of pages) {
        page.assertNoFaults(faults);
        await page.close();
    }
}

const tests = {
    async two_pages_talk_to_each_other() {
        const first = await newPage();
        await first.screenshot('join-desktop');
        await first.join('garden', 'ann');
        const second = await newPage({phone: true});
        await second.screenshot('join-phone');
        await second.join('garden', 'bob');
        await first.untilMembers('ann', 'bob');
        assert.deepStrictEqual(await second.members(), ['ann', 'bob']);
        await first.say('Hello Bob');
        await second.untilText('Hello Bob');
        await first.untilText('Hello Bob');
        assert.strictEqual(await first.evaluate('document.getElementById("text").value'), '');
        await second.say('Hello Ann');
        for (const page of [first, second]) await page.untilText('Hello Ann');
        assert.deepStrictEqual(await first.texts(), ['Hello Bob', 'Hello Ann']);
        assert.deepStrictEqual(await second.texts(), ['Hello Bob', 'Hello Ann']);
        const own = 'document.querySelectorAll("#log .said[data-own]").length';
        assert.strictEqual(await first.evaluate(own), 1);
        assert.strictEqual(await second.evaluate(own), 1);
        assert.ok(
            await first.evaluate(
                '[...document.querySelectorAll("#log time")].every((t) => !isNaN(Date.parse(t.dateTime)))'
            )
        );
        await second.evaluate('document.getElementById("leave").click()');
        await first.untilMembers('ann');
        await first.until('document.getElementById("log").textContent.includes("bob went")', 'a notice');
        assert.strictEqual(await second.focused(), 'room');
        await closeAll([first, second]);
    },

    async typing_is_shown_and_goes_away() {
        const [ann, bob] = await pair('typing');
        await ann.watchTyping();
        await bob.evaluate('document.getElementById("text").focus()');
        await bob.insert('I am');
        await ann.untilTyping('bob is typing\u2026');
        assert.strictEqual(await bob.text('typing'), '');
        await bob.key('Enter');
        await ann.untilText('I am');
        await ann.until('document.getElementById("typing").textContent === ""', 'its end');
        await ann.watchTyping();
        await bob.insert('again');
        await ann.untilTyping('bob is typing\u2026');
        await ann.until('document.getElementById("typing").textContent === ""', 'its end by time');
        await closeAll([ann, bob]);
    },

    async text_is_shown_as_it_was_written() {
        const [ann, bob] = await pair('<i>room</i>');
        const evil = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>&lt;';
        const many =
            'h\u00e9llo \u4f60\u597d \u0645\u0631\u062d\u0628\u0627 \u{1f469}\u200d\u{1f4bb} \u{1f1e9}';
        await ann.say(evil);
        await bob.untilText(evil);
        await bob.say(many);
        await ann.untilText(many);
        await ann.evaluate('document.getElementById("text").focus()');
        await ann.insert('one');
        await ann.key('Enter', 8); // with Shift: a new line
        await ann.insert('two');
        await ann.key('Enter');
        await bob.untilText('one\ntwo');
        for (const page of [ann, bob]) {
            assert.strictEqual(
                await page.evaluate('document.querySelectorAll("#log img, #log script, #chat i").length'),
                0
            );
            assert.strictEqual(await page.evaluate('typeof window.hacked'), 'undefined');
            assert.strictEqual(await page.text('room-title'), '<i>room</i>');
        }
        await closeAll([ann, bob]);
    },

    async a_taken_name_is_explained() {
        const ann = await newPage();
        await ann.join('lobby', 'ann');
        const other = await newPage();
        await other.insert('ann');
        await other.key('Enter');
        await other.until(
            'document.getElementById("join-error").textContent === "Name is taken."',
            'the error'
        );
        assert.strictEqual(await other.focused(), 'name');
        assert.strictEqual(
            await other.evaluate('document.getElementById("name").getAttribute("aria-invalid")'),
            'true'
        );
        await other.evaluate('document.activeElement.select()');
        await other.insert('eve');
        await other.key('Enter');
        await other.untilState('joined');
        assert.strictEqual(await other.text('room-title'), 'lobby');
        await closeAll([ann, other]);
    },

    async a_message_that_is_too_long_stays_in_the_box() {
        const ann = await newPage();
        await ann.join('long', 'ann');
        await ann.say('\u00e4'.repeat(2049));
        await ann.until(
            'document.getElementById("error").textContent === "This message is too long."',
            'the error'
        );
        assert.strictEqual(await ann.text('room-left'), '2 bytes too long');
        assert.strictEqual(await ann.evaluate('document.getElementById("text").value.length'), 2049);
        await ann.evaluate('document.getElementById("text").value = ""');
        await ann.say('x'.repeat(4096));
        await ann.untilText('x'.repeat(4096));
        await closeAll([ann]);
    },

    // More than the server takes at once, so many that a page which is slow to send them is too fast as well.
    async a_refused_message_comes_back_into_the_box() {
        const all = Array.from({length: 100}, (_, i) => `m${i}`);
        const ann = await newPage();
        await ann.join('fast', 'ann');
        await ann.evaluate(`(() => {
            const text = document.getElementById('text');
            for (const one of ${JSON.stringify(all)}) { // without input events, so that no typing notices count
                text.value = one;
                document.getElementById('composer').requestSubmit();
            }
        })()`);
        const lines = 'document.getElementById("text").value.split("\\n").filter(Boolean)';
        await ann.until(`${TEXTS}.length + ${lines}.length >= ${all.length}`, 'each was taken or came back');
        const said = await ann.texts();
        const back = await ann.evaluate(lines);
        assert.deepStrictEqual(all, all.filter((m) => said.includes(m) !== back.includes(m)));
        assert.ok(said.length >= 35 && back.length > 0, `${said.length} taken, ${back.length} came back`);
        assert.strictEqual(await ann.text('error'), 'Too fast.');
        await closeAll([ann]);
    },

    async a_reload_joins_again_and_shows_the_history_once() {
        const [ann, bob] = await pair('reload');
        for (const text of ['one', 'two', 'three']) {
            await ann.say(text);
            await bob.untilText(text);
        }
        await bob.reload();
        await bob.untilState('joined');
        await bob.untilText('three');
        assert.deepStrictEqual(await bob.texts(), ['one', 'two', 'three']);
        await ann.untilMembers('ann', 'bob');
        await bob.say('back');
        await ann.untilText('back');
        await bob.untilText('back');
        assert.deepStrictEqual(await bob.texts(), ['one', 'two', 'three', 'back']);
        await closeAll([ann, bob]);
    },

    // The server lives on here, so its history holds what the page shows already.
    async a_lost_connection_shows_each_message_once_when_it_is_back() {
        const [ann, bob] = await pair('lost');
        await ann.say('one');
        await bob.untilText('one');
        await bob.stayAway();
        await bob.evaluate(`(() => {
            document.getElementById('text').value = 'on its way';
            document.getElementById('composer').requestSubmit();
            dispatchEvent(new Event('offline'));
        })()`);
        await ann.untilText('on its way');
        await ann.untilMembers('ann');
        await ann.say('missed');
        await ann.untilText('missed');
        await bob.comeBack();
        await bob.untilState('joined');
        for (const text of ['on its way', 'missed']) await bob.untilText(text);
        for (const page of [ann, bob]) {
            assert.deepStrictEqual(await page.texts(), ['one', 'on its way', 'missed']);
            await page.untilMembers('ann', 'bob');
        }
        assert.strictEqual(await bob.evaluate('document.getElementById("text").value'), '');
        assert.strictEqual(await bob.text('error'), '');
        await closeAll([ann, bob]);
    },

    // As when the old connection is not known to be dead yet.
    async who_comes_back_waits_for_the_name_to_be_free() {
        const [ann, bob] = await pair('held');
        await bob.stayAway();
        await bob.evaluate('dispatchEvent(new Event("offline"))');
        await ann.untilMembers('ann');
        const holder = await connect({port: server.port});
        assert.strictEqual((await holder.join('held', 'bob')).type, 'joined');
        await bob.comeBack();
        await bob.until(
            'document.getElementById("status").textContent === "Your name is still in use, trying again"',
            'the status'
        );
        await holder.close();
        await bob.untilState('joined');
        await ann.untilMembers('ann', 'bob');
        await closeAll([ann, bob]);
    },

    async who_reads_older_messages_is_not_moved() {
        const [ann, bob] = await pair('scroll');
        await ann.evaluate(`(() => {
            for (let i = 0; i < 25; i++) {
                document.getElementById('text').value = 'line ' + i + '\\n.\\n.\\n.';
                document.getElementById('composer').requestSubmit();
            }
        })()`);
        await bob.untilText('line 24\n.\n.\n.');
        const atEnd =
            '(({scrollHeight, scrollTop, clientHeight}) => scrollHeight - scrollTop - clientHeight < 60)' +
            '(document.getElementById("log"))';
        assert.ok(await bob.evaluate(atEnd));
        await bob.evaluate(`new Promise((scrolled) => {
            document.getElementById('log').addEventListener('scroll', scrolled, {once: true});
            document.getElementById('log').scrollTop = 0;
        }).then(() => undefined)`);
        await ann.say('news');
        await bob.untilText('news');
        assert.strictEqual(await bob.evaluate('document.getElementById("log").scrollTop'), 0);
        assert.strictEqual(await bob.evaluate('document.getElementById("newer").hidden'), false);
        await bob.evaluate('document.getElementById("newer").click()');
        assert.ok(await bob.evaluate(atEnd));
        assert.strictEqual(await bob.evaluate('document.getElementById("newer").hidden'), true);
        await closeAll([ann, bob]);
    },

    async both_pages_come_back_by_themselves_after_a_restart() {
        const [ann, bob] = await pair('restart');
        await ann.say('before');
        await bob.untilText('before');
        assert.deepStrictEqual(await server.stop(), {code: 0, signal: null});
        for (const page of [ann, bob]) {
            await page.untilState('waiting');
            // At once, for attempts are made in between.
            await page.until(
                'document.getElementById("status").textContent === "Reconnecting" && ' +
                    '/^in \\d+ s$/.test(document.getElementById("countdown").textContent) && ' +
                    '!document.getElementById("retry-now").hidden',
                'the status, the countdown and the button'
            );
        }
        await ann.say('while it was away');
        await ann.until('/^Not connected/.test(document.getElementById("error").textContent)', 'the error');
        await ann.screenshot('reconnecting-desktop');
        await bob.screenshot('reconnecting-phone');
        for (const page of [ann, bob]) await until(() => page.sockets.length > 2, 'an attempt that fails, and one more');
        server = await startServer(program, ['--port', String(server.port)]);
        await ann.untilState('joined');
        await bob.untilState('joined');
        await ann.untilMembers('ann', 'bob');
        await ann.key('Enter');
        await bob.untilText('while it was away');
        await bob.say('after');
        for (const page of [ann, bob]) {
            await page.untilText('after');
            assert.deepStrictEqual(await page.texts(), ['before', 'while it was away', 'after']);
            assert.strictEqual(await page.text('status'), 'Connected');
            assert.strictEqual(await page.text('countdown'), '');
            assert.strictEqual(await page.text('error'), '');
        }
        await closeAll([ann, bob], {disconnected: true});
    },

    // Killed, so that nothing can be put right at the end; what bob says in between is not on the page yet.
    async a_page_goes_on_behind_its_last_message_after_a_kill() {
        const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'weft-chat-history-'));
        const args = ['--history', path.join(directory, 'history.db')];
        const kept = await keepPort();
        let other = await startServer(program, ['--port', String(kept.port), ...args]);
        const ann = await Page.open(browser, `http://127.0.0.1:${other.port}/`);
        await ann.join('kept', 'ann');
        for (const text of ['one', 'two', 'three']) {
            await ann.say(text);
            await ann.untilText(text);
        }
        await ann.stayAway();
        await other.stop('SIGKILL');
        await ann.untilState('waiting');
        other = await startServer(program, ['--port', String(other.port), ...args]);
        const bob = await connect({port: other.port});
        assert.deepStrictEqual(
            (await bob.join('kept', 'bob')).history.slice(0, 2).map((m) => m.text),
            ['one', 'two']
        );
        bob.send({type: 'say', text: 'missed'});
        await bob.nextOf('said');
        await ann.comeBack();
        await ann.untilText('missed');
        await ann.untilState('joined');
        await ann.untilMembers('ann', 'bob');
        await ann.say('four');
        await ann.untilText('four');
        assert.deepStrictEqual(await ann.texts(), ['one', 'two', 'three', 'missed', 'four']);
        assert.ok(!(await ann.text('log')).includes('may be missing'));
        await ann.screenshot('resumed-desktop');
        await bob.close();
        await closeAll([ann], {disconnected: true});
        await other.stop();
        kept.leave();
        fs.rmSync(directory, {recursive: true});
    },

    // The file tells a new epoch then: the room's messages come again under other numbers.
    async a_page_shows_nothing_twice_behind_a_power_cut() {
        const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'weft-chat-history-'));
        const file = path.join(directory, 'history.db');
        const kept = await keepPort();
        let other = await startServer(program, ['--port', String(kept.port), '--history', file]);
        const ann = await Page.open(browser, `http://127.0.0.1:${other.port}/`);
        await ann.join('kept', 'ann');
        for (const text of ['one', 'two', 'two']) await ann.say(text);
        await ann.until(`${TEXTS}.length === 3`, 'all are there');
        await other.stop('SIGKILL');
        await ann.untilState('waiting');
        const another = `import sqlite3; db = sqlite3.connect(${JSON.stringify(file)})
db.execute("UPDATE run SET boot = 'of another start of the machine'"); db.commit()`;
        assert.strictEqual(spawnSync('python3', ['-c', another], {stdio: 'inherit'}).status, 0);
        other = await startServer(program, ['--port', String(other.port), '--history', file]);
        await ann.untilState('joined');
        await ann.say('three');
        await ann.untilText('three');
        assert.deepStrictEqual(await ann.texts(), ['one', 'two', 'two', 'three']);
        assert.ok((await ann.text('log')).includes('may be missing'));
        await closeAll([ann], {disconnected: true});
        await other.stop();
        kept.leave();
        fs.rmSync(directory, {recursive: true});
    },

    async two_instances_are_one_room_and_one_may_die() {
        const redis = await Redis.start();
        const args = ['--bus', redis.url, '--presence-timeout-ms', '1500'];
        const kept = await keepPort();
        let a = await startServer(program, ['--port', String(kept.port), ...args]);
        const b = await startServer(program, ['--port', '0', ...args]);
        const ann = await Page.open(browser, `http://127.0.0.1:${a.port}/`);
        const bob = await Page.open(browser, `http://127.0.0.1:${b.port}/`, {phone: true, dark: true});
        await ann.join('far', 'ann');
        await bob.join('far', 'bob');
        for (const page of [ann, bob]) await page.untilMembers('ann', 'bob');
        await ann.say('Hello from here');
        await bob.untilText('Hello from here');
        await bob.say('Hello from there');
        await ann.untilText('Hello from there');
        await a.stop('SIGKILL');
        await ann.untilState('waiting');
        await bob.untilMembers('bob');
        await bob.say('Where are you?');
        await bob.untilText('Where are you?');
        a = await startServer(program, ['--port', String(a.port), ...args]);
        await ann.untilState('joined');
        await ann.untilText('Where are you?');
        await ann.say('Back again');
        await bob.untilText('Back again');
        await ann.untilText('Back again');
        for (const page of [ann, bob]) {
            await page.untilMembers('ann', 'bob');
            assert.deepStrictEqual(await page.texts(), [
                'Hello from here',
                'Hello from there',
                'Where are you?',
                'Back again',
            ]);
        }
        await ann.screenshot('two-instances-desktop');
        await bob.screenshot('two-instances-phone');
        await closeAll([ann, bob], {disconnected: true});
        for (const s of [a, b]) assert.deepStrictEqual(await s.stop(), {code: 0, signal: null});
        kept.leave();
        await redis.end();
    },

    async the_page_tells_a_screen_reader_what_is_what() {
        const ann = await newPage();
        await ann.join('names', 'ann');
        await ann.say('hello');
        await ann.untilText('hello');
        await ann.call('Accessibility.enable');
        const {nodes} = await ann.call('Accessibility.getFullAXTree');
        const seen = nodes.filter((n) => !n.ignored).map((n) => `${n.role?.value}:${n.name?.value || ''}`);
        for (const wanted of [
            'banner:',
            'main:',
            'heading:weft chat',
            'heading:names',
            'log:Messages',
            'complementary:Here now: 1',
            'list:Here now: 1',
            'textbox:Message',
            'button:Send',
            'button:Leave',
            'form:Write a message',
            'status:',
            'region:names',
        ])
            assert.ok(
                seen.includes(wanted),
                `${wanted} is in ${seen.filter((s) => !/InlineTextBox|StaticText/.test(s)).join(', ')}`
            );
        await closeAll([ann]);
    },

    async a_lively_room_looks_good() {
        const pages = [];
        for (const [name, options] of [
            ['Ann', {}],
            ['\u041e\u043b\u044c\u0433\u0430', {phone: true, dark: true}],
            ['bob', {phone: true}],
            ['Zo\u00eb', {dark: true}],
        ]) {
            const page = await newPage(options);
            await page.join('lobby', name);
            pages.push(page);
        }
        const [ann, olga, bob, zoe] = pages;
        await ann.say('Morning! Has anybody tried the new loom?');
        await ann.untilText('Morning! Has anybody tried the new loom?');
        await bob.say('Yes, it holds the warp very still.');
        await bob.say('And it does not mind a worker that sleeps on the job \u{1f604}');
        await ann.untilText('And it does not mind a worker that sleeps on the job \u{1f604}');
        await olga.say(
            '\u041f\u0440\u0438\u0432\u0435\u0442! A longer thought: the weft goes over and under, one row after ' +
                'the other, and each row is beaten up against the last before the next one begins.'
        );
        await zoe.say('\u00a1Hola! for (;;) {\n    weave();\n}');
        await ann.untilText('\u00a1Hola! for (;;) {\n    weave();\n}');
        await ann.say('Lovely.');
        await olga.untilText('Lovely.');
        await olga.watchTyping();
        await bob.evaluate('document.getElementById("text").focus()');
        await bob.insert('writing\u2026');
        await olga.untilTyping('bob is typing\u2026');
        await ann.screenshot('chat-desktop');
        await olga.screenshot('chat-phone-dark');
        await bob.screenshot('chat-phone');
        await zoe.screenshot('chat-desktop-dark');
        for (const page of pages)
            assert.ok(
                await page.evaluate(
                    '(({scrollWidth, scrollHeight}) => scrollWidth <= innerWidth && scrollHeight <= innerHeight)' +
                        '(document.documentElement)'
                ),
                'the page itself does not scroll'
            );
        await closeAll(pages);
    },
};

// --- over wss ---

const certs = makeCerts && fs.mkdtempSync(path.join(os.tmpdir(), 'weft-chat-certs-'));
const certOf = (name) => path.join(certs, name);
const serverArgs = (name, port = 0) => [
    ...['--port', String(port), '--cert', certOf(`${name}.pem`), '--key', certOf(`${name}.key`)],
];

const testsOverTls = {
    async two_pages_talk_to_each_other_over_wss() {
        const secure = `https://localhost:${server.port}/`;
        const ann = await Page.open(browser, secure);
        const bob = await Page.open(browser, secure, {phone: true});
        await ann.join('vault', 'ann');
        await bob.join('vault', 'bob');
        await ann.untilMembers('ann', 'bob');
        await ann.say('Nobody else hears this');
        await bob.untilText('Nobody else hears this');
        await bob.say('Only the loom');
        for (const page of [ann, bob]) {
            await page.untilText('Only the loom');
            assert.strictEqual(await page.evaluate('isSecureContext && location.protocol'), 'https:');
        }
        const wss = new Set(ann.sockets);
        assert.deepStrictEqual(wss.size, 1);
        for (const url of wss) assert.match(url, new RegExp(`^wss://localhost:${server.port}/`));
        await closeAll([ann, bob]);
    },

    async both_pages_come_back_over_wss_after_a_restart() {
        const ann = await Page.open(browser, `https://localhost:${server.port}/`);
        await ann.join('vault', 'ann');
        assert.deepStrictEqual(await server.stop(), {code: 0, signal: null});
        await ann.untilState('waiting');
        server = await startServer(program, serverArgs('server', server.port));
        await ann.untilState('joined');
        await ann.say('back');
        await ann.untilText('back');
        await closeAll([ann], {disconnected: true});
    },

    // Otherwise the tests above would show nothing.
    async a_certificate_of_another_authority_is_not_taken() {
        const other = await startServer(program, serverArgs('stranger'));
        const page = await Page.blank(browser);
        const {errorText} = await page.call('Page.navigate', {url: `https://localhost:${other.port}/`});
        assert.strictEqual(errorText, 'net::ERR_CERT_AUTHORITY_INVALID');
        await page.close();
        assert.deepStrictEqual(await other.stop(), {code: 0, signal: null});
    },
};

async function main() {
    if (makeCerts) {
        process.on('exit', () => fs.rmSync(certs, {recursive: true, force: true}));
        mustRun(makeCerts, [certs]);
    }
    const {port} = await keepPort(); // while a test has the server stopped, too
    server = await startServer(program, makeCerts ? serverArgs('server', port) : ['--port', String(port)]);
    browser = await Browser.start({authority: makeCerts && certOf('ca.pem')});
    await run(Object.entries(makeCerts ? testsOverTls : tests), async () => {
        await browser.stop();
        assert.deepStrictEqual(await server.stop(), {code: 0, signal: null});
    });
}

main().catch((e) => {
    console.error(e);
    process.exit(1);
});
