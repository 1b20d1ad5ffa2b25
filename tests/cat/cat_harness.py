"""What the tests of weft-cat share: a WebSocket server that is right or wrong as told, weft-echo, waiting with a time
limit, and a list of tests that is run and counted. It shares no code with weft."""
import base64
import contextlib
import hashlib
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback

PATIENCE_S = 60 * float(os.environ.get('WEFT_TEST_PATIENCE', 1))
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def until(what, look, patience_s=PATIENCE_S):
    """Look again and again until it is true; the result is what look returned."""
    end = time.monotonic() + patience_s
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f'not within {patience_s} s: {what}')
        time.sleep(0.02)


def frame(opcode, payload=b'', fin=True):
    head = bytes([opcode | (0x80 if fin else 0)])
    size = len(payload)
    if size < 126:
        return head + bytes([size]) + payload
    if size < 65536:
        return head + struct.pack('>BH', 126, size) + payload
    return head + struct.pack('>BQ', 127, size) + payload


class Conn:
    """One accepted connection; `got` lists (opcode, payload) as they come."""

    def __init__(self, sock):
        self.sock, self.got, self.lost = sock, [], False
        self.file = sock.makefile('rb')
        self.request = self.read_head()

    def read_head(self):
        lines = []
        while (line := self.file.readline().rstrip(b'\r\n')):
            lines.append(line.decode())
        return lines

    def header(self, name):
        return [line.split(':', 1)[1].strip() for line in self.request[1:]
                if line.split(':', 1)[0].lower() == name.lower()]

    def accept(self, *more):
        key = self.header('Sec-WebSocket-Key')[0]
        digest = hashlib.sha1((key + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').encode()).digest()
        lines = ['HTTP/1.1 101 Switching Protocols', 'Upgrade: websocket', 'Connection: Upgrade',
                 'Sec-WebSocket-Accept: ' + base64.b64encode(digest).decode(), *more]
        self.sock.sendall(('\r\n'.join(lines) + '\r\n\r\n').encode())

    def read_frame(self):
        head = self.file.read(2)
        if len(head) < 2:
            return None
        size = head[1] & 127
        if size == 126:
            size, = struct.unpack('>H', self.file.read(2))
        elif size == 127:
            size, = struct.unpack('>Q', self.file.read(8))
        assert head[1] & 128, 'a client masks'
        mask = self.file.read(4)
        payload = self.file.read(size)
        pad = mask * (size // 4 + 1)
        plain = int.from_bytes(payload, 'big') ^ int.from_bytes(pad[:size], 'big')
        return head[0] & 15, plain.to_bytes(size, 'big')

    def serve(self, answers_pings=True, answers_close=True):
        """Collect what comes until the end; answer control frames."""
        with contextlib.suppress(OSError):
            while (one := self.read_frame()):
                self.got.append(one)
                if one[0] == PING and answers_pings:
                    self.send(PONG, one[1])
                if one[0] == CLOSE and answers_close:
                    self.send(CLOSE, one[1])
                    break
        self.lost = True

    def send(self, opcode, payload=b'', fin=True):
        self.sock.sendall(frame(opcode, payload.encode() if isinstance(payload, str) else payload, fin))

    def close(self, code=None, reason=''):
        self.send(CLOSE, b'' if code is None else struct.pack('>H', code) + reason.encode())

    def drop(self):
        """End it as TCP does; the file above keeps a descriptor, so that close alone would not."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()

    def data(self):
        return [one for one in self.got if one[0] in (TEXT, BINARY)]

    def close_frame(self):
        """(code, reason) of the Close that came."""
        payload = next(p for o, p in self.got if o == CLOSE)
        return (struct.unpack('>H', payload[:2])[0], payload[2:].decode()) if payload else (None, '')


class Server:
    """Serves each connection on a thread with `talk(conn)`; by default it accepts and collects."""

    def __init__(self, talk=None):
        self.talk = talk or self.collect
        self.conns, self.threads, self.faults = [], [], []
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.port = self.listener.getsockname()[1]
        self.url = f'ws://127.0.0.1:{self.port}'
        self.start(self.accept_all)

    @staticmethod
    def collect(conn):
        conn.accept()
        conn.serve()

    def start(self, run, *args):
        thread = threading.Thread(target=run, args=args, daemon=True)
        self.threads.append(thread)
        thread.start()

    def accept_all(self):
        with contextlib.suppress(OSError):
            while True:
                self.start(self.run, self.listener.accept()[0])

    def run(self, sock):
        try:
            sock.settimeout(PATIENCE_S)
            conn = Conn(sock)
            self.conns.append(conn)
            self.talk(conn)
        except (ConnectionError, TimeoutError):
            pass
        except Exception:  # shown by the test's end
            self.faults.append(traceback.format_exc())
        finally:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def conn(self, index=0):
        until('a connection', lambda: len(self.conns) > index)
        return self.conns[index]

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        if kind is None and self.faults:
            raise AssertionError(self.faults[0])


@contextlib.contextmanager
def program(args, **how):
    """A child that does not outlive the test."""
    child = subprocess.Popen(args, **how)
    try:
        yield child
    finally:
        if child.poll() is None:
            child.kill()
        for pipe in (child.stdin, child.stdout, child.stderr):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()
        child.wait()


@contextlib.contextmanager
def echo(weft_echo, *options):
    """weft-echo; gives its URL."""
    with program([weft_echo, '--port=0', *options], stdout=subprocess.PIPE, text=True) as child:
        line = child.stdout.readline()
        yield 'ws://' + re.fullmatch(r'listening on (.+)\n', line)[1]
        child.send_signal(signal.SIGTERM)
        assert child.wait(PATIENCE_S) == 0


def main(tests, suite):
    """Run those that are named on the command line behind the two programs, or all."""
    wanted = sys.argv[3:]
    failed = 0
    unknown = set(wanted) - set(tests)
    if unknown:
        sys.exit(f'no such test: {unknown}; there are: {list(tests)}')
    chosen = {name: run for name, run in tests.items() if not wanted or name in wanted}
    for name, run in chosen.items():
        try:
            run()
            print(f'ok   {suite}/{name}', flush=True)
        except Exception:  # each test is to be heard
            failed += 1
            print(f'FAIL {suite}/{name}\n{traceback.format_exc()}', flush=True)
    print(f'{suite}: {len(chosen) - failed} passed, {failed} failed')
    sys.exit(1 if failed else 0)
