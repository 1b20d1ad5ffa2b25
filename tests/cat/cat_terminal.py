#!/usr/bin/env python3
"""weft-cat at a terminal, which tmux plays: cat_terminal.py WEFT_CAT WEFT_ECHO [TEST...]"""
import contextlib
import os
import re
import shlex
import subprocess
import sys
import tempfile
import unicodedata

from cat_harness import BINARY, CLOSE, PATIENCE_S, TEXT, Server, echo, main, until

WEFT_CAT, WEFT_ECHO = (os.path.abspath(path) for path in sys.argv[1:3])
TESTS = {}


def test(run):
    TESTS[run.__name__] = run
    return run


class Terminal:
    """A window of tmux in which a command runs."""

    def __init__(self, work, *command, columns=60, rows=16):
        self.socket = os.path.join(work, 'tmux')
        clean = {name: value for name, value in os.environ.items() if name not in ('TMUX', 'LC_ALL')}
        clean.update(XDG_STATE_HOME=work, LANG='C', HOME=work)
        self.tmux('-f/dev/null', '-u', 'new-session', '-d', f'-x{columns}', f'-y{rows}', *command, env=clean)
        self.pid = int(self.tmux('display-message', '-p', '#{pid}'))

    def tmux(self, *args, env=None):
        done = subprocess.run(['tmux', '-S', self.socket, *args], stdout=subprocess.PIPE, timeout=PATIENCE_S, check=True,
                              env=env)
        return done.stdout.decode()

    def type(self, text, enter=True):
        if text:
            self.tmux('send-keys', '-l', text)
        if enter:
            self.keys('Enter')

    def resize(self, columns, rows=16):
        """tmux draws at once, but tells the program a while later."""
        self.tmux('resize-window', f'-x{columns}', f'-y{rows}')
        tty = self.tmux('display-message', '-p', '#{pane_tty}').strip()
        with open(tty, encoding='ascii') as file:
            until('the new size', lambda: os.get_terminal_size(file.fileno()) == (columns, rows))

    def keys(self, *names):
        self.tmux('send-keys', *names)

    def screen(self):
        return [line.rstrip() for line in self.tmux('capture-pane', '-p').rstrip('\n').split('\n')]

    def until(self, look, what=''):
        try:
            return until(what, lambda: look(self.screen()))
        except AssertionError:
            raise AssertionError('\n'.join([what, *self.screen()])) from None

    def shows(self, *lines):
        """Wait until these are the last lines of the screen."""
        self.until(lambda screen: screen[-len(lines):] == list(lines), f'wanted: {lines}')

    def has(self, *lines):
        self.until(lambda screen: all(line in screen for line in lines), f'wanted: {lines}')

    def matches(self, pattern):
        return self.until(lambda screen: re.search(pattern, '\n'.join(screen), re.M), f'wanted: {pattern}')


def has_ended(pid):
    """It is no child of ours: how long it stays a zombie is up to the system's first process."""
    try:
        with open(f'/proc/{pid}/stat', encoding='ascii', errors='replace') as stat:
            return stat.read().rsplit(')', 1)[1].split()[0] == 'Z'
    except (FileNotFoundError, ProcessLookupError):
        return True


@contextlib.contextmanager
def window(*command, work=None, **how):
    with tempfile.TemporaryDirectory() as own:
        t = Terminal(work or own, *command, **how)
        try:
            yield t
        finally:
            t.tmux('kill-server')
            until('tmux has ended', lambda: has_ended(t.pid))
            with contextlib.suppress(FileNotFoundError):
                os.unlink(t.socket)


@contextlib.contextmanager
def terminal(url, *options, ready=True, env='', behind='', **how):
    """weft-cat in a window; behind it a shell says its status and waits."""
    command = ' '.join(map(shlex.quote, [WEFT_CAT, url, *options]))
    script = f'trap : INT; {env} {command} {behind}; echo "status $?"; exec cat'
    with window('sh', '-c', script, **how) as t:
        if ready:
            t.until(lambda screen: screen[-1] == '>', 'a prompt')
        yield t


