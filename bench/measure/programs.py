"""Starting and ending what is measured. Every process is ended by its own id, also when this one is
interrupted; should it be killed outright, the kernel ends them (PR_SET_PDEATHSIG)."""
import ctypes
import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time

START_S, STOP_S, STATS_S = 20, 20, 5
PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None, use_errno=True)


class Failed(Exception):
    """A server or the generator did not do what it should; the text says what."""


def prepare(cores, policy=None):
    """What a child does before it becomes the program."""
    def run():
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.sched_setaffinity(0, cores)
        if policy is not None:
            os.sched_setscheduler(0, policy, os.sched_param(0))
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return run


def end(process, patience_s):
    """SIGTERM, and SIGKILL when that does not help. The exit status."""
    process.terminate()
    try:
        return process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
    except BaseException:
        process.kill()
        process.wait()
        raise


class Server:
    """A server that runs as long as the with statement."""

    def __init__(self, party, options, cores):
        self.party = party
        self.command = [str(part) for part in (*party.command, *options, '--port', '0')]
        self.cores = cores

    def __enter__(self):
        self.said = tempfile.TemporaryFile('w+')
        try:
            self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=self.said, text=True,
                                            stdin=subprocess.DEVNULL, preexec_fn=prepare(self.cores))
        except OSError as error:
            raise Failed(f'does not start: {error}') from error
        try:
            self.address = self.listening()
        except BaseException:
            end(self.process, 1)
            raise
        return self

    def line(self, patience_s):
        ready, _, _ = select.select([self.process.stdout], [], [], patience_s)
        return self.process.stdout.readline() if ready else ''

    def listening(self):
        line = self.line(START_S)
        if not line.startswith('listening on '):
            raise Failed(f'does not listen: {self.complaint() or line.strip() or "it says nothing"}')
        return line.split()[-1]

    def complaint(self):
        self.said.seek(0)
        lines = self.said.read().strip().splitlines()
        return lines[-1] if lines else ''

    def __exit__(self, kind, *_):
        status = end(self.process, STOP_S)
        self.process.stdout.close()
        complaint = self.complaint()
        self.said.close()
        if kind is None and status != 0:
            raise Failed(f'ended with {status}: {complaint}')

    def stats(self):
        """weft-echo's counters up to now."""
        self.process.send_signal(signal.SIGUSR1)
        try:
            return json.loads(self.line(STATS_S))
        except ValueError as error:
            raise Failed('does not tell its statistics') from error


def run_load(command, cores, patience_s):
    """The generator's result."""
    process = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               preexec_fn=prepare(cores))
    try:
        out, err = process.communicate(timeout=patience_s)
    except subprocess.TimeoutExpired as error:
        raise Failed(f'the load does not end within {patience_s:.0f} s') from error
    finally:
        if process.poll() is None:
            end(process, 1)
    try:
        result = json.loads(out.strip().splitlines()[-1])
    except (ValueError, IndexError) as error:
        said = err.strip().splitlines()
        raise Failed(f'the load fails: {said[-1] if said else process.returncode}') from error
    wrong = {name: count for name, count in result['errors'].items() if count}
    if wrong or process.returncode:
        said = ', '.join(f'{count} {name}' for name, count in wrong.items())
        raise Failed(f'the load found errors: {said or process.returncode}')
    return result


class Warmth:
    """Keeps cores from going to sleep, where the time to wake one would be most of what is measured: a thread
    of the idle class on each, which anything else interrupts at once."""

    def __init__(self, cores):
        self.cores = cores
        self.processes = []

    def __enter__(self):
        for core in self.cores:
            self.processes.append(subprocess.Popen([sys.executable, '-S', '-c', 'while True: pass'],
                                                   stdin=subprocess.DEVNULL,
                                                   preexec_fn=prepare({core}, os.SCHED_IDLE)))
        time.sleep(0.1)
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.wait()
