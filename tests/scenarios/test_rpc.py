# SPDX-License-Identifier: MIT
"""JSON-RPC on the wire: what is answered to which message, batches, auth in all its ways, and what a client
hears while Redis is down."""
import json
import time

import pytest

from client import RpcError, connect
from taskhub import SLOWDOWN, eventually, token

LONG = "x" * 129


async def raw(client, text):
    """Sends a text as it is and gives the next answer."""
    seen = len(client.order)
    await client.send(text)
    await client.until(lambda: len(client.order) > seen, 10, f"an answer to {text[:80]}")
    return client.order[seen][2]


BAD = {
    "empty": ("", -32700),
    "no JSON": ("{", -32700),
    "trailing garbage": ('{"jsonrpc":"2.0","id":1,"method":"ping"} x', -32700),
    "two documents": ("{}{}", -32700),
    "duplicate key": ('{"jsonrpc":"2.0","id":1,"method":"ping","method":"task.cancel"}', -32700),
    "escaped NUL": ('{"jsonrpc":"2.0","id":1,"method":"ping\\u0000"}', -32700),
    "lone surrogate": ('{"jsonrpc":"2.0","id":1,"method":"\\ud800"}', -32700),
    "scalar": ("1", -32600),
    "empty batch": ("[]", -32600),
    "version missing": ('{"id":1,"method":"ping"}', -32600),
    "version as number": ('{"jsonrpc":2.0,"id":1,"method":"ping"}', -32600),
    "method missing": ('{"jsonrpc":"2.0","id":1}', -32600),
    "id object": ('{"jsonrpc":"2.0","id":{},"method":"ping"}', -32600),
    "id too long": ('{"jsonrpc":"2.0","id":"%s","method":"ping"}' % LONG, -32600),
    "params string": ('{"jsonrpc":"2.0","id":1,"method":"ping","params":"x"}', -32600),
    "params list": ('{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}', -32602),
    "unknown method": ('{"jsonrpc":"2.0","id":1,"method":"subscribe"}', -32601),
    "method with NUL-like name": ('{"jsonrpc":"2.0","id":1,"method":"\\u0001"}', -32601),
    "depth": ("[" * 40 + "]" * 40, -32700),
    "members": ("{" + ",".join(f'"k{n}":1' for n in range(300)) + "}", -32700),
    "digits": ('{"jsonrpc":"2.0","id":' + "9" * 60000 + ',"method":"ping"}', -32600),
}


async def test_bad_messages(hub):
    async with connect(hub) as c:
        for name, (text, code) in BAD.items():
            answer = await raw(c, text)
            assert answer["error"]["code"] == code, (name, answer)
            assert answer["error"]["data"]["status"] in (400, 404, 422), (name, answer)
        assert "time" in await c.call("ping")  # and the connection lives


async def test_ids_are_echoed(hub):
    async with connect(hub) as c:
        for text in ("9007199254740993", "-7", "0", '"a"', '""', '"\\u00e4 \\"x\\""'):
            await c.send('{"jsonrpc":"2.0","id":%s,"method":"ping"}' % text)
        await c.until(lambda: sum(kind == "reply" for kind, _, _ in c.order) == 7)
        got = [answer["id"] for kind, _, answer in c.order[1:] if kind == "reply"]
        assert got == [9007199254740993, -7, 0, "a", "", 'ä "x"']


async def test_notifications_have_no_answer(hub):
    async with connect(hub) as c:
        for method in ("ping", "nope", "task.get"):
            await c.send({"jsonrpc": "2.0", "method": method})
        await c.call("ping")
        assert sum(kind == "reply" for kind, _, _ in c.order) == 2  # auth and the last ping


async def test_a_batch_is_one_answer_and_its_events_follow(hub):
    async with connect(hub) as c:
        answers = await c.batch([("ping", {}), ("task.submit", {"task": "noop"}), ("nope", {}),
                                 ("task.submit", {"task": "noop_heavy", "args": {"steps": 1}}),
                                 ("task.submit", {"task": "noop"}), ("auth", {"token": "x"}),
                                 ("audio.end", {"stream": 1})])
        codes = [answer.get("error", {}).get("code") for answer in answers]
        assert codes == [None, None, -32601, None, None, -32600, -32600]
        for n in (1, 3, 4):
            await c.wait_end(answers[n]["result"]["task_id"])
        c.check()
        kinds = [kind for kind, _, _ in c.order]
        assert kinds[1:8] == ["reply"] * 7  # all in one frame, before any event
        too_many = await raw(c, json.dumps([{"jsonrpc": "2.0", "id": n, "method": "ping"} for n in range(65)]))
        assert too_many["error"]["code"] == -32600
        await c.send([{"jsonrpc": "2.0", "method": "ping"}])
        await c.call("ping")


