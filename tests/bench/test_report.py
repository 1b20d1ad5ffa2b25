#!/usr/bin/env python3
"""The pure parts of bench/run: what is asked, figures from samples, plots and the page. No server runs."""
import html.parser
import json
import math
import pathlib
import re
import sys
import unittest
import xml.etree.ElementTree

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / 'bench'))

from measure import questions, rounds  # noqa: E402
from measure.questions import CPU, FLOOR, INLINE, POOL, PER_S, Cell, Question, Target  # noqa: E402
from report import figures, page, plot, text  # noqa: E402

ABOUT = {
    'date': '2026-01-02T03:04:05+00:00', 'cores': [0, 1], 'rounds': 2, 'seconds': 1.0, 'warmup': 0.5,
    'took_s': 9.0, 'command': 'bench/run --only "<x>"', 'versions': {'floor': 'v1', 'weft inline': 'v1'},
    'notes': ['<b>a note</b>'],
    'skipped': [{'party': 'ws', 'why': 'there is no <npm>'}],
    'machine': {'cpu': 'A & B', 'cores': 2, 'virtual': True, 'memory_gib': 4, 'system': 'Debian',
                'kernel': '6', 'governor': '', 'load_average': 0.5, 'stolen': 0.01},
}


def sample(us, **more):
    return {CPU: us, PER_S: 1000 / us, 'p50_us': us, 'p99_us': 2 * us, 'load_cpu': 0.5, **more}


def a_question(targets=()):
    cells = tuple(Cell(party, party, ('echo',)) for party in (FLOOR, INLINE, POOL))
    return Question('key', 'A <title>', 'A & text', cells, targets)


def an_answer(targets=(), **samples):
    given = {FLOOR: [sample(2.0), sample(4.0)], INLINE: [sample(3.0), sample(4.0)], POOL: [None, None]}
    given.update(samples)
    return figures.answer(a_question(targets), given)


def result_of(*answers, micro=None):
    return {'about': ABOUT, 'answers': list(answers), 'micro': micro or {}}


class Figures(unittest.TestCase):
    def test_a_summary_has_median_quarters_and_spread(self):
        found = figures.summary([5, 1, 3, None, 2, 4])
        self.assertEqual([found[name] for name in ('min', 'q1', 'median', 'q3', 'max')], [1, 2, 3, 4, 5])
        self.assertEqual(found['count'], 5)

    def test_nothing_measured_has_no_summary(self):
        self.assertIsNone(figures.summary([None, None]))

    def test_a_single_value_is_its_own_spread(self):
        self.assertEqual(figures.summary([7])['q3'], 7)

    def test_ratios_are_of_the_same_round(self):
        ours = [sample(2.0), sample(8.0), None, {'failed': 'x'}]
        floor = [sample(1.0), sample(2.0), sample(1.0), sample(1.0)]
        self.assertEqual(figures.ratios_of(ours, floor, CPU), [2.0, 4.0, None, None])

    def test_a_ratio_to_nothing_is_not_measured(self):
        self.assertEqual(figures.ratios_of([sample(2.0)], [{CPU: 0}], CPU), [None])

    def test_a_target_compares_the_median_ratio_with_its_limit(self):
        samples = {FLOOR: [sample(1.0)] * 3, POOL: [sample(1.0), sample(1.2), sample(9.0)]}
        self.assertTrue(figures.judge(Target(POOL, 1.2, against=FLOOR), samples)['ok'])
        self.assertFalse(figures.judge(Target(POOL, 1.19, against=FLOOR), samples)['ok'])

    def test_a_target_may_ask_for_at_least(self):
        samples = {INLINE: [sample(2.0)], POOL: [sample(1.0)]}
        target = Target(POOL, 1.8, PER_S, INLINE, at_least=True)
        self.assertTrue(figures.judge(target, samples)['ok'])
        self.assertFalse(figures.judge(Target(POOL, 2.1, PER_S, INLINE, at_least=True), samples)['ok'])

    def test_a_target_may_be_absolute(self):
        self.assertTrue(figures.judge(Target(POOL, 2, CPU), {POOL: [sample(2.0)]})['ok'])

    def test_what_was_not_measured_is_neither_ok_nor_missed(self):
        self.assertIsNone(figures.judge(Target(POOL, 2, CPU), {POOL: [{'failed': 'x'}]})['ok'])
        self.assertIsNone(figures.judge(Target(POOL, 2, CPU), {})['ok'])

    def test_verdicts_are_counted(self):
        answer = an_answer((Target(INLINE, 1.3, against=FLOOR), Target(INLINE, 1, against=FLOOR),
                            Target(POOL, 1)))
        self.assertEqual(figures.verdicts([answer]), (1, 1, 1))

    def test_numbers_keep_three_digits(self):
        self.assertEqual([figures.number(n) for n in (0.1234, 1.234, 12.34, 123.4, 1234567.0, None)],
                         ['0.123', '1.23', '12.3', '123', '1\u202f234\u202f567', '–'])

    def test_a_failure_is_kept(self):
        answer = an_answer(**{POOL: [None, {'failed': 'no'}]})
        self.assertEqual([cell['failed'] for cell in answer['cells']], [None, None, 'no'])


