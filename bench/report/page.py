"""The page: one HTML file with everything in it, made from what the JSON file holds."""
import pathlib
import string
from html import escape

from . import plot
from .figures import METRICS, number, said, spread, summary, value_of, verdict, verdicts

TEMPLATE = pathlib.Path(__file__).with_name('page.html')


def element(tag, inside, kind=''):
    return f'<{tag} class="{kind}">{inside}</{tag}>' if kind else f'<{tag}>{inside}</{tag}>'


def figure(drawn, caption):
    return f'<figure>{drawn}<figcaption>{escape(caption)}</figcaption></figure>' if drawn else ''


def table(head, rows):
    """Rows of cells that are HTML already. A column in which nothing stands is left out."""
    kept = [i for i in range(len(head)) if any(row[i] for row in rows)]
    head, rows = [head[i] for i in kept], [[row[i] for i in kept] for row in rows]
    head_cells = ''.join(element('th', escape(cell)) for cell in head)
    body = ''.join('<tr>' + ''.join(element('td', cell) for cell in row) + '</tr>' for row in rows)
    return (f'<div class="scroll"><table><thead><tr>{head_cells}</tr></thead>'
            f'<tbody>{body}</tbody></table></div>')


def badge(target):
    state = {True: 'ok', False: 'missed', None: 'unknown'}[target['ok']]
    return element('span', verdict(target), f'badge {state}')


def metric_figures(answer, metric):
    return [(cell['name'], cell['figures'].get(metric)) for cell in answer['cells']]


def by_series(answer, metric):
    found = {}
    for cell in answer['cells']:
        found.setdefault(cell['series'], []).append((cell['x'], cell['figures'].get(metric)))
    return found


def memory_curves(answer):
    """Memory of a connection at each count, over the rounds."""
    found = {}
    for cell in answer['cells']:
        at = {}
        for sample in cell['samples']:
            for count, each in (sample or {}).get('curve', []):
                at.setdefault(count, []).append(each)
        found[cell['name']] = [(count, summary(values)) for count, values in sorted(at.items())]
    return found


COUNTED = {'churn': 'connections', 'broadcast_1': 'deliveries', 'broadcast_8': 'deliveries'}


def plots_of_bars(answer):
    """The question's own figure and, where that is CPU time, the throughput beside it."""
    name, unit = METRICS[answer['metric']]
    drawn = figure(plot.bars(metric_figures(answer, answer['metric']), unit, f'{answer["title"]}: {name}'),
                   OWN_CAPTIONS.get(answer['metric'], name))
    if answer['metric'] == 'server_us_per_message':
        rates = metric_figures(answer, 'messages_per_s')
        drawn += figure(plot.bars(rates, '/s', f'{answer["title"]}: throughput'),
                        f'{COUNTED.get(answer["key"], "messages")} each second, the server on one core')
    return drawn


OWN_CAPTIONS = {
    'server_us_per_message': 'CPU time of the server, user and system; median, and the spread of the rounds',
    'p50_us': 'half of the answers are back within this time; median, and the spread of the rounds',
    'messages_per_s': 'messages each second; median, and the spread of the rounds',
}


def plot_of_ratios(answer):
    against = [target for target in answer['targets'] if target['against']]
    if not against:
        return ''
    return figure(plot.ratios(against, f'{answer["title"]}: ratio'),
                  f'ratio to {against[0]["against"]} in the same round; the red bar is the limit')


def target_row(target):
    return [badge(target), escape(target['cell']), value_of(target), spread(target['figures']),
            escape(said(target))]


def table_of_targets(answer):
    rows = [target_row(target) for target in answer['targets']]
    return table(['', 'who', 'median', 'min to max', 'target'], rows) if rows else ''


def pictures(answer):
    """Plots two in a row, and the table of targets: beside the ratios where these would be alone."""
    drawn, targets = plots(answer), table_of_targets(answer)
    ratios = plot_of_ratios(answer) if answer['plot'] == 'bars' else ''
    is_full = answer['plot'] == 'bars' and answer['metric'] == 'server_us_per_message'
    if is_full:
        return f'<div class="figures">{drawn}{ratios}{targets}</div>'
    return f'<div class="figures">{drawn}{ratios}</div>{targets}'


def plots(answer):
    if answer['plot'] == 'latency':
        return ''.join(figure(plot.lines(by_series(answer, metric), 'messages/s offered', f'{name}, µs',
                                         f'{name} against load'),
                              f'{name} against load, both axes logarithmic')
                       for metric, name in (('p50_us', 'p50'), ('p99_us', 'p99')))
    if answer['plot'] == 'sleepers':
        return ''.join(figure(plot.lines(by_series(answer, metric), 'messages/s offered', f'{name}, µs',
                                         f'{name} of the others'),
                              f'{name} of the messages whose handler did not sleep')
                       for metric, name in (('others_p50_us', 'p50'), ('others_p99_us', 'p99')))
    if answer['plot'] == 'memory':
        curves = memory_curves(answer)
        ours = {name: points for name, points in curves.items() if name == 'floor' or name.startswith('weft')}
        return (figure(plot.lines(curves, 'connections', 'bytes', 'memory of a connection', False),
                       'resident memory of a connection, logarithmic')
                + figure(plot.lines(ours, 'connections', 'bytes', 'memory of a connection, weft', False,
                                    False),
                         'the floor and weft alone, from zero'))
    return plots_of_bars(answer)


