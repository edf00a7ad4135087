# SPDX-License-Identifier: MIT
"""A connection that does not read costs a bounded amount of memory: progress is coalesced, what must be
delivered arrives, and only when that alone exceeds the budget the hub closes with 4101."""
import asyncio

import pytest

from client import TERMINAL, SlowClient, connect
from taskhub import token

FAST = {"limits.messages_per_s": 1_000_000, "limits.messages_burst": 1_000_000}


async def read_all(slow, until, limit=200_000):
    """Reads the slow connection in a thread until `until(message)`; every message."""
    def read():
        messages = []
        while len(messages) < limit:
            message = slow.read()
            if message is None:
                break
            messages.append(message)
            if until(message):
                break
        return messages
    return await asyncio.get_running_loop().run_in_executor(None, read)


async def flood(client, count):
    """`count` light tasks, 48 in flight; their ids, when all have ended."""
    free = asyncio.Semaphore(48)

    async def one():
        async with free:
            task = await client.submit("noop")
            await client.wait_end(task)
            return task
    return await asyncio.gather(*[one() for _ in range(count)])


@pytest.mark.main
@pytest.mark.limit(120)
async def test_progress_is_coalesced_and_ends_arrive(stack):
    hub = stack.private_hub({"progress.coalesce_ms": 0, "limits.outbox_bytes": 4 << 20, "slots.default": 2})
    slow = SlowClient(hub)
    slow.auth(token("alice"))
    async with connect(hub, "alice") as fast:
        steps = 10_000
        tasks = [await fast.submit("noop_heavy", {"steps": steps}) for _ in range(3)]
        for task in tasks:
            await fast.wait_end(task, 60)
        fast.check()
        last = [event["task_id"] for event in fast.events if event["type"] in TERMINAL][-1]
        messages = await read_all(slow, lambda m: m["params"]["task_id"] == last
                                  and m["params"]["type"] in TERMINAL)
    slow.close()
    events = [message["params"] for message in messages]
    ends = [event["task_id"] for event in events if event["type"] in TERMINAL]
    assert sorted(ends) == sorted(tasks)
    for task in tasks:
        mine = [event for event in events if event["task_id"] == task]
        assert [e["type"] for e in mine if "seq" in e] == ["accepted", "started", "completed"]
        revs = [event["rev"] for event in mine if "rev" in event]
        assert revs == sorted(set(revs))
        assert mine[-1]["type"] == "completed"
    assert len([e for e in events if e["type"] == "progress"]) < 3 * steps
    assert hub.metric("taskhub_events_coalesced_total") > 0
    assert hub.metric("taskhub_closed_slow_total") == 0


@pytest.mark.limit(180)
async def test_too_many_must_deliver_events_close_with_4101(stack):
    hub = stack.private_hub({"limits.outbox_bytes": 16384, **FAST})
    slow = SlowClient(hub)
    session = slow.auth(token("alice"))
    async with connect(hub, "alice") as fast:
        done = 0
        while hub.metric("taskhub_closed_slow_total") == 0:
            done += len(await flood(fast, 2000))
            assert done < 100_000, "a connection that does not read was not closed"
        fast.check()
        messages = await read_all(slow, lambda m: False)
        assert slow.close_code == 4101
        slow.close()
        # what it was given is a prefix of the log, and a resume gives the rest
        seqs = [m["params"]["seq"] for m in messages if "seq" in m.get("params", {})]
        assert seqs == list(range(session["seq"] + 1, session["seq"] + 1 + len(seqs)))
        point = {"epoch": session["epoch"], "seq": max(seqs, default=session["seq"])}
        async with connect(hub, "alice", resume=point) as back:
            if back.session["resumed"] == "ok":
                await back.until(lambda: back.resume_point()["seq"] >= back.session["seq"])
            else:
                assert back.session["resumed"] == "gap"  # more than the log keeps came meanwhile
            back.check()


@pytest.mark.main
@pytest.mark.limit(120)
async def test_others_do_not_wait_for_a_slow_connection(stack):
    hub = stack.private_hub()
    slow = [SlowClient(hub) for _ in range(10)]
    for number, client in enumerate(slow):
        client.auth(token(f"slow{number}"))
    async with connect(hub, "alice") as a:
        for client in slow:
            for number in range(50):
                client.send({"jsonrpc": "2.0", "id": number, "method": "task.submit", "params": {"task": "noop"}})
        tasks = await flood(a, 200)
        assert len(tasks) == 200
        a.check()
    for client in slow:
        client.close()
