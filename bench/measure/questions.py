"""What bench/run asks, as data: which servers take part in a question, what the generator does, and what is
promised of the answer. Nothing here runs anything.

A question has cells; a cell is one server under one load, measured once in each round. A target compares a
figure of one cell with a limit, or its ratio to the same figure of another cell in the same round."""
from dataclasses import dataclass

FLOOR, INLINE, POOL = 'floor', 'weft inline', 'weft pool'
FLOOR_TLS = 'floor over TLS'
LIBWEBSOCKETS, WEBSOCKETS, WS = 'libwebsockets', 'websockets', 'ws'
WEFT = (INLINE, POOL)
PEERS = (LIBWEBSOCKETS, WEBSOCKETS, WS)

CPU = 'server_us_per_message'
PER_S = 'messages_per_s'

# Where server and generator run.
PINNED = 'server on one core, generator on the other'
WARM = 'server on both cores, generator on the second, both kept awake by a thread of the idle class'
FREE = 'server and generator on both cores'


@dataclass(frozen=True)
class Cell:
    name: str
    party: str
    load: tuple  # mode and options of weft-bench
    server: tuple = ()  # options of the server beside its own
    x: float = None  # where it stands in a plot with an axis: messages/s, connections
    series: str = None  # the line it belongs to there
    is_secure: bool = False  # over TLS


@dataclass(frozen=True)
class Target:
    cell: str
    limit: float
    metric: str = CPU
    against: str = None  # the name of another cell: the ratio counts
    at_least: bool = False


@dataclass(frozen=True)
class Question:
    key: str
    title: str
    text: str
    cells: tuple
    targets: tuple = ()
    metric: str = CPU
    unit: str = 'µs'
    plot: str = 'bars'  # or latency, sleepers, memory
    place: str = PINNED
    best_of: int = 1  # that many shorter runs, of which the one with the least of the metric counts
    every_round: bool = True  # False: no target depends on its spread, so a few rounds will do


def echo(key, title, text, load, inline, pool, peers=PEERS, **more):
    """The server's CPU time for a message, against the floor."""
    cells = tuple(Cell(party, party, ('echo', *load)) for party in (FLOOR, *WEFT, *peers))
    return Question(key, title, text, cells,
                    (Target(INLINE, inline, against=FLOOR), Target(POOL, pool, against=FLOOR)), **more)


def large():
    load = ('echo', '-c', '16', '-m', '64k')
    binary = (*load, '--binary')
    cells = [Cell(FLOOR, FLOOR, load)]
    for party in WEFT:
        cells += [Cell(f'{party}, text', party, load), Cell(f'{party}, binary', party, binary)]
    targets = tuple(Target(cell.name, 1.15, against=FLOOR) for cell in cells[1:])
    cells += [Cell(f'{party}, text', party, load) for party in PEERS]
    return Question('echo_64k', '64 KiB messages, 16 connections',
                    'Text is checked to be UTF-8, binary is not. The floor looks at nothing.',
                    tuple(cells), targets)


def broadcast(key, title, text, burst, limit):
    load = ('fanout', '-c', '1000', '-m', '64', '--burst', str(burst))
    cells = [Cell(FLOOR, FLOOR, ('echo', '-c', '64', '-m', '64'))]
    cells += [Cell(party, party, load, server=('--broadcast',)) for party in (*WEFT, *PEERS)]
    text += ' The floor does not broadcast: its row is an echo, 64 connections with 64 bytes.'
    return Question(key, title, text, tuple(cells),
                    tuple(Target(party, limit, against=FLOOR) for party in WEFT))


