# SPDX-License-Identifier: MIT
"""Heavy tasks in a worker's processes: what happens when a slot, a fresh child, a prefork parent, the worker or
Redis dies, hangs or is stopped; cancel, limits, drain, stale leases, streams. A hub, a separate worker, a Redis."""
import asyncio
import contextlib
import hashlib
import os
import pathlib
import random
import re
import signal
import time

import pytest

from client import TERMINAL, connect
from taskhub import SLOWDOWN, alive, children, eventually

ONE = {"slots.default": 1, "slots.live": 1}


def named(worker, name):
    """Pids of the worker's children with this process name: taskhub-slot (ordinary), taskhub-fresh (one task
    each, one of them waiting), taskhub-prefork."""
    found = []
    for pid in children(worker.pid):
        try:
            comm = pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
        except OSError:
            continue
        if comm == name[:15]:
            found.append(pid)
    return found


def descriptors(pid):
    """Open descriptors; one of /dev/null beyond the first three does not count (a library's log)."""
    found = {}
    for path in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            found[path.name] = os.readlink(path)
    return {name for name, target in found.items() if name in "012" or target != "/dev/null"}


@pytest.fixture
def hub(stack):
    return stack.hub({"limits.user_tasks": 200, "limits.global_tasks": 400})


async def run_one(c, task, args, **more):
    """Submits, waits until it shows progress, gives the id."""
    task_id = await c.submit(task, args, **more)
    await c.wait_event(task_id=task_id, type="progress")
    return task_id


def spinning(c, **more):
    return run_one(c, "misbehave", {"mode": "spin"}, **more)


def kinds(c, task_id):
    return [e["type"] for e in c.of(task_id) if e["type"] != "progress"]


@pytest.mark.main
async def test_runs_and_reports(stack, hub):
    stack.worker()
    async with connect(hub) as c:
        task = await c.submit("noop_heavy", {"steps": 5, "sleep_ms": 150})
        end = await c.wait_end(task)
        assert end["status"] == "completed" and end["result"] == {} and end["attempt"] == 1
        steps = [e["progress"] for e in c.of(task) if e["type"] == "progress"]
        assert len(steps) >= 4 and steps == sorted(steps)
        assert kinds(c, task) == ["started", "completed"]
        c.check()
    stack.audit()


async def test_a_burst(stack, hub):
    stack.worker()
    async with connect(hub) as c:
        tasks = [await c.submit("noop_heavy", {"steps": n % 3}) for n in range(150)]
        ends = [await c.wait_end(task) for task in tasks]
        assert {end["status"] for end in ends} == {"completed"}
        assert {end["attempt"] for end in ends} == {1}
        c.check()
    stack.audit()


async def test_starts_soon(stack, hub):
    stack.worker()
    async with connect(hub) as c:
        await c.wait_end(await c.submit("noop_heavy", {"steps": 0}))
        waits = []
        for _ in range(20):
            begun = time.monotonic()
            task = await c.submit("noop_heavy", {"steps": 1, "sleep_ms": 20})
            await c.wait_event(task_id=task, type="started")
            waits.append(time.monotonic() - begun)
            await c.wait_end(task)
        assert sorted(waits)[10] < 0.05 * SLOWDOWN, waits


def test_slots_hold_nothing(stack, hub):
    worker = stack.worker(ONE)
    worker.wait_log("worker ready")
    slot = eventually(lambda: named(worker, "taskhub-slot"), 5, "a slot")[0]
    eventually(lambda: named(worker, "taskhub-prefork"), 5, "a prefork parent")
    for pid in [slot, *named(worker, "taskhub-prefork")]:
        environ = pathlib.Path(f"/proc/{pid}/environ").read_bytes()
        assert b"REDIS" not in environ and b"TASKHUB" not in environ and stack.redis.url.encode() not in environ
        eventually(lambda: descriptors(pid) == {"0", "1", "2", "3"}, 10, "no descriptors but the socket")
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        assert re.search(r"NoNewPrivs:\s*1", status)
        limits = pathlib.Path(f"/proc/{pid}/limits").read_text()
        assert re.search(r"Max core file size\s+0\s+0", limits)
    assert os.getpgid(slot) == slot
    memory = pathlib.Path(f"/proc/{slot}/mem")
    url = stack.redis.url.encode()
    with memory.open("rb") as mem:
        for line in pathlib.Path(f"/proc/{slot}/maps").read_text().splitlines():
            span, rights = line.split()[:2]
            if "r" not in rights or "[v" in line:
                continue
            start, end = (int(part, 16) for part in span.split("-"))
            try:
                mem.seek(start)
                assert url not in mem.read(min(end - start, 64 << 20)), line
            except (OSError, OverflowError, ValueError):
                continue


