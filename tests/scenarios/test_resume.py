# SPDX-License-Identifier: MIT
"""Reconnecting: everything missed is replayed exactly once and in order, or the hub says that it cannot
and gives a snapshot instead."""
import asyncio
import contextlib
import shutil

import pytest

from client import TERMINAL, connect

pytestmark = pytest.mark.main


async def submit_many(client, count, task="noop", args=None):
    """Submissions in flight together, within the limit per user; the task ids."""
    free = asyncio.Semaphore(32)

    async def one():
        async with free:
            task_id = await client.submit_patiently(task, args)
            await client.wait_end(task_id, 60)
            return task_id
    return await asyncio.gather(*[one() for _ in range(count)])


async def test_what_was_missed_is_replayed(hub):
    async with connect(hub, "alice") as a:
        point = a.resume_point()
    async with connect(hub, "alice") as other:
        tasks = await submit_many(other, 40)
        tasks += [await other.submit("noop_heavy", {"steps": 2}) for _ in range(3)]
        for task in tasks:
            await other.wait_end(task)
        head = other.resume_point()["seq"]
    async with connect(hub, "alice", resume=point) as back:
        assert back.session["resumed"] == "ok"
        assert "snapshot" not in back.session
        assert back.session["seq"] == head
        await back.until(lambda: back.resume_point()["seq"] >= head)
        seqs = [event["seq"] for event in back.events if "seq" in event]
        assert seqs == list(range(point["seq"] + 1, head + 1))
        ends = [event["task_id"] for event in back.events if event["type"] in TERMINAL]
        assert sorted(ends) == sorted(tasks)
        assert back.order[0][0] == "reply"  # no event precedes the answer of auth
        back.check()


async def test_a_replayed_event_is_the_one_told_live(stack):
    """Started, retrying, completed, cancelled and failed, with all they carried."""
    hub, worker = stack.hub(), stack.worker()
    async with connect(hub, "alice") as a, connect(hub, "alice") as live:
        point = live.resume_point()
        broken = await a.submit("noop_heavy", {"steps": 10, "sleep_ms": 100})
        await live.wait_event(task_id=broken, type="started")
        worker.kill()
        worker.spawn()
        again = await live.wait_event(task_id=broken, type="retrying")
        assert again["error"]["code"] == "worker_lost"
        stopped = await a.submit("noop_heavy", {"steps": 100, "sleep_ms": 100})
        await live.wait_event(task_id=stopped, type="started")
        await a.cancel(stopped)
        late = await a.submit("noop_heavy", {"steps": 1}, delay_ms=60000, expires_ms=1)
        for task in (broken, stopped, late):
            await live.wait_end(task)
        head = live.resume_point()["seq"]
        told = {event["seq"]: event for event in live.events if "seq" in event}
    async with connect(hub, "alice", resume=point) as back:
        await back.until(lambda: back.resume_point()["seq"] >= head)
        again = {event["seq"]: event for event in back.events if "seq" in event and event["seq"] <= head}
        assert again == told
        types = {event["type"] for event in again.values()}
        assert types == {"accepted", "started", "retrying", "completed", "cancelled", "failed"}


async def test_nothing_was_missed(hub):
    async with connect(hub, "alice") as a:
        await submit_many(a, 3)
        point = a.resume_point()
    async with connect(hub, "alice", resume=point) as back:
        assert back.session["resumed"] == "ok"
        assert back.session["seq"] == point["seq"]
        await back.call("ping")
        assert back.events == []
        task = await back.submit("noop")
        await back.wait_end(task)
        back.check()


async def test_replay_and_live_events_do_not_mix_up(hub):
    async with connect(hub, "alice") as a:
        point = a.resume_point()
        await submit_many(a, 300)
        busy = asyncio.ensure_future(submit_many(a, 300))
        async with connect(hub, "alice", resume=point) as back:
            done = await busy
            for task in done:
                await back.wait_end(task)
            back.check()
            assert len([e for e in back.events if e["type"] in TERMINAL]) == 600
        a.check()


