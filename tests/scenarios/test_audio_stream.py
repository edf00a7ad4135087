# SPDX-License-Identifier: MIT
"""Audio streams between client and worker: the same bytes arrive whatever happens to connection, hub or Redis;
credit, limits and ends. The task noop_stream tells the checksum of what it read."""
import asyncio
import hashlib
import os

import pytest

from client import RpcError, connect
from taskhub import eventually

PCM = {"encoding": "pcm_s16le", "sample_rate": 16000, "channels": 1}


async def start(c, **more):
    return await c.call("audio.start", {"task": "noop_stream", "format": PCM, **more})


async def finished(c, task, data):
    end = await c.wait_end(task)
    assert end["status"] == "completed", end
    assert end["result"]["bytes"] == len(data)
    assert end["result"]["sha256"] == hashlib.sha256(data).hexdigest()


@pytest.mark.main
async def test_bytes_arrive(hub):
    data = os.urandom(1_000_000)
    async with connect(hub) as c:
        stream = await start(c)
        assert stream["credit"] == 262144 and stream["stream"] == 1
        assert await c.audio_send(1, data, stream["credit"], frame=48000) == len(data)
        assert await c.call("audio.end", {"stream": 1}) == {"received": len(data)}
        await finished(c, stream["task_id"], data)
        c.check()
    assert hub.metric("taskhub_audio_bytes_total") == len(data)


async def test_two_streams_interleaved(hub):
    one, two = os.urandom(200_000), os.urandom(200_000)
    async with connect(hub) as c:
        a, b = await start(c), await start(c)
        assert (a["stream"], b["stream"]) == (1, 2)
        await asyncio.gather(c.audio_send(1, one, a["credit"], frame=1000),
                             c.audio_send(2, two, b["credit"], frame=777))
        await c.call("audio.end", {"stream": 2})
        await c.call("audio.end", {"stream": 1})
        await finished(c, a["task_id"], one)
        await finished(c, b["task_id"], two)


async def test_lost_connection_is_resumed(hub):
    data = os.urandom(500_000)
    async with connect(hub) as c:
        stream = await start(c)
        await c.audio_send(1, data[:200_000], stream["credit"], frame=10_000)
        point = c.resume_point()
        await c.drop()
    async with connect(hub, resume=point) as c:
        back = await c.call("audio.resume", {"task_id": stream["task_id"]})
        assert back["received"] <= 200_000
        await c.audio_send(back["stream"], data, back["credit"], sent=back["received"], frame=10_000)
        assert await c.call("audio.end", {"stream": back["stream"]}) == {"received": len(data)}
        await finished(c, stream["task_id"], data)
        c.check()


async def test_resumed_at_another_hub(two_hubs):
    first, second = two_hubs
    data = os.urandom(300_000)
    async with connect(first) as c:
        stream = await start(c)
        await c.audio_send(1, data[:100_000], stream["credit"])
        await c.drop()
    async with connect(second) as c:
        back = await c.call("audio.resume", {"task_id": stream["task_id"]})
        await c.audio_send(back["stream"], data, back["credit"], sent=back["received"])
        await c.call("audio.end", {"stream": back["stream"]})
        await finished(c, stream["task_id"], data)


async def test_the_hub_that_was_left_does_not_fail_what_another_resumed(stack):
    options = {"audio.resume_ms": 1500}
    first, second = stack.hub(options), stack.hub(options)
    stack.worker(options)
    data = os.urandom(100_000)
    async with connect(first) as c:
        stream = await start(c)
        await c.audio_send(1, data[:50_000], stream["credit"])
        await c.drop()
    async with connect(second) as c:
        back = await c.call("audio.resume", {"task_id": stream["task_id"]})
        while first.metric("taskhub_audio_streams"):  # until its time to be resumed there is over
            await asyncio.sleep(0.05)
        assert (await c.get(stream["task_id"]))["status"] in ("pending", "processing")
        await c.audio_send(back["stream"], data, back["credit"], sent=back["received"])
        await c.call("audio.end", {"stream": back["stream"]})
        await finished(c, stream["task_id"], data)


async def test_the_newer_connection_has_the_stream(hub):
    async with connect(hub) as old, connect(hub) as new:
        stream = await start(old)
        back = await new.call("audio.resume", {"task_id": stream["task_id"]})
        await old.audio_frame(1, b"late")
        answer = await old.until(lambda: next((a for k, m, a in old.order if k == "reply" and "error" in a), None))
        assert answer["id"] is None and answer["error"]["code"] == -32004
        await new.audio_frame(back["stream"], b"early")
        await new.call("audio.end", {"stream": back["stream"]})
        await finished(new, stream["task_id"], b"early")