@pytest.mark.main
async def test_slot_killed(stack, hub):
    worker = stack.worker(ONE)
    async with connect(hub) as c:
        task = await run_one(c, "noop_heavy", {"steps": 10, "sleep_ms": 100})
        behind = await c.submit("noop_heavy", {"steps": 0})
        os.kill(named(worker, "taskhub-slot")[0], signal.SIGKILL)
        died = time.monotonic()
        await c.wait_event(task_id=task, type="started", attempt=2)
        assert time.monotonic() - died < 1 * SLOWDOWN
        assert (await c.wait_end(task))["status"] == "completed"
        end = await c.wait_end(behind)
        assert end["status"] == "completed" and end["attempt"] == 1, "it was not to blame"
        c.check()
    stack.audit()


async def test_poison(stack, hub):
    """Two deaths and the task is failed; the ones around it are not touched."""
    stack.worker(ONE)
    async with connect(hub) as c:
        others = [await c.submit("noop_heavy", {"steps": 0}) for _ in range(10)]
        poison = await c.submit("misbehave", {"mode": "crash"})
        others += [await c.submit("noop_heavy", {"steps": 0}) for _ in range(10)]
        end = await c.wait_end(poison)
        assert end["status"] == "failed" and end["error"]["code"] == "worker_lost" and end["attempt"] == 2
        for task in others:
            end = await c.wait_end(task)
            assert end["status"] == "completed" and end["attempt"] == 1
        liar = await c.submit("misbehave", {"mode": "lie", "attempts": 1})
        end = await c.wait_end(liar)
        assert end["status"] == "completed" and end["attempt"] == 2
        c.check()
    stack.audit()


@pytest.mark.main
async def test_worker_killed(stack, hub):
    """Its successor of the same name gives the leases back at once."""
    worker = stack.worker(ONE)
    async with connect(hub) as c:
        task = await run_one(c, "noop_heavy", {"steps": 40, "sleep_ms": 100})
        waiting = [await c.submit("noop_heavy", {"steps": 1, "sleep_ms": 1}) for _ in range(5)]
        below = worker.slots()
        worker.kill()
        begun = time.monotonic()
        worker.spawn()
        await c.wait_event(task_id=task, type="started", attempt=2)
        assert time.monotonic() - begun < 3 * SLOWDOWN
        eventually(lambda: not [pid for pid in below if alive(pid)], 2, "the end of the old slots")
        assert (await c.wait_end(task))["status"] == "completed"
        for one in waiting:
            end = await c.wait_end(one)
            assert end["status"] == "completed" and end["attempt"] == 1
        c.check()
    stack.audit()


async def test_preforks_killed(stack, hub):
    worker = stack.worker(ONE)
    async with connect(hub) as c:
        task = await run_one(c, "noop_heavy", {"steps": 10, "sleep_ms": 100})
        old = named(worker, "taskhub-prefork")
        for pid in old:
            os.kill(pid, signal.SIGKILL)
        end = await c.wait_end(task)
        assert end["status"] == "completed" and end["attempt"] == 1, "slots outlive their prefork parent"
        os.kill(named(worker, "taskhub-slot")[0], signal.SIGKILL)
        assert (await c.wait_end(await c.submit("noop_heavy", {"steps": 1})))["status"] == "completed"
        eventually(lambda: len(named(worker, "taskhub-prefork")) == len(old), 5, "new prefork parents")


@pytest.mark.main
@pytest.mark.parametrize("mode", ["sleeps", "spin", "hang", "children"])
async def test_cancel_running(stack, hub, mode):
    worker = stack.worker(ONE)
    async with connect(hub) as c:
        if mode == "sleeps":
            task = await run_one(c, "noop_heavy", {"steps": 1000, "sleep_ms": 100})
        else:
            task = await run_one(c, "misbehave", {"mode": mode})
        slot = named(worker, "taskhub-slot")[0]
        below = children(slot)
        begun = time.monotonic()
        answer = await c.cancel(task)
        assert answer["status"] == "processing"
        end = await c.wait_end(task)
        assert end["status"] == "cancelled"
        assert time.monotonic() - begun < 2 * SLOWDOWN
        if mode != "sleeps":
            assert not alive(slot), "the task's process is gone"
        assert (mode == "children") == bool(below)
        eventually(lambda: not [pid for pid in below if alive(pid)], 1, "the end of what the task started")
        assert (await c.wait_end(await c.submit("noop_heavy", {"steps": 0})))["status"] == "completed"
        c.check()
    stack.audit()


