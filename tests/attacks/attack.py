"""What every group of attacks needs: a server under watch, a peer that says anything, and cases by name.

A group is a list of functions in one file, each an attack with a sentence for a name, run by

    python3 tests/attacks/GROUP.py WEFT_ECHO [--chat WEFT_CHAT] [CASE...]

Each server is a process of its own on a free port, and is ended by its id. Around an attack stand bounds for its
memory (the peak of VmHWM, reset by /proc/PID/clear_refs) and its processor time (/proc/PID/task/*/schedstat), which hold on a
machine that is busy with other things, and behind it the server has to serve as before. What all servers of a case have taken
together is measured and bounded for every case, whatever stands in it. Against a server built with
AddressSanitizer the bounds are wider, and what it finds, leaks at the end too, fails the case. Only the standard library is
used, and none of weft's code."""
import argparse
import base64
import contextlib
import hashlib
import os
import re
import resource
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time
import traceback

PATIENCE_S = 60
MIB = 1 << 20
KEY = 'dGhlIHNhbXBsZSBub25jZQ=='
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
FIN, RSV1 = 0x80, 0x40
# AddressSanitizer surrounds each block, keeps freed ones for a while and nothing for reuse: bounds are wider then.
SANITIZED_OPTIONS = ':quarantine_size_mb=8:allocator_may_return_null=1'
SANITIZED_TIMES, SANITIZED_MIB, SANITIZED_CPU = 4, 32, 6
TLS_MIB, TLS_CPU_S = 8, 1  # what the first handshakes take, and the cipher
MODES = {'pool': [], 'inline': ['--inline']}
# Of a case, over what its servers have when they listen: each of them in memory, all of them in processor time.
CASE_MIB, CASE_CPU_S = 64, 6


class Failed(Exception):
    pass


class Skip(Exception):
    pass


class Chat(str):
    """The path of weft-chat, where a case expects weft-echo: it is served at another path and answers otherwise."""


class OverTls(str):
    """The path of a program that is to be reached through TLS."""


class ChatOverTls(Chat, OverTls):
    pass


certs = tempfile.TemporaryDirectory()


def make_certs(programs):
    if '--cert' not in programs.help:
        raise Skip('weft-echo has no TLS')
    if not programs.make_certs:
        raise Skip('there is no --make-certs')
    if not os.path.exists(f'{certs.name}/server.pem'):
        subprocess.run([programs.make_certs, certs.name], check=True, capture_output=True)
    return ['--cert', f'{certs.name}/server.pem', '--key', f'{certs.name}/server.key']


def chat_of(programs):
    if not programs.chat:
        raise Skip('there is no weft-chat')
    return programs.chat


def more_than_sockets_hold():
    """Bytes: what the system may keep of one connection between two programs that do not read, and some."""
    most = [int(open(f'/proc/sys/net/ipv4/tcp_{side}').read().split()[2]) for side in ('rmem', 'wmem')]
    return most[0] + 2 * most[1] + 8 * MIB


def check(what, *said):
    if not what:
        raise Failed(' '.join(str(s) for s in said) or 'not so')


def wait_for(condition, what, patience_s=PATIENCE_S):
    end = time.monotonic() + patience_s
    while True:
        result = condition()
        if result:
            return result
        check(time.monotonic() < end, 'did not come true:', what)
        time.sleep(0.01)


# --- the server


def is_sanitized(program):
    with open(program, 'rb') as f:
        return b'__asan_init' in f.read()


class Cost:
    mib = cpu_s = wall_s = 0.0

    def __str__(self):
        return f'{self.mib:.1f} MiB, {self.cpu_s:.2f} s of processor in {self.wall_s:.2f} s'


