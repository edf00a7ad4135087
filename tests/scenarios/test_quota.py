# SPDX-License-Identifier: MIT
"""What one user may make Redis keep: a hub says how much it is and until when; others notice nothing."""
import asyncio
import os

import pytest

from client import RpcError, connect
from taskhub import eventually

MIB = 1 << 20
PCM = {"encoding": "pcm_s16le", "sample_rate": 16000, "channels": 1}


def small_hub(stack):
    """A hub that allows little, once Redis knows."""
    hub = stack.hub({"quota.owner_bytes": MIB})
    stack.worker()
    eventually(lambda: stack.redis.command("HGET", "th:{0}:g", "owner_bytes") == str(MIB), what="the limit in Redis")
    return hub


async def fill(c):
    """Submits what is large and waits until it is refused; of what has ended, arguments would go."""
    for _ in range(200):
        try:
            await c.submit("process_text", {"text": "x" * 45_000}, delay_ms=3_600_000)
        except RpcError as error:
            return error
    raise AssertionError("200 times 45 kB were taken")


async def test_who_lets_wait_what_is_large(stack):
    hub = small_hub(stack)
    async with connect(hub, "alice") as a, connect(hub, "bob") as b:
        error = await fill(a)
        assert (error.code, error.data["code"], error.data["status"]) == (-32029, "quota", 429)
        assert error.data["limit"] == MIB < error.data["used"] < 2 * MIB
        assert 0 < error.data["retry_ms"] <= 32 * 86400 * 1000 and "quota.owner_bytes" in error.message
        with pytest.raises(RpcError) as refused:
            await a.submit("noop")
        assert refused.value.data["code"] == "quota"
        with pytest.raises(RpcError) as refused:
            await a.call("audio.start", {"task": "noop_stream", "format": PCM})
        assert refused.value.data["code"] == "quota"
        await b.wait_end(await b.submit("noop"))
        a.check()
    stack.audit()


async def test_a_stream_that_is_too_much(stack):
    hub = small_hub(stack)
    async with connect(hub, "alice") as a:
        stream = await a.call("audio.start", {"task": "noop_stream", "format": PCM})
        data = os.urandom(2 * MIB)
        sending = asyncio.create_task(a.audio_send(stream["stream"], data, stream["credit"], frame=32_000))
        end = await a.wait_end(stream["task_id"])
        sending.cancel()
        assert (end["status"], end["error"]["code"]) == ("failed", "quota")
        await a.wait_end(await a.submit("noop"))
    stack.audit()


async def test_the_oldest_lose_their_arguments_first(stack):
    hub = small_hub(stack)
    async with connect(hub, "alice") as a:
        first = None
        for _ in range(40):
            task = await a.submit("process_text", {"text": "x" * 45_000}, delay_ms=3_600_000)
            first = first or task
            await a.cancel(task)
        told = await a.call("task.get", {"task_id": first})
        assert (told["status"], told["dropped"]) == ("cancelled", ["args"])
        with pytest.raises(RpcError) as refused:
            await a.call("task.retry", {"task_id": first})
        assert refused.value.data["code"] == "input_gone"
        assert "dropped" not in await a.call("task.get", {"task_id": task})
    stack.audit()


async def test_a_record_that_lost_what_nobody_knows(stack):
    hub = stack.hub()
    async with connect(hub, "alice") as a:
        task = await a.submit("noop")
        await a.wait_end(task)
        key = "th:{0}:tl:" + task[:10]
        lines = stack.redis.command("HGET", key, task).split("\n")
        lines[2] += "G=z"
        stack.redis.command("HSET", key, task, "\n".join(lines))
        assert "dropped" not in await a.call("task.get", {"task_id": task})
