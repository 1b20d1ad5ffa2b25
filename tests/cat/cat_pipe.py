#!/usr/bin/env python3
"""weft-cat in pipes: cat_pipe.py WEFT_CAT WEFT_ECHO [TEST...]"""
import hashlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

from cat_harness import BINARY, CLOSE, PATIENCE_S, PING, TEXT, Server, echo, frame, main, program, until

WEFT_CAT, WEFT_ECHO = sys.argv[1:3]
TESTS = {}


def test(run):
    TESTS[run.__name__] = run
    return run


def cat(url, *options, data=b'', **how):
    """Run it to its end; gives (status, standard output, standard error). What counts messages ends by their number,
    however slowly they come."""
    counts = any(option == '--one' or option.startswith('-n') for option in options)
    patience = ['--wait-ms=60000'] if counts else []
    done = subprocess.run([WEFT_CAT, url, *patience, *options], input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=PATIENCE_S * 2, check=False, **how)
    return done.returncode, done.stdout, done.stderr.decode()


def talks(url, *options, data=b'', out=b'', status=0, err=''):
    got = cat(url, *options, data=data)
    assert got[:2] == (status, out) and err in got[2] and (err or not got[2]), got


def with_pipes(url, *options, **how):
    pipes = {name: subprocess.PIPE for name in ('stdin', 'stdout', 'stderr')}
    return program([WEFT_CAT, url, *options], **{**pipes, **how})


def answers_and_closes(count):
    def talk(conn):
        conn.accept()
        for _ in range(count):
            conn.send(*conn.read_frame())
        conn.close(1000)
        conn.serve()
    return talk


@test
def each_line_is_a_message_and_each_message_a_line():
    with echo(WEFT_ECHO) as url:
        lines = 'one\n\nthree with  blanks \n/ping is text here\nwörld 漢字 😀\n'.encode()
        talks(url, '-n5', data=lines, status=2, err='-n5 is not an option')
        talks(url, '-n=5', data=lines, out=lines)
        talks(url, '-n', '6', data=lines + b'no newline', out=lines + b'no newline\n')
        talks(url, '--wait-ms=0')
    with Server(answers_and_closes(5)) as server:
        talks(server.url, '--wait-ms=60000', data=lines, out=lines)


@test
def what_drives_a_terminal_is_escaped_unless_told_otherwise():
    with echo(WEFT_ECHO) as url:
        line = b'\x1b[31m\x00tab\tbell\x07\r\xc2\x9b\n'
        talks(url, '--one', data=line, out=b'\\u001b[31m\\u0000tab\tbell\\u0007\\r\\u009b\n')
        talks(url, '--one', '--no-escape', data=line, out=line)
        talks(url, '--one', '--raw', data=line, out=line[:-1])
    with tempfile.NamedTemporaryFile() as file:
        file.write(b'two\nlines')
        file.flush()
        with echo(WEFT_ECHO) as url:
            talks(url, '--one', '--file', file.name, out=b'two\\nlines\n')
            talks(url, '--one', '--file', file.name, '--raw', out=b'two\nlines')


@test
def binary_goes_as_bytes_or_as_digits():
    with echo(WEFT_ECHO) as url:
        talks(url, '--one', '--binary', data=b'\xff\x00\xfe\n', out=b'\xff\x00\xfe')
        talks(url, '-n', '2', '--hex', data=b'00 ff 7E\n\n', out=b'00ff7e\n\n')
        talks(url, '--hex', data=b'0g\n', status=5, err='line 1 is not pairs of hexadecimal digits')
    with Server() as server:
        talks(server.url, '--wait-ms=0', '--binary', data=b'a\n')
        talks(server.url, '--wait-ms=0', data=b'a\n')
        assert [c.data() for c in server.conns] == [[(BINARY, b'a')], [(TEXT, b'a')]]


@test
def a_file_is_one_message_and_goes_first():
    with tempfile.NamedTemporaryFile() as file, echo(WEFT_ECHO) as url:
        file.write(b'\xff\x00' * 1000)
        file.flush()
        talks(url, '--file', file.name, '--binary', '-n', '2', data=b'behind', out=b'\xff\x00' * 1000 + b'behind')
        talks(url, '--file', file.name, status=5, err=f'{file.name} is not UTF-8 at byte 1')
        talks(url, '--file', '/nowhere/at/all', status=5, err='/nowhere/at/all: No such file')
        talks(url, '--file', '/', status=5, err='/: Is a directory')


