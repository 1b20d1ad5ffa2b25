"""Each mode against servers that are right, some of them in an unusual way."""
import os
import pathlib
import resource
import subprocess
import tempfile
import time

from faulty import Faulty, echo, frame
from harness import BENCH, ECHO, FEW, FLOOR, SHORT, Server, bench, case
from harness import has_server_figures, is_plausible, load


@case
def echo_of_every_size_and_kind():
    with Server(ECHO) as server:
        for options in (['-c', '8'], ['-c', '4', '-p', '16'], ['-c', '3', '-t', '3', '-m', '1000'],
                        ['-c', '5', '-t', '2', '-p', '3'], ['-c', '2', '-m', '64k', '-p', '8'],
                        ['-c', '2', '-m', '0'],
                        ['-c', '2', '-m', '1', '-p', '5'], ['-c', '2', '-m', '13', '--binary'],
                        ['-c', '2', '-m', '5001', '--utf8', '-p', '3'], ['-c', '2', '-m', '1001', '--utf8']):
            r = load('echo', server.address, *SHORT, *options, '--pid', server.pid, '--label', 'a "label"')
            is_plausible(r)
            has_server_figures(r)
            assert r['mode'] == 'echo' and r['label'] == 'a "label"', r


@case
def echo_without_pid_has_no_server_figures():
    with Server(ECHO) as server:
        r = load('echo', server.address, *SHORT)
        is_plausible(r)
        assert r['server_us_per_message'] is None and r['server_rss_bytes'] is None, r


