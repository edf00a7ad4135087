# SPDX-License-Identifier: MIT
"""The private Redis and the private worker of a hub: who starts, restarts and stops them, and what a
kill -9 leaves behind."""
import asyncio
import os
import pathlib
import re
import signal
import time

import pytest

from client import connect
from queue_lib import Resp
from taskhub import SLOWDOWN, Hub, alive, command_line, descendants, eventually


def open_files(pid):
    found = {}
    for entry in os.listdir(f"/proc/{pid}/fd"):
        try:
            found[int(entry)] = os.readlink(f"/proc/{pid}/fd/{entry}")
        except OSError:
            pass
    return found


def test_what_is_started(stack):
    hub = stack.private_hub()
    redis, worker = eventually(hub.private_redis_pid), eventually(hub.worker_pid)
    for pid in (redis, worker):
        assert os.getsid(pid) == pid, command_line(pid)
    assert (hub.data / "redis").stat().st_mode & 0o777 == 0o700
    assert (hub.data / "redis" / "redis.sock").exists()
    files = open_files(redis)
    assert files[0] == "/dev/null"
    assert str(hub.data / "lock") in files.values(), files
    assert not [name for name in files.values() if "taskhub.db" in name or "jwt.key" in name]
    listening = pathlib.Path("/proc/net/tcp").read_text() + pathlib.Path("/proc/net/tcp6").read_text()
    sockets = {re.search(r"\d+", name).group() for name in files.values() if name.startswith("socket:")}
    assert not [line for line in listening.splitlines()[1:] if len(line.split()) > 9
                and line.split()[3] == "0A" and line.split()[9] in sockets], "redis listens on TCP"
    assert str(hub.data / "lock") not in open_files(worker).values()


def test_its_memory_has_a_bound(stack):
    for options, least, most in (({"redis.max_bytes": 1 << 30}, 1 << 30, 1 << 30), ({}, 1, 1 << 50)):
        hub = stack.private_hub(options)
        connection = Resp(hub.data / "redis" / "redis.sock")
        assert least <= int(connection("CONFIG", "GET", "maxmemory")[1]) <= most
        connection.close()
        hub.stop()


async def test_kill_9_leaves_nothing_running(stack):
    hub = stack.private_hub()
    async with connect(hub) as c:
        kept = await c.submit("noop_heavy", {"steps": 100, "sleep_ms": 100})
        await c.wait_event(task_id=kept, type="started")
        queued = [await c.submit("noop_heavy", {"steps": 1}) for _ in range(3)]
        below = descendants(hub.pid)
        assert len(below) >= 3  # redis, worker, at least one slot
    began = time.monotonic()
    hub.kill()
    for pid in below:
        eventually(lambda p=pid: not alive(p), 5, f"the end of {pid} {command_line(pid)}")
    assert time.monotonic() - began < 5 * SLOWDOWN
    began = time.monotonic()
    hub.start()
    assert time.monotonic() - began < 5 * SLOWDOWN, "a new hub starts at once"
    async with connect(hub) as c:
        for task in [kept, *queued]:
            assert (await c.get(task))["task_id"] == task
        for task in queued:
            while (await c.get(task))["status"] in ("pending", "processing"):
                await asyncio.sleep(0.05)
            assert (await c.get(task))["status"] == "completed"
        again = await c.wait_event(task_id=kept, type="progress", seconds=20)
        assert again["attempt"] == 2, again
        await c.cancel(kept)
        await c.wait_end(kept)


@pytest.mark.limit(120)
async def test_second_hub_waits_and_says_who(stack):
    first = stack.private_hub()
    second = Hub(first.directory, "second", None, {"data_dir": first.data})
    second.argv = [word if word != str(second.data) else str(first.data) for word in second.argv]
    began = time.monotonic()
    second.spawn()
    assert second.wait_exit(20) == 1
    assert 9 < time.monotonic() - began < 15 * SLOWDOWN
    assert f"the hub with pid {first.pid}" in second.log() and "data_dir" in second.log(), second.log()
    assert first.get("/readyz").status == 200
    # One that waits takes over as soon as the first has gone.
    second.log_path.unlink()
    stack.started.append(second)
    second.spawn()
    first.stop()
    second.wait_ready()
    assert second.private_redis_pid()


async def test_redis_dies(stack):
    hub = stack.private_hub({"redis.fsync": "always"})
    async with connect(hub) as c:
        task = await c.submit("noop_heavy", {"steps": 30, "sleep_ms": 100})
        await c.wait_event(task_id=task, type="started")
        before = hub.private_redis_pid()
        os.kill(before, signal.SIGKILL)
        eventually(lambda: hub.private_redis_pid() not in (None, before), 2, "redis-server is back")
        hub.wait_ready()
        assert (await c.wait_end(task))["status"] == "completed"
    hub.program("check", "--audit")


async def test_worker_dies(stack):
    hub = stack.private_hub()
    async with connect(hub) as c:
        for round in range(3):
            before = eventually(hub.worker_pid)
            os.kill(before, signal.SIGKILL)
            began = time.monotonic()
            eventually(lambda: hub.worker_pid() not in (None, before), 2, "the worker is back")
            assert time.monotonic() - began < 0.5 * SLOWDOWN
            task = await c.submit("noop_heavy", {"steps": 1})
            assert (await c.wait_end(task))["status"] == "completed", round


async def test_restart_keeps_tasks_and_epoch(stack):
    hub = stack.private_hub()
    async with connect(hub) as c:
        task = await c.submit("noop_heavy", {"steps": 2})
        await c.wait_end(task)
        light = await c.submit("process_text", {"text": "one two three"})
        await c.wait_end(light)
        point, epoch = c.resume_point(), c.session["epoch"]
    assert hub.stop() == 0
    hub.start()
    async with connect(hub, resume=point) as c:
        assert c.session["epoch"] == epoch and c.session["resumed"] == "ok"
        assert (await c.get(task))["status"] == "completed"
        assert (await c.get(light))["result"]["words"] == 3


def test_long_data_directory(stack):
    deep = pathlib.Path(stack.directory, *["d" * 40] * 4)
    deep.mkdir(parents=True)
    hub = stack._add(Hub(deep, "long", None)).start()
    assert len(str(hub.data)) > 107
    assert eventually(hub.worker_pid)
    done = hub.program("check")
    assert re.search(r"^redis +ok", done.stdout, re.M)


def test_odd_data_directory(stack):
    odd = pathlib.Path(stack.directory, "a b%3f?db=1 \"x\"")
    odd.mkdir()
    stack._add(Hub(odd, "odd", None)).start()


@pytest.mark.parametrize("mask", ["022", "000", "027"])
def test_what_others_may_read(stack, mask):
    """Nothing of what hub, Redis and worker write, whatever the mask; only the socket that is listened on follows it."""
    path = stack.directory / "hub.sock"
    hub = stack.private_hub(start=False)
    hub.data.chmod(0o755)
    hub.argv = ["/bin/sh", "-c", f'umask {mask}; exec "$@"', "sh", *hub.argv[:2], "--listen", f"unix:{path}",
                "--data-dir", str(hub.data)]
    hub.start(ready=False)
    hub.wait_log("worker ready")
    assert path.stat().st_mode & 0o777 == 0o777 & ~int(mask, 8)
    found = [one for one in hub.data.rglob("*") if not one.is_symlink()]
    assert hub.data / "taskhub.db" in found
    assert [one for one in found if one.stat().st_mode & 0o077] == []