def rows_of(text, columns):
    """How a terminal breaks a line; a wide character is not cut in two."""
    rows, width = [''], 0
    for c in text:
        w = 2 if unicodedata.east_asian_width(c) in 'WF' else 1
        if width + w > columns:
            rows.append('')
            width = 0
        rows[-1] += c
        width += w
    return [row.rstrip() for row in rows]


@test
def what_comes_in_leaves_the_typed_line_intact():
    for typed in ('half a thought', 'x' * 58, 'x' * 57, 'x' * 59, 'over more than one row ' * 6,
                  'w\u00f6rld \u6f22\u5b57 ' * 9, 'x' * 57 + '\u6f22' + 'y' * 30):
        with Server() as server, terminal(server.url) as t:
            prompt = rows_of('> ' + typed, 60)
            t.type(typed, enter=False)
            t.shows(*prompt)
            for text in ('one', 'two', 'three'):
                server.conn().send(TEXT, text)
                t.shows('< ' + text, *prompt)
            t.shows('< one', '< two', '< three', *prompt)
            t.keys('Home', 'Right', 'Right')  # also with the cursor elsewhere
            server.conn().send(TEXT, 'four')
            t.shows('< three', '< four', *prompt)
            t.keys('Enter')
            until('it was sent whole', lambda: server.conn().data() == [(TEXT, typed.encode())])


@test
def editing_goes_on_where_it_was():
    with Server() as server, terminal(server.url) as t:
        t.type('abXc', enter=False)
        t.keys('Left')
        t.shows('> abXc')
        server.conn().send(TEXT, 'between')
        t.shows('< between', '> abXc')
        t.keys('BSpace')
        t.type('\u00f6', enter=False)
        t.shows('> ab\u00f6c')
        t.keys('Enter')
        until('it was sent', lambda: server.conn().data() == [(TEXT, 'ab\u00f6c'.encode())])


@test
def the_window_may_change_its_size():
    typed = 'a line that takes two rows in a window of sixty columns, and others elsewhere'
    with Server() as server, terminal(server.url) as t:
        t.type(typed, enter=False)
        t.shows(*rows_of('> ' + typed, 60))
        for columns in (40, 100, 25, 60):
            t.resize(columns)
            t.shows(*rows_of('> ' + typed, columns))
            server.conn().send(TEXT, f'at {columns}')
            t.shows(f'< at {columns}', *rows_of('> ' + typed, columns))
        t.keys('Enter')
        until('it was sent whole', lambda: server.conn().data() == [(TEXT, typed.encode())])


@test
def typed_lines_come_back_with_the_arrow_key_and_in_the_next_run():
    with tempfile.TemporaryDirectory() as work, echo(WEFT_ECHO) as url:
        with terminal(url, work=work) as t:
            for line in ('first', 'second w\u00f6rld', ' not remembered'):
                t.type(line)
                t.shows('< ' + line, '>')
            t.keys('Up')
            t.shows('> second w\u00f6rld')
            t.keys('Up')
            t.shows('> first')
            t.keys('Down')
            t.shows('> second w\u00f6rld')
            t.keys('C-u', 'C-d')
            t.has('status 0')
        kept = os.path.join(work, 'weft', 'cat_history')
        assert os.stat(kept).st_mode & 0o777 == 0o600
        with terminal(url, work=work) as t:
            t.keys('Up', 'Up', 'Enter')
            t.shows('< first', '>')
        with terminal(url, '--no-history', work=work) as t:
            t.type('secret')
            t.shows('< secret', '>')
            t.keys('Up')
            t.shows('> secret')
            t.keys('C-u', 'C-d')
            t.has('status 0')
        with open(kept, encoding='utf-8') as file:
            assert 'secret' not in file.read()