class Server:
    """Until the with statement ends, which demands that SIGTERM ends it with 0."""
    of_case = []  # all that a case has started
    path_of_case = '/'

    def __init__(self, program, *options, files_max=None, stop_s=PATIENCE_S, mib_max=CASE_MIB):
        self.options = [str(o) for o in options]
        self.is_chat, self.is_tls = isinstance(program, Chat), isinstance(program, OverTls)
        self.mib_max = mib_max  # in a case that has no better bound
        self.began_mib = self.peak_mib = self.taken_cpu_s = 0.0
        self.stop_s = stop_s
        self.output = tempfile.TemporaryFile()

        def limit():
            if files_max:
                resource.setrlimit(resource.RLIMIT_NOFILE, (files_max, files_max))
        environment = {k: v for k, v in os.environ.items() if k != 'MALLOC_PERTURB_'}  # it touches all that is allocated
        self.is_sanitized = is_sanitized(program)
        if self.is_sanitized:
            environment['ASAN_OPTIONS'] = environment.get('ASAN_OPTIONS', '') + SANITIZED_OPTIONS
        self.process = subprocess.Popen(
            [program, '--port', '0', '--stats', '--log-level', 'error', *self.options],
            stdin=subprocess.DEVNULL, stdout=self.output, stderr=subprocess.STDOUT, preexec_fn=limit,
            env=environment)
        self.pid = self.process.pid
        try:
            address = wait_for(self.address, 'the server listens')
        except Failed:
            self.kill()
            raise
        self.port = int(address.rsplit(':', 1)[1])
        self.began_mib = self.status_kib('VmRSS') / 1024
        self.began_cpu_s = self.cpu_s()
        Server.of_case.append(self)

    def said(self):
        return os.pread(self.output.fileno(), 1 << 24, 0).decode(errors='replace')

    def address(self):
        check(self.process.poll() is None, 'the server ended:', self.said())
        found = re.search(r'^listening on (\S+)$', self.said(), re.M)
        return found and found[1]

    def stats(self):
        """The figures, as they are when the server answers."""
        before = self.said().count('{"')
        os.kill(self.pid, signal.SIGUSR1)
        wait_for(lambda: self.said().count('}\n') > before, 'statistics')
        line = [x for x in self.said().splitlines() if x.startswith('{"')][before]
        return {name: int(value) for name, value in re.findall(r'"(\w+)":(\d+)', line)}

    def status_kib(self, field):
        with open(f'/proc/{self.pid}/status') as status:
            return int(re.search(rf'^{field}:\s+(\d+) kB', status.read(), re.M)[1])

    def is_at_rest(self):
        """All its threads wait; one that only has no processor just now is not at rest."""
        states = []
        for thread in os.listdir(f'/proc/{self.pid}/task'):
            with contextlib.suppress(OSError), open(f'/proc/{self.pid}/task/{thread}/stat') as stat:
                states.append(stat.read().rpartition(')')[2].split()[0])
        return set(states) <= {'S'}

    def cpu_s(self):
        """Of all its threads, to the nanosecond: the ticks of /proc/PID/stat miss what is short."""
        total_ns = 0
        for thread in os.listdir(f'/proc/{self.pid}/task'):
            with contextlib.suppress(OSError), open(f'/proc/{self.pid}/task/{thread}/schedstat') as stat:
                total_ns += int(stat.read().split()[0])
        return total_ns / 1e9

    def note(self):
        """What it has taken so far: in ticks with threads that have ended, or finer without them."""
        with contextlib.suppress(OSError, TypeError):  # it has ended
            self.peak_mib = max(self.peak_mib, self.status_kib('VmHWM') / 1024 - self.began_mib)
            with open(f'/proc/{self.pid}/stat') as stat:
                ticks = sum(int(n) for n in stat.read().rpartition(')')[2].split()[11:13])
            self.taken_cpu_s = max(self.taken_cpu_s, self.cpu_s() - self.began_cpu_s, ticks / os.sysconf('SC_CLK_TCK') - self.began_cpu_s)

    @contextlib.contextmanager
    def costs(self, mib, cpu_s):
        """What is done inside may cost the server no more than this."""
        cost = Cost()
        if self.is_tls:
            mib, cpu_s = mib + TLS_MIB, cpu_s + TLS_CPU_S
        if self.is_sanitized:
            mib, cpu_s = mib * SANITIZED_TIMES + SANITIZED_MIB, cpu_s * SANITIZED_CPU
        self.note()
        with open(f'/proc/{self.pid}/clear_refs', 'w') as reset:
            reset.write('5')
        rss, cpu, began = self.status_kib('VmRSS'), self.cpu_s(), time.monotonic()
        yield cost
        cost.mib = (self.status_kib('VmHWM') - rss) / 1024
        cost.cpu_s = self.cpu_s() - cpu
        cost.wall_s = time.monotonic() - began
        print(f'#     {cost}')
        check(cost.mib <= mib, f'memory grew by {cost.mib:.1f} MiB, allowed are {mib}')
        check(cost.cpu_s <= cpu_s, f'{cost.cpu_s:.2f} s of processor, allowed are {cpu_s}')

    def serves(self, text='are you there?', **how):
        with Peer(self, **how) as peer:
            peer.open()
            if self.is_chat:
                peer.say('{"type":"leave"}')
                check('join a room first' in peer.hears(), 'no answer')
            else:
                peer.say(text)
                check(peer.hears() == text, 'no echo')

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def stop(self):
        check(self.process.poll() is None, 'the server ended by itself with', self.process.returncode, self.said())
        self.note()
        self.process.terminate()
        began = time.monotonic()
        try:
            self.process.wait(self.stop_s)
        except subprocess.TimeoutExpired:
            raise Failed(f'the server still runs {self.stop_s} s after SIGTERM') from None
        check(self.process.returncode == 0, 'the server ended with', self.process.returncode, self.said())
        return time.monotonic() - began

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None and self.process.returncode is None:
                self.stop()
            elif kind and self.process.poll() is not None:
                print('# the server had ended with', self.process.returncode, self.said().replace('\n', '\n# '))
        finally:
            self.kill()
            self.output.close()


