#!/usr/bin/env python3
"""Attacks with frames."""
import time

from attack import BINARY, CLOSE, FIN, PING, PONG, TEXT, Group, Peer, Server, check, close_payload, frame, wait_for

group = Group('framing')
CONTINUATION = 0


def closed_with(server, data, *codes, behind=b''):
    """The code of the Close that answers this; nothing else comes before it."""
    with Peer(server) as peer:
        peer.open()
        peer.put(data + behind)
        got = peer.next()
        code = 1006 if got is None else int.from_bytes(got[1][:2], 'big') if got[0] == FIN | CLOSE else got
        check(code in codes, data[:40], 'was answered with', code, 'instead of', codes)
        peer.rest()


def head(first, length, form=64, mask=b'\x11\x22\x33\x44'):
    """Of a frame whose payload is not sent."""
    return frame(first, b'', mask, length, form)


@group.everywhere
def lengths_with_the_top_bit_set(programs, options):
    with Server(programs.echo, *options) as s:
        with s.costs(mib=4, cpu_s=0.5):
            for n in (1 << 63, (1 << 64) - 1, 1 << 63 | 5, 0xffffffff00000005):
                for first in (FIN | TEXT, FIN | BINARY, BINARY, FIN | PING):
                    closed_with(s, head(first, n), 1002, 1009)
        s.serves()


@group.everywhere
def lengths_whose_sums_wrap(programs, options):
    """What the fragments add up to passes 2^32 and 2^64."""
    with Server(programs.echo, *options) as s:
        with s.costs(mib=8, cpu_s=0.5):
            for first in (1, 100, 65536):
                for n in ((1 << 32) - first, (1 << 32) - 1, 1 << 32, (1 << 31) - 1, 1 << 31, (1 << 63) - 1, (1 << 63) - first):
                    closed_with(s, frame(BINARY, b'x' * first) + head(FIN | CONTINUATION, n), 1009)
                    closed_with(s, frame(BINARY, b'x' * first) + head(CONTINUATION, n), 1009)
        s.serves()


@group.in_modes
def lengths_that_are_announced_and_never_sent(programs, options):
    """500 of them cost next to nothing: memory comes with the bytes."""
    with Server(programs.echo, '--message-bytes-max', 1 << 30, *options) as s:
        peers = [Peer(s) for _ in range(500)]
        for peer in peers:
            peer.open()
        with s.costs(mib=6, cpu_s=1.0):
            for i, peer in enumerate(peers):
                peer.put(head(FIN | BINARY, 1 << 30) + b'x' * (i % 50))
            s.serves()
            time.sleep(0.2)
        for peer in peers:
            peer.socket.close()
        wait_for(lambda: s.stats()['connections'] == 0, 'all are gone')
        s.serves()


@group.in_modes
def lengths_that_are_not_minimal(programs, options):
    with Server(programs.echo, *options) as s:
        for n, form in ((0, 16), (1, 16), (125, 16), (0, 64), (125, 64), (126, 64), (65535, 64)):
            for first in (FIN | TEXT, BINARY, FIN | PING):
                closed_with(s, frame(first, b'a' * n, form=form), 1002)
        for n, form in ((126, 16), (65535, 16), (65536, 64)):
            with Peer(s) as peer:
                peer.open()
                peer.put(frame(FIN | TEXT, b'a' * n, form=form))
                check(len(peer.hears()) == n)


@group.everywhere
def a_million_empty_fragments(programs, options):
    with Server(programs.echo, *options) as s:
        with s.costs(mib=8, cpu_s=3.0):
            closed_with(s, frame(BINARY) + frame(CONTINUATION) * 1000000, 1008)
        s.serves()


@group.in_modes
def a_million_fragments_of_one_byte(programs, options):
    """Refused by default; and where they are allowed they cost what one message costs."""
    data = frame(BINARY, b'x') + frame(CONTINUATION, b'x') * 999998
    with Server(programs.echo, *options) as s:
        with s.costs(mib=8, cpu_s=3.0):
            closed_with(s, data, 1008)
    with Server(programs.echo, '--fragments-max', 1000000, *options) as s:
        with s.costs(mib=24, cpu_s=6.0), Peer(s) as peer:
            peer.open()
            peer.put(data + frame(FIN | CONTINUATION, b'y'))
            check(peer.hears() == b'x' * 999999 + b'y')
        s.serves()


@group.in_modes
def fragments_without_end(programs, options):
    """As large as is allowed, and one more each time: by bytes."""
    with Server(programs.echo, '--message-bytes-max', 100000, *options) as s:
        with s.costs(mib=8, cpu_s=1.0):
            for _ in range(20):
                closed_with(s, frame(TEXT, b'a' * 1000) + frame(CONTINUATION, b'a' * 1000) * 200, 1009)
        s.serves()


