# SPDX-License-Identifier: MIT
"""One user asks for as much as he can: he waits, and nobody else notices."""
import asyncio
import contextlib
import json

import pytest

from client import connect
from hostile import ATTACKS, Others, attacking, resident
from taskhub import eventually

MIB = 1 << 20
alone = pytest.mark.alone  # as much as the machine can: other tests would be the ones that wait


def batch_of(method, params, count):
    return json.dumps([{"jsonrpc": "2.0", "id": n, "method": method, "params": params} for n in range(count)])


@contextlib.asynccontextmanager
async def flooding(hub, user, count, text):
    """`count` sockets of a user that send the text as fast as they are read, and read nothing. Gives how many were
    sent."""
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect(hub, user)) for _ in range(count)]
        sent = [0]

        async def flood(c):
            c.ws.transport.pause_reading()
            while True:
                await c.ws.send(text)
                sent[0] += 1
        tasks = [asyncio.ensure_future(flood(c)) for c in clients]
        try:
            yield sent
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for c in clients:
                c.ws.transport.abort()


async def test_a_connection_is_read_when_there_is_room(stack):
    """Requests beyond the bounds wait unread, of a batch and alone, and are all answered in the end."""
    hub = stack.private_hub({"limits.connection_requests": 4, "limits.requests": 6, "light.fuse_us": 1_000_000})
    async with connect(hub, "anna") as a, connect(hub, "anna") as b, connect(hub, "bert") as other:
        slow = {"task": "noop", "args": {"sleep_ms": 50}}
        work = [c.request("task.submit", slow, seconds=60) for c in (a, b) for _ in range(20)]
        work += [c.batch([("task.submit", slow)] * 3 + [("ping", {})], seconds=60) for c in (a, b)]
        work = asyncio.gather(*work)
        await asyncio.sleep(0)
        await other.wait_end(await other.submit("noop"))
        assert not work.done(), "another user is not kept waiting"
        for answer in await work:
            for one in answer if isinstance(answer, list) else [answer]:
                assert "result" in one, one
        assert hub.metric("taskhub_reading_paused_total") > 0
        a.check()
        b.check()


async def test_who_waits_can_leave(stack):
    """A connection that is not read ends like any other: it closes, its hub drains it."""
    hub = stack.private_hub({"limits.connection_requests": 1, "limits.requests": 1, "light.fuse_us": 1_000_000})
    slow = {"task": "noop", "args": {"sleep_ms": 900}}
    async with connect(hub, "anna") as a, connect(hub, "anna") as b:
        for c in (a, b):
            for _ in range(3):
                await c.send({"jsonrpc": "2.0", "id": 1, "method": "task.submit", "params": slow})
        await a.until(lambda: hub.metric("taskhub_reading_paused_total") >= 2)
        await a.ws.close()
    async with connect(hub, "anna") as c:
        await c.submit("noop")
        stopped = asyncio.ensure_future(asyncio.to_thread(hub.stop))
        assert await c.wait_closed() == 4100
        await stopped


async def test_a_user_has_a_rate_of_messages(stack):
    hub = stack.private_hub({"limits.user_messages_per_s": 100})
    async with connect(hub, "anna") as a, connect(hub, "anna") as b:
        began = asyncio.get_running_loop().time()
        answers = await asyncio.gather(*[c.request("ping") for c in (a, b) for _ in range(100)])
        assert all("result" in answer for answer in answers)
        assert asyncio.get_running_loop().time() - began > 0.7, "a second's worth at once, the rest as it comes"


async def test_a_batch_is_charged_per_member(stack):
    hub = stack.private_hub({"limits.messages_per_s": 1, "limits.messages_burst": 50})
    async with connect(hub, "anna") as c:
        assert all("result" in one for one in await c.batch([("ping", {})] * 60))
        assert (await c.request("ping"))["error"]["data"]["code"] == "rate_limit"


