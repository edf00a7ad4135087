# SPDX-License-Identifier: MIT
"""The speech task itself, on the recordings of Debian's pocketsphinx-testdata: text, times, determinism,
alignment and score, and the engine exec."""
import array
import os
import pathlib
import random
import tempfile

import pytest

from speech import (DATA, FILE, FORWARD, GOFORWARD, LIBRIVOX, SENTENCE, SOMETHING, edit_distance, made, pcm_of,
                    read_aloud, speak, speech, transcription)

pytestmark = pytest.mark.limit(200)


# ---- recognition -------------------------------------------------------------------------------------

@pytest.mark.main
def test_known_recordings():
    forward, something = speech(GOFORWARD, SOMETHING)
    assert forward.result["text"] == FORWARD
    assert something.result["text"] == "go somewhere and do something"
    words = forward.result["words"]
    assert [word["word"] for word in words] == FORWARD.split()
    for before, after in zip(words, words[1:]):
        assert before["start"] < before["end"] <= after["start"]
    assert 0.3 < words[0]["start"] < 0.6 and 1.9 < words[-1]["end"] < 2.4
    assert all(0 <= word["confidence"] <= 1 for word in words)
    assert forward.result["duration_s"] == pytest.approx(2.79, abs=0.01)
    assert 100 < forward.result["words_per_minute"] < 200
    assert forward.result["engine"] == "pocketsphinx" and "degraded" not in forward.result


def test_same_input_same_text():
    """Bit-equal results whatever ran before, however the bytes were split, at whatever pace they came."""
    long = LIBRIVOX / "sense_and_sensibility_01_austen_64kb-0870.wav"
    first, _, second, _, third = speech(long, SENTENCE, long, DATA / "cards/001.wav", long, args=FILE)
    small = speech(long, args=FILE, chunk=1001)[0]
    paced = speech(GOFORWARD, GOFORWARD, pace=1)
    assert first.result == second.result == third.result == small.result
    assert paced[0].result == paced[1].result == speech(GOFORWARD)[0].result


def test_live_text_grows():
    run = speak(LIBRIVOX / "sense_and_sensibility_01_austen_64kb-0870.wav", pace=1)
    partials, finals = run.pieces("partial"), run.pieces("final")
    assert len(partials) >= 3 and all(not piece["final"] for piece in partials)
    assert len({piece["text"] for piece in partials}) == len(partials), "only when the text changed"
    kinds = [event["event"] for event in run.events if event["event"] in ("partial", "final")]
    assert kinds[-1] == "final" and kinds[0] == "partial"
    assert all(piece["final"] and piece["words"] for piece in finals)
    assert " ".join(piece["text"] for piece in finals) == run.result["text"]
    stages = [event["stage"] for event in run.events if "stage" in event]
    assert stages[0] == "listening" and stages[-1] == "transcribing"
    progress = [event["progress"] for event in run.events if "progress" in event]
    assert progress == sorted(progress) and progress[-1] > 0


def test_utterances_are_cut_at_silence(tmp_path):
    quiet = bytes(2 * 16000)
    twice = pcm_of(GOFORWARD) + quiet + pcm_of(SOMETHING) + quiet
    run = speech(made(tmp_path, "twice.raw", twice))[0]
    finals = run.pieces("final")
    assert [piece["utterance"] for piece in finals] == [0, 1]
    assert finals[0]["text"] == FORWARD and finals[1]["text"].startswith("go somewhere")
    assert finals[1]["words"][0]["start"] == pytest.approx(2.79 + 1 + 0.45, abs=0.2), "times in the stream"
    assert run.result["pauses"]["count"] == 1 and 1 < run.result["pauses"]["longest_s"] < 3


def test_word_error_rate():
    errors = total = 0
    files = sorted(LIBRIVOX.glob("*.wav"))
    for path, run in zip(files, speech(*files, args=FILE)):
        expected = transcription(path).replace("mister", "mr").split()
        errors += edit_distance(expected, run.result["text"].split())
        total += len(expected)
    assert total == 71 and errors / total <= 0.33


def test_nothing_to_hear(tmp_path):
    files = [made(tmp_path, f"{size}.raw", bytes(size)) for size in (0, 1, 320_000)]
    for run in speech(*files):
        assert run.result["text"] == "" and run.result["words"] == [] and run.result["words_per_minute"] == 0
        assert not run.pieces("final")


