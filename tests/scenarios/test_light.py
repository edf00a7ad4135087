# SPDX-License-Identifier: MIT
"""Light tasks: recorded together with their end or leased to the hub, cancelled, delayed, repeated, and run by
another hub when theirs dies."""
import asyncio
import time

import pytest

from client import RpcError, connect
from taskhub import SLOWDOWN

pytestmark = pytest.mark.main


async def test_quick_task_is_one_event(stack):
    hub = stack.hub({"light.fuse_us": 1000000})  # however slow this machine is
    async with connect(hub) as c:
        answer = await c.call("task.submit", {"task": "noop"})
        assert answer["status"] == "pending"
        end = await c.wait_end(answer["task_id"])
        assert end["seq"] == answer["seq"] + 1
        assert (end["type"], end["status"], end["progress"], end["task"]) == ("completed", "completed", 100, "noop")
        assert end["result"] == {} and end["attempt"] == 1
        assert len(c.of(answer["task_id"])) == 1
        task = await c.get(answer["task_id"])
        assert task["status"] == "completed" and task["is_finished"] and not task["is_active"]
        assert task["user_id"] == "alice" and task["seq"] == end["seq"]
        listed = await c.call("task.list", {"task": "noop"})
        assert [t["task_id"] for t in listed["tasks"]] == [answer["task_id"]]
        c.check()
    assert hub.metric("taskhub_light_recorded_once_total") == 1


REPEATED = [("noop", {}), ("process_text", {"text": "one two"}), ("calculate_rating", {"resource_id": "r1"}),
            ("send_notification", {"title": "t", "body": "b"}), ("cleanup_sessions", {}), ("demo_steps", {"seconds": 1})]


@pytest.mark.parametrize("task, args", REPEATED)
async def test_two_runs_of_one_key_leave_what_one_leaves(stack, task, args):
    """The second submission runs, too, before Redis says that its key stands for the first one already."""
    hub = stack.hub({"light.fuse_us": 1000000})
    async with connect(hub, user="root", roles=["admin"]) as c:
        await c.call("rating.submit", {"resource_id": "r1", "stars": 4})
        params = {"task": task, "args": args, "idempotency_key": "k"}
        first = await c.call("task.submit", params)
        end = await c.wait_end(first["task_id"])

        async def stands():
            return [await c.call("notification.list"), (await c.call("task.list"))["tasks"]]
        before = await stands()
        again = await c.call("task.submit", params)
        assert again["duplicate"] and again["task_id"] == first["task_id"] and again["status"] == "completed"
        assert await stands() == before and len(before[0]["notifications"]) == (task == "send_notification")
        assert end["status"] == "completed"
        c.check()
    stack.audit()


async def test_two_submissions_of_one_key_at_once(hub):
    async with connect(hub) as c, connect(hub) as other:
        params = {"task": "noop", "args": {"sleep_ms": 300}, "idempotency_key": "k"}
        answers = await asyncio.gather(*[x.call("task.submit", params) for x in (c, other, c)])
        assert len({answer["task_id"] for answer in answers}) == 1
        assert sorted("duplicate" in answer for answer in answers) == [False, True, True]
        await c.wait_end(answers[0]["task_id"])
        assert len((await c.call("task.list"))["tasks"]) == 1


async def test_slow_task_is_recorded_as_running(hub):
    async with connect(hub) as c, connect(hub) as other:
        task = await c.submit("noop", {"sleep_ms": 400})
        await c.wait_event(task_id=task, type="started")
        now = await c.get(task)
        assert now["status"] == "processing" and now["is_active"]
        end = await c.wait_end(task)
        assert end["status"] == "completed"
        await other.wait_end(task)
        assert [e["type"] for e in other.of(task) if "seq" in e] == ["accepted", "started", "completed"]
        assert "working" in [e["stage"] for e in c.of(task)]
        c.check()
        other.check()


async def test_many_at_once(hub):
    async with connect(hub) as c:
        tasks = await asyncio.gather(*[c.submit("noop") for _ in range(60)])
        for task in tasks:
            await c.wait_end(task)
        assert len(set(tasks)) == 60
        c.check()
        listed = await c.call("task.list", {"status": "completed", "limit": 200})
        assert {t["task_id"] for t in listed["tasks"]} >= set(tasks)


async def test_cancel_running(hub):
    async with connect(hub) as c:
        task = await c.submit("noop", {"sleep_ms": 10000})
        await c.wait_event(task_id=task, type="started")
        began = time.monotonic()
        answer = await c.cancel(task)
        assert answer["status"] == "processing"
        assert (await c.wait_end(task))["status"] == "cancelled"
        assert time.monotonic() - began < 2 * SLOWDOWN
        assert (await c.cancel(task))["status"] == "cancelled"
        c.check()


