# SPDX-License-Identifier: MIT
"""A rolling upgrade between two stored formats. The newer programs are copies of this build in which the number of the
format is raised and one stored field changed: that a cancel was asked is letter Z where the format is 3."""
import asyncio
import shutil

import pytest

import taskhub
from client import connect
from taskhub import eventually

pytestmark = pytest.mark.limit(120)

HERE = b"      -- Convert letters of another format to this one's here."
THERE = b"      -- Where g.format is lower, write the letters of that format here."
CHANGES = [(b"name=taskhub_2", b"name=taskhub_3"), (b"local FORMAT = 2", b"local FORMAT = 3"), (b"th2_", b"th3_"),
           (b"taskhub_2\0", b"taskhub_3\0"),
           (HERE, b"      letter = letter == 'Z' and 'z' or letter".ljust(len(HERE))),
           (THERE, b"      if letter=='z' and global.format>2 then letter='Z' end".ljust(len(THERE)))]


@pytest.fixture(scope="module")
def newer(tmp_path_factory):
    """A directory with the programs of the next format."""
    build = tmp_path_factory.mktemp("newer")
    for name in ("taskhub", "taskhub-worker"):
        program = (taskhub.BUILD / name).read_bytes()
        for old, new in CHANGES:
            assert len(old) == len(new) and old in program, old
            program = program.replace(old, new)
        (build / name).write_bytes(program)
        shutil.copymode(taskhub.BUILD / name, build / name)
    return build


def become(process, build):
    """Ends a process, as a service manager does, and starts it from another build."""
    process.stop()
    process.argv[0] = str(build / process.argv[0].rsplit("/", 1)[1])
    process.start()


def stored(stack):
    """The format, and records with the changed field in its old and new form."""
    records = []
    for key in stack.redis.command("KEYS", "th:*:t:*"):
        records += stack.redis.command("HVALS", key)
    return (stack.redis.command("HGET", "th:{0}:g", "format"), sum(" z=" in r for r in records),
            sum(" Z=" in r for r in records))


async def load(client, accepted, stop):
    while not stop.is_set():
        for task, args, more in (("noop_heavy", {"steps": 2, "sleep_ms": 5}, {}), ("noop", {}, {}),
                                 ("noop_heavy", {"steps": 1}, {"delay_ms": 1500})):
            key = f"{client.user}-{len(accepted)}"
            answer = await client.call("task.submit", {"task": task, "args": args, "idempotency_key": key, **more})
            accepted.append(answer["task_id"])
        await asyncio.sleep(0.05)


async def cancel_one(c):
    """A task that is cancelled while it runs."""
    task = await c.submit("noop_heavy", {"steps": 1000, "sleep_ms": 10})
    await c.wait_event(task_id=task, type="started")
    assert (await c.cancel(task))["stage"] == "cancelling"
    return task


async def submit_while(hub, user, accepted, work):
    """Runs `work` in a thread while this user submits at the hub."""
    stop = asyncio.Event()
    async with connect(hub, user) as c:
        loading = asyncio.create_task(load(c, accepted, stop))
        await asyncio.to_thread(work)
        stop.set()
        await loading
        c.check()


async def test_rolling_upgrade_loses_nothing(stack, newer):
    limits = {"limits.user_tasks": 5000, "limits.global_tasks": 5000}
    hubs, workers = [stack.hub(limits), stack.hub(limits)], [stack.worker(), stack.worker()]
    accepted, cancelled = [], []
    steps = [(hubs[1], workers[0]), (hubs[0], hubs[1]), (hubs[1], workers[1]), (hubs[1], hubs[0])]
    for load_at, replaced in steps:
        async with connect(load_at, "alice") as c:
            cancelled.append(await cancel_one(c))
        await submit_while(load_at, "alice", accepted, lambda p=replaced: become(p, newer))
        number, _, new = stored(stack)
        assert (number, new) == ("2", 0) or replaced is hubs[0]
    hub = hubs[0]
    async with connect(hub, "alice") as c:
        await asyncio.to_thread(eventually, lambda: stored(stack)[0] == "3", 60, "the new format")
        _, before, _ = stored(stack)
        cancelled.append(await cancel_one(c))
        assert stored(stack)[1:] == (before, 1) and before == len(steps)
        for task in [*accepted, *cancelled]:
            while (await c.get(task))["status"] in ("pending", "processing"):
                await asyncio.sleep(0.1)
            assert (await c.get(task))["status"] == ("cancelled" if task in cancelled else "completed")
        log = [entry.split(" ") for entry in stack.redis.command("LRANGE", "th:{0}:e:alice", 0, -1)]
        ends = [entry[2] for entry in log if entry[0] in "CXK"]
    assert sorted(ends) == sorted([*accepted, *cancelled]), "every accepted task ends once"
    libraries = stack.redis.command("FUNCTION", "LIST")
    assert sorted(library[1] for library in libraries) == ["taskhub_2", "taskhub_3"]  # the older one for a day
    taskhub.run_program(newer / "taskhub", "check", "--audit", "--data-dir", stack.redis.directory,
                        options={"redis.url": stack.redis.url})
    for process in (hubs[1], workers[0]):
        process.stop()
        process.argv[0] = str(taskhub.BUILD / process.argv[0].rsplit("/", 1)[1])
        process.spawn()
        assert process.wait_exit(20) == 1, "an older version does not read it"
        process.wait_log("format 3, which this version cannot read", 1)
