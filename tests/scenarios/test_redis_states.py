# SPDX-License-Identifier: MIT
"""States of Redis, and what the hub says of each: the table of docs/operations.md, row by row. Each state is made
with a real Redis; what the network does to it, with a proxy."""
import asyncio
import contextlib
import os
import re
import shutil
import signal
import subprocess
import time

import pytest

from client import RpcError, connect
from taskhub import TOP, eventually, free_port

KINDS = "noperm noauth moved readonly misconf oom loading busy noreplicas function other".split()


def cli(redis, *words):
    """As command(), with the password of a test."""
    done = subprocess.run(["redis-cli", "-s", str(redis.socket_path), "-a", "pw", "--no-auth-warning", *words],
                          capture_output=True, text=True, timeout=30, check=False)
    return done.stdout + done.stderr


# ---- what the network does ---------------------------------------------------------------------------
class Wire:
    """A proxy before Redis: passes everything on, or nothing (hole), or half of each answer and closes (half)."""

    def __init__(self, redis):
        self.redis, self.mode, self.server = redis, "pass", None
        redis.wire = self

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        self.server.close()

    async def serve(self, reader, writer):
        with contextlib.suppress(OSError):
            back, forth = await asyncio.open_unix_connection(str(self.redis.socket_path))
            await asyncio.wait([asyncio.ensure_future(self.pump(reader, forth, False)),
                                asyncio.ensure_future(self.pump(back, writer, True))],
                               return_when=asyncio.FIRST_COMPLETED)
            forth.close()
        writer.close()

    async def pump(self, reader, writer, answers):
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                while self.mode == "hole":
                    await asyncio.sleep(0.01)
                if self.mode == "half" and answers:
                    writer.write(data[:len(data) // 2])
                    return
                writer.write(data)


# ---- states: each is entered, and left at the end of its block ---------------------------------------
@contextlib.contextmanager
def readonly(redis):
    redis.command("REPLICAOF", "127.0.0.1", "1")
    try:
        yield
    finally:
        redis.command("REPLICAOF", "NO", "ONE")


@contextlib.contextmanager
def misconf(redis):
    """A snapshot cannot be written: what Redis does as on a full disk."""
    where = redis.data / "dump.rdb"
    where.mkdir()
    redis.command("CONFIG", "SET", "save", "3600 1")
    redis.command("BGSAVE")
    eventually(lambda: "rdb_last_bgsave_status:err" in redis.command("INFO", "persistence"))
    try:
        yield
    finally:
        redis.command("CONFIG", "SET", "save", "")
        where.rmdir()


@contextlib.contextmanager
def oom(redis):
    redis.command("CONFIG", "SET", "maxmemory", "1mb")
    try:
        yield
    finally:
        redis.command("CONFIG", "SET", "maxmemory", "0")


@contextlib.contextmanager
def noauth(redis):
    redis.command("CONFIG", "SET", "requirepass", "pw")
    for kind in ("normal", "pubsub"):
        cli(redis, "CLIENT", "KILL", "TYPE", kind)
    try:
        yield
    finally:
        cli(redis, "CONFIG", "SET", "requirepass", "")


@contextlib.contextmanager
def noperm(redis):
    redis.command("ACL", "SETUSER", "default", "resetkeys", "~other:*")
    try:
        yield
    finally:
        redis.command("ACL", "SETUSER", "default", "allkeys")


@contextlib.contextmanager
def moved(redis):
    """A node of a cluster whose slots all belong to another one."""
    redis.stop()
    port, nodes = free_port(), redis.data / "nodes.conf"
    here, there = "a" * 40, "b" * 40
    nodes.write_text(f"{here} 127.0.0.1:{port}@{port + 10000} myself,master - 0 0 1 connected\n"
                     f"{there} 127.0.0.1:{free_port()}@{free_port()} master - 0 0 2 connected 0-16383\n"
                     "vars currentEpoch 2 lastVoteEpoch 0\n")
    redis.start("--port", str(port), "--cluster-enabled", "yes", "--cluster-node-timeout", "3600000")
    eventually(lambda: "cluster_state:ok" in redis.command("CLUSTER", "INFO"))
    try:
        yield
    finally:
        redis.stop()
        nodes.unlink()
        redis.start("--cluster-enabled", "no")


@contextlib.contextmanager
def loading(redis):
    """It would take a minute, and is told to hurry when it was looked at."""
    redis.command("EVAL", "for i = 1, 120000 do redis.call('SET', 'fill:' .. i, i) end", "0")
    redis.stop()
    redis.argv += ["--key-load-delay", "500"]
    redis.spawn()

    def answers():
        with contextlib.suppress(OSError):
            return redis.command("PING")
        return None
    with pytest.raises(RuntimeError, match="LOADING"):
        eventually(answers)
    try:
        yield
    finally:
        eventually(lambda: "OK" in cli(redis, "CONFIG", "SET", "key-load-delay", "0"), 30)
        eventually(lambda: "LOADING" not in cli(redis, "PING"), 30)


@contextlib.contextmanager
def busy(redis):
    redis.command("CONFIG", "SET", "busy-reply-threshold", "50")
    with subprocess.Popen(["redis-cli", "-s", str(redis.socket_path), "EVAL", "while true do end", "0"],
                          stdout=subprocess.DEVNULL):
        yield
        redis.command("SCRIPT", "KILL")


@contextlib.contextmanager
def no_function(redis):
    redis.command("ACL", "SETUSER", "default", "-function|load")
    redis.command("FUNCTION", "FLUSH")
    try:
        yield
    finally:
        redis.command("ACL", "SETUSER", "default", "+function|load")


@contextlib.contextmanager
def noreplicas(redis):
    redis.command("CONFIG", "SET", "min-replicas-to-write", "1")
    try:
        yield
    finally:
        redis.command("CONFIG", "SET", "min-replicas-to-write", "0")


@contextlib.contextmanager
def silent(redis):
    os.kill(redis.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(redis.pid, signal.SIGCONT)


@contextlib.contextmanager
def down(redis):
    redis.kill()
    try:
        yield
    finally:
        redis.start()


@contextlib.contextmanager
def hole(redis):
    redis.wire.mode = "hole"
    yield
    redis.wire.mode = "pass"


@contextlib.contextmanager
def half(redis):
    redis.wire.mode = "half"
    yield
    redis.wire.mode = "pass"


# state, what /readyz begins with, what check says, kind of the metric ("" = none)
STATES = [
    (readonly, "readonly: ", r"^redis +FAIL .*readonly: ", "readonly"),
    (misconf, "misconf: ", r"^redis +FAIL .*misconf: ", "misconf"),
    (oom, "oom: ", r"^queue +FAIL +oom: ", "oom"),
    (noauth, "noauth: ", r"^redis +FAIL .*noauth: ", "noauth"),
    (noperm, "noperm: ", r"^queue +FAIL +noperm: ", "noperm"),
    (moved, "moved: ", r"^queue +FAIL +moved: ", "moved"),
    (loading, "loading: ", r"^redis +FAIL .*loading: ", "loading"),
    (busy, "busy: ", r"^redis +FAIL .*busy: ", "busy"),
    (noreplicas, "noreplicas: ", r"^queue +FAIL +noreplicas: ", "noreplicas"),
    (no_function, "function: ", r"^queue +warn +.*functions are not loaded", "function"),
    (silent, "no answer", r"^redis +FAIL .*no answer", ""),
    (hole, "no answer", r"^redis +FAIL .*no answer", ""),
    (half, "", r"^redis +FAIL .*closed", ""),
    (down, "", r"^redis +FAIL .*is that server running", ""),
]


# What shows besides: a start passes through loading, and a hub that finds no functions tries to load them.
PASSING = {moved: {"loading"}, down: {"loading"}, no_function: {"noperm"}}
LASTS_S = {silent: 5, hole: 5}  # longer than redis.silence_ms; the others as long as it takes to look


def reason(hub):
    """What /readyz says of Redis, None while it says nothing."""
    answer = hub.get("/readyz")
    assert (answer.status == 200) == answer.json()["ready"]
    return answer.json().get("reasons", {}).get("redis")


def kind_of(hub, kind):
    return hub.metric(f'taskhub_redis_refused_total{{kind="{kind}"}}')


async def off_loop(function, *args, **kwargs):
    return await asyncio.to_thread(function, *args, **kwargs)


async def refused(c, params):
    """A submission is answered, as one that may be repeated."""
    answer = await c.request("task.submit", params, seconds=20)
    assert answer["error"]["code"] == -32053 and answer["error"]["data"]["retry_ms"] > 0, answer


@pytest.mark.limit(120)
@pytest.mark.parametrize("state, word, checked, kind", STATES, ids=[row[0].__name__ for row in STATES])
async def test_states(stack, state, word, checked, kind):
    """The answer to a caller, /readyz, `taskhub check`, the metric, the log; and the end of the state."""
    redis = stack.redis
    keyed = {"task": "noop", "idempotency_key": "k"}
    async with Wire(redis) as wire:
        hub = stack.hub({"redis.url": wire.url}, start=False)
        await off_loop(hub.start)
        async with connect(hub) as c:
            await c.wait_end(await c.submit("noop"))
            lines, began = len(hub.log().splitlines()), time.monotonic()
            with state(redis):
                await off_loop(eventually, lambda: (reason(hub) or "-").startswith(word), 20, f"/readyz says {word}")
                await refused(c, keyed)
                while time.monotonic() < began + LASTS_S.get(state, 0):
                    await refused(c, keyed)
                    await asyncio.sleep(0.1)
                await off_loop(eventually, lambda: hub.metric("taskhub_redis_up") == 0, 5, "the metric")
                assert hub.get("/healthz").status == 200
                done = await off_loop(hub.program, "check", check=False)
                assert re.search(checked, done.stdout, re.M), done.stdout
                assert done.returncode == (0 if " +warn" in checked else 1), done
                assert state is not readonly or "survive" not in done.stdout, done.stdout
            await off_loop(eventually, lambda: reason(hub) is None and hub.get("/readyz").status == 200, 20, "ready again")
            said = hub.log().splitlines()[lines:]
            assert len(said) <= 3 + time.monotonic() - began, said
            again = await c.call("task.submit", keyed)
            assert (await c.wait_end(again["task_id"]))["status"] == "completed"
    if kind:
        assert kind_of(hub, kind) > 0
        assert len(re.findall(rf'msg="Redis refuses" why="{kind}: ', hub.log())) == 1, hub.log()
    others = set(KINDS) - {kind} - PASSING.get(state, set())
    assert all(kind_of(hub, other) == 0 for other in others), hub.get("/metrics").text


def test_the_page_has_these_states():
    """A row of docs/operations.md for each, in this order: the word, what check does, the kind."""
    page = (TOP / "docs/operations.md").read_text().split("| Redis | `/readyz`")[1].split("\n\n")[0]
    rows = [[cell.strip().strip("`") for cell in line.split("|")[2:5]] for line in page.splitlines()[2:]]
    told = [(word.strip(": "), "warns" if " +warn" in checked else "fails", kind) for _, word, checked, kind in STATES]
    assert [(word if kind or "answer" in word else "", check.split(":")[0], kind) for word, check, kind in rows] == told


async def test_older_data(stack):
    """A backup is restored: the hub goes on, and who had been given more is told that events are lost."""
    redis, hub = stack.redis, stack.hub()
    backup = redis.data.parent / "backup"
    async with connect(hub) as c:
        kept = await c.submit("noop")
        await c.wait_end(kept)
        redis.stop()
        shutil.copytree(redis.data, backup)
        redis.start()
        await off_loop(hub.wait_ready)
        gone = await c.submit_patiently("noop")
        await c.wait_end(gone)
        point = c.resume_point()
        redis.kill()
        shutil.rmtree(redis.data)
        backup.rename(redis.data)
        redis.start()
        assert await c.wait_closed() == 1012
    await off_loop(hub.wait_ready)
    async with connect(hub, resume=point) as c:
        assert c.session["resumed"] == "gap", c.session
        assert (await c.get(kept))["status"] == "completed"
        with pytest.raises(RpcError):
            await c.get(gone)
        assert (await c.wait_end(await c.submit("noop")))["status"] == "completed"
    assert hub.program("check", check=False).returncode == 0


def test_the_least_rights(stack):
    """What the reason `noperm` tells to allow is enough."""
    rules = re.search(r"ACL rules: (.*?)\"", (TOP / "hub/redis/redis_refusal.c").read_text().replace('"\n', "").replace(
        '                      "', "")).group(1)
    stack.redis.command("ACL", "SETUSER", "hub", "on", ">pw", *rules.split())
    port = free_port()
    stack.redis.command("CONFIG", "SET", "port", port)
    hub = stack.hub({"redis.url": f"redis://hub:pw@127.0.0.1:{port}"})
    stack.worker({"redis.url": f"redis://hub:pw@127.0.0.1:{port}"})
    eventually(lambda: "warnings" not in hub.get("/readyz").json(), 10, "the worker")
    done = hub.program("check")
    assert "FAIL" not in done.stdout and "warn" not in done.stdout, done.stdout
    assert all(kind_of(hub, kind) == 0 for kind in KINDS), hub.log()


# ---- workers -----------------------------------------------------------------------------------------
def test_no_worker(stack):
    """A hub on a Redis of others is ready without workers, and says that there are none."""
    hub = stack.hub()
    answer = hub.get("/readyz")
    assert answer.status == 200
    assert answer.json()["warnings"] == {name: f"no worker serves queue {name}" for name in ("default", "live")}
    assert re.search(r"^workers +warn +no worker serves queue live", hub.program("check").stdout, re.M)
    stack.worker()
    eventually(lambda: "warnings" not in hub.get("/readyz").json(), 10, "the worker")


def test_no_private_worker(stack):
    """A hub that starts its worker itself is not ready without it."""
    hub = stack.private_hub()
    assert "warnings" not in hub.get("/readyz").json()

    def missed():
        with contextlib.suppress(ProcessLookupError, TypeError):
            os.kill(hub.worker_pid(), signal.SIGKILL)
        answer = hub.get("/readyz")
        return answer.status == 503 and answer.json()["reasons"]
    assert "no worker serves queue default" in eventually(missed, 10, "a hub that misses its worker").values()
    hub.wait_ready()


async def test_memory_that_is_nearly_used_up(stack):
    """A warning before anything is refused."""
    hub = stack.hub()
    stack.worker()
    used = next(int(line.split(":")[1]) for line in stack.redis.command("INFO", "memory").splitlines()
                if line.startswith("used_memory:"))
    await off_loop(eventually, lambda: "memory" not in hub.get("/readyz").json().get("warnings", {}), 5, "readiness")
    stack.redis.command("CONFIG", "SET", "maxmemory", str(used * 10 // 9))
    await off_loop(eventually, lambda: hub.get("/readyz").json().get("warnings", {}).get("memory", "").startswith(
        "Redis uses "), 5, "the warning")
    assert hub.get("/readyz").status == 200 and hub.metric("taskhub_redis_memory_max_bytes") == used * 10 // 9
    assert hub.metric("taskhub_redis_memory_bytes") > used / 2
    stack.redis.command("CONFIG", "SET", "maxmemory", "0")
    await off_loop(eventually, lambda: "memory" not in hub.get("/readyz").json().get("warnings", {}), 5, "its end")
