# SPDX-License-Identifier: MIT
"""A Redis that comes back with an older state: everybody is told, once. One that lost nothing goes on as before."""
import asyncio
import contextlib
import pathlib
import shutil
import subprocess
import sys
import time

import pytest

from client import connect
from taskhub import eventually
from test_fail_over import Pair, clients

LOST = 1012  # the close code that says it


async def make_history(hub, count, user="alice"):
    """Tasks of this user; where a client that leaves now would go on."""
    async with connect(hub, user) as c:
        for _ in range(count):
            await c.wait_end(await c.submit_patiently("noop"))
        return c.resume_point()


def keep_copy(stack):
    """A copy of the data that Redis has now, on its disk."""
    stack.redis.stop()
    copy = stack.directory / "copy"
    shutil.copytree(stack.redis.data, copy)
    stack.redis.start()
    return copy


def put_back(stack, copy):
    stack.redis.kill()
    shutil.rmtree(stack.redis.data)
    shutil.copytree(copy, stack.redis.data)
    stack.redis.start()


def epochs_written(redis):
    """How often the data set got an epoch, by its own log."""
    return sum(path.read_bytes().count(b"\r\nepoch\r\n") for path in redis.data.rglob("*.incr.aof"))


async def check_gap(hub, point):
    """New events stand where this client has seen others."""
    await make_history(hub, 8)
    async with connect(hub, "alice", resume=point) as back:
        assert back.session["seq"] > point["seq"]
        assert (back.session["resumed"], back.session["epoch"] != point["epoch"]) == ("gap", True)
        assert len(back.session["snapshot"]) > 8


async def test_a_copy_is_put_back(stack):
    """The hub remembers more: who was away gets a gap, who stayed is told."""
    hub = stack.hub()
    before = await make_history(hub, 3)
    copy = keep_copy(stack)
    hub.wait_ready()
    async with connect(hub, "bob") as bob:
        point = await make_history(hub, 3)
        assert point["epoch"] == before["epoch"]
        put_back(stack, copy)
        assert await bob.wait_closed() == LOST
    hub.wait_ready()
    await check_gap(hub, point)


async def test_a_replica_that_lacks_writes_is_promoted(stack):
    pair = Pair(stack)
    hub = stack.hub({"redis.url": pair.url(pair.primary, pair.replica)})
    await make_history(hub, 3)
    pair.wait_copied()
    pair.replica.command("REPLICAOF", "NO", "ONE")
    async with connect(hub, "bob") as bob:
        point = await make_history(hub, 3)
        pair.primary.kill()
        assert await bob.wait_closed() == LOST
    hub.wait_ready()
    await check_gap(hub, point)


async def test_several_that_notice_make_one_epoch(stack):
    hubs = [stack.hub() for _ in range(3)]
    for _ in range(2):
        stack.worker()
    await make_history(hubs[0], 1)
    copy = keep_copy(stack)
    for hub in hubs:
        hub.wait_ready()
        await make_history(hub, 2)
    eventually(lambda: clients(stack.redis) == 5, 20, "all processes are back")
    written = epochs_written(stack.redis)
    async with contextlib.AsyncExitStack() as open_ones:
        users = [await open_ones.enter_async_context(connect(hub, f"user{n}")) for n, hub in enumerate(hubs)]
        put_back(stack, copy)
        assert [await user.wait_closed() for user in users] == [LOST] * 3
    epochs = set()
    for hub in hubs:
        hub.wait_ready()
        async with connect(hub, "bob") as bob:
            epochs.add(bob.session["epoch"])
            task = await bob.submit_patiently("noop_heavy", {"steps": 1})
            await bob.wait_end(task)
    eventually(lambda: clients(stack.redis) == 5, 20, "all processes are back")
    assert len(epochs) == 1 and epochs_written(stack.redis) == written + 1


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_a_restart_that_loses_nothing_keeps_the_epoch(stack, end):
    hub, _worker = stack.hub(), stack.worker()
    point = await make_history(hub, 3)
    async with connect(hub, "bob") as bob:
        await asyncio.to_thread(getattr(stack.redis, end))
        await asyncio.to_thread(stack.redis.start)
        await asyncio.to_thread(hub.wait_ready)
        task = await bob.submit_patiently("noop_heavy", {"steps": 1})
        assert (await bob.wait_end(task))["status"] == "completed"
    async with connect(hub, "alice", resume=point) as back:
        assert (back.session["resumed"], back.session["epoch"]) == ("ok", point["epoch"])


async def test_a_replica_that_has_all_keeps_the_epoch(stack):
    pair = Pair(stack)
    url = {"redis.url": pair.url(pair.primary, pair.replica)}
    hub, _worker = stack.hub(url), stack.worker(url)
    async with connect(hub, "bob") as bob:
        point = await make_history(hub, 3)
        pair.primary.command("CLIENT", "PAUSE", 20000, "WRITE")  # nothing is answered that the replica may lack
        pair.wait_copied()
        pair.primary.kill()
        pair.replica.command("REPLICAOF", "NO", "ONE")
        hub.wait_ready()
        task = await bob.submit_patiently("noop_heavy", {"steps": 1})
        assert (await bob.wait_end(task))["status"] == "completed"
    async with connect(hub, "alice", resume=point) as back:
        assert (back.session["resumed"], back.session["epoch"]) == ("ok", point["epoch"])