@test
def a_line_that_is_no_text_is_the_last_one():
    is_told = threading.Event()

    def answer_late(conn):
        conn.accept()
        good = conn.read_frame()
        is_told.wait(PATIENCE_S)
        conn.send(*good)
        conn.close(1000)
        conn.serve()

    with Server(answer_late) as server, with_pipes(server.url, '--wait-ms=60000') as child:
        child.stdin.write(b'good\nbad \xff\nnot sent\n')
        child.stdin.close()
        assert b'line 2 is not UTF-8 at byte 5; --binary sends any bytes' in child.stderr.readline()
        is_told.set()
        assert child.stdout.read() == b'good\n' and child.wait(PATIENCE_S) == 5
        assert server.conn().data() == []
    with echo(WEFT_ECHO) as url:
        talks(url, data=b'cut \xc3', status=5, err='line 1 is not UTF-8 at byte 5')


@test
def a_message_of_a_mebibyte_goes_both_ways():
    with echo(WEFT_ECHO) as url:
        line = b'x' * (1 << 20)
        talks(url, '--one', data=line, out=line + b'\n')
        status, out, err = cat(url, '--wait-ms=60000', data=line + b'y')
        assert (status, out) == (1, b'') and 'closed by the server with 1009' in err, (status, err)
    with Server(lambda c: (c.accept(), c.send(TEXT, b'z' * 2000), c.serve())) as server:
        status, out, err = cat(server.url, '--message-bytes-max=1999', '--wait-ms=60000')
        assert (status, out) == (1, b'') and 'closed with 1009' in err, (status, err)
        assert server.conn().close_frame()[0] == 1009


@test
def a_slow_reader_slows_the_server_and_loses_nothing():
    sent = []

    def flood(conn):
        conn.accept()
        for i in range(300):
            conn.send(TEXT, b'%06d' % i + b'.' * 99994)
            sent.append(i)
        conn.close(1000)
        conn.serve()

    with Server(flood) as server, with_pipes(server.url) as child:
        until('the flood has begun', lambda: len(sent) > 10)
        while (before := len(sent)) < 300:  # until it stands still
            time.sleep(0.5)
            if len(sent) == before:
                break
        assert len(sent) < 250, 'it took all although nobody reads'
        digest, lines = hashlib.sha256(), 0
        for line in child.stdout:
            assert line[:6] == b'%06d' % lines and len(line) == 100001, line[:10]
            digest.update(line)
            lines += 1
        assert lines == 300 and child.wait(PATIENCE_S) == 0


@test
def a_server_that_does_not_read_slows_standard_input():
    begin = threading.Event()

    def lazy(conn):
        conn.accept()
        begin.wait(PATIENCE_S)
        conn.serve()

    with Server(lazy) as server, with_pipes(server.url) as child:
        written = []

        def write():
            for i in range(400):
                child.stdin.write(b'%06d' % i + b'.' * 99993 + b'\n')
                written.append(i)
            child.stdin.close()

        writer = threading.Thread(target=write)
        writer.start()
        until('input is being read', lambda: len(written) > 3)
        while (before := len(written)) < 400:
            time.sleep(0.5)
            if len(written) == before:
                break
        assert len(written) < 390
        begin.set()
        writer.join()
        assert child.wait(PATIENCE_S) == 0, child.stderr.read()
        got = server.conn().data()
        assert [p[:6] for _, p in got] == [b'%06d' % i for i in range(400)]


@test
def it_ends_after_as_many_messages_as_were_asked_for():
    def three(conn):
        conn.accept()
        for text in ('a', 'b', 'c'):
            conn.send(TEXT, text)
        conn.serve()

    with Server(three) as server:
        with with_pipes(server.url, '-n', '2') as child:  # its input stays open
            assert child.stdout.read() == b'a\nb\n' and child.wait(PATIENCE_S) == 0
        assert server.conn().close_frame() == (1000, '')


@test
def answers_are_waited_for_behind_the_end_of_input():
    def late(conn):
        conn.accept()
        conn.send(TEXT, 'one')
        time.sleep(0.4)
        conn.send(TEXT, 'two')
        conn.serve()

    with Server(late) as server:
        talks(server.url, '--wait-ms=60000', '-n=2', out=b'one\ntwo\n')
        begin = time.monotonic()
        with with_pipes(server.url, '--wait-ms=4294967295', stdin=subprocess.DEVNULL) as child:
            assert child.stdout.readline() + child.stdout.readline() == b'one\ntwo\n'
            server.conn(1).close(1000)
            assert child.wait(PATIENCE_S) == 0
        assert time.monotonic() - begin < PATIENCE_S
    with Server() as server:
        begin = time.monotonic()
        talks(server.url, '--wait-ms=300')
        assert time.monotonic() - begin >= 0.3


