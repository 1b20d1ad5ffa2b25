"""The loop of rounds. In each round every question is asked, and in each question all take turns, beginning
with another one each time; so what the machine does meanwhile falls on all of them alike, and a ratio is
taken between neighbours in time."""
import contextlib
import math
import time

from . import parties, programs, questions

PATIENCE_S = 60  # for what the generator does beside measuring
KEEPS_UP = 0.9  # a server that answers less than this share of the offered rate does not


class Clock:
    """How much time is left, if there is a limit."""

    def __init__(self, limit_s=None):
        self.began = time.monotonic()
        self.limit_s = limit_s

    def spent_s(self):
        return time.monotonic() - self.began

    def has(self, seconds):
        return self.limit_s is None or self.spent_s() + seconds <= self.limit_s

    def patience_s(self, most_s, share):
        """How long one thing may take: this, or its share of what is left, if that is less."""
        return most_s if self.limit_s is None else max(0, min(most_s, share * (self.limit_s - self.spent_s())))


class Rounds:
    """samples[question][cell] is a list with one entry for each round: a dict of figures, {'failed': why}, or
    None where the cell was not measured."""

    def __init__(self, asked, found, options, cores, clock, tell):
        self.asked, self.options, self.clock, self.tell = asked, options, clock, tell
        self.parties = {party.name: party for party in found}
        self.server_core, self.load_core = cores
        self.samples = {q.key: {c.name: [] for c in self.cells(q)} for q in asked}
        self.notes = []

    def cells(self, question):
        return [cell for cell in question.cells if cell.party in self.parties]

    def run(self):
        left_out = 0
        for number in range(self.options.rounds):
            for question in self.asked:
                if number and not self.clock.has(self.expected_s(question, number)):
                    left_out += 1
                else:
                    self.ask(question, number)
        if left_out:
            turns = self.options.rounds * len(self.asked)
            self.notes.append(f'the time was up: {left_out} of {turns} turns were left out, so some medians '
                              'are of fewer rounds')

    def expected_s(self, question, number):
        """As long as it took before."""
        took = [self.samples[question.key][cell.name][0] for cell in self.cells(question)
                if self.takes_part(question, cell, number)]
        return sum(sample.get('wall_s', PATIENCE_S) for sample in took if sample)

    def takes_part(self, question, cell, number):
        is_few = cell.party in questions.PEERS or not question.every_round
        return number < (self.options.few_rounds if is_few else self.options.rounds)

    def ask(self, question, number):
        cells = self.cells(question)
        turn = number % len(cells) if question.plot == 'bars' else 0
        saturated = set()
        for cell in cells[turn:] + cells[:turn]:
            sample = None
            if self.takes_part(question, cell, number) and cell.series not in saturated and self.clock.has(0):
                sample = self.measure(question, cell)
                if question.plot == 'latency' and not keeps_up(sample, cell.x):
                    saturated.add(cell.series)
                self.tell(number, question, cell, sample)
            self.samples[question.key][cell.name].append(sample)

    def measure(self, question, cell):
        both = {self.server_core, self.load_core}
        server_cores = {self.server_core} if question.place == questions.PINNED else both
        load_cores = both if question.place == questions.FREE else {self.load_core}
        warmth = programs.Warmth(both) if question.place == questions.WARM else contextlib.nullcontext()
        party = self.parties[cell.party]
        began = time.monotonic()
        try:
            with warmth, programs.Server(party, self.server_options(cell), server_cores) as server:
                runs = [programs.run_load(self.command(question, party, cell, server), load_cores,
                                          PATIENCE_S + self.options.seconds) for _ in range(question.best_of)]
                sample = least(runs, question.metric)
                if party.has_stats:
                    sample['wakeups_per_message'] = wakeups(server.stats())
        except programs.Failed as error:
            return {'failed': str(error)}
        sample.update(growth(sample), wall_s=round(time.monotonic() - began, 2))
        return sample

    def command(self, question, party, cell, server):
        mode, *options = cell.load
        scheme = 'wss' if cell.is_secure else 'ws'
        command = [parties.LOAD, mode, f'{scheme}://{server.address}/', *options, '--pid', server.process.pid,
                   '--json', '--quiet']
        if mode != 'idle':
            seconds = round(self.options.seconds / question.best_of, 3)
            command += ['--seconds', seconds, '--warmup', self.options.warmup]
        return command + (['--raw'] if party.is_raw else []) + (['--insecure'] if cell.is_secure else [])

    @staticmethod
    def server_options(cell):
        return (*cell.server, *(parties.PAIR if cell.is_secure else ()))


def least(runs, metric):
    """The run with the least of it; one in which not a message came back has none."""
    return min(runs, key=lambda run: math.inf if run.get(metric) is None else run[metric])


def keeps_up(sample, rate):
    return 'failed' not in sample and sample['messages_per_s'] >= KEEPS_UP * rate


def wakeups(stats):
    messages = max(stats['messages_in'], stats['messages_out'], 1)
    return (stats['io_wakeups'] + stats['worker_wakeups']) / messages


def growth(sample):
    """Memory of a connection at each count, the last included; and whether later ones cost more."""
    if sample.get('mode') != 'idle' or not sample.get('bytes_per_connection'):
        return {}
    curve = [(step['connections'], step['bytes']) for step in sample['steps']]
    curve.append((sample['connections'], sample['bytes_per_connection']))
    totals = [(count, count * each) for count, each in curve]
    if len(curve) < 3:
        return {'curve': curve, 'growth_ratio': None}
    middle = len(totals) // 2
    first, later = slope(totals[0], totals[middle]), slope(totals[middle], totals[-1])
    return {'curve': curve, 'growth_ratio': later / first if first > 0 else None}


def slope(a, b):
    return (b[1] - a[1]) / (b[0] - a[0])
