#!/usr/bin/env python3
"""Attacks on what a server has only so much of: memory, threads, descriptors, patience."""
import json
import resource
import select
import threading
import time

from attack import (BINARY, CLOSE, FIN, MIB, PATIENCE_S, TEXT, Group, Peer, Server, chat_of, check, frame, more_than_sockets_hold, request,
                    wait_for)

group = Group('resources')


def open_peers(server, count, path='/', **how):
    peers = [Peer(server, **how) for _ in range(count)]
    for peer in peers:
        peer.open(path=path)
    return peers


def leave(server, peers):
    for peer in peers:
        peer.socket.close()
    wait_for(lambda: server.stats()['connections'] == 0, 'all are gone')


@group.in_modes
def slow_readers(programs, options):
    """They send and never read: each costs its marks, and no more."""
    data = frame(FIN | BINARY, bytes(16384)) * (more_than_sockets_hold() // 16384)
    with Server(programs.echo, *options) as s:
        peers = open_peers(s, 20, receive_bytes=4096)
        with s.costs(mib=20 * 1.5, cpu_s=2.0):
            for peer in peers:
                check(peer.put_until_full(data, 0.05) < len(data))
            s.serves()
        for peer in peers:
            peer.reset()
        wait_for(lambda: s.stats()['connections'] == 0, 'all are gone')
        s.serves()


@group.over_tls_too
def slow_readers_against_a_bound_of_memory(programs, options):
    """With memory_bytes_max many of them cost no more than few, and others are served behind that."""
    with Server(programs.echo, '--memory-bytes-max', 8 * MIB, '--close-timeout-ms', 1000, *options) as s:
        peers = open_peers(s, 60)
        with s.costs(mib=20, cpu_s=4.0):
            for peer in peers:  # all but the last byte of a megabyte
                peer.put_until_full(frame(FIN | BINARY, bytes(MIB))[:-1], 0.05)
            wait_for(lambda: s.stats()['memory_pauses'] and s.stats()['memory_closed'], 'the heaviest are closed')
            check(s.stats()['memory_bytes'] <= 10 * MIB, s.stats()['memory_bytes'])
        leave(s, peers)
        s.serves()


@group.over_tls_too
def a_slow_reader_of_broadcasts(programs, options):
    """It is closed, and the others miss nothing."""
    with Server(programs.echo, '--broadcast', '--outbox-bytes-max', MIB, '--message-bytes-max', 65536, *options) as s:
        slow = open_peers(s, 5, receive_bytes=4096)
        reader, writer = open_peers(s, 2)
        count, text = 400, bytes(32768)
        got = []

        def read():
            while len(got) < count and (message := reader.hear()):
                got.append(len(message[1]))
        listener = threading.Thread(target=read)
        listener.start()
        with s.costs(mib=24, cpu_s=4.0):
            for i in range(count):
                writer.put(frame(FIN | BINARY, text))
                check(writer.hear() is not None)
                wait_for(lambda sent=i: sent - len(got) < 16, 'the reader keeps up')
            listener.join(PATIENCE_S)
            check(got == [len(text)] * count, len(got), 'of', count)
            wait_for(lambda: s.stats()['closed_slow'] == 5, 'the slow ones are closed')
        leave(s, slow + [reader, writer])


@group.attack
def fast_writers_with_slow_handlers(programs):
    """Their sockets are not read; a handler that sleeps holds up its own connection only."""
    data = frame(FIN | BINARY, bytes(1000)) * (more_than_sockets_hold() // 1000)
    with Server(programs.echo, '--sleep-ms', 50, '--workers-max', 16) as s:
        peers = open_peers(s, 8)
        with s.costs(mib=8 * 1.5 + 4, cpu_s=2.0):
            for peer in peers:
                check(peer.put_until_full(data, 0.05) < len(data))
            began = time.monotonic()
            s.serves()
            check(time.monotonic() - began < 10)
        for peer in peers:
            peer.reset()
        wait_for(lambda: s.stats()['connections'] == 0, 'all are gone')


@group.in_modes
def what_bursts_have_taken_goes_back_to_the_system(programs, options):
    """Half messages of a megabyte of many, again and again; then nobody is there, and the server is small again."""
    with Server(programs.echo, *options, mib_max=400) as s:
        before = s.status_kib('VmRSS')
        for lengths in (64, 1061, 2058):
            peers = open_peers(s, 200)
            for peer in peers:
                peer.put(frame(FIN | BINARY, bytes(MIB - lengths), length=MIB))
            leave(s, peers)
        wait_for(lambda: s.status_kib('VmRSS') < before + 48 * 1024, 'memory goes back')
        s.serves()


@group.in_modes
def no_descriptors_left(programs, options):
    """It waits quietly, and goes on when there are some again."""
    with Server(programs.echo, '--open-timeout-ms', 60000, *options, files_max=40) as s:
        peers = [Peer(s) for _ in range(100)]
        wait_for(lambda: s.stats()['accept_pauses'], 'accepting pauses')
        with s.costs(mib=2, cpu_s=0.3):
            time.sleep(1)
        for peer in peers:
            peer.socket.close()
        s.serves()


@group.in_modes
def no_memory_left(programs, options):
    """Allocations fail: what needs them ends, the server does not."""
    # What malloc had reserved before counts, too, and that is 64 MiB for each of some threads.
    with Server(programs.echo, '--message-bytes-max', 8 * MIB, '--close-timeout-ms', 500, *options, mib_max=1024) as s:
        s.serves()
        room = s.status_kib('VmSize') * 1024 + 24 * MIB
        mib = (room >> 20) - s.status_kib('VmRSS') // 1024
        resource.prlimit(s.pid, resource.RLIMIT_AS, (room, room))
        peers = open_peers(s, 30)
        with s.costs(mib=mib, cpu_s=4.0):
            for peer in peers:
                peer.put_until_full(frame(FIN | BINARY, bytes(6 * MIB), length=8 * MIB - 1), 0.05)
            ended = wait_for(lambda: select.select([peer.socket for peer in peers], [], [], 0)[0], 'one is ended')
        check(len(ended) < len(peers), 'nobody was spared')
        leave(s, peers)
        for _ in range(20):
            s.serves()


@group.over_tls_too
def half_open_peers(programs, options):
    """Who is gone without a word is found by the Ping that it does not answer."""
    with Server(programs.echo, '--ping-interval-ms', 300, '--ping-timeout-ms', 300, '--close-timeout-ms', 300, *options) as s:
        peers = open_peers(s, 100)
        with s.costs(mib=2, cpu_s=0.5):
            began = time.monotonic()
            wait_for(lambda: s.stats()['connections'] == 0, 'all are gone')
            check(time.monotonic() - began < 10)
        for peer in peers:
            peer.socket.close()
        s.serves()


@group.over_tls_too
def a_peer_that_takes_nothing(programs, options):
    with Server(programs.echo, '--write-timeout-ms', 500, *options) as s:
        with Peer(s, receive_bytes=4096) as peer:
            peer.open()
            peer.put_until_full(frame(FIN | BINARY, bytes(65536)) * 100, 0.1)
            wait_for(lambda: s.stats()['connections'] == 0, 'it is dropped')


@group.over_tls_too
def peers_deaf_at_shutdown(programs, options):
    """They answer no Close, read nothing, have half a frame under way: the deadline ends it."""
    with Server(programs.echo, '--stop-deadline-ms', 500, *options) as s:
        peers = open_peers(s, 40, receive_bytes=4096)
        silent = [Peer(s) for _ in range(10)]
        for i, peer in enumerate(peers):
            if i % 4 == 0:
                peer.put_until_full(frame(FIN | BINARY, bytes(65536)) * 20, 0.05)
            elif i % 4 == 1:
                peer.put(frame(FIN | TEXT, b'half', length=1000))
        took = s.stop()
        check(took < 10, 'it took', took)
        for peer in peers + silent:
            peer.socket.close()


@group.over_tls_too
def storms_of_resets_racing_with_sends(programs, options):
    for more in ([], ['--broadcast']):
        with Server(programs.echo, *options, *more) as s:
            def storm():
                for i in range(150):
                    peer = Peer(s)
                    peer.put(request() + frame(FIN | TEXT, b'x' * (i * 37 % 5000)) * (i % 7))
                    if i % 3 == 0:
                        peer.read()
                    peer.reset()
            with s.costs(mib=48, cpu_s=8.0):
                threads = [threading.Thread(target=storm) for _ in range(6)]
                for t in threads:
                    t.start()
                for t in threads:
                    t.join()
            wait_for(lambda: s.stats()['connections'] + s.stats()['handshaking'] == 0, 'all are gone')
            s.serves()


@group.in_modes
def a_flood_of_messages_against_a_rate(programs, options):
    """Ten a second are ten a second, and others are not held up."""
    with Server(programs.echo, '--messages-per-second-max', 20, '--messages-burst', 20, *options) as s:
        with s.costs(mib=2, cpu_s=0.5), Peer(s) as peer:
            peer.open()
            began = time.monotonic()
            peer.put(frame(FIN | TEXT, b'x') * 1000)
            for _ in range(40):
                check(peer.hears() == 'x')
            took = time.monotonic() - began
            check(0.9 < took < 10, 'it took', took)
            s.serves()


# --- the chat


def said(peer, **what):
    return peer.say(json.dumps(what))


def answer_to(peer, text):
    peer.put(frame(FIN | TEXT, text if isinstance(text, bytes) else text.encode()))
    return json.loads(peer.hears())


def enter(peer, room, name):
    """Join, and hear what the room remembers: its texts."""
    got = answer_to(peer, json.dumps({'type': 'join', 'room': room, 'name': name}))
    check(got['type'] == 'joined', got)
    while (history := json.loads(peer.hears()))['type'] in ('came', 'went'):
        pass  # of others
    check(history['type'] == 'history', history)
    return [json.loads(peer.hears())['text'] for _ in range(history['count'])]


@group.attack
def json_bombs_at_the_chat(programs):
    deep = 20000
    bombs = ['[' * deep, '{"a":' * 5000, '[' * deep + ']' * deep, '{"type":"join","room":"a","name":' + '[' * 3000 + ']' * 3000 + '}',
             '1e999999999', '-' * 30000, '"' + '\\u0000' * 5000 + '"', '"' + '\\ud800' * 5000 + '"', '9' * 32000, '"unended',
             '{' + ','.join(f'"k{i}":1' for i in range(3500)) + '}', '{"type":"say","type":"join"}', '[' + '1,' * 16000 + '1]',
             '{"type":' + '1' * 30000 + '}', '', ' ' * 32000, 'nul', '\x00', '{"type":"join","room":"\\u0000","name":"x"}',
             '{"type":"say","text":"' + 'a' * 32700 + '"}', 'a' * 40000]
    with Server(chat_of(programs)) as s:
        with s.costs(mib=8, cpu_s=2.0):
            for turn in range(10):
                for i in range(0, len(bombs), 7):  # few for each, for they are counted
                    with Peer(s) as peer:
                        peer.open(path='/chat')
                        for bomb in bombs[i:i + 7]:
                            got = answer_to(peer, bomb)
                            check(got.get('type') == 'error', bomb[:40], 'was answered with', got)
                        got = answer_to(peer, '{"type":"join","room":"lobby","name":"ann %d %d"}' % (turn, i))
                        check(got['type'] == 'joined', got)
        with Peer(s) as peer:
            peer.open(path='/chat')
            peer.put(frame(FIN | BINARY, b'{"type":"join","room":"a","name":"b"}'))
            check(json.loads(peer.hears())['type'] == 'error')
            peer.put(frame(FIN | TEXT, b'a' * 50000))
            check(peer.hears_close() == 1009)


@group.attack
def floods_of_rooms_at_the_chat(programs):
    """More rooms than there may be: whoever is in one stays there, and one more can be opened when one is empty."""
    with Server(chat_of(programs)) as s:
        with Peer(s) as ann, s.costs(mib=24, cpu_s=4.0):
            ann.open(path='/chat')
            enter(ann, 'lobby', 'ann')
            check(answer_to(ann, '{"type":"say","text":"still here"}')['type'] == 'said')
            flood = open_peers(s, 300, path='/chat')
            types = [answer_to(p, json.dumps({'type': 'join', 'room': f'r{i}', 'name': 'x'}))['type'] for i, p in enumerate(flood)]
            check(types.count('joined') == 255 and types.count('error') == 45, types.count('joined'))
            for i, peer in enumerate(flood):
                for j in range(38):  # each goes from room to room as often as it may
                    said(peer, type='join', room=f'{i}-{j}' + 'r' * 50, name='x' * 30)
            for peer in flood:
                peer.reset()
            check(answer_to(ann, '{"type":"say","text":"and now"}')['type'] in ('said', 'came', 'went'))

            def comes_in():
                with Peer(s) as bob:
                    bob.open(path='/chat')
                    got = answer_to(bob, '{"type":"join","room":"new","name":"bob"}')
                    return got['type'] == 'joined'
            wait_for(comes_in, 'a new room can be opened')
            with Peer(s) as bob:
                bob.open(path='/chat')
                check(enter(bob, 'lobby', 'bob')[0] == 'still here')


@group.attack
def floods_of_messages_at_the_chat(programs):
    """Above the rate each is refused, and who goes on is closed; the room does not hear of it."""
    with Server(chat_of(programs)) as s:
        with Peer(s) as ann, s.costs(mib=8, cpu_s=4.0):
            ann.open(path='/chat')
            enter(ann, 'lobby', 'ann')
            with Peer(s) as eve:
                began = time.monotonic()
                eve.open(path='/chat')
                enter(eve, 'lobby', 'eve')
                # However slow the server is, so that one is let through now and then: the last thousand are nothing at all.
                eve.put(frame(FIN | TEXT, b'{"type":"say","text":"buy"}') * 3000 + frame(FIN | TEXT, b'buy') * 1001)
                check(eve.hears_close() == 1008)
                most = 40 + 10 * (time.monotonic() - began) + 1
            heard = 0
            while (got := json.loads(ann.hears()))['type'] != 'went':
                heard += got['type'] == 'said'
            check(30 <= heard <= most, heard, 'messages got through, at most', most)


@group.attack
def floods_that_are_let_through_now_and_then_at_the_chat(programs):
    """Each is right in itself and large: what is above the rate is not parsed, and who goes on is closed all the same."""
    more = json.dumps({'type': 'say', 'text': 'buy', 'more': [1] * 5000}).encode()
    with Server(chat_of(programs)) as s:
        with s.costs(mib=8, cpu_s=2.0), Peer(s) as eve:
            eve.open(path='/chat')
            enter(eve, 'lobby', 'eve')
            ended = threading.Event()

            def flood():  # 1500 a second, or as many as it can
                end = time.monotonic() + PATIENCE_S
                while time.monotonic() < end and eve.put(frame(FIN | TEXT, more) * 30) and not ended.wait(0.02):
                    pass
            thread = threading.Thread(target=flood)
            thread.start()
            try:
                check(eve.hears_close() in (1008, 1006))
            finally:
                ended.set()
                thread.join()
            check(s.stats()['messages_in'] < 20000)
        wait_for(lambda: s.stats()['connections'] == 0, 'it is gone')


@group.attack
def half_messages_at_the_chat(programs):
    """A message may have as many bytes as the chat has a use for, so 300 that never end hold little."""
    with Server(chat_of(programs)) as s:
        with s.costs(mib=300 * 0.06, cpu_s=2.0):
            peers = open_peers(s, 300, path='/chat')
            for peer in peers:
                peer.put(frame(FIN | TEXT, b'a' * 40000, length=40900))
            wait_for(lambda: s.stats()['bytes_in'] >= 300 * 40000, 'all is read')
        with Peer(s) as peer:
            peer.open(path='/chat')
            peer.put(frame(FIN | TEXT, b'', length=MIB - 1))
            check(peer.hears_close() == 1009)
        leave(s, peers)


@group.attack
def long_texts_in_many_rooms_at_the_chat(programs):
    """What was said stays when all have gone: under its own bound, which locks nobody out, and small rooms lose nothing."""
    with Server(chat_of(programs), '--memory-bytes-max', 16 * MIB, '--history-bytes-max', 4 * MIB) as s:
        with Peer(s) as ann:
            ann.open(path='/chat')
            enter(ann, 'lobby', 'ann')
            check(answer_to(ann, '{"type":"say","text":"still here"}')['type'] == 'said')
        text = frame(FIN | TEXT, json.dumps({'type': 'say', 'text': '"' * 4096}).encode())
        with s.costs(mib=40, cpu_s=4.0):
            flood = open_peers(s, 50, path='/chat')
            for i, peer in enumerate(flood):
                enter(peer, f'{i}', 'x')
            for begin in range(0, 50, 10):  # so that they read, 10 at a time: 35 messages each take 16 KiB, 27 MiB in all
                for peer in flood[begin:begin + 10]:
                    peer.put(text * 35)
                for peer in flood[begin:begin + 10]:
                    for _ in range(35):
                        check(json.loads(peer.hears())['type'] == 'said')
            leave(s, flood)
        check(s.stats()['memory_bytes'] < 2 * MIB, s.stats()['memory_bytes'])
        with Peer(s) as bob:
            bob.open(path='/chat')
            check(enter(bob, 'lobby', 'bob') == ['still here'])


@group.attack
def joins_at_the_chat(programs):
    """Each brings the room's history, so it costs as much as five messages; a new name in the same room brings none."""
    with Server(chat_of(programs)) as s:
        began = time.monotonic()
        writers = open_peers(s, 3, path='/chat')
        for i, peer in enumerate(writers):
            enter(peer, 'lobby', f'w{i}')
            peer.put(frame(FIN | TEXT, json.dumps({'type': 'say', 'text': '"' * 4096}).encode()) * 35)
        wait_for(lambda: s.stats()['messages_in'] >= 3 * 36, 'all is said')
        leave(s, writers)
        with s.costs(mib=24, cpu_s=4.0), Peer(s) as eve, Peer(s) as joe:
            eve.open(path='/chat')
            joe.open(path='/chat')
            check(len(enter(joe, 'lobby', 'joe')) == 100)
            before = s.stats()['bytes_out']
            for i in range(200):
                said(joe, type='join', room='lobby', name=f'joe {i}')
            wait_for(lambda: s.stats()['messages_in'] >= 3 * 36 + 201, 'all is asked')
            check(s.stats()['bytes_out'] - before < MIB // 4, s.stats()['bytes_out'] - before)
            heard = threading.Thread(target=eve.rest)
            heard.start()
            for i in range(200):
                said(eve, type='join', room='lobby' if i % 2 else 'attic', name='eve')
            wait_for(lambda: s.stats()['messages_in'] >= 3 * 36 + 401, 'all is asked')
            histories = (8 + 2 * (time.monotonic() - began) + 1) / 2
            check(s.stats()['bytes_out'] - before < (histories + 1) * MIB, s.stats()['bytes_out'] - before)
            eve.put(frame(FIN | CLOSE))
            heard.join()


@group.attack
def who_does_not_read_at_the_chat(programs):
    """Histories and messages that are not read: it is closed with 1008 or dropped, and the room goes on."""
    with Server(chat_of(programs)) as s:
        with Peer(s) as ann, s.costs(mib=24, cpu_s=4.0):
            ann.open(path='/chat')
            enter(ann, 'lobby', 'ann')
            for i in range(30):
                said(ann, type='say', text='x' * 4000)
                check(json.loads(ann.hears())['type'] == 'said')
            deaf = open_peers(s, 20, path='/chat', receive_bytes=4096)
            for i, peer in enumerate(deaf):  # each join is answered with the history, as often as it may
                for j in range(100):
                    said(peer, type='join', room='lobby' if j % 2 else f'{i}', name=f'deaf {i}')
            time.sleep(0.3)
            with Peer(s) as bob:
                bob.open(path='/chat')
                enter(bob, 'lobby', 'bob')
            leave(s, deaf + [ann])


if __name__ == '__main__':
    group.main()
