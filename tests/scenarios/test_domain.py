# SPDX-License-Identifier: MIT
"""The task types and requests that work on domain data: ratings, notifications, impressions, text, clean-up."""
import asyncio
import os
import signal
import sqlite3
import time

import pytest

from client import RpcError, connect
from taskhub import eventually


async def run(c, task, args=None, **more):
    """Submits, waits for the end, gives the result."""
    end = await c.wait_end(await c.submit(task, args, **more))
    assert end["status"] == "completed", end
    return end["result"]


def sql(hub, query):
    with sqlite3.connect(hub.data / "taskhub.db") as db:
        return db.execute(query).fetchall()


async def refused(c, code, field, task, args):
    with pytest.raises(RpcError) as error:
        await c.submit(task, args)
    assert error.value.code == code, error.value
    if field:
        assert error.value.data["field"] == field, error.value


# ---- ratings ------------------------------------------------------------------------------------------
@pytest.mark.main
async def test_ratings(hub):
    async with connect(hub, "alice") as a, connect(hub, "bob") as b:
        for client, stars in ((a, 5), (b, 3), (b, 4)):  # the last one replaces
            assert await client.call("rating.submit", {"resource_id": "r7", "stars": stars}) == {"ok": True}
        result = await run(a, "calculate_rating", {"resource_id": "r7"})
        # Bayesian average: five votes of the mean (4.5) beside the two.
        assert result["votes"] == 2 and result["rating"] == pytest.approx(4.5)
        assert 0 < result["lower_bound"] < 0.9 and result["resource_id"] == "r7"
        assert (await run(a, "calculate_rating", {"resource_id": "nobody-voted"}))["votes"] == 0
        for stars in (0, 6, 2.5, "5", None):
            with pytest.raises(RpcError) as error:
                await a.call("rating.submit", {"resource_id": "r7", "stars": stars})
            assert error.value.code == -32602 and error.value.data["field"] == "stars"
        await refused(a, -32602, "resource_id", "calculate_rating", {})
        await refused(a, -32602, "resource_id", "calculate_rating", {"resource_id": "x" * 129})
        await refused(a, -32003, None, "calculate_all_ratings", {})
    assert sql(hub, "SELECT resource_id, votes FROM ratings") == [("r7", 2)]


async def test_all_ratings(hub):
    async with connect(hub, "root", roles=["admin"]) as c:
        for first in range(0, 250, 50):  # a user may have 64 of them under way
            await asyncio.gather(*(c.call("rating.submit", {"resource_id": f"r{i}", "stars": 1 + i % 5})
                                   for i in range(first, first + 50)))
        task = await c.submit("calculate_all_ratings")
        end = await c.wait_end(task)
        assert end["result"] == {"resources": 250, "changed": 250}
        record = await c.get(task)
        assert record["progress"] == 100 and record["meta"]["total"] == 250
        assert (await run(c, "calculate_all_ratings"))["changed"] == 0
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 60))
        assert await run(c, "calculate_all_ratings", {"since": now}) == {"resources": 0, "changed": 0}
        await refused(c, -32602, "since", "calculate_all_ratings", {"since": "yesterday"})
    assert sql(hub, "SELECT count(*) FROM ratings") == [(250,)]


# ---- notifications ------------------------------------------------------------------------------------
@pytest.mark.main
async def test_notifications(hub):
    async with connect(hub, "alice") as a, connect(hub, "root", roles=["admin"]) as root:
        own = await run(a, "send_notification", {"title": "Hi", "body": "<b>\"me\"\n", "link": "/x?y=1"})
        note = await a.wait_note("notification")
        assert note["id"] == own["notification_id"] and own["unread"] == 1 and own["delivered"] is True
        assert (note["user_id"], note["title"], note["body"], note["link"]) == ("alice", "Hi", "<b>\"me\"\n", "/x?y=1")
        assert note["seq"] and note["at"].endswith("Z")
        await run(root, "send_notification", {"user_id": "alice", "title": "From admin", "body": "b"})
        await a.until(lambda: sum(m == "notification" for m, _ in a.notes) == 2)
        assert not [m for m, _ in root.notes if m == "notification"]
        await refused(a, -32003, None, "send_notification", {"user_id": "root", "title": "t", "body": "b"})
        assert (await run(a, "send_notification", {"user_id": "alice", "title": "t", "body": "b"}))["unread"] == 3
        listed = await a.call("notification.list")
        assert listed["unread"] == 3 and [n["title"] for n in listed["notifications"]] == ["t", "From admin", "Hi"]
        done = await a.call("notification.read", {"ids": [own["notification_id"], "no-such"]})
        assert done["unread"] == 2
        unread = await a.call("notification.list", {"unread": True})
        assert len(unread["notifications"]) == 2
        assert (await root.call("notification.list"))["notifications"] == []
        a.check()


