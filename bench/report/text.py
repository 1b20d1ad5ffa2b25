"""The answers as tables on a terminal."""
from .figures import METRICS, number, said, spread, value_of, verdict

COLUMNS = (('messages_per_s', 'rate/s'), ('load_cpu', 'load'), ('wakeups_per_message', 'wakes'))


def median_of(name, figures):
    if not figures:
        return ''
    return f'{figures["median"]:.0%}' if name == 'load_cpu' else number(figures['median'])


def row_of(cell, metric):
    figures = cell['figures']
    if not figures:
        return f'  {cell["name"]:28} {cell["failed"] or "not measured"}'
    main = figures.get(metric)
    line = f'  {cell["name"]:28} {number(main["median"] if main else None):>9}  {spread(main):20}'
    for name, _ in COLUMNS:
        found = figures.get(name)
        line += f' {median_of(name, found):>9}'
    return line + (f'  {cell["failed"]}' if cell['failed'] else '')


def in_brackets(figures):
    return f' ({spread(figures)})' if spread(figures) else ''


def table(answer):
    name, unit = METRICS[answer['metric']]
    lines = [f'\n{answer["title"]}', f'  {name + ", " + unit:28} {"median":>9}  {"min to max":20}'
             + ''.join(f' {title:>9}' for _, title in COLUMNS)]
    lines += [row_of(cell, answer['metric']) for cell in answer['cells']]
    for target in answer['targets']:
        lines.append(f'  {verdict(target):6} {target["cell"]}: {value_of(target)}'
                     f'{in_brackets(target["figures"])}; {said(target)}')
    return '\n'.join(lines)


def micro_tables(micro):
    lines = []
    for program, result in micro.items():
        if 'failed' in result:
            lines.append(f'\n{program}: {result["failed"]}')
            continue
        for found in result['tables']:
            lines.append(f'\n{found["title"]}, {found["unit"]}\n  {"":34}'
                         + ''.join(f' {column:>11}' for column in found['columns']))
            lines += [f'  {name:34}' + ''.join(f' {number(value):>11}' for value in values)
                      for name, *values in found['rows']]
    return '\n'.join(lines)
