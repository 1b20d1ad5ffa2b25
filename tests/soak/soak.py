#!/usr/bin/env python3
"""A long load on a server, of all kinds at once: memory, descriptors and threads have to level.

    soak.py SERVER BENCH SECONDS HELD [SAMPLES]
    soak.py --self-test

HELD connections are held, answer pings, and 1 % of them end and are replaced each second, in every way there is: by a
closing handshake, by the end of TCP, by a reset. Beside them weft-bench keeps a steady rate of messages, checked byte
by byte; slow peers ask for much and read nothing; and faulty ones send garbage, half a handshake, or broken frames.

Each second the server's resident memory, descriptors and threads are noted (and written to SAMPLES), and how many connections
were held and replaced. All are replaced three times first, as fast as it goes. Behind the first third of the time,

    memory       rises by less than half a MiB a minute, by the line that fits best, and 2 MiB that freed blocks which are kept
                 may take longer to level: a leak of 1 MiB a minute is noticed in half an hour, one of 2 MiB in 150 s
    held         is what was wanted, and each second has replaced 1 %
    descriptors  stay within what connections need; and when all connections have gone, are those from before the first one: one
                 that was forgotten is one too many
    threads      stay within what a server may have, and the fewest of the last third are those of the first: on a machine that others
                 use too a thread that is kept off its core looks stuck, and gets another beside it for ten seconds

A server for other requests than echo is loaded the same way: weft-chat on /chat, whose answers to noise are errors. The last
lines tell the figures; the status is 0 when all of it is so. --self-test judges samples with leaks that must be noticed.
"""
import json
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
MIB = 1 << 20
RISE_MAX = MIB / 2  # a minute,
LEVELLING = 2 * MIB  # and once
CHURN = 0.01  # of what is held, each second
CHURN_MIN = 0.9 * CHURN
# Beside what is held: the bench's, and who is on the way in or out (chiefly those that one second has replaced).
OTHERS = 32 + SLOW + 64
WARM_ROUNDS = 3
THREADS_SLACK = 2
THREADS_MAX = 80  # workers_max is 64
SETTLED_S = 60


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


def replace(held, count):
    for fd in random.sample(sorted(held.all), count):
        held.drop(fd)
    for _ in range(count):
        held.add()


