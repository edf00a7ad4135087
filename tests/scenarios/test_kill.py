# SPDX-License-Identifier: MIT
"""kill -9 of any hub, worker or Redis at any moment loses nothing that was accepted: every task reaches
exactly one terminal state, with exactly one terminal event in its owner's log, and the auditor finds the
queue in order."""
import asyncio
import random

import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

from client import TERMINAL, RpcError, connect
from taskhub import SLOWDOWN

GONE = (OSError, ConnectionClosed, InvalidHandshake, InvalidMessage, asyncio.TimeoutError)
FAST = {"lease.ms": 2000, "limits.user_tasks": 40, "limits.global_tasks": 200}


class Load:
    """Users who submit until stop(), through every outage; remembers what was accepted."""

    def __init__(self, hubs, users=4):
        self.hubs, self.accepted, self.stopping = hubs, {}, False
        self.users = [f"user{n}" for n in range(users)]
        self.points = {}  # user -> where its log stood at the beginning

    async def user(self, name, chance):
        while not self.stopping:
            try:
                async with connect(chance.choice(self.hubs), name) as c:
                    self.points.setdefault(name, {"epoch": c.session["epoch"], "seq": c.session["seq"]})
                    while not self.stopping:
                        await self.submit(c, chance)
            except GONE:
                pass
            except RpcError as error:  # of auth
                assert error.code == -32053, error
            await asyncio.sleep(0.02)  # pace of reconnects

    async def submit(self, c, chance):
        heavy = chance.random() < 0.5
        params = {"task": "noop_heavy", "args": {"steps": chance.randrange(5), "sleep_ms": 5}} if heavy else \
            {"task": "noop"}
        try:
            task = (await c.call("task.submit", params, 5))["task_id"]
        except RpcError as error:
            assert error.code in (-32029, -32053), error
            await asyncio.sleep(0.02)  # the limit of the user, or Redis is away
            return
        self.accepted.setdefault(c.user, []).append(task)

    async def run(self, faults, seed):
        chance = random.Random(seed)
        users = [asyncio.ensure_future(self.user(name, random.Random(f"{seed} {name}"))) for name in self.users]
        try:
            for fault in faults:
                await asyncio.sleep(0.3 + chance.random() * 0.4)  # load between the faults
                await asyncio.get_running_loop().run_in_executor(None, fault)
            await asyncio.sleep(0.3)
        finally:
            self.stopping = True
            await asyncio.wait_for(asyncio.gather(*users), 60 * SLOWDOWN)

    async def verify(self, hub):
        """Every accepted task ends, once, in its owner's log."""
        assert sum(map(len, self.accepted.values())) > 50, "there was hardly any load"
        for name, tasks in self.accepted.items():
            async with connect(hub, name, resume=self.points[name]) as c:
                assert c.session["resumed"] == "ok"
                for task in tasks:
                    await c.wait_end(task, 60)
                assert await self.settled(c)
                c.check()
                ends = [event["task_id"] for event in c.events if event["type"] in TERMINAL]
                assert len(ends) == len(set(ends)), "a task ended twice"
                assert set(tasks) <= set(ends)
                kinds = {event["status"] for event in c.events if event["type"] in TERMINAL}
                assert kinds <= {"completed", "failed"}

    async def settled(self, c):
        """No task of this user is left unfinished."""
        for _ in range(600):
            lists = [await c.call("task.list", {"status": status}) for status in ("pending", "processing")]
            if not any(found["tasks"] for found in lists):
                return True
            await asyncio.sleep(0.1)
        return False


@pytest.mark.main
@pytest.mark.limit(180)
async def test_worker_is_killed(stack):
    hub = stack.hub(FAST)
    workers = [stack.worker(FAST), stack.worker(FAST)]
    load = Load([hub])

    def fault(number):
        def kill():
            workers[number % 2].kill()
            workers[number % 2].start()
        return kill
    await load.run([fault(n) for n in range(6)], seed=1)
    await load.verify(hub)
    stack.audit()


@pytest.mark.limit(180)
async def test_hub_is_killed(stack):
    hubs = [stack.hub(FAST), stack.hub(FAST)]
    stack.worker(FAST)
    load = Load(hubs)

    def fault(number):
        def kill():
            hubs[number % 2].kill()
            hubs[number % 2].start()
        return kill
    await load.run([fault(n) for n in range(6)], seed=2)
    await load.verify(hubs[0])
    stack.audit()


@pytest.mark.limit(180)
async def test_redis_is_killed(stack):
    hub = stack.hub(FAST)
    stack.worker(FAST)
    load = Load([hub])

    def kill():
        stack.redis.kill()
        stack.redis.start()
        hub.wait_ready()
    await load.run([kill] * 4, seed=3)
    await load.verify(hub)
    stack.audit()


@pytest.mark.limit(180)
async def test_private_hub_is_killed_with_all_it_started(stack):
    hub = stack.private_hub({**FAST, "redis.fsync": "always"})
    load = Load([hub])

    def kill():
        hub.kill()
        hub.start()
    await load.run([kill] * 3, seed=4)
    await load.verify(hub)
    assert hub.program("check", "--audit").returncode == 0


@pytest.mark.limit(240)
async def test_everything_is_killed_in_turn(stack):
    hubs = [stack.hub(FAST), stack.hub(FAST)]
    workers = [stack.worker(FAST), stack.worker(FAST)]
    load = Load(hubs)
    chance = random.Random(5)

    def fault():
        kind = chance.choice(["hub", "worker", "worker", "redis"])
        if kind == "redis":
            stack.redis.kill()
            stack.redis.start()
            for hub in hubs:
                hub.wait_ready()
            return
        victim = chance.choice(hubs if kind == "hub" else workers)
        victim.kill()
        victim.start()
    await load.run([fault] * 10, seed=5)
    await load.verify(hubs[1])
    stack.audit()
