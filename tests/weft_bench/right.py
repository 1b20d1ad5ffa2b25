"""Each mode against servers that are right, some of them in an unusual way."""
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time

from faulty import Deflating, Faulty, echo, frame, packed
from harness import BENCH, ECHO, FEW, FLOOR, LOSSY, PATIENCE_S, SAFE, Server
from harness import bench, case, cert, certified, has_server_figures, is_plausible, load, url_of, wss


@case
def echo_of_every_size_and_kind():
    with Server(ECHO) as server:
        for c, n, *options in ((8, 50), (4, 100, '-p', '16'), (3, 40, '-t', '3', '-m', '1000'),
                               (5, 60, '-t', '2', '-p', '3'), (2, 30, '-m', '64k', '-p', '8'),
                               (2, 100, '-m', '0'), (2, 100, '-m', '1', '-p', '5'),
                               (2, 100, '-m', '13', '--binary'), (2, 60, '-m', '5001', '--utf8', '-p', '3'),
                               (2, 60, '-m', '1001', '--utf8')):
            r = load('echo', server.address, *SAFE, '-c', str(c), '-n', str(n), *options, '--pid', server.pid,
                     '--label', 'a "label"')
            is_plausible(r, c * n)
            has_server_figures(r)
            assert r['mode'] == 'echo' and r['label'] == 'a "label"', r


@case
def a_run_by_the_clock_takes_its_time():
    """And what is under way at its end is waited for."""
    with Server(ECHO) as server:
        for mode, *options in (['echo'], ['rate', '-r', '500'], ['churn'], ['echo', '-t', '2']):
            begin = time.monotonic()
            r = load(mode, server.address, *SAFE, '-c', '3', '-w', '0.1', '-d', '0.3', *options)
            assert 0.3 <= r['seconds'] <= time.monotonic() - begin - 0.1, r


@case
def the_servers_work_for_all_threads_counts():
    """Also what it does when the first thread is through: connection 1, for which the server computes, is the
    second thread's."""
    script = pathlib.Path(__file__).with_name('computing.py')
    with Server(sys.executable, '-B', str(script), port=False) as server:
        r = load('echo', server.address, *SAFE, '-c', '2', '-t', '2', '-n', '1', '--pid', server.pid)
    assert r['server_user_s'] + r['server_system_s'] >= 0.199, r
    is_plausible(r, 2)


@case
def echo_without_pid_has_no_server_figures():
    with Server(ECHO) as server:
        r = load('echo', server.address, *FEW)
        is_plausible(r, 40)
        assert r['server_us_per_message'] is None and r['server_rss_bytes'] is None, r


@case
def echo_over_a_unix_socket():
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / 's'
        with Server(ECHO, '--unix', str(path), port=False):
            is_plausible(load('echo', f'ws+unix:{path}', *SAFE, '-c', '40', '-n', '5'), 200)
            is_plausible(load('churn', f'ws+unix:{path}', *SAFE, '-c', '40', '-n', '5'), 200)


@case
def raw_modes_drive_the_floor():
    with Server(FLOOR) as server:
        for mode, c, n, *options in (('echo', 64, 10, '-p', '4'), ('echo', 3, 20, '-m', '100k', '-p', '2'),
                                     ('rate', 5, 20, '-r', '3000'), ('echo', 2, 30, '-m', '7')):
            r = load(mode, server.address, *SAFE, '-c', str(c), '-n', str(n), *options, '--raw',
                     '--pid', server.pid)
            is_plausible(r, c * n)
            has_server_figures(r)


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(('::1', 0))
        return True
    except OSError:
        return False


@case
def echo_over_ipv6_and_by_name():
    if has_ipv6():
        with Server(ECHO, '--host', '::1') as server:
            is_plausible(load('echo', '[::1]:' + server.address.split(':')[-1], *FEW), 40)
    with Server(ECHO) as server:
        is_plausible(load('echo', 'localhost:' + server.address.split(':')[-1], *FEW), 40)