def deflate():
    load = ('-c', '64', '-m', '1k')
    cells = [Cell(FLOOR, FLOOR, ('echo', *load))]
    for party in WEFT:
        cells += [Cell(f'{party}, plain', party, ('echo', *load)),
                  Cell(f'{party}, with takeover', party, ('deflate', *load)),
                  Cell(f'{party}, without', party, ('deflate', *load, '--no-takeover'))]
    targets = [Target(f'{party}, {how}', limit) for party in WEFT
               for how, limit in (('with takeover', 22), ('without', 15))]
    return Question('deflate', 'permessage-deflate, 64 connections, 1 KiB of JSON',
                    'The server inflates each message and compresses it again. The floor and the plain rows echo text '
                    'as it is. The generator of the compressed rows is the slower side, so the server often sleeps '
                    'between two messages.', tuple(cells), tuple(targets))


def churn():
    load = ('churn', '-c', '16', '-m', '64')
    cells = tuple(Cell(party, party, load) for party in (FLOOR, *WEFT, *PEERS))
    return Question('churn', 'Connect, handshake, one echo, close',
                    'A whole connection. The floor sends the same number of bytes back without reading them.',
                    cells, tuple(Target(party, 1.5, against=FLOOR) for party in WEFT))


def idle(is_quick):
    steps = {True: ('1000', '2000') if is_quick else ('1000', '2000', '5000'),
             False: ('1000', '5000', '15000') if is_quick else ('1000', '2000', '5000', '10000', '15000')}
    cells = []
    for party in (FLOOR, *WEFT, *PEERS):
        *before, last = steps[party in PEERS]
        load = ('idle', '-c', last, '--step', ','.join(before), '--hold', '0.3', '--touch')
        cells.append(Cell(party, party, load))
    targets = []
    for party in WEFT:
        targets += [Target(party, 320, 'bytes_per_connection'), Target(party, 1000, 'touch_ms'),
                    Target(party, 1.25, 'growth_ratio')]
    return Question('idle', 'Idle connections',
                    'Resident memory of the server for each of 15,000 open connections (of the peers fewer) '
                    'through which nothing was sent yet; then each sends one message. Growth: what each of '
                    'the later connections costs, as a multiple of what the earlier ones cost behind the '
                    'first 1,000.', tuple(cells), tuple(targets), 'bytes_per_connection', 'bytes', 'memory',
                    every_round=False)


def latency(rates):
    load = ('rate', '-c', '64', '-m', '64', '-r')
    cells = tuple(Cell(f'{party}, {rate}/s', party, (*load, str(rate)), x=rate, series=party)
                  for party in (FLOOR, *WEFT, *PEERS) for rate in rates)
    return Question('latency', 'Latency against load',
                    'Open loop: 64 connections send at a fixed rate whatever the answers do, and latency '
                    'counts from the intended time. A line ends where the server no longer keeps up.',
                    cells, (), 'p99_us', 'µs', 'latency', every_round=False)


def sleepers(rates):
    asleep = ('--sleep-ms', '5', '--sleep-share', '0.01')
    series = (('pool', POOL, ()), ('pool, 1 % sleep', POOL, asleep), ('inline, 1 % sleep', INLINE, asleep))
    load = ('mixed', '-c', '64', '-m', '64', '--slow-ms', '5', '-r')
    cells = tuple(Cell(f'{name}, {rate}/s', party,
                       (*load, str(rate), '--slow-share', '0.01' if server else '0'), server, rate, name)
                  for rate in rates for name, party, server in series)
    targets = tuple(Target(f'pool, 1 % sleep, {rate}/s', 1.3, 'others_p99_us', f'pool, {rate}/s')
                    for rate in rates)
    return Question('sleepers', '1 % of the handlers sleep 5 ms',
                    'p99 of all the other messages, 64 connections, open loop. With workers the others '
                    'hardly notice; with handlers on the I/O thread everybody waits.',
                    cells, targets, 'others_p99_us', 'µs', 'sleepers')


def one_connection():
    cells = tuple(Cell(party, party, ('echo', '-c', '1', '-m', '64')) for party in (FLOOR, *WEFT, *PEERS))
    return Question('one', 'One connection, one message in flight',
                    'Latency: half of the messages are back within this time. A wake-up that crosses cores '
                    'may cost many times what all else does, and where the kernel puts a thread changes '
                    'between runs: the best of 3 counts.', cells,
                    (Target(INLINE, 1.10, 'p50_us', FLOOR), Target(POOL, 1.35, 'p50_us', FLOOR)), 'p50_us',
                    place=WARM, best_of=3)