async def test_redis_restarts_in_the_middle(stack):
    hub = stack.hub()
    stack.worker()
    data = os.urandom(400_000)
    async with connect(hub) as c:
        stream = await start(c)
        await c.audio_send(1, data[:100_000], stream["credit"], frame=10_000)
        stack.redis.kill()
        for at in range(100_000, 150_000, 10_000):
            await c.audio_frame(1, data[at:at + 10_000])  # within the credit, with nobody to take it
        stack.redis.start()
        await c.audio_send(1, data, stream["credit"] - 150_000, sent=150_000, frame=10_000)
        assert (await c.call("audio.end", {"stream": 1}, 30))["received"] == len(data)
        await finished(c, stream["task_id"], data)


async def test_more_than_the_credit(stack):
    hub = stack.hub()
    async with connect(hub) as c:
        stream = await start(c)
        before = hub.metric("taskhub_messages_received_total")
        stack.redis.signal(19)  # SIGSTOP: nothing is acknowledged any more
        try:
            for _ in range(6):
                await c.audio_frame(1, bytes(60_000))
            await asyncio.to_thread(
                eventually, lambda: hub.metric("taskhub_messages_received_total") >= before + 6)
        finally:
            stack.redis.signal(18)
        end = await c.wait_end(stream["task_id"])
        assert (end["status"], end["error"]["code"]) == ("failed", "flow")


async def test_ends_of_streams(stack):
    hub = stack.private_hub({"audio.idle_ms": 700, "audio.resume_ms": 600, "audio.max_bytes": 100_000})
    async with connect(hub) as c:
        aborted, idle, long = await start(c), await start(c), await start(c)
        assert await c.call("audio.abort", {"stream": aborted["stream"]}) == {"received": 0}
        end = await c.wait_end(aborted["task_id"])
        assert (end["status"], end["error"]["code"]) == ("failed", "aborted")
        await c.audio_frame(long["stream"], bytes(60_000))
        await c.audio_frame(long["stream"], bytes(60_000))
        end = await c.wait_end(long["task_id"])
        assert (end["status"], end["error"]["code"]) == ("failed", "too_large")
        end = await c.wait_end(idle["task_id"])
        assert (end["status"], end["error"]["code"]) == ("failed", "idle")
        async with connect(hub) as gone:
            left = await start(gone)
            await gone.drop()
        end = await c.wait_end(left["task_id"])
        assert (end["status"], end["error"]["code"]) == ("failed", "abandoned")
        with pytest.raises(RpcError) as error:
            await c.call("audio.resume", {"task_id": left["task_id"]})
        assert error.value.code == -32009
    eventually(lambda: hub.metric("taskhub_audio_streams") == 0, what="no stream left")


async def test_no_stream_lasts_for_ever(stack):
    hub = stack.private_hub({"audio.max_s": 2})
    async with connect(hub) as c:
        stream = await start(c)
        ended = asyncio.create_task(c.wait_end(stream["task_id"]))
        while not ended.done():  # it goes on as long as it is let
            await c.audio_frame(stream["stream"], bytes(320))
            await asyncio.sleep(0.05)
        end = await ended
        assert (end["status"], end["error"]["code"]) == ("failed", "too_long")


async def test_slow_streams_hold_half_of_the_places_at_most(stack):
    """Two of four places: of four users' slow streams two go on, and so does one that keeps real time."""
    hub = stack.private_hub({"audio.pace_ms": 1500, "slots.live": 4})
    async with connect(hub, "real") as real, connect(hub, "u1") as a, connect(hub, "u2") as b, connect(hub, "u3") as c:
        good = await start(real)
        slow = [(x, await start(x)) for x in (a, b, c)]
        ends = [asyncio.create_task(x.wait_end(stream["task_id"])) for x, stream in slow]
        sent = 0
        while not any(end.done() for end in ends):
            await real.audio_frame(good["stream"], bytes(3200))
            sent += 3200
            for x, stream in slow:
                await x.audio_frame(stream["stream"], bytes(2))
            await asyncio.sleep(0.1)
        assert [(await end)["error"]["code"] for end in ends if end.done()] == ["too_slow"]
        assert await real.call("audio.end", {"stream": good["stream"]}) == {"received": sent}
        assert (await real.wait_end(good["task_id"]))["status"] == "completed"
        for (x, stream), end in zip(slow, ends):
            if not end.done():
                assert await x.call("audio.end", {"stream": stream["stream"]})
                assert (await end)["status"] == "completed"