async def test_cancelled_or_expired_before_it_ran(stack):
    """What waits for a thread and is cancelled, or expires, does not do its work any more."""
    hub = stack.hub({"light.threads": 1, "light.slow_ms": 60000})
    async with connect(hub) as c:
        busy = await c.submit("noop", {"sleep_ms": 2000})
        await c.wait_event(task_id=busy, type="started")
        gone = await c.submit("send_notification", {"title": "cancelled", "body": "b"}, idempotency_key="k")
        late = await c.submit("send_notification", {"title": "expired", "body": "b"}, expires_ms=200)
        assert (await c.cancel(gone))["status"] == "cancelled"
        assert (await c.wait_end(late))["error"]["code"] == "expired"
        await c.wait_end(busy)
        last = await c.submit("send_notification", {"title": "last", "body": "b"})
        await c.wait_end(last)  # one thread: what waited before it is over, too
        listed = await c.call("notification.list")
        assert [note["title"] for note in listed["notifications"]] == ["last"]
        c.check()
    stack.audit()


@pytest.mark.parametrize("task, args", [("demo_steps", {"seconds": 60}), ("noop", {"sleep_ms": 10000})])
async def test_slow_tasks_hold_nobody_up(stack, task, args):
    """Those of a type that says so, and of one that is found out. Nothing below ends before the quick work is done."""
    hub = stack.hub({"light.threads": 2})
    async with connect(hub, "alice") as a, connect(hub, "bob") as b, connect(hub, "carol") as c:
        slow = [(who, await who.submit(task, args)) for who in (a, b) * 3]
        await a.wait_event(type="started")
        assert (await c.wait_end(await c.submit("process_text", {"text": "one two"})))["status"] == "completed"
        assert (await c.call("rating.submit", {"resource_id": "r1", "stars": 4})) == {"ok": True}
        assert (await c.call("notification.list"))["unread"] == 0
        async with connect(hub, "carol", resume={"epoch": "forged", "seq": 0}) as back:
            assert back.session["resumed"] == "gap" and back.session["unread"] == 0
        assert [(await who.get(one))["is_active"] for who, one in slow] == [True] * 6
        for who, one in slow:
            await who.cancel(one)
        for who, one in slow:
            assert (await who.wait_end(one))["status"] == "cancelled"
        for client in (a, b, c):
            client.check()


async def test_one_owner_of_many_tasks_lets_others_in(stack):
    hub = stack.hub({"light.threads": 1, "light.slow_ms": 60000})
    async with connect(hub, "alice") as a, connect(hub, "bob") as b:
        many = await asyncio.gather(*[a.submit("noop", {"sleep_ms": 200}) for _ in range(50)])
        await b.wait_end(await b.submit("process_text", {"text": "one two"}))
        assert (await a.get(many[-1]))["is_active"]
        for one in reversed(many):
            await a.request("task.cancel", {"task_id": one})  # it may have ended
        for one in many:
            await a.wait_end(one)
        a.check()


async def test_idempotency_key(hub):
    async with connect(hub) as c:
        first = await c.call("task.submit", {"task": "noop", "idempotency_key": "k1"})
        await c.wait_end(first["task_id"])
        again = await c.call("task.submit", {"task": "noop", "idempotency_key": "k1"})
        assert again["task_id"] == first["task_id"] and again["duplicate"] is True
        assert again["status"] == "completed"
        with pytest.raises(RpcError) as error:
            await c.call("task.submit", {"task": "noop", "args": {"sleep_ms": 1}, "idempotency_key": "k1"})
        assert (error.value.code, error.value.word) == (-32009, "idempotency_mismatch")
        one = await c.call("task.submit", {"task": "process_text", "idempotency_key": "k3",
                                           "args": {"text": "a", "language": "en"}})
        two = await c.call("task.submit", {"task": "process_text", "idempotency_key": "k3",
                                           "args": {"language": "en", "text": "a"}})
        assert one["task_id"] == two["task_id"], "the same arguments, written otherwise"
        same = await asyncio.gather(*[c.call("task.submit", {"task": "noop", "idempotency_key": "k2"})
                                      for _ in range(10)])
        assert len({answer["task_id"] for answer in same}) == 1
        c.check()


async def test_delayed(hub):
    async with connect(hub) as c:
        began = time.monotonic()
        task = await c.submit("noop", delay_ms=600)
        assert (await c.get(task))["status"] == "pending"
        await c.wait_end(task)
        assert 0.55 < time.monotonic() - began < 4 * SLOWDOWN
        gone = await c.submit("noop", delay_ms=20000)
        assert (await c.cancel(gone))["status"] == "cancelled"
        await c.wait_end(gone)
        c.check()


