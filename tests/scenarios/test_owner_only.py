# SPDX-License-Identifier: MIT
"""A user never sees, cancels, retries or reads another user's task, event, audio or result, whatever is
tried; admins may, by role, and each act of theirs is logged."""
import asyncio
import random
import re

import pytest

from client import TERMINAL, RpcError, connect

pytestmark = pytest.mark.main
USERS = [f"user{n}" for n in range(8)]


async def refused(client, method, params):
    with pytest.raises(RpcError) as error:
        await client.call(method, params)
    return error.value


async def test_random_acts_on_foreign_tasks(stack):
    hub = stack.private_hub({"limits.user_tasks": 50, "limits.global_tasks": 500})
    chance = random.Random(17)
    clients = [connect(hub, user) for user in USERS]
    users = [await client.__aenter__() for client in clients]
    own = {client.user: [] for client in users}

    async def act(client):
        for _ in range(60):
            await asyncio.sleep(0)
            if chance.random() < 0.4:
                kind = chance.choice(["noop", "noop_heavy"])
                args = {"steps": chance.randrange(4)} if kind == "noop_heavy" else {}
                own[client.user].append(await client.submit(kind, args))
                continue
            other = chance.choice([user for user in USERS if user != client.user])
            if own[other]:
                method = chance.choice(["task.get", "task.cancel", "task.retry", "task.why", "audio.resume"])
                error = await refused(client, method, {"task_id": chance.choice(own[other])})
                assert error.code in (-32003, -32004), (method, error)

    await asyncio.gather(*[act(client) for client in users])
    for client in users:
        for task in own[client.user]:
            await client.wait_end(task)
        client.check()
        assert {event["task_id"] for event in client.events} == set(own[client.user])
        ended = [event["task_id"] for event in client.events if event["type"] in TERMINAL]
        assert sorted(ended) == sorted(own[client.user])
        listed = await client.call("task.list", {"limit": 200})
        assert {task["user_id"] for task in listed["tasks"]} <= {client.user}
        assert {task["task_id"] for task in listed["tasks"]} <= set(own[client.user])
    for client in clients:
        await client.__aexit__(None, None, None)


async def test_absent_and_malformed_ids(hub):
    async with connect(hub, "alice") as a:
        for method in ("task.get", "task.cancel", "task.retry", "task.why"):
            error = await refused(a, method, {"task_id": "0198d3a0-0000-7000-8000-00000000000f"})
            assert (error.code, error.data["status"]) == (-32004, 404)
            for bad in ("", "x", "0198D3A0-0000-7000-8000-00000000000F", "../../etc/passwd", "th:{0}:*"):
                error = await refused(a, method, {"task_id": bad})
                assert error.code == -32602, (method, bad)
                assert error.data["field"] == "task_id"


async def test_the_owner_cannot_be_chosen(hub):
    async with connect(hub, "alice") as a, connect(hub, "bob") as bob:
        for params in ({"task": "noop", "args": {"user_id": "bob"}}, {"task": "noop", "user_id": "bob"},
                       {"task": "noop", "args": {}, "owner": "bob"}):
            error = await refused(a, "task.submit", params)
            assert error.code == -32602, params
        await bob.call("ping")
        assert bob.events == []


async def test_a_viewer_reads_and_an_admin_acts(hub):
    async with connect(hub, "alice") as a, connect(hub, "vera", roles=["viewer"]) as vera, \
            connect(hub, "root", roles=["admin"]) as root:
        task = await a.submit("noop_heavy", {"steps": 1000, "sleep_ms": 50})
        await a.wait_event(task_id=task, type="started")
        for client in (vera, root):
            assert (await client.get(task))["user_id"] == "alice"
            await client.call("task.why", {"task_id": task})
        assert (await refused(vera, "task.cancel", {"task_id": task})).code == -32003
        await root.cancel(task)
        assert (await a.wait_end(task))["status"] == "cancelled"
        await vera.call("ping")
        await root.call("ping")
        assert vera.events == [] and root.events == []  # roles do not make them listen
        hub.wait_log(rf"level=info .*\broot\b.*{re.escape(task)}|level=info .*{re.escape(task)}.*\broot\b")


async def test_plain_users_have_no_admin_methods(hub):
    async with connect(hub, "alice") as a:
        for method in ("admin.stats", "admin.tasks", "admin.workers", "admin.watch"):
            assert (await refused(a, method, {})).code == -32003, method
        for task in ("calculate_all_ratings", "sync_impressions_from_redis", "cleanup_sessions"):
            assert (await refused(a, "task.submit", {"task": task})).code == -32003, task


async def test_two_connections_of_one_user_see_the_same(hub):
    async with connect(hub, "alice") as a, connect(hub, "alice") as b, connect(hub, "bob") as bob:
        tasks = [await client.submit("noop") for client in (a, b, a, b)]
        heavy = await b.submit("noop_heavy", {"steps": 2})
        for client in (a, b):
            for task in [*tasks, heavy]:
                assert (await client.wait_end(task))["user_id"] == "alice"
            client.check()
        await bob.call("ping")
        assert bob.events == []


async def test_why_names_no_machine_to_users(hub):
    """Names of workers are names of hosts: staff alone is told, of own and of others' tasks."""
    async with connect(hub, "alice") as a, connect(hub, "vera", roles=["viewer"]) as vera, \
            connect(hub, "root", roles=["admin"]) as root:
        for who in (a, root):
            task = await who.submit("noop_heavy", {"steps": 10, "sleep_ms": 60000})
            await who.wait_event(task_id=task, type="started")
            worker = (await root.call("task.why", {"task_id": task}))["facts"]["worker"]
            for staff in (vera, root):
                told = await staff.call("task.why", {"task_id": task})
                assert told["facts"]["worker"] == worker and worker in told["why"]
            if who is a:
                told = await a.call("task.why", {"task_id": task})
                assert worker not in str(told) and told["why"] == "It runs." and told["facts"]["place"] == "leased"
                await a.call("task.cancel", {"task_id": task})
                assert worker not in str(await a.call("task.why", {"task_id": task}))
            else:
                await root.call("task.cancel", {"task_id": task})
