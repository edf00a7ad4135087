#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What 20 users notice of one who asks for as much as he is allowed: ./run bench abuse [--seconds S]. A row per kind
of attack, by one account and by four: p50 and p99 of the others' light tasks, quiet and meanwhile, the median of their
heavy ones, what of theirs was refused, and the memory of the hub at its most and some time after. Ends with 1 where a p99 is beyond max(2 × quiet, quiet + 25 ms), something was
refused, or the hub grew by more than 64 MiB, or kept more than 8."""
import argparse
import asyncio
import itertools
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "scenarios"))
import hostile  # noqa: E402 (needs the path above)
from taskhub import Stack  # noqa: E402

MIB = 1 << 20


async def measure(hub, kind, accounts, options):
    others = hostile.Others(hub)
    async with others.working():
        await asyncio.sleep(2)
        quiet = await others.measure(options.seconds)
        with hostile.attacking(hub, kind, options.seconds + 60, accounts):
            await asyncio.sleep(1)
            meanwhile = await others.measure(options.seconds)
    await asyncio.sleep(options.after)
    return quiet, meanwhile, len(others.refused), hostile.resident(hub) / MIB


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30, help="length of each attack")
    parser.add_argument("--after", type=float, default=60, help="until the memory is looked at again")
    parser.add_argument("--accounts", type=int, nargs="+", default=[1, 4], help="how many accounts share the sockets")
    parser.add_argument("--only", action="append", choices=list(hostile.ATTACKS), help="this attack")
    options = parser.parse_args()
    faults = 0
    print("| attack | accounts | p50 ms, quiet | meanwhile | p99 ms, quiet | meanwhile | heavy p50 ms, quiet | meanwhile "
          "| refused | hub MiB | at most | after |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for kind, accounts in itertools.product(options.only or hostile.ATTACKS, options.accounts):
        stack = Stack()
        hub = stack.private_hub()
        quiet, bad, refused, after = asyncio.run(measure(hub, kind, accounts, options))
        stack.close()
        figures = " | ".join(f"{one[name]:.1f}" for name in ("p50 ms", "p99 ms", "heavy p50 ms") for one in (quiet, bad))
        print(f"| {kind} | {accounts} | {figures} | {refused} | {quiet['hub MiB']:.1f} | {bad['hub MiB']:.1f} "
              f"| {after:.1f} |", flush=True)
        late = bad["p99 ms"] > max(2 * quiet["p99 ms"], quiet["p99 ms"] + 25)
        faults += late or refused > 0 or bad["hub MiB"] > quiet["hub MiB"] + 64 or after > quiet["hub MiB"] + 8
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
