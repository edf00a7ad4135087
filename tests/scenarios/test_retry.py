# SPDX-License-Identifier: MIT
"""task.retry is a submission: it asks for what a submission asks for."""
import binascii

import pytest

from client import RpcError, connect
from taskhub import token


async def refused(client, task):
    with pytest.raises(RpcError) as error:
        await client.call("task.retry", {"task_id": task})
    return error.value.code, error.value.word


async def test_of_a_type_that_the_token_does_not_name(hub):
    async with connect(hub, "alice") as a, connect(hub, "alice", token=token("alice", tasks=["process_text"])) as bound:
        task = await a.submit("noop_heavy", {"steps": 1}, delay_ms=60000)
        await a.cancel(task)
        assert await refused(bound, task) == (-32003, "task_not_allowed")
        again = await a.call("task.retry", {"task_id": task})
        assert again["retry_of"] == task and again["seq"] > 0
        assert (await a.wait_end(again["task_id"]))["status"] == "completed"


async def test_of_what_needs_a_role(hub):
    async with connect(hub, "root", roles=["admin"]) as root, connect(hub, "root") as plain:
        task = await root.submit("calculate_all_ratings", delay_ms=60000)
        await root.cancel(task)
        assert await refused(plain, task) == (-32003, "role_missing")


async def test_of_another_owner(hub):
    async with connect(hub, "alice") as a, connect(hub, "vera", roles=["viewer"]) as vera, \
            connect(hub, "root", roles=["admin"]) as root:
        task = await a.submit("noop_heavy", {"steps": 1}, delay_ms=60000)
        await a.cancel(task)
        assert (await refused(vera, task))[0] == -32003
        again = await root.call("task.retry", {"task_id": task})
        assert "seq" not in again, "it stands in alice's log"
        assert (await a.wait_end(again["task_id"]))["status"] == "completed"
        a.check()
        root.check()


async def test_an_id_carries_its_owners_shard(hub):
    shard = binascii.crc_hqx(b"alice", 0) % 1024
    async with connect(hub, "alice") as a, connect(hub, "root", roles=["admin"]) as root:
        light, heavy = await a.submit("noop"), await a.submit("noop_heavy", {"steps": 1}, delay_ms=60000)
        await a.cancel(heavy)
        again = await root.call("task.retry", {"task_id": heavy})
        assert {int(id[-3:], 16) & 1023 for id in (light, heavy, again["task_id"])} == {shard}


async def test_of_arguments_that_name_somebody_else(hub):
    async with connect(hub, "root", roles=["admin"]) as root, connect(hub, "root") as plain, \
            connect(hub, "alice") as a:
        task = await root.submit("send_notification", {"user_id": "alice", "title": "t", "body": "b"}, delay_ms=60000)
        await root.cancel(task)
        assert (await refused(plain, task))[0] == -32003
        assert (await a.call("notification.list"))["notifications"] == []
        again = await root.call("task.retry", {"task_id": task})
        await root.wait_end(again["task_id"])
        assert (await a.wait_note("notification"))["title"] == "t"
        own = await plain.submit("send_notification", {"title": "mine", "body": "b"}, delay_ms=60000)
        await plain.cancel(own)
        again = await plain.call("task.retry", {"task_id": own})
        assert (await plain.wait_end(again["task_id"]))["status"] == "completed"


async def test_a_key_makes_one_task_however_often_it_is_asked(hub):
    async with connect(hub, "alice") as a, connect(hub, "alice") as other, connect(hub, "bob") as b:
        task, second = [await a.submit("noop_heavy", {"steps": 1}, delay_ms=60000) for _ in range(2)]
        for one in (task, second):
            await a.cancel(one)
        first = await a.call("task.retry", {"task_id": task, "idempotency_key": "ключ 1"})
        assert first["task_id"] != task and "duplicate" not in first
        for client in (a, other):
            again = await client.call("task.retry", {"task_id": task, "idempotency_key": "ключ 1"})
            assert (again["task_id"], again["retry_of"], again["duplicate"]) == (first["task_id"], task, True)
        assert (await a.wait_end(first["task_id"]))["status"] == "completed"
        ended = await a.call("task.retry", {"task_id": task, "idempotency_key": "ключ 1"})
        assert (ended["task_id"], ended["status"], ended["duplicate"]) == (first["task_id"], "completed", True)
        # a key names one thing: another task's retry, or a submission
        mismatch = {"task_id": second, "idempotency_key": "ключ 1"}
        with pytest.raises(RpcError) as error:
            await a.call("task.retry", mismatch)
        assert (error.value.code, error.value.word) == (-32009, "idempotency_mismatch")
        with pytest.raises(RpcError) as error:
            await a.submit("noop_heavy", {"steps": 1}, idempotency_key="ключ 1")
        assert error.value.word == "idempotency_mismatch"
        # it is its owner's, and one of a submission does not name a retry either
        await b.submit("noop", idempotency_key="ключ 1")
        other_key = await a.call("task.retry", {"task_id": task, "idempotency_key": "2"})
        assert other_key["task_id"] != first["task_id"] and "duplicate" not in other_key
        with pytest.raises(RpcError) as error:
            await a.call("task.retry", {"task_id": task, "idempotency_key": "a\n"})
        assert error.value.code == -32602
        await a.wait_end(other_key["task_id"])
        a.check()
    assert hub.program("check", "--audit").returncode == 0


async def test_a_key_of_an_admin(hub):
    async with connect(hub, "alice") as a, connect(hub, "root", roles=["admin"]) as root:
        task = await a.submit("noop_heavy", {"steps": 1}, delay_ms=60000)
        await a.cancel(task)
        first = await root.call("task.retry", {"task_id": task, "idempotency_key": "k"})
        again = await root.call("task.retry", {"task_id": task, "idempotency_key": "k"})
        assert again["duplicate"] and again["task_id"] == first["task_id"] and "seq" not in again
        own = await a.call("task.retry", {"task_id": task, "idempotency_key": "k"})
        assert own["task_id"] != first["task_id"], "alice's keys are hers"
        for one in (first, own):
            assert (await a.wait_end(one["task_id"]))["status"] == "completed"
