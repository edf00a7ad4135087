# SPDX-License-Identifier: MIT
"""Redis hangs: stopped, its connections open. Requests that need it are answered in time, nothing is answered
twice, and what happened shows afterwards."""
import asyncio
import os
import signal
import time

from client import RpcError, connect
from taskhub import SLOWDOWN, token

PROMISED_S = 0.2
SILENCE = {"redis.silence_ms": 200}
SLACK_S = 0.3  # of a busy test machine


async def refused(c, method, params, within=PROMISED_S):
    """The request is answered in time that Redis does not answer."""
    began = time.monotonic()
    answer = await c.request(method, params, seconds=5)
    took = time.monotonic() - began
    assert answer["error"]["code"] == -32053, answer
    assert answer["error"]["data"]["code"] == "unavailable" and answer["error"]["data"]["retry_ms"] > 0
    assert took < (within + SLACK_S) * SLOWDOWN, took


async def authenticate(c, auth):
    while True:
        try:
            return await c.auth(auth["token"])
        except RpcError as error:
            assert error.code == -32053
            await asyncio.sleep(0.01)


async def test_requests_while_redis_hangs(stack):
    redis, hub = stack.redis, stack.hub(SILENCE)
    light, auth = {"task": "noop"}, {"token": token("bert")}
    keyed = {"task": "noop_heavy", "args": {"steps": 1}, "idempotency_key": "k1"}
    async with connect(hub, "anna") as c, connect(hub, "anna") as other, connect(hub, "bert", auth=False) as late:
        known = await c.submit("noop")
        await c.wait_end(known)
        os.kill(redis.pid, signal.SIGSTOP)
        try:
            await refused(late, "auth", auth)  # waits until the silence shows; the others are refused at once
            for method, params in (("task.submit", light), ("task.get", {"task_id": known})):
                await refused(c, method, params, 0)
            await refused(late, "auth", auth, 0)
            assert hub.get("/healthz").status == 200 and hub.get("/readyz").status == 503
            assert (await c.call("ping"))["time"]
        finally:
            os.kill(redis.pid, signal.SIGCONT)
        await authenticate(late, auth)
        hub.wait_ready()

        os.kill(redis.pid, signal.SIGSTOP)
        try:
            await asyncio.gather(refused(c, "task.submit", light), refused(c, "task.submit", keyed),
                                 refused(c, "task.get", {"task_id": known}))
        finally:
            os.kill(redis.pid, signal.SIGCONT)
        # These submissions were on their way: they happen, and the events reach every socket of the owner.
        for socket in (c, other):
            await socket.until(lambda s=socket: {e["task"] for e in s.events if e["task_id"] != known}
                               == {"noop", "noop_heavy"}, what="events of both tasks")
        again = await c.call("task.submit", keyed)
        assert again["duplicate"] and again["task_id"] in {e["task_id"] for e in c.events}
        done = await c.submit("noop")
        assert (await c.wait_end(done))["status"] == "completed"
        answers = [entry[2]["id"] for entry in c.order if entry[0] == "reply"]
        assert len(answers) == len(set(answers))
        c.check()
        other.check()


async def test_a_short_silence_is_waited_for(stack):
    """What was sent is answered by what Redis says, if that comes in time."""
    redis, hub = stack.redis, stack.hub({"redis.silence_ms": 60_000})
    async with connect(hub, "anna") as c:
        task = await c.submit("noop")
        os.kill(redis.pid, signal.SIGSTOP)
        try:
            answers = [asyncio.ensure_future(c.request("task.submit", {"task": "noop", "idempotency_key": f"k{n}"}))
                       for n in range(20)]
            answers.append(asyncio.ensure_future(c.request("task.get", {"task_id": task})))
            await asyncio.wait(answers, timeout=0.5)
        finally:
            os.kill(redis.pid, signal.SIGCONT)
        assert [answer for answer in await asyncio.gather(*answers) if "error" in answer] == []
        c.check()


async def test_a_token_on_the_upgrade_while_redis_hangs(stack):
    """The join that it implies is given up in time; auth that failed may be tried again whatever came between."""
    redis, hub = stack.redis, stack.hub(SILENCE)
    header = {"Authorization": f"Bearer {token('dora')}"}
    async with connect(hub, "dora", auth=False, headers=header) as implied, \
            connect(hub, "emil", auth=False, headers={"Authorization": f"Bearer {token('emil')}"}) as asked:
        os.kill(redis.pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            assert (await implied.call("ping"))["time"]
            assert time.monotonic() - began < (PROMISED_S + SLACK_S) * SLOWDOWN
            await refused(asked, "auth", {})
            await asked.call("ping")
        finally:
            os.kill(redis.pid, signal.SIGCONT)
        hub.wait_ready()
        assert (await asked.call("ping"))["time"]
        assert (await asked.call("auth", {}))["resumed"] == "none"
        assert (await implied.wait_end(await implied.submit("noop")))["status"] == "completed"
