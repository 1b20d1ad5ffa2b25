"""An echo server that computes for 0.2 s for each message of connection 1 (digits 9 to 16 of a message are
the number of its connection). In a process of its own, for a look at what it uses. Until SIGTERM."""
import signal
import sys
import time

sys.dont_write_bytecode = True

from faulty import Faulty, echo  # noqa: E402


def compute(echoes, sent):
    if echoes[0][1][8:9] == b'b':
        end = time.thread_time() + 0.2
        while time.thread_time() < end:
            pass
    return echo(echoes)


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
with Faulty(compute) as server:
    print('listening on', server.address, flush=True)
    while True:
        signal.pause()
