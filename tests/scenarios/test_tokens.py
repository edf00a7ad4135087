# SPDX-License-Identifier: MIT
"""Who gets in: the tokens that identity providers make, in a message and in a header; and how they are revoked."""
import asyncio
import json
import signal
import time

import pytest

from client import RpcError, connect
from raw_ws import CLOSE, TEXT, Raw, frame, upgrade
from taskhub import SECRET, SLOWDOWN, b64url, token


def by_header(hub, value):
    """What comes first on a connection with this Authorization: a text, or (close code, reason)."""
    with Raw(hub.port) as raw:
        raw.send(upgrade(Authorization=value))
        status, head = raw.head()
        if status != 101:
            return status, head
        raw.send(frame(TEXT, json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"})))
        opcode, payload = raw.frame()
        if opcode == CLOSE:
            return int.from_bytes(payload[:2], "big"), payload[2:].decode()
        return payload.decode()


def of_size(n):
    """A token of n bytes (or one or two more: base64 knows no other lengths)."""
    bulk = n * 3 // 4 - 300
    while len(token(bulk="x" * bulk)) < n:
        bulk += 1
    return token(bulk="x" * bulk)


async def test_forms_of_the_header(hub):
    assert '"time"' in by_header(hub, f"Bearer {token()}  "), "blanks behind it are not of the value"
    for scheme in ("Bearer ", "bearer ", "BEARER ", "Bearer  ", "Bearer      "):
        assert '"time"' in by_header(hub, scheme + token()), scheme
    for value in ("Basic dTpw", "Bearer", "Bearer  ", "Bearer" + token(), token()):
        assert "-32001" in by_header(hub, value), value


async def test_sizes(hub):
    assert '"time"' in by_header(hub, "Bearer " + of_size(8190))
    assert by_header(hub, "Bearer " + of_size(8200)) == (4401, "token is too long for a header")
    for n, fits in ((4100, True), (16380, True), (16390, False), (18000, False)):
        async with connect(hub, auth=False) as c:
            if fits:
                assert (await c.auth(of_size(n)))["user_id"] == "alice"
                continue
            with pytest.raises(RpcError) as refused:
                await c.auth(of_size(n))
            assert (refused.value.code, refused.value.args[0][7:24]) == (-32001, "token is too long")
            assert await c.wait_closed() == 4401
    async with connect(hub, "alice") as c:
        with pytest.raises(RpcError) as refused:
            await c.call("auth.refresh", {"token": of_size(40000)})
        assert "too long" in str(refused.value)
        await c.call("auth.refresh", {"token": of_size(16380)})


SUBJECTS = ["auth0|5f7c8ec7c33c6c004bbafe82", "https://idp.example.org/users/7", "f:8c69:Jos\u00e9 \u5c71",
            "a%7Cb", "a|b", "{0}:*?[x]\\\"", "\U0001f41f" * 63]


async def test_an_owner_of_any_name(two_hubs, stack):
    """One owner, the same everywhere: events, lists, notifications, retries; and never that of another name."""
    first, second = two_hubs
    for name in SUBJECTS:
        async with connect(first, name) as c, connect(second, name) as other:
            assert c.session["user_id"] == other.session["user_id"] == name
            for kind, args in (("noop", {}), ("noop_heavy", {"steps": 1})):
                task = await c.submit(kind, args, idempotency_key=kind)
                assert (await c.wait_end(task))["user_id"] == name
                assert (await other.wait_end(task))["status"] == "completed"
                assert (await other.get(task))["user_id"] == name
                assert (await other.submit(kind, args, idempotency_key=kind)) == task
            tasks = (await other.call("task.list"))["tasks"]
            assert len(tasks) == 2 and {task["user_id"] for task in tasks} == {name}
            await c.wait_end(await c.submit("send_notification", {"title": "t", "body": "b", "user_id": name}))
            await other.until(lambda: [n for n in other.notes if n[0] == "notification"])
            assert [n[1]["user_id"] for n in other.notes if n[0] == "notification"] == [name]
            assert (await c.call("notification.list"))["unread"] == 1
            with pytest.raises(RpcError) as refused:
                await c.submit("send_notification", {"title": "t", "body": "b", "user_id": name[:-1] + "."})
            assert refused.value.code == -32003
            c.check()
            other.check()
    stack.audit()


async def test_staff_and_owners_of_any_name(two_hubs):
    first, second = two_hubs
    async with connect(first, "staff", roles=["admin"]) as staff, connect(second, "a|b") as c:
        await staff.call("admin.watch", {"owner": "a|b"})
        task = await c.submit("noop_heavy", {"steps": 1000, "sleep_ms": 50})
        await staff.until(lambda: [n for n in staff.notes if n[0] == "admin.event" and n[1]["user_id"] == "a|b"])
        await staff.cancel(task)
        await c.wait_end(task)
        listed = (await staff.call("admin.tasks", {"user_id": "a|b"}))["tasks"]
        assert [(t["task_id"], t["user_id"]) for t in listed] == [(task, "a|b")]
        assert (await staff.call("admin.tasks", {"user_id": "a%7Cb"}))["tasks"] == []
        again = await staff.call("task.retry", {"task_id": task})
        await c.wait_event(task_id=again["task_id"], type="started")
        await c.cancel(again["task_id"])
        assert (await c.wait_end(again["task_id"]))["user_id"] == "a|b"
        with pytest.raises(RpcError) as refused:
            await staff.call("admin.tasks", {"user_id": "a\u202eb"})
        assert refused.value.data["field"] == "user_id"


async def test_a_retry_names_its_own_owner(two_hubs, stack):
    """The argument that names the owner is the user id; Redis compares it with the owner."""
    first, second = two_hubs
    async with connect(first, "a|b") as c, connect(second, "a|b") as other:
        task = await c.submit("send_notification", {"title": "t", "body": "b", "user_id": "a|b"}, delay_ms=60000)
        await other.cancel(task)
        again = await c.call("task.retry", {"task_id": task})
        assert (await c.wait_end(again["task_id"]))["status"] == "completed"


async def test_a_token_may_not_live_for_ever(stack):
    hub = stack.hub({"auth.max_ttl": 3600})
    for ttl, fits in ((3600, True), (3700, False), (7000 * 365 * 86400, False)):
        async with connect(hub, auth=False) as c:
            if fits:
                await c.auth(token(ttl=ttl))
                continue
            with pytest.raises(RpcError) as refused:
                await c.auth(token(ttl=ttl))
            assert "auth.max_ttl" in str(refused.value)
    assert hub.program("token", "--user", "a", "--ttl", "1h").stdout.count(".") == 2
    assert "auth.max_ttl" in hub.program("token", "--user", "a", "--ttl", "2h", check=False).stderr


async def test_connections_of_a_removed_key(stack, tmp_path):
    """SIGHUP ends who was let in by a key that is not there any more, and nobody else."""
    def jwk(kid, secret):
        return {"kty": "oct", "alg": "HS256", "kid": kid, "k": b64url(secret)}
    other, keys = b"another secret of 32 bytes or more", tmp_path / "keys.json"
    keys.write_text(json.dumps({"keys": [jwk("one", SECRET), jwk("two", other)]}))
    hub = stack.hub({"jwt.key_file": keys})
    async with connect(hub, token=token(kid="one")) as stays, \
            connect(hub, token=token(kid="two", key=other)) as goes, \
            connect(hub, "bob", auth=False,
                    headers={"Authorization": "Bearer " + token("bob", kid="two", key=other)}) as known, \
            connect(hub, token=token("eve", kid="two", key=other)) as moves:
        await known.call("ping")
        await moves.call("auth.refresh", {"token": token("eve", kid="one")})
        keys.write_text(json.dumps({"keys": [jwk("renamed", SECRET)]}))
        hub.signal(signal.SIGHUP)
        assert await goes.wait_closed() == 4401 and await known.wait_closed() == 4401
        assert (await stays.wait_end(await stays.submit("noop")))["status"] == "completed"
        await moves.call("ping")


# ---- revocation ------------------------------------------------------------------------------------------------------

async def in_thread(fn, *args):
    return await asyncio.get_running_loop().run_in_executor(None, fn, *args)


async def all_closed(clients, since, seconds=2):
    assert [await c.wait_closed() for c in clients] == [4401] * len(clients)
    assert time.monotonic() - since < seconds * SLOWDOWN


async def is_refused(hub, bad, reason="revoked"):
    async with connect(hub, auth=False) as c:
        with pytest.raises(RpcError) as refused:
            await c.auth(bad)
        assert refused.value.code == -32001 and reason in str(refused.value)
        assert await c.wait_closed() == 4401


async def test_a_token_is_revoked(two_hubs):
    """By its jti or by itself, at every hub: who is in goes, nobody comes, and other tokens of the user stay."""
    first, second = two_hubs
    with_jti, without, other = token(jti="a jti"), token(n=1), token(jti="another")
    async with connect(first, token=with_jti) as a, connect(second, token=with_jti) as b, \
            connect(second, token=without) as c, connect(first, token=other) as stays, \
            connect(first, auth=False, headers={"Authorization": "Bearer " + with_jti}) as known:
        await known.call("ping")
        task = await stays.submit("noop_heavy", {"steps": 40, "sleep_ms": 50})
        await in_thread(first.program, "token", "revoke", "a jti")
        await all_closed((a, b, known), time.monotonic())
        await c.call("ping")
        await in_thread(second.program, "token", "revoke", without)
        await all_closed((c,), time.monotonic())
        assert (await stays.wait_end(task))["status"] == "completed"
        stays.check()
    for hub in two_hubs:
        await is_refused(hub, with_jti)
        await is_refused(hub, without)
        await is_refused(hub, token(jti="a jti", iat=None))
        assert by_header(hub, "Bearer " + with_jti) == (4401, "token was revoked")
    second.kill()
    second.start()
    await is_refused(second, with_jti)


async def test_all_tokens_of_a_user(two_hubs):
    first, second = two_hubs
    now, back = int(time.time()), time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 100))
    async with connect(first, "root", roles=["admin"]) as admin, connect(second, token=token("a|b", iat=None)) as old, \
            connect(second, token=token("a|b", iat=now - 200)) as older, \
            connect(second, token=token("a|b", iat=now - 50)) as newer, connect(second, "a") as bystander, \
            connect(first, "v", roles=["viewer"]) as viewer:
        for params, field in (({}, "jti"), ({"jti": "x", "user_id": "y"}, "jti"), ({"jti": "x", "before": back}, "before"),
                              ({"user_id": "a\nb"}, "user_id"), ({"user_id": "a", "before": "9999-01-01T00:00:00Z"}, "before")):
            with pytest.raises(RpcError) as refused:
                await admin.call("admin.revoke", params)
            assert (refused.value.code, refused.value.data["field"]) == (-32602, field)
        with pytest.raises(RpcError) as refused:
            await viewer.call("admin.revoke", {"user_id": "a|b"})
        assert refused.value.code == -32003
        assert await admin.call("admin.revoke", {"user_id": "a|b", "before": back}) == {"ok": True}
        await all_closed((old, older), time.monotonic())
        await newer.call("ping")
        assert await admin.call("admin.revoke", {"user_id": "a|b"}) == {"ok": True}
        await all_closed((newer,), time.monotonic())
        await bystander.call("ping")
        await is_refused(first, token("a|b"))
        async with connect(first, token=token("a|b", iat=int(time.time()) + 5)) as c:
            await c.call("ping")


