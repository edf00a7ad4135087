# SPDX-License-Identifier: MIT
"""Two builds in turn: ./run bench --against DIR. DIR is a build directory of another revision; the load
generator is ours. Prints for each row the median of the per-round ratios, with quartiles: above 1 is better
than the other build. CPU is that of hub, worker and the main thread of Redis, whose file is not rewritten.
"""
import asyncio
import json
import pathlib
import shutil
import statistics
import struct
import subprocess
import sys
import time

from stack import BUILD, Stack, cpu, main_thread, resident

MANY = ["--users", 50, "--inflight", 8]
STEPS = {steps: ["--task", "noop_heavy", "--args", f'{{"steps":{steps}}}', "--expect", max(1, steps + 1)]
         for steps in (0, 10)}
DRAINED, PER_USER = 10000, 200
STREAMS, FRAME, FRAMES = 8, 6400, 160
COUNTED, COUNTS = 2000, 3  # light tasks under callgrind, and how often


class Side(Stack):
    """One of the two builds. Each row gives figures of one round; those with _per_s and 1/… are better when
    higher, all others when lower."""

    def spent(self):
        return cpu(self.hub) + cpu(self.worker) + main_thread(self.redis)

    def tasks(self, seconds, *words):
        before = self.spent()
        report = self.load(" ".join(map(str, words)) or "light", self.port, "--duration", seconds, *MANY, *words)
        done = max(1, report["completed"] + report["failed"])
        return {"CPU µs/task": (self.spent() - before) * 1e6 / done, "tasks/s": report["tasks_per_s"],
                "p50 ms": report["complete_ms"]["p50"]}

    def drain(self, _seconds):
        """Tasks that wait are run by a worker that comes; measured from the first one on."""
        self.stop(self.worker)
        source = subprocess.Popen(self.generator(self.port, "--drain", "--users", DRAINED // PER_USER, "--inflight",
                                                 PER_USER, "--count", DRAINED, "--timeout", 60, "--no-keys",
                                                 *STEPS[0]),
                                  stdout=subprocess.PIPE, stderr=self.log, text=True)
        source.stdout.readline()
        self.start_worker()
        source.stdout.readline()
        before = self.spent()
        text, _ = source.communicate()
        report = self.report("drain", source.returncode, text)
        return {"CPU µs/task": (self.spent() - before) * 1e6 / DRAINED, "tasks/s": report["tasks_per_s"]}

    def connects(self, _seconds):
        """Connections with auth on a fresh hub, and the memory that each holds."""
        hub, port = self.start_hub(name="idle")
        self.load("warm-up", port, "--users", 10, "--count", 200)
        time.sleep(0.5)
        memory, before = resident(hub), cpu(hub) + main_thread(self.redis)
        holder, opened = self.hold(port, self.idle, 2)
        used = cpu(hub) + main_thread(self.redis) - before
        time.sleep(1)
        memory = resident(hub) - memory
        holder.communicate()
        self.stop(hub)
        return {"CPU µs/connect": used * 1e6 / self.idle, "connects/s": opened["ready"] / opened["open_s"],
                "idle bytes": memory / self.idle}

    def audio(self, _seconds):
        """Streams of sound to a task that reads them; the CPU of hub, Redis and the worker's parent."""
        def used():
            return cpu(self.hub) + cpu(self.worker, below=False) + main_thread(self.redis)
        before = used()
        asyncio.run(self.speak())
        return {"CPU ms/MB": (used() - before) * 1e3 / (STREAMS * FRAME * FRAMES / 1e6)}

    def token(self, user):
        return subprocess.run([BUILD / "taskhub", "token", "--user", user], env=self.settings(), check=True,
                              stdout=subprocess.PIPE, stderr=self.log, text=True).stdout.strip()

    async def speak(self):
        await asyncio.gather(*(self.stream(f"speaker{n}", self.token(f"speaker{n}")) for n in range(STREAMS)))

    async def stream(self, user, token):
        from websockets.legacy.client import connect
        async with connect(f"ws://127.0.0.1:{self.port}/ws", max_size=None, compression=None) as ws:
            async def call(number, method, params):
                await ws.send(json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}))
                while (answer := json.loads(await ws.recv())).get("id") != number:
                    pass
                return answer["result"]
            await call(1, "auth", {"token": token})
            begun = await call(2, "audio.start", {"task": "noop_stream", "args": {}, "format": {
                "encoding": "pcm_s16le", "sample_rate": 16000, "channels": 1}})
            head, limit = struct.pack(">I", begun["stream"]), begun["credit"]
            for number in range(1, FRAMES + 1):
                while number * FRAME > limit:
                    note = json.loads(await ws.recv())
                    if note.get("method") == "audio.ack":
                        limit = note["params"]["received"] + note["params"]["credit"]
                await ws.send(head + bytes(FRAME))
                await asyncio.sleep(0.002)
            await call(3, "audio.end", {"stream": begun["stream"]})
            while True:
                note = json.loads(await ws.recv()).get("params", {})
                if note.get("status") in ("completed", "failed", "cancelled"):
                    if note["status"] != "completed":
                        self.faults.append(f"audio: {note}")
                    return

    def instructions(self):
        """Instructions of the hub per light task, counted by callgrind."""
        out = self.directory / "callgrind.out"
        hub, port = self.start_hub("valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", name="counted")
        result = {}
        shapes = {"1 × 1": [], "50 × 8": MANY}  # the first repeats exactly, the second depends on how turns fall
        for title, words in ((f"{shape}, {key}", [*many, *flag]) for shape, many in shapes.items()
                             for key, flag in (("no key", ["--no-keys"]), ("key", []))):
            self.load("warm-up", port, "--count", 1000, *words)
            result[title] = statistics.median(self.counted(hub, port, words) for _ in range(COUNTS))
        self.stop(hub)
        return result

    def counted(self, hub, port, words):
        self.control(hub, "-z")
        report = self.load("callgrind", port, "--count", COUNTED, "--timeout", 120, *words)
        self.control(hub, "-d")
        newest = max(self.directory.glob("callgrind.out.*"), key=lambda path: path.stat().st_mtime)
        total = next(line for line in newest.read_text().splitlines() if line.startswith(("totals:", "summary:")))
        return int(total.split()[1]) / report["completed"]

    def control(self, hub, what):
        subprocess.run(["callgrind_control", what, str(hub.pid)], stdout=self.log, stderr=self.log, check=True)


