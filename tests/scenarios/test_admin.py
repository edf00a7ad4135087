# SPDX-License-Identifier: MIT
"""What admins and viewers may see and do, and that it is written down."""
import re

import pytest

from client import RpcError, connect
from taskhub import eventually


async def test_figures(hub):
    async with connect(hub, "alice") as a, connect(hub, "vera", roles=["viewer"]) as vera:
        light = await a.submit("noop")
        heavy = await a.submit("noop_heavy", {"steps": 2})
        for task in (light, heavy):
            await a.wait_end(task)
        stats = await vera.call("admin.stats")
        assert stats["tasks"]["completed"] >= 2
        workers = (await vera.call("admin.workers"))["workers"]
        assert workers, "the private worker is there"
        listed = await vera.call("admin.tasks", {"user_id": "alice"})
        assert {t["task_id"] for t in listed["tasks"]} >= {light, heavy}
        assert {t["user_id"] for t in listed["tasks"]} == {"alice"}
        everybody = await vera.call("admin.tasks", {"status": "completed", "limit": 200})
        assert {t["task_id"] for t in everybody["tasks"]} >= {light, heavy}
        assert (await vera.call("admin.tasks", {"user_id": "nobody"}))["tasks"] == []
        with pytest.raises(RpcError) as error:
            await vera.call("admin.tasks", {"user_id": "a\nb"})
        assert error.value.code == -32602
    assert re.search(r"admin act.*vera.*admin\.tasks", hub.log())


async def test_watching(two_hubs):
    first, second = two_hubs
    async with connect(first, "root", roles=["admin"]) as root, connect(second, "alice") as a, \
            connect(first, "bob") as bob:
        await root.call("admin.watch", {"task": "noop_heavy"})

        def seen(task):
            return [p["type"] for m, p in root.notes if m == "admin.event" and p["task_id"] == task]
        there = await a.submit("noop_heavy", {"steps": 2})
        here = await bob.submit("noop_heavy", {"steps": 2})
        other = await bob.submit("noop")
        for client, task in ((a, there), (bob, here), (bob, other)):
            await client.wait_end(task)
            client.check()
        for task in (there, here):
            await root.until(lambda t=task: "completed" in seen(t), what="admin.event")
            assert seen(task)[0] == "accepted" and "started" in seen(task)
        assert seen(other) == [] and root.events == []
        assert all("seq" not in p for m, p in root.notes if m == "admin.event")
        await root.call("admin.watch", {"owner": "alice"})
        mine = await bob.submit("noop_heavy", {"steps": 1})
        hers = await a.submit("noop")
        await bob.wait_end(mine)
        await root.until(lambda: "completed" in seen(hers), what="admin.event")
        assert seen(mine) == []
        await a.wait_end(await a.submit("send_notification", {"title": "for", "body": "alice alone"}))
        await root.until(lambda: sum(p["task"] == "send_notification" for m, p in root.notes if m == "admin.event"))
        assert all("title" not in p for m, p in root.notes if m == "admin.event")
        await root.call("admin.unwatch")
        for name, value in (("owner", ""), ("task", "No Such")):
            with pytest.raises(RpcError) as error:
                await root.call("admin.watch", {name: value})
            assert (error.value.code, error.value.data["field"]) == (-32602, name)
        await a.wait_end(await a.submit("noop"))


async def test_acts_of_an_admin(hub):
    async with connect(hub, "alice") as a, connect(hub, "root", roles=["admin"]) as root, \
            connect(hub, "alice") as b:
        task = await a.submit("noop_heavy", {"steps": 1000, "sleep_ms": 50})
        await root.cancel(task)
        for client in (a, b):
            assert (await client.wait_end(task))["status"] == "cancelled"
        again = await root.call("task.retry", {"task_id": task})
        assert again["retry_of"] == task and again["task_id"] != task
        for client in (a, b):
            accepted = await client.wait_event(task_id=again["task_id"], type="accepted")
            assert accepted["user_id"] == "alice"
        await a.cancel(again["task_id"])
        for client in (a, b):
            await client.wait_end(again["task_id"])
            client.check()
        assert root.events == []
        eventually(lambda: re.search(rf"admin act.*root.*task\.cancel.*{task}", hub.log()), what="the log line")
        own = await root.submit("noop")
        await root.wait_end(own)
        assert (await root.get(own))["status"] == "completed"
        assert own not in hub.log()  # that takes no role


async def test_own_retry(hub):
    async with connect(hub, "alice") as a, connect(hub, "alice") as b:
        task = await a.submit("noop_heavy", {"steps": 1000, "sleep_ms": 50})
        await a.cancel(task)
        await a.wait_end(task)
        again = await a.call("task.retry", {"task_id": task})
        assert (await b.wait_event(task_id=again["task_id"], type="accepted"))["seq"] == again["seq"]
        await a.cancel(again["task_id"])
        for client in (a, b):
            await client.wait_end(again["task_id"])
            client.check()
        assert not [e for e in a.of(again["task_id"]) if e["type"] == "accepted"]
        with pytest.raises(RpcError) as error:
            await a.call("task.retry", {"task_id": (await a.call("task.submit", {"task": "noop"}))["task_id"]})
        assert error.value.code == -32009


async def test_maintenance_needs_the_role(hub):
    async with connect(hub, "root", roles=["admin"]) as root, connect(hub, "alice") as a:
        for task in ("calculate_all_ratings", "sync_impressions_from_redis", "cleanup_sessions"):
            with pytest.raises(RpcError) as error:
                await a.submit(task)
            assert (error.value.code, error.value.data["status"]) == (-32003, 403)
            assert (await root.wait_end(await root.submit(task)))["status"] == "completed"