def test_noise_ends_and_costs_little(tmp_path):
    rng = random.Random(1)
    noise = array.array("h", (rng.randint(-3000, 3000) for _ in range(16000 * 100)))
    run = speech(made(tmp_path, "noise.raw", noise.tobytes()))[0]
    assert run.end["event"] == "completed" and run.end["cpu_ms"] < 40_000


def test_cancel_is_heard_at_once(tmp_path):
    data = pcm_of(GOFORWARD) * 40
    run = speech(made(tmp_path, "long.raw", data), cancel_ms=300)[0]
    assert run.error["code"] == "cancelled" and run.end["fed_ms"] < 100_000


@pytest.mark.parametrize("engine", ["builtin", "auto"])
def test_a_language_that_the_engine_lacks(engine):
    options = {"speech.engine": engine}
    run = speech(GOFORWARD, args={"language": "de"}, options=options)[0]
    assert run.error["code"] == "language_unavailable" and run.error["retry"] is False
    assert "no language de; it has: en" in run.error["message"]
    assert speech(GOFORWARD, args={"language": "EN-gb"}, options=options)[0].result["text"].lower().startswith(FORWARD)


# ---- alignment and score -----------------------------------------------------------------------------

def test_alignment_times():
    """Word starts of the LibriVox recordings, as the aligner of a later release of the recogniser places
    them (in hundredths of a second)."""
    reference = {"0880": [20, 34, 56, 113, 130, 148, 211, 233],
                 "0890": [27, 59, 70, 86, 122, 174, 222, 239, 278, 363, 388, 398, 416, 437]}
    for number, starts in reference.items():
        path = LIBRIVOX / f"sense_and_sensibility_01_austen_64kb-{number}.wav"
        result = speak(path, args={"expected_text": transcription(path)}).result
        assert result["alignment"] == "complete"
        got = [round(word["start"] * 100) for word in result["accuracy"]]
        assert len(got) == len(starts)
        assert max(abs(a - b) for a, b in zip(got, starts)) <= 3, (got, starts)
        assert result["score"] > 90


def test_score_tells_right_from_wrong():
    def score(text):
        return speech(GOFORWARD, args={"expected_text": text})[0].result
    right = score("Go forward, 10 meters!")
    assert right["score"] > 97 and [word["word"] for word in right["accuracy"]] == FORWARD.split()
    assert all(word["heard"] for word in right["accuracy"]) and right["extra_words"] == 0
    wrong = score("go backward ten yards")
    accuracy = {word["word"]: word["accuracy"] for word in wrong["accuracy"]}
    assert accuracy["go"] > 90 and accuracy["ten"] > 90
    assert accuracy["backward"] < 60 and accuracy["yards"] < 60 and wrong["score"] < 80
    unknown = score("xyzzy frobnicate ten meters")
    assert unknown["alignment"] == "complete" and unknown["score"] < 60, "words no dictionary has"
    other = score("a completely different sentence")
    assert other["score"] < 20


@pytest.mark.parametrize("engine", ["builtin", "auto"])
def test_score_of_numbers_in_any_reading(tmp_path, engine):
    """One text, read in three ways; `auto` writes some of it in digits."""
    text = "In 1455 he paid $19.99 for 3.5 pounds at 10:30 on the 21st."
    readings = ("In fourteen fifty five he paid nineteen dollars and ninety nine cents for three point five pounds at "
                "ten thirty on the twenty first.",
                "In one thousand four hundred and fifty five he paid nineteen ninety nine for three point five pounds at "
                "half past ten on the twenty first.",
                "In fourteen hundred fifty five he paid nineteen dollars ninety nine for three point five pounds at "
                "ten thirty on the twenty first.")
    files = [read_aloud(tmp_path, str(i), reading) for i, reading in enumerate(readings)]
    for run in speech(*files, args={**FILE, "expected_text": text}, options={"speech.engine": engine}):
        assert run.result["score"] >= 95 and run.result["alignment"] == "complete", run.result
    for path, spoken in zip(files, readings):
        run = speech(path, args={**FILE, "expected_text": spoken}, options={"speech.engine": engine})[0]
        assert run.result["score"] >= 95, run.result["text"]


