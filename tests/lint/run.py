#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks of the source tree itself; TAP on stdout. `run.py WORD…` runs the checks with these names.

Each check is a function check_<name>() of one of the modules beside this file that yields problems as text
("path:line: what"). A check that cannot run on this machine raises Skip, which is printed.
"""
import sys

import docs
import layers
import source
import spdx
from tree import Skip


def main():
    checks = {name[6:]: fn for module in (source, spdx, layers, docs) for name, fn in vars(module).items()
              if name.startswith("check_")}
    wanted = sys.argv[1:] or list(checks)
    failed = 0
    for number, name in enumerate(wanted, 1):
        title = checks[name].__doc__.split("\n")[0].rstrip(".")
        try:
            problems = list(checks[name]())
        except Skip as reason:
            print(f"ok {number} - {name}: {title} # SKIP {reason}")
            continue
        for problem in problems:
            print(f"#   {problem}")
        print(f"{'not ok' if problems else 'ok'} {number} - {name}: {title}", flush=True)
        failed += bool(problems)
    print(f"1..{len(wanted)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
