"""What the cases share: the list of them, servers, and a call of weft-bench whose JSON is looked at."""
import atexit
import functools
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading

BENCH, ECHO, FLOOR = sys.argv[1:4]
PATIENCE_S = 120  # for what would otherwise hang
# Nothing is lost: the silence that would end the run is not waited for, however slow the machine is.
SAFE = ['--drain', '60']
# Something is: the silence is long for a server that is only slow, and is waited for.
LOSSY = ['--drain', '5']
NOBODY_ELSE = '127.0.0.177'  # where no other case listens, so that what was closed is not opened by another
FEW = ['-c', '2', '-n', '20', *SAFE]
ERRORS = {'content', 'order', 'lost', 'protocol', 'connect', 'dropped'}
KEYS = set('''mode connections bytes in_flight seconds messages messages_per_s mb_per_s p50_us p90_us p99_us
    p999_us max_us server_us_per_message server_user_s server_system_s server_context_switches_per_message
    server_rss_bytes load_cpu errors label'''.split())


CASES = {}


def case(function):
    CASES[function.__name__] = function
    return function


class Server:
    """A program that prints where it listens, until the end of the with statement."""

    def __init__(self, *command, port=True):
        self.command = [*command] + (['--port', '0'] if port else [])

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        assert line.startswith('listening on '), line
        self.address = line.split()[-1]
        self.pid = str(self.process.pid)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.communicate(timeout=PATIENCE_S)
        assert self.process.returncode == 0, self.process.returncode


def bench(*arguments):
    return subprocess.run([BENCH, *arguments], capture_output=True, text=True, timeout=PATIENCE_S)


def url_of(address):
    return address if '+unix' in address or '://' in address else f'ws://{address}/'


MAKING = threading.Lock()  # or two cases would make them at once


@functools.lru_cache
def make_certs():
    folder = tempfile.mkdtemp(prefix='weft-certs-')
    atexit.register(shutil.rmtree, folder)
    script = pathlib.Path(__file__).resolve().parent.parent / 'make_certs'
    subprocess.run([script, folder], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return pathlib.Path(folder)


def cert(name):
    """The path of a file that tests/make_certs makes."""
    with MAKING:
        return str(make_certs() / name)


def certified(name):
    """What a program is told to listen with TLS."""
    return '--cert', cert(name + '.pem'), '--key', cert(name + '.key')


def wss(server):
    return f'wss://{server.address}/'


def result_of(status, stdout, stderr, wanted_status=0):
    assert status == wanted_status, (status, stdout, stderr)
    assert stdout.count('\n') == 1, stdout
    result = json.loads(stdout)
    assert KEYS <= set(result), KEYS - set(result)
    assert set(result['errors']) == ERRORS
    assert (status == 0) == (sum(result['errors'].values()) == 0), result['errors']
    result['found'] = {name: n for name, n in result['errors'].items() if n}
    result['stderr'] = stderr
    return result


def load(mode, address, *arguments, status=0):
    """The JSON of a run that ends with this status."""
    done = bench(mode, url_of(address), *arguments, '--json', '--quiet')
    return result_of(done.returncode, done.stdout, done.stderr, status)


def is_plausible(r, messages):
    """The figures fit together. messages: how many there are to be."""
    assert r['messages'] == messages, r
    assert 0 < r['p50_us'] <= r['p90_us'] <= r['p99_us'] <= r['p999_us'] <= r['max_us'], r
    assert r['seconds'] > 0 and r['max_us'] <= r['seconds'] * 1e6 + 1, r
    # All are rounded: seconds to 1 us, messages/s to 0.1, MB/s to 0.01.
    per_s = messages / r['seconds']
    assert abs(r['messages_per_s'] - per_s) <= 0.051 + per_s * 1e-6 / r['seconds'], r
    assert abs(r['mb_per_s'] - r['messages_per_s'] * r['bytes'] / 1e6) <= 0.0051 + 0.051 * r['bytes'] / 1e6, r
    assert 0 <= r['load_cpu'] <= r['threads'] * 1.01, r


def has_server_figures(r):
    assert r['server_us_per_message'] > 0 and r['server_rss_bytes'] > 500000, r
    total_us = (r['server_user_s'] + r['server_system_s']) * 1e6
    rounded_us = (1 + r['messages'] * 0.00005) / r['messages']
    assert abs(total_us / r['messages'] - r['server_us_per_message']) <= rounded_us + 1e-6, r
    switches = r['server_context_switches_per_message']
    assert switches is None or switches >= 0, r  # None: a thread ended and took its own along
