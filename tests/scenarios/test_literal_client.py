# SPDX-License-Identifier: MIT
"""A client that knows docs/protocol.md and nothing else loses no event, wherever its connection is cut. Sessions that hold
every type of event, a batch, a gap, notifications and a stream go through a proxy that ends the first connection of each
after so many bytes, to the hub or from it, while two hubs are restarted three times."""
import asyncio
import contextlib
import itertools

import pytest

from literal_client import LiteralClient
from taskhub import SLOWDOWN, token

LOGGED = {"accepted", "started", "retrying", "log", "completed", "failed", "cancelled", "partial", "notification"}
SOUND = bytes(range(90))
TO_HUB, FROM_HUB = range(2)


class Cutter:
    """A TCP proxy whose next connection ends after so many bytes one way; it leads to the hubs in turn."""

    def __init__(self, hubs):
        self.hubs, self.cut = itertools.cycle(hubs), None

    async def __aenter__(self):
        self.server = await asyncio.start_server(self._pass, "127.0.0.1")
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self.server.close()

    async def _pass(self, reader, writer):
        (way, most), self.cut = self.cut or (TO_HUB, None), None
        with contextlib.suppress(OSError), contextlib.closing(writer):
            hub_reader, hub_writer = await asyncio.open_connection("127.0.0.1", next(self.hubs).port)
            with contextlib.closing(hub_writer):
                pumps = [asyncio.create_task(self._pump(*ends, most if at == way else None))
                         for at, ends in enumerate(((reader, hub_writer), (hub_reader, writer)))]
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                for pump in pumps:
                    pump.cancel()

    @staticmethod
    async def _pump(reader, writer, most):
        with contextlib.suppress(OSError):
            while most != 0 and (data := await reader.read(65536 if most is None else min(most, 65536))):
                writer.write(data)
                await writer.drain()
                most = None if most is None else most - len(data)


# ---- what the sessions do ----------------------------------------------------------------------------------
async def work(client, name):
    """A batch, cancelling, a stream, a request without id, notifications."""
    def submit(task, args=None, **more):
        return "task.submit", {"task": task, "args": args or {}, "idempotency_key": f"{name}-{task}", **more}
    batch = asyncio.ensure_future(client.batch(
        submit("noop_heavy", {"steps": 2}), submit("noop"), submit("misbehave", {"mode": "badtext"}),
        submit("send_notification", {"title": name, "body": "b"})))
    late = await client.call(*submit("calculate_rating", {"resource_id": name}, delay_ms=600_000))
    assert (await client.call("task.cancel", {"task_id": late["task_id"]}))["status"] == "cancelled"
    client.notify(*submit("process_text", {"text": name}))
    stream = await client.stream(SOUND, 40, task="noop_stream", idempotency_key=f"{name}-sound",
                                 format={"encoding": "pcm_s16le", "sample_rate": 16000, "channels": 1})
    unasked = await client.call(*submit("process_text", {"text": name}))  # whether it came or not
    made = [*await batch, late, unasked]
    ends = await client.ended(*[task["task_id"] for task in made], stream)
    assert ends[-1]["result"]["bytes"] == len(SOUND)
    if ends[3]["status"] == "completed":  # else a hub ended under it
        note = ends[3]["result"]["notification_id"]
        await client.until(lambda: note in client.notifications)
        await client.call("notification.read", {"ids": [note], "idempotency_key": f"{name}-read"})


async def fail_once(client):
    """What every session would wait a second for: a task that is tried again."""
    made = await client.call("task.submit", {"task": "misbehave", "args": {"mode": "exit", "attempts": 1},
                                             "idempotency_key": "once"})
    await client.ended(made["task_id"])


async def read_log(port, user, since):
    """What stands in the user's log: the client that reads it is not cut."""
    async with LiteralClient(port, token(user), since) as reader:
        await reader.until(lambda: reader.welcomes and reader.cursor >= reader.welcomes[0]["seq"])
        assert reader.welcomes[0]["resumed"] == "ok"
        return reader.given


def cuts_of(socket, stride):
    """(way, bytes) for a session that nothing cut: every `stride` bytes, and around the end of each frame."""
    for way, (size, borders) in enumerate(zip((socket.sent_bytes, socket.read_bytes), socket.borders)):
        near = {border + by for border in borders for by in (-1, 0, 1)}
        yield from ((way, at) for at in sorted(near | set(range(0, size, stride))))