@test
def the_status_tells_how_the_server_closed():
    for code, status, err in ((1000, 0, ''), (1001, 0, ''), (None, 0, ''),
                              (1011, 1, 'closed by the server with 1011: why\x1b'.replace('\x1b', '\\u001b')),
                              (4000, 1, 'closed by the server with 4000')):
        def close(conn, code=code):
            conn.accept()
            conn.send(TEXT, 'last')
            conn.close(code, 'why\x1b' if code else '')
            while conn.read_frame()[0] != CLOSE:  # its answer; then the server ends the connection
                pass

        with Server(close) as server, with_pipes(server.url) as child:
            out, got = child.stdout.read(), child.stderr.read().decode()
            assert (child.wait(PATIENCE_S), out) == (status, b'last\n'), (code, child.returncode, out)
            assert err in got and (err or not got), (code, got)


@test
def a_connection_that_breaks_off_is_lost():
    with Server(lambda c: (c.accept(), c.send(TEXT, 'last'), c.drop())) as server, with_pipes(server.url) as child:
        assert child.stdout.read() == b'last\n' and b'the connection is lost' in child.stderr.read()
        assert child.wait(PATIENCE_S) == 4
    with Server(lambda c: (c.accept(), c.serve(answers_close=False))) as server:
        status, _, err = cat(server.url, '--wait-ms=0', '--close-timeout-ms=200')
        assert status == 4 and 'lost' in err, (status, err)


@test
def a_server_that_breaks_the_protocol_is_told():
    for bad, code in ((frame(3, b''), 1002), (frame(TEXT, b'\xff'), 1007), (frame(0, b'x'), 1002)):
        with Server(lambda c, bad=bad: (c.accept(), c.sock.sendall(bad), c.serve())) as server:
            status, out, err = cat(server.url, '--wait-ms=60000')
            assert (status, out) == (1, b'') and f'closed with {code}' in err, (status, err)
            assert server.conn().close_frame()[0] == code


@test
def a_refusal_is_shown():
    def refuse(conn):
        body = '\r\n you \x1bmay not\nsecond line'
        conn.sock.sendall(f'HTTP/1.1 403 Forbidden\r\nContent-Length: {len(body)}\r\n\r\n{body}'.encode())

    with Server(refuse) as server:
        status, out, err = cat(server.url)
        assert (status, out) == (3, b'') and '403' in err, err
        assert 'the answer: you \\u001bmay not\n' in err and 'second' not in err, err


@test
def nobody_there_is_told():
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))  # and does not listen
        talks(f'ws://127.0.0.1:{taken.getsockname()[1]}', status=3, err='cannot connect: ')
    with Server(lambda c: c.drop()) as server:
        talks(server.url, status=3, err='cannot connect: ')
    with Server(lambda c: c.file.read()) as server:  # its answer never comes
        talks(server.url, '--open-timeout-ms=200', status=3, err='cannot connect: ')


@test
def a_wrong_command_line_is_told():
    talks('nonsense', status=2, err='weft-cat: ')
    talks('ws://127.0.0.1:1', '--close-code=1005', status=2, err='--close-code takes')
    talks('ws://127.0.0.1:1', '--header=Host: x', status=2, err='weft-cat: ')
    talks('ws://127.0.0.1:1', '--nonsense', status=2, err='--nonsense is not an option')


@test
def the_request_says_what_was_asked_for():
    def choose(conn):
        conn.accept('Sec-WebSocket-Protocol: b')
        conn.serve()

    with Server(choose) as server:
        status, _, err = cat(server.url + '/path?q=1', '--subprotocol=a', '--subprotocol', 'b', '--origin=https://o',
                             '--user-agent=me', '--user=ann:se:cret', '--header=X-A: 1', '--header', 'X-B:  two ',
                             '--verbose', '--wait-ms=0')
        assert status == 0 and 'subprotocol b' in err and 'secret' not in err, err
        conn = server.conn()
        assert conn.request[0] == 'GET /path?q=1 HTTP/1.1'
        for name, wanted in (('Sec-WebSocket-Protocol', ['a, b']), ('Origin', ['https://o']), ('User-Agent', ['me']),
                             ('Authorization', ['Basic YW5uOnNlOmNyZXQ=']), ('X-A', ['1']), ('X-B', ['two'])):
            assert conn.header(name) == wanted, (name, conn.request)


@test
def pings_are_sent_at_the_interval_and_answered():
    with Server() as server, with_pipes(server.url, '--ping-interval-ms=50') as child:
        until('pings', lambda: [o for o, _ in server.conn().got].count(PING) > 2)
        child.stdin.close()
        assert child.wait(PATIENCE_S) == 0