ROWS = {
    "light": lambda side, seconds: side.tasks(seconds, "--no-keys"),
    "keyed": lambda side, seconds: side.tasks(seconds),
    "heavy0": lambda side, seconds: side.tasks(seconds, "--no-keys", *STEPS[0]),
    "heavy10": lambda side, seconds: side.tasks(seconds, "--no-keys", *STEPS[10]),
    "drain": Side.drain,
    "connects": Side.connects,
    "audio": Side.audio,
}


def ratios(ours, theirs, figure):
    higher = figure.endswith("/s")
    return sorted(a / b if higher else b / a for a, b in zip(ours, theirs) if a and b)


def table(rounds):
    """rounds: {(row, figure): {side: [value of each round]}}"""
    print(f"| {'row':26} | {'other':>10} | {'this':>10} | {'ratio':>6} | {'quartiles':>13} |")
    print(f"|{'-' * 28}|{'-' * 12}|{'-' * 12}|{'-' * 8}|{'-' * 15}|")
    for (row, figure), sides in rounds.items():
        all_ratios = ratios(sides["this"], sides["other"], figure)
        if not all_ratios:
            continue
        low, middle, high = (statistics.quantiles(all_ratios, n=4, method="inclusive") if len(all_ratios) > 1
                             else all_ratios * 3)
        other, this = (f"{statistics.median(sides[name]):,.1f}" for name in ("other", "this"))
        print(f"| {row + ': ' + figure:26} | {other:>10} | {this:>10} | {middle:6.3f} | {low:5.3f} – {high:5.3f} |")


def measure(sides, options, rows):
    rounds = {}
    for number in range(options.rounds):
        for row in rows:
            order = list(sides.items())
            if (number + rows.index(row)) % 2:
                order.reverse()
            for name, side in order:
                for figure, value in ROWS[row](side, options.seconds).items():
                    rounds.setdefault((row, figure), {"other": [], "this": []})[name].append(value)
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
    return rounds


def main(options):
    rows = options.only.split(",") if options.only else list(ROWS)
    unknown = [row for row in rows if row not in ROWS]
    if unknown:
        raise SystemExit(f"bench: no such row: {' '.join(unknown)}; there are: {' '.join(ROWS)}")
    if options.callgrind and not shutil.which("valgrind"):
        print("skipped: --callgrind, valgrind is not installed", file=sys.stderr)
        options.callgrind = False
    sides = {"other": Side(options.against, options.keep), "this": Side(BUILD, options.keep)}
    counted = {}
    try:
        for side in sides.values():
            side.idle = options.idle
            side.start_all()
            for words in ([], ["--no-keys"], STEPS[0], STEPS[10]):
                side.load("warm-up", side.port, *MANY, "--count", 2000, *words)
        rounds = measure(sides, options, rows)
        if options.callgrind:
            counted = {name: side.instructions() for name, side in sides.items()}
    finally:
        for side in sides.values():
            side.close()
    table(rounds)
    for title in counted.get("this", {}):
        other, this = counted["other"][title], counted["this"][title]
        print(f"instructions of the hub per light task, {title}: other {other:,.0f}, this {this:,.0f}, "
              f"ratio {other / this:.3f}")
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(
            {f"{row}: {figure}": values for (row, figure), values in rounds.items()}, indent=1))
    faults = [f"{name}: {fault}" for name, side in sides.items() for fault in side.faults]
    for fault in faults:
        print(f"FAULT {fault}")
    print("every load checked: " + (f"{len(faults)} with faults" if faults else
                                    "nothing missing, doubled, out of sequence or at the wrong user"))
    return 1 if faults else 0