async def test_several_reconnects_miss_nothing(hub):
    async with connect(hub, "alice") as source:
        start = source.resume_point()
        running = asyncio.ensure_future(submit_many(source, 400))
        seen, point, rounds = [], start, 0
        while not running.done() or rounds < 5:
            async with connect(hub, "alice", resume=point) as part:
                assert part.session["resumed"] == "ok"
                await asyncio.wait([running], timeout=0.05)
                part.check()
                seen += [e["task_id"] for e in part.events if e["type"] in TERMINAL]
                point = part.resume_point()
                await part.drop()
            rounds += 1
        tasks = await running
        async with connect(hub, "alice", resume=point) as last:
            await last.until(lambda: last.resume_point()["seq"] >= last.session["seq"])
            seen += [e["task_id"] for e in last.events if e["type"] in TERMINAL]
        assert sorted(seen) == sorted(tasks)


@pytest.mark.parametrize("point", [{"epoch": "forged", "seq": 0}, {"epoch": None, "seq": 10 ** 9}])
async def test_gap_gives_a_snapshot(hub, point):
    async with connect(hub, "alice") as a, connect(hub, "bob") as bob:
        done = await submit_many(a, 3)
        waiting = await a.submit("noop_heavy", {"steps": 1}, delay_ms=600_000)
        await submit_many(bob, 2)
        point = {**point, "epoch": point["epoch"] or a.session["epoch"]}
        async with connect(hub, "alice", resume=point) as back:
            assert back.session["resumed"] == "gap"
            snapshot = {task["task_id"]: task for task in back.session["snapshot"]}
            assert set(snapshot) == {*done, waiting}
            assert snapshot[waiting]["status"] == "pending"
            assert all(snapshot[task]["status"] == "completed" for task in done)
            assert all(task["user_id"] == "alice" for task in snapshot.values())
            await back.call("ping")
            assert back.events == []


async def test_epoch_survives_the_hub(hub):
    async with connect(hub, "alice") as a:
        tasks = await submit_many(a, 5)
        point = {"epoch": a.session["epoch"], "seq": a.start_seq}
    assert hub.stop() == 0
    hub.start()
    async with connect(hub, "alice", resume=point) as back:
        assert back.session["resumed"] == "ok"
        for task in tasks:
            await back.wait_end(task)
        back.check()


async def test_epoch_changes_when_redis_lost_its_data(stack):
    hub = stack.hub()
    async with connect(hub, "alice") as a:
        await submit_many(a, 5)
        point = a.resume_point()
    stack.redis.kill()
    shutil.rmtree(stack.redis.data)
    stack.redis.start()
    hub.wait_ready()
    async with connect(hub, "alice", resume=point) as back:
        assert back.session["resumed"] == "gap"
        assert back.session["epoch"] != point["epoch"]
        assert back.session["snapshot"] == []
        await submit_many(back, 2)
        back.check()


async def test_data_lost_under_an_open_connection(stack):
    """FLUSHALL, or a Redis that came back empty: whoever is connected is told, and goes on."""
    hub = stack.hub()
    async with connect(hub, "alice") as a:
        await submit_many(a, 5)
        point = a.resume_point()
        stack.redis.command("FLUSHALL")
        with contextlib.suppress(ConnectionError):
            task = await a.submit("noop")
            await a.wait_end(task, 5)
    async with connect(hub, "alice", resume=point) as back:
        assert back.session["resumed"] == "gap"
        assert back.session["epoch"] != point["epoch"]
        await submit_many(back, 2)
        back.check()


@pytest.mark.limit(120)
async def test_trimmed_log_is_a_gap(stack):
    hub = stack.private_hub({"limits.messages_per_s": 1_000_000, "limits.messages_burst": 1_000_000})
    async with connect(hub, "alice") as a:
        point = a.resume_point()
        await submit_many(a, 11_000)
        async with connect(hub, "alice", resume=point) as back:
            assert back.session["resumed"] == "gap"
            assert 0 < len(back.session["snapshot"]) <= 200
        recent = {"epoch": point["epoch"], "seq": a.resume_point()["seq"] - 500}
        async with connect(hub, "alice", resume=recent) as back:
            assert back.session["resumed"] == "ok"
            await back.until(lambda: len(back.events) == 500)
            back.check()
