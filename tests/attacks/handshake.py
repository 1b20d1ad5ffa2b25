#!/usr/bin/env python3
"""Attacks on the opening handshake."""
import os
import re
import threading
import time

from attack import BINARY, FIN, KEY, TEXT, Group, Peer, Server, chat_of, check, frame, request, wait_for

group = Group('handshake')

# One answer, and then the end: nothing behind a refused request is taken for another one.
BEHIND = b'GET /second HTTP/1.1\r\nHost: weft.test\r\n\r\n'


def answers(server, data, behind=b''):
    """The statuses of all answers until the end."""
    with Peer(server) as peer:
        peer.put(data + behind)
        return [int(s) for s in re.findall(rb'HTTP/1\.1 (\d{3}) ', peer.rest())]


def refused_with(server, data, *statuses, behind=BEHIND):
    got = answers(server, data, behind)
    check(len(got) == 1 and got[0] in statuses, data[:120], 'was answered with', got, 'instead of', statuses)


@group.everywhere
def too_many_headers(programs, options):
    with Server(programs.echo, *options) as s:
        with s.costs(mib=4, cpu_s=0.5):
            for count in (65, 200, 1000):
                refused_with(s, request(*['A: b'] * count), 431)
        with Peer(s) as peer:
            peer.open(*[f'X-{i}: b' for i in range(50)])
        s.serves()


@group.everywhere
def an_endless_line(programs, options):
    with Server(programs.echo, *options) as s:
        with s.costs(mib=4, cpu_s=1.0):
            for head in (b'', b'GET /', b'GET / HTTP/1.1\r\nHost: x\r\nCookie: ', b'GET / HTTP/1.1\r\n'):
                with Peer(s) as peer:
                    peer.put(head + b'a' * (4 << 20))
                    status = peer.head()[0]
                    check(status in (0, 400, 414, 431, 501), 'answered with', status)
        s.serves()


@group.in_modes
def a_header_that_never_ends_at_a_few_bytes_a_second(programs, options):
    """The deadline is absolute: a byte now and then does not move it."""
    with Server(programs.echo, '--open-timeout-ms', 1000, *options) as s:
        with s.costs(mib=8, cpu_s=0.7):
            began = time.monotonic()
            peers = [Peer(s) for _ in range(100)]
            for peer in peers:
                peer.put(b'GET / HTTP/1.1\r\nHost: weft.test\r\nCookie: ')
            living = set(peers)
            for peer in peers:
                peer.socket.setblocking(False)
            while living and time.monotonic() - began < 20:
                for peer in list(living):
                    try:
                        peer.socket.send(b'a')
                        if b'HTTP/1.1 408' in (peer.socket.recv(4096) or b'HTTP/1.1 408'):
                            living.discard(peer)
                    except BlockingIOError:
                        pass
                    except ConnectionError:
                        living.discard(peer)
                time.sleep(0.1)
            took = time.monotonic() - began
            check(not living, len(living), 'are still there after', took)
            check(0.9 < took < 10, 'they were there for', took)
            for peer in peers:
                peer.socket.close()
        wait_for(lambda: s.stats()['handshaking'] == 0, 'all are gone')
        s.serves()


@group.everywhere
def a_long_uri(programs, options):
    with Server(programs.echo, *options) as s:
        refused_with(s, request(line='GET /' + 'a' * 9000 + ' HTTP/1.1'), 414, 431)
        refused_with(s, request(line='GET /?' + '%41' * 5000 + ' HTTP/1.1'), 414, 431)
        s.serves()


