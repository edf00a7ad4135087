# SPDX-License-Identifier: MIT
"""The default engine of the speech task, moonshine: text, times, marks, live text, memory, and what happens where it is
not. These tests fail without it: `./run test` brings it."""
import contextlib
import pathlib
import re
import statistics
import tempfile
import time

import pytest

from client import connect
from speech import (FILE, GOFORWARD, LIBRIVOX, SENTENCE, SOMETHING, edit_distance, ffmpeg, made, pcm_of, plain_words,
                    speech, start_speech, transcription)
from taskhub import children, eventually, run_program

AUTO = {"speech.engine": "auto"}
FORWARD = "Go forward ten meters."
LONG = LIBRIVOX / "sense_and_sensibility_01_austen_64kb-0870.wav"
NOWHERE = {"speech.moonshine_dir": "/nowhere"}
PRIVATE_KB = 45 * 1024  # of a live stream
pytestmark = pytest.mark.limit(200)


@pytest.mark.main
def test_known_recordings():
    forward, something = speech(GOFORWARD, SOMETHING, options=AUTO)
    assert forward.result["text"] == FORWARD and forward.result["engine"] == "moonshine"
    assert something.result["text"] == "Go somewhere and do something."
    words = forward.result["words"]
    assert [word["word"] for word in words] == FORWARD.split()
    assert [word["start"] for word in words] == pytest.approx([0.46, 0.64, 1.17, 1.53], abs=0.06)
    assert all(set(word) == {"word", "start", "end"} for word in words), "no confidence, no estimate"
    assert "warnings" not in forward.result and "degraded" not in forward.result


def test_word_error_rate():
    errors = total = 0
    files = sorted(LIBRIVOX.glob("*.wav"))
    for path, run in zip(files, speech(*files, args=FILE, options=AUTO)):
        expected = plain_words(transcription(path))
        errors += edit_distance(expected, plain_words(run.result["text"]))
        total += len(expected)
    assert total == 71 and errors / total <= 0.08


def test_same_input_same_text():
    """Whatever ran before, however the bytes were split, at whatever pace they came."""
    first, _, second = speech(LONG, SENTENCE, LONG, args=FILE, options=AUTO)
    small = speech(LONG, args=FILE, chunk=1001, options=AUTO)[0]
    assert first.result == second.result == small.result
    paced = speech(GOFORWARD, pace=1, options=AUTO)[0]
    assert paced.result == speech(GOFORWARD, options=AUTO)[0].result


def test_live_text_grows_and_is_paced():
    """Live text takes a quarter of the time at most, however slow the machine is; a look of its own is never cut short."""
    run, again = speech(LONG, args=FILE, pace=1, options=AUTO)[0], speech(LONG, args=FILE, options=AUTO)[0]
    partials, finals = run.pieces("partial"), run.pieces("final")
    assert len(partials) >= 2 and finals and run.result["text"] == again.result["text"]
    assert len({piece["text"] for piece in partials}) == len(partials), "only when the text changed"
    assert finals[-1]["text"] in {piece["text"] for piece in partials}, "shown before its words are placed"
    assert run.end["cpu_ms"] - again.end["cpu_ms"] < 0.35 * run.end["at_ms"]


def test_noise_is_no_speech(tmp_path):
    sounds = {"noise.wav": "anoisesrc=d=8:a=0.3:r=16000", "pink.wav": "anoisesrc=d=8:c=pink:a=0.5:r=16000",
              "tone.wav": "sine=440:d=8:r=16000", "hum.wav": "sine=50:d=8:r=16000", "beeps.wav": "sine=880:b=4:d=8:r=16000"}
    for name, source in sounds.items():
        ffmpeg("-f", "lavfi", "-i", source, tmp_path / name)
    for name, run in zip(sounds, speech(*(tmp_path / name for name in sounds), args=FILE, options=AUTO)):
        assert run.result["text"] == "" and run.result["words"] == [], name


def test_quiet_speech(tmp_path):
    ffmpeg("-i", LONG, "-af", "volume=-26dB", tmp_path / "quiet.wav")
    quiet, loud = speech(tmp_path / "quiet.wav", LONG, args=FILE, options=AUTO)
    assert edit_distance(plain_words(loud.result["text"]), plain_words(quiet.result["text"])) <= 2


def test_a_text_that_is_not_in_the_sound_is_marked(tmp_path):
    """A voice so high that the aligner knows it no more."""
    ffmpeg("-i", LONG, "-af", "asetrate=16000*2.2,aresample=16000", tmp_path / "high.wav")
    run = speech(tmp_path / "high.wav", args=FILE, options=AUTO)[0]
    assert run.result["words"] and run.result["warnings"] == ["word_times_estimated"]
    for words in (run.result["words"], run.pieces("final")[-1]["words"]):
        assert all(word["estimated"] is True and "confidence" not in word for word in words)


