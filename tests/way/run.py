#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The way of data, counted: which files and folders a task or a frame of sound goes through, and how often its
payload is copied. TAP on stdout; needs build-way/, which `./run test way` makes; --list prints the hops.

Programs built with -finstrument-functions run with way.c preloaded. The client masks its frames with zeros, so that
a mark in the payload is seen from the first read on. Of several runs the one with the fewest notes counts: no
timer fell into it. docs/architecture.md lists the files of each way, and must agree; --document writes them there.
"""
import json
import os
import pathlib
import re
import secrets
import struct
import subprocess
import sys
import tempfile

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = TOP / "build-way"
PAGE = TOP / "docs/architecture.md"
UTILITIES = ("hub/base", "hub/config", "hub/json", "")  # calls into these are no change of folder
RUNS = 12
os.environ["TASKHUB_BUILD"] = str(BUILD)
sys.path.insert(0, str(TOP / "tests/scenarios"))
from raw_ws import BINARY, TEXT, Raw, upgrade  # noqa: E402 (needs the path above)
from taskhub import Stack, token  # noqa: E402

# What each way may cost now: files and folders (changes, and how often one folder is entered) beside the utilities, and
# copies of the payload. A call into one other folder that comes back at once is a use, and no change.
BOUNDS = {
    "light": {"files": 20, "changes": 14, "visits": 2},
    "light, text": {"copies": 1},
    "heavy": {"copies": 1},
    "heavy, worker": {"copies": 2},
    "audio": {"files": 11, "copies": 1},
}


class Client(Raw):
    """One authenticated connection whose frames are masked with zeros."""

    def __init__(self, port, user="alice"):
        super().__init__(port)
        self.send(upgrade())
        assert self.head()[0] == 101
        self.number = 0
        self.call("auth", {"token": token(user)})

    def send_frame(self, opcode, payload):
        n = len(payload)
        size = bytes([0x80 | n]) if n < 126 else b"\xfe" + struct.pack(">H", n)
        self.send(bytes([0x80 | opcode]) + size + bytes(4) + payload)

    def call(self, method, params):
        self.number += 1
        request = {"jsonrpc": "2.0", "id": self.number, "method": method, "params": params}
        self.send_frame(TEXT, json.dumps(request).encode())
        answer = self.until(lambda message: message.get("id") == self.number)
        assert "result" in answer, answer
        return answer["result"]

    def until(self, condition):
        while True:
            message = json.loads(self.text())
            if condition(message):
                return message

    def ended(self, task):
        """The end of a task, which may have come before the answer to its submission."""
        return self.until(lambda m: m.get("method") == "task.event" and m["params"]["task_id"] == task
                          and m["params"]["status"] in ("completed", "failed", "cancelled"))["params"]


def submit(client, name, mark, **more):
    words = " ".join(f"word{number}" for number in range(60))  # so many that the mark is no keyword
    args = {"text": " ".join([*[words] * 12, mark, *[words] * 12])} if name == "process_text" else {}
    client.number += 1
    client.send_frame(TEXT, json.dumps({
        "jsonrpc": "2.0", "id": client.number, "method": "task.submit",
        "params": {"task": name, "args": args, **more}}).encode())
    event = client.until(lambda m: m.get("method") == "task.event" and m["params"]["status"] in ("completed", "failed"))
    assert event["params"]["status"] == "completed", event


def light(stack, mark):
    client = Client(stack.hub({"light.fuse_us": 1_000_000}).port)  # the fast path, however slow the machine is
    for number in range(RUNS):
        submit(client, "noop", mark, idempotency_key=f"{mark}-{number}")


def light_text(stack, mark):
    client = Client(stack.hub({"light.fuse_us": 1_000_000}).port)  # the fast path, however slow the machine is
    for number in range(RUNS):
        submit(client, "process_text", mark, idempotency_key=f"key-{number}")


def heavy(stack, mark):
    hub = stack.hub({"routes.process_text": "queue"})
    stack.worker({"routes.process_text": "queue", "slots.default": 1})
    client = Client(hub.port)
    for number in range(RUNS):
        submit(client, "process_text", mark, idempotency_key=f"key-{number}")


def audio(stack, mark):
    hub = stack.hub()
    stack.worker()
    client = Client(hub.port)
    begun = client.call("audio.start", {"task": "noop_stream", "args": {}, "format": {
        "encoding": "pcm_s16le", "sample_rate": 16000, "channels": 1}})
    frame = struct.pack(">I", begun["stream"]) + mark.encode().ljust(6400, b"\0")
    for _ in range(RUNS):
        client.send_frame(BINARY, frame)
        client.until(lambda m: m.get("method") == "audio.ack")
    client.call("audio.end", {"stream": begun["stream"]})
    client.ended(begun["task_id"])


# name: what runs, and the text whose writing ends the way in the hub and in the worker
WAYS = {"light": (light, '"status":"completed"'), "light, text": (light_text, '"status":"completed"'),
        "heavy": (heavy, "reading_time_s"), "audio": (audio, "audio.ack")}


class Call:
    """One entered function and what it entered."""

    def __init__(self, place):
        self.place, self.calls = place, []

    def walk(self):
        yield self
        for call in self.calls:
            yield from call.walk()

    def places(self):
        return [call.place for call in self.walk()]


class Trace:
    """One stretch that way.c noted in one process."""

    def __init__(self, path):
        self.program, self.pid = path.name.split(".")[0], int(path.name.split(".")[1])
        self.notes = [line.split() for line in path.read_text().splitlines()]

    def names(self):
        """Reads from the debugging information where each place is: (file, function)."""
        offsets = sorted({place for _, _, place, _ in self.notes if place.startswith("+")})
        out = subprocess.run(["addr2line", "-f", "-e", str(BUILD / self.program), *(o[1:] for o in offsets)],
                             capture_output=True, text=True, check=True).stdout.splitlines()
        found = {}
        for offset, function, line in zip(offsets, out[::2], out[1::2]):
            path = os.path.relpath(os.path.normpath(BUILD / line.split(":")[0]), TOP)
            found[offset] = path, function
        return found

    def resolve(self):
        """Makes the calls, in order of time, of the notes."""
        names = self.names()
        self.tops, self.moves, stacks = [], [], {}  # moves: those of the main thread; a task may do what it likes
        for kind, thread, place, size in self.notes:
            stack = stacks.setdefault(thread, [])
            if kind == "E":
                call = Call(names[place])
                (stack[-1].calls if stack else self.tops).append(call)
                stack.append(call)
            elif kind == "X":
                if stack:
                    stack.pop()
            elif int(thread) == self.pid:
                self.moves.append((kind, " ".join(names.get(place, (place,))), int(size)))
        return self

    def hooks(self):
        """What the loop calls at the end of each turn."""
        for top in self.tops:
            for call in top.walk():
                if call.place[1] == "loop_flush":
                    yield from ((call, hook) for hook in call.calls)

    def hops(self):
        return [call.place for top in self.tops for call in top.walk()]

    def files(self):
        """The files in the order of first entry, without the utilities; a header belongs to the file beside it, and
        x_private.h to x.c."""
        found = []
        for path, _ in self.hops():
            source = re.sub(r"(_private)?\.h$", ".c", path)
            found.append(source if (TOP / source).exists() else path)
        return [path for path in dict.fromkeys(found) if ours(path)]

    def figures(self):
        hops = runs(visits(self.tops))
        return {"files": len(self.files()), "functions": len(set(self.hops())), "changes": len(hops) - 1,
                "visits": max(map(hops.count, hops), default=0),
                "copies": sum(kind == "C" for kind, _, _ in self.moves)}


def folder(path):
    return "" if path.startswith("../") else path.rpartition("/")[0]  # what lies outside is a library's header


def ours(path):
    """Whether a file counts: no utility, and no header of the system with functions in it."""
    return folder(path) not in UTILITIES and not path.startswith("..")


def runs(paths):
    """The folders in order, each run once, without the utilities."""
    found = []
    for path in paths:
        if ours(path) and (not found or found[-1] != folder(path)):
            found.append(folder(path))
    return found


def visits(calls, above=None):
    """The entries without calls that enter one other folder and come back: those are uses, not hops."""
    for call in calls:
        own = folder(call.place[0])
        below = {folder(path) for path, _ in call.places() if ours(path)}
        if above is not None and own != above and len(below) == 1:
            continue
        yield call.place[0]
        yield from visits(call.calls, own if own not in UTILITIES else above)


def drop_idle_hooks(found):
    """Takes out the hooks of turns that had nothing to do: the shortest way through each hook."""
    shortest = {}
    for trace in found:
        for _, hook in trace.hooks():
            shortest.setdefault(hook.place, []).append(hook.places())
    shortest = {place: min(seen, key=len) for place, seen in shortest.items()}
    for trace in found:
        for call, hook in list(trace.hooks()):
            if hook.places() == shortest[hook.place]:
                call.calls.remove(hook)


def traces(name):
    """The shortest trace of each process of a way: {"hub": Trace, "worker": Trace, "slot": Trace}."""
    run, end = WAYS[name]
    mark = secrets.token_hex(8)
    with tempfile.TemporaryDirectory(prefix="th-way-") as out:
        os.environ.update(LD_PRELOAD=str(BUILD / "tests/way/libway.so"), WAY_MARK=mark, WAY_END=end, WAY_OUT=out)
        stack = Stack()
        try:
            run(stack, mark)
            worker = next((p.pid for p in stack.started if p.name.startswith("worker")), None)
        finally:
            del os.environ["LD_PRELOAD"]
            stack.close()
        found = {}
        for path in sorted(pathlib.Path(out).iterdir()):
            trace = Trace(path)
            if trace.program.startswith("taskhub"):
                role = "hub" if trace.program == "taskhub" else "worker" if trace.pid == worker else "slot"
                found.setdefault(role, []).append(trace.resolve())
    for role in found:
        drop_idle_hooks(found[role])
    return {role: min(all_traces, key=lambda trace: len(trace.hops())) for role, all_traces in found.items()}


class Tap:
    def __init__(self):
        self.count, self.failed = 0, 0

    def ok(self, condition, what):
        self.count += 1
        self.failed += not condition
        print(f"{'ok' if condition else 'not ok'} {self.count} - {what}", flush=True)


def judge(tap, title, trace):
    figures = trace.figures()
    print(f"# {title}: " + ", ".join(f"{name} {value}" for name, value in figures.items()))
    for figure, bound in BOUNDS.get(title, {}).items():
        if bound is not None:
            tap.ok(figures[figure] <= bound, f"{title}: {figure} {figures[figure]}, at most {bound}")


def listed(title):
    """What docs/architecture.md lists for a way: a match whose second group is the block; None when it has none."""
    return re.search(rf"(^\*\*{re.escape(title)}\*\*.*?\n```\n)(.*?)(^```$)", PAGE.read_text(), flags=re.M | re.S)


def block(trace):
    """One line per folder, in the order of first entry."""
    folders = {}
    for path in trace.files():
        folders.setdefault(folder(path), []).append(path.rpartition("/")[2])
    return "".join(f"{name:22} {' '.join(names)}\n" for name, names in folders.items())


def compare(tap, title, trace):
    """The page lists the same files, in whatever order."""
    match = listed(title)
    if match is None:
        return
    want, found = ({(line.split()[0], name) for line in text.splitlines() for name in line.split()[1:]}
                   for text in (match.group(2), block(trace)))
    for what, names in (("entered, not listed", found - want), ("listed, not entered", want - found)):
        for name in sorted(names):
            print(f"#   {what}: {'/'.join(name)}")
    tap.ok(found == want, f"docs/architecture.md lists the files of the way: {title}")


def write_block(title, trace):
    match = listed(title)
    if match:
        text = PAGE.read_text()
        PAGE.write_text(text[:match.start(2)] + block(trace) + text[match.end(2):])


def main():
    show, document = "--list" in sys.argv, "--document" in sys.argv
    tap = Tap()
    for name in [word for word in sys.argv[1:] if word in WAYS] or WAYS:
        for role, trace in sorted(traces(name).items()):
            title = name if role == "hub" else f"{name}, {role}"
            judge(tap, title, trace)
            if document:
                write_block(title, trace)
            compare(tap, title, trace)
            if show:
                print("\n".join(f"#   {path}: {function}" for path, function in trace.hops()))
                print("# folders:", " > ".join(runs(visits(trace.tops))))
                print(block(trace))
                print("\n".join(f"#   {kind} {place} {size}" for kind, place, size in trace.moves))
    print(f"1..{tap.count}")
    return 1 if tap.failed else 0


if __name__ == "__main__":
    sys.exit(main())
