# SPDX-License-Identifier: MIT
"""Every bound is refused visibly, in the words of the protocol, and holds in a race."""
import asyncio
import json

import pytest

from client import RpcError, connect

HEAVY = {"task": "noop_heavy", "args": {"steps": 1, "sleep_ms": 20000}}


@pytest.mark.main
async def test_sixth_active_task(hub):
    async with connect(hub) as a, connect(hub) as b:
        answers = await asyncio.gather(*[c.request("task.submit", HEAVY) for c in (a, b) * 4])
        good = [x["result"]["task_id"] for x in answers if "result" in x]
        bad = [x["error"] for x in answers if "error" in x]
        assert len(good) == 5
        for error in bad:
            assert error["code"] == -32029 and error["data"]["status"] == 429
            assert error["message"] == "Maximum 5 concurrent tasks per user exceeded"
            assert error["data"]["retry_ms"] > 0
        await a.cancel(good[0])
        await a.wait_end(good[0])
        good.append(await a.submit(**HEAVY))
        for task in good[1:]:
            await a.cancel(task)
            await a.wait_end(task)
        a.check()
        b.check()


async def test_twenty_first_task_of_all(hub):
    clients = [connect(hub, f"user{n}") for n in range(6)]
    users = [await client.__aenter__() for client in clients]
    answers = await asyncio.gather(*[c.request("task.submit", HEAVY) for c in users])
    answers += await asyncio.gather(*[c.request("task.submit", HEAVY) for c in users for _ in range(4)])
    good = [x["result"]["task_id"] for x in answers if "result" in x]
    bad = [x["error"] for x in answers if "error" in x]
    assert len(good) == 20
    for error in bad:
        assert (error["code"], error["data"]["status"]) == (-32053, 503)
        assert error["message"] == "Server is busy, please try again later"
    async with connect(hub, "late") as late, connect(hub, "root", roles=["admin"]) as root:
        good.append(await late.submit(**HEAVY))  # who has none is served
        for task in good:
            await root.cancel(task)
    for client in clients:
        await client.__aexit__(None, None, None)


async def test_delayed_tasks_take_nobodys_place(stack):
    hub = stack.private_hub({"limits.user_delayed": 7, "limits.global_tasks": 5})
    async with connect(hub, "alice") as a, connect(hub, "bob") as b:
        month = {**HEAVY, "delay_ms": 30 * 86400 * 1000}
        later = [await a.submit(**month) for _ in range(7)]
        with pytest.raises(RpcError) as error:
            await a.submit(**month)
        assert (error.value.code, error.value.data["status"]) == (-32029, 429)
        assert error.value.message == "Maximum 7 delayed tasks per user exceeded"
        good = [await b.submit(**HEAVY) for _ in range(5)] + [await a.submit(**HEAVY)]
        for task in [*good, *later]:
            await (b if task in good[:5] else a).cancel(task)


async def test_sizes(hub):
    async with connect(hub) as c:
        with pytest.raises(RpcError) as error:
            await c.submit("process_text", {"text": "x" * 50_000})
        assert (error.value.code, error.value.data["status"]) == (-32013, 413)
        for params in ({"task": "x" * 65}, {"task": ""}, {"task": "noop", "priority": 10},
                       {"task": "noop", "priority": -1}, {"task": "noop", "idempotency_key": ""},
                       {"task": "noop", "idempotency_key": "k" * 129}, {"task": "noop", "delay_ms": -1},
                       {"task": "noop", "expires_ms": 0}, {"task": "noop", "delay_ms": 1.5}):
            with pytest.raises(RpcError) as error:
                await c.call("task.submit", params)
            assert error.value.code == -32602, params
            assert error.value.data["field"] in params, params
        await c.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"x": "y" * 70_000}}))
        assert await c.wait_closed() == 1009


async def test_light_tasks_in_flight(stack):
    hub = stack.private_hub({"limits.user_light": 4})
    async with connect(hub, "alice") as a, connect(hub, "bob") as b:
        tries = await asyncio.gather(*[a.request("task.submit", {"task": "noop", "args": {"sleep_ms": 600}})
                                       for _ in range(9)])
        good = [x["result"]["task_id"] for x in tries if "result" in x]
        bad = [x["error"] for x in tries if "error" in x]
        assert len(good) == 4 and {e["code"] for e in bad} == {-32029}
        assert "4 light tasks" in bad[0]["message"]
        await b.wait_end(await b.submit("noop"))
        for task in good:
            await a.wait_end(task)
        await a.wait_end(await a.submit("noop"))
    assert hub.metric("taskhub_tasks_refused_total") == 5


async def test_queue_of_light_tasks(stack):
    hub = stack.private_hub({"limits.user_light": 1000, "limits.light_queue": 5, "light.threads": 1})
    async with connect(hub) as c:
        tries = await asyncio.gather(*[c.request("task.submit", {"task": "noop", "args": {"sleep_ms": 50}})
                                       for _ in range(20)])
        good = [x["result"]["task_id"] for x in tries if "result" in x]
        bad = [x["error"] for x in tries if "error" in x]
        assert 6 <= len(good) < 20
        assert {(e["code"], e["data"]["status"]) for e in bad} == {(-32053, 503)}
        for task in good:
            await c.wait_end(task)
        c.check()


async def test_message_rate(stack):
    hub = stack.private_hub({"limits.messages_per_s": 50, "limits.messages_burst": 100})
    async with connect(hub) as c, connect(hub, "bob") as other:
        answers = await asyncio.gather(*[c.request("ping") for _ in range(150)])
        codes = {a["error"]["code"] for a in answers if "error" in a}
        assert codes == {-32029} and sum("result" in a for a in answers) >= 90
        assert answers[-1]["error"]["data"]["code"] == "rate_limit"
        for _ in range(5000):
            if c.closed is not None:
                break
            try:
                await c.send({"jsonrpc": "2.0", "id": 1, "method": "ping"})
            except Exception:  # noqa: BLE001 - the connection may end at any byte
                break
        assert await c.wait_closed() == 4429
        await other.call("ping")


async def test_a_light_type_can_be_routed_to_the_queue(stack):
    hub = stack.private_hub({"routes.process_text": "queue"})
    async with connect(hub) as c:
        end = await c.wait_end(await c.submit("process_text", {"text": "Two words. Three more words."}))
        assert end["status"] == "completed" and end["result"]["sentences"] == 2
        other = await c.wait_end(await c.submit("send_notification", {"title": "t", "body": "b"}))
        assert other["status"] == "completed", "others run where they did"


async def test_requests_of_the_database_name_the_limit_they_reach(stack):
    hub = stack.hub({"limits.user_light": 2})
    async with connect(hub) as c:
        answers = await c.batch([("notification.list", {})] * 30)  # all at once, whatever the pace
        errors = [answer["error"] for answer in answers if "error" in answer]
        assert errors and {error["code"] for error in errors} == {-32029}
        assert {error["message"] for error in errors} == {"Maximum 2 light tasks in flight per user exceeded"}
