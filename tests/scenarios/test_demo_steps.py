# SPDX-License-Identifier: MIT
"""demo_steps and demo_steps_heavy, always there: a second a step that its owner watches, on a thread of the hub and in
a process of a worker; cancelled; refused with the argument's name."""
import time

import pytest

from client import RpcError, connect
from taskhub import SLOWDOWN

FORMS = ("demo_steps", "demo_steps_heavy")


@pytest.fixture(params=FORMS)
def form(request):
    return request.param


@pytest.fixture
def hub(stack, form):
    hub = stack.hub({"diagnostics": "false"})
    if form == "demo_steps_heavy":
        stack.worker()
    return hub


async def test_is_watched_to_its_end(hub, form):
    async with connect(hub) as c:
        task = await c.submit(form, {"seconds": 4})
        end = await c.wait_end(task)
        assert (end["status"], end["progress"]) == ("completed", 100)
        assert end["result"] == {"steps": 4, "text": "4 steps took 4 s"}
        shown = [e for e in c.of(task) if e["type"] == "progress"]
        assert [e["progress"] for e in shown] == sorted({e["progress"] for e in shown}), "it rises"
        assert [e["stage"] for e in shown] == ["preparing", "working", "working", "finishing"]
        assert [e["message"] for e in shown] == [f"step {i} of 4" for i in range(1, 5)]
        lines = [e["message"] for e in c.of(task) if e["type"] == "log"]
        assert lines == [f"step {i} of 4: done" for i in range(1, 5)]
        c.check()


async def test_is_cancelled(hub, form):
    async with connect(hub) as c:
        task = await c.submit(form, {"seconds": 60})
        await c.wait_event(task_id=task, type="progress")
        begun = time.monotonic()
        await c.cancel(task)
        assert (await c.wait_end(task))["status"] == "cancelled"
        assert time.monotonic() - begun < 2 * SLOWDOWN
        c.check()


async def test_refuses_other_arguments(stack):
    async with connect(stack.hub({"diagnostics": "false"})) as c:
        for form in FORMS:
            for args in ({}, {"seconds": 0}, {"seconds": 61}, {"seconds": "9"}):
                with pytest.raises(RpcError) as refused:
                    await c.submit(form, args)
                assert refused.value.code == -32602 and "seconds" in str(refused.value)