@group.in_modes
def quadratic_lists_and_quoted_strings(programs, options):
    """60 KB of them, fifty times, in a tenth of the time that squares would take."""
    values = {
        'Sec-WebSocket-Extensions': [
            ',' * 60000, 'a,' * 30000, 'a;' * 30000, 'permessage-deflate,' * 3000,
            'permessage-deflate;client_max_window_bits,' * 1400, 'a;b="' + '\\"' * 29000 + '"',
            'a;b="' + '\\' * 59000, '"' * 60000, 'a;b=c,' * 10000, 'permessage-deflate' + ';server_max_window_bits=15' * 2000,
            'a' + ' ' * 59000 + ';b'],
        'Sec-WebSocket-Protocol': [',' * 60000, 'a,' * 30000, ','.join(f'p{i}' for i in range(8000)), 'a' + '\t ' * 29000],
        'Connection': ['keep-alive,' * 5400, ',' * 60000, 'upgrade,' * 7000, 'x' + ' ' * 60000],
    }
    with Server(programs.echo, '--head-bytes-max', 65535, *options) as s:
        for name, attacks in values.items():
            with s.costs(mib=8, cpu_s=1.5):
                for value in attacks:
                    for _ in range(5):
                        with Peer(s) as peer:
                            status = peer.ask(request(f'{name}: {value}'))
                            check(status in (101, 400, 431), name, value[:40], 'was answered with', status)
        s.serves()


@group.everywhere
def nul_and_control_characters(programs, options):
    bad = [bytes([b]) for b in range(32) if b not in (9, 10, 13)] + [b'\x7f', b'\r']
    places = [b'G%sET / HTTP/1.1', b'GET /%s HTTP/1.1', b'GET / HTTP/1.1%s', b'GET / HTTP/1.1\r\nX%s: a',
              b'GET / HTTP/1.1\r\nX: a%sb', b'GET / HTTP/1.1\r\n%sX: a']
    end = b'\r\n' + request().partition(b'\r\n')[2]
    with Server(programs.echo, *options) as s:
        for place in places:
            for byte in bad:
                got = answers(s, place.replace(b'%s', byte) + end)
                check(len(got) <= 1 and got in ([400], [505], [501], [405], []), place, byte, 'was answered with', got)
        refused_with(s, request('Sec-WebSocket-Protocol: a\x00b'), 400)
        refused_with(s, request(host='weft\x00.test'), 400)
        s.serves()


@group.in_modes
def obsolete_folding_and_other_ways_to_hide_a_header(programs, options):
    with Server(programs.echo, *options) as s:
        for extra in ('X: a\r\n b\r\n', 'X: a\r\n\tb\r\n', ' X: a\r\n', 'X : a\r\n', 'X\t: a\r\n', ': a\r\n', 'X\r\n'):
            refused_with(s, request(extra=extra), 400)
        refused_with(s, b'GET / HTTP/1.1\r\n Host: a\r\n' + request().partition(b'\r\n')[2], 400)
        s.serves()


@group.everywhere
def bad_keys_and_versions(programs, options):
    with Server(programs.echo, *options) as s:
        for key in ('', 'a', KEY[:-1], KEY + '=', 'dGhlIHNhbXBsZSBub25j', KEY[:-2] + '!=', '=' * 24, 'AAAA' * 2000 + '==',
                    KEY + ', ' + KEY, '"' + KEY + '"', None):
            refused_with(s, request(key=key), 400)
        refused_with(s, request(f'Sec-WebSocket-Key: {KEY}'), 400)
        for version in ('12', '14', '0', '-13', '13, 8', '013', '13.0', 'x', '', '1' * 5000, '4294967309', None):
            refused_with(s, request(version=version), 400, 426)
        refused_with(s, request('Sec-WebSocket-Version: 8'), 400, 426)
        with Peer(s) as peer:
            peer.put(request(version='8'))
            status, head = peer.head()
            check(status == 426 and b'Sec-WebSocket-Version: 13' in head, status, head)
        s.serves()


