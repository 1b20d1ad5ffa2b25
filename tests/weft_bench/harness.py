"""What the cases share: the list of them, servers, and a call of weft-bench whose JSON is looked at."""
import json
import subprocess
import sys

from faulty import Faulty

BENCH, ECHO, FLOOR = sys.argv[1:4]
SHORT = ['-d', '0.4', '-w', '0.1', '--drain', '0.5']
FEW = ['-c', '2', '-d', '0.3', '-w', '0', '--drain', '0.3']
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
        self.process.communicate(timeout=20)
        assert self.process.returncode == 0, self.process.returncode


def bench(*arguments, seconds=30):
    return subprocess.run([BENCH, *arguments], capture_output=True, text=True, timeout=seconds)


def load(mode, address, *arguments, status=0):
    """The JSON of a run that ends with this status."""
    url = address if '+unix' in address else f'ws://{address}/'
    done = bench(mode, url, *arguments, '--json', '--quiet')
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    assert done.stdout.count('\n') == 1, done.stdout
    result = json.loads(done.stdout)
    assert KEYS <= set(result), KEYS - set(result)
    assert set(result['errors']) == ERRORS
    assert (status == 0) == (sum(result['errors'].values()) == 0), result['errors']
    result['stderr'] = done.stderr
    return result


def is_plausible(r, least=10):
    assert r['messages'] >= least, r
    assert 0 < r['p50_us'] <= r['p90_us'] <= r['p99_us'] <= r['p999_us'] <= r['max_us'], r
    assert 0.01 < r['seconds'] < 3, r  # a generator that gets no CPU begins late
    assert abs(r['messages_per_s'] * r['seconds'] - r['messages']) <= 0.001 * r['messages'] + 1, r
    assert abs(r['mb_per_s'] - r['messages_per_s'] * r['bytes'] / 1e6) < 0.02, r
    assert 0 < r['load_cpu'] <= 1.2 * r['threads'], r


def has_server_figures(r):
    assert r['server_us_per_message'] > 0 and r['server_rss_bytes'] > 500000, r
    total_us = (r['server_user_s'] + r['server_system_s']) * 1e6
    each_us = total_us / r['messages']
    assert abs(each_us - r['server_us_per_message']) < 0.01 * each_us + 0.01, r
    assert r['server_context_switches_per_message'] >= 0, r
