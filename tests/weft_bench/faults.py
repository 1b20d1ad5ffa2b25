"""One fault each, and what weft-bench has to say about it."""
import socket
import threading
import time

from faulty import Faulty, echo, frame
from harness import FEW, FLOOR, SHORT, Server, case, load


def with_fault(at, change):
    """The fault happens to the message with this number, on each connection."""
    def fault(echoes, sent):
        return b''.join(change(*e) if sent + i == at else frame(*e) for i, e in enumerate(echoes))
    return fault


def flipped(at):
    return lambda opcode, payload: frame(opcode, payload[:at] + bytes([payload[at] ^ 1]) + payload[at + 1:])


def finds(fault, error, *options, count=None, mode='echo'):
    with Faulty(fault) as server:
        r = load(mode, server.address, *FEW, *options, status=1)
    found = {name for name, n in r['errors'].items() if n}
    assert found == ({error} if isinstance(error, str) else set(error)), r['errors']
    if count is not None:
        assert r['errors'][error] == count, r['errors']
    return r


@case
def a_flipped_bit_is_found_wherever_it_is():
    for size, at in (64, 0), (64, 9), (64, 16), (64, 63), (5000, 4999), (5000, 17), (8, 3), (19, 18):
        finds(with_fault(5, flipped(at)), 'content', '-m', str(size), count=2)


@case
def a_message_of_another_length_is_found():
    finds(with_fault(3, lambda opcode, payload: frame(opcode, payload[:-1])), 'content', count=2)
    finds(with_fault(3, lambda opcode, payload: frame(opcode, payload + b'x')), 'content', count=2)
    finds(with_fault(3, lambda opcode, payload: frame(opcode, b'')), 'content', count=2)


@case
def a_message_of_another_type_is_found():
    finds(with_fault(3, lambda opcode, payload: frame(2, payload)), 'content', count=2)


@case
def a_dropped_message_is_lost():
    finds(with_fault(3, lambda opcode, payload: b''), 'lost', '-p', '4', count=2)
    finds(with_fault(3, lambda opcode, payload: b''), 'lost', count=2)
    finds(with_fault(3, lambda opcode, payload: b''), 'lost', '-r', '200', mode='rate', count=2)


@case
def swapped_messages_are_found():
    def fault(echoes, sent):
        if len(echoes) > 1:
            echoes[0], echoes[1] = echoes[1], echoes[0]
        return echo(echoes)
    r = finds(fault, 'order', '-p', '8')
    assert r['errors']['order'] > 2, r


@case
def a_message_that_comes_twice_is_found():
    finds(with_fault(3, lambda opcode, payload: 2 * frame(opcode, payload)), 'order', count=2)


@case
def a_message_of_another_connection_is_found():
    seen = []

    def fault(echoes, sent):
        seen.extend(echoes)
        return b''.join(frame(*(seen[0] if sent + i == 0 else e)) for i, e in enumerate(echoes))
    finds(fault, 'content', count=1)


class Broadcasting(Faulty):
    """Sends each message to all; the copy of the last one who came goes through the fault."""

    def __init__(self, fault):
        super().__init__(fault)
        self.peers = []

    def open(self, peer):
        self.peers.append(peer)
        return super().open(peer)

    def echo(self, peer, data):
        answers = self

        class Peer:
            recv = peer.recv

            @staticmethod
            def sendall(out):
                if out[0] & 15 == 8:
                    return peer.sendall(out)
                for other in answers.peers[:-1]:
                    other.sendall(answers.copies)
                return answers.peers[-1].sendall(out)

        fault = self.fault

        def copying(echoes, sent):
            self.copies = echo(echoes)
            return fault(echoes, sent)
        self.fault = copying
        super().echo(Peer, data)