class Plots(unittest.TestCase):
    def parsed(self, drawn):
        return xml.etree.ElementTree.fromstring(drawn)

    def test_bars_are_as_long_as_their_values(self):
        rows = [(FLOOR, figures.summary([1.0])), (POOL, figures.summary([3.0]))]
        drawn = self.parsed(plot.bars(rows, 'us', 't'))
        widths = [float(rect.get('width')) for rect in drawn.iter('rect')]
        self.assertAlmostEqual(widths[1] / widths[0], 3.0, places=2)

    def test_bars_of_nothing_are_no_plot(self):
        self.assertEqual(plot.bars([(FLOOR, None)], 'us', 't'), '')

    def test_names_cannot_break_the_markup(self):
        drawn = self.parsed(plot.bars([('<a & b>', figures.summary([1.0]))], 'us', '"t"'))
        self.assertIn('<a & b>', [element.text for element in drawn.iter('text')])

    def test_a_logarithmic_scale_puts_the_geometric_mean_in_the_middle(self):
        self.assertAlmostEqual(plot.Scale(1, 100, 0, 10, True)(10), 5)

    def test_ticks_are_round_and_inside(self):
        self.assertEqual(plot.linear_ticks(0, 10), [0, 2, 4, 6, 8, 10])
        self.assertEqual(plot.linear_ticks(0.95, 1.3), [1.0, 1.1, 1.2, 1.3])
        self.assertEqual(plot.log_ticks(3, 300), [5, 10, 20, 50, 100, 200])
        self.assertEqual(plot.log_ticks(1, 1e6), [10.0**n for n in range(7)])

    def test_lines_leave_out_what_was_not_measured(self):
        one = figures.summary([5.0, 6.0])
        drawn = self.parsed(plot.lines({FLOOR: [(10, one), (20, None)], POOL: [(10, None)]}, 'x', 'y', 't'))
        self.assertEqual(len([path for path in drawn.iter('path') if path.get('class') == 'line']), 1)

    def test_lines_of_nothing_are_no_plot(self):
        self.assertEqual(plot.lines({FLOOR: [(1, None)]}, 'x', 'y', 't'), '')

    def test_one_point_is_a_plot(self):
        self.parsed(plot.lines({FLOOR: [(1, figures.summary([5.0]))]}, 'x', 'y', 't', False, False))

    def test_a_missed_ratio_says_so(self):
        answer = an_answer((Target(INLINE, 1.0, against=FLOOR),))
        self.assertIn('MISSED', plot.ratios(answer['targets'], 't'))

    def test_every_party_has_a_colour_on_the_page(self):
        style = page.TEMPLATE.read_text()
        for name in (FLOOR, *questions.WEFT, *questions.PEERS, 'weft pool, text'):
            variable = re.fullmatch(r'var\((--\w+)\)', plot.color(name)).group(1)
            self.assertEqual(style.count(f'{variable}:'), 2, 'light and dark')


class WellFormed(html.parser.HTMLParser):
    """Notes elements that are not closed, and whatever would be fetched from elsewhere."""
    VOID = {'meta', 'link', 'br', 'img'}

    def __init__(self):
        super().__init__()
        self.open, self.wrong, self.outside = [], [], []

    def handle_starttag(self, tag, attributes):
        if tag not in self.VOID:
            self.open.append(tag)
        self.outside += [value for name, value in attributes
                         if name in ('src', 'href') and not value.startswith('#')]

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


class Page(unittest.TestCase):
    MICRO = {'micro_queue': {'tables': [{'title': 'T', 'unit': 'ns', 'columns': ['a'],
                                         'rows': [['r', 1.5], ['s', None]]}]},
             'micro_deflate': {'failed': 'no zlib'}}

    def whole(self):
        answers = []
        for question in questions.questions(True):
            one = sample(2.0, bytes_per_connection=300, touch_ms=5, growth_ratio=1.0, others_p50_us=5,
                         others_p99_us=9, curve=[[1000, 300], [5000, 310]])
            given = {cell.name: [one] for cell in question.cells}
            answers.append(figures.answer(question, given))
        return json.loads(json.dumps(result_of(*answers, micro=self.MICRO)))

    def test_a_page_is_well_formed_and_fetches_nothing(self):
        parser = WellFormed()
        drawn = page.render(self.whole())
        parser.feed(drawn)
        self.assertEqual((parser.wrong, parser.open), ([], ['html']))
        self.assertEqual(parser.outside, [])
        self.assertNotRegex(drawn, r'url\(|@import|<script|<link')

    def test_every_question_has_a_plot_and_every_target_a_row(self):
        result = self.whole()
        drawn = page.render(result)
        for answer in result['answers']:
            section = drawn[drawn.index(f'<section id="{answer["key"]}"'):].split('</section>')[0]
            self.assertIn('<svg', section, answer['key'])
            self.assertGreaterEqual(section.count('class="badge'), len(answer['targets']), answer['key'])

    def test_a_page_without_any_answer_is_a_page(self):
        self.assertIn('Taken on', page.render(result_of()))

    def test_a_peer_that_is_missing_is_named_with_its_reason(self):
        self.assertIn('not measured: there is no &lt;npm&gt;', page.render(result_of()))

    def test_text_from_outside_is_escaped(self):
        drawn = page.render(result_of(an_answer()))
        self.assertNotIn('<b>a note', drawn)
        self.assertIn('A &lt;title&gt;', drawn)

    def test_a_failed_cell_shows_why(self):
        answer = an_answer(**{POOL: [{'failed': 'it fell over'}]})
        self.assertIn('it fell over', page.render(result_of(answer)))

    def test_micro_benchmarks_that_failed_are_named(self):
        self.assertIn('micro_deflate: no zlib', page.render(result_of(micro=self.MICRO)))

    def test_the_terminal_gets_the_same_verdicts(self):
        said = text.table(an_answer((Target(INLINE, 1.0, against=FLOOR), Target(POOL, 1.0))))
        self.assertIn('MISSED weft inline', said)
        self.assertIn('not measured weft pool', said)