@case
def rate_keeps_its_schedule():
    """The last of 200 messages at 500/s is due 398 ms behind the first, and with its latency the run is over.
    How late the generator sent is in the latencies."""
    with Server(ECHO) as server:
        for threads in '1', '2':
            r = load('rate', server.address, *SAFE, '-r', '500', '-c', '10', '-n', '20', '-t', threads)
            assert 0.396 <= r['seconds'] <= 0.4 + r['max_us'] / 1e6 + 0.001, r
            is_plausible(r, 200)
            for q in 'p50_us', 'p90_us', 'p99_us', 'p999_us', 'max_us':
                assert 0 <= r['late_' + q] <= r[q], (q, r)


@case
def rate_counts_from_the_intended_time():
    """A rest of 200 ms makes all the messages late that were due meanwhile, not one of each connection."""
    rested = []

    def rest_once(echoes, sent):
        if not rested and sent > 20:
            rested.append(True)
            time.sleep(0.2)
        return echo(echoes)

    with Faulty(rest_once) as server:
        r = load('rate', server.address, *SAFE, '-r', '500', '-c', '1', '-n', '500')
    assert r['p99_us'] > 150000 and r['p90_us'] > 50000, r


@case
def fanout_counts_deliveries():
    with Server(ECHO, '--broadcast') as server:
        for publishers, burst in (1, 1), (3, 5):
            r = load('fanout', server.address, *SAFE, '-c', '20', '-n', '12', '--publishers', str(publishers),
                     '--burst', str(burst), '--pid', server.pid)
            is_plausible(r, publishers * 12 * (20 + publishers))
            has_server_figures(r)


@case
def fanout_to_a_server_that_only_echoes_is_lost():
    with Server(ECHO) as server:
        r = load('fanout', server.address, *LOSSY, '-c', '3', '-n', '5', status=1)
    assert r['found'] == {'lost': 3} and r['messages'] == 1, r  # the publisher's own copy came


@case
def idle_reports_memory_and_touch():
    with Server(ECHO) as server:
        r = load('idle', server.address, *SAFE, '-c', '400', '--hold', '0.1', '--touch', '--step', '100,200',
                 '--pid', server.pid)
    assert [s['connections'] for s in r['steps']] == [100, 200], r
    assert 0 <= r['bytes_per_connection'] < 100000 and 0 <= r['steps'][1]['bytes'] < 100000, r
    assert r['handshake_us'] > 0 and r['touch_ms'] > 0 and r['messages'] == 400, r
    assert r['server_us_per_message'] is None and r['seconds'] >= 0.1, r


@case
def idle_without_touch_sends_nothing():
    with Faulty(lambda echoes, sent: b'') as server:
        r = load('idle', server.address, '-c', '3', '--hold', '0.1')
    assert r['messages'] == 0 and r['touch_ms'] is None and server.closes == 3, r


@case
def mixed_accounts_for_every_message():
    """Who sleeps is slow or waits behind one who does, and the rest are the others. How quick those are is
    the machine's affair; what is sorted where, test_bench_rate.c asks by a clock of its own."""
    with Server(ECHO, '--sleep-ms', '20', '--sleep-share', '0.1') as server:
        r = load('mixed', server.address, *SAFE, '-r', '250', '-c', '1', '-n', '100', '--slow-ms', '20')
        assert r['slow_messages'] + r['victims'] + r['others_messages'] == r['messages'] == 100, r
        assert r['slow_messages'] + r['victims'] >= 10 and r['slow_messages'] >= 1, r
        assert r['victims'] <= 5 * r['slow_messages'] and r['slow_excess'] == 0, r
        # Each connection has a message in 200 ms: none was due within 20 ms behind another.
        r = load('mixed', server.address, *SAFE, '-r', '250', '-c', '50', '-n', '2', '--slow-ms', '20')
        assert r['victims'] == 0 and r['slow_messages'] >= 10 and r['max_us'] >= 20000, r
        assert r['slow_messages'] + r['others_messages'] == 100, r


@case
def mixed_excuses_no_more_slow_ones_than_can_have_slept():
    # All sleep, and one in a hundred is excused.
    with Server(ECHO, '--sleep-ms', '10') as server:
        r = load('mixed', server.address, *SAFE, '-r', '200', '-c', '50', '-n', '2', '--slow-ms', '5',
                 '--slow-share', '0.01')
    assert r['others_p50_us'] >= 10000 and r['slow_messages'] == 100 and r['slow_excess'] == 99, r


