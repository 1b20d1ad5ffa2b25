"""Connections that come and go: how they end, and what a plain echo server gets of them."""
import socket
import threading
import time

from faulty import Faulty, echo, frame
from harness import ECHO, FLOOR, LOSSY, NOBODY_ELSE, PATIENCE_S, SAFE, Server
from harness import case, has_server_figures, is_plausible, load

FEW = ['-c', '2', '-n', '2', *SAFE]


@case
def churn_counts_connections():
    with Server(ECHO) as server:
        for threads in '1', '2':
            r = load('churn', server.address, *SAFE, '-c', '8', '-n', '12', '-t', threads,
                     '--pid', server.pid)
            is_plausible(r, 96)
            has_server_figures(r)


class Leaving(Faulty):
    """leave(peer) does what is to be done between the client's Close frame and the end of TCP."""

    def __init__(self, leave):
        super().__init__(lambda echoes, sent: echo(echoes))
        self.leave = leave

    def close(self, peer, payload):
        self.leave(peer, payload)


@case
def the_servers_end_of_tcp_is_waited_for_and_measured():
    def dawdle(peer, payload):
        peer.sendall(frame(8, payload))
        time.sleep(0.2)
        peer.setblocking(False)
        try:
            wrong.append(peer.recv(1))  # b'' would be the client's end
        except BlockingIOError:
            pass

    wrong = []
    with Leaving(dawdle) as server:
        r = load('churn', server.address, *FEW)
    assert r['messages'] == 4 and r['p50_us'] >= 200000, r
    assert not wrong, wrong


@case
def a_server_that_does_not_end_tcp_is_at_fault():
    def stay(peer, payload):
        peer.sendall(frame(8, payload))
        assert peer.recv(1) == b''

    with Leaving(stay) as server:
        r = load('churn', server.address, *FEW, *LOSSY, '-n', '1', status=1)
    assert r['found'] == {'protocol': 2} and 'did not end TCP' in r['stderr'], r


@case
def a_close_frame_without_an_answer_is_a_fault():
    with Leaving(lambda peer, payload: peer.recv(1)) as server:
        r = load('churn', server.address, *FEW, *LOSSY, '-n', '1', status=1)
    assert r['found'] == {'protocol': 2} and 'did not answer the Close' in r['stderr'], r


@case
def a_slot_does_not_wait_for_ever_for_its_end():
    # Without a count only that bound makes the faults that end the run.
    with Leaving(lambda peer, payload: peer.recv(1)) as server:
        r = load('churn', server.address, '-c', '100', '-d', '3600', '-w', '0', '--drain', '1', status=1)
    assert r['errors']['protocol'] >= 100, r


@case
def an_end_without_a_close_frame_is_found():
    with Leaving(lambda peer, payload: None) as server:
        r = load('churn', server.address, *FEW, status=1)
    assert r['found'] == {'dropped': 4}, r


@case
def a_wrong_close_frame_is_found():
    with Leaving(lambda peer, payload: peer.sendall(frame(8, b'\x03'))) as server:
        r = load('churn', server.address, *FEW, status=1)
    assert r['found'] == {'protocol': 4} and 'wrong Close' in r['stderr'], r


@case
def a_server_that_vanishes_ends_the_run():
    """Long before its time."""
    def vanish(echoes, sent):
        server.stop_listening()
        return echo(echoes)

    with Faulty(vanish, host=NOBODY_ELSE) as server:
        r = load('churn', server.address, *SAFE, '-c', '4', '-d', '3600', '-w', '0', status=1)
    assert 100 <= sum(r['errors'].values()) <= 108 and r['errors']['connect'] > 0, r
    assert r['messages'] >= 1, r


# --- raw ---


class Plain:
    """Sends everything back, change(unit, bytes) of it: unit 0 is the request of a connection, 1 its frame, 2
    its Close frame. The last byte of each goes behind the others; nothing is to come before that."""

    def __init__(self, change=lambda unit, data: data):
        self.change = change
        self.units, self.wrong = [], []

    def __enter__(self):
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.address = '127.0.0.1:%d' % self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.thread.join(PATIENCE_S)
        self.listener.close()

    def serve(self):
        peer, _ = self.listener.accept()
        with peer:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                for unit in range(3):
                    self.send_back(peer, self.take(peer, unit), unit)
                self.units.append(peer.recv(65536))
            except OSError as error:
                self.wrong.append(error)

    @staticmethod
    def is_whole(data, unit):
        if unit == 0:
            return data.endswith(b'\r\n\r\n')
        return len(data) >= 6 and len(data) == 6 + (data[1] & 127)

    def take(self, peer, unit):
        data = b''
        while not self.is_whole(data, unit):
            more = peer.recv(65536)
            if not more:
                raise ConnectionError('it ended early')
            data += more
        self.units.append(data)
        return data

    def send_back(self, peer, data, unit):
        data = self.change(unit, data)
        peer.sendall(data[:-1])
        time.sleep(0.1)
        peer.setblocking(False)
        try:
            self.wrong.append(peer.recv(65536))
        except BlockingIOError:
            pass
        peer.setblocking(True)
        peer.sendall(data[-1:])


@case
def raw_churn_drives_the_floor():
    with Server(FLOOR) as server:
        r = load('churn', server.address, *SAFE, '-c', '4', '-n', '25', '--raw', '--pid', server.pid)
        is_plausible(r, 100)
        has_server_figures(r)


@case
def raw_churn_sends_what_a_churn_sends_and_waits_for_each_echo():
    """The requests differ in their keys, the frames in their masks; what they say is the same."""
    said = []

    class Listening(Faulty):
        def close(self, peer, payload):
            said.append(payload)
            super().close(peer, payload)

    def hear(echoes, sent):
        said.extend(payload for _, payload in echoes)
        return echo(echoes)

    options = ['-c', '1', '-n', '1', *SAFE, '--header', 'X-Token: abc']
    with Listening(hear) as server:
        load('churn', server.address, *options)
    with Plain() as plain:
        load('churn', plain.address, *options, '--raw')
    request, message, close, end = plain.units
    assert not plain.wrong and end == b'', (plain.wrong, end)

    def without_names(head):
        return [line for line in head.split('\r\n') if not line.startswith(('Host:', 'Sec-WebSocket-Key:'))]

    assert without_names(request.decode()) == without_names(server.requests[0] + '\r\n\r\n')
    assert 'X-Token: abc' in without_names(request.decode()), request
    key = message[2:6]
    unmasked = [bytes(b ^ key[i % 4] for i, b in enumerate(unit[6:])) for unit in (message, close)]
    assert close[2:6] == key and message[0] == 0x81 and close[0] == 0x88
    assert len(unmasked[0]) == len(said[0]) == 64 and unmasked[1] == said[1] == b'\x03\xe8', (unmasked, said)


@case
def raw_churn_finds_a_change_in_each_echo():
    def changed(wanted, at):
        def change(unit, data):
            if unit != wanted:
                return data
            return data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]
        return change

    for unit, at in (0, 0), (0, 100), (1, 40), (2, 6):
        with Plain(changed(unit, at)) as server:
            r = load('churn', server.address, '-c', '1', '-n', '1', *SAFE, '--raw', status=1)
        assert r['found'] == {'content': 1}, (unit, at, r)
