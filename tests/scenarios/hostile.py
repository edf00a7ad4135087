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

from websockets.exceptions import ConnectionClosed, InvalidHandshake

from client import connect
from taskhub import token as make_token

SOCKETS, PER_SOCKET_S = 32, 1800  # 90 % of limits.messages_per_s
USERS, STREAMS, PACE_S = 20, 2, 0.05
SILENT_PER_S = 120
PCM = {"encoding": "pcm_s16le", "sample_rate": 16000, "channels": 1}


def resident(process):
    """Bytes of memory that a process has."""
    for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


# ---- the attacks: each is a coroutine per socket, of one user or of several ------------------------------
def calls(method, params, count=1):
    """Sends a batch, or one request where count is 1, again and again; answers are read and thrown away."""
    async def attack(hub, user, task, until):
        items = [{"jsonrpc": "2.0", "id": n, "method": method, "params": dict(params, **(
            {"task_id": task} if method == "task.get" else {}))} for n in range(count)]
        text = json.dumps(items if count > 1 else items[0])
        async with connect(hub, user) as c:
            c._take = lambda part: None
            while time.monotonic() < until:
                began = time.monotonic()
                await c.ws.send(text)
                await asyncio.sleep(max(0, count / PER_SOCKET_S - (time.monotonic() - began)))
    return attack


def resumes(resume):
    """Connects again and again, to go on from where it never was."""
    async def attack(hub, user, task, until):
        pass_ = make_token(user)
        while time.monotonic() < until:
            async with connect(hub, user, auth=False) as c:
                answer = await c.request("auth", {"token": pass_}, seconds=60)
                seq, epoch = answer["result"]["seq"], answer["result"]["epoch"]
            async with connect(hub, user, auth=False) as c:
                await c.request("auth", {"token": pass_, "resume": resume(epoch, seq)}, seconds=60)
    return attack


async def cancels(hub, user, task, until):
    async with connect(hub, user) as c:
        while time.monotonic() < until:
            answer = await c.request("task.submit", {"task": "noop_heavy", "args": {"steps": 1, "sleep_ms": 2000}},
                                     seconds=60)
            if "result" in answer:
                await c.request("task.cancel", {"task_id": answer["result"]["task_id"]}, seconds=60)


def streams(feed):
    """Streams that feed(c, start) does something to, one after another."""
    async def attack(hub, user, task, until):
        async with connect(hub, user) as c:
            while time.monotonic() < until:
                answer = await c.request("audio.start", {"task": "noop_stream", "format": PCM}, seconds=60)
                if "error" in answer:
                    await asyncio.sleep(0.1)
                else:
                    await feed(c, answer["result"])
    return attack


async def feed_slowly(c, start):
    """Two bytes every tenth of a second; given up for another one after a while."""
    for _ in range(20):
        await c.audio_frame(start["stream"], bytes(2))
        await asyncio.sleep(0.1)
    await c.request("audio.abort", {"stream": start["stream"]}, seconds=60)


