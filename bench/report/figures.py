"""From samples to figures: medians with their spread, ratios of the same round, verdicts. Nothing here runs,
reads or writes anything."""
import statistics
from dataclasses import asdict


def summary(values):
    """Median, spread and count of what was measured; None when nothing was."""
    values = sorted(value for value in values if value is not None)
    if not values:
        return None
    quarters = statistics.quantiles(values, n=4, method='inclusive') if len(values) > 1 else [values[0]] * 3
    return {'median': statistics.median(values), 'min': values[0], 'max': values[-1], 'q1': quarters[0],
            'q3': quarters[2], 'count': len(values)}


def is_good(sample):
    return sample is not None and 'failed' not in sample


def values_of(samples, metric):
    """One for each round, None where there is none."""
    return [sample.get(metric) if is_good(sample) else None for sample in samples]


def ratios_of(samples, others, metric):
    """Of each round in which both were measured."""
    pairs = zip(values_of(samples, metric), values_of(others, metric))
    return [a / b if a is not None and b else None for a, b in pairs]


def figures_of(samples):
    """The summary of every number that was measured."""
    good = [sample for sample in samples if is_good(sample)]
    names = {name: None for sample in good for name, value in sample.items()
             if isinstance(value, (int, float)) and not isinstance(value, bool)}
    return {name: summary(values_of(good, name)) for name in names}


def failure_of(samples):
    return next((sample['failed'] for sample in samples if sample and 'failed' in sample), None)


def judge(target, samples_by_cell):
    """A target with its value, spread and verdict: ok is None when it could not be measured."""
    samples = samples_by_cell.get(target.cell, [])
    if target.against:
        values = ratios_of(samples, samples_by_cell.get(target.against, []), target.metric)
    else:
        values = values_of(samples, target.metric)
    found = summary(values)
    value = found['median'] if found else None
    ok = None
    if value is not None:
        ok = value >= target.limit if target.at_least else value <= target.limit
    return {**asdict(target), 'figures': found, 'value': value, 'ok': ok}


def answer(question, samples_by_cell):
    """Everything about one question, as it stands in the JSON file and on the page."""
    cells = [{**asdict(cell), 'samples': samples_by_cell[cell.name],
              'figures': figures_of(samples_by_cell[cell.name]),
              'failed': failure_of(samples_by_cell[cell.name])}
             for cell in question.cells if cell.name in samples_by_cell]
    return {'key': question.key, 'title': question.title, 'text': question.text, 'metric': question.metric,
            'unit': question.unit, 'plot': question.plot, 'place': question.place, 'cells': cells,
            'targets': [judge(target, samples_by_cell) for target in question.targets]}


def verdicts(answers):
    """How many targets are ok, missed and not measured."""
    found = [target['ok'] for answer_ in answers for target in answer_['targets']]
    return found.count(True), found.count(False), found.count(None)


def number(value):
    """Three significant digits or all before the point, with thousands apart."""
    if value is None:
        return '–'
    if abs(value) >= 100:
        return f'{value:,.0f}'.replace(',', '\u202f')
    if abs(value) >= 10:
        return f'{value:.1f}'
    return f'{value:.2f}' if abs(value) >= 1 else f'{value:.3f}'


def spread(figures):
    """Of one round there is none."""
    return f'{number(figures["min"])} to {number(figures["max"])}' if figures and figures['count'] > 1 else ''


METRICS = {
    'server_us_per_message': ('CPU time', 'µs'),
    'messages_per_s': ('rate', '/s'),
    'p50_us': ('p50', 'µs'),
    'p99_us': ('p99', 'µs'),
    'others_p99_us': ('p99 of the others', 'µs'),
    'bytes_per_connection': ('memory of a connection', 'bytes'),
    'touch_ms': ('time until all have answered', 'ms'),
    'growth_ratio': ('growth', ''),
}


def said(target):
    """What a target asks, in words; of CPU time when nothing else is named."""
    name, unit = METRICS[target['metric']]
    bound = 'at least' if target['at_least'] else 'at most'
    of = '' if name == 'CPU time' else f'{name} '
    if target['against']:
        return f'{of}{bound} {target["limit"]:.2f} of {target["against"]}'
    return f'{of}{bound} {target["limit"]:g} {unit}'.strip()


def value_of(target):
    """Ratios with three digits behind the point, as near as limits are."""
    if target['value'] is None or not target['against']:
        return number(target['value'])
    return f'{target["value"]:.3f}'


def verdict(target):
    return {True: 'ok', False: 'MISSED', None: 'not measured'}[target['ok']]
