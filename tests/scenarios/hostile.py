# SPDX-License-Identifier: MIT
"""One user at the full rate that he is allowed, from 32 sockets, beside 20 others who work as usual: what the others
notice. For tests/bench/abuse.py, and in short for test_abuse.py. The attack runs in a process of its own
(python3 hostile.py PORT KIND SECONDS), so that it shares no interpreter with those who are measured."""
import asyncio
import contextlib
import json
import pathlib
import subprocess
import sys
import time
import types

from websockets.exceptions import ConnectionClosed

from client import connect

SOCKETS, PER_SOCKET_S = 32, 1800  # 90 % of limits.messages_per_s
USERS, STREAMS, PACE_S = 20, 2, 0.05
PCM = {"encoding": "pcm_s16le", "sample_rate": 16000, "channels": 1}


def resident(process):
    """Bytes of memory that a process has."""
    for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


# ---- the attack ------------------------------------------------------------------------------------------
def calls(method, params, count):
    """A batch, or one request where count is 1, and how many messages it counts as."""
    items = [{"jsonrpc": "2.0", "id": n, "method": method, "params": params} for n in range(count)]
    return json.dumps(items if count > 1 else items[0]), count


ATTACKS = {
    "task.get in batches": lambda task: calls("task.get", {"task_id": task}, 64),
    "task.list in batches": lambda task: calls("task.list", {"limit": 200}, 8),
    "lists that find nothing": lambda task: calls("task.list", {"limit": 200, "task": "none"}, 1),
    "light tasks": lambda task: calls("task.submit", {"task": "noop"}, 1),
    "light tasks in batches": lambda task: calls("task.submit", {"task": "noop"}, 32),
    "pings": lambda task: calls("ping", {}, 1),
}


async def one_socket(hub, text, weight, until):
    with contextlib.suppress(ConnectionClosed, OSError):
        async with connect(hub, "mallory") as c:
            c._take = lambda part: None  # answers are read and thrown away
            while time.monotonic() < until:
                began = time.monotonic()
                await c.ws.send(text)
                await asyncio.sleep(max(0, weight / PER_SOCKET_S - (time.monotonic() - began)))


async def attack(port, kind, seconds):
    hub = types.SimpleNamespace(url=f"ws://127.0.0.1:{port}/ws", port=port)
    async with connect(hub, "mallory") as c:
        for _ in range(4):
            for task in await asyncio.gather(*[c.submit("noop") for _ in range(50)]):
                await c.wait_end(task)
        text, weight = ATTACKS[kind](task)
    print("begun", flush=True)
    until = time.monotonic() + seconds
    await asyncio.gather(*[one_socket(hub, text, weight, until) for _ in range(SOCKETS)])


# ---- those who are measured ------------------------------------------------------------------------------
class Others:
    """20 users: each sends 20 light tasks/s and has one heavy task after another; two stream live."""

    def __init__(self, hub):
        self.hub = hub
        self.took = []
        self.refused = []
        self.over = False  # asked by the loops, as wait_for() may swallow a cancel

    async def light(self, c):
        while not self.over:
            began = time.monotonic()
            answer = await c.request("task.submit", {"task": "noop"}, seconds=60)
            if "error" in answer:
                self.refused.append(answer["error"])
            else:
                await c.wait_end(answer["result"]["task_id"], seconds=60)
            self.took.append(time.monotonic() - began)
            await asyncio.sleep(max(0, PACE_S - (time.monotonic() - began)))

    async def heavy(self, c):
        while not self.over:
            answer = await c.request("task.submit", {"task": "noop_heavy", "args": {"steps": 2, "sleep_ms": 100}},
                                     seconds=60)
            if "error" in answer:
                self.refused.append(answer["error"])
                await asyncio.sleep(1)
            else:
                await c.wait_end(answer["result"]["task_id"], seconds=60)

    async def stream(self, c):
        start = await c.call("audio.start", {"task": "noop_stream", "format": PCM}, seconds=60)
        await c.audio_send(start["stream"], bytes(32000 * 3600), start["credit"], pace_s=0.1)

    @contextlib.asynccontextmanager
    async def working(self):
        async with contextlib.AsyncExitStack() as stack:
            users = [await stack.enter_async_context(connect(self.hub, f"user{n}")) for n in range(USERS)]
            tasks = [asyncio.ensure_future(work(c)) for c in users for work in (self.light, self.heavy)]
            tasks += [asyncio.ensure_future(self.stream(c)) for c in users[:STREAMS]]
            try:
                yield
                for task in tasks:
                    if task.done() and not self.over:
                        task.result()  # nobody ends before the time: it has failed
            finally:
                self.over = True
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks, timeout=5)

    async def measure(self, seconds):
        """p50 and p99 of light tasks in ms, how many ended, and the largest memory of the hub in MiB."""
        self.took, largest = [], 0
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            await asyncio.sleep(0.2)
            largest = max(largest, resident(self.hub))
        took = sorted(self.took)
        return {"p50 ms": took[len(took) // 2] * 1e3, "p99 ms": took[len(took) * 99 // 100] * 1e3,
                "tasks": len(took), "hub MiB": largest / (1 << 20)}


@contextlib.contextmanager
def attacking(hub, kind, seconds):
    """The attack has begun, and ends with the block or after so many seconds."""
    words = [sys.executable, "-B", __file__, str(hub.port), kind, str(seconds)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "begun\n"
        yield
    finally:
        process.kill()
        process.communicate()


if __name__ == "__main__":
    asyncio.run(attack(int(sys.argv[1]), sys.argv[2], float(sys.argv[3])))
