#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Measures the hub beside two yardsticks and prints one table: ./run bench [--rounds N] [--seconds S]. With
--against DIR it alternates with the programs of another build directory instead (against.py).

The yardsticks run in the same rounds, interleaved, with the same shape (50 users with 8 requests in
flight each): a bare libwebsockets echo server, and redis-benchmark SET against the same Redis
(appendonly yes, appendfsync everysec). Figures are medians of the rounds. Every submission carries an
idempotency key, as those of the client library do, unless the row says otherwise. Every load is checked by the
generator: an event that is missing, doubled, out of sequence or at the wrong user ends the run with 1.
"""
import argparse
import json
import pathlib
import signal
import statistics
import subprocess
import sys
import time

import against
from stack import BUILD, Stack, cpu, resident

USERS, IN_FLIGHT = 50, 8
CHILD = "one-shot child: CPU from fork to its end"
HEAVY_0 = ["--task", "noop_heavy", "--args", '{"steps":0}']
HEAVY_10 = ["--task", "noop_heavy", "--args", '{"steps":10}', "--expect", "11"]
LOADS = {"light": [], "light, no key": ["--no-keys"], "heavy, 0 events": HEAVY_0,
         "heavy, 0 events, no key": [*HEAVY_0, "--no-keys"], "heavy, 10 events": HEAVY_10}


class Bench(Stack):
    def __init__(self, options):
        super().__init__(keep=options.keep)
        self.options = options
        self.rows = {}

    def start_echo(self):
        echo = self.start(BUILD / "tests/bench/echo", stdout=subprocess.PIPE)
        return echo, int(echo.stdout.readline())

    # ---- measuring ---------------------------------------------------------------------------------
    def note(self, row, column, value):
        self.rows.setdefault(row, {}).setdefault(column, []).append(value)

    def measured(self, what, port, processes, *words):
        """One load; the generator's report with the CPU seconds that each process took meanwhile."""
        before = {name: cpu(process) for name, process in processes.items()}
        report = self.load(what, port, "--duration", self.options.seconds, *words)
        report["cpu"] = {name: cpu(process) - before[name] for name, process in processes.items()}
        return report

    def per_thousand(self, report, name):
        return report["cpu"][name] * 1e6 / max(1, report["completed"] + report["failed"])

    def tasks(self, title, *words):
        many = ["--users", USERS, "--inflight", IN_FLIGHT]
        processes = {"hub": self.hub, "worker": self.worker, "redis": self.redis}
        report = self.measured(title, self.port, processes, *many, *words)
        self.note(f"{title}, {USERS} × {IN_FLIGHT}: per s", "hub", report["tasks_per_s"])
        self.note(f"{title}: p50 ms", "hub", report["complete_ms"]["p50"])
        self.note(f"{title}: p99 ms", "hub", report["complete_ms"]["p99"])
        total = 0
        for name in processes:
            if name == "worker" and "light" in title:
                continue
            self.note(f"{title}: CPU ms per 1,000, {name}", "hub", self.per_thousand(report, name))
            total += self.per_thousand(report, name)
        self.note(f"{title}: CPU ms per 1,000, all", "hub", total)

    def echo(self):
        many = ["--users", USERS, "--inflight", IN_FLIGHT]
        report = self.measured("echo", self.echo_port, {"echo": self.echo_server}, "--echo", *many)
        for title in LOADS:
            self.note(f"{title}, {USERS} × {IN_FLIGHT}: per s", "echo", report["tasks_per_s"])
            self.note(f"{title}: CPU ms per 1,000, hub", "echo", self.per_thousand(report, "echo"))
            self.note(f"{title}: CPU ms per 1,000, all", "echo", self.per_thousand(report, "echo"))
        self.note("light: p50 ms", "echo", report["complete_ms"]["p50"])
        self.note("light: p99 ms", "echo", report["complete_ms"]["p99"])

    def redis_benchmark(self):
        count = int(100000 * self.options.seconds)
        before = cpu(self.redis)
        out = subprocess.run(["redis-benchmark", "-s", str(self.redis_socket), "-t", "set", "-d", "64", "-r",
                              "100000", "-c", str(USERS), "-P", str(IN_FLIGHT), "-n", str(count), "--csv"],
                             stdout=subprocess.PIPE, stderr=self.log, text=True, check=True).stdout
        fields = [part.strip('"') for part in out.strip().splitlines()[-1].split(",")]
        used = (cpu(self.redis) - before) * 1e6 / count
        for title in LOADS:
            self.note(f"{title}, {USERS} × {IN_FLIGHT}: per s", "redis", float(fields[1]))
            self.note(f"{title}: CPU ms per 1,000, redis", "redis", used)
        subprocess.run(["redis-cli", "-s", str(self.redis_socket), "--no-auth-warning", "EVAL",
                        "local k = redis.call('KEYS', 'key:*') for i = 1, #k do redis.call('UNLINK', k[i]) end",
                        "0"], stdout=self.log, stderr=self.log, check=True)

    def single(self):
        report = self.measured("light 1 × 1", self.port, {}, "--users", 1, "--inflight", 1)
        self.note("light, 1 × 1: per s", "hub", report["tasks_per_s"])
        report = self.measured("echo 1 × 1", self.echo_port, {}, "--echo", "--users", 1, "--inflight", 1)
        self.note("light, 1 × 1: per s", "echo", report["tasks_per_s"])

    def idle(self, column, start, *words):
        """Memory and opening rate of idle connections, on a fresh server that has served a few."""
        server, port = start()
        subprocess.run(self.generator(port, *words, "--users", 10, "--inflight", 1, "--count", 200),
                       stdout=self.log, stderr=self.log, check=False)
        time.sleep(0.5)
        empty = resident(server)
        holder, opened = self.hold(port, self.options.idle, 2, *words)
        time.sleep(1)
        full = resident(server)
        holder.communicate()
        self.note("idle connection: bytes", column, (full - empty) / self.options.idle)
        self.note("process without connections: MiB", column, empty / 2 ** 20)
        self.note("connections opened per s (hub: with auth)", column, opened["ready"] / opened["open_s"])
        self.stop(server)

    def child(self):
        """A one-shot child with and without its fence, in turn."""
        out = subprocess.run([BUILD / "tests/bench/child", "200"], stdout=subprocess.PIPE, stderr=self.log, check=True)
        for column, value in json.loads(out.stdout).items():
            self.note(CHILD, column, value)

    def run(self):
        self.start_all()
        self.echo_server, self.echo_port = self.start_echo()
        self.load("warm-up", self.port, "--users", USERS, "--count", 2000)
        self.load("warm-up", self.port, "--users", USERS, "--count", 2000, *HEAVY_0)
        for number in range(self.options.rounds):
            print(f"round {number + 1} of {self.options.rounds}", file=sys.stderr, flush=True)
            self.single()
            self.echo()
            self.redis_benchmark()
            self.child()
            for title, words in LOADS.items():
                self.tasks(title, *words)
        for number in range(self.options.rounds):
            self.idle("hub", self.start_hub)
            self.idle("echo", self.start_echo, "--echo")

    # ---- printing ----------------------------------------------------------------------------------
    def table(self):
        def cell(value):
            return "" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:,.2f}"
        lines = [("", "taskhub", "bare lws echo", "redis-benchmark SET", "× echo", "× SET")]
        for row, columns in ((row, columns) for row, columns in self.rows.items() if row != CHILD):
            middle = {name: statistics.median(values) for name, values in columns.items()}
            hub = middle.get("hub")
            ratios = [f"{hub / middle[name]:.2f}" if hub and middle.get(name) else "" for name in ("echo", "redis")]
            lines.append((row, cell(hub), cell(middle.get("echo")), cell(middle.get("redis")), *ratios))
        widths = [max(len(line[i]) for line in lines) for i in range(6)]
        lines.insert(1, tuple("-" * width for width in widths))
        for line in lines:
            first, *rest = [text.ljust(w) if i == 0 else text.rjust(w)
                            for i, (text, w) in enumerate(zip(line, widths))]
            print("| " + " | ".join([first, *rest]) + " |")
        middle = {name: statistics.median(values) for name, values in self.rows[CHILD].items()}
        print("{0}: {plain_us:,.0f} µs as it is, {confined_us:,.0f} µs confined, × {ratio:.2f}".format(CHILD, **middle))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, help="default: 3, with --against 10")
    parser.add_argument("--seconds", type=float, default=2, help="length of one load")
    parser.add_argument("--idle", type=int, default=5000, help="idle connections to open")
    parser.add_argument("--against", metavar="DIR", help="alternate with the build in this directory")
    parser.add_argument("--only", metavar="ROW,…", help=f"with --against, these rows: {', '.join(against.ROWS)}")
    parser.add_argument("--callgrind", action="store_true", help="with --against: instructions per light task, too")
    parser.add_argument("--json", help="write the single figures to this file")
    parser.add_argument("--keep", action="store_true", help="keep the directory with the log")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options.rounds = options.rounds or (10 if options.against else 3)
    if options.against:
        return against.main(options)
    bench = Bench(options)
    try:
        bench.run()
    finally:
        bench.close()
    bench.table()
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(bench.rows, indent=1))
    for fault in bench.faults:
        print(f"FAULT {fault}")
    print("every load checked: " + ("nothing missing, doubled, out of sequence or at the wrong user"
                                    if not bench.faults else f"{len(bench.faults)} with faults"))
    return 1 if bench.faults else 0


if __name__ == "__main__":
    sys.exit(main())
