"""weft-chat as a service: sockets and words of a service manager, root given up, the units that are installed.

    python3 tests/service/service.py WEFT_ECHO --chat WEFT_CHAT --make-certs tests/make_certs [CASE...]

The manager is a socket of this test and activate.py, or systemd-socket-activate; the units are judged by
systemd-analyze, and their SystemCallFilter= is put upon the program. What needs root is left out without it."""
import contextlib
import functools
import grp
import json
import os
import pathlib
import pty
import pwd
import re
import select
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
UNITS = HERE.parent.parent / 'server/systemd'
sys.path.insert(0, str(HERE.parent / 'attacks'))
from attack import PATIENCE_S, Failed, Group, Peer, Skip, chat_of, check, wait_for  # noqa: E402

USER = 'nobody'
LIMIT_OF_EXPOSURE = 13  # tenths, as systemd-analyze counts

group = Group('service')


# --- the program and its manager


class Manager:
    """What the program says to NOTIFY_SOCKET."""

    def __init__(self, folder):
        self.path = str(folder / 'notify')
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(PATIENCE_S)
        os.chmod(self.path, 0o666)  # as systemd's is
        self.environment = {'NOTIFY_SOCKET': self.path}

    def hears(self):
        """The next word that is no sign of life."""
        while True:
            try:
                text = self.socket.recv(4096).decode()
            except TimeoutError:
                raise Failed('no word came') from None
            if text != 'WATCHDOG=1':
                return text

    def hears_alive(self):
        return self.socket.recv(4096) == b'WATCHDOG=1'


class Program:
    """Until the with statement ends, which demands that SIGTERM ends it with 0. before: a command that runs it."""

    def __init__(self, *command, environment=None, fds=(), before=(), **how):
        self.output = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [str(part) for part in (*before, *command)], stdin=subprocess.DEVNULL, stdout=self.output,
            stderr=subprocess.STDOUT, env={**os.environ, **(environment or {})}, pass_fds=fds, **how)
        self.pid = self.process.pid

    def said(self):
        return os.pread(self.output.fileno(), 1 << 24, 0).decode(errors='replace')

    def says(self, text, times=1):
        def has_said():
            check(self.process.poll() is None or self.said().count(text) >= times, 'it ended:', self.said())
            return self.said().count(text) >= times
        wait_for(has_said, f'it says {text!r}')

    def places(self):
        self.says('listening on ')
        return re.findall(r'^listening on (\S+)$', self.said(), re.M)

    def hang_up(self):
        os.kill(self.pid, signal.SIGHUP)

    def ends(self):
        """Its status, once it has ended by itself."""
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise Failed('it does not end: ' + self.said()) from None

    def stop(self):
        check(self.process.poll() is None, 'it ended by itself:', self.said())
        self.process.terminate()
        check(self.ends() == 0, 'it ended with', self.process.returncode, self.said())

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None and self.process.returncode is None:
                self.stop()
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self.output.close()


def activated(sockets, command, names=None, pid='self', count='all', launcher=HERE / 'activate.py', **how):
    fds = [s if isinstance(s, int) else s.fileno() for s in sockets]
    names = ':'.join(names or ['unknown'] * len(fds))
    return Program(*command, fds=fds, before=(
        sys.executable, launcher, ','.join(map(str, fds)), names, pid, count), **how)


def tcp():
    s = socket.socket()
    s.bind(('127.0.0.1', 0))
    s.listen(16)
    return s


def kept_port():
    """A socket at a port that nobody else gets, and where somebody who is told so may listen."""
    s = socket.socket()
    s.bind(('127.0.0.1', 0))
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return s


def port_of(s):
    return s.getsockname()[1]


# --- who visits