@case
def echo_over_a_unix_socket():
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / 's'
        process = subprocess.Popen([ECHO, '--unix', path], stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline().startswith('listening on ')
        is_plausible(load('echo', f'ws+unix:{path}', *SHORT, '-c', '40'))
        is_plausible(load('churn', f'ws+unix:{path}', *SHORT, '-c', '40'))
        process.terminate()
        assert process.wait(20) == 0


@case
def raw_modes_drive_the_floor():
    with Server(FLOOR) as server:
        for mode, *options in (['echo', '-p', '4'], ['echo', '-m', '100k', '-c', '3', '-p', '2'],
                               ['rate', '-r', '3000'], ['churn', '-c', '4'], ['echo', '-m', '7']):
            r = load(mode, server.address, *SHORT, *options, '--raw', '--pid', server.pid)
            is_plausible(r)
            has_server_figures(r)


@case
def echo_over_ipv6_and_by_name():
    with Server(ECHO, '--host', '::1') as server:
        port = server.address.split(':')[-1]
        is_plausible(load('echo', f'[::1]:{port}', *SHORT, '-c', '4'))
    with Server(ECHO) as server:
        is_plausible(load('echo', 'localhost:' + server.address.split(':')[-1], *SHORT, '-c', '4'))


@case
def rate_keeps_its_rate():
    with Server(ECHO) as server:
        for threads in '1', '2':
            r = load('rate', server.address, '-r', '2000', '-c', '10', '-t', threads, '-d', '1', '-w', '0.1')
            is_plausible(r)
            assert 1800 < r['messages_per_s'] < 2200, r
            assert r['late_p50_us'] <= r['p50_us'], r


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
        r = load('rate', server.address, '-r', '500', '-c', '1', '-d', '1', '-w', '0')
    assert r['p99_us'] > 150000 and r['p90_us'] > 50000, r


@case
def fanout_counts_deliveries():
    with Server(ECHO, '--broadcast') as server:
        for publishers, burst in ('1', '1'), ('3', '5'):
            r = load('fanout', server.address, *SHORT, '-c', '20', '--publishers', publishers,
                     '--burst', burst, '--pid', server.pid)
            is_plausible(r)
            has_server_figures(r)


@case
def fanout_to_a_server_that_only_echoes_is_lost():
    with Server(ECHO) as server:
        r = load('fanout', server.address, *SHORT, '-c', '3', status=1)
    assert r['errors']['lost'] == 3, r  # of the first message the publisher's own copy came


@case
def churn_counts_connections():
    with Server(ECHO) as server:
        for threads in '1', '2':
            r = load('churn', server.address, *SHORT, '-c', '8', '-t', threads, '--pid', server.pid)
            is_plausible(r)
            has_server_figures(r)


@case
def idle_reports_memory_and_touch():
    with Server(ECHO) as server:
        r = load('idle', server.address, '-c', '400', '--hold', '0.1', '--touch', '--step', '100,200',
                 '--pid', server.pid)
    assert [s['connections'] for s in r['steps']] == [100, 200], r
    assert 0 <= r['bytes_per_connection'] < 20000 and 0 <= r['steps'][1]['bytes'] < 20000, r
    assert r['handshake_us'] > 1 and r['touch_ms'] > 0 and r['messages'] == 400, r
    assert r['server_us_per_message'] is None, r


@case
def idle_without_touch_sends_nothing():
    with Faulty(lambda echoes, sent: b'') as server:
        r = load('idle', server.address, '-c', '3', '--hold', '0.1')
    assert r['messages'] == 0 and r['touch_ms'] is None and server.closes == 3, r


@case
def mixed_tells_sleepers_victims_and_others_apart():
    # One connection, so that who waits behind a sleeper is known: with a message each 4 ms and every tenth
    # asleep for 20 ms, about four wait behind each.
    with Server(ECHO, '--sleep-ms', '20', '--sleep-share', '0.1') as server:
        r = load('mixed', server.address, '-r', '250', '-c', '1', '-d', '1', '-w', '0', '--slow-ms', '20',
                 '--slow-share', '0.2')
        assert r['victims'] >= 2 * r['slow_messages'] > 20, r
        assert r['others_p50_us'] < 10000, r
        spread = load('mixed', server.address, '-r', '250', '-c', '50', '-d', '1', '-w', '0',
                      '--slow-ms', '20')
        assert spread['victims'] == 0 or spread['victims'] < spread['slow_messages'] / 2, spread
        assert 0.05 < spread['slow_share'] < 0.3 and spread['others_p99_us'] < 20000, spread
        assert spread['p99_us'] >= 20000 and spread['slow_excess'] == 0, spread


@case
def mixed_excuses_no_more_slow_ones_than_can_have_slept():
    # All sleep, and one in a hundred is excused.
    with Server(ECHO, '--sleep-ms', '10') as server:
        r = load('mixed', server.address, '-r', '200', '-c', '50', '-d', '0.5', '-w', '0', '--slow-ms', '5',
                 '--slow-share', '0.01')
    assert r['others_p50_us'] >= 10000 and r['slow_excess'] > 0.9 * r['slow_messages'], r


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
    with Server(ECHO) as server:
        done = bench('echo', f'ws://{server.address}/', '-c', '4', '-d', '1.3', '-w', '0',
                     '--pid', server.pid)
    assert done.returncode == 0 and 'server_us_per_message' in done.stdout and 'p99_us' in done.stdout, done
    assert 'messages' in done.stderr and '/s' in done.stderr, done
    assert 'ERRORS' not in done.stdout, done


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
        assert r['messages'] > 20 and server.pongs > 20, (r, server.pongs)


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
            assert load('echo', server.address, *FEW, '-m', size)['messages'] > 2


@case
def bad_command_lines_end_with_2():
    for line, says in (([], 'mode and a URL'), (['echo'], 'mode and a URL'),
                       (['echo', 'ws://h/', '-c', 'x'], '--connections'),
                       (['echo', 'http://h/'], 'ws://'), (['echo', 'wss://127.0.0.1:1/'], 'no TLS'),
                       (['deflate', 'ws://127.0.0.1:1/'], 'no compression'),
                       (['echo', 'ws://127.0.0.1:0/'], 'port'),
                       (['echo', 'ws://no.such.host.invalid:1/'], 'no.such.host.invalid'),
                       (['echo', 'ws://127.0.0.1:1/', '--pid', '4194304'], 'no process 4194304'),
                       (['echo', 'ws://127.0.0.1:1/', '--nonsense'], '--nonsense'),
                       (['rate', 'ws://127.0.0.1:1/'], '--rate'),
                       (['idle', 'ws://127.0.0.1:1/', '-p', '3'], '--in-flight')):
        done = bench(*line)
        assert done.returncode == 2, (line, done)
        assert done.stderr.startswith('weft-bench: ') and says in done.stderr, (line, done)
        assert done.stderr.count('\n') == 1, (line, done)
        assert done.stdout == '', (line, done)
    help_text = bench('--help')
    assert help_text.returncode == 0 and '--in-flight' in help_text.stdout, help_text


@case
def more_connections_than_descriptors_are_refused_clearly():
    def lower():
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
        os.setuid(65534)
    if os.geteuid() != 0:
        return
    try:
        done = subprocess.run([BENCH, 'echo', 'ws://127.0.0.1:1/', '-c', '500'], capture_output=True,
                              text=True, timeout=20, preexec_fn=lower)
    except PermissionError:  # the build is where nobody else may look
        return
    assert done.returncode == 2 and 'ulimit -n' in done.stderr, done
