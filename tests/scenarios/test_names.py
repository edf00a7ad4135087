# SPDX-License-Identifier: MIT
"""Names of hubs and workers: each belongs to one living process, and nobody takes the tasks of one who lives. Another
machine is a namespace of its own for what is told apart: network, machine id, boot."""
import asyncio
import os
import re
import signal
import socket
import time

import pytest

from client import TERMINAL, connect
from taskhub import Hub, Worker, alive, eventually, run_program

ONE = {"slots.default": 1, "slots.live": 1, "worker.prefetch": 0}
HOST = re.escape(socket.gethostname()[:40])
UNSHARE = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--net", "--map-root-user"]
NETWORK = [*UNSHARE, "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]


def machine(of, text, tmp_path):
    """What another machine has in one of its files."""
    file = tmp_path / of.replace("/", "-")
    file.write_text(text)
    return [*UNSHARE, "--mount", "sh", "-c", f'mount --bind {file} {of} && exec "$@"', "sh"]


def start(stack, process, *prefix):
    process.argv = [*prefix, *process.argv]
    return stack._add(process).spawn()


def worker(stack, *prefix, name="", file="other", url=None, **options):
    """A worker of this name, '' = the default one."""
    options = {**ONE, "worker.name": name, **({"redis.url": url} if url else {}), **options}
    return start(stack, Worker(stack.directory, stack.redis, file, options), *prefix)


def name_of(process):
    return process.wait_log(r"(?:worker ready|ready).* name=\"?([^\s\"]+)")[1]


async def running(c, task="noop_heavy", **args):
    task = await c.submit(task, args or {"steps": 40, "sleep_ms": 100})
    await c.wait_event(type="progress", task_id=task)
    return task


async def ends_undisturbed(c, task):
    end = await c.wait_end(task)
    assert (end["status"], (await c.get(task))["attempt"]) == ("completed", 1), end
    assert [e["type"] for e in c.of(task) if e["type"] in ("retrying", "started", *TERMINAL)] == ["started", "completed"]
    c.check()


@pytest.mark.main
async def test_equal_host_names(stack):
    """Two machines of one host name, with default names."""
    hub, first = stack.hub(), worker(stack, file="first")
    async with connect(hub) as c:
        task = await running(c)
        second = worker(stack, *NETWORK, file="second")
        names = name_of(first), name_of(second)
        assert names[0] != names[1] and all(re.match(HOST + "-[0-9a-f]{6}(-2)?$", name) for name in names), names
        await ends_undisturbed(c, task)
    second.wait_log("another process has the name; this one takes the next", 1)
    stack.audit()


def test_a_thousand_of_one_name(stack):
    """Whoever comes next is told what to do."""
    first = worker(stack, file="first")
    name, beat = name_of(first), int(time.time() * 1000) + 3600000
    for n in range(2, 1001):
        stack.redis.command("ZADD", "th:{0}:hb", beat, f"w:{name}-{n}/111111")
    next_one = worker(stack, file="next")
    next_one.wait_log(f"workers with all names from {name} to {name}-1000 live; give this one a worker.name")
    assert next_one.process.wait(30) != 0


@pytest.mark.parametrize("file", ["/etc/machine-id", "/proc/sys/kernel/random/boot_id"])
def test_a_default_name_tells_the_machine(stack, tmp_path, file):
    """Equal host names; a machine that was cloned has another boot all the same."""
    here = name_of(worker(stack, file="here"))
    there = name_of(worker(stack, *machine(file, "another\n", tmp_path), file="there"))
    assert here != there and re.match(HOST + "-[0-9a-f]{6}$", there)


def other_spelling(url):
    path = url.removeprefix("unix:")
    return {"unix://": f"unix://{path}", "?db": f"{url}?db=0", "dots": f"unix:{path.replace('/redis', '/./redis')}"}


@pytest.mark.parametrize("spelling", ["unix://", "?db", "dots"])
async def test_one_worker_per_name_however_redis_is_spelt(stack, spelling):
    hub, first = stack.hub(), worker(stack, name="same", file="first")
    async with connect(hub) as c:
        task = await running(c)
        second = worker(stack, name="same", file="second", url=other_spelling(stack.redis.url)[spelling])
        assert await asyncio.to_thread(second.wait_exit, 15) == 1
        second.expected_exits = (1,)
        assert re.search("another worker is called same, and lives; give this one another worker.name", second.log())
        await ends_undisturbed(c, task)
    assert first.running
    stack.audit()


@pytest.mark.main
async def test_one_hub_per_name(stack):
    """On another machine, too; a light task runs once."""
    hub = stack.hub({"hub.name": "same"})
    async with connect(hub) as c:
        task = await running(c, "demo_steps", seconds=4)
        for prefix in ((), NETWORK):
            second = start(stack, Hub(stack.directory, "second", stack.redis, {"hub.name": "same"}), *prefix)
            assert await asyncio.to_thread(second.wait_exit, 15) == 1
            second.expected_exits = (1,)
            second.wait_log("another hub is called same, and lives; give this one another hub.name", 1)
        await ends_undisturbed(c, task)
        assert hub.get("/readyz").status == 200
    stack.audit()


async def test_hubs_of_one_host_and_port(stack):
    first = stack.hub({"hub.name": ""})
    async with connect(first) as c:
        task = await running(c, "demo_steps", seconds=4)
        second = Hub(stack.directory, "second", stack.redis, {"hub.name": ""})
        second.argv = [word.replace(str(second.port), str(first.port)) for word in second.argv]
        start(stack, second, *NETWORK)
        assert name_of(first) + "-2" == name_of(second)
        assert re.match(HOST + f"-[0-9a-f]{{6}}:{first.port}$", name_of(first))
        await ends_undisturbed(c, task)
    stack.audit()


@pytest.mark.main
async def test_begun_again_under_its_name(stack):
    """Who was killed listens and beats no more: his leases end as deaths, whoever has his name begins at once."""
    hub, first = stack.hub({"hub.name": "hub"}), worker(stack, name="same", file="first")
    async with connect(hub) as c:
        task = await running(c)
        first.kill()
        began = time.monotonic()
        second = worker(stack, name="same", file="second")
        await c.wait_event(type="started", task_id=task, attempt=2)
        assert time.monotonic() - began < 4
        assert (await c.wait_end(task))["status"] == "completed" and second.running
    hub.kill()
    began = time.monotonic()
    hub.start()
    assert time.monotonic() - began < 4
    stack.audit()


@pytest.mark.limit(90)
async def test_a_process_that_slept_gives_its_name_up(stack):
    """A lease after its last beat the name is free, though its channel is open; it ends when it finds that out."""
    lease = {"lease.ms": 3000}
    hub, first = stack.hub(lease), worker(stack, name="same", file="first", **lease)
    async with connect(hub) as c:
        await running(c)
        os.kill(first.pid, signal.SIGSTOP)
        second = worker(stack, name="same", file="second", **lease)
        await asyncio.to_thread(second.wait_log, "worker ready", 20)
        os.kill(first.pid, signal.SIGCONT)
        assert await asyncio.to_thread(first.wait_exit, 15) == 1
        first.expected_exits = (1,)
        first.wait_log("another worker is called same, and lives", 1)
        assert (await c.wait_end(await c.submit("noop_heavy", {"steps": 1})))["status"] == "completed"
    assert second.running


def connections(stack):
    """The numbers of all that are connected to Redis."""
    clients = [line.split(" ") for line in stack.redis.command("CLIENT", "LIST").splitlines()]
    return {next(w[3:] for w in words if w.startswith("id=")) for words in clients if "cmd=client|list" not in words}


def cut_off(stack, process, others):
    """Stops a process and closes its connections to Redis: all but those of others."""
    os.kill(process.pid, signal.SIGSTOP)
    for connection in connections(stack) - others:
        stack.redis.command("CLIENT", "KILL", "ID", connection)


@pytest.mark.limit(90)
async def test_a_default_name_is_given_up_while_it_works(stack):
    """It was cut off, and another took the name: it goes on under the next one, without its former leases."""
    hub = stack.hub()
    before = connections(stack)
    first = worker(stack, file="first")
    name = name_of(first)
    async with connect(hub) as c:
        task = await running(c, steps=60, sleep_ms=100)
        cut_off(stack, first, before)
        await c.wait_event(type="retrying", task_id=task, seconds=20)
        second = worker(stack, file="second")
        assert name_of(second) == name
        os.kill(first.pid, signal.SIGCONT)
        await asyncio.to_thread(first.wait_log, f"takes the next.*{name}-2", 15)
        assert (await c.wait_end(task))["status"] == "completed"
        ends = await asyncio.gather(*[c.wait_end(await c.submit("noop_heavy", {"steps": 5, "sleep_ms": 50}))
                                      for _ in range(4)])
        assert [end["status"] for end in ends] == ["completed"] * 4
        c.check()
    assert first.running and second.running
    stack.audit()


@pytest.mark.limit(90)
async def test_a_hub_goes_on_under_another_name(stack):
    """Its users notice nothing but the time in which it was stopped."""
    worker(stack, name="worker", file="worker").wait_log("worker ready")
    before = connections(stack)
    first = stack.hub({"hub.name": ""})
    name = name_of(first)
    async with connect(first) as c:
        await c.wait_end(await c.submit("noop_heavy", {"steps": 1}))
        cut_off(stack, first, before)
        await asyncio.sleep(2.5)  # silence is what makes it a dead one
        second = Hub(stack.directory, "second", stack.redis, {"hub.name": ""})
        second.argv = [word.replace(str(second.port), str(first.port)) for word in second.argv]
        start(stack, second, *NETWORK)
        assert await asyncio.to_thread(name_of, second) == name
        os.kill(first.pid, signal.SIGCONT)
        await asyncio.to_thread(first.wait_log, f"takes the next.*{name}-2", 15)
        await asyncio.to_thread(first.wait_ready)
        for task, args in (("noop", {}), ("noop_heavy", {"steps": 1}), ("demo_steps", {"seconds": 1})):
            assert (await c.wait_end(await c.submit(task, args)))["status"] == "completed"
        c.check()
    assert first.running and second.running
    stack.audit()


def test_an_end_gives_the_name_back(stack):
    """Nobody waits for the name of one who ended well."""
    stack.redis
    for again in range(3):
        one = worker(stack, name="same", file=f"worker{again}")
        one.wait_log("worker ready")
        assert one.stop() == 0
        assert "waits to know" not in one.log()
    assert stack.redis.command("ZRANGE", "th:{0}:hb", 0, -1) == []
