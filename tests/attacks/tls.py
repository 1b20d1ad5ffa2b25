#!/usr/bin/env python3
"""Attacks on a port that speaks TLS."""
import os
import socket
import ssl
import struct
import time

from attack import FIN, TEXT, Group, Peer, Server, certs, check, frame, make_certs, request, wait_for

group = Group('tls')


def tls_server(programs, *options):
    return Server(programs.echo, *make_certs(programs), *options)


class SecurePeer(Peer):
    def __init__(self, server, **how):
        super().__init__(server, **how)
        context = ssl.create_default_context(cafile=f'{certs.name}/ca.pem')
        self.socket = context.wrap_socket(self.socket, server_hostname='localhost')


def serves(server):
    with SecurePeer(server) as peer:
        peer.open()
        peer.say('safe?')
        check(peer.hears() == 'safe?')


def hello():
    """A right ClientHello, as the ssl module makes it."""
    inward, outward = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(inward, outward, server_hostname='localhost')
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outward.read()


@group.in_modes
def garbage_at_a_tls_port(programs, options):
    """Records that are none, that are cut, that lie about their length, of every type."""
    right = hello()
    attacks = [os.urandom(n) for n in (1, 5, 100, 20000)]
    attacks += [bytes([kind]) + right[1:] for kind in (0, 20, 21, 23, 24, 25, 255)]
    attacks += [right[:3] + struct.pack('>H', n) + right[5:] for n in (0, 1, 16384, 16641, 65535)]
    attacks += [right[:i] + bytes([right[i] ^ 0xff]) + right[i + 1:] for i in range(0, len(right), 7)]
    attacks += [right[:i] for i in range(1, len(right), 37)]
    attacks += [b'\x16\x03\x01\x00\x01\x01' * 3000, right * 50, right[:5] + b'\x01\xff\xff\xff' + bytes(16000)]
    with tls_server(programs, '--open-timeout-ms', 5000, *options) as s:
        serves(s)
        with s.costs(mib=8, cpu_s=4.0):
            for data in attacks:
                with Peer(s) as peer:
                    peer.put(data)
                    peer.socket.shutdown(socket.SHUT_WR)
                    check(b'HTTP/' not in peer.rest(), 'it was taken for HTTP')
        wait_for(lambda: s.stats()['handshaking'] == 0, 'all are gone')
        serves(s)


@group.in_modes
def plain_http_at_a_tls_port(programs, options):
    with tls_server(programs, *options) as s:
        with Peer(s) as peer:
            peer.put(request() + frame(FIN | TEXT, b'hello'))
            check(b' 101 ' not in peer.rest(), 'it was accepted')
        serves(s)


@group.in_modes
def handshakes_of_tls_that_stop_half_way(programs, options):
    """The same absolute deadline as without TLS, and little memory until the ClientHello is whole."""
    right = hello()
    with tls_server(programs, '--open-timeout-ms', 1000, *options) as s:
        serves(s)
        with s.costs(mib=40, cpu_s=4.0):
            began = time.monotonic()
            peers = []
            for i in range(200):
                peer = Peer(s)
                peer.put(right if i % 2 else right[:i + 1])
                peers.append(peer)
            wait_for(lambda: s.stats()['handshaking'] == 0, 'all are gone')
            check(time.monotonic() - began < 15, 'they were there for', time.monotonic() - began)
        for peer in peers:
            peer.socket.close()
        serves(s)


@group.in_modes
def garbage_inside_tls(programs, options):
    """Behind a right handshake: a record that was changed on its way ends it."""
    with tls_server(programs, *options) as s:
        for _ in range(5):
            with Peer(s) as plain:
                inward, outward = ssl.MemoryBIO(), ssl.MemoryBIO()
                tls = ssl.create_default_context(cafile=f'{certs.name}/ca.pem').wrap_bio(inward, outward,
                                                                                         server_hostname='localhost')
                while True:
                    try:
                        tls.do_handshake()
                        break
                    except ssl.SSLWantReadError:
                        plain.put(outward.read())
                        inward.write(plain.socket.recv(65536))
                plain.put(outward.read())
                tls.write(request())
                record = bytearray(outward.read())
                record[-1] ^= 1
                plain.put(bytes(record))
                check(b'101' not in plain.rest())
        wait_for(lambda: s.stats()['connections'] + s.stats()['handshaking'] == 0, 'all are gone')
        serves(s)


@group.in_modes
def limits_of_an_address_hold_with_tls(programs, options):
    with tls_server(programs, '--connections-per-address-max', 3, *options) as s:
        peers = [SecurePeer(s) for _ in range(3)]
        with Peer(s) as peer:
            check(peer.rest() == b'')
        check(s.stats()['refused_connections'] == 1)
        for peer in peers:
            peer.socket.close()
        wait_for(lambda: s.stats()['connections'] + s.stats()['handshaking'] == 0, 'all are gone')
        serves(s)


if __name__ == '__main__':
    group.main()
