#!/usr/bin/env python3
"""Every promise in docs/threat-model.md names its tests, and each of them exists; no attack is without a promise."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def attacks(folder):
    """GROUP/NAME of every case in tests/FOLDER."""
    found = set()
    for path in (ROOT / 'tests' / folder).glob('*.py'):
        text = path.read_text()
        found |= {f'{path.stem}/{name}' for name in re.findall(r'@group\.\w+\ndef (\w+)', text)}
    return found


def has_case(program, name):
    path = ROOT / 'tests' / f'{program}.c'
    return path.exists() and re.search(rf'\bCASE\({name}\)', path.read_text())


def main():
    demanded = attacks('attacks')
    known = demanded | attacks('service')
    rows = [line for line in (ROOT / 'docs/threat-model.md').read_text().splitlines()
            if line.startswith('| ') and not line.startswith('| attack |')]
    problems, named = [], set()
    for row in rows:
        cells = row.split(' | ')
        tests = re.findall(r'`([^`]+)`', cells[-1])
        if len(cells) != 3 or not tests:
            problems.append(f'no test: {row[:80]}')
        for test in tests:
            named.add(test)
            program, _, name = test.partition(' ')
            if not (has_case(program, name) if name else test in known):
                problems.append(f'there is no {test}')
    problems += [f'docs/threat-model.md does not name {name}' for name in sorted(demanded - named)]
    print('\n'.join(problems + [f'threats: {len(named) - len(problems)} passed, {len(problems)} failed']))
    return 1 if problems or len(named) < 40 else 0


sys.exit(main())
