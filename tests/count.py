#!/usr/bin/env python3
"""Count the cases of one `meson test` run: count.py LOG.json FAILURES SUITE... prints "SUITE PASSED FAILED SECONDS" for
each, the seconds as the sum of its tests', and the output of what failed on standard error. To the file FAILURES it adds
a paragraph for each test that failed: its name, and the lines that name the failed cases. When one suite is named all is its; else a test belongs to the first of its labels that is named. A program says "N passed, N failed" in its last
such line; one that says nothing is one case. What was skipped is no case, and its reason is shown. A crash, a hang or an exit status other than 0 is at least one failed
case."""
import json
import re
import sys

SUMMARY = re.compile(r'(?:^|: )(\d+) passed, (\d+) failed$', re.M)
OUTPUT_LINES_MAX = 80
LINE_CHARS_MAX = 300
# What names a failed case, in the words of each harness and of the sanitizers.
TELLING = re.compile(r'^\s*(FAIL\b|not ok\b|FAILED\b|\d+\. \S+:\d+|# \S|Error\b|\w*Error\b|ERROR\b|AssertionError|SUMMARY: )'
                     r'|^\d+(\.\d+)+ +behaviour|(==\d+==\s*ERROR|runtime error|Assertion .* failed|WARNING: ThreadSanitizer)')
TELLING_LINES_MAX = 12
TELLING_CHARS_MAX = 200


def count(test):
    said = SUMMARY.findall(test.get('stdout', ''))
    passed, failed = map(int, said[-1]) if said else (0, 0)
    if test['result'] == 'SKIP':
        return 0, 0
    good = test['result'] == 'OK'
    if not good:
        return passed, max(failed, 1)
    return (passed, failed) if said else (1, 0)


def show(test):
    lines = (test.get('stdout', '') + test.get('stderr', '')).splitlines()
    kept = [line for line in lines if not line.startswith('ok ')]
    print(f'--- {test["name"]}: {test["result"]} (status {test["returncode"]})', file=sys.stderr)
    print('\n'.join(line[:LINE_CHARS_MAX] for line in kept[-OUTPUT_LINES_MAX:]), file=sys.stderr)


def tell(test, file):
    """What failed, in few lines; of a test that has named no case, or stood still, its last ones."""
    lines = [line.rstrip() for line in (test.get('stdout', '') + test.get('stderr', '')).splitlines() if line.strip()]
    telling = [line for line in lines if TELLING.search(line)][:TELLING_LINES_MAX]
    if not telling or test['result'] == 'TIMEOUT':
        telling += lines[-3:]
    print(f'{test["name"]}: {test["result"]} (status {test["returncode"]}, {test["duration"]:.0f} s)', file=file)
    for line in telling:
        print(f'    {line.strip()[:TELLING_CHARS_MAX]}', file=file)


def suite_of(test, suites):
    """meson says `project:label+label / name`."""
    labels = test['name'].split(' / ')[0].split(':')[-1].split('+')
    return suites[0] if len(suites) == 1 else next(suite for suite in suites if suite in labels)


def main():
    suites = sys.argv[3:]
    figures = {suite: [0, 0, 0.0] for suite in suites}
    with open(sys.argv[1], encoding='utf-8', errors='replace') as log, open(sys.argv[2], 'a') as failures:
        for line in log:
            test = json.loads(line)
            p, f = count(test)
            figure = figures[suite_of(test, suites)]
            figure[0], figure[1], figure[2] = figure[0] + p, figure[1] + f, figure[2] + test['duration']
            if f or test['result'] == 'SKIP':
                show(test)
            if f:
                tell(test, failures)
    for suite, (passed, failed, seconds) in figures.items():
        print(suite, passed, failed, round(seconds))


main()