async def test_notification_arguments(hub):
    async with connect(hub) as c:
        for field, args in (("title", {"body": "b"}), ("title", {"title": "", "body": "b"}),
                            ("body", {"title": "t", "body": "x" * 4001}),
                            ("link", {"title": "t", "body": "b", "link": "javascript:alert(1)"}),
                            ("link", {"title": "t", "body": "b", "link": "//evil.example"}),
                            ("link", {"title": "t", "body": "b", "link": "/a\nb"}),
                            ("user_id", {"title": "t", "body": "b", "user_id": "a\nb"}),
                            ("owner", {"title": "t", "body": "b", "owner": "x"})):
            await refused(c, -32602, field, "send_notification", args)
        with pytest.raises(RpcError) as error:
            await c.call("notification.list", {"cursor": "nonsense"})
        assert error.value.code == -32602 and error.value.data["field"] == "cursor"


async def test_offline_user_finds_it_later(hub):
    async with connect(hub, "bob") as b:
        point = b.resume_point()
    async with connect(hub, "root", roles=["admin"]) as root:
        await run(root, "send_notification", {"user_id": "bob", "title": "t", "body": "while away"})
    async with connect(hub, "bob", resume=point) as b:
        assert (await b.wait_note("notification"))["body"] == "while away"
    async with connect(hub, "bob") as b:
        assert (await b.call("notification.list"))["unread"] == 1


async def test_notification_pages(hub):
    async with connect(hub) as c:
        for i in range(120):
            await run(c, "send_notification", {"title": f"n{i}", "body": "b"})
        seen, cursor = [], None
        while True:
            page = await c.call("notification.list", {"cursor": cursor} if cursor else {})
            seen += [n["title"] for n in page["notifications"]]
            cursor = page.get("next_cursor")
            if not cursor:
                break
        assert seen == [f"n{i}" for i in reversed(range(120))]


# ---- text ---------------------------------------------------------------------------------------------
@pytest.mark.main
async def test_process_text(hub):
    async with connect(hub) as c:
        result = await run(c, "process_text", {"text": "The cat sat on the mat. The cat slept!"})
        assert (result["words"], result["sentences"]) == (9, 2)
        assert result["keywords"][0] == {"word": "cat", "count": 2}
        assert result["readability"]["flesch_reading_ease"] > 90 and result["reading_time_s"] > 0
        german = await run(c, "process_text", {"text": "Übung macht den Meister.", "language": "de"})
        assert "flesch_reading_ease" not in german["readability"] and german["words"] == 4
        assert (await run(c, "process_text", {"text": "é" * 6000}))["characters"] == 6000
        for field, args in (("text", {}), ("text", {"text": ""}), ("text", {"text": 5}),
                            ("language", {"text": "a", "language": "EN"}),
                            ("language", {"text": "a", "language": "eng"}), ("x", {"text": "a", "x": 1})):
            await refused(c, -32602, field, "process_text", args)


async def test_writes_with_a_key_happen_once(hub):
    """Asked again, as after a lost answer, they change nothing: neither what stands, nor what came in between."""
    async with connect(hub, "alice") as a, connect(hub, "alice") as other, connect(hub, "bob") as b:
        vote = {"resource_id": "r1", "stars": 5, "idempotency_key": "Stimme 1 ✓"}
        assert await a.call("rating.submit", vote) == {"ok": True}
        assert await other.call("rating.submit", {"resource_id": "r1", "stars": 2}) == {"ok": True}
        for client in (a, other):
            assert await client.call("rating.submit", dict(reversed(vote.items()))) == {"ok": True, "duplicate": True}
        assert sql(hub, "SELECT stars FROM votes WHERE resource_id = 'r1'") == [(2,)], "the newer vote stands"
        assert await b.call("rating.submit", vote) == {"ok": True}, "a key is its owner's"

        note = (await run(a, "send_notification", {"title": "t", "body": "b"}))["notification_id"]
        read = {"ids": [note], "idempotency_key": "read"}
        assert await a.call("notification.read", read) == {"notifications": [], "unread": 0}
        assert await a.call("notification.read", read) == {"notifications": [], "unread": 0, "duplicate": True}

        seen = {"resource_id": "page", "idempotency_key": "вид"}
        for client in (a, a, other, b):
            assert await client.call("impression.record", seen) == {"ok": True}

        for method, params in (("rating.submit", vote | {"stars": 4}),
                               ("rating.submit", vote | {"idempotency_key": "read"}),
                               ("notification.read", read | {"ids": ["another"]}),
                               ("impression.record", seen | {"kind": "click"}),
                               ("impression.record", seen | {"resource_id": "x"})):
            with pytest.raises(RpcError) as error:
                await a.call(method, params)
            assert (error.value.code, error.value.word) == (-32009, "idempotency_mismatch"), (method, params)
        for method, params in (("rating.submit", vote), ("notification.read", read), ("impression.record", seen)):
            with pytest.raises(RpcError) as error:
                await a.call(method, params | {"idempotency_key": "a\n"})
            assert error.value.code == -32602 and error.value.data["field"] == "idempotency_key"
    async with connect(hub, "root", roles=["admin"]) as root:
        assert (await run(root, "sync_impressions_from_redis"))["impressions"] == 2, "alice's and bob's"