class Visitor(Peer):
    def __init__(self, connected):
        self.socket = connected
        self.buffer = b''
        self.ended = False

    def join(self, name):
        self.open(path='/chat')
        self.name = name
        self.tell('join', room='lobby', name=name)
        check(self.waits_for('joined')['name'] == name)
        self.waits_for('history')
        return self

    def tell(self, kind, **more):
        self.say(json.dumps({'type': kind, **more}))

    def waits_for(self, kind):
        while True:
            message = json.loads(self.hears())
            check(message['type'] != 'error', message)
            if message['type'] == kind:
                return message

    def talks(self, text):
        """Says it and hears it, as all in the room do."""
        self.tell('say', text=text)
        while (said := self.waits_for('said'))['text'] != text:
            pass


def visit(place, ca=None):
    """place: a port of 127.0.0.1, or a path. ca: over TLS."""
    family, address = (socket.AF_UNIX, str(place)) if isinstance(place, (str, pathlib.Path)) else (
        socket.AF_INET, ('127.0.0.1', place))
    s = socket.socket(family)
    s.settimeout(PATIENCE_S)
    s.connect(address)
    if ca:
        s = ssl.create_default_context(cafile=ca).wrap_socket(s, server_hostname='localhost')
    return Visitor(s)


def certificate_at(port, ca):
    with visit(port, ca) as v:
        return dict(x[0] for x in v.socket.getpeercert()['subject'])['commonName']


# --- folders and certificates


@functools.cache
def certificates(make_certs):
    folder = tempfile.TemporaryDirectory()
    subprocess.run([make_certs, folder.name], check=True, capture_output=True)
    return folder


@contextlib.contextmanager
def place():
    """A folder that everybody may pass."""
    with tempfile.TemporaryDirectory(prefix='weft-service-') as name:
        os.chmod(name, 0o711)
        yield pathlib.Path(name)


class Certificate:
    """--cert and --key in a folder, and the files of make_certs to put there."""

    def __init__(self, programs, folder):
        self.source = pathlib.Path(certificates(programs.make_certs).name)
        self.files = [folder / 'live.pem', folder / 'live.key']
        self.ca = self.source / 'ca.pem'
        self.options = ['--cert', self.files[0], '--key', self.files[1]]

    def put(self, name, mode=0o640, gid=-1):
        for file in self.files:
            shutil.copyfile(self.source / (name + file.suffix), file)
            os.chown(file, -1, gid)
            os.chmod(file, mode)


# --- sockets that are handed over


@group.attack
def systemd_hands_a_socket_over_and_hears_how_it_goes(programs):
    chat = chat_of(programs)
    with place() as folder, kept_port() as kept:
        manager, certificate = Manager(folder), Certificate(programs, folder)
        certificate.put('server')
        port = port_of(kept)
        keep = [f'-E{k}' for k in os.environ if k.endswith('SAN_OPTIONS')]
        with Program('systemd-socket-activate', f'-l127.0.0.1:{port}', f'-ENOTIFY_SOCKET={manager.path}', *keep, chat,
                     *certificate.options) as p:
            p.says('Listening on')
            with visit(port, certificate.ca) as ann:  # her connection starts it
                ann.join('ann').talks('hello')
                check(p.places() == [f'127.0.0.1:{port}'], p.said())
                check(manager.hears() == 'READY=1')
                certificate.put('rsa')
                p.hang_up()
                check(manager.hears().startswith('RELOADING=1\nMONOTONIC_USEC='))
                check(manager.hears() == 'READY=1')
                check(certificate_at(port, certificate.ca) == 'rsa', 'the old certificate')
                ann.talks('still here')
                p.process.terminate()
                check(manager.hears() == 'STOPPING=1')
                check(ann.hears_close() == 1001)
                ann.socket.close()
                check(p.ends() == 0)


