# SPDX-License-Identifier: MIT
"""Nothing of a task outlives it: what it starts stays in its process group, and that is killed whichever process of
the installation is killed by kill -9. Where the guard is killed, too, the next worker ends what is left."""
import contextlib
import os
import pathlib
import signal

import pytest

from client import connect
from taskhub import alive, children, command_line, eventually

ONE = {"slots.default": 1, "slots.live": 1, "lease.ms": 2000}


@pytest.fixture
def temporary(stack, monkeypatch):
    """Where the workers of the test make their directories; any user may pass through."""
    path = stack.directory / "tmp"
    stack.directory.chmod(0o711)
    path.mkdir()
    path.chmod(0o1777)
    monkeypatch.setenv("TMPDIR", str(path))
    return path


def named(worker, name):
    """Pids of the worker's children with this name."""
    found = []
    for pid in children(worker):
        with contextlib.suppress(OSError):
            if pathlib.Path(f"/proc/{pid}/comm").read_text().strip() == name:
                found.append(pid)
    return found


def guard(worker):
    """The prefork parent of ordinary slots, which is started with a directory and without the name of a type."""
    return [pid for pid in named(worker, "taskhub-prefork") if "/" in command_line(pid).split()[-1]]


def kill_all(pids):
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


async def escaped(c):
    """A task whose children try all ways out; the task, and those that live."""
    task = await c.submit("misbehave", {"mode": "escape", "attempts": 1})
    pids = (await c.wait_event(task_id=task, type="progress"))["meta"]["children"]
    found = [pid for pid in pids if alive(pid)]
    assert len(found) == len(pids) == 7
    return task, found


def no_more(pids):
    eventually(lambda: not any(map(alive, pids)), 10, "the end of what the task started")


VICTIMS = {
    "hub": lambda hub, worker: [hub.pid],
    "worker": lambda hub, worker: [worker],
    "slot": lambda hub, worker: named(worker, "taskhub-slot"),
    "spare": lambda hub, worker: named(worker, "taskhub-fresh"),
    "preforks": lambda hub, worker: named(worker, "taskhub-prefork"),
}


@pytest.mark.main
@pytest.mark.parametrize("victim", VICTIMS)
async def test_nothing_outlives_a_kill(stack, temporary, victim):
    hub = stack.private_hub(ONE)
    worker = hub.worker_pid()
    async with connect(hub) as c:
        task, pids = await escaped(c)
        victims = VICTIMS[victim](hub, worker)
        assert victims
        kill_all(victims)
        if victim in ("spare", "preforks"):  # these are not its own: it goes on
            await c.cancel(task)
            await c.wait_end(task)
        no_more(pids)
    if victim == "hub":
        hub.process.wait()
        eventually(lambda: not list(temporary.iterdir()), 10, "its directories are gone")
        hub.start()
    eventually(lambda: hub.worker_pid() not in (None, worker) or victim not in ("hub", "worker"), 10, "a new worker")
    async with connect(hub) as c:
        assert (await c.wait_end(await c.submit("noop_heavy", {"steps": 0})))["status"] == "completed"
    eventually(lambda: len(list(temporary.iterdir())) == 1, 10, "the directory of the killed worker is gone")
    assert len(guard(hub.worker_pid())) == 1


async def test_a_task_that_ends_leaves_nothing(stack, temporary):
    """Not even while its slot could go on: what others run behind it would share the machine with that."""
    hub = stack.private_hub(ONE)
    async with connect(hub) as c:
        slot = eventually(lambda: named(hub.worker_pid(), "taskhub-slot"), 10, "a slot")
        tasks = [await c.submit(*task) for task in (("misbehave", {"mode": "litter"}), *3 * [("noop_heavy", {"steps": 0})])]
        ends = [await c.wait_end(task) for task in tasks]
        assert {end["status"] for end in ends} == {"completed"} and {end["attempt"] for end in ends} == {1}
        assert len(ends[0]["result"]["children"]) == 7
        no_more(ends[0]["result"]["children"])
        assert named(hub.worker_pid(), "taskhub-slot") != slot
        slot = eventually(lambda: named(hub.worker_pid(), "taskhub-slot"), 10, "a slot")
        await c.wait_end(await c.submit("noop_heavy", {"steps": 0}))
        assert named(hub.worker_pid(), "taskhub-slot") == slot, "who leaves nothing shares it"
    assert hub.log().count("a task left processes behind") == 1


async def test_the_next_start_ends_what_the_guard_could_not(stack, temporary):
    hub = stack.hub(ONE)
    worker = stack.worker(ONE)
    async with connect(hub) as c:
        _, pids = await escaped(c)
        directory, = temporary.iterdir()
        watch = guard(worker.pid)
        os.kill(watch[0], signal.SIGSTOP)
        worker.kill()
        kill_all(watch)
        eventually(lambda: not alive(watch[0]), 10, "the end of the guard")
        assert any(map(alive, pids)) and directory.exists()
        worker.start()
        no_more(pids)
        eventually(lambda: not directory.exists(), 10, "its directory is gone")
    assert "what it left behind is removed" in worker.log()


def test_others_are_left_alone(stack, temporary):
    """A second worker of the same user, and directories that are nobody's, or another's."""
    bystander = temporary / "taskhub-worker-mine"
    bystander.mkdir()
    first = stack.worker(ONE)
    first.wait_log("worker ready")
    before = eventually(lambda: named(first.pid, "taskhub-slot"), 10, "a slot")
    second = stack.worker(ONE)
    second.wait_log("worker ready")
    assert named(first.pid, "taskhub-slot") == before and bystander.exists()
    assert len(list(temporary.iterdir())) == 3
    second.stop()
    first.stop()
    assert list(temporary.iterdir()) == [bystander]