# --- the peer


def frame(first, payload=b'', mask=b'\x11\x22\x33\x44', length=None, form=None):
    """A frame with this first byte. length: what is announced instead; form: 7, 16 or 64 bits for it."""
    n = len(payload) if length is None else length
    form = form or (7 if n < 126 else 16 if n < 65536 else 64)
    head = bytes([first, (0x80 if mask else 0) | {7: n & 127, 16: 126, 64: 127}[form]])
    head += b'' if form == 7 else struct.pack('>H' if form == 16 else '>Q', n)
    return head + (mask + masked(payload, mask) if mask else payload)


def masked(payload, mask):
    key = mask * (len(payload) // 4 + 1)
    return (int.from_bytes(payload, 'big') ^ int.from_bytes(key[:len(payload)], 'big')).to_bytes(len(payload), 'big')


def request(*headers, line=None, host='weft.test', key=KEY, version='13', extra=''):
    """An upgrade where the case's server has its WebSocket; None leaves a header out."""
    lines = [line or f'GET {Server.path_of_case} HTTP/1.1']
    lines += [f'Host: {host}'] if host is not None else []
    lines += ['Upgrade: websocket', 'Connection: Upgrade']
    lines += [f'Sec-WebSocket-Key: {key}'] if key is not None else []
    lines += [f'Sec-WebSocket-Version: {version}'] if version is not None else []
    lines += headers
    return ('\r\n'.join(lines) + '\r\n' + extra + '\r\n').encode('latin-1')


def close_payload(code, reason=b''):
    return struct.pack('>H', code) + reason


class Peer:
    def __init__(self, server, source=None, receive_bytes=None):
        self.server = server
        self.socket = socket.socket()
        self.socket.settimeout(PATIENCE_S)
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        if source:
            self.socket.bind((source, 0))
        self.socket.connect(('127.0.0.1', server.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if server.is_tls:
            context = ssl.create_default_context(cafile=f'{certs.name}/ca.pem')
            self.socket = context.wrap_socket(self.socket, server_hostname='localhost')
        self.buffer = b''
        self.ended = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def put(self, data):
        """All of it, or as far as the server lets it go. True: all."""
        try:
            self.socket.sendall(data)
            return True
        except (ConnectionError, TimeoutError, ssl.SSLError):
            return False

    def put_until_full(self, data, quiet_s=0.3):
        """How much the server takes before it takes nothing for so long, though nothing keeps it from that."""
        self.socket.settimeout(quiet_s)
        sent, end = 0, time.monotonic() + PATIENCE_S
        with contextlib.suppress(ConnectionError, ssl.SSLEOFError):
            while sent < len(data) and time.monotonic() < end:
                try:
                    sent += self.socket.send(data[sent:sent + 65536])
                except TimeoutError:
                    if self.server.is_at_rest():
                        break
        self.socket.settimeout(PATIENCE_S)
        return sent

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.socket.close()

    def read(self):
        """Some more bytes into the buffer. False: the end, however it came."""
        if self.ended:
            return False
        try:
            got = self.socket.recv(1 << 16)
        except (ConnectionError, ssl.SSLError):
            got = b''
        except TimeoutError:
            raise Failed('no byte and no end came') from None
        self.buffer += got
        self.ended = not got
        return bool(got)

    def take(self, n):
        while len(self.buffer) < n:
            if not self.read():
                return None
        taken, self.buffer = self.buffer[:n], self.buffer[n:]
        return taken

    def rest(self):
        """All that comes until the end."""
        while self.read():
            pass
        return self.buffer

    def head(self):
        """Status and head of an answer; 0 when the connection ended without one."""
        while b'\r\n\r\n' not in self.buffer:
            if not self.read():
                return 0, self.buffer
        head, _, self.buffer = self.buffer.partition(b'\r\n\r\n')
        return int(re.match(rb'HTTP/1\.1 (\d{3}) ', head)[1]), head

    def ask(self, data):
        self.put(data)
        return self.head()[0]

    def open(self, *headers, path=None, **how):
        self.put(request(*headers, line=path and f'GET {path} HTTP/1.1', **how))
        status, head = self.head()
        check(status == 101, 'the upgrade was answered with', status)
        accept = base64.b64encode(hashlib.sha1((KEY + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').encode()).digest())
        check(accept in head, 'a wrong Sec-WebSocket-Accept')
        return head

    def say(self, text):
        return self.put(frame(FIN | TEXT, text.encode()))

    def next(self):
        """First byte and payload of the next frame; None at the end."""
        head = self.take(2)
        if not head:
            return None
        check(not head[1] & 0x80, 'a masked frame from a server')
        n = head[1] & 127
        if n >= 126:
            wide = self.take(2 if n == 126 else 8)
            n = int.from_bytes(wide, 'big') if wide else 0
        payload = self.take(n)
        return None if payload is None else (head[0], payload)

    def hear(self):
        """The next frame that is no Ping or Pong of its own."""
        while (got := self.next()) is not None:
            if got[0] == FIN | PING:
                self.put(frame(FIN | PONG, got[1]))
            elif got[0] != FIN | PONG:
                return got
        return None

    def hears(self):
        got = self.hear()
        check(got is not None, 'the end came instead of a message')
        check(got[0] != FIN | CLOSE, 'Close came instead of a message:', got[1])
        return got[1].decode() if got[0] & 15 == TEXT else got[1]

    def hears_close(self):
        """The code that it is closed with, behind whatever else; 1006 when it just ends."""
        while (got := self.hear()) is not None:
            if got[0] == FIN | CLOSE:
                return int.from_bytes(got[1][:2], 'big') if got[1] else 1005
        return 1006


# --- cases


class Group:
    def __init__(self, name):
        self.name = name
        self.cases = []

    def attack(self, function):
        """Run once."""
        self.cases.append((function.__name__, function))
        return function

    def in_modes(self, function):
        """Run against weft-echo with workers and inline; it is handed the mode's options."""
        for mode, options in MODES.items():
            self.cases.append((f'{function.__name__}, {mode}', lambda programs, o=options: function(programs, o)))
        return function

    def over_tls_too(self, function):
        """In modes, and against weft-echo through TLS."""
        def over_tls(programs):
            function(with_echo(programs, OverTls(programs.echo)), make_certs(programs))
        self.in_modes(function)
        self.cases.append((f'{function.__name__}, wss', over_tls))
        return function

    def everywhere(self, function):
        """In modes, and against weft-chat through TLS: one case more for both."""
        def at_the_chat(programs):
            Server.path_of_case = '/chat'
            function(with_echo(programs, ChatOverTls(chat_of(programs))), make_certs(programs))
        self.in_modes(function)
        self.cases.append((f'{function.__name__}, chat and wss', at_the_chat))
        return function

    def main(self):
        parser = argparse.ArgumentParser()
        parser.add_argument('echo')
        parser.add_argument('--chat')
        parser.add_argument('--make-certs')
        parser.add_argument('cases', nargs='*')
        programs = parser.parse_intermixed_args()
        names = [name for name, _ in self.cases]
        chosen = [c for c in self.cases if not programs.cases or c[0].split(',')[0] in programs.cases]
        if programs.cases and not chosen:
            sys.exit('no such case; there are:\n  ' + '\n  '.join(names))
        programs.help = subprocess.run([programs.echo, '--help'], capture_output=True, text=True, check=True).stdout
        files = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (files[1], files[1]))
        results = [run(f'{self.name}/{name}', function, programs) for name, function in chosen]
        passed, skipped = results.count('ok'), results.count('skip')
        failed = len(results) - passed - skipped
        print(f'{self.name}: {passed} passed, {failed} failed', flush=True)
        sys.exit(1 if failed else 77 if not passed else 0)


def with_echo(programs, path):
    """The same programs, with another one in place of weft-echo."""
    return argparse.Namespace(**{**vars(programs), 'echo': path})


def check_costs(servers):
    """Of a case that went well; its servers have ended. Returns what it was, in words."""
    if not servers:
        return ''
    cpu_s, cpu_s_max = sum(s.taken_cpu_s for s in servers), CASE_CPU_S
    for s in servers:
        mib_max = s.mib_max + TLS_MIB * s.is_tls
        if s.is_sanitized:
            mib_max, cpu_s_max = mib_max * SANITIZED_TIMES + SANITIZED_MIB, CASE_CPU_S * SANITIZED_CPU
        check(s.peak_mib <= mib_max, f'in all memory grew by {s.peak_mib:.1f} MiB, allowed are {mib_max}')
    check(cpu_s <= cpu_s_max, f'in all {cpu_s:.2f} s of processor, allowed are {cpu_s_max}')
    return f': {max((s.peak_mib for s in servers), default=0):.1f} MiB, {cpu_s:.2f} s of processor in all'


def run(name, function, programs):
    began = time.monotonic()
    result, note = 'ok', ''
    Server.of_case.clear()
    Server.path_of_case = '/'
    try:
        function(programs)
        note = check_costs(Server.of_case)
    except Skip as why:
        result, note = 'skip', f': {why}'
    except Failed as what:
        result = 'FAIL'
        print(f'# {what}')
        where = traceback.extract_tb(what.__traceback__)
        print('#   at ' + ' < '.join(f'{os.path.basename(f.filename)}:{f.lineno}' for f in reversed(where)))
    except Exception:  # a case that is wrong itself
        result = 'FAIL'
        print('# ' + traceback.format_exc().replace('\n', '\n# '))
    print(f'{result:4} {name} ({time.monotonic() - began:.1f} s){note}', flush=True)
    return result
