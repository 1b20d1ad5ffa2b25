"""Plots as SVG, written by hand: no library, no script, nothing from outside. Colours are variables of the
page, so that the same plot is right on light and on dark ground. Each mark has its figures as a tooltip
(title)."""
import math
from html import escape

from .figures import number, verdict

WIDTH = 620
LABEL, RIGHT = 134, 104  # room for names on the left and figures on the right of a row
ROW = 27
COLORS = {'floor': 'floor', 'weft inline': 'inline', 'weft pool': 'pool', 'libwebsockets': 'lws',
          'websockets': 'py', 'ws': 'ws', 'pool': 'floor', 'pool, 1 % sleep': 'pool',
          'inline, 1 % sleep': 'inline'}


def color(name):
    """A row such as "weft pool, text" has the colour of its party."""
    if name in COLORS:
        return f'var(--{COLORS[name]})'
    return f'var(--{COLORS.get(name.split(",")[0], "floor")})'


def svg(width, height, title, parts):
    return (f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">'
            f'<title>{escape(title)}</title>{"".join(parts)}</svg>')


def line(x1, y1, x2, y2, kind, more=''):
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {more}/>'


def words(x, y, said, kind='', anchor='start'):
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(said)}</text>'


def nice_step(span, count):
    """A round distance between about `count` ticks."""
    rough = span / max(count, 1)
    unit = 10 ** math.floor(math.log10(rough))
    return next(factor * unit for factor in (1, 2, 2.5, 5, 10) if rough <= factor * unit * 1.0001)


def linear_ticks(low, high, count=5):
    step = nice_step(high - low, count)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low, high):
    """1, 10, 100 and so on; between them 2 and 5 when the range is short."""
    decades = math.log10(high / low)
    factors = (1, 2, 5) if decades < 2.5 else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [factor * 10.0**power for power in powers for factor in factors]
    return [tick for tick in ticks if low * 0.999 <= tick <= high * 1.001]


def short(value):
    """A tick: 20k, 1.5M, 0.5."""
    for unit, name in ((1e6, 'M'), (1e3, 'k')):
        if abs(value) >= unit:
            return f'{value / unit:g}{name}'
    return f'{value:g}'


class Scale:
    """From values to places, linear or logarithmic."""

    def __init__(self, low, high, start, end, is_log=False):
        self.low, self.high, self.start, self.end, self.is_log = low, high, start, end, is_log

    def __call__(self, value):
        if self.is_log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self):
        return log_ticks(self.low, self.high) if self.is_log else linear_ticks(self.low, self.high)


def whisker(scale, y, figures):
    low, high = scale(figures['min']), scale(figures['max'])
    if high - low < 1:
        return ''
    return (line(low, y, high, y, 'whisker') + line(low, y - 4, low, y + 4, 'whisker')
            + line(high, y - 4, high, y + 4, 'whisker'))


def tip(name, figures, unit):
    return (f'<title>{escape(name)}: {number(figures["median"])} {unit}, {number(figures["min"])} to '
            f'{number(figures["max"])} in {figures["count"]} rounds</title>')


def bars(rows, unit, title):
    """Horizontal bars from zero with the spread of the rounds; rows are (name, figures or None)."""
    rows = [(name, figures) for name, figures in rows if figures]
    if not rows:
        return ''
    height = ROW * len(rows) + 26
    top = max(figures['max'] for _, figures in rows) or 1
    scale = Scale(0, top, LABEL, WIDTH - RIGHT)
    bottom = ROW * len(rows) + 4
    parts = []
    for tick in scale.ticks():
        parts += [line(scale(tick), 2, scale(tick), bottom, 'grid'),
                  words(scale(tick), bottom + 15, short(tick), 'tick', 'middle')]
    for i, (name, figures) in enumerate(rows):
        y = ROW * i + ROW / 2 + 2
        end = scale(figures['median'])
        parts += [words(LABEL - 8, y + 4, name, 'name', 'end'),
                  f'<rect x="{LABEL}" y="{y - 8:.1f}" width="{max(end - LABEL, 1):.1f}" height="16" rx="2" '
                  f'fill="{color(name)}">{tip(name, figures, unit)}</rect>',
                  whisker(scale, y, figures),
                  words(max(end, scale(figures['max'])) + 7, y + 4,
                        f'{number(figures["median"])} {unit}', 'value')]
    parts.append(line(LABEL, 2, LABEL, bottom, 'axis'))
    return svg(WIDTH, height, title, parts)