@test
def a_search_in_the_history_survives_what_comes_in():
    with Server() as server, terminal(server.url) as t:
        t.type('find me')
        t.type('not me')
        t.keys('C-r')
        t.type('find', enter=False)
        t.matches('bck.find')
        server.conn().send(TEXT, 'between')
        t.has('< between')
        t.keys('Enter')
        t.keys('Enter')
        until('it was found', lambda: [p for _, p in server.conn().data()][:3] == [b'find me', b'not me', b'find me'])


@test
def a_flood_leaves_the_typed_line_intact():
    def flood(conn):
        conn.accept()
        conn.file.read(1)  # the first byte of a message: begin
        for i in range(20000):
            conn.send(TEXT, f'message {i} of the flood')
        conn.sock.settimeout(None)
        conn.file.read(10000)

    with Server(flood) as server, terminal(server.url) as t:
        t.type('go')
        t.until(lambda screen: any('of the flood' in line for line in screen), 'the flood')
        t.type('typed meanwhile', enter=False)
        t.shows('< message 19998 of the flood', '< message 19999 of the flood', '> typed meanwhile')


@test
def a_line_of_half_a_mebibyte_is_shown():
    with Server() as server, terminal(server.url) as t:
        t.type('typed', enter=False)
        server.conn().send(TEXT, 'x' * 524288 + 'END')
        t.until(lambda screen: screen[-2].endswith('END') and screen[-1] == '> typed', 'its end')


@test
def a_server_cannot_drive_the_terminal():
    with Server() as server, terminal(server.url, columns=100) as t:
        server.conn().send(TEXT, '\x1b[2J\x1b]0;title\x07\r\n\u009b31mred \u202edrow')
        t.shows('< \\u001b[2J\\u001b]0;title\\u0007\\r\\n\\u009b31mred \\u202edrow', '>')
        server.conn().close(4000, 'w\x1bhy')
        t.has('weft-cat: closed by the server with 4000: w\\u001bhy', 'status 1')


@test
def binary_is_shown_as_digits():
    with Server() as server, terminal(server.url) as t:
        server.conn().send(BINARY, b'\x00\xffz')
        t.shows('< [binary, 3 bytes] 00 ff 7a', '>')
        server.conn().send(BINARY, b'\x00' * 1000)
        t.matches(r'binary, 1000 bytes(.|\n)* \.\.\. \(all of it with --hex\)')
    with Server() as server, terminal(server.url, '--hex') as t:
        server.conn().send(BINARY, b'\x01' * 99 + b'\x02')
        t.matches('01 02\n>$')
        t.type('00ff 7a')
        until('it was sent', lambda: server.conn().data() == [(BINARY, b'\x00\xffz')])


@test
def commands_do_what_they_say():
    with tempfile.NamedTemporaryFile() as file, Server() as server, terminal(server.url, columns=100, rows=40) as t:
        file.write(b'\xff\x00')
        file.flush()
        t.type('/ping')
        t.matches(r'^\* pong after \d+\.\d\d\d ms\n>$')
        for line in ('//slash', '/text /quit', '/text', '/binary 00 ff', f'/binary-file {file.name}', 'plain'):
            t.type(line)
        wanted = [(TEXT, b'/slash'), (TEXT, b'/quit'), (TEXT, b''), (BINARY, b'\x00\xff'), (BINARY, b'\xff\x00'),
                  (TEXT, b'plain')]
        until('all were sent', lambda: server.conn().data() == wanted)
        t.type(f'/file {file.name}')
        t.matches('is not UTF-8 at byte 1')
        t.type('/file /nowhere')
        t.matches('/nowhere: No such file')
        t.type('/binary 0')
        t.matches('not pairs of hexadecimal digits')
        t.type('/nonsense')
        t.matches('there is no such command')
        t.type('')
        t.type('/help')
        t.matches('/close .CODE .WHY')
        t.type('/close 4001 bye now')
        t.has('* closed with 4001: bye now', 'status 0')
        assert server.conn().close_frame() == (4001, 'bye now') and server.conn().data() == wanted


