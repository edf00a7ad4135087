# SPDX-License-Identifier: MIT
"""A worker that sleeps and one that died, with the real programs: neither is taken for the other."""
import asyncio
import os
import signal
import time

from client import connect
from taskhub import alive, descendants

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