def ratios(targets, title):
    """Each target's ratio as a dot with its spread, and its limit as a mark."""
    targets = [target for target in targets if target['figures']]
    if not targets:
        return ''
    values = [value for target in targets for value in (target['figures']['min'], target['figures']['max'],
                                                         target['limit'])]
    pad = max(0.08 * (max(values) - min(values)), 0.02)
    scale = Scale(max(min([1, *values]) - pad, 0), max([1, *values]) + pad, LABEL, WIDTH - RIGHT)
    bottom = ROW * len(targets) + 4
    parts = []
    for tick in scale.ticks():
        parts += [line(scale(tick), 2, scale(tick), bottom, 'grid'),
                  words(scale(tick), bottom + 15, f'{tick:g}', 'tick', 'middle')]
    parts.append(line(scale(1), 2, scale(1), bottom, 'axis'))
    for i, target in enumerate(targets):
        y = ROW * i + ROW / 2 + 2
        figures, limit = target['figures'], scale(target['limit'])
        state = 'ok' if target['ok'] else 'missed'
        parts += [words(LABEL - 8, y + 4, target['cell'], 'name', 'end'),
                  line(limit, y - 10, limit, y + 10, 'limit'), whisker(scale, y, figures),
                  f'<circle cx="{scale(figures["median"]):.1f}" cy="{y:.1f}" r="5.5" '
                  f'fill="{color(target["cell"])}">'
                  f'{tip(target["cell"], figures, "of " + target["against"])}</circle>',
                  words(WIDTH - RIGHT + 7, y + 4, f'{figures["median"]:.2f} {verdict(target)}', state)]
    return svg(WIDTH, ROW * len(targets) + 26, title, parts)


MARKS = ('circle', 'square', 'diamond', 'triangle', 'down', 'ring')


def mark(kind, x, y, fill, tooltip):
    shapes = {
        'circle': f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4"',
        'ring': f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" stroke-width="2" stroke="{fill}"',
        'square': f'<rect x="{x - 3.6:.1f}" y="{y - 3.6:.1f}" width="7.2" height="7.2"',
        'diamond': f'<path d="M{x:.1f} {y - 5:.1f}l5 5l-5 5l-5 -5z"',
        'triangle': f'<path d="M{x:.1f} {y - 5:.1f}l4.8 8.6h-9.6z"',
        'down': f'<path d="M{x:.1f} {y + 5:.1f}l4.8 -8.6h-9.6z"',
    }
    tag = shapes[kind].split()[0][1:]
    inside = 'var(--card)' if kind == 'ring' else fill
    return f'{shapes[kind]} fill="{inside}">{tooltip}</{tag}>'


def legend(names, y=14):
    parts, x = [], 10
    for i, name in enumerate(names):
        parts += [mark(MARKS[i % len(MARKS)], x, y - 4, color(name), ''), words(x + 9, y, name, 'name')]
        x += 28 + 7 * len(name)
    return parts


def lines(series, x_label, y_label, title, x_is_log=True, y_is_log=True):
    """Lines over x; series is {name: [(x, figures)]}."""
    series = {name: [(x, f) for x, f in points if f and f['median'] > 0] for name, points in series.items()}
    series = {name: points for name, points in series.items() if points}
    if not series:
        return ''
    height, left, top, right, bottom = 340, 52, 46, WIDTH - 14, 340 - 40
    xs = sorted({x for points in series.values() for x, _ in points})
    ys = [value for points in series.values() for _, f in points for value in (f['min'], f['max'])
          if value > 0]
    across = Scale(xs[0] / 1.1 if x_is_log else 0, xs[-1] * 1.06, left, right, x_is_log)
    up = Scale(min(ys) / 1.3 if y_is_log else 0, max(ys) * 1.2, bottom, top, y_is_log)
    parts = legend(series)
    for tick in up.ticks():
        parts += [line(left, up(tick), right, up(tick), 'grid'),
                  words(left - 6, up(tick) + 4, short(tick), 'tick', 'end')]
    for tick in spaced(xs, across):
        parts += [line(across(tick), bottom, across(tick), bottom + 4, 'axis'),
                  words(across(tick), bottom + 17, short(tick), 'tick', 'middle')]
    parts += [line(left, bottom, right, bottom, 'axis'),
              words((left + right) / 2, height - 5, x_label, 'tick', 'middle'),
              words(left - 6, top - 12, y_label, 'tick', 'end')]
    for i, (name, points) in enumerate(series.items()):
        parts += one_line(name, points, across, up, MARKS[i % len(MARKS)])
    return svg(WIDTH, height, title, parts)


def spaced(values, scale, pixels=34):
    """Those of the values that are far enough from each other to be labelled."""
    kept = []
    for value in values:
        if not kept or scale(value) - scale(kept[-1]) >= pixels:
            kept.append(value)
    return kept


def one_line(name, points, across, up, kind):
    path = 'M' + 'L'.join(f'{across(x):.1f} {up(f["median"]):.1f}' for x, f in points)
    parts = [f'<path class="line" d="{path}" stroke="{color(name)}"/>']
    for x, f in points:
        if up(f['min']) - up(f['max']) > 3:
            parts.append(line(across(x), up(f['min']), across(x), up(f['max']), 'range',
                              f'stroke="{color(name)}"'))
        parts.append(mark(kind, across(x), up(f['median']), color(name), tip(f'{name} at {short(x)}', f, '')))
    return parts
