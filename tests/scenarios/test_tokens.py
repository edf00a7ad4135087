# SPDX-License-Identifier: MIT
"""Who gets in: the tokens that identity providers make, in a message and in a header."""
import json
import signal

import pytest

from client import RpcError, connect
from raw_ws import CLOSE, TEXT, Raw, frame, upgrade
from taskhub import SECRET, b64url, token


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
