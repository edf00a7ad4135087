# SPDX-License-Identifier: MIT
"""Two hubs and a separate worker on one Redis are one system: what is submitted at one hub is seen,
cancelled, limited and resumed at the other."""
import asyncio

import pytest

from client import RpcError, connect

pytestmark = pytest.mark.main


def logged(client, task):
    return [event["type"] for event in client.of(task) if "seq" in event]


async def test_seen_at_the_other_hub(two_hubs):
    first, second = two_hubs
    async with connect(first, "alice") as a, connect(second, "alice") as b, connect(second, "bob") as bob:
        task = await a.submit("noop_heavy", {"steps": 3, "sleep_ms": 20})
        assert (await a.wait_end(task))["status"] == "completed"
        assert (await b.wait_end(task))["status"] == "completed"
        assert logged(a, task) == ["started", "completed"]  # the reply stood for `accepted`
        assert logged(b, task) == ["accepted", "started", "completed"]
        assert (await a.get(task)) == (await b.get(task))
        await bob.call("ping")
        assert bob.events == []
        with pytest.raises(RpcError) as refused:
            await bob.get(task)
        assert refused.value.code == -32003
        for client in (a, b, bob):
            client.check()


async def test_light_task_is_seen_at_the_other_hub(two_hubs):
    first, second = two_hubs
    async with connect(first, "alice") as a, connect(second, "alice") as b:
        tasks = [await a.submit("noop") for _ in range(20)]
        for task in tasks:
            assert (await b.wait_end(task))["status"] == "completed"
        a.check()
        b.check()
        assert {e["task_id"] for e in a.events} == {e["task_id"] for e in b.events} == set(tasks)


async def test_running_task_is_cancelled_at_the_other_hub(two_hubs):
    first, second = two_hubs
    async with connect(first, "alice") as a, connect(second, "alice") as b:
        task = await a.submit("noop_heavy", {"steps": 1000, "sleep_ms": 50})
        await b.wait_event(task_id=task, type="started")
        answer = await b.cancel(task)
        assert answer["status"] == "processing"
        assert (await a.wait_end(task, 4))["status"] == "cancelled"
        assert (await b.wait_end(task, 4))["status"] == "cancelled"
        assert (await a.cancel(task))["status"] == "cancelled"  # again: the same answer
        a.check()
        b.check()


async def test_queued_task_is_cancelled_at_the_other_hub(stack):
    first, second = stack.hub(), stack.hub()  # no worker: it stays queued
    async with connect(first, "alice") as a, connect(second, "alice") as b:
        task = await a.submit("noop_heavy", {"steps": 1})
        assert (await b.cancel(task))["status"] == "cancelled"
        assert (await a.wait_end(task))["status"] == "cancelled"
        assert (await b.wait_end(task))["status"] == "cancelled"
        a.check()
        b.check()
    stack.audit()


async def test_resumed_at_the_other_hub(two_hubs):
    first, second = two_hubs
    async with connect(first, "alice") as a:
        task = await a.submit("noop_heavy", {"steps": 20, "sleep_ms": 50})
        await a.wait_event(task_id=task, type="started")
        point = a.resume_point()
        await a.drop()
    async with connect(second, "alice", resume=point) as b:
        assert b.session["resumed"] == "ok"
        assert (await b.wait_end(task))["status"] == "completed"
        assert logged(b, task) == ["completed"]
        b.check()


async def test_limit_of_a_user_holds_across_hubs(stack):
    options = {"limits.user_tasks": 3}
    first, second = stack.hub(options), stack.hub(options)
    async with connect(first, "alice") as a, connect(second, "alice") as b:
        answers = await asyncio.gather(*[
            client.request("task.submit", {"task": "noop_heavy", "args": {"steps": 1}})
            for client in (a, b) for _ in range(5)])
        accepted = [answer["result"]["task_id"] for answer in answers if "result" in answer]
        errors = [answer["error"] for answer in answers if "error" in answer]
        assert len(accepted) == 3
        assert {error["code"] for error in errors} == {-32029}
        assert all(error["message"] == "Maximum 3 concurrent tasks per user exceeded" for error in errors)
        stack.worker(options)
        for task in accepted:
            await b.wait_end(task)
        await b.submit("noop_heavy", {"steps": 0})  # there is room again
    stack.audit()


async def test_lost_subscriptions_lose_no_event(stack):
    first, second = stack.hub(), stack.hub()
    stack.worker()
    async with connect(first, "alice") as a, connect(second, "alice") as b, connect(second, "bob") as bob:
        tasks, bobs = [], []
        for _ in range(10):
            first.wait_ready()
            second.wait_ready()
            for client, its in ((a, tasks), (bob, bobs)):
                if len(its) >= 4:
                    await client.wait_end(its[-4])  # within the limit per user, whatever the pace
                its.append(await client.submit("noop_heavy", {"steps": 2, "sleep_ms": 5}))
            stack.redis.command("CLIENT", "KILL", "TYPE", "pubsub")
        for task in tasks:
            await a.wait_end(task)
            await b.wait_end(task)
            assert logged(b, task) == ["accepted", "started", "completed"]
        for task in bobs:
            await bob.wait_end(task)
        for client in (a, b, bob):
            client.check()
    stack.audit()


async def test_idempotency_key_holds_across_hubs(two_hubs):
    first, second = two_hubs
    async with connect(first, "alice") as a, connect(second, "alice") as b, connect(second, "bob") as bob:
        params = {"task": "noop_heavy", "args": {"steps": 1}, "idempotency_key": "order 17"}
        one = await a.call("task.submit", params)
        two = await b.call("task.submit", params)
        assert two["task_id"] == one["task_id"] and two["duplicate"] is True
        with pytest.raises(RpcError) as refused:
            await b.call("task.submit", {**params, "args": {"steps": 2}})
        assert refused.value.code == -32009 and refused.value.word == "idempotency_mismatch"
        other = await bob.call("task.submit", params)  # the scope of a key is its owner
        assert other["task_id"] != one["task_id"]
        await a.wait_end(one["task_id"])
        await bob.wait_end(other["task_id"])