@group.attack
def each_socket_is_served_as_it_is_named(programs):
    chat = chat_of(programs)
    with place() as folder, tcp() as first, tcp() as second, tcp() as third, \
            socket.socket(socket.AF_UNIX) as fourth, socket.socket(socket.AF_UNIX) as fifth:
        certificate = Certificate(programs, folder)
        certificate.put('server')
        paths = [folder / 'fourth', folder / 'fifth']
        for s, path in zip((fourth, fifth), paths):
            s.bind(str(path))
            s.listen(16)
        with activated([first, second, third, fourth, fifth], [chat, *certificate.options],
                       names=['weft-chat.socket', 'plain', 'tls', 'weft-chat.socket', 'tls']) as p:
            where = [f'127.0.0.1:{port_of(s)}' for s in (first, second, third)] + [f'unix:{path}' for path in paths]
            wait_for(lambda: p.places() == where, 'all places')
            for at, ca in ((port_of(first), certificate.ca), (port_of(second), None), (port_of(third), certificate.ca),
                           (paths[0], None), (paths[1], certificate.ca)):
                with visit(at, ca) as v:
                    v.join(f'at {at}'[-20:]).talks(f'by {at}')
        check(all(path.is_socket() for path in paths), 'what was handed over is not removed')
        with visit(port_of(second)):  # and still listens
            pass


@group.attack
def sockets_come_beside_places_of_its_own(programs):
    with tcp() as given:
        with activated([given], [programs.echo, '--port', 0]) as p:
            wait_for(lambda: len(p.places()) == 2, 'both places')
            for at in p.places():
                with visit(int(at.rsplit(':', 1)[1])) as v:
                    v.open()
                    v.say(at)
                    check(v.hears() == at)


@group.attack
def sockets_of_another_process_are_left_alone(programs):
    with tcp() as given:
        with activated([given], [programs.echo, '--port', 0], pid='1') as p:
            p.says('listening on ')
            check(f':{port_of(given)}' not in p.said(), p.said())


@group.attack
def what_is_handed_over_and_cannot_be_served_ends_it_with_the_reason(programs):
    a, b = socket.socketpair()
    datagram, silent, file = socket.socket(type=socket.SOCK_DGRAM), socket.socket(), open(os.devnull, 'rb')
    with a, b, datagram, silent, file, tcp() as good:
        for sockets, how, status, *words in (
                ([file], {}, 1, "descriptor 3, handed over as 'unknown'", 'is not a socket'),
                ([datagram], {}, 1, 'descriptor 3', 'is not a stream socket'),
                ([good, a], {}, 1, 'descriptor 4', 'does not listen'),
                ([silent], {}, 1, 'descriptor 3', 'does not listen'),
                ([good], {'names': ['tls']}, 2, 'needs --cert and --key'),
                ([good], {'count': '2', 'names': ['one', 'two']}, 1, 'LISTEN_FDS=2', 'Bad file descriptor'),
                ([good], {'count': 'many'}, 1, 'LISTEN_FDS=many', 'Invalid argument'),
                ([good], {'count': '-1'}, 1, 'LISTEN_FDS=-1', 'Invalid argument'),
                ([good], {'names': ['one', 'two']}, 1, 'LISTEN_FDS=1', 'Invalid argument')):
            with activated(sockets, [programs.echo], **how) as p:
                check(p.ends() == status, sockets, how, p.process.returncode, p.said())
                check(all(word in p.said() for word in words), words, p.said())


# --- words


@group.attack
def the_watchdog_is_fed(programs):
    with place() as folder:
        manager = Manager(folder)
        with Program(programs.echo, '--port', 0, environment={**manager.environment, 'WATCHDOG_USEC': '100000'}) as p:
            p.says('listening on ')
            check(manager.hears() == 'READY=1')
            check(all(manager.hears_alive() for _ in range(5)))
        check(manager.hears() == 'STOPPING=1')


@group.attack
def a_reload_with_nothing_to_read_ends_nothing(programs):
    with place() as folder:
        manager = Manager(folder)
        with Program(programs.echo, '--port', 0, environment=manager.environment) as p:
            check(manager.hears() == 'READY=1')
            p.hang_up()
            check(manager.hears().startswith('RELOADING=1'))
            check(manager.hears() == 'READY=1')
            p.says('nothing to read again')


@group.attack
def a_start_that_fails_is_not_called_ready(programs):
    with place() as folder, tcp() as taken:
        manager = Manager(folder)
        with Program(programs.echo, '--port', port_of(taken), environment=manager.environment) as p:
            check(p.ends() == 1)
            check('Address already in use' in p.said(), p.said())
        manager.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            raise Failed(f'{manager.socket.recv(4096)} was said')


