# SPDX-License-Identifier: MIT
"""Several addresses of Redis: the primary among them is used, and left when it is one no more."""
import asyncio
import contextlib
import re
import signal

from client import RpcError, connect
from taskhub import Redis, eventually, free_port


class Pair:
    """A primary and a replica of it, on ports of their own."""

    def __init__(self, stack):
        self.ports = {}
        self.primary, self.replica = self.start(stack, "one"), self.start(stack, "two")
        self.replica.command("REPLICAOF", "127.0.0.1", self.ports[self.primary])
        eventually(lambda: "master_link_status:up" in self.replica.command("INFO", "replication"), 20)

    def start(self, stack, name):
        redis, port = stack._add(Redis(stack.directory, name)), free_port()
        self.ports[redis] = port
        return redis.start("--port", str(port), "--repl-diskless-sync-delay", "0")

    def wait_copied(self):
        """Returns when the replica has all that the primary has written until now: what it lacks, a fail-over loses."""
        def offset(redis, field):
            return int(dict(line.split(":") for line in redis.command("INFO", "replication").split() if ":" in line)[field])

        written = offset(self.primary, "master_repl_offset")
        eventually(lambda: offset(self.replica, "slave_repl_offset") >= written, 20, "the replica catches up")

    def url(self, first, second):
        return f"redis://127.0.0.1:{self.ports[first]},127.0.0.1:{self.ports[second]}"


def clients(redis):
    """How many hubs and workers listen to this server."""
    return len(redis.command("CLIENT", "LIST", "TYPE", "pubsub").splitlines())


def reason(hub):
    """What /readyz says of Redis, "" while it says nothing."""
    with contextlib.suppress(ConnectionRefusedError):
        return hub.get("/readyz").json().get("reasons", {}).get("redis", "")
    return ""


async def completes(c, task, args):
    """Submits until that is taken, and waits for the end."""
    task_id = None
    while task_id is None:
        with contextlib.suppress(RpcError):
            task_id = await c.submit(task, args)
    assert (await c.wait_end(task_id, 20))["status"] == "completed"


async def test_the_primary_dies(stack):
    pair = Pair(stack)
    url = {"redis.url": pair.url(pair.replica, pair.primary)}  # the replica first: it is passed over
    hub = stack.hub(url)
    stack.worker(url)
    async with connect(hub) as c:
        await completes(c, "noop_heavy", {"steps": 1})
        assert clients(pair.primary) == 2 and clients(pair.replica) == 0
        pair.wait_copied()
        pair.primary.kill()
        pair.replica.command("REPLICAOF", "NO", "ONE")
        await completes(c, "noop_heavy", {"steps": 1})
        hub.wait_ready()
        eventually(lambda: clients(pair.replica) == 2, 10, "hub and worker subscribe at the new primary")


async def test_the_primary_becomes_a_replica(stack):
    """It lives on and answers reads: it is left all the same, by the subscriptions, too."""
    pair = Pair(stack)
    url = {"redis.url": pair.url(pair.primary, pair.replica)}
    hub = stack.hub(url)
    stack.worker(url)
    async with connect(hub) as c:
        await completes(c, "noop_heavy", {"steps": 1})
        pair.wait_copied()
        pair.replica.command("REPLICAOF", "NO", "ONE")
        pair.primary.command("REPLICAOF", "127.0.0.1", pair.ports[pair.replica])
        eventually(lambda: clients(pair.replica) == 2 and clients(pair.primary) == 0, 10, "all connections move")
        hub.wait_ready()
        await completes(c, "noop_heavy", {"steps": 1})
        assert hub.metric('taskhub_redis_refused_total{kind="readonly"}') > 0


async def test_a_primary_that_goes_on_without_replicas(stack):
    """With redis.min_replicas it is not used."""
    pair = Pair(stack)
    hub = stack.hub({"redis.url": pair.url(pair.primary, pair.replica), "redis.min_replicas": 1}, start=False)
    hub.start(ready=False)
    await asyncio.to_thread(eventually, lambda: "would go on" in reason(hub), 10, "the reason")
    done = hub.program("check", check=False)
    assert done.returncode == 1 and re.search("^replicas +FAIL ", done.stdout, re.M), done.stdout
    pair.primary.command("CONFIG", "SET", "min-replicas-to-write", 1)
    hub.wait_ready()
    assert re.search("^replicas +ok ", hub.program("check").stdout, re.M)
    async with connect(hub) as c:
        await completes(c, "noop", {})


async def test_a_replica_hangs(stack):
    """What it does not have is not acknowledged, and not lost: the key tells, and its events come."""
    pair = Pair(stack)
    pair.primary.command("CONFIG", "SET", "min-replicas-to-write", 1)
    url = {"redis.url": pair.url(pair.primary, pair.replica), "redis.min_replicas": 1}
    hub = stack.hub(url)
    stack.worker(url)
    tasks = [{"task": "noop", "idempotency_key": "a"},
             {"task": "noop_heavy", "args": {"steps": 1}, "idempotency_key": "b"}]
    async with connect(hub) as c:
        await completes(c, "noop_heavy", {"steps": 1})
        pair.replica.signal(signal.SIGSTOP)
        try:
            answers = await asyncio.gather(*(c.request("task.submit", task) for task in tasks))
            assert [answer["error"]["data"]["code"] for answer in answers] == ["unavailable"] * 2, answers
            await asyncio.to_thread(eventually, lambda: reason(hub).startswith("noreplicas: "), 10, "the reason")
            assert hub.metric('taskhub_redis_refused_total{kind="noreplicas"}') > 0
            await c.until(lambda: {e["task"] for e in c.events if e["type"] == "completed"} == {"noop", "noop_heavy"})
        finally:
            pair.replica.signal(signal.SIGCONT)
        await asyncio.to_thread(hub.wait_ready)
        for task in tasks:
            again = await c.call("task.submit", task)
            assert again["duplicate"] and (await c.wait_end(again["task_id"]))["status"] == "completed"
        c.check()