@group.in_modes
def other_methods_and_versions_of_http(programs, options):
    with Server(programs.echo, *options) as s:
        for method in ('POST', 'PUT', 'HEAD', 'OPTIONS', 'DELETE', 'TRACE', 'CONNECT', 'PATCH', 'get', 'GETT', 'X' * 4000, ''):
            got = answers(s, request(line=f'{method} / HTTP/1.1'), BEHIND)
            check(len(got) == 1 and 400 <= got[0] < 600, method[:20], 'was answered with', got)
        for version in ('HTTP/1.0', 'HTTP/0.9', 'HTTP/2.0', 'HTTP/3', 'HTTP/1.', 'HTTP/11.1', 'HTTP/1.10', 'http/1.1', 'ICY/1.1',
                        'HTTP/-1.1', 'HTTP/999999999999.1', ''):
            got = answers(s, request(line=f'GET / {version}'), BEHIND)
            check(len(got) <= 1 and (not got or 400 <= got[0] < 600), version, 'was answered with', got)
        answers(s, b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00')
        s.serves()


@group.everywhere
def a_missing_or_doubled_host(programs, options):
    with Server(programs.echo, *options) as s:
        refused_with(s, request(host=None), 400)
        refused_with(s, request('Host: weft.test'), 400)
        refused_with(s, request('hOST: other.test'), 400)
        s.serves()


@group.everywhere
def request_smuggling(programs, options):
    """Whatever the lengths say, one request gets one answer, and then the connection ends."""
    lengths = ['Content-Length: -1', 'Content-Length: +5', 'Content-Length: 0x5', 'Content-Length: 5 5',
               'Content-Length: 5, 5', 'Content-Length: 99999999999999999999999999', 'Content-Length: 18446744073709551616',
               'Content-Length:', 'Content-Length: 5\r\nContent-Length: 6', 'Content-Length: 5\r\nContent-Length: 5',
               'Content-Length: 5\r\nTransfer-Encoding: chunked', 'Transfer-Encoding: chunked',
               'Transfer-Encoding: chunked\r\nContent-Length: 0', 'Transfer-Encoding: identity, chunked',
               'Transfer-Encoding: xchunked', 'Transfer-Encoding:\tchunked', 'Content-Length: 41', 'Content-Length: 5']
    with Server(programs.echo, *options) as s:
        for upgrade in (True, False):
            for length in lengths:
                data = request(*length.split('\r\n')) if upgrade else \
                    f'GET / HTTP/1.1\r\nHost: weft.test\r\n{length}\r\n\r\n'.encode()
                got = answers(s, data, BEHIND)
                check(len(got) == 1, length, 'was answered with', got)
                check(400 <= got[0] < 600, length, 'was answered with', got)
        s.serves()


@group.in_modes
def frames_sent_with_the_request_are_kept(programs, options):
    with Server(programs.echo, *options) as s:
        with Peer(s) as peer:
            peer.put(request() + frame(FIN | TEXT, b'early') + frame(FIN | BINARY, b'x' * 70000) + frame(FIN | TEXT, b'late'))
            check(peer.head()[0] == 101)
            check(peer.hears() == 'early' and peer.hears() == b'x' * 70000 and peer.hears() == 'late')
        with Peer(s) as peer:
            data = request() + frame(FIN | TEXT, b'byte by byte')
            for i in range(len(data)):
                peer.put(data[i:i + 1])
            check(peer.head()[0] == 101 and peer.hears() == 'byte by byte')
        s.serves()


@group.attack
def a_refused_upgrade_and_bytes_behind_it(programs):
    """The bytes are neither frames nor another request, and do not overtake the answer by a reset."""
    with Server(chat_of(programs)) as s:
        for data in (request(line='GET /nowhere HTTP/1.1'), request(line='POST /chat HTTP/1.1'), request(version='7')):
            for behind in (frame(FIN | TEXT, b'hello'), BEHIND * 20, os.urandom(100000)):
                got = answers(s, data, behind)
                check(len(got) == 1 and got[0] in (404, 405, 400, 426), got)


@group.in_modes
def garbage_and_tls_at_a_plain_port(programs, options):
    hello = bytes.fromhex('16030100f8010000f40303') + os.urandom(240)
    with Server(programs.echo, *options) as s:
        with s.costs(mib=4, cpu_s=1.0):
            for data in [hello, b'\x80\x2e\x01\x00\x02', b'\x00' * 100, b'\xff' * 20000, b'\r\n' * 5000, b' ' * 9000,
                         b'SSH-2.0-x\r\n', b'\r\n\r\n\r\n'] + [os.urandom(3000) for _ in range(50)]:
                with Peer(s) as peer:
                    peer.put(data + b'\r\n\r\n')
                    peer.socket.shutdown(1)
                    check(len(re.findall(rb'HTTP/1\.1', peer.rest())) <= 1)
        s.serves()


@group.in_modes
def a_flood_of_handshakes(programs, options):
    """Silent sockets take the places of handshakes; an address has only so many, and others come in at once."""
    with Server(programs.echo, '--open-timeout-ms', 60000, '--handshakes-max', 64, '--connections-per-address-max', 50,
                *options) as s:
        with s.costs(mib=8, cpu_s=1.5):
            silent = [Peer(s, source='127.0.0.9') for _ in range(400)]
            began = time.monotonic()
            s.serves(source='127.0.0.2')
            check(time.monotonic() - began < 10, 'it took', time.monotonic() - began)
            wait_for(lambda: s.stats()['refused_connections'] >= 300, 'most are refused')
            check(s.stats()['handshaking'] <= 50)
            for peer in silent:
                peer.socket.close()
        wait_for(lambda: s.stats()['connections'] + s.stats()['handshaking'] == 0, 'all are gone')
        s.serves(source='127.0.0.9')


@group.in_modes
def handshakes_beyond_their_limit_wait(programs, options):
    """Silent sockets of many addresses: no more are taken than may be in flight, and the rest costs nothing here."""
    with Server(programs.echo, '--open-timeout-ms', 600000, '--handshakes-max', 64, *options) as s:
        with s.costs(mib=4, cpu_s=0.5):
            silent = [Peer(s, source=f'127.0.0.{i % 100 + 2}') for i in range(200)]
            wait_for(lambda: s.stats()['handshaking'] >= 64, 'as many as may be are in flight')
            wait_for(s.is_at_rest, 'nothing more is done')
            stats = s.stats()
            check(stats['handshaking'] == 64 and stats['accepted'] == 64, stats['handshaking'], stats['accepted'])
        for peer in silent:
            peer.socket.close()
        s.serves()


@group.in_modes
def a_flood_of_connects(programs, options):
    """So many times connect, ask and go, from four threads."""
    with Server(programs.echo, *options) as s:
        def storm():
            for i in range(300):
                with Peer(s) as peer:
                    if i % 3:
                        peer.put(request()[:i])
        with s.costs(mib=12, cpu_s=4.0):
            threads = [threading.Thread(target=storm) for _ in range(4)]
            for t in threads:
                t.start()
            s.serves()
            for t in threads:
                t.join()
        wait_for(lambda: s.stats()['connections'] + s.stats()['handshaking'] == 0, 'all are gone')
        s.serves()


@group.in_modes
def too_many_handshakes_a_second(programs, options):
    with Server(programs.echo, '--handshakes-per-second-max', 2, '--handshakes-burst', 10, *options) as s:
        got, began = [], time.monotonic()
        for _ in range(60):
            with Peer(s) as peer:
                got.append(peer.ask(request()))
        most = 10 + 2 * (time.monotonic() - began) + 1
        check(set(got) == {101, 429} and 10 <= got.count(101) <= most, got, 'at most', most)
        s.serves(source='127.0.0.2')
        check(s.stats()['refused_rate'] == got.count(429))


def origins(s, path):
    for origin in ('https://evil.test', 'null', 'https://good.test.evil.test', 'http://good.test', 'https://good.test:444',
                   'https://good.test/', 'https://good.test, https://evil.test', '', ' ', 'https://evil.test\r\nOrigin: '
                   'https://good.test', 'https://good.test\r\nOrigin: https://evil.test', 'https://good.test@evil.test'):
        with Peer(s) as peer:
            status = peer.ask(request(*f'Origin: {origin}'.split('\r\n'), line=f'GET {path} HTTP/1.1'))
            check(status in (400, 403), origin, 'was answered with', status)
    with Peer(s) as peer:
        peer.open('Origin: https://good.test', path=path)
    with Peer(s) as peer:
        peer.open(path=path)  # no browser


@group.attack
def pages_of_other_sites(programs):
    for program, path in ((programs.echo, '/'), (chat_of(programs), '/chat')):
        with Server(program, '--origin', 'https://good.test') as s:
            origins(s, path)


if __name__ == '__main__':
    group.main()