@test
def it_closes_with_the_code_and_reason_it_was_given():
    with Server() as server:
        talks(server.url, '--wait-ms=0', '--close-code=4321', '--close-reason=see yöu')
        assert server.conn().close_frame() == (4321, 'see yöu')


@test
def a_signal_closes_and_a_second_one_ends_at_once():
    for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)):
        with Server() as server, with_pipes(server.url) as child:
            server.conn()
            until('it is open', lambda: child.stdin.write(b'x\n') and not child.stdin.flush() and server.conn().data())
            child.send_signal(number)
            assert child.wait(PATIENCE_S) == status
            assert server.conn().close_frame() == (1000, '')
    with Server(lambda c: (c.accept(), c.serve(answers_close=False))) as server:
        with with_pipes(server.url, '--close-timeout-ms=60000') as child:
            child.stdin.write(b'x\n')
            child.stdin.flush()
            until('it is open', lambda: server.conn().data())
            child.send_signal(signal.SIGINT)
            until('its Close', lambda: CLOSE in [o for o, _ in server.conn().got])
            assert child.poll() is None
            child.send_signal(signal.SIGINT)
            assert child.wait(PATIENCE_S) == -signal.SIGINT, (child.returncode, child.stderr.read())


@test
def signals_are_heard_while_it_connects_and_while_nobody_reads():
    with Server(lambda c: time.sleep(PATIENCE_S)) as server, with_pipes(server.url) as child:
        server.conn()
        child.send_signal(signal.SIGTERM)
        assert child.wait(PATIENCE_S) == 143

    def endless(conn):
        conn.accept()
        while True:
            conn.send(TEXT, 'x' * 50000)

    with Server(endless) as server, with_pipes(server.url) as child:
        assert child.stdout.read(10) == b'x' * 10
        time.sleep(0.3)  # let it fill the pipe; whether it has is not what counts
        # The first one may have been enough; and two that it has not seen yet are one.
        until('its end', lambda: child.poll() is not None or child.send_signal(signal.SIGINT))
        assert child.wait(PATIENCE_S) in (130, -signal.SIGINT), (child.returncode, child.stderr.read())


@test
def a_reader_that_has_enough_ends_it():
    def endless(conn):
        conn.accept()
        threading.Thread(target=conn.serve, daemon=True).start()
        while not conn.lost:
            conn.send(TEXT, 'line')

    with Server(endless) as server, with_pipes(server.url) as child:
        assert child.stdout.readline() == b'line\n'
        child.stdout.close()
        assert child.wait(PATIENCE_S) == 0 and child.stderr.read() == b''
    with open('/dev/full', 'wb') as full, Server(endless) as server:
        with with_pipes(server.url, stdout=full) as child:
            assert child.wait(PATIENCE_S) == 5 and b'standard output: No space left' in child.stderr.read()


@test
def standard_descriptors_may_be_closed():
    with echo(WEFT_ECHO) as url:
        for closed in ('<&-', '>&-', '2>&-', '<&- >&- 2>&-'):
            wait = '-n=1 --wait-ms=60000' if closed == '2>&-' else '--wait-ms=100'
            done = subprocess.run(['sh', '-c', f'exec "$0" "$1" {wait} {closed}', WEFT_CAT, url], input=b'x\n',
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=PATIENCE_S, check=False)
            assert done.returncode == 0 and done.stderr == b'', (closed, done)
            assert done.stdout == (b'x\n' if closed == '2>&-' else b''), (closed, done)


@test
def it_connects_again_and_sends_what_was_held_up():
    def moody(conn):
        conn.accept()
        if len(server.conns) < 2:
            conn.send(TEXT, 'first')
            conn.drop()
        else:
            conn.send(TEXT, 'second')
            conn.serve()

    with Server(moody) as server, with_pipes(server.url, '--reconnect') as child:
        assert child.stdout.readline() == b'first\n'
        assert child.stdout.readline() == b'second\n'
        child.stdin.write(b'hello\n')
        child.stdin.close()
        assert child.wait(PATIENCE_S) == 0
        assert server.conn(1).data() == [(TEXT, b'hello')]


@test
def it_says_more_when_told_to():
    with Server() as server:
        assert cat(server.url, '--wait-ms=0')[2] == ''
        err = cat(server.url, '--wait-ms=0', '--verbose')[2]
        assert f'connected to 127.0.0.1:{server.port}' in err and 'closed with 1000' in err, err
        assert cat(server.url, '--wait-ms=0', '--verbose', '--quiet')[2] == ''
    done = subprocess.run([WEFT_CAT, '--help'], stdout=subprocess.PIPE, check=True)
    assert b'Usage: weft-cat [OPTION...] URL' in done.stdout


os.environ.pop('http_proxy', None)
main(TESTS, 'cat_pipe')
