#!/usr/bin/env python3
"""Measures the hub beside two yardsticks and prints one table: ./run bench [--rounds N] [--seconds S].

The yardsticks run in the same rounds, interleaved, with the same shape (50 users with 8 requests in
flight each): a bare libwebsockets echo server, and redis-benchmark SET against the same Redis
(appendonly yes, appendfsync everysec). Figures are medians of the rounds. Every load is checked by the
generator: an event that is missing, doubled, out of sequence or at the wrong user ends the run with 1.
"""
import argparse
import base64
import contextlib
import json
import os
import pathlib
import secrets
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("TASKHUB_BUILD", TOP / "build"))
TICKS = os.sysconf("SC_CLK_TCK")
USERS, IN_FLIGHT = 50, 8
HEAVY_0 = ["--task", "noop_heavy", "--args", '{"steps":0}']
HEAVY_10 = ["--task", "noop_heavy", "--args", '{"steps":10}', "--expect", "11"]


def wait_until(condition, what, seconds=15):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"bench: {what} did not come within {seconds} s")
        time.sleep(0.02)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def stat(pid):
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return None


def tree(pid):
    """A process and all below it."""
    parents = {int(name): int(fields[1]) for name in os.listdir("/proc") if name.isdigit()
               and (fields := stat(name))}
    found = [pid]
    for known in found:
        found += [child for child, parent in parents.items() if parent == known]
    return found


def cpu(process):
    """Seconds of CPU time of a process, those below it and those it has waited for."""
    fields = [stat(pid) for pid in tree(process.pid)]
    return sum(int(f[i]) for f in fields if f for i in (11, 12, 13, 14)) / TICKS


