"""One fault each, and what weft-bench has to say about it."""
import concurrent.futures
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time

from faulty import Deflating, Faulty, Secure, echo, frame, packed
from harness import BENCH, FEW, LOSSY, NOBODY_ELSE, PATIENCE_S, SAFE
from harness import case, cert, load, result_of, url_of, wss


def with_fault(at, change):
    """The fault happens to the message with this number, on each connection."""
    def fault(echoes, sent):
        return b''.join(change(*e) if sent + i == at else frame(*e) for i, e in enumerate(echoes))
    return fault


def flipped(at):
    return lambda opcode, payload: frame(opcode, payload[:at] + bytes([payload[at] ^ 1]) + payload[at + 1:])


def dropped(opcode, payload):
    return b''


def finds(fault, *options, mode='echo', **errors):
    """These errors and no others, in runs of 20 messages on each of 2 connections."""
    few = [*FEW, *LOSSY] if 'lost' in errors else FEW
    with Faulty(fault) as server:
        r = load(mode, server.address, *few, *options, status=1)
    assert r['found'] == errors, r['errors']
    return r


@case
def a_flipped_bit_is_found_wherever_it_is():
    for size, at in (64, 0), (64, 9), (64, 16), (64, 63), (5000, 4999), (5000, 17), (8, 3), (19, 18):
        r = finds(with_fault(5, flipped(at)), '-m', str(size), content=2)
        assert r['messages'] == 40, r


@case
def a_message_of_another_length_is_found():
    finds(with_fault(3, lambda opcode, payload: frame(opcode, payload[:-1])), content=2)
    finds(with_fault(3, lambda opcode, payload: frame(opcode, payload + b'x')), content=2)
    finds(with_fault(3, lambda opcode, payload: frame(opcode, b'')), content=2)


@case
def a_message_of_another_type_is_found():
    finds(with_fault(3, lambda opcode, payload: frame(2, payload)), content=2)


OURS = 'server.pem', 'server.key'


@case
def what_is_wrong_over_tls_is_found():
    change = with_fault(5, flipped(9))
    with Secure(change, *map(cert, OURS)) as server:
        r = load('echo', wss(server), '--ca', cert('ca.pem'), *FEW, status=1)
    assert r['found'] == {'content': 2} and r['messages'] == 40, r


@case
def what_is_wrong_behind_compression_is_found():
    """The answers are well compressed, what they say is not what was sent."""
    def fault(at, change):
        return lambda echoes, sent: b''.join(change(*e) if sent + i == at else packed(*e)
                                             for i, e in enumerate(echoes))

    def changed(opcode, payload):
        return packed(opcode, payload[:-1] + bytes([payload[-1] ^ 1]))

    def broken(opcode, payload):
        return frame(opcode, b'\x07', reserved=0x40)  # a block of a type that there is not

    for change, wanted, few in ((changed, {'content': 2}, FEW),
                                (lambda o, p: packed(2, p), {'content': 2}, FEW),
                                (lambda o, p: packed(o, p + b'x'), {'content': 2}, FEW),
                                (dropped, {'lost': 2}, [*FEW, *LOSSY]),
                                (broken, {'dropped': 2, 'lost': 2}, FEW)):
        with Deflating(fault(5, change), *map(cert, OURS)) as server:
            r = load('deflate', wss(server), '--ca', cert('ca.pem'), *few, '-m', '300', status=1)
        assert r['found'] == wanted, (wanted, r)


@case
def a_dropped_message_is_lost():
    r = finds(with_fault(3, dropped), '-p', '4', lost=2)
    assert r['messages'] == 38, r


@case
def a_dropped_message_stops_a_closed_loop():
    r = finds(with_fault(3, dropped), lost=2)
    assert r['messages'] == 6, r


@case
def a_dropped_message_does_not_stop_an_open_loop():
    r = finds(with_fault(3, dropped), '-r', '2000', mode='rate', lost=2)
    assert r['messages'] == 38, r


@case
def the_last_message_may_be_the_one_that_is_lost():
    for last in '1', '2':
        finds(with_fault(int(last) - 1, dropped), '-n', last, lost=2)


@case
def swapped_messages_are_found():
    held = threading.local()  # each connection has a thread

    def fault(echoes, sent):
        out = b''
        for i, e in enumerate(echoes):
            if sent + i == 2:
                held.frame = frame(*e)
            else:
                out += frame(*e) + (held.frame if sent + i == 3 else b'')
        return out
    finds(fault, '-p', '4', order=2)


@case
def a_message_that_comes_twice_is_found():
    finds(with_fault(3, lambda opcode, payload: 2 * frame(opcode, payload)), order=2)


@case
def a_message_of_another_connection_is_found():
    seen = []

    def fault(echoes, sent):
        seen.extend(echoes)
        return b''.join(frame(*(seen[0] if sent + i == 0 else e)) for i, e in enumerate(echoes))
    finds(fault, content=1)


class Broadcasting(Faulty):
    """Sends each message to all; the copy of the last one who came goes through the fault. It takes one
    publisher, whose thread does all the sending."""

    def __init__(self, fault):
        super().__init__(self.copy)
        self.change, self.peers = fault, []

    def open(self, peer):
        with self.lock:
            self.peers.append(peer)
        return super().open(peer)

    def copy(self, echoes, sent):
        for other in self.peers[:-1]:
            other.sendall(echo(echoes))
        self.peers[-1].sendall(self.change(echoes, sent))
        return b''