async def test_revoked_while_redis_is_stopped(two_hubs, stack):
    """The word is written when Redis goes on, and every hub hears it, whatever it lost meanwhile."""
    first, second = two_hubs
    async with connect(first, token=token(jti="j")) as a, connect(second, token=token(jti="j")) as b:
        stack.redis.signal(signal.SIGSTOP)
        try:
            revoking = asyncio.ensure_future(in_thread(first.program, "token", "revoke", "j"))
            await asyncio.sleep(1)
            assert not revoking.done() and a.closed is None
        finally:
            stack.redis.signal(signal.SIGCONT)
        await revoking
        await all_closed((a, b), time.monotonic())


async def test_revoked_while_connections_are_lost(two_hubs, stack):
    first, second = two_hubs
    async with connect(first, token=token(jti="j")) as a, connect(second, token=token(jti="j")) as b:
        for kind in ("pubsub", "normal"):
            stack.redis.command("CLIENT", "KILL", "TYPE", kind)
        await in_thread(first.program, "token", "revoke", "j")
        for kind in ("pubsub", "normal"):
            stack.redis.command("CLIENT", "KILL", "TYPE", kind)
        await all_closed((a, b), time.monotonic(), 5)  # and the time to connect again
    for hub in two_hubs:
        hub.wait_ready()
        await is_refused(hub, token(jti="j"))


