# SPDX-License-Identifier: MIT
"""Fail-overs that Sentinels decide: hubs and workers follow them."""
import asyncio
import contextlib
import itertools
import re
import signal
import uuid

import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

from client import RpcError, connect
from sentinels import MEMBERS, Group
from taskhub import SLOWDOWN

GONE = (OSError, ConnectionClosed, InvalidHandshake, InvalidMessage, asyncio.TimeoutError)
HEAVY = {"task": "noop_heavy", "args": {"steps": 1}}


def listeners(redis):
    """How many hubs and workers listen to this server."""
    return len(redis.command("CLIENT", "LIST", "TYPE", "pubsub").splitlines())


async def completes(hub, key):
    """Submits under this key until that is taken, and waits for the end. Connects again when it is told that events were
    lost: what a primary had not passed on is gone with it."""
    while True:
        with contextlib.suppress(*GONE, RpcError):
            async with connect(hub) as c:
                task = await c.call("task.submit", HEAVY | {"idempotency_key": key})
                return (await c.wait_end(task["task_id"], 30))["status"] == "completed"


@pytest.mark.limit(120)
async def test_sentinels_are_asked(stack):
    """Sentinels have a login of their own; a primary dies, the next one is replaced while it lives."""
    async with Group(stack) as group:
        url = {"redis.url": group.url()}
        hub = stack.hub(url, start=False)
        await asyncio.to_thread(hub.start)
        stack.worker(url)
        first = group.primary()
        checked = await asyncio.to_thread(hub.program, "check")
        assert re.search("^redis +ok ", checked.stdout, re.M), checked.stdout
        assert await completes(hub, "a")
        group.redis[first].kill()
        second = await group.until_other(first)
        assert await completes(hub, "b")
        await group.come_back(first, second)
        group.sentinels[0].ask("SENTINEL", "FAILOVER", "tasks")
        third = await group.until_other(second)
        await group.until(lambda: listeners(group.redis[third]) >= 2, "hub and worker subscribe there")
        assert await completes(hub, "c")
        await asyncio.to_thread(hub.wait_ready)


# ---- fail-overs under load: what was acknowledged with redis.min_replicas is there afterwards ----------------
class Load:
    """Users who submit to a hub, each task under a key of its own until that is acknowledged."""

    def __init__(self, hubs):
        self.hubs, self.acknowledged, self.unknown = hubs, {hub: [] for hub in hubs}, dict.fromkeys(hubs, 0)
        self.ended = False  # a cancel that meets the close of a connection gets lost

    async def __aenter__(self):
        self.users = [asyncio.ensure_future(self.user(hub, n)) for hub in self.hubs for n in range(3)]
        return self

    async def __aexit__(self, *_):
        self.ended = True
        for user in self.users:
            user.cancel()
        for ended in await asyncio.gather(*self.users, return_exceptions=True):
            assert ended is None or isinstance(ended, asyncio.CancelledError), ended

    async def user(self, hub, number):
        """Comes back when it is told that the data is another."""
        tasks = (HEAVY if n % 4 == 0 else {"task": "noop"} for n in itertools.count())
        todo = ((task | {"idempotency_key": f"k{n}"}) for n, task in enumerate(tasks))
        params = next(todo)
        while not self.ended:
            with contextlib.suppress(*GONE, RpcError):
                async with connect(hub, f"{hub.name}-{number}") as c:
                    while not self.ended:
                        await self.submit(hub, c, params)
                        params = next(todo)
                        await asyncio.sleep(0.01)  # pace
            await asyncio.sleep(0.05)

    async def submit(self, hub, c, params):
        while "error" in (answer := await c.request("task.submit", params, 30)):
            data = answer["error"]["data"]
            assert answer["error"]["code"] in (-32029, -32053), answer
            self.unknown[hub] += data["code"] == "unavailable"
            await asyncio.sleep(0.05)
        self.acknowledged[hub].append(answer["result"]["task_id"])


def ids_of(redis):
    """The ids of all tasks that stand there, read without a hub: of records, and of idempotency keys, which outlive those
    of light tasks."""
    records = redis.command("KEYS", "th:{0}:t:*") + redis.command("KEYS", "th:{0}:tl:*")
    keys = redis.command("KEYS", "th:{0}:k") + redis.command("KEYS", "th:{0}:k:*")
    found = {task for key in records for task in redis.command("HKEYS", key)}
    for key in keys:
        values = [value.encode(errors="surrogateescape") for value in redis.command("HVALS", key)]
        found.update(str(uuid.UUID(bytes=value[:16])) for value in values if len(value) >= 32)
    return found


async def kill(group, load, primary):
    group.redis[primary].kill()
    await group.come_back(primary, await group.until_other(primary))


async def stop(group, load, primary):
    """It hangs, and goes on as the primary that it was, until a Sentinel tells it otherwise."""
    group.redis[primary].signal(signal.SIGSTOP)
    await group.until_other(primary)
    group.redis[primary].signal(signal.SIGCONT)
    await group.until_whole()


async def cut(group, load, primary):
    """Replicas and Sentinels lose sight of it, and of the first hub, which goes on with it."""
    group.redis[primary].front.cut = MEMBERS
    for front in group.hub_fronts:
        front.cut = "all"
    hub = load.hubs[0]
    before = load.unknown[hub]
    await group.until_other(primary)
    await group.until(lambda: load.unknown[hub] > before + 3, "submissions whose outcome is unknown")
    group.redis[primary].front.cut = None
    for front in group.hub_fronts:
        front.cut = None
    await group.until_whole()


async def accepts(load):
    """Each hub acknowledges again."""
    before = {hub: len(acknowledged) for hub, acknowledged in load.acknowledged.items()}
    async with asyncio.timeout(30 * SLOWDOWN):
        while any(len(load.acknowledged[hub]) < count + 5 for hub, count in before.items()):
            assert not any(user.done() for user in load.users), load.users
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("rounds", [1, pytest.param(7, marks=pytest.mark.long)])
@pytest.mark.limit(900)
async def test_nothing_acknowledged_is_lost(stack, rounds):
    async with Group(stack, min_replicas=2) as group:
        group.hub_fronts = [await group.front(sentinel.port) for sentinel in group.sentinels]
        common = {"redis.min_replicas": 2, "lease.ms": 2000, "limits.user_tasks": 40, "limits.global_tasks": 400}
        urls = [group.url([front.port for front in group.hub_fronts]), group.url()]
        hubs = [stack.hub(common | {"redis.url": url}, start=False) for url in urls]
        for hub in hubs:
            await asyncio.to_thread(hub.start)
        worker = stack.worker(common | {"redis.url": group.url()})
        async with Load(hubs) as load:
            for fault in [kill, stop, cut] * rounds:
                await accepts(load)
                await fault(group, load, group.primary())
            await accepts(load)
        redis = group.redis[group.primary()]
        acknowledged = [task for tasks in load.acknowledged.values() for task in tasks]
        lost = set(acknowledged) - ids_of(redis)
        print(f"{len(acknowledged)} acknowledged, {len(lost)} lost, unknown {load.unknown.values()}")
        assert not lost and len(set(acknowledged)) == len(acknowledged)
        await group.until(lambda: redis.command("HGET", "th:{0}:g", "act") in (None, "0"), "the end of all tasks")
        await asyncio.to_thread(hubs[0].program, "check", "--audit")
        for process in [*hubs, worker]:  # while they reach Redis
            await asyncio.to_thread(process.stop)