# ---- the users -------------------------------------------------------------------------------------------
class Back:
    """Comes back after a while: all that was missed comes, once."""

    def __init__(self, user):
        self.user = user

    async def prepare(self, port):
        async with LiteralClient(port, token(self.user)) as client:
            await client.until(lambda: client.socket)
            self.begin = client.resume_point()
            await work(client, self.user)
            await fail_once(client)
            self.tasks = set(client.tasks)
        self.log = await read_log(port, self.user, self.begin)
        assert {event.get("type", "notification") for event in self.log.values()} == LOGGED

    async def session(self, cutter):
        async with LiteralClient(cutter.port, token(self.user), self.begin) as client:
            await client.until(lambda: client.cursor == max(self.log))
        assert client.given == self.log
        assert {welcome["resumed"] for welcome in client.welcomes} == {"ok"}
        return client

    async def check(self, port):
        pass


class Late(Back):
    """Comes back when the log no longer reaches so far: the snapshot tells of all tasks."""

    def __init__(self, user, redis):
        super().__init__(user)
        self.redis = redis

    async def prepare(self, port):
        await super().prepare(port)
        self.redis.command("LTRIM", f"th:{{0}}:e:{self.user}", -5, -1)

    async def session(self, cutter):
        async with LiteralClient(cutter.port, token(self.user), self.begin) as client:
            await client.until(lambda: client.welcomes)
        assert client.welcomes[0]["resumed"] == "gap" and client.cursor == max(self.log)
        assert set(client.tasks) == self.tasks
        return client


class Busy(Back):
    """Stays one client through all of its sessions, and works in them."""

    async def prepare(self, port):
        self.client, self.begin, self.count = LiteralClient(port, token(self.user)), None, 0

    async def session(self, cutter):
        self.client.port = cutter.port
        async with self.client as client:
            await client.until(lambda: client.socket)
            self.begin = self.begin or client.resume_point()
            self.count += 1
            await work(client, f"{self.user}-{self.count}")
        return client

    async def check(self, port):
        """All of the log came, but for what an answer stood for."""
        log, client = await read_log(port, self.user, self.begin), self.client
        for seq, event in log.items():
            answered = event.get("type") == "accepted" and client.told.get(seq) == event["task_id"]
            assert answered or client.given.get(seq) == event, event
        assert set(client.given) <= set(log)
        self.begin = client.resume_point()
        for known in (client.given, client.told, client.tasks, client.notifications, client.sockets):
            known.clear()


# ---- the test ----------------------------------------------------------------------------------------------
CHECKED = 50  # sessions of a user, before his log forgets their beginning


class Run:
    """Sessions of several users at a time; the hubs are restarted after each quarter of them."""

    def __init__(self, hubs):
        self.hubs, self.done, self.total = hubs, 0, 0

    async def serve(self, user, cuts):
        async with Cutter(self.hubs) as cutter:
            for number, cut in enumerate(cuts, 1):
                cutter.cut = cut
                try:
                    await asyncio.wait_for(user.session(cutter), 30 * SLOWDOWN)
                except Exception as error:
                    raise AssertionError(f"{user.user}: cut {cut[1]} bytes {('to', 'from')[cut[0]]} the hub") from error
                self.done += 1
                if number % CHECKED == 0:
                    await user.check(cutter.port)
            await user.check(cutter.port)

    async def restart(self):
        for number in range(3):
            while self.done < self.total * (number + 1) / 4:
                await asyncio.sleep(0.01)
            hub = self.hubs[number % len(self.hubs)]
            await asyncio.to_thread(hub.kill if number == 1 else hub.stop)
            await asyncio.to_thread(hub.start)

    async def all(self, users, stride):
        plans = []
        async with Cutter(self.hubs) as uncut:
            for alike in users:
                await asyncio.gather(*[user.prepare(uncut.port) for user in alike])
                cuts = list(cuts_of((await alike[0].session(uncut)).sockets[-1], stride))
                plans += [(user, cuts[at::len(alike)]) for at, user in enumerate(alike)]
        self.total = sum(len(cuts) for _, cuts in plans)
        async with asyncio.TaskGroup() as group:
            group.create_task(self.restart())
            for user, cuts in plans:
                group.create_task(self.serve(user, cuts))


@pytest.mark.parametrize("stride", [pytest.param(101, marks=pytest.mark.limit(120)),
                                    pytest.param(1, marks=[pytest.mark.long, pytest.mark.limit(1800)])])
async def test_no_cut_loses_anything(stack, stride):
    hubs = [stack.hub({"limits.global_tasks": 1000}) for _ in range(2)]
    stack.worker({"slots.default": 4, "slots.live": 4})
    late = Late("late", stack.redis)
    run = Run(hubs)
    await run.all([[Back("back")], [late], [Busy(f"busy{n}") for n in range(6)]], stride)
    assert run.done == run.total
    hubs[0].program("check", "--audit", "--repair", check=False)  # a log was cut without its owner's bytes being told
    stack.audit()