@group.attack
def copies_that_systemd_made_are_called_so(programs):
    with place() as folder:
        certificate = Certificate(programs, folder)
        certificate.put('server')
        with Program(programs.echo, '--port', 0, *certificate.options,
                     environment={'CREDENTIALS_DIRECTORY': str(folder)}) as p:
            p.says('listening on ')
            p.hang_up()
            p.says(f'{certificate.files[0]} is a copy that systemd made at the start: what was renewed since')


# --- root


def needs_root():
    if os.geteuid() != 0:
        raise Skip('for root')


def low_port():
    """One that only root may take, unless the system says otherwise."""
    for port in range(1023, 512, -1):
        with socket.socket() as s, contextlib.suppress(OSError):
            s.bind(('127.0.0.1', port))
            return port
    raise Skip('no port below 1024 is free')


def status_of_threads(pid):
    """/proc/PID/status of each thread, as a dictionary."""
    for thread in os.listdir(f'/proc/{pid}/task'):
        # One may have ended meanwhile.
        with contextlib.suppress(OSError), open(f'/proc/{pid}/task/{thread}/status') as status:
            yield dict(line.rstrip('\n').split(':\t', 1) for line in status if ':\t' in line)


def check_threads(pid, uid, gid, groups):
    threads = list(status_of_threads(pid))
    check(len(threads) > 2, 'where are its threads?')
    for status in threads:
        check(status['Uid'].split() == [str(uid)] * 4, status['Name'], status['Uid'])
        check(status['Gid'].split() == [str(gid)] * 4, status['Name'], status['Gid'])
        check({int(g) for g in status['Groups'].split()} == groups, status['Name'], status['Groups'])
        for kind in ('CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'):
            check(int(status[kind], 16) == 0, status['Name'], kind, status[kind])
        check(status['NoNewPrivs'] == '1', status['Name'])


# A process that was root may not be looked into, which is how leaks are found.
UNPRIVILEGED = {'ASAN_OPTIONS': os.environ.get('ASAN_OPTIONS', '') + ':detect_leaks=0'}


@group.attack
def every_thread_is_the_user_and_a_low_port_is_served(programs):
    needs_root()
    user, other = pwd.getpwnam(USER), grp.getgrnam('daemon').gr_gid
    port = low_port()
    with place() as folder:
        (folder / 'state').mkdir()
        os.chown(folder / 'state', user.pw_uid, -1)
        history, path = folder / 'state/history.db', folder / 'socket'
        for text in ('one', 'two'):  # the second finds the socket file that the first could not remove
            with Program(chat_of(programs), '--port', port, '--unix', path, '--user', f'{USER}:daemon', '--history',
                         history, environment=UNPRIVILEGED) as p:
                wait_for(lambda: len(p.places()) == 2, 'both places')
                with visit(port) as ann, visit(path) as bob:
                    ann.join('ann').talks(text)
                    bob.join('bob').talks(text + ' by the other door')
                    check_threads(p.pid, user.pw_uid, other, set(os.getgrouplist(USER, other)))
            check(stat.S_ISSOCK(os.lstat(path).st_mode), 'this folder is not the user\'s')
            for file, gid in ((path, other), (history, other)):
                check((os.lstat(file).st_uid, os.lstat(file).st_gid) == (user.pw_uid, gid), file)


@group.attack
def a_certificate_is_read_again_by_the_user_or_it_is_said_why_not(programs):
    needs_root()
    user = pwd.getpwnam(USER)
    with place() as folder:
        certificate, manager = Certificate(programs, folder), Manager(folder)
        certificate.put('server', gid=user.pw_gid)
        with Program(chat_of(programs), '--port', 0, '--user', USER, *certificate.options,
                     environment={**UNPRIVILEGED, **manager.environment}) as p:
            check(manager.hears() == 'READY=1')
            check('may not read' not in p.said(), p.said())
            port = int(p.places()[0].rsplit(':', 1)[1])
            with visit(port, certificate.ca) as ann:
                ann.join('ann')
                certificate.put('rsa', gid=user.pw_gid)
                p.hang_up()
                p.says('certificate read again\n')
                check(certificate_at(port, certificate.ca) == 'rsa')
                certificate.put('server', mode=0o600, gid=0)
                p.hang_up()
                p.says('cannot read the certificate again')
                p.says(f'user {user.pw_uid} may not read {certificate.files[1]}, so SIGHUP cannot read it again: give it')
                check(certificate_at(port, certificate.ca) == 'rsa', 'it goes on with what it has')
                ann.talks('still here')