def test_a_pause_within_a_sentence_does_not_cut_it(tmp_path):
    data = pcm_of(GOFORWARD)[4000:-12000]  # its own silence is left out
    run = speech(made(tmp_path, "p.raw", data + bytes(2 * 8000) + data + bytes(2 * 24000) + data), options=AUTO)[0]
    assert run.result["utterances"] == 2


def test_reading_is_scored():
    run = speech(GOFORWARD, args={"expected_text": "Go forward, 10 meters!"}, options=AUTO)[0]
    assert run.result["score"] > 97 and run.result["alignment"] == "complete"


# ---- where it is not ---------------------------------------------------------------------------------

def test_without_it_the_built_in_engine_serves():
    log = []
    runs = speech(GOFORWARD, SOMETHING, options={**AUTO, **NOWHERE}, log=log)
    for run in runs:
        assert run.result["engine"] == "pocketsphinx" and run.result["warnings"] == ["engine_fallback"]
    assert runs[0].result["text"] == "go forward ten meters"
    assert len([line for line in log if "/nowhere" in line and "level=warn" in line]) == 1, log


def test_it_may_be_insisted_on():
    run = speech(GOFORWARD, options={"speech.engine": "moonshine", **NOWHERE})[0]
    assert run.error["code"] == "engine_unavailable" and "/nowhere" in run.error["message"]


def test_check_says_which_engine_there_is(tmp_path):
    def said(**options):
        done = run_program("taskhub", "check", options={"data_dir": tmp_path, **options}, check=False)
        return next(line for line in done.stdout.splitlines() if line.startswith("speech "))
    assert said().split() == ["speech", "ok", "engine", "moonshine"]
    assert " warn " in said(**NOWHERE) and "built-in engine" in said(**NOWHERE)
    broken = made(tmp_path, "libmoonshine.so", b"\x7fELF")
    assert " warn " in said(**{"speech.moonshine_dir": broken.parent})


async def test_a_worker_without_it_warns_once(stack):
    hub = stack.private_hub(NOWHERE)
    async with connect(hub) as c:
        for _ in range(2):
            stream = await c.call("audio.start", {"task": "process_speak_audio", "args": {"resource_id": "r"}, "format": {
                "encoding": "pcm_s16le", "sample_rate": 16000, "channels": 1}})
            await c.audio_send(stream["stream"], pcm_of(GOFORWARD), stream["credit"])
            await c.call("audio.end", {"stream": stream["stream"]})
            end = await c.wait_end(stream["task_id"], seconds=60)
            assert end["result"]["warnings"] == ["engine_fallback"] and end["result"]["engine"] == "pocketsphinx"
    assert hub.log().count("moonshine is not there") == 1


# ---- memory ------------------------------------------------------------------------------------------

def private_kb(pid):
    with contextlib.suppress(OSError, AttributeError):
        text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
        return int(re.search(r"Private_Dirty:\s+(\d+)", text).group(1))
    return 0


def memory_of_a_stream(path, **own):
    """Private_Dirty of the task's process every 50 ms while it hears the file."""
    with tempfile.TemporaryFile() as out:
        parent, seen = start_speech(path, options=AUTO, stdout=out, **own), []
    try:
        child = eventually(lambda: children(parent.pid), 30)[0]
        while parent.poll() is None:
            seen.append(private_kb(child))
            time.sleep(0.05)  # the spacing of the samples
        assert parent.returncode == 0
    finally:
        parent.kill()
        parent.wait()
    return [kb for kb in seen if kb]


def spoken(tmp_path, seconds):
    """One voice that reads on and on, without the same sentence twice in a row."""
    once = b"".join(pcm_of(path) + bytes(32000) for path in sorted(LIBRIVOX.glob("*.wav")))
    data = once * (seconds * 32000 // len(once) + 1)
    return made(tmp_path, "long.raw", data[:seconds * 32000])


def test_memory_of_a_stream_does_not_grow(tmp_path):
    """As fast as it is heard."""
    seen = memory_of_a_stream(spoken(tmp_path, 60))
    third = len(seen) // 3
    first, last = statistics.median(seen[:third]), statistics.median(seen[-third:])
    assert last < PRIVATE_KB and last < 1.5 * first + 4096, (first, last)
    assert statistics.quantiles(seen, n=10)[-1] < PRIVATE_KB


@pytest.mark.long
@pytest.mark.limit(800)
def test_memory_after_ten_minutes(tmp_path):
    seen = memory_of_a_stream(spoken(tmp_path, 600), pace=1)
    last = seen[-len(seen) // 10:]
    assert statistics.median(last) < PRIVATE_KB and statistics.quantiles(last, n=10)[-1] < PRIVATE_KB
