#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What a task costs Redis: CPU of its main thread per task, beside a plain SET in the same rounds.

    queue_cost.py [--rounds N]

Calls are pipelined as a busy hub's are. Figures are the best of the rounds, in microseconds (the machine's
other work only adds); the ratio is to redis-benchmark SET (64 bytes, pipeline 16) on the same server.
"""
import argparse
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "scenarios"))

from queue_lib import HEAVY_MS, LIGHT_MS, PREFIX, Queue, key_of, new_id, runs_of  # noqa: E402

SETS = 100000


def cpu(redis):
    fields = dict(line.split(":", 1) for line in redis("INFO", "cpu").splitlines() if ":" in line)
    return sum(float(fields[f"used_cpu_{kind}_main_thread"]) for kind in ("user", "sys"))


def pipeline(process, function, calls, at_once=16):
    """Sends the calls, some at a time; their answers."""
    answers = []
    for i in range(0, len(calls), at_once):
        part = calls[i:i + at_once]
        for words in part:
            process.redis.send("FCALL", "th2_" + function, 1, PREFIX, process.origin, process.incarnation, *words)
        answers += [process.redis.read()[0] for _ in part]
    return answers


def light(q, batch, owners, calls=200, keyed=False):
    made = []
    for i in range(calls):
        names = [f"u{(i + k * owners // batch) % owners}" for k in range(batch)]
        tasks = [(new_id(owner=name), name, "", "C", "noop", new_id() if keyed else "") for name in names]
        made.append([LIGHT_MS, b"".join(key_of(id, owner, task, key) for id, owner, _, _, task, key in tasks),
                     *runs_of(tasks)[0]])
    before = cpu(q.redis)
    pipeline(q, "recorded_once", made)
    return (cpu(q.redis) - before) / (calls * batch)


def heavy(q, batch, owners, calls=60):
    worker, spent = q.as_("w:one"), 0
    made = [[10 ** 6, 10 ** 6, 15000, 10 ** 6, 10 ** 6, "", *[
        w for k in range(batch) for name in [f"u{(i * batch + k) % owners}"]
        for w in (new_id(owner=name), name, "noop_heavy default 4 3 1000 60000 -", '{"steps":3}', "")]]
            for i in range(calls)]
    before = cpu(q.redis)
    pipeline(q, "submit", made)
    leased = pipeline(worker, "lease", [[HEAVY_MS, LIGHT_MS, "default", batch, 600000]] * calls)
    spent += cpu(q.redis) - before
    ends = [[HEAVY_MS, LIGHT_MS, *[w for id in rows[1::2] for w in (id, 1, "sC", "")]]
            for rows in leased]
    before = cpu(q.redis)
    pipeline(worker, "report", ends)
    return (spent + cpu(q.redis) - before) / (calls * batch)


def plain_set(q):
    before = cpu(q.redis)
    subprocess.run(["redis-benchmark", "-s", str(q.dir / "s"), "-t", "set", "-n", str(SETS), "-P", "16", "-d", "64",
                    "-r", "1000000", "-q"], check=True, capture_output=True)
    return (cpu(q.redis) - before) / SETS


CASES = {
    "SET": plain_set,
    "light, 32 per call, 1 owner": lambda q: light(q, 32, 1),
    "light, 32 per call, 8 owners": lambda q: light(q, 32, 8),
    "light, 32 per call, 32 owners": lambda q: light(q, 32, 32),
    "light, 32 per call, 8 owners, keyed": lambda q: light(q, 32, 8, keyed=True),
    "light, 1 per call": lambda q: light(q, 1, 32, 3000),
    "heavy cycle, 32 per call, 1 owner": lambda q: heavy(q, 32, 1),
    "heavy cycle, 32 per call, 32 owners": lambda q: heavy(q, 32, 32),
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    q, best = Queue(), {}
    try:
        for _ in range(rounds):
            for name, case in CASES.items():
                q.redis("FLUSHDB")
                best[name] = min(best.get(name, 1), case(q))
    finally:
        q.close()
    for name, seconds in best.items():
        print(f"{name:36} {seconds * 1e6:7.2f} us  {seconds / best['SET']:5.1f} SET")


main()