class Questions(unittest.TestCase):
    def both(self):
        return questions.questions(True) + questions.questions(False)

    def test_names_are_unique(self):
        for asked in (questions.questions(True), questions.questions(False)):
            self.assertEqual(len({q.key for q in asked}), len(asked))
            for question in asked:
                self.assertEqual(len({c.name for c in question.cells}), len(question.cells), question.key)

    def test_targets_name_cells_that_are_there(self):
        for question in self.both():
            names = {cell.name for cell in question.cells}
            for target in question.targets:
                self.assertLessEqual({target.cell, target.against or target.cell}, names)
                self.assertIn(target.metric, figures.METRICS)

    def test_targets_are_only_set_for_weft(self):
        for question in self.both():
            party = {cell.name: cell.party for cell in question.cells}
            self.assertLessEqual({party[target.cell] for target in question.targets}, set(questions.WEFT))

    def test_plots_with_an_axis_have_places_on_it(self):
        for question in self.both():
            if question.plot in ('latency', 'sleepers'):
                self.assertTrue(all(cell.x and cell.series for cell in question.cells), question.key)


class Rounds(unittest.TestCase):
    def idle(self, *curve):
        *steps, (last, each) = curve
        return rounds.growth({'mode': 'idle', 'connections': last, 'bytes_per_connection': each,
                              'steps': [{'connections': n, 'bytes': b} for n, b in steps]})

    def test_growth_is_flat_when_each_connection_costs_the_same(self):
        self.assertAlmostEqual(self.idle((1000, 300), (5000, 300), (15000, 300))['growth_ratio'], 1)

    def test_a_fixed_cost_at_the_start_is_no_growth(self):
        each = [(n, (100000 + 300 * n) / n) for n in (1000, 5000, 15000)]
        self.assertAlmostEqual(self.idle(*each)['growth_ratio'], 1)

    def test_growth_shows_when_later_connections_cost_more(self):
        self.assertGreater(self.idle((1000, 300), (5000, 300), (15000, 600))['growth_ratio'], 2)

    def test_growth_is_unknown_with_two_counts(self):
        self.assertIsNone(self.idle((1000, 300), (5000, 300))['growth_ratio'])

    def test_growth_is_asked_of_idle_connections_only(self):
        self.assertEqual(rounds.growth({'mode': 'echo'}), {})

    def test_a_server_that_answers_too_few_does_not_keep_up(self):
        self.assertTrue(rounds.keeps_up({PER_S: 91}, 100))
        self.assertFalse(rounds.keeps_up({PER_S: 89}, 100))
        self.assertFalse(rounds.keeps_up({'failed': 'x'}, 100))

    def test_of_several_runs_the_least_counts_and_one_without_a_figure_does_not(self):
        runs = [{'p50_us': None}, {'p50_us': 7}, {'p50_us': 5}]
        self.assertIs(rounds.least(runs, 'p50_us'), runs[2])

    def test_wake_ups_are_told_for_a_message(self):
        stats = {'messages_in': 10, 'messages_out': 100, 'io_wakeups': 1, 'worker_wakeups': 1}
        self.assertTrue(math.isclose(rounds.wakeups(stats), 0.02))

    def test_the_clock_says_what_still_fits(self):
        self.assertTrue(rounds.Clock().has(1e9))
        self.assertTrue(rounds.Clock(60).has(50))
        self.assertFalse(rounds.Clock(60).has(61))
        self.assertEqual(rounds.Clock().patience_s(60, 1 / 6), 60)
        self.assertTrue(9 < rounds.Clock(60).patience_s(60, 1 / 6) <= 10)
        self.assertEqual(rounds.Clock(0).patience_s(60, 1 / 6), 0)


if __name__ == '__main__':
    done = unittest.main(exit=False).result
    failed = len(done.failures) + len(done.errors)
    print(f'{done.testsRun - failed} passed, {failed} failed')
    sys.exit(failed > 0)