COLUMNS = (('messages_per_s', 'rate, /s'), ('p50_us', 'p50, µs'), ('p99_us', 'p99, µs'),
           ('load_cpu', 'load'), ('server_context_switches_per_message', 'switches'),
           ('wakeups_per_message', 'wake-ups'))
MEMORY_COLUMNS = (('handshake_us', 'handshake, µs CPU'), ('touch_ms', 'all answered, ms'),
                  ('touched_bytes_per_connection', 'bytes after that'), ('growth_ratio', 'growth'))


def median_of(cell, metric):
    figures = cell['figures'].get(metric)
    if not figures:
        return ''
    return f'{figures["median"]:.0%}' if metric == 'load_cpu' else number(figures['median'])


def cell_table(answer):
    name, unit = METRICS[answer['metric']]
    columns = MEMORY_COLUMNS if answer['plot'] == 'memory' else COLUMNS
    columns = [column for column in columns if column[0] != answer['metric']
               and any(column[0] in cell['figures'] for cell in answer['cells'])]
    rows = []
    for cell in answer['cells']:
        if not cell['figures'] and not cell['failed']:
            continue
        main = cell['figures'].get(answer['metric'])
        row = [escape(cell['name']), number(main['median']) if main else '–', spread(main)]
        row += [median_of(cell, metric) for metric, _ in columns]
        if cell['failed']:
            row[1 if not main else 0] += ' ' + element('span', escape(cell['failed']), 'badge missed')
        rows.append(row)
    head = ['', f'{name}, {unit}', 'min to max', *(title for _, title in columns)]
    return table(head, rows)


def footnote(answer):
    if answer['plot'] == 'memory':
        return ''
    return ('<p class="quiet">Load: CPU time of the generator as a share of the time; near 100 % it is the '
            'generator that goes no faster. Switches and wake-ups are counted for a message.</p>')


def section(answer):
    return (f'<section id="{answer["key"]}"><h2>{escape(answer["title"])}</h2><p>{escape(answer["text"])} '
            f'<span class="quiet">{escape(answer["place"].capitalize())}.</span></p>'
            f'{pictures(answer)}'
            f'<details><summary>All figures</summary>{cell_table(answer)}{footnote(answer)}</details>'
            '</section>')


def overview(answers):
    rows = []
    for answer in answers:
        link = f'<a href="#{answer["key"]}">{escape(answer["title"])}</a>'
        for target in answer['targets']:
            verdict_cell, *others = target_row(target)
            rows.append([verdict_cell, link, *others])
    return table(['', 'question', 'who', 'median', 'min to max', 'target'], rows) if rows else ''


def micro_section(micro):
    if not micro:
        return ''
    parts = ['<section id="micro"><h2>Micro-benchmarks</h2><p>The pieces alone, the best of several rounds. '
             'They say where time goes, not how fast a server is.</p>']
    for program, result in micro.items():
        if 'failed' in result:
            parts.append(f'<p>{escape(program)}: {escape(result["failed"])}</p>')
        for found in result.get('tables', []):
            rows = [[escape(name), *(number(value) for value in values)] for name, *values in found['rows']]
            parts.append(f'<h3>{escape(found["title"])}, {escape(found["unit"])}</h3>'
                         + table(['', *found['columns']], rows))
    return ''.join(parts) + '</section>'


def machine_words(about):
    found = about['machine']
    parts = [found['cpu'], f'{found["cores"]} cores' + (' of a virtual machine' if found['virtual'] else ''),
             f'{found["memory_gib"]} GiB' if found['memory_gib'] else '', found['system'],
             f'Linux {found["kernel"]}', f'governor {found["governor"]}' if found['governor'] else '']
    return ' · '.join(part for part in parts if part)


def measured_words(about):
    return (f'{about["rounds"]} rounds; {about["seconds"]:g} s each after {about["warmup"]:g} s of warm-up; '
            f'server on core {about["cores"][0]}, generator on core {about["cores"][1]} where nothing else '
            f'is said; {about["took_s"]:.0f} s in all')


def facts(about):
    found = about['machine']
    quiet = f'load average {found["load_average"]:.2f} before the run'
    if 'stolen' in found:
        quiet += f', {found["stolen"]:.1%} of the processors taken by the hypervisor during it'
    rows = [('machine', machine_words(about)), ('neighbours', quiet), ('date', about['date']),
            ('measured', measured_words(about))]
    rows += [(name, version) for name, version in about['versions'].items()]
    rows += [(skipped['party'], 'not measured: ' + skipped['why']) for skipped in about['skipped']]
    rows += [('note', note) for note in about['notes']]
    return element('dl', ''.join(element('dt', escape(name)) + element('dd', escape(value))
                                 for name, value in rows))


def counts(answers):
    ok, missed, unknown = verdicts(answers)
    parts = [element('span', f'{ok} ok', 'badge ok')]
    if missed:
        parts.append(element('span', f'{missed} MISSED', 'badge missed'))
    if unknown:
        parts.append(element('span', f'{unknown} not measured', 'badge unknown'))
    return ' '.join(parts)


def render(result):
    about, answers = result['about'], result['answers']
    return string.Template(TEMPLATE.read_text()).substitute(
        date=escape(about['date'][:10]), machine=escape(machine_words(about)), counts=counts(answers),
        facts=facts(about), overview=overview(answers), sections=''.join(map(section, answers)),
        micro=micro_section(result['micro']), command=escape(about['command']))
