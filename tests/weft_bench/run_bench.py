#!/usr/bin/env python3
"""Does weft-bench do what it says, in each mode, and does it find what is wrong?

run_bench.py WEFT_BENCH WEFT_ECHO FLOOR [CASE...]

Runs each mode against servers that are right (right.py), and against servers with one fault each (faults.py,
churn.py). No case asks how fast anything is: runs are counted (--messages), and what is compared are counts,
lower bounds, and figures of one run with each other. So the cases run side by side, which is as well a load
that a case must not mind."""
import concurrent.futures
import sys

sys.dont_write_bytecode = True

import churn  # noqa: E402,F401: its cases
import faults  # noqa: E402,F401
import right  # noqa: E402,F401
from harness import CASES  # noqa: E402

AT_ONCE = 8  # most of them wait for a silence


def run(name):
    """None, or what is wrong: a failed case must not keep the others from running."""
    try:
        CASES[name]()
    except Exception as wrong:
        return f'{type(wrong).__name__} {str(wrong)[:2000]}'
    return None


def main():
    names = sys.argv[4:] or list(CASES)
    unknown = [name for name in names if name not in CASES]
    if unknown:
        print(*unknown, 'is none of:', *CASES, sep='\n  ')
        return 2
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        runs = {pool.submit(run, name): name for name in names}
        for done in concurrent.futures.as_completed(runs):
            failed += done.result() is not None
            print('FAIL' if done.result() else 'ok  ', runs[done], done.result() or '', flush=True)
    print(f'bench: {len(names) - failed} passed, {failed} failed')
    return 1 if failed else 0


sys.exit(main())
