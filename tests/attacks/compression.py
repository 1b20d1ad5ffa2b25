#!/usr/bin/env python3
"""Attacks with permessage-deflate."""
import functools
import os
import zlib

from attack import BINARY, FIN, MIB, PING, RSV1, TEXT, Group, Peer, Server, Skip, check, frame, wait_for
from framing import CONTINUATION

group = Group('compression')
OFFER = 'Sec-WebSocket-Extensions: permessage-deflate'
BOMB_MIB = 512


def needs_compression(programs):
    if '--compression-level' not in programs.help:
        raise Skip('weft-echo does not compress')


def deflate(data, compressor=None):
    """As a message's payload has it: without the empty block at its end."""
    c = compressor or zlib.compressobj(9, zlib.DEFLATED, -15)
    out = c.compress(data) + c.flush(zlib.Z_SYNC_FLUSH)
    return out[:-4]


@functools.cache
def bomb(mib):
    c = zlib.compressobj(9, zlib.DEFLATED, -15)
    return b''.join(c.compress(bytes(MIB)) for _ in range(mib)) + c.flush(zlib.Z_SYNC_FLUSH)[:-4]


def opened(server, extra=''):
    peer = Peer(server)
    head = peer.open(OFFER + extra)
    check(b'permessage-deflate' in head, 'permessage-deflate was not agreed')
    return peer


def closed_with(server, data, *codes, extra=''):
    with opened(server, extra) as peer:
        peer.put(data)
        code = peer.hears_close()
        check(code in codes, data[:40], 'was closed with', code, 'instead of', codes)


@group.everywhere
def bombs_without_context(programs, options):
    """Half a gibibyte of zeros in half a megabyte; inflating stops at the limit of a message."""
    needs_compression(programs)
    boom = frame(FIN | RSV1 | BINARY, bomb(BOMB_MIB))
    with Server(programs.echo, *options) as s:
        with s.costs(mib=24, cpu_s=3.0):
            for _ in range(10):
                closed_with(s, boom, 1009, extra='; client_no_context_takeover; server_no_context_takeover')
        with s.costs(mib=60, cpu_s=3.0):
            peers = [opened(s) for _ in range(20)]
            for peer in peers:
                peer.put(boom)
            for peer in peers:
                check(peer.hears_close() == 1009)
                peer.socket.close()
        s.serves()


@group.in_modes
def bombs_that_grow_by_their_context(programs, options):
    """The first message is small and allowed; the next ones are the same, and a few bytes long."""
    needs_compression(programs)
    with Server(programs.echo, *options) as s:
        c = zlib.compressobj(9, zlib.DEFLATED, -15)
        block = os.urandom(1000)
        with s.costs(mib=24, cpu_s=3.0), opened(s) as peer:
            peer.put(frame(FIN | RSV1 | BINARY, deflate(block * 20, c)))
            check(peer.next() is not None)
            peer.put(frame(FIN | RSV1 | BINARY, b''.join([c.compress(block * 1000) for _ in range(200)]) +
                           c.flush(zlib.Z_SYNC_FLUSH)[:-4]))
            check(peer.hears_close() == 1009)
        s.serves()


@group.everywhere
def bombs_in_fragments(programs, options):
    needs_compression(programs)
    data = bomb(64)
    pieces = [data[i:i + 100] for i in range(0, len(data), 100)]
    with Server(programs.echo, *options) as s:
        with s.costs(mib=24, cpu_s=2.0):
            closed_with(s, frame(RSV1 | BINARY, pieces[0]) + b''.join(frame(CONTINUATION, p) for p in pieces[1:-1]) +
                        frame(FIN | CONTINUATION, pieces[-1]), 1009)
        s.serves()


@group.in_modes
def many_empty_blocks(programs, options):
    """A megabyte of stored blocks, and of fixed ones, that hold nothing."""
    needs_compression(programs)
    with Server(programs.echo, *options) as s:
        for data in (b'\x00\x00\x00\xff\xff' * 200000 + b'\x00', b'\x02\x00' * 400000 + b'\x00', b'\x00'):
            with s.costs(mib=24, cpu_s=2.0), opened(s) as peer:
                peer.put(frame(FIN | RSV1 | TEXT, data))
                got = peer.hear()
                check(got is not None and got[0] & 15 in (TEXT, 8), got)
        s.serves()


@group.everywhere
def garbage_where_deflate_should_be(programs, options):
    needs_compression(programs)
    with Server(programs.echo, *options) as s:
        with s.costs(mib=24, cpu_s=2.0):
            closed_with(s, frame(FIN | RSV1 | BINARY, b'\xff' * 100), 1002, 1007)
            closed_with(s, frame(FIN | RSV1 | BINARY, b'\x06' * 3), 1002, 1007)  # block type 3
            closed_with(s, frame(FIN | RSV1 | BINARY, b'\x00\x05\x00\x00\x00hello'), 1002, 1007)  # lengths that differ
            closed_with(s, frame(FIN | RSV1 | BINARY, b'\x0b\x04\x18\x00' + b'\xff' * 20), 1002, 1007)  # too far back
            closed_with(s, frame(FIN | RSV1 | TEXT, deflate(b'ok \xff')), 1007)
            for _ in range(50):
                with opened(s) as peer:  # whatever it is: an answer, or a Close
                    peer.put(frame(FIN | RSV1 | BINARY, os.urandom(2000)))
                    got = peer.hear()
                    check(got is not None)
        s.serves()


@group.over_tls_too
def rsv1_where_it_may_not_be(programs, options):
    needs_compression(programs)
    with Server(programs.echo, *options) as s:
        data = deflate(b'hello')
        closed_with(s, frame(RSV1 | TEXT, data) + frame(FIN | RSV1 | CONTINUATION, data), 1002)
        closed_with(s, frame(FIN | RSV1 | PING, b'x'), 1002)
        with Peer(s) as peer:
            peer.open()
            peer.put(frame(FIN | RSV1 | TEXT, data))
            check(peer.hears_close() == 1002)
        with opened(s) as peer:
            peer.put(frame(FIN | RSV1 | TEXT, data))
            got = peer.hear()
            check(got and zlib.decompressobj(-15).decompress(got[1] + b'\x00\x00\xff\xff') == b'hello'
                  if got[0] & RSV1 else got[1] == b'hello')


@group.in_modes
def contexts_of_idle_connections_are_bounded(programs, options):
    """Windows of 300 connections that said something once, under a bound for all contexts."""
    needs_compression(programs)
    with Server(programs.echo, '--compression-memory-max', 4 * MIB, *options) as s:
        with s.costs(mib=24, cpu_s=2.0):
            peers = []
            for _ in range(300):
                peer = Peer(s)
                peer.open(OFFER)
                peer.put(frame(FIN | TEXT, b'hello ' * 50))
                check(peer.hear() is not None)
                peers.append(peer)
        for peer in peers:
            peer.socket.close()
        wait_for(lambda: s.stats()['connections'] == 0, 'all are gone')
        s.serves()


if __name__ == '__main__':
    group.main()