async def test_cancel_waiting(stack, hub):
    stack.worker(ONE)
    async with connect(hub) as c:
        first = await run_one(c, "noop_heavy", {"steps": 5, "sleep_ms": 200})
        waiting = [await c.submit("noop_heavy", {"steps": 1}) for _ in range(8)]
        answers = [await c.cancel(task) for task in waiting]
        assert {answer["status"] for answer in answers} == {"cancelled"}
        for task in waiting:
            assert (await c.wait_end(task))["status"] == "cancelled"
            assert "started" not in kinds(c, task)
        assert (await c.wait_end(first))["status"] == "completed"
        c.check()
    stack.audit()


async def test_cancel_races_with_the_end(stack, hub):
    stack.worker()
    chance = random.Random(7)
    async with connect(hub) as c:
        for _ in range(60):
            task = await c.submit("noop_heavy", {"steps": 2, "sleep_ms": 2})
            await asyncio.sleep(chance.random() * 0.008)
            answer = await c.request("task.cancel", {"task_id": task})
            end = await c.wait_end(task)
            if "result" in answer:
                assert end["status"] == "cancelled"
            else:
                assert answer["error"]["code"] == -32009 and end["status"] == "completed"
        c.check()
    stack.audit()


@pytest.mark.limit(40)
async def test_limits_of_time(stack, hub):
    worker = stack.worker()
    async with connect(hub) as c:
        patient = await c.submit("misbehave", {"mode": "patient"})
        await c.wait_event(task_id=patient, type="progress")
        slot = named(worker, "taskhub-slot")[0]
        spin = await spinning(c)
        ends = [await c.wait_end(task, 20) for task in (patient, spin)]
        for end in ends:
            assert end["status"] == "failed" and end["error"]["code"] == "timeout" and end["attempt"] == 1
        assert alive(slot), "who stops when asked keeps the process"
        eventually(lambda: named(worker, "taskhub-slot"), 1, "another slot")
        c.check()
    stack.audit()


async def test_bad_reports(stack, hub):
    stack.worker({**ONE, "limits.result_bytes": 100000})
    async with connect(hub) as c:
        end = await c.wait_end(await c.submit("misbehave", {"mode": "bigresult"}))
        assert end["status"] == "failed" and end["error"]["code"] == "result_too_large"
        task = await c.submit("misbehave", {"mode": "badtext"})
        end = await c.wait_end(task)
        assert end["error"]["code"] == "bad_text" and end["progress"] == 100
        assert any(e["type"] == "log" for e in c.of(task))
        for _ in range(3):
            end = await c.wait_end(await c.submit("misbehave", {"mode": "leak"}))
            assert end["status"] == "completed"
        c.check()
    stack.audit()


async def test_unknown_type(stack, hub):
    """A worker of a build or configuration that does not know a type refuses it and works on."""
    worker = stack.worker({**ONE, "diagnostics": False})
    async with connect(hub) as c:
        end = await c.wait_end(await c.submit("noop_heavy", {"steps": 1}))
        assert end["status"] == "failed" and end["error"]["code"] == "unknown_task" and end["attempt"] == 1
        assert worker.running


@pytest.mark.main
@pytest.mark.limit(60)
async def test_drain(stack, hub):
    """SIGTERM: what runs ends, what waits goes to others, nothing runs twice."""
    first = stack.worker(ONE)
    async with connect(hub) as c:
        running = await run_one(c, "noop_heavy", {"steps": 20, "sleep_ms": 100})
        waiting = [await c.submit("noop_heavy", {"steps": 1, "sleep_ms": 10}) for _ in range(20)]
        first.signal(signal.SIGTERM)
        second = stack.worker(ONE)
        for task in [running, *waiting]:
            end = await c.wait_end(task)
            assert end["status"] == "completed" and end["attempt"] == 1
            assert kinds(c, task) == ["started", "completed"]
        assert first.wait_exit(10) == 0
        assert second.running
        c.check()
    stack.audit()


async def test_drain_that_takes_too_long(stack, hub):
    worker = stack.worker({**ONE, "worker.drain_s": 1})
    async with connect(hub) as c:
        task = await spinning(c)
        worker.signal(signal.SIGTERM)
        begun = time.monotonic()
        assert worker.wait_exit(10) == 0
        assert time.monotonic() - begun < 4 * SLOWDOWN
        await c.wait_event(task_id=task, type="retrying")
        await c.cancel(task)
        assert (await c.wait_end(task))["status"] == "cancelled"