async def test_tokens(hub):
    now = int(time.time())
    good = token("alice")
    head, body, signature = good.split(".")
    bad = {
        "expired": token("alice", exp=now - 60), "no exp": token("alice", exp=None),
        "other audience": token("alice", aud="other"), "no audience": token("alice", aud=None),
        "not yet": token("alice", nbf=now + 600), "other key": token("alice", key=b"k" * 32),
        "bad user": token("a\nb"), "empty user": token(""),
        "payload swapped": ".".join([head, token("root").split(".")[1], signature]),
        "newline behind": good + "\n", "none": head + "." + body + ".", "text": "hello",
    }
    for name, text in bad.items():
        async with connect(hub, auth=False) as c:
            with pytest.raises(RpcError) as error:
                await c.call("auth", {"token": text})
            assert (error.value.code, error.value.data["status"]) == (-32001, 401), name
            assert await c.wait_closed() == 4401, name
    async with connect(hub, token=token("alice", exp=now - 10)) as c:
        assert c.session["user_id"] == "alice"  # within the skew
    assert token("alice").split(".")[2] not in hub.log()


async def test_nothing_without_auth(hub):
    async with connect(hub, auth=False) as c:
        for method, params in (("task.submit", {"task": "noop"}), ("ping", {}), ("admin.stats", {})):
            with pytest.raises(RpcError) as error:
                await c.call(method, params)
            assert error.value.code == -32001
        with pytest.raises(RpcError) as error:
            await c.call("auth")
        assert error.value.code == -32602
        await c.send(b"\0\0\0\1abc")
        assert await c.wait_closed() == 4401


async def test_auth_tells_limits_and_roles(hub):
    async with connect(hub, "root", roles=["admin", "viewer"]) as c:
        assert c.session["roles"] == ["admin", "viewer"]
        assert c.session["limits"]["user_tasks"] == 5
        assert c.session["resumed"] == "none" and c.session["expires_at"].endswith("Z")
        with pytest.raises(RpcError) as error:
            await c.call("auth", {"token": token("root")})
        assert error.value.code == -32009


async def test_token_on_the_upgrade(hub):
    async with connect(hub, "carol", auth=False, headers={"Authorization": "Bearer " + token("carol")}) as c:
        await c.auth(None)
        assert c.session["user_id"] == "carol"
        task = await c.submit("noop")
        await c.wait_end(task)
    async with connect(hub, auth=False, headers={"Authorization": "Bearer nonsense"}) as c:
        assert await c.wait_closed() == 4401


async def test_refresh(hub):
    async with connect(hub, "alice", token=token("alice", ttl=3)) as c:
        await c.wait_note("auth.expiring", 10)
        answer = await c.call("auth.refresh", {"token": token("alice", ttl=600)})
        assert answer["expires_at"] > c.session["expires_at"]
        with pytest.raises(RpcError) as error:
            await c.call("auth.refresh", {"token": token("bob")})
        assert error.value.code == -32001
        await c.call("ping")


async def test_tasks_of_the_token(hub):
    async with connect(hub, "alice", token=token("alice", tasks=["process_text"])) as c:
        with pytest.raises(RpcError) as error:
            await c.submit("noop")
        assert (error.value.code, error.value.word) == (-32003, "task_not_allowed")
        await c.wait_end(await c.submit("process_text", {"text": "Few words."}))


async def test_redis_down_is_said_at_once(stack):
    hub = stack.hub()
    async with connect(hub, "alice") as c:
        done = await c.submit("noop")
        await c.wait_end(done)
        stack.redis.kill()
        eventually(lambda: hub.get("/readyz").status == 503, 10, "the hub's knowledge of it")
        for method, params in (("task.submit", {"task": "noop"}), ("task.get", {"task_id": done}),
                               ("task.submit", {"task": "noop_heavy", "args": {"steps": 1}})):
            began = time.monotonic()
            with pytest.raises(RpcError) as error:
                await c.call(method, params)
            assert error.value.code == -32053 and error.value.data["retry_ms"] > 0
            assert time.monotonic() - began < 0.2 * SLOWDOWN
        async with connect(hub, "alice", auth=False) as other:
            began = time.monotonic()
            with pytest.raises(RpcError) as error:
                await other.auth(token("alice"))
            assert error.value.code == -32053
            assert time.monotonic() - began < 0.2 * SLOWDOWN
            assert hub.get("/readyz").status == 503 and hub.get("/healthz").status == 200
            stack.redis.start()
            hub.wait_ready()
            await other.auth(token("alice"))
            await other.wait_end(await other.submit("noop"))
        await c.wait_end(await c.submit("noop"))
        assert (await c.get(done))["status"] == "completed"
        c.check()