@alone
async def test_batches_of_reads_take_no_memory(stack):
    """A user floods 24 sockets with batches and reads no answer: the hub stays small, others are served."""
    free = {"limits.messages_per_s": 1_000_000, "limits.messages_burst": 1_000_000,
            "limits.user_messages_per_s": 1_000_000}
    hub = stack.private_hub(free)
    async with connect(hub, "anna") as a, connect(hub, "bert") as other:
        task = await a.submit("process_text", {"text": "word " * 6000})
        await a.wait_end(task)
        before = resident(hub)
        async with flooding(hub, "anna", 24, batch_of("task.get", {"task_id": task}, 64)) as sent:
            await a.until(lambda: hub.metric("taskhub_reading_paused_total") >= 24, seconds=30)
            for _ in range(50):
                await other.wait_end(await other.submit("noop"), seconds=10)
            assert resident(hub) - before < 64 * MIB
            assert sent[0] > 24
        await other.wait_end(await other.submit("noop"))


@alone
async def test_reads_by_one_user_delay_nobody(stack):
    """Many lists, and lists that look at much and find nothing: they take turns with what others ask, who are refused
    nothing; and all are answered."""
    hub = stack.private_hub({"limits.outbox_bytes": 1 << 24})
    async with connect(hub, "anna") as a, connect(hub, "bert") as b:
        for _ in range(4):
            for task in await asyncio.gather(*[a.submit("noop") for _ in range(50)]):
                await a.wait_end(task)
        for params in ({"limit": 200}, {"limit": 200, "task": "none"}):
            lists = asyncio.gather(*[a.request("task.list", params, seconds=60) for _ in range(100)])
            served = 0
            while not lists.done():
                answer = await b.request("task.submit", {"task": "noop"})
                assert "error" not in answer, answer
                served += 1
            for answer in await lists:
                assert len(answer["result"]["tasks"]) == (0 if "task" in params else 200), answer
            assert served > 5, "others are not kept until the lists end"


@alone
@pytest.mark.limit(120)
@pytest.mark.parametrize("kind, accounts", [("task.list in batches", 1), ("light tasks in batches", 4),
                                            ("heavy tasks", 4), ("cancelled streams", 1), ("snapshots", 1)])
async def test_others_work_beside_one_at_full_rate(stack, kind, accounts):
    """The short form of ./run bench abuse, without its times: those depend on the machine."""
    assert kind in ATTACKS
    hub = stack.private_hub({"worker.drain_s": 0})
    others = Others(hub)
    async with others.working():
        quiet = await others.measure(2)
        with attacking(hub, kind, 60, accounts):
            meanwhile = await others.measure(4)
    assert others.refused == []
    assert meanwhile["hub MiB"] - quiet["hub MiB"] < 64
    assert meanwhile["tasks"] > 0 and meanwhile["p50 ms"] < max(10 * quiet["p50 ms"], 100), (quiet, meanwhile)


@alone
@pytest.mark.limit(60)
async def test_silent_connections_keep_no_newcomer_out(stack):
    """120 a second, each held for as long as the hub lets it: the oldest goes for a newcomer."""
    hub = stack.hub({"limits.unauthenticated": 64})
    with attacking(hub, "silence", 60):
        dropped = 'taskhub_connections_refused_total{reason="unauthenticated"}'
        eventually(lambda: hub.metric(dropped) > 0, 30, "all places of the silent are taken")
        for n in range(30):
            async with connect(hub, f"user{n}") as c:
                await c.wait_end(await c.submit("noop"))


async def test_who_is_alone_has_every_place(stack):
    """The fair turn keeps a second place for others only where there are others."""
    hub = stack.hub()
    stack.worker({"slots.default": 3})
    async with connect(hub) as c:
        tasks = [await c.submit("noop_heavy", {"steps": 1, "sleep_ms": 60_000}) for _ in range(3)]
        for task in tasks:
            await c.wait_event(task_id=task, type="started")
        for task in tasks:
            await c.cancel(task)