@case
def deliveries_are_checked_one_by_one():
    def delivers(change, *options):
        with Broadcasting(with_fault(2, change)) as server:
            r = load('fanout', server.address, '-c', '3', '-n', '8', *SAFE, *options,
                     status=0 if change is frame else 1)
        return r['found'], r['messages']

    assert delivers(frame) == ({}, 32)
    assert delivers(frame, '--burst', '3') == ({}, 32)
    assert delivers(flipped(40)) == ({'content': 1}, 32)
    assert delivers(flipped(40), '--burst', '4') == ({'content': 1}, 32)
    assert delivers(dropped, '--burst', '4', *LOSSY) == ({'lost': 1}, 15)
    assert delivers(lambda opcode, payload: 2 * frame(opcode, payload)) == ({'order': 1}, 32)


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
    r = load('echo', '127.0.0.1:%d' % listener.getsockname()[1], *FEW, '--raw', '-c', '1', status=1)
    listener.close()
    assert r['found'] == {'content': 1} and r['messages'] == 20, r


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
        assert r['found'] == {'protocol': 2, 'lost': 2} and says in r['stderr'], (r['errors'], r['stderr'])


@case
def a_connection_that_ends_is_an_error():
    finds(lambda echoes, sent: None if sent > 2 else echo(echoes), dropped=2, lost=2)
    r = finds(with_fault(3, lambda opcode, payload: frame(8, b'\x03\xf0')), dropped=2, lost=2)
    assert 'closed it with 1008' in r['stderr'], r


@case
def a_server_that_stops_answering_does_not_stop_the_run():
    finds(lambda echoes, sent: b'' if sent > 5 else echo(echoes), '-p', '3', lost=6)


@case
def nor_does_one_that_never_answers():
    def meets(mode, options):
        with Faulty(lambda echoes, sent: b'') as server:
            return load(mode, server.address, *options, *LOSSY, status=1)

    runs = (('churn', FEW, 2), ('idle', ['-c', '2', '--touch', '--hold', '0.1'], 2), ('fanout', FEW, 3))
    with concurrent.futures.ThreadPoolExecutor(len(runs)) as pool:  # all of them wait for the silence
        met = [(pool.submit(meets, mode, options), lost) for mode, options, lost in runs]
    for run, lost in met:
        r = run.result()
        assert r['found'] == {'lost': lost} and r['messages'] == 0, r


@case
def nor_does_one_that_never_ends_a_message():
    """What comes is no silence, so there is another bound."""
    class Endless(Faulty):
        def echo(self, peer, data):
            peer.sendall(b'\x81\x7f' + (1 << 40).to_bytes(8, 'big'))
            while True:  # until the other end is gone
                peer.sendall(b'x')
                time.sleep(0.05)
    for mode, options in (('echo', ['-d', '0.1', '-w', '0']), ('idle', ['--touch', '--hold', '0.1'])):
        with Endless(None) as server:
            r = load(mode, server.address, '-c', '1', '--drain', '0.3', *options, status=1)
        assert r['found'] == {'lost': 1}, r


@case
def a_generator_that_got_no_time_does_not_take_that_for_silence():
    class Stopping(Faulty):
        """Answers when the generator is asleep, and lets it sleep until the silence would be over."""

        def echo(self, peer, data):
            peer.recv(65536)
            assert started.wait(PATIENCE_S)
            os.kill(process.pid, signal.SIGSTOP)
            while self.state() != 'T':
                time.sleep(0.01)
            time.sleep(6)
            peer.sendall(frame(1, b''))
            os.kill(process.pid, signal.SIGCONT)
            peer.recv(65536)

        @staticmethod
        def state():
            with open(f'/proc/{process.pid}/stat') as stat:
                return stat.read().rsplit(')')[1].split()[0]

    started = threading.Event()  # and its number is known
    with Stopping(None) as server:
        process = subprocess.Popen([BENCH, 'echo', url_of(server.address), '-m', '0', '-c', '1', '-n', '1',
                                    '--drain', '5', '--json', '--quiet'], stdout=subprocess.PIPE, text=True)
        started.set()
        out = process.communicate(timeout=PATIENCE_S)[0]
    r = result_of(process.returncode, out, '')
    assert r['messages'] == 1 and r['p50_us'] >= 6000000, r


@case
def refused_handshakes_are_told():
    with Faulty(None, status=403) as server:
        for mode, options in ('echo', FEW), ('churn', FEW), ('idle', ['-c', '2', '--hold', '0.1']):
            r = load(mode, server.address, *options, status=1)
            wanted = 40 if mode == 'churn' else 2
            assert r['found'] == {'connect': wanted} and '403' in r['stderr'], (r['errors'], r['stderr'])
            assert r['messages'] == 0 and r['p50_us'] is None, r


@case
def nobody_there_is_told():
    for mode, options, wanted in (('echo', FEW, 2), ('deflate', FEW, 2), ('churn', FEW, 40),
                                  ('churn', [*FEW, '-n', '1000'], 100),
                                  ('idle', ['-c', '2', '--hold', '0.1'], 2), ('fanout', FEW, 3)):
        r = load(mode, NOBODY_ELSE + ':9', *options, status=1)
        assert wanted <= r['errors']['connect'] < wanted + 2, (mode, r)
        assert 'Connection refused' in r['stderr'], r['stderr']


@case
def what_finds_no_room_in_the_backlog_is_told():
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(folder + '/s')
        listener.listen(1)  # and nobody accepts
        r = load('echo', f'ws+unix:{folder}/s', '-c', '7', '-n', '1', status=1)
    assert r['found'] == {'connect': 7} and 'not begun' in r['stderr'], r