@case
def deflate_counts_and_tells_the_sizes():
    with Server(ECHO) as server:
        for c, n, *options in ((2, 20), (3, 20, '-t', '3', '-m', '1000'), (2, 10, '-m', '20k', '--no-takeover')):
            r = load('deflate', server.address, *SAFE, '-c', str(c), '-n', str(n), *options, '--pid', server.pid)
            is_plausible(r, c * n)
            has_server_figures(r)
            assert r['handshake_p50_us'] > 0 and r['load_cpu'] > 0, r
            size = int(r['bytes'])
            if size >= 1000:  # shorter messages may go plain
                assert 5 < r['sent_percent'] < 60 and 5 < r['received_percent'] < 60, r


@case
def every_mode_goes_over_tls():
    trusted = '--ca', cert('ca.pem'), *SAFE
    with Server(ECHO, *certified('server')) as server:
        for mode, messages, *options in (('echo', 40, '-n', '20', '-p', '3', '-m', '5000'),
                                         ('rate', 40, '-n', '20', '-r', '2000'),
                                         ('mixed', 40, '-n', '20', '-r', '2000'),
                                         ('churn', 6, '-n', '3', '-t', '2'),
                                         ('deflate', 40, '-n', '20', '-m', '1000'),
                                         ('idle', 2, '--touch', '--hold', '0.05')):
            r = load(mode, wss(server), *trusted, '-c', '2', *options, '--pid', server.pid)
            assert r['messages'] == messages and r['handshake_p50_us'] > 0, r
            if mode != 'idle':
                is_plausible(r, messages)
                has_server_figures(r)
    with Server(ECHO, '--broadcast', *certified('server')) as server:
        is_plausible(load('fanout', wss(server), *trusted, '-c', '4', '-n', '5'), 25)


@case
def a_certificate_is_checked_unless_told_otherwise():
    with Server(ECHO, *certified('stranger')) as server:
        for mode, options in ('echo', FEW), ('deflate', FEW):
            r = load(mode, wss(server), '--ca', cert('ca.pem'), *options, status=1)
            assert r['found'] == {'connect': 2} and r['messages'] == 0, r
            for name in 'handshake_p50_us', 'handshake_p99_us', 'p50_us':
                assert r[name] is None, (name, r)
            is_plausible(load(mode, wss(server), '--insecure', *options), 40)


@case
def deflate_goes_with_a_server_that_is_not_ours():
    with Deflating(lambda echoes, sent: b''.join(packed(*e) for e in echoes), cert('server.pem'),
                   cert('server.key')) as server:
        r = load('deflate', wss(server), '--ca', cert('ca.pem'), *FEW, '-m', '1000')
    is_plausible(r, 40)
    assert 5 < r['sent_percent'] < 60 and 5 < r['received_percent'] < 60, r


@case
def headers_and_origin_are_sent():
    with Faulty(lambda echoes, sent: echo(echoes)) as server:
        load('echo', server.address + '/chat?room=1#x', *FEW, '--header', 'X-Token: abc',
             '--header', 'Cookie: a=b', '--origin', 'http://example.org')
        request = server.requests[0].split('\r\n')
    assert request[0] == 'GET /chat?room=1 HTTP/1.1', request
    wanted = {'X-Token: abc', 'Cookie: a=b', 'Origin: http://example.org', f'Host: {server.address}'}
    assert wanted <= set(request), request