def test_score_of_an_unfinished_reading():
    text = FORWARD + " and then turn to the left and walk on until you reach the old stone bridge over the river"
    result = speech(GOFORWARD, args={"expected_text": text})[0].result
    assert result["alignment"] == "partial"
    assert [word["accuracy"] > 90 for word in result["accuracy"]][:4] == [True] * 4
    assert all(word["accuracy"] == 0 and "start" not in word for word in result["accuracy"][4:])
    assert 10 < result["score"] < 30


def test_score_of_silence(tmp_path):
    result = speech(made(tmp_path, "s.raw", bytes(64000)), args={"expected_text": "hello there"})[0].result
    assert result["score"] < 10


# ---- the engine `exec` -------------------------------------------------------------------------------

COMMAND = """#!/usr/bin/python3 -u
import json, math, sys
total = 0
while data := sys.stdin.buffer.read(16000):
    total += len(data)
    print(json.dumps({"type": "partial", "text": f"{total} bytes"}), flush=True)
print("not json")
print(json.dumps({"type": "final", "text": "all of it", "start": 0, "end": total / 32000, "words": [
    {"word": "all", "start": 0, "end": 0.5, "confidence": 0.9}, {"word": "of", "start": 0.5, "end": 0.6},
    {"word": "it", "start": 0.6, "end": 1}]}))
print(json.dumps({"type": "final", "text": "%d" % total}), end="")
"""


@pytest.fixture
def open_path():
    with tempfile.TemporaryDirectory() as path:
        os.chmod(path, 0o755)
        yield pathlib.Path(path)


def command(directory, text):
    """The directory is one that nobody may pass, as whom it runs when the tests are root's."""
    path = made(directory, "engine.py", text.encode())
    path.chmod(0o755)
    return {"speech.engine": "exec", "speech.exec": f"{path} --any option"}


def test_exec_engine(open_path):
    run = speech(GOFORWARD, options=command(open_path, COMMAND))[0]
    size = GOFORWARD.stat().st_size
    assert run.result["text"] == f"all of it {size // 2 * 2}" and run.result["engine"] == "exec"
    assert [word["word"] for word in run.result["words"]] == ["all", "of", "it", str(size // 2 * 2)]
    assert run.result["words"][0]["confidence"] == 0.9
    assert set(run.result["warnings"]) == {"engine_line_ignored", "word_times_estimated"}
    assert [piece["utterance"] for piece in run.pieces("final")] == [0, 1]


def test_exec_engine_gets_the_language(open_path):
    options = command(open_path, "#!/bin/sh\ncat >/dev/null\necho '{\"type\": \"final\", \"text\": \"'$1'\"}'\n")
    options["speech.exec"] = options["speech.exec"].split()[0] + " lang={language}"
    for args, heard in (({}, "lang=en"), ({"language": "pt-BR"}, "lang=pt-BR")):
        assert speech(GOFORWARD, args=args, options=options)[0].result["text"] == heard


@pytest.mark.parametrize("script, words", [
    ("#!/bin/sh\nexit 3\n", "ended with 3"),
    ("#!/bin/sh\ncat >/dev/null\necho 'no model in /opt/x' >&2\nexit 1\n", "no model in …"),
    ("#!/bin/sh\nkill -9 $$\n", "ended with 137")], ids=["at-once", "says-why", "killed"])
def test_exec_engine_breaks_down(open_path, script, words):
    run = speech(GOFORWARD, options=command(open_path, script))[0]
    assert run.error["code"] == "engine_failed" and run.error["retry"] is True
    assert words in run.error["message"]


def test_exec_engine_floods(open_path):
    flood = "#!/usr/bin/python3\nimport sys\nsys.stdin.buffer.read()\nprint('x' * 5_000_000)\n"
    run = speech(GOFORWARD, options=command(open_path, flood))[0]
    assert run.result["text"] == "" and run.result["warnings"] == ["engine_line_ignored"]


def test_exec_engine_hangs(open_path):
    options = command(open_path, "#!/bin/sh\nexec sleep 1000\n")
    run = speech(GOFORWARD, options=options, cancel_ms=500)[0]
    assert run.error["code"] == "cancelled" and run.end["at_ms"] < 20_000