async def feed_and_cancel(c, start):
    for _ in range(start["credit"] // 32000):
        await c.audio_frame(start["stream"], bytes(32000))
    await c.request("task.cancel", {"task_id": start["task_id"]}, seconds=60)


HEAVY = {"task": "noop_heavy", "args": {"steps": 1, "sleep_ms": 2000}}
NOTE = {"task": "send_notification", "args": {"title": "t" * 200, "body": "b" * 4000}}
ATTACKS = {
    "task.get in batches": calls("task.get", {}, 64),
    "task.list in batches": calls("task.list", {"limit": 200}, 8),
    "lists that find nothing": calls("task.list", {"limit": 200, "task": "none"}),
    "light tasks": calls("task.submit", {"task": "noop"}),
    "light tasks in batches": calls("task.submit", {"task": "noop"}, 32),
    "heavy tasks": calls("task.submit", HEAVY),
    "delayed tasks": calls("task.submit", dict(HEAVY, delay_ms=2000)),
    "notifications": calls("task.submit", NOTE),
    "lists of notifications": calls("notification.list", {}, 8),
    "pings": calls("ping", {}),
    "cancels": cancels,
    "snapshots": resumes(lambda epoch, seq: {"epoch": "none", "seq": 1}),
    "forged resumes": resumes(lambda epoch, seq: {"epoch": epoch, "seq": 0 if seq % 2 else seq + 1000}),
    "slow streams": streams(feed_slowly),
    "cancelled streams": streams(feed_and_cancel),
}


async def one_socket(kind, hub, user, task, until):
    while time.monotonic() < until:
        with contextlib.suppress(ConnectionClosed, ConnectionError, OSError, asyncio.TimeoutError, InvalidHandshake):
            await ATTACKS[kind](hub, user, task, until)


async def attack(port, kind, seconds, accounts):
    hub = types.SimpleNamespace(url=f"ws://127.0.0.1:{port}/ws", port=port)
    users, newest = [f"mallory{n}" for n in range(accounts)], {}
    for user in users:
        async with connect(hub, user) as c:
            for _ in range(4):
                for task in await asyncio.gather(*[c.submit("noop") for _ in range(50)]):
                    await c.wait_end(task)
            newest[user] = task
    print("begun", flush=True)
    until = time.monotonic() + seconds
    await asyncio.gather(*[one_socket(kind, hub, user, newest[user], until)
                           for n in range(SOCKETS) for user in [users[n % accounts]]])


async def silence(port, seconds):
    """Connects so often a second, says nothing, and holds on for as long as it is let."""
    held, until = [], time.monotonic() + seconds
    print("begun", flush=True)
    while time.monotonic() < until:
        began = time.monotonic()
        with contextlib.suppress(OSError):
            held.append((await asyncio.open_connection("127.0.0.1", port))[1])
        await asyncio.sleep(max(0, 1 / SILENT_PER_S - (time.monotonic() - began)))


# ---- those who are measured ------------------------------------------------------------------------------
class Others:
    """20 users: each sends 20 light tasks/s and has one heavy task after another; two stream live."""

    def __init__(self, hub):
        self.hub = hub
        self.took, self.heavy_took = [], []  # seconds
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
            began = time.monotonic()
            answer = await c.request("task.submit", {"task": "noop_heavy", "args": {"steps": 2, "sleep_ms": 100}},
                                     seconds=60)
            if "error" in answer:
                self.refused.append(answer["error"])
                await asyncio.sleep(1)
            else:
                await c.wait_end(answer["result"]["task_id"], seconds=60)
                self.heavy_took.append(time.monotonic() - began)

    async def stream(self, c):
        start = await c.call("audio.start", {"task": "noop_stream", "format": PCM}, seconds=60)
        await c.audio_send(start["stream"], bytes(32000 * 3600), start["credit"], pace_s=0.1)

    @contextlib.asynccontextmanager
    async def working(self):
        async with contextlib.AsyncExitStack() as stack:
            users = [await stack.enter_async_context(connect(self.hub, f"user{n}")) for n in range(USERS + STREAMS)]
            tasks = [asyncio.ensure_future(work(c)) for c in users[STREAMS:] for work in (self.light, self.heavy)]
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
        """Percentiles of light tasks and the median of heavy ones in ms, how many ended, and the largest memory of the
        hub in MiB."""
        self.took, self.heavy_took, largest = [], [], 0
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            await asyncio.sleep(0.2)
            largest = max(largest, resident(self.hub))
        took, heavy = sorted(self.took) or [float("inf")], sorted(self.heavy_took) or [float("inf")]
        return {"p50 ms": took[len(took) // 2] * 1e3, "p99 ms": took[len(took) * 99 // 100] * 1e3,
                "heavy p50 ms": heavy[len(heavy) // 2] * 1e3,
                "tasks": len(self.took), "heavy tasks": len(self.heavy_took), "hub MiB": largest / (1 << 20)}


@contextlib.contextmanager
def attacking(hub, kind, seconds, accounts=1):
    """The attack has begun, and ends with the block or after so many seconds. kind: of ATTACKS, or "silence"."""
    words = [sys.executable, "-B", __file__, str(hub.port), kind, str(seconds), str(accounts)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "begun\n"
        yield
    finally:
        process.kill()
        process.communicate()


if __name__ == "__main__":
    port, kind, seconds, accounts = int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
    asyncio.run(silence(port, seconds) if kind == "silence" else attack(port, kind, seconds, accounts))