# ---- impressions --------------------------------------------------------------------------------------
@pytest.mark.main
async def test_impressions(hub):
    async with connect(hub, "root", roles=["admin"]) as c:
        calls = [("impression.record", {"resource_id": f"r{i % 30}"}) for i in range(60)]
        calls += [("impression.record", {"resource_id": "r0", "kind": "click"})] * 4
        assert all(answer["result"] == {"ok": True} for answer in await c.batch(calls))
        assert await run(c, "sync_impressions_from_redis") == {"impressions": 64, "resources": 30}
        assert await run(c, "sync_impressions_from_redis") == {"impressions": 0, "resources": 0}
        for args in ({}, {"resource_id": "a b"}, {"resource_id": ""}, {"resource_id": "r", "kind": "a b"}):
            with pytest.raises(RpcError) as error:
                await c.call("impression.record", args)
            assert error.value.code == -32602
    assert dict(sql(hub, "SELECT kind, sum(count) FROM impressions GROUP BY kind")) == {"view": 60, "click": 4}
    async with connect(hub, "alice") as a:
        await refused(a, -32003, None, "sync_impressions_from_redis", {})


@pytest.mark.limit(180)
async def test_impressions_count_once_though_killed(stack):
    hub = stack.hub()
    worker = stack.worker({"data_dir": hub.data})
    total, resources = 24000, 6000
    for start in range(0, resources, 1000):
        words = [w for i in range(start, start + 1000) for w in (f"r{i} view", "4")]
        stack.redis.command("HSET", "th:{0}:imp", *words)
    async with connect(hub, "root", roles=["admin"]) as c:
        for round in range(4):
            task = await c.submit("sync_impressions_from_redis")
            moved = sql_sum(hub)
            await asyncio.to_thread(eventually, lambda: sql_sum(hub) > moved or sql_sum(hub) == total, 20)
            for pid in worker.slots():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            await c.wait_end(task, 60)
        await run(c, "sync_impressions_from_redis")
    assert sql_sum(hub) == total
    assert sql(hub, "SELECT count(*) FROM impressions") == [(resources,)]
    assert stack.redis.command("EXISTS", "th:{0}:imp", "th:{0}:impb") == 0


def sql_sum(hub):
    return sql(hub, "SELECT coalesce(sum(count), 0) FROM impressions")[0][0]


# ---- clean-up -----------------------------------------------------------------------------------------
async def test_cleanup(stack):
    hub = stack.hub()
    stack.worker()
    async with connect(hub, "root", roles=["admin"]) as c:
        registered = eventually(lambda: stack.redis.command("ZCARD", "th:{0}:ses"))
        past = int(time.time()) - 100
        for i in range(2500):
            stack.redis.command("ZADD", "th:{0}:ses", past, f"ghost s{i}")
        stack.redis.command("XADD", "th:{0}:a:00000000-0000-7000-8000-000000000000", "1-1", "d", "x")
        young = await run(c, "cleanup_sessions", {"older_than_s": 1000})
        assert young == {"sessions": 0, "audio_streams": 1, "tasks": 0}
        assert (await run(c, "cleanup_sessions"))["sessions"] == 2500
        assert stack.redis.command("EXISTS", "th:{0}:a:00000000-0000-7000-8000-000000000000") == 0
        assert stack.redis.command("ZCARD", "th:{0}:ses") == registered
        await refused(c, -32602, "older_than_s", "cleanup_sessions", {"older_than_s": -1})
    async with connect(hub, "alice") as a:
        await refused(a, -32003, None, "cleanup_sessions", {})