def compute():
    load = ('echo', '-c', '64', '-m', '64')
    cells = tuple(Cell(party, party, load, ('--burn-us', '50')) for party in WEFT)
    return Question('compute', 'Handlers that compute 50 µs',
                    'Messages each second when the server may use both cores: what workers are for.', cells,
                    (Target(POOL, 1.8, PER_S, INLINE, at_least=True),), PER_S, '/s', place=FREE)


def over_tls(key, title, text, load, limit, metric=CPU):
    """Against an echo over OpenSSL, with a wolfSSL that uses the processor's instructions (tools/fast-wolfssl)."""
    cells = tuple(Cell(party, party, load, is_secure=True) for party in (FLOOR_TLS, *WEFT))
    targets = tuple(Target(party, limit, metric, FLOOR_TLS) for party in WEFT)
    return Question(key, title, text, cells, targets, metric)


def tls(is_quick):
    count = '1000' if is_quick else '3000'
    idle_cells = tuple(Cell(party, party, ('idle', '-c', count, '--hold', '0.3'), is_secure=True)
                       for party in (FLOOR_TLS, *WEFT))
    return (
        over_tls('tls_1k', 'TLS: 64 connections, 1 KiB',
                 'The floor is an echo over OpenSSL that looks at nothing.', ('echo', '-c', '64', '-m', '1k'), 1.10),
        over_tls('tls_64k', 'TLS: 16 connections, 64 KiB', 'Nearly all of it is the cipher.',
                 ('echo', '-c', '16', '-m', '64k', '--binary'), 1.10),
        over_tls('tls_churn', 'TLS: connect, both handshakes, one echo, close',
                 'A full handshake each time, none is resumed.', ('churn', '-c', '16', '-m', '64'), 1 / 1.3),
        Question('tls_idle', 'Idle connections over TLS',
                 'Resident memory of the server for each, of which nearly all is wolfSSL\'s.', idle_cells,
                 tuple(Target(party, 6 * 1024, 'bytes_per_connection') for party in WEFT),
                 'bytes_per_connection', 'bytes', every_round=False),
    )


def questions(is_quick):
    return (
        echo('echo_1', '64 connections, 64 bytes, 1 in flight',
             'The hardest case: one message a read and a write, so nearly all is system calls.',
             ('-c', '64', '-m', '64', '-p', '1'), 1.03, 1.08),
        echo('echo_16', '64 connections, 64 bytes, 16 in flight',
             'Many messages a read: what a message costs beside the system calls.',
             ('-c', '64', '-m', '64', '-p', '16'), 1.10, 1.30),
        echo('echo_1000', '1000 connections, 128 bytes', 'More connections than fit into the caches.',
             ('-c', '1000', '-m', '128'), 1.05, 1.12),
        large(),
        echo('echo_1m', '1 MiB messages, 4 connections', 'Copies, memory and the socket\'s buffers.',
             ('-c', '4', '-m', '1m'), 1.15, 1.15),
        broadcast('broadcast_1', 'Broadcast to 1000, one at a time', 'CPU time for one delivery.', 1, 0.75),
        broadcast('broadcast_8', 'Broadcast to 1000 in bursts of 8',
                  'CPU time for one delivery; a burst is to leave in one system call a member.', 8, 0.10),
        deflate(),
        churn(),
        idle(is_quick),
        *tls(is_quick),
        one_connection(),
        sleepers((5000, 20000) if is_quick else (2000, 5000, 10000, 20000)),
        compute(),
        latency((5000, 20000, 60000, 120000) if is_quick else
                (5000, 10000, 20000, 40000, 80000, 120000, 160000, 200000)),
    )
