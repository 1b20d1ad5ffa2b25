#!/usr/bin/env python3
"""Does weft-bench do what it says, in each mode, and does it find what is wrong?

run_bench.py WEFT_BENCH WEFT_ECHO FLOOR [CASE...]

Runs each mode for half a second against servers that are right (right.py), and against servers with one fault
each (faults.py)."""
import sys

sys.dont_write_bytecode = True

import faults  # noqa: E402,F401: its cases
import right  # noqa: E402,F401
from harness import CASES  # noqa: E402


def main():
    names = sys.argv[4:] or list(CASES)
    unknown = [name for name in names if name not in CASES]
    if unknown:
        print(*unknown, 'is none of:', *CASES, sep='\n  ')
        return 2
    failed = 0
    for name in names:
        try:
            CASES[name]()
            print('ok  ', name, flush=True)
        except Exception as wrong:  # a failed case must not keep the others from running
            failed += 1
            print('FAIL', name, type(wrong).__name__, str(wrong)[:2000], flush=True)
    print(f'bench: {len(names) - failed} passed, {failed} failed')
    return 1 if failed else 0


sys.exit(main())
