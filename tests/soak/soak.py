#!/usr/bin/env python3
"""A long load on a server, of all kinds at once: memory, descriptors and threads have to level.

    soak.py SERVER BENCH SECONDS HELD

HELD connections are held, answer pings, and 1 % of them end and are replaced each second, in every way there is: by a
closing handshake, by the end of TCP, by a reset. Beside them weft-bench keeps a steady rate of messages, checked byte
by byte; slow peers ask for much and read nothing; and faulty ones send garbage, half a handshake, or broken frames.

Each few seconds the server's resident memory, descriptors and threads are noted. The run has three parts: one to warm
up, one to learn the level, one that must not rise above it. A server for other requests than echo is loaded the same way:
weft-chat on /chat, whose answers to noise are errors. The last line tells the figures; the status is 0 when it levelled.
"""
import os
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import time

HANDSHAKE = (b"GET /chat HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
CLOSE = b"\x88\x82\0\0\0\0\x03\xe8"
LINGER_NONE = struct.pack("ii", 1, 0)
SLOW, SLOW_BYTES = 16, 16384
FAULTS = [b"\xff" * 64, b"GET / HTTP/1.1\r\nHost", HANDSHAKE + b"\xf3\x85abcdhello", HANDSHAKE + b"\x81\x05hello",
          HANDSHAKE + b"\x81\x83\0\0\0\0\xed\xa0\x80", HANDSHAKE + b"\x82\xff\x7f" + b"\xff" * 7 + b"\0" * 4, b"\x16\x03\x01" * 99]
MEMORY_SLACK = 8 << 20
SHARE_SLACK = 1.05


class Server:
    def __init__(self, program):
        self.process = subprocess.Popen([program, "--port", "0"], stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().rsplit(":", 1)[1])
        self.pid = self.process.pid

    def figures(self):
        status = open(f"/proc/{self.pid}/status").read()
        words = {line.split(":")[0]: line.split()[1] for line in status.splitlines() if ":" in line and len(line.split()) > 1}
        return {"bytes": int(words["VmRSS"]) * 1024, "threads": int(words["Threads"]),
                "descriptors": len(os.listdir(f"/proc/{self.pid}/fd"))}

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


class Held:
    """Connections that are open and answer pings."""

    def __init__(self, port):
        self.port, self.poll, self.all, self.lost = port, select.epoll(), {}, 0

    def add(self):
        s = socket.create_connection(("127.0.0.1", self.port), 30)
        s.sendall(HANDSHAKE)
        head = b""
        while b"\r\n\r\n" not in head:
            got = s.recv(4096)
            if not got:
                raise OSError("no handshake")
            head += got
        if not head.startswith(b"HTTP/1.1 101"):
            raise OSError(head[:40])
        s.setblocking(False)
        self.all[s.fileno()] = s
        self.poll.register(s.fileno(), select.EPOLLIN)

    def drop(self, fd):
        self.poll.unregister(fd)
        s = self.all.pop(fd)
        how = random.randrange(3)
        try:
            if how == 0:
                s.send(CLOSE)
            elif how == 1:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)
        except OSError:
            pass
        s.close()

    def answer(self, until):
        while time.monotonic() < until:
            for fd, _ in self.poll.poll(max(0.0, until - time.monotonic()), 1024):
                self.answer_one(fd)

    def answer_one(self, fd):
        s = self.all[fd]
        try:
            got = s.recv(4096)
            at = 0
            while at + 2 <= len(got):
                n = got[at + 1] & 127
                if got[at] == 0x89:
                    s.send(bytes((0x8A, 0x80 | n)) + b"\0\0\0\0" + got[at + 2:at + 2 + n])
                at += 2 + n
        except OSError:
            got = b""
        if not got:
            self.lost += 1
            self.drop(fd)


def make_slow(port):
    """Asks for more than it takes, and is dropped some time."""
    s = socket.create_connection(("127.0.0.1", port), 30)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.sendall(HANDSHAKE)
    s.setblocking(False)
    return s


def feed_slow(slow, port):
    frame = b"\x82\xfe" + struct.pack(">H", SLOW_BYTES) + bytes(4 + SLOW_BYTES)
    for i, s in enumerate(slow):
        try:
            s.send(frame)
        except BlockingIOError:
            pass
        except OSError:
            s.close()
            slow[i] = make_slow(port)


def be_faulty(port):
    for fault in random.sample(FAULTS, 2):
        s = socket.create_connection(("127.0.0.1", port), 30)
        s.sendall(fault)
        if random.random() < 0.5:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)
        s.close()


def load(server, seconds, wanted):
    """One sample a second."""
    held, samples, share = Held(server.port), [], 0.0
    for _ in range(wanted):
        held.add()
        if len(held.all) % 500 == 0:
            held.answer(time.monotonic())
    slow = [make_slow(server.port) for _ in range(SLOW)]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        tick = time.monotonic() + 1
        share += wanted / 100
        for fd in random.sample(sorted(held.all), min(int(share), len(held.all))):
            held.drop(fd)
        share -= int(share)
        while len(held.all) < wanted:
            held.add()
        feed_slow(slow, server.port)
        be_faulty(server.port)
        held.answer(max(tick, time.monotonic() + 0.01))
        samples.append(server.figures())
        if server.process.poll() is not None:
            raise SystemExit("the server has ended")
    for s in [*held.all.values(), *slow]:
        s.close()
    return samples, held.lost


def has_levelled(samples):
    third = len(samples) // 3
    good = third > 0
    for what, slack in (("bytes", MEMORY_SLACK), ("threads", 2), ("descriptors", 64)):
        level = max(s[what] for s in samples[third:2 * third])
        last = max(s[what] for s in samples[2 * third:])
        print(f"{what}: level {level}, behind it at most {last}")
        good = good and last <= level * SHARE_SLACK + slack
    return good


def main():
    program, bench, seconds, wanted = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    server, rate = Server(program), None
    is_echo = "echo" in os.path.basename(program)
    if is_echo:
        rate = subprocess.Popen([bench, "rate", f"ws://127.0.0.1:{server.port}/", "-c", "32", "-r", "2000", "-m", "300",
                                 "-d", str(seconds), "--drain", "20"], stdout=subprocess.DEVNULL)
    good = False
    try:
        samples, lost = load(server, seconds, wanted)
        good = has_levelled(samples)
        print(f"{wanted} held, {lost} of them lost by the server")
        good = good and lost == 0
        if rate:
            good = rate.wait(120) == 0 and good
            rate = None
    finally:
        if rate:
            rate.kill()
        status = server.stop()
    print(f"{os.path.basename(program)}: {'levelled' if good else 'NOT levelled'}, ended with {status}")
    sys.exit(0 if good and status == 0 else 1)


main()