@group.attack
def a_key_that_only_root_may_read_serves_and_is_warned_of(programs):
    needs_root()
    with place() as folder:
        certificate = Certificate(programs, folder)
        certificate.put('server', mode=0o600)
        with Program(programs.echo, '--port', 0, '--user', USER, *certificate.options, environment=UNPRIVILEGED) as p:
            port = int(p.places()[0].rsplit(':', 1)[1])
            p.says(f'may not read {certificate.files[1]}, so SIGHUP cannot')
            check(certificate_at(port, certificate.ca) == 'server')


@group.attack
def who_cannot_be_become_is_refused_before_anything_is_opened(programs):
    for user, words in (('root', "user 'root' is root"), ('no-such-user', "user 'no-such-user' does not exist"),
                        (f'{USER}:no-such-group', "group 'no-such-group' does not exist"),
                        (f'{USER}:root', "group 'root' is root's")):
        with Program(programs.echo, '--port', 0, '--user', user) as p:
            check(p.ends() == 2 and words in p.said(), p.process.returncode, p.said())
    needs_root()
    nobody = pwd.getpwnam(USER)
    with Program(programs.echo, '--port', 0, '--user', 'daemon', user=nobody.pw_uid, group=nobody.pw_gid) as p:
        check(p.ends() == 1, p.said())
        check(f"only root can become 'daemon', and this is user {nobody.pw_uid}" in p.said(), p.said())


@group.attack
def a_window_that_there_is_not_is_refused_by_the_command_line(programs):
    for bits in '0', '8', '16':
        done = subprocess.run([programs.echo, '--port', '0', '--window-bits', bits], capture_output=True, text=True,
                              timeout=PATIENCE_S)
        check(done.returncode == 2 and 'from 9 to 15' in done.stderr, done)


@group.attack
def root_at_a_terminal_is_reminded(programs):
    needs_root()
    ours, terminal = pty.openpty()
    p = subprocess.Popen([programs.echo, '--port', '0'], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                         stderr=terminal)
    try:
        os.close(terminal)
        said = ''
        while 'weft-echo: runs as root; --user NAME gives that up' not in said:
            check(select.select([ours], [], [], PATIENCE_S)[0], 'it says only', said)
            said += os.read(ours, 4096).decode()
    finally:
        p.terminate()
        p.wait(PATIENCE_S)
        os.close(ours)


@group.attack
def a_history_of_root_is_refused_in_the_name_of_the_user(programs):
    needs_root()
    with place() as folder:
        history = folder / 'history.db'
        with Program(chat_of(programs), '--port', 0, '--history', history) as p:
            p.says('listening on ')
        with Program(chat_of(programs), '--port', 0, '--history', history, '--user', USER,
                     environment=UNPRIVILEGED) as p:
            check(p.ends() == 2, p.process.returncode)
            check(f'cannot open the history {history} as {USER}' in p.said(), p.said())


# --- the units


@contextlib.contextmanager
def units(programs):
    """As they are installed, but for the folder of the program."""
    with place() as folder:
        chat = pathlib.Path(chat_of(programs)).resolve()
        text = (UNITS / 'weft-chat.service.in').read_text().replace('@bindir@', str(chat.parent))
        (folder / 'weft-chat.service').write_text(text)
        shutil.copy(UNITS / 'weft-chat.socket', folder)
        yield folder