@case
def the_table_and_the_progress_are_for_people():
    shown = threading.Event()

    def wait_for_progress(echoes, sent):
        assert shown.wait(PATIENCE_S)
        return echo(echoes)

    with Faulty(wait_for_progress) as server:
        process = subprocess.Popen([BENCH, 'echo', url_of(server.address), *FEW, '--pid', str(os.getpid())],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for line in process.stderr:  # one a second; before both are open, as long as that takes
            if '2 open' in line:
                break
        shown.set()
        out = process.communicate(timeout=PATIENCE_S)[0]
    assert '2 open' in line and 'messages' in line and '/s' in line, line
    assert process.returncode == 0 and 'server_us_per_message' in out and 'p99_us' in out, out
    assert 'ERRORS' not in out, out


@case
def a_result_that_cannot_be_written_is_an_error():
    with Server(ECHO) as server, open('/dev/full', 'w') as full:
        for options in [], ['--json']:
            done = subprocess.run([BENCH, 'echo', url_of(server.address), *FEW, '--quiet', *options],
                                  stdout=full, stderr=subprocess.PIPE, text=True, timeout=PATIENCE_S)
            assert done.returncode == 2 and 'could not be written' in done.stderr, done


def in_fragments(echoes, sent):
    out = b''
    for opcode, payload in echoes:
        out += frame(opcode, payload[:7], final=False) + frame(9, b'between') + frame(0, b'', final=False)
        out += frame(0, payload[7:])
    return out


@case
def fragments_and_pings_are_taken():
    with Faulty(in_fragments) as server:
        r = load('echo', server.address, *FEW, '-p', '3', '-m', '200')
    assert r['messages'] == 40 and 2 <= server.pongs <= 40, (r, server.pongs)


@case
def bytes_may_come_one_at_a_time():
    class Slowly(Faulty):
        def echo(self, peer, data):
            whole = peer.sendall

            class Peer:
                recv = peer.recv

                @staticmethod
                def sendall(out):
                    for byte in out:
                        whole(bytes([byte]))
            super().echo(Peer, data)

    for size in '19', '300':
        with Slowly(in_fragments) as server:
            assert load('echo', server.address, *FEW, '-m', size, '-n', '5')['messages'] == 10


@case
def bad_command_lines_end_with_2():
    for line, says in (([], 'mode and a URL'), (['echo'], 'mode and a URL'),
                       (['echo', 'ws://h/', '-c', 'x'], '--connections'),
                       (['echo', 'http://h/'], 'ws://'), (['echo', 'wss://127.0.0.1:1/', '--ca', '/no/such/file'], 'cannot begin'),
                       (['deflate', 'wss://127.0.0.1:1/', '--ca', '/no/such/file'], 'cannot begin'),
                       (['deflate', 'ws://127.0.0.1:1/', '--raw'], 'none of --raw'),
                       (['echo', 'ws://127.0.0.1:1/', '--insecure'], 'for wss'),
                       (['echo', 'ws://127.0.0.1:0/'], 'port'),
                       (['echo', 'ws://[::zz]:1/'], '[::zz]'),  # a name would be asked for, somewhere
                       (['echo', 'ws://127.0.0.1:1/', '--pid', '4194304'], 'no process 4194304'),
                       (['echo', 'ws://127.0.0.1:1/', '--nonsense'], '--nonsense'),
                       (['echo', 'ws://127.0.0.1:1/', '-m', '64m', '-p', '64'], 'under way'),
                       (['rate', 'ws://127.0.0.1:1/'], '--rate'),
                       (['idle', 'ws://127.0.0.1:1/', '-p', '3'], '--in-flight')):
        done = bench(*line)
        assert done.returncode == 2, (line, done)
        assert done.stderr.startswith('weft-bench: ') and says in done.stderr, (line, done)
        assert done.stderr.count('\n') == 1, (line, done)
        assert done.stdout == '', (line, done)
    help_text = bench('--help')
    assert help_text.returncode == 0 and '--in-flight' in help_text.stdout, help_text


def limited(descriptors, *arguments, **user):
    command = ['sh', '-c', f'ulimit -n {descriptors}; exec "$0" "$@"', BENCH, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, **user)


@case
def more_connections_than_descriptors_are_refused_clearly():
    user = {'user': 65534, 'group': 65534, 'extra_groups': []} if os.geteuid() == 0 else {}
    done = limited(200, 'echo', 'ws://127.0.0.1:1/', '-c', '500', **user)
    if done.returncode in (126, 127):  # the build is where nobody else may look
        return
    assert done.returncode == 2 and 'ulimit -n' in done.stderr, done
    done = limited(200, 'echo', 'ws://127.0.0.1:1/', '-c', '130', '-t', '130', **user)
    assert done.returncode == 2 and 'ulimit -n' in done.stderr, done
