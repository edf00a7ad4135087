# SPDX-License-Identifier: MIT
"""Fail-overs that Sentinels decide: hubs and workers follow them."""
import asyncio
import contextlib
import re

import pytest

from client import RpcError, connect
from sentinels import Group

HEAVY = {"task": "noop_heavy", "args": {"steps": 1}}


def listeners(redis):
    """How many hubs and workers listen to this server."""
    return len(redis.command("CLIENT", "LIST", "TYPE", "pubsub").splitlines())


async def completes(c, key):
    """Submits under this key until that is taken, and waits for the end."""
    while True:
        with contextlib.suppress(RpcError):
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
        async with connect(hub) as c:
            assert await completes(c, "a")
            group.redis[first].kill()
            second = await group.until_other(first)
            assert await completes(c, "b")
            await group.come_back(first, second)
            group.sentinels[0].ask("SENTINEL", "FAILOVER", "tasks")
            third = await group.until_other(second)
            await group.until(lambda: listeners(group.redis[third]) >= 2, "hub and worker subscribe there")
            assert await completes(c, "c")
            await asyncio.to_thread(hub.wait_ready)