async def test_nobody_comes_while_it_is_not_known(stack):
    """A hub to which Redis says nothing for auth.deny_grace_s lets nobody in and answers nobody."""
    hub = stack.hub({"auth.deny_grace_s": 2})
    async with connect(hub) as c:
        assert (await c.call("notification.list"))["notifications"] == []
        stack.redis.signal(signal.SIGSTOP)
        try:
            await in_thread(hub.wait_log, "nobody is let in")
            assert "revoked" in hub.get("/readyz").text or "redis" in hub.get("/readyz").text
            with pytest.raises(RpcError) as refused:
                await c.call("notification.list")
            assert refused.value.word == "unavailable"
            async with connect(hub, auth=False) as late:
                with pytest.raises(RpcError) as refused:
                    await late.auth(token())
                assert refused.value.word == "unavailable" and refused.value.data["retry_ms"]
                with pytest.raises(RpcError) as refused:
                    await late.call("notification.list")
                assert refused.value.code == -32001
            assert by_header(hub, "Bearer " + token()) == (1013, "try again later")
            assert c.closed is None
        finally:
            stack.redis.signal(signal.SIGCONT)
        hub.wait_ready()
        assert (await c.call("notification.list"))["notifications"] == []
        async with connect(hub) as again:
            assert (await again.wait_end(await again.submit("noop")))["status"] == "completed"


async def test_a_long_list_and_a_forgotten_one(stack):
    """A hub that starts reads all of it, in pages; one that runs keeps what it knows when Redis has forgotten it."""
    first = stack.hub({"limits.user_messages_per_s": 100000})
    names = [f"jti {i}" for i in range(1203)]
    async with connect(first, "root", roles=["admin"]) as admin:
        for i in range(0, len(names), 50):
            answers = await admin.batch([("admin.revoke", {"jti": name}) for name in names[i:i + 50]])
            assert all(answer["result"] == {"ok": True} for answer in answers)
        second = stack.hub()
        for name in (names[0], names[499], names[500], names[1000], names[-1]):
            await is_refused(second, token(jti=name))
        stack.redis.command("FLUSHALL")
        await admin.call("admin.revoke", {"jti": "after it"})
        for hub in (first, second):
            later = f"later at {hub.name}"
            async with connect(hub, token=token(jti=later)) as late:
                await admin.call("admin.revoke", {"jti": later})
                await all_closed((late,), time.monotonic())
            await is_refused(hub, token(jti="after it"))
            await is_refused(hub, token(jti=names[7]))