def resident(process):
    """Bytes of resident memory of one process."""
    pages = int(pathlib.Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class Bench:
    def __init__(self, options):
        self.options = options
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="th-bench-"))
        self.log = open(self.directory / "log", "wb")
        self.running = []
        self.rows = {}
        self.faults = []
        self.key_file = self.directory / "key"
        self.key_file.write_text(base64.urlsafe_b64encode(secrets.token_bytes(48)).decode() + "\n")
        self.key_file.chmod(0o600)
        self.redis_socket = self.directory / "redis.sock"

    # ---- processes ---------------------------------------------------------------------------------
    def start(self, *words, stdout=None, env=None):
        process = subprocess.Popen([str(w) for w in words], stdin=subprocess.DEVNULL, stderr=self.log,
                                   stdout=stdout or self.log, env=dict(os.environ, **(env or {})),
                                   cwd=self.directory)
        self.running.append(process)
        return process

    def stop(self, process):
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self.running.remove(process)

    def start_redis(self):
        self.redis = self.start("redis-server", "--port", "0", "--unixsocket", self.redis_socket, "--dir",
                                self.directory, "--appendonly", "yes", "--appendfsync", "everysec", "--save", "",
                                "--maxmemory-policy", "noeviction")
        wait_until(self.redis_socket.exists, "redis-server")

    def settings(self):
        huge = "1000000"
        return {"REDIS_URL": f"unix:{self.redis_socket}", "TASKHUB_JWT_KEY_FILE": str(self.key_file),
                "TASKHUB_DIAGNOSTICS": "true", "TASKHUB_PROGRESS_COALESCE_MS": "0",
                "MAX_CONCURRENT_TASKS_PER_USER": huge, "MAX_GLOBAL_CONCURRENT_TASKS": huge,
                "TASKHUB_LIMITS_MESSAGES_PER_S": huge, "TASKHUB_LIMITS_MESSAGES_BURST": huge,
                "TASKHUB_LIMITS_UNAUTHENTICATED": huge, "TASKHUB_LOG_LEVEL": "warn"}

    def start_hub(self):
        port = free_port()
        hub = self.start(BUILD / "taskhub", "serve", "--listen", f"127.0.0.1:{port}", "--data-dir",
                         self.directory / "hub", env=self.settings())

        def ready():
            if hub.poll() is not None:
                raise SystemExit(f"bench: the hub ended; see {self.directory}/log")
            with contextlib.suppress(OSError):
                return urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1).status == 200
            return False
        wait_until(ready, "the hub")
        return hub, port

    def start_echo(self):
        echo = self.start(BUILD / "tests/bench/echo", stdout=subprocess.PIPE)
        return echo, int(echo.stdout.readline())

    def close(self):
        for process in reversed(self.running[:]):
            self.stop(process)
        self.log.close()
        if self.options.keep:
            print(f"kept: {self.directory}", file=sys.stderr)
        else:
            shutil.rmtree(self.directory, ignore_errors=True)

    # ---- measuring ---------------------------------------------------------------------------------
    def note(self, row, column, value):
        self.rows.setdefault(row, {}).setdefault(column, []).append(value)

    def generator(self, port, *words):
        return [str(w) for w in (BUILD / "tests/bench/load", "--port", port, "--key-file", self.key_file, *words)]

    def load(self, what, port, processes, *words):
        """One load; the generator's report with the CPU seconds that each process took meanwhile."""
        before = {name: cpu(process) for name, process in processes.items()}
        done = subprocess.run(self.generator(port, "--duration", self.options.seconds, *words),
                              stdout=subprocess.PIPE, stderr=self.log, text=True, check=False)
        if not done.stdout:
            raise SystemExit(f"bench: {what}: the generator ended with {done.returncode}; --keep and see the log")
        report = json.loads(done.stdout)
        report["cpu"] = {name: cpu(process) - before[name] for name, process in processes.items()}
        if done.returncode:
            self.faults.append(f"{what}: {done.stdout.strip()}")
        return report

    def per_thousand(self, report, name):
        return report["cpu"][name] * 1e6 / max(1, report["completed"] + report["failed"])

    def tasks(self, title, *words):
        many = ["--users", USERS, "--inflight", IN_FLIGHT]
        processes = {"hub": self.hub, "worker": self.worker, "redis": self.redis}
        report = self.load(title, self.port, processes, *many, *words)
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
        report = self.load("echo", self.echo_port, {"echo": self.echo_server}, "--echo", *many)
        for title in ("light", "heavy, 0 events", "heavy, 10 events"):
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
        for title in ("light", "heavy, 0 events", "heavy, 10 events"):
            self.note(f"{title}, {USERS} × {IN_FLIGHT}: per s", "redis", float(fields[1]))
            self.note(f"{title}: CPU ms per 1,000, redis", "redis", used)
        subprocess.run(["redis-cli", "-s", str(self.redis_socket), "--no-auth-warning", "EVAL",
                        "local k = redis.call('KEYS', 'key:*') for i = 1, #k do redis.call('UNLINK', k[i]) end",
                        "0"], stdout=self.log, stderr=self.log, check=True)

    def single(self):
        report = self.load("light 1 × 1", self.port, {}, "--users", 1, "--inflight", 1)
        self.note("light, 1 × 1: per s", "hub", report["tasks_per_s"])
        report = self.load("echo 1 × 1", self.echo_port, {}, "--echo", "--users", 1, "--inflight", 1)
        self.note("light, 1 × 1: per s", "echo", report["tasks_per_s"])

    def idle(self, column, start, *words):
        """Memory and opening rate of idle connections, on a fresh server that has served a few."""
        server, port = start()
        subprocess.run(self.generator(port, *words, "--users", 10, "--inflight", 1, "--count", 200),
                       stdout=self.log, stderr=self.log, check=False)
        time.sleep(0.5)
        empty = resident(server)
        holder = subprocess.Popen(self.generator(port, *words, "--users", 0, "--idle", self.options.idle, "--hold",
                                                 2), stdout=subprocess.PIPE, stderr=self.log, text=True)
        opened = json.loads(holder.stdout.readline())
        time.sleep(1)
        full = resident(server)
        holder.communicate()
        if opened["ready"] != self.options.idle:
            self.faults.append(f"idle: {column}: {opened}")
        self.note("idle connection: bytes", column, (full - empty) / self.options.idle)
        self.note("process without connections: MiB", column, empty / 2 ** 20)
        self.note("connections opened per s (hub: with auth)", column, opened["ready"] / opened["open_s"])
        self.stop(server)

    def run(self):
        self.start_redis()
        self.hub, self.port = self.start_hub()
        self.worker = self.start(BUILD / "taskhub-worker", env=self.settings())
        self.echo_server, self.echo_port = self.start_echo()
        self.load("warm-up", self.port, {}, "--users", USERS, "--count", 2000)
        self.load("warm-up", self.port, {}, "--users", USERS, "--count", 2000, *HEAVY_0)
        for number in range(self.options.rounds):
            print(f"round {number + 1} of {self.options.rounds}", file=sys.stderr, flush=True)
            self.single()
            self.echo()
            self.tasks("light")
            self.redis_benchmark()
            self.tasks("heavy, 0 events", *HEAVY_0)
            self.tasks("heavy, 10 events", *HEAVY_10)
        for number in range(self.options.rounds):
            self.idle("hub", self.start_hub)
            self.idle("echo", self.start_echo, "--echo")

    # ---- printing ----------------------------------------------------------------------------------
    def table(self):
        def cell(value):
            return "" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:,.2f}"
        lines = [("", "taskhub", "bare lws echo", "redis-benchmark SET", "× echo", "× SET")]
        for row, columns in self.rows.items():
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2, help="length of one load")
    parser.add_argument("--idle", type=int, default=5000, help="idle connections to open")
    parser.add_argument("--json", help="write the single figures to this file")
    parser.add_argument("--keep", action="store_true", help="keep the directory with the log")
    options = parser.parse_args()
    bench = Bench(options)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
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