@test
def it_ends_as_it_was_told_and_leaves_the_terminal_as_it_was():
    for keys, status in ((['C-d'], 0), (['C-c'], 130), (['h', 'a', 'l', 'f', 'C-c'], 130), (['/quit', 'Enter'], 0)):
        modes = '; stty -a | tr " ;" "\\n\\n" | grep -xE -- "-*(icanon|echo)"'
        with Server() as server, terminal(server.url, behind=modes) as t:
            t.keys(*keys)
            t.has('icanon', 'echo')
            assert '-icanon' not in t.screen() and '-echo' not in t.screen()
            assert server.conn().close_frame()[0] == 1000
        with Server() as server, terminal(server.url) as t:
            t.keys(*keys)
            t.has(f'status {status}')


@test
def a_second_interrupt_ends_it_at_once():
    with Server(lambda c: (c.accept(), c.serve(answers_close=False))) as server:
        with terminal(server.url, '--close-timeout-ms=60000') as t:
            t.keys('C-c')
            until('its Close', lambda: CLOSE in [o for o, _ in server.conn().got])
            t.keys('C-c')
            t.matches('status 130$')  # the terminal may have shown ^C again


@test
def a_loss_while_typing_is_told():
    with Server() as server, terminal(server.url) as t:
        t.type('half a thou', enter=False)
        t.shows('> half a thou')
        server.conn().drop()
        t.has('weft-cat: the connection is lost', 'status 4')


@test
def a_terminal_that_cannot_move_its_cursor_gets_lines():
    with Server() as server, terminal(server.url, env='TERM=dumb', ready=False) as t:
        t.matches('connected to')
        t.type('hello')
        until('it was sent', lambda: server.conn().data() == [(TEXT, b'hello')])
        server.conn().send(TEXT, 'an\x1banswer')
        t.shows('hello', '< an\\u001banswer')
        t.type('/close 4000')
        t.has('status 0')
        assert server.conn().close_frame()[0] == 4000


@test
def it_can_be_suspended_and_continued():
    with Server() as server, window('bash', '--norc', '-i') as t:
        t.until(lambda screen: screen[-1].endswith(('$', '#')), 'a shell')
        t.type(f"PS1='ready: '; clear; {WEFT_CAT} {server.url}")
        t.shows('>')
        t.type('typed', enter=False)
        t.shows('> typed')
        t.keys('C-z')
        t.shows('ready:')
        server.conn().send(TEXT, 'meanwhile')
        t.type('fg')
        t.shows('< meanwhile', '> typed')
        t.keys('Enter')
        until('it was sent', lambda: server.conn().data() == [(TEXT, b'typed')])
        t.type('/quit')
        t.until(lambda screen: screen[-1].rstrip() == 'ready:', 'the shell again')
        assert len(server.conns) == 1


@test
def a_session_follows_another():
    def moody(conn):
        conn.accept()
        if len(server.conns) > 1:
            conn.serve()
        else:
            conn.read_frame()
            conn.drop()

    with Server(moody) as server, terminal(server.url, '--reconnect') as t:
        t.type('end')
        t.matches('the connection is lost')
        until('the second session', lambda: len(server.conns) > 1)
        t.until(lambda screen: len([line for line in screen if 'connected to' in line]) == 2, 'connected again')
        t.type('again')
        until('it was sent', lambda: server.conn(1).data() == [(TEXT, b'again')])


@test
def a_refusal_and_a_wrong_line_leave_the_terminal_alone():
    with terminal('ws://127.0.0.1:1', ready=False) as t:
        t.has('status 3')
    with terminal('ws://127.0.0.1:1', '--raw', ready=False, columns=100) as t:
        t.matches('--raw and --no-escape are for standard output that is not')
        t.has('status 2')


main(TESTS, 'cat_terminal')