def warm_up(held, slow, wanted):
    """All of them come, and are replaced as fast as it goes, so that the heap looks as it does in the long run."""
    for _ in range(wanted):
        held.add()
        if len(held.all) % 500 == 0:
            held.answer(time.monotonic())
    for _ in range(WARM_ROUNDS * 20):
        replace(held, wanted // 20)
        feed_slow(slow, held.port)
        be_faulty(held.port)
        held.answer(time.monotonic() + 0.05)


def load(server, seconds, wanted, begin):
    """begin() when it is warm; then one sample a second, as near as this program can."""
    held, samples, share = Held(server.port), [], 0.0
    slow = [make_slow(server.port) for _ in range(SLOW)]
    warm_up(held, slow, wanted)
    begin()
    last = began = time.monotonic()
    end = began + seconds
    while time.monotonic() < end:
        tick = time.monotonic() + 1
        share += wanted * CHURN * (time.monotonic() - last)
        last = time.monotonic()
        replaced = min(int(share), len(held.all))
        share -= replaced
        replace(held, replaced)
        while len(held.all) < wanted:  # whom the server has lost
            held.add()
        feed_slow(slow, server.port)
        be_faulty(server.port)
        held.answer(max(tick, time.monotonic() + 0.01))
        samples.append({"s": time.monotonic() - began, "held": len(held.all), "replaced": replaced, **server.figures()})
        if server.process.poll() is not None:
            raise SystemExit("the server has ended")
    for s in [*held.all.values(), *slow]:
        s.close()
    return samples, held.lost


def rise(points):
    """Of the line with the least squares through (s, value), in units a minute."""
    n = len(points)
    middle_s, middle = sum(s for s, _ in points) / n, sum(v for _, v in points) / n
    spread = sum((s - middle_s) ** 2 for s, _ in points)
    return 60 * sum((s - middle_s) * (v - middle) for s, v in points) / spread if spread else 0.0


def has_levelled(samples, wanted):
    """Behind the first third."""
    rest = samples[len(samples) // 3:]
    if len(rest) < 2:
        return False
    seconds = rest[-1]["s"] - rest[0]["s"]
    a_minute = rise([(x["s"], x["bytes"]) for x in rest])
    share = sum(x["replaced"] for x in rest[1:]) / seconds / wanted
    fewest = [min(x["threads"] for x in part) for part in (samples[:len(samples) // 3], samples[-(len(samples) // 3):])]
    most = max(x["threads"] for x in rest)
    descriptors = max(x["descriptors"] for x in rest)
    allowed = wanted + OTHERS + wanted * CHURN * 2
    print(f"memory: {rest[0]['bytes'] / MIB:.1f} to {rest[-1]['bytes'] / MIB:.1f} MiB in {seconds:.0f} s, "
          f"most {max(x['bytes'] for x in rest) / MIB:.1f}, rising by {a_minute / MIB:.3f} a minute")
    print(f"held: {min(x['held'] for x in rest)} at least, {100 * share:.2f} % replaced each second")
    print(f"descriptors: at most {descriptors}, allowed {allowed:.0f}; "
          f"threads: at least {fewest[1]}, in the first third {fewest[0]}, at most {most}")
    risen = a_minute * seconds / 60
    return (risen < RISE_MAX * seconds / 60 + LEVELLING and share >= CHURN_MIN and descriptors <= allowed
            and fewest[1] <= fewest[0] + THREADS_SLACK and most <= THREADS_MAX
            and min(x["held"] for x in rest) >= wanted * (1 - CHURN))


def has_settled(server, before):
    """All that came with connections goes with them."""
    end = time.monotonic() + SETTLED_S
    while True:
        now = server.figures()
        settled = all(now[what] <= before[what] for what in ("descriptors", "threads"))
        if settled or time.monotonic() > end:
            break
        time.sleep(0.5)
    print(f"without connections: {now['descriptors']} descriptors, {before['descriptors']} before; "
          f"{now['threads']} threads, {before['threads']} before; {now['bytes'] / MIB:.1f} MiB")
    return settled


def self_test():
    """Memory that jitters as a real server's does, for the length of the short run and the long one; and what leaks."""
    chance = random.Random(1)

    def samples(seconds, leak=0.0, replaced=150, held=15000, descriptors=15100):
        return [{"s": s, "bytes": 80 * MIB + chance.uniform(-0.3, 0.3) * MIB + leak * s / 60, "held": held, "replaced": replaced,
                 "threads": 17 if s == seconds - 9 else 4, "descriptors": descriptors} for s in range(seconds)]
    for seconds in (150, 1800):
        assert has_levelled(samples(seconds), 15000)
        assert not has_levelled(samples(seconds, leak=MIB if seconds > 1000 else 2 * MIB), 15000)
        assert not has_levelled(samples(seconds, replaced=100), 15000)
        assert not has_levelled(samples(seconds, held=14000), 15000)
        assert not has_levelled(samples(seconds, descriptors=16000), 15000)
        grows = samples(seconds)
        for i, x in enumerate(grows):
            x["threads"] += i * 9 // seconds
        assert not has_levelled(grows, 15000)
        crowded = samples(seconds)
        crowded[-1]["threads"] = 100
        assert not has_levelled(crowded, 15000)

    class Forgetful:
        def __init__(self, descriptors):
            self.left = {"descriptors": descriptors, "threads": 4, "bytes": 80 * MIB}

        def figures(self):
            return self.left
    global SETTLED_S
    SETTLED_S = 0
    before = {"descriptors": 9, "threads": 4}
    assert has_settled(Forgetful(9), before) and not has_settled(Forgetful(10), before)
    print("leaks are noticed")


def figures_at_rest(server):
    """With one connection behind it, what is made with the first one is there."""
    held = Held(server.port)
    held.add()
    held.drop(next(iter(held.all)))
    time.sleep(1)
    return server.figures()


def main():
    if sys.argv[1:] == ["--self-test"]:
        self_test()
        return
    program, bench, seconds, wanted = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    server, rates, good = Server(program), [], False

    def begin_rate():
        if "echo" in os.path.basename(program):
            rates.append(subprocess.Popen([bench, "rate", f"ws://127.0.0.1:{server.port}/", "-c", "32", "-r", "2000", "-m", "300",
                                           "-d", str(seconds), "--drain", "20"], stdout=subprocess.DEVNULL))
    try:
        before = figures_at_rest(server)
        samples, lost = load(server, seconds, wanted, begin_rate)
        if len(sys.argv) > 5:
            with open(sys.argv[5], "w") as f:
                json.dump(samples, f)
        good = has_levelled(samples, wanted)
        print(f"{wanted} held, {lost} of them lost by the server")
        good = good and lost == 0
        for rate in rates:
            good = rate.wait(120) == 0 and good
        good = has_settled(server, before) and good
    finally:
        for rate in rates:
            if rate.poll() is None:
                rate.kill()
        status = server.stop()
    print(f"{os.path.basename(program)}: {'levelled' if good else 'NOT levelled'}, ended with {status}")
    sys.exit(0 if good and status == 0 else 1)


main()
