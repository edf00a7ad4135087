"""What comes before the answer to auth: requests behind a token that waits for its turn, and connections whose token
came with the upgrade."""
import asyncio
import json
import signal

import pytest

from client import RpcError, SlowClient, connect
from taskhub import token

UPGRADE = "Authorization: Bearer %s\r\n"


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
        client.send({"jsonrpc": "2.0", "id": 1, "method": "auth", "params": {"token": token(f"u{number}")}})
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
