# SPDX-License-Identifier: MIT
"""Workers that sleep and that died, machines that slept, clocks that are set, with the real programs: nothing of it is
taken for something else."""
import asyncio
import os
import signal
import time

import pytest

from client import connect
from taskhub import SLOWDOWN, Clock, Redis, alive, descendants, token

HOUR = 3600
PCM = {"encoding": "pcm_s16le", "sample_rate": 16000, "channels": 1}

STARTED_S = 6.5  # nobody dies of silence sooner after Redis began


async def sleeps(pids, seconds):
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(seconds)  # what is tested is that time passes
    for pid in reversed(pids):
        if alive(pid):
            os.kill(pid, signal.SIGCONT)


async def running(c, steps=60):
    task = await c.submit("noop_heavy", {"steps": steps, "sleep_ms": 100})
    await c.wait_event(type="progress", task_id=task)
    return task


async def test_a_worker_that_died_is_noticed_within_two_seconds(stack):
    hub, dead = stack.hub(), stack.worker()
    async with connect(hub) as c:
        task = await running(c, 120)
        await asyncio.sleep(STARTED_S)
        stack.worker()
        dead.kill()
        began = time.monotonic()
        await c.wait_event(type="retrying", task_id=task)
        assert time.monotonic() - began < 3
        end = await c.wait_end(task, 60)
        got = await c.get(task)
        assert (end["status"], got["attempt"]) == ("completed", 2)


async def test_a_worker_that_slept_is_no_dead_one(stack):
    hub, worker = stack.hub({"lease.ms": 1500}), stack.worker({"lease.ms": 1500})
    async with connect(hub) as c:
        task = await running(c)
        await asyncio.sleep(STARTED_S)
        await sleeps([worker.pid, *descendants(worker.pid)], 4)
        end = await c.wait_end(task, 60)
        got = await c.get(task)
        assert (end["status"], got["attempt"]) == ("completed", 1), "a lapse spends no attempt"


class Work:
    """What must not notice: a running task, a live stream, and a task that is delayed."""

    def __init__(self, c):
        self.c = c

    async def begin(self):
        self.stream = await self.c.call("audio.start", {"task": "noop_stream", "format": PCM})
        await self.c.audio_frame(self.stream["stream"], bytes(3200))
        self.task = await running(self.c, 80)
        await self.c.wait_event(lambda e: e["progress"] >= 25, task_id=self.task, type="progress")  # the hub ticked
        self.submitted = time.monotonic()
        self.delayed = await self.c.submit("noop_heavy", {"steps": 1}, delay_ms=3000)

    async def cancels(self):
        task = await self.c.submit_patiently("noop_heavy", {"steps": 600, "sleep_ms": 100})
        await self.c.cancel(task)
        assert (await self.c.wait_end(task))["status"] == "cancelled"

    async def started_in_time(self):
        await self.c.wait_event(task_id=self.delayed, type="started")
        assert 1 < time.monotonic() - self.submitted < 3 + 2 * SLOWDOWN

    async def end(self):
        await self.c.audio_frame(self.stream["stream"], bytes(3200))
        ended = await self.c.call("audio.end", {"stream": self.stream["stream"]})
        assert ended["received"] == 6400
        for task in (self.task, self.delayed, self.stream["task_id"]):
            end, got = await self.c.wait_end(task, 60), await self.c.get(task)
            assert (end["status"], got["attempt"]) == ("completed", 1), end


@pytest.mark.limit(120)
@pytest.mark.parametrize("off", [HOUR, -HOUR])
@pytest.mark.parametrize("whose", ["redis", pytest.param("hub", marks=pytest.mark.long)])
async def test_a_clock_is_set(stack, whose, off):
    clock = Clock(stack.directory / f"{whose}.clock")
    if whose == "redis":
        stack._redis = stack._add(Redis(stack.directory))
        stack.redis.env = dict(os.environ, **clock.env)
        stack.redis.start()
    hub, worker = stack.hub(start=False), stack.worker()
    if whose == "hub":
        hub.env.update(clock.env)
    hub.start()
    async with connect(hub, token=token(ttl=3 * HOUR, iat=None)) as c:
        work = Work(c)
        await work.begin()
        clock.set(off)
        began = time.monotonic()
        await work.cancels()
        await work.started_in_time()
        await work.end()
        task = await running(c, 60)
        stack.worker()
        await asyncio.sleep(max(0, STARTED_S - (time.monotonic() - began)))  # so long nobody dies of silence
        worker.kill()
        began = time.monotonic()
        await c.wait_event(type="retrying", task_id=task)
        assert time.monotonic() - began < 3 * SLOWDOWN, "a death is noticed as on any other day"
        await c.wait_end(task, 60)
        if whose == "redis":
            assert hub.metric("taskhub_clock_steps_total") > 0
    stack.audit()


@pytest.mark.long
@pytest.mark.limit(180)
async def test_the_lid_is_closed_three_times(stack):
    """Redis, hub, worker and its slots stand still for longer than a lease."""
    hub, worker = stack.hub(), stack.worker()
    everybody = [stack.redis.pid, hub.pid, worker.pid, *descendants(worker.pid)]
    async with connect(hub) as c:
        for _ in range(3):
            work = Work(c)
            await work.begin()
            await sleeps(everybody, 17)
            await work.cancels()
            await work.end()
    stack.audit()
