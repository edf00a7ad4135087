#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What 20 users notice of one who asks for as much as he is allowed: ./run bench abuse [--seconds S]. A row per kind
of attack, by one account and by four: p50 and p99 of the others' light tasks, quiet and meanwhile, the median of their
heavy ones, what of theirs was refused, and the memory of the hub and of Redis at first, at most and some time after.
The verdict names what is over its bound, see BOUNDS; a row that has no figures says why. Ends with 1 where anything is
over. A row takes 2 × seconds + after + about 15 s, at most a minute more."""
import argparse
import asyncio
import contextlib
import itertools
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "scenarios"))
import hostile  # noqa: E402 (needs the path above)
from queue_lib import Resp  # noqa: E402
from taskhub import Stack  # noqa: E402

MIB = 1 << 20
OWNER_MIB = 64  # quota.owner_bytes, for what one account may keep in Redis
OTHERS_MIB = 32  # what the others' tasks leave there meanwhile
BEYOND_S = 75

# What is over: a figure of a row, and the most it may be.
BOUNDS = {
    "p99": lambda row: (row["p99 ms"], max(2 * row["quiet p99 ms"], row["quiet p99 ms"] + 25)),
    "refused": lambda row: (row["refused"], 0),
    "no heavy task ended": lambda row: (row["heavy p50 ms"], sys.float_info.max),
    "hub": lambda row: (row["hub most"] - row["hub"], 64),
    "hub after": lambda row: (row["hub after"] - row["hub"], 8),
    "Redis": lambda row: (row["Redis most"] - row["Redis"], OWNER_MIB * row["accounts"] + OTHERS_MIB),
}
COLUMNS = ("quiet p50 ms", "p50 ms", "quiet p99 ms", "p99 ms", "quiet heavy p50 ms", "heavy p50 ms", "refused", "hub",
           "hub most", "hub after", "Redis", "Redis most")


def redis_mib(hub):
    redis = Resp(hub.data / "redis" / "redis.sock")
    memory = dict(line.split(":", 1) for line in redis("INFO", "memory").splitlines() if ":" in line)
    redis.close()
    return int(memory["used_memory"]) / MIB


async def measure(hub, kind, accounts, options):
    others, row = hostile.Others(hub), {"accounts": accounts}
    async with others.working():
        await asyncio.sleep(2)
        quiet = await others.measure(options.seconds)
        row.update({f"quiet {name}": figure for name, figure in quiet.items()}, hub=quiet["hub MiB"], Redis=redis_mib(hub))
        with hostile.attacking(hub, kind, options.seconds + BEYOND_S, accounts):
            await asyncio.sleep(1)
            row.update(await others.measure(options.seconds))
            row["hub most"], row["Redis most"] = row["hub MiB"], redis_mib(hub)
    row["refused"] = len(others.refused)
    await asyncio.sleep(options.after)
    return row | {"hub after": hostile.resident(hub) / MIB}


def row_of(kind, accounts, options):
    """A row's figures, and what is over."""
    try:
        with contextlib.closing(Stack()) as stack:
            hub = stack.private_hub()
            row = asyncio.run(asyncio.wait_for(measure(hub, kind, accounts, options),
                                               2 * options.seconds + options.after + BEYOND_S))
        return row, [name for name, bound in BOUNDS.items() if bound(row)[0] > bound(row)[1]]
    except Exception as error:  # also of those who work, or of a hub that ended badly: that is what the row is about
        return {}, [f"no figures, {type(error).__name__} {error}".strip().replace("\n", " ")]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30, help="length of each attack")
    parser.add_argument("--after", type=float, default=60, help="until the memory is looked at again")
    parser.add_argument("--accounts", type=int, nargs="+", default=[1, 4], help="how many accounts share the sockets")
    parser.add_argument("--only", action="append", choices=list(hostile.ATTACKS), help="this attack")
    options = parser.parse_args()
    rows, faults = list(itertools.product(options.only or hostile.ATTACKS, options.accounts)), 0
    print(f"{len(rows)} rows, about {len(rows) * (2 * options.seconds + options.after + 15) / 60:.0f} minutes; memory in MiB",
          file=sys.stderr)
    print("| attack | accounts | " + " | ".join(COLUMNS) + " | verdict |")
    print("|---" * (len(COLUMNS) + 3) + "|")
    for kind, accounts in rows:
        row, over = row_of(kind, accounts, options)
        figures = " | ".join(f"{row[name]:.{0 if name == 'refused' else 1}f}" if row else "" for name in COLUMNS)
        print(f"| {kind} | {accounts} | {figures} | {'over: ' + ', '.join(over) if over else 'within'} |", flush=True)
        faults += over != []
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