async def test_failure_is_told_with_its_code(hub):
    async with connect(hub) as c:
        with pytest.raises(RpcError) as error:
            await c.submit("noop", {"sleep_ms": 10001})
        assert error.value.code == -32602 and error.value.data["field"] == "sleep_ms"
        with pytest.raises(RpcError) as error:
            await c.submit("noop", {"sleep": 1})
        assert error.value.data["field"] == "sleep"
        with pytest.raises(RpcError) as error:
            await c.submit("no_such_type")
        assert error.value.code == -32602 and error.value.data["field"] == "task"


async def test_notification_reaches_every_socket_of_its_user(hub):
    async with connect(hub, "root", roles=["admin"]) as root, connect(hub, "alice") as a, \
            connect(hub, "alice") as b, connect(hub, "bob") as bob:
        task = await root.submit("send_notification", {"user_id": "alice", "title": "Hi", "body": "<b>there</b>"})
        assert (await root.wait_end(task))["status"] == "completed"
        for client in (a, b):
            note = await client.wait_note("notification")
            assert (note["user_id"], note["title"], note["body"]) == ("alice", "Hi", "<b>there</b>")
        listed = await a.call("notification.list")
        assert listed["unread"] == 1 and listed["notifications"][0]["id"] == note["id"]
        assert (await a.call("notification.read", {"ids": [note["id"]]}))["unread"] == 0
        with pytest.raises(RpcError) as error:
            await bob.submit("send_notification", {"user_id": "alice", "title": "x", "body": "y"})
        assert error.value.code == -32003
        await bob.call("ping")
        assert bob.notes == []
        a.check()


async def test_ratings_and_impressions(hub):
    async with connect(hub) as c:
        assert await c.call("rating.submit", {"resource_id": "r1", "stars": 4}) == {"ok": True}
        assert await c.call("impression.record", {"resource_id": "r1"}) == {"ok": True}
        end = await c.wait_end(await c.submit("calculate_rating", {"resource_id": "r1"}))
        assert end["result"]["votes"] == 1
        for method, params, field in (("rating.submit", {"resource_id": "r1", "stars": 6}, "stars"),
                                      ("rating.submit", {"stars": 1}, "resource_id"),
                                      ("impression.record", {"resource_id": "a b"}, "resource_id")):
            with pytest.raises(RpcError) as error:
                await c.call(method, params)
            assert error.value.code == -32602 and error.value.data["field"] == field


@pytest.mark.limit(90)
async def test_another_hub_runs_what_a_dead_hub_left(stack):
    first = stack.hub({"lease.ms": 1000})
    second = stack.hub({"lease.ms": 1000})
    async with connect(second) as watcher:
        async with connect(first) as c:
            task = await c.submit("noop", {"sleep_ms": 3000})
            await watcher.wait_event(task_id=task, type="started")
            first.kill()
        end = await watcher.wait_end(task, 30)
        assert end["status"] == "completed" and end["attempt"] == 1, "its lease ran out, nobody knows why"
        watcher.check()
    stack.audit()


async def test_restarted_hub_goes_on_at_once(stack):
    hub = stack.hub()
    async with connect(hub) as c:
        task = await c.submit("noop", {"sleep_ms": 1000})
        await c.wait_event(task_id=task, type="started")
        point = c.resume_point()
        hub.kill()
    hub.start()
    async with connect(hub, resume=point) as c:
        assert c.session["resumed"] == "ok"
        end = await c.wait_end(task, 12)  # well before the lease of 15 s is over
        assert end["status"] == "completed" and end["attempt"] == 2
        c.check()
    stack.audit()


async def test_drain_gives_slow_tasks_back(stack):
    """What does not end in time, or never began, goes to another hub: nobody waits for a lease to run out."""
    first, second = stack.hub({"light.threads": 1}), stack.hub({"light.threads": 1})
    async with connect(first) as c, connect(second) as other:
        runs, waits = [await c.submit("demo_steps", {"seconds": 60}) for _ in range(2)]
        await c.wait_event(task_id=runs, type="started")
        assert first.stop() == 0
        assert "not everything ended in time" not in first.log()
        back = await other.wait_event(task_id=runs, type="retrying")
        assert (back["error"]["code"], back["attempt"]) == ("worker_stopped", 1)
        for task in (runs, waits):
            await other.cancel(task)
            assert (await other.wait_end(task))["status"] == "cancelled"
        assert not [e for e in other.of(waits) if e["type"] == "retrying"]
        other.check()
    stack.audit()


async def test_drain_lets_light_tasks_end(stack):
    hub = stack.hub()
    async with connect(hub) as c:
        task = await c.submit("noop", {"sleep_ms": 1500})
        await c.wait_event(task_id=task, type="started")
        assert hub.stop() == 0
    hub.start()
    async with connect(hub) as c:
        assert (await c.get(task))["status"] == "completed"
        assert (await c.get(task))["attempt"] == 1
    stack.audit()