@case
def deliveries_are_checked_one_by_one():
    def delivers(change, *options):
        with Broadcasting(with_fault(2, change)) as server:
            r = load('fanout', server.address, '-c', '3', '-d', '0.3', '-w', '0', '--drain', '0.3', *options,
                     status=0 if change is frame else 1)
        return {name: n for name, n in r['errors'].items() if n}, r['messages']

    assert delivers(frame)[0] == {}
    assert delivers(flipped(40))[0] == {'content': 1}
    assert delivers(flipped(40), '--burst', '4')[0] == {'content': 1}
    assert delivers(lambda opcode, payload: b'', '--burst', '4')[0] == {'lost': 1}
    assert delivers(lambda opcode, payload: 2 * frame(opcode, payload))[0] == {'order': 1}


@case
def raw_finds_a_flipped_bit_too():
    listener = socket.create_server(('127.0.0.1', 0))

    def serve():
        peer, _ = listener.accept()
        with peer:
            seen = 0
            while data := bytearray(peer.recv(65536)):
                if seen <= 1000 < seen + len(data):
                    data[1000 - seen] ^= 4
                seen += len(data)
                peer.sendall(data)

    threading.Thread(target=serve, daemon=True).start()
    # 70 bytes are a frame; byte 1000 is byte 20 of one, of its payload.
    r = load('echo', '127.0.0.1:%d' % listener.getsockname()[1], *SHORT, '--raw', '-c', '1', status=1)
    listener.close()
    assert r['errors']['content'] == 1 and sum(r['errors'].values()) == 1, r['errors']


@case
def what_breaks_the_protocol_is_named():
    for change, says in ((lambda o, p: frame(o, p, key=b'abcd'), 'masked'),
                         (lambda o, p: frame(o, p, reserved=0x40), 'reserved'),
                         (lambda o, p: frame(3, p), 'opcode'),
                         (lambda o, p: frame(9, p, final=False), 'control'),
                         (lambda o, p: frame(0, p), 'continuation'),
                         (lambda o, p: b'\x81\x7e\x00\x05hello', 'length'),
                         (lambda o, p: 2 * frame(o, p[:5], final=False), 'inside')):
        with Faulty(with_fault(1, change)) as server:
            r = load('echo', server.address, *FEW, status=1)
        assert r['errors']['protocol'] == 2 and says in r['stderr'], (r['errors'], r['stderr'])


@case
def a_connection_that_ends_is_an_error():
    r = finds(lambda echoes, sent: None if sent > 2 else echo(echoes), ['dropped', 'lost'])
    assert r['errors']['dropped'] == 2 and r['errors']['lost'] == 2, r['errors']
    r = finds(with_fault(3, lambda opcode, payload: frame(8, b'\x03\xf0')), ['dropped', 'lost'])
    assert 'closed it with 1008' in r['stderr'], r


@case
def a_server_that_stops_answering_does_not_stop_the_run():
    begin = time.monotonic()
    r = finds(lambda echoes, sent: b'' if sent > 5 else echo(echoes), 'lost', '-p', '3')
    assert r['errors']['lost'] == 6, r['errors']
    finds(lambda echoes, sent: b'', 'lost', mode='churn')
    finds(lambda echoes, sent: b'', 'lost', '--touch', '--hold', '0.1', mode='idle')
    finds(lambda echoes, sent: b'', 'lost', mode='fanout')
    assert time.monotonic() - begin < 15


@case
def a_churn_without_a_closing_handshake_is_found():
    class Abrupt(Faulty):
        def echo(self, peer, data):
            peer.sendall(frame(1, b''))
    with Abrupt(None) as server:
        r = load('churn', server.address, *FEW, status=1)
    assert sum(r['errors'].values()) >= 2, r['errors']


@case
def refused_handshakes_are_told():
    with Faulty(None, status=403) as server:
        for mode in 'echo', 'churn', 'idle':
            r = load(mode, server.address, *FEW, status=1)
            assert r['errors']['connect'] >= 2 and '403' in r['stderr'], (r['errors'], r['stderr'])
            assert r['messages'] == 0 and r['p50_us'] is None, r


@case
def nobody_there_is_told():
    with Server(FLOOR) as server:
        address = server.address
    for mode in 'echo', 'churn', 'idle', 'fanout':
        r = load(mode, address, *FEW, status=1)
        assert r['errors']['connect'] >= 2 and 'Connection refused' in r['stderr'], (r['errors'], r['stderr'])