@group.everywhere
def a_flood_of_pings_by_a_peer_that_does_not_read(programs, options):
    """64 Pongs wait; then the socket is not read, so TCP stops the peer. At most one read has come in beyond them."""
    ping, pong_bytes, one_read = frame(FIN | PING, b'p' * 125), 127, 256 * 1024
    flood = ping * 200000
    with Server(programs.echo, *options) as s:
        with s.costs(mib=4, cpu_s=4.0), Peer(s, receive_bytes=4096) as peer:
            peer.open()
            sent = peer.put_until_full(flood)
            check(sent < len(flood), 'all of', len(flood), 'bytes were taken')
            stats = s.stats()
            waiting = stats['bytes_in'] // len(ping) - stats['bytes_out'] // pong_bytes
            check(waiting <= 64 + one_read // len(ping) + 2, waiting, 'Pings were read and not answered')
            s.serves()
            peer.reset()
        wait_for(lambda: s.stats()['connections'] == 0, 'it is gone')


@group.everywhere
def ten_pings_get_ten_pongs(programs, options):
    with Server(programs.echo, *options) as s:
        with Peer(s) as peer:
            peer.open()
            for pause in (0, 0.02):
                for i in range(10):
                    peer.put(frame(FIN | PING, b'%d' % i))
                    time.sleep(pause)
                got = [peer.next() for _ in range(10)]
                check(got == [(FIN | PONG, b'%d' % i) for i in range(10)], got)


@group.over_tls_too
def a_flood_of_unsolicited_pongs(programs, options):
    with Server(programs.echo, *options) as s:
        with s.costs(mib=4, cpu_s=2.0), Peer(s) as peer:
            peer.open()
            check(peer.put(frame(FIN | PONG, b'p' * 125) * 50000 + frame(FIN | PONG) * 50000))
            peer.say('behind them')
            check(peer.hears() == 'behind them')


@group.everywhere
def bad_close_payloads(programs, options):
    with Server(programs.echo, *options) as s:
        closed_with(s, frame(FIN | CLOSE, b'x'), 1002)
        for code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535):
            closed_with(s, frame(FIN | CLOSE, close_payload(code)), 1002)
        for reason in (b'\xff', b'\xc0\x80', b'\xed\xa0\x80', b'\xf4\x90\x80\x80', b'abc\xe2\x82', b'a' * 122 + b'\xc3'):
            closed_with(s, frame(FIN | CLOSE, close_payload(1000, reason)), 1007, 1002)
        closed_with(s, frame(FIN | CLOSE, close_payload(1000, b'a' * 124)), 1002)
        closed_with(s, frame(CLOSE, close_payload(1000)), 1002)
        closed_with(s, frame(FIN | CLOSE, close_payload(1000, b'a' * 123)), 1000)
        closed_with(s, frame(FIN | CLOSE), 1005, 0)
        s.serves()


@group.over_tls_too
def a_flood_behind_close_is_thrown_away(programs, options):
    with Server(programs.echo, '--close-timeout-ms', 1000, *options) as s:
        with s.costs(mib=4, cpu_s=2.0):
            closed_with(s, frame(FIN | CLOSE, close_payload(1000)), 1000, behind=frame(FIN | TEXT, b'a' * 100) * 100000)
        with Peer(s) as peer:  # it goes on writing, and never ends its side
            peer.open()
            peer.put(frame(FIN | CLOSE, close_payload(1000)))
            began = time.monotonic()
            while peer.put(b'x' * 4096) and time.monotonic() - began < 20:
                time.sleep(0.01)
            check(time.monotonic() - began < 10, 'it was listened to for', time.monotonic() - began)
        s.serves()


@group.over_tls_too
def wrong_utf8_is_refused_where_it_stands(programs, options):
    """The rest of the frame is not waited for."""
    bad = (b'\x80', b'\xc0\xaf', b'\xc1\xbf', b'\xe0\x80\xaf', b'\xed\xa0\x80', b'\xed\xbf\xbf', b'\xf0\x80\x80\xaf', b'\xf4\x90\x80\x80',
           b'\xf5', b'\xfe', b'\xff', b'\xe2\x28\xa1', b'\xc3\x28', b'\xf0\x90\x28\xbc')
    with Server(programs.echo, *options) as s:
        for wrong in bad:
            closed_with(s, frame(FIN | TEXT, b'ok' + wrong, length=100000), 1007)
            closed_with(s, frame(FIN | TEXT, b'a' * 70000 + wrong, length=1000000), 1007)
            closed_with(s, frame(TEXT, b'ok') + frame(CONTINUATION, wrong), 1007)
            for cut in range(1, len(wrong)):
                closed_with(s, frame(TEXT, b'ok' + wrong[:cut]) + frame(CONTINUATION, wrong[cut:]), 1007)
        closed_with(s, frame(FIN | TEXT, b'ok\xe2\x82'), 1007)
        closed_with(s, frame(TEXT, b'\xe2\x82') + frame(FIN | CONTINUATION), 1007)
        s.serves()


@group.everywhere
def frames_that_may_not_be(programs, options):
    with Server(programs.echo, *options) as s:
        closed_with(s, frame(FIN | TEXT, b'plain', mask=b''), 1002)
        for bits in (0x40, 0x20, 0x10, 0x70):
            closed_with(s, frame(FIN | bits | TEXT, b'x'), 1002)
            closed_with(s, frame(FIN | bits | PING, b'x'), 1002)
        for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
            closed_with(s, frame(FIN | opcode, b'x'), 1002)
        closed_with(s, frame(FIN | CONTINUATION, b'x'), 1002)
        closed_with(s, frame(TEXT, b'x') + frame(FIN | TEXT, b'x'), 1002)
        closed_with(s, frame(PING, b'x'), 1002)
        closed_with(s, frame(FIN | PING, b'x' * 126), 1002)
        closed_with(s, head(FIN | PING, 1 << 40), 1002)
        s.serves()


if __name__ == '__main__':
    group.main()
