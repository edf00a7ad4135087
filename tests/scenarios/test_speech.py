# SPDX-License-Identifier: MIT
"""process_speak_audio through the whole product: spoken into a socket, heard by a worker, seen by its owner."""
import asyncio
import contextlib
import subprocess

import pytest

from client import RpcError, connect
from speech import GOFORWARD, SOMETHING, pcm_of

PCM = {"encoding": "pcm_s16le", "sample_rate": 16000, "channels": 1}
FORWARD = "Go forward ten meters."
pytestmark = pytest.mark.limit(120)


async def start(c, format=None, **args):
    return await c.call("audio.start", {"task": "process_speak_audio", "format": format or PCM,
                                        "args": {"resource_id": "r1", **args}})


async def speak(c, stream, data, pace=False):
    """Sends the audio, at the pace of speech if asked to, and ends the stream."""
    if not pace:
        await c.audio_send(stream["stream"], data, stream["credit"])
    else:
        for at in range(0, len(data), 3200):
            await c.send(stream["stream"].to_bytes(4, "big") + data[at:at + 3200])
            await asyncio.sleep(0.1)  # the pace of speech
    await c.call("audio.end", {"stream": stream["stream"]})


@pytest.mark.main
async def test_speech_becomes_text(hub):
    async with connect(hub, "alice") as alice, connect(hub, "bob") as bob:
        stream = await start(alice)
        await alice.wait_event(lambda event: event["stage"] == "listening", task_id=stream["task_id"])
        await speak(alice, stream, pcm_of(GOFORWARD), pace=True)
        end = await alice.wait_end(stream["task_id"], seconds=60)
        assert end["status"] == "completed" and end["result"]["text"] == FORWARD
        assert [word["word"] for word in end["result"]["words"]] == FORWARD.split()
        events = [event for event in alice.events if event["task_id"] == stream["task_id"]]
        pieces = [event for event in events if event["type"] == "partial"]
        finals = [event["meta"] for event in pieces if event["meta"]["final"]]
        assert [piece["text"] for piece in finals] == [FORWARD]
        assert pieces[-1]["meta"]["final"] and len(finals[0]["words"]) == 4
        assert all("seq" in event for event in pieces if event["meta"]["final"])
        assert "transcribing" in {event["stage"] for event in events}
        alice.check()
        assert not bob.events, "nobody else hears it"


async def test_the_score_of_a_reading(hub):
    async with connect(hub) as c:
        stream = await start(c, expected_text="Go forward, 10 meters.", user_name="A. Reader", language="en-US")
        await speak(c, stream, pcm_of(GOFORWARD))
        end = await c.wait_end(stream["task_id"], seconds=60)
        assert end["result"]["score"] > 95 and len(end["result"]["accuracy"]) == 4
        assert "scoring" in {event["stage"] for event in c.events}


async def test_a_file_over_the_stream(hub, tmp_path):
    webm = tmp_path / "a.webm"
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-f", "s16le", "-ar", "16000", "-ac", "1", "-i", GOFORWARD,
                    "-c:a", "libopus", webm], check=True)
    async with connect(hub) as c:
        stream = await start(c, format={"encoding": "file", "name": "a.webm"})
        await speak(c, stream, webm.read_bytes())
        end = await c.wait_end(stream["task_id"], seconds=60)
        assert end["result"]["text"] == FORWARD
        stream = await start(c, format={"encoding": "file", "name": "something.raw"})
        await speak(c, stream, SOMETHING.read_bytes())
        end = await c.wait_end(stream["task_id"], seconds=60)
        assert end["result"]["text"] == "Go somewhere and do something."
        stream = await start(c, format={"encoding": "file", "name": "evil.mp4"})
        with contextlib.suppress(RpcError):  # the task may have ended, and its stream with it
            await speak(c, stream, b"#EXTM3U\nfile:///etc/passwd\n" * 10)
        end = await c.wait_end(stream["task_id"], seconds=60)
        assert end["status"] == "failed" and end["error"]["code"] == "unsupported_media"
        assert end["attempt"] == 1, "another attempt would not help"


@pytest.mark.parametrize("rate, channels", [(8000, 1), (44100, 2), (48000, 1), (96000, 2)])
async def test_raw_samples_of_other_rates(hub, tmp_path, rate, channels):
    """As browsers and telephones record them: the task's child resamples."""
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-f", "s16le", "-ar", "16000", "-ac", "1", "-i", GOFORWARD,
                    "-ar", str(rate), "-ac", str(channels), "-f", "s16le", tmp_path / "raw"], check=True)
    async with connect(hub) as c:
        stream = await start(c, format={"encoding": "pcm_s16le", "sample_rate": rate, "channels": channels})
        await speak(c, stream, (tmp_path / "raw").read_bytes())
        end = await c.wait_end(stream["task_id"], seconds=60)
        assert end["result"]["duration_s"] == pytest.approx(2.79, abs=0.02)
        assert rate < 16000 or end["result"]["text"] == FORWARD


async def test_cancel_while_speaking(hub):
    async with connect(hub) as c:
        stream = await start(c)
        data = pcm_of(GOFORWARD) * 3
        await c.audio_send(stream["stream"], data[:200_000], stream["credit"])
        await c.until(lambda: any(event["type"] == "started" for event in c.events), seconds=30)
        answer = await c.call("task.cancel", {"task_id": stream["task_id"]})
        assert answer["task_id"] == stream["task_id"]
        end = await c.wait_end(stream["task_id"], seconds=10)
        assert end["status"] == "cancelled"


async def test_arguments(hub):
    async with connect(hub) as c:
        for bad in ({"language": "en_US"}, {"language": "e"}, {"language": 7}, {"expected_text": "x" * 9000},
                    {"expected_text": "Привет, мир"}, {"expected_text": "日本"}, {"expected_text": "😀 …"},
                    {"unknown": 1}, {"user_name": 7}):
            with pytest.raises(RpcError) as caught:
                await start(c, **bad)
            assert caught.value.code == -32602 and caught.value.data["field"] == next(iter(bad))
        with pytest.raises(RpcError) as caught:
            await c.call("audio.start", {"task": "process_speak_audio", "format": PCM,
                                         "args": {"resource_id": "r", "format": {"encoding": "file"}}})
        assert caught.value.code == -32602 and caught.value.data["field"] == "format"
        with pytest.raises(RpcError) as caught:
            await c.call("task.submit", {"task": "process_speak_audio", "args": {"resource_id": "r"}})
        assert caught.value.code == -32602


async def test_two_at_once(hub):
    async with connect(hub) as c:
        one, two = await start(c), await start(c)
        await asyncio.gather(speak(c, one, pcm_of(GOFORWARD)), speak(c, two, pcm_of(SOMETHING)))
        first = await c.wait_end(one["task_id"], seconds=60)
        second = await c.wait_end(two["task_id"], seconds=60)
        assert first["result"]["text"] == FORWARD
        assert second["result"]["text"] == "Go somewhere and do something."