def analyze(folder, *arguments):
    done = subprocess.run(['systemd-analyze', *arguments], cwd=folder, capture_output=True, text=True,
                          timeout=PATIENCE_S, env={**os.environ, 'SYSTEMD_UNIT_PATH': f'{folder}:'})
    return done.returncode, done.stdout + done.stderr


@group.attack
def systemd_finds_no_fault_with_the_units(programs):
    with units(programs) as folder:
        for unit in ('weft-chat.service', 'weft-chat.socket'):
            status, said = analyze(folder, 'verify', '--man=no', folder / unit)
            check(status == 0 and not said.strip(), unit, status, said)


@group.attack
def the_service_is_hardly_exposed(programs):
    with units(programs) as folder:
        status, said = analyze(folder, 'security', '--offline=true', f'--threshold={LIMIT_OF_EXPOSURE}', '--no-pager',
                               folder / 'weft-chat.service')
        check(status == 0, said)
        print('#    ', said.strip().splitlines()[-1])


@functools.cache
def sets_of_syscalls():
    """What each of systemd's sets holds: calls, and other sets."""
    said = subprocess.run(['systemd-analyze', 'syscall-filter'], capture_output=True, text=True, check=True).stdout
    sets, inner = {}, None
    for line in said.splitlines():
        name = line.strip()
        if line.startswith('@'):
            inner = sets.setdefault(name, [])
        elif line.startswith(' ') and inner is not None and not name.startswith('#'):
            inner.append(name)
    return sets


def syscalls_of(name):
    inner = sets_of_syscalls().get(name)
    return {name} if inner is None else {call for i in inner for call in syscalls_of(i)}


def allowed_by(unit):
    allowed = syscalls_of('@default')
    for value in re.findall(r'^SystemCallFilter=(.*)$', unit.read_text(), re.M):
        names = {call for name in value.lstrip('~').split() for call in syscalls_of(name)}
        allowed = allowed - names if value.startswith('~') else allowed | names
    return sorted(allowed)


def confine(names):
    """Let this process call nothing else: what it tries ends it."""
    import seccomp
    filter_ = seccomp.SyscallFilter(seccomp.KILL_PROCESS)
    for name in {'execve', *names}:
        with contextlib.suppress(RuntimeError, ValueError, OSError):  # of another architecture
            filter_.add_rule(seccomp.ALLOW, name)
    filter_.load()


@group.attack
def the_calls_that_the_unit_allows_are_enough(programs):
    if any(name in pathlib.Path(chat_of(programs)).read_bytes() for name in (b'__asan_init', b'__tsan_init')):
        raise Skip('sanitizers call more')
    try:
        import seccomp  # noqa: F401
    except ImportError:
        raise Skip('there is no python3-seccomp') from None
    with units(programs) as unit_folder, place() as folder, tcp() as given:
        names = allowed_by(unit_folder / 'weft-chat.service')
        check(150 < len(names) < 350 and 'ptrace' not in names and 'setuid' not in names, len(names))
        certificate, manager = Certificate(programs, folder), Manager(folder)
        certificate.put('server', mode=0o644)
        (folder / 'state').mkdir()
        user = {}
        if os.geteuid() == 0:  # the service is not, and SQLite asks for more as root
            nobody = pwd.getpwnam(USER)
            os.chown(folder / 'state', nobody.pw_uid, -1)
            user = {'user': nobody.pw_uid, 'group': nobody.pw_gid, 'extra_groups': []}
        chat = shutil.copy(chat_of(programs), folder)  # it may stand where only root gets
        with activated([given], [chat, '--history', folder / 'state/history.db', '--stats', *certificate.options],
                       launcher=shutil.copy(HERE / 'activate.py', folder),
                       preexec_fn=lambda: confine(names), environment=manager.environment, **user) as p:
            check(manager.hears() == 'READY=1', p.said())
            with visit(port_of(given), certificate.ca) as ann:
                ann.join('ann').talks('hello')
                certificate.put('rsa', mode=0o644)
                p.hang_up()
                p.says('certificate read again')
                os.kill(p.pid, signal.SIGUSR1)
                p.says('"connections":1')
                ann.talks('still here')


group.main()
