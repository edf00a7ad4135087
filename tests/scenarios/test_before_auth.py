# SPDX-License-Identifier: MIT
"""What comes before the answer to auth: requests behind a token that waits for its turn, and connections whose token
came with the upgrade."""
import asyncio
import json
import signal
import socket

import pytest

from client import RpcError, SlowClient, connect
from taskhub import token



def encode(*words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word.encode()) for word in words)


async def test_a_token_on_the_upgrade_is_enough(two_hubs):
    first, second = two_hubs
    header = {"Authorization": f"Bearer {token('alice')}"}
    async with connect(first, "alice", auth=False, headers=header) as c, connect(second, "alice") as other:
        task = await c.submit("noop_heavy", {"steps": 2})
        assert (await c.wait_end(task))["status"] == "completed"
        there = await other.submit("noop")
        assert (await c.wait_end(there))["status"] == "completed", "it hears what its owner does elsewhere"
        with pytest.raises(RpcError) as refused:
            await c.call("auth")
        assert refused.value.word == "authenticated"
    async with connect(first, "alice", auth=False, headers=header) as c:
        await c.auth(None)
        assert (await c.wait_end(await c.submit("noop")))["status"] == "completed"
        c.check()


async def test_nothing_is_known_to_strangers(hub):
    async with connect(hub, auth=False) as c:
        for method in ("task.submit", "no.such.method", "ping"):
            with pytest.raises(RpcError) as refused:
                await c.call(method)
            assert refused.value.code == -32001


async def test_requests_behind_a_crowd_of_tokens(stack, tmp_path):
    """Verifying is bounded per turn of the loop: what comes behind a token that waits is not refused."""
    hub = stack.hub({"limits.unauthenticated": 1000})
    crowd = [SlowClient(hub, 65536) for _ in range(300)]
    hub.signal(signal.SIGSTOP)
    for number, client in enumerate(crowd):
        large = token(f"u{number}", bulk="x" * 11000)  # takes long: 300 of the usual size are done in one turn
        client.send({"jsonrpc": "2.0", "id": 1, "method": "auth", "params": {"token": large}})
        client.send({"jsonrpc": "2.0", "id": 2, "method": "ping"})
        client.send([{"jsonrpc": "2.0", "id": 3, "method": "task.list"}])
    hub.signal(signal.SIGCONT)

    def answers(client):
        found = [client.read() for _ in range(3)]
        client.close()
        return found
    for client in crowd:
        found = await asyncio.get_running_loop().run_in_executor(None, answers, client)
        assert all("result" in (part[0] if isinstance(part, list) else part) for part in found), json.dumps(found)


async def test_no_answer_overtakes_that_of_auth(hub):
    """What is sent behind auth waits for its answer, whatever that takes: here the snapshot after a gap."""
    async with connect(hub, "alice") as c:
        await c.wait_end(await c.submit("noop"))
    client = SlowClient(hub, 65536)
    client.send({"jsonrpc": "2.0", "id": 1, "method": "auth",
                 "params": {"token": token("alice"), "resume": {"epoch": "of another data set", "seq": 1}}})
    client.send({"jsonrpc": "2.0", "id": 2, "method": "task.submit",
                 "params": {"task": "noop_heavy", "args": {"steps": 0}, "idempotency_key": "k"}})

    def read():
        messages = []
        while not messages or messages[-1].get("params", {}).get("type") != "completed":
            messages.append(client.read())
        client.close()
        return messages
    messages = await asyncio.get_running_loop().run_in_executor(None, read)
    assert [message.get("id") for message in messages[:2]] == [1, 2]
    assert messages[0]["result"]["resumed"] == "gap"
    assert messages[1]["result"]["seq"] == messages[0]["result"]["seq"] + 1
    assert "accepted" not in [message["params"]["type"] for message in messages[2:]], "the reply stood for it"


async def test_subscriptions_lost_while_a_join_is_implied(stack):
    """Redis is kept busy and then drops the hub's subscriber: what was kept is answered, and the hub lives."""
    hub = stack.hub()
    busy = ("local t = redis.call('TIME') local till = t[1] * 1000000 + t[2] + 90000 "
            "repeat t = redis.call('TIME') until t[1] * 1000000 + t[2] > till")
    loop = asyncio.get_running_loop()
    for number in range(3):
        header = {"Authorization": f"Bearer {token(f'u{number}')}"}
        async with connect(hub, f"u{number}", auth=False, headers=header) as c:
            with socket.socket(socket.AF_UNIX) as redis:
                redis.connect(str(stack.redis.socket_path))
                redis.sendall(b"".join(encode(*words) for words in (
                    ("EVAL", busy, "0"), ("CLIENT", "KILL", "TYPE", "pubsub"))))
                assert (await c.call("ping"))["time"]
                await loop.run_in_executor(None, redis.recv, 100)
        hub.wait_ready()
    assert hub.running