async def test_bad_frames_and_formats(hub):
    async with connect(hub) as c:
        async def refused(frame):
            seen = len(c.order)
            await c.send(frame)
            await c.until(lambda: len(c.order) > seen)
            return c.order[seen][2]["error"]["code"]
        assert await refused(b"\0\0\0") == -32602
        assert await refused(b"\0\0\0\1abc") == -32004
        assert await refused(b'{"jsonrpc":"2.0"}') == -32004
        for form in ({"encoding": "pcm_s16le", "sample_rate": 0}, {"encoding": "pcm_s16le", "sample_rate": 7999},
                     {"encoding": "pcm_s16le", "sample_rate": 96001}, {"encoding": "pcm_s16le", "channels": 3},
                     {"encoding": "pcm_s16le", "channels": 65535}, {"encoding": "mp3"}, {},
                     {"encoding": "file", "sample_rate": 16000}):
            with pytest.raises(RpcError) as error:
                await start(c, format=form)
            assert error.value.code in (-32602, -32015), form
        with pytest.raises(RpcError) as error:
            await c.call("audio.start", {"task": "noop", "format": PCM})
        assert error.value.code == -32602
        with pytest.raises(RpcError) as error:
            await c.submit("noop_stream")
        assert (error.value.code, error.value.word) == (-32602, "needs_stream")


async def test_streams_of_a_user_and_of_others(stack):
    hub = stack.private_hub({"limits.user_tasks": 100, "limits.user_streams": 3})
    async with connect(hub, "alice") as a, connect(hub, "bob") as b:
        tries = await asyncio.gather(*[a.request("audio.start", {"task": "noop_stream", "format": PCM})
                                       for _ in range(10)])
        good = [t["result"] for t in tries if "result" in t]
        assert len(good) == 3
        assert {t["error"]["code"] for t in tries if "error" in t} == {-32029}
        with pytest.raises(RpcError) as error:
            await b.call("audio.resume", {"task_id": good[0]["task_id"]})
        assert error.value.code == -32003
        await b.send(good[0]["stream"].to_bytes(4, "big") + b"forged")
        for stream in good:
            await a.call("audio.end", {"stream": stream["stream"]})
            await finished(a, stream["task_id"], b"")


async def test_same_key_same_stream(hub):
    data = b"0123456789" * 100
    async with connect(hub) as c:
        first = await start(c, idempotency_key="talk-1")
        await c.audio_send(first["stream"], data[:500], first["credit"])
        await c.until(lambda: [p for m, p in c.notes if m == "audio.ack" and p["received"] == 500])
        again = await start(c, idempotency_key="talk-1")
        assert again["task_id"] == first["task_id"] and again["duplicate"] and again["received"] == 500
        await c.audio_send(again["stream"], data, again["credit"], sent=500)
        await c.call("audio.end", {"stream": again["stream"]})
        await finished(c, first["task_id"], data)
        late = await start(c, idempotency_key="talk-1")
        assert late.pop("seq") and late == {"task_id": first["task_id"], "status": "completed", "duplicate": True}


async def test_a_cancelled_stream_is_closed(stack):
    hub = stack.private_hub({"limits.user_streams": 2})
    async with connect(hub) as c:
        for turn in range(12):  # cancelled before it began, or while it listens
            stream = await start(c)
            if turn % 2:
                await c.wait_event(task_id=stream["task_id"], type="started")
            await c.cancel(stream["task_id"])
            await c.wait_end(stream["task_id"])
        stream = await start(c)
        await c.wait_event(task_id=stream["task_id"], type="started")
        await c.call("audio.abort", {"stream": stream["stream"]})


async def test_frames_over_the_rate_fail_their_stream(stack):
    """Leaving one out would be a hole in what is heard."""
    hub = stack.private_hub({"limits.messages_per_s": 50, "limits.messages_burst": 100})
    async with connect(hub) as c:
        stream = await start(c)
        for _ in range(130):
            await c.send(stream["stream"].to_bytes(4, "big") + b"12")
        end = await c.wait_end(stream["task_id"])
        assert (end["status"], end["error"]["code"]) == ("failed", "rate_limit")


async def test_resume_of_what_is_no_stream(hub):
    async with connect(hub, "alice") as a, connect(hub, "bob") as b:
        task = await a.submit("noop")
        await a.wait_end(task)
        for client, code in ((a, -32009), (b, -32003)):
            with pytest.raises(RpcError) as error:
                await client.call("audio.resume", {"task_id": task})
            assert error.value.code == code