async def test_a_copy_is_put_back_while_nobody_remembers(stack):
    """The new history is longer than the old one: the event where this client was is another one now."""
    hub = stack.hub()
    await make_history(hub, 3)
    copy = keep_copy(stack)
    hub.wait_ready()
    before = await make_history(hub, 0)
    point = await make_history(hub, 3)
    hub.stop()
    put_back(stack, copy)
    hub.start()
    await make_history(hub, 8)
    async with connect(hub, "alice", resume=point) as back:
        assert back.session["epoch"] == point["epoch"], "nothing else tells"
        assert back.session["resumed"] == "gap" and len(back.session["snapshot"]) > 8
    async with connect(hub, "alice", resume=before) as back:
        assert back.session["resumed"] == "ok", "what this client has seen stands"


@pytest.mark.parametrize("behind", [0, 1])
async def test_an_event_that_is_another_one_is_a_gap(hub, behind):
    """As is one that is not there any more; a client that has no mark is believed."""
    async with connect(hub, "alice") as c:
        points = []
        for _ in range(2):
            await c.wait_end(await c.submit("noop"))
            points.append(c.resume_point())
        point = points[1 - behind]
        other = {**point, "mark": "%04x" % (int(point["mark"], 16) ^ 1)}
        for resume, answer in ((point, "ok"), (other, "gap"), ({**other, "mark": None}, "ok")):
            resume = {name: value for name, value in resume.items() if value is not None}
            async with connect(hub, "alice", resume=resume) as back:
                assert back.session["resumed"] == answer
                assert back.session.get("mark") == points[1]["mark"]


async def test_answers_have_the_mark_of_their_event(two_hubs):
    """That of the accepted event, as other connections are told it."""
    one, two = two_hubs
    async with connect(one, "alice") as c, connect(two, "alice") as other:
        made = await c.call("task.submit", {"task": "noop_heavy", "args": {"steps": 1}, "delay_ms": 600_000})
        told = await other.wait_event(task_id=made["task_id"], type="accepted")
        assert (told["seq"], told["mark"]) == (made["seq"], made["mark"])
        await c.cancel(made["task_id"])
        await other.wait_end(made["task_id"])
        made = await c.call("task.retry", {"task_id": made["task_id"]})
        told = await other.wait_event(task_id=made["task_id"], type="accepted")
        assert (told["seq"], told["mark"]) == (made["seq"], made["mark"])
        async with connect(two, "alice", resume={"epoch": c.session["epoch"], "seq": made["seq"],
                                                 "mark": made["mark"]}) as back:
            assert back.session["resumed"] == "ok"


def redis_s(redis):
    """How long Redis has worked on functions."""
    line = next(line for line in redis.command("INFO", "commandstats").splitlines() if line.startswith("cmdstat_fcall:"))
    return int(line.split("usec=")[1].split(",")[0]) / 1e6


ASK = '''
import asyncio, sys, time
sys.path.insert(0, sys.argv[1])
from client import connect

async def main():
    async with connect(*sys.argv[2:]) as c:
        while True:
            begun = time.monotonic()
            await c.wait_end(await c.submit_patiently("noop"))
            print(time.monotonic() - begun, flush=True)

asyncio.run(main())
'''


@contextlib.asynccontextmanager
async def asking(stack, hub, user):
    """A process that submits one task after the other; how long each took, from its submission to its end."""
    path = stack.directory / "asked"
    with open(path, "w", encoding="utf-8") as out:
        process = subprocess.Popen([sys.executable, "-c", ASK, pathlib.Path(__file__).parent, hub.url, user], stdout=out)
    try:
        yield lambda: [float(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    finally:
        process.kill()
        process.wait()


@pytest.mark.limit(240)
async def test_the_snapshots_of_a_crowd_come_in_turn(stack):
    """All come in the end; what other users ask is answered meanwhile, and most of Redis' time is left for it."""
    users, each = [f"user{n}" for n in range(26)], 20
    hub = stack.hub({"limits.unauthenticated": 1000, "limits.user_rows_per_s": 1_000_000})
    for user in users:
        async with connect(hub, user) as c:
            for _ in range(8):
                made = await asyncio.gather(*(c.submit_patiently("noop") for _ in range(25)))
                for task in made:
                    await c.wait_end(task)
    lost = {"epoch": "of another data set", "seq": 1}

    async def join(user):
        c = await open_ones.enter_async_context(connect(hub, user, resume=lost))
        assert c.session["resumed"] == "gap"
        late = c.session.get("snapshot_pending", False)
        told = await c.wait_note("snapshot", 120) if late else c.session
        assert len(told["snapshot"]) == 200 and {task["user_id"] for task in told["snapshot"]} == {user}
        return late

    async with contextlib.AsyncExitStack() as open_ones, asking(stack, hub, "bob") as took:
        await asyncio.to_thread(eventually, lambda: len(took()) >= 200, 60, "what it is like without a crowd")
        quiet = took()
        begun, worked = time.monotonic(), redis_s(stack.redis)
        late = await asyncio.gather(*(join(user) for user in users for _ in range(each)))
        share = (redis_s(stack.redis) - worked) / (time.monotonic() - begun)
        crowded = took()[len(quiet):]
    assert late.count(True) > len(late) / 2
    before, meanwhile = (sorted(all)[int(len(all) * 0.99)] for all in (quiet, crowded))
    print(f"{len(late)} snapshots, {late.count(True)} late; Redis {share:.0%}; p99 {before * 1e3:.1f}, {meanwhile * 1e3:.1f} ms")
    assert share < 0.3, "with what the other user asks"
    assert meanwhile < 20 * before