@pytest.mark.limit(60)
async def test_stale_worker_changes_nothing(stack):
    """A worker that slept past its lease: its tasks went on elsewhere, its reports are refused."""
    hub = stack.hub({"lease.ms": 1000})
    stale = stack.worker({**ONE, "lease.ms": 1000})
    async with connect(hub) as c:
        task = await run_one(c, "noop_heavy", {"steps": 30, "sleep_ms": 50})
        stale.signal(signal.SIGSTOP)  # its slot runs on and ends the task
        stack.worker({**ONE, "lease.ms": 1000})
        await c.wait_event(task_id=task, type="retrying", attempt=1, seconds=10)
        end = await c.wait_end(task)  # the first slot's end waits in its socket
        stale.signal(signal.SIGCONT)
        assert end["status"] == "completed" and end["attempt"] == 1, "nobody knows that it died"
        assert (await c.wait_end(await c.submit("noop_heavy", {"steps": 0})))["status"] == "completed"
        ends = [e for e in c.of(task) if e["type"] in TERMINAL]
        assert len(ends) == 1
        stale.wait_log("came too late|a lease was lost", 5)
        c.check()
    stack.audit()


@pytest.mark.main
@pytest.mark.limit(60)
async def test_redis_restarts_under_running_tasks(stack, hub):
    worker = stack.worker()
    async with connect(hub) as c:
        long = await run_one(c, "noop_heavy", {"steps": 30, "sleep_ms": 100})
        short = await c.submit("noop_heavy", {"steps": 5, "sleep_ms": 100})
        await c.wait_event(task_id=short, type="progress")
        stack.redis.kill()
        await asyncio.sleep(1.5)  # the short one ends meanwhile
        stack.redis.start()
        for task in (short, long):
            end = await c.wait_end(task, 20)
            assert end["status"] == "completed" and end["attempt"] == 1
        assert worker.running
        c.check()
    stack.audit()


async def stream_task(c, data, until=None):
    start = await c.call("audio.start", {"task": "noop_stream", "format": {"encoding": "file"}})
    sent = await c.audio_send(start["stream"], data[:until], start["credit"], frame=16000)
    return start, sent


@pytest.mark.main
async def test_stream(stack, hub):
    stack.worker()
    data = random.Random(1).randbytes(700000)
    async with connect(hub) as c:
        start, _ = await stream_task(c, data)
        await c.call("audio.end", {"stream": start["stream"]})
        end = await c.wait_end(start["task_id"])
        assert end["status"] == "completed", end
        assert end["result"]["bytes"] == len(data)
        assert end["result"]["sha256"] == hashlib.sha256(data).hexdigest()
        assert end["result"]["preloaded"] is True
        c.check()
    stack.audit()


async def test_stream_is_read_again_after_a_death(stack, hub):
    worker = stack.worker()
    data = random.Random(2).randbytes(400000)
    async with connect(hub) as c:
        start, sent = await stream_task(c, data, 300000)
        task = start["task_id"]
        await c.wait_event(lambda e: e.get("meta", {}).get("bytes", 0) > 100000, task_id=task, type="partial")
        # The ones that wait first: the second attempt must not begin in one of them and be killed, too.
        for pid in sorted(named(worker, "taskhub-fresh"), reverse=True):
            os.kill(pid, signal.SIGKILL)
        await c.wait_event(task_id=task, type="started", attempt=2)
        await c.audio_send(start["stream"], data, start["credit"], sent=sent, frame=16000)
        await c.call("audio.end", {"stream": start["stream"]})
        end = await c.wait_end(task)
        assert end["result"]["sha256"] == hashlib.sha256(data).hexdigest() and end["result"]["attempt"] == 2
        c.check()
    stack.audit()


async def test_cancelled_stream(stack, hub):
    stack.worker()
    async with connect(hub) as c:
        start, _ = await stream_task(c, bytes(50000))
        await c.wait_event(task_id=start["task_id"], type="started")
        begun = time.monotonic()
        await c.cancel(start["task_id"])
        assert (await c.wait_end(start["task_id"]))["status"] == "cancelled"
        assert time.monotonic() - begun < 2 * SLOWDOWN
        c.check()
    stack.audit()


def test_command_line(stack):
    from taskhub import run_program
    assert "worker.prefetch" in run_program("taskhub-worker", "--help").stdout \
        or "--worker-prefetch" in run_program("taskhub-worker", "--help").stdout
    assert re.match(r"taskhub-worker \d", run_program("taskhub-worker", "--version").stdout)
    done = run_program("taskhub-worker", "--nope", check=False)
    assert done.returncode == 2 and "nope" in done.stderr
    done = run_program("taskhub-worker", options={"data_dir": stack.directory}, check=False)
    assert done.returncode == 2 and "redis.url" in done.stderr


def test_one_worker_per_name(stack):
    first = stack.worker(name="same")
    first.wait_log("worker ready")
    from taskhub import Worker
    second = Worker(stack.directory, stack.redis, "same")
    second.name, second.log_path = "same2", second.directory / "same2.log"
    second.start()
    assert second.wait_exit(15) == 1
    assert "is called same" in second.log()
