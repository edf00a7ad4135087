# SPDX-License-Identifier: MIT
"""The speech task itself, on the recordings of Debian's pocketsphinx-testdata: text, times, determinism,
alignment and score, input formats, hostile input, and the engines http and exec."""
import array
import contextlib
import http.server
import json
import os
import pathlib
import random
import signal
import struct
import subprocess
import tempfile
import threading

import pytest

from taskhub import alive, children, eventually
from speech import (DATA, GOFORWARD, LIBRIVOX, SOMETHING, edit_distance, pcm_of, speak, speech,
                    start_speech, transcription, wav)

FORWARD = "go forward ten meters"
SENTENCE = LIBRIVOX / "sense_and_sensibility_01_austen_64kb-0930.wav"  # amiable himself
FILE = {"format": {"encoding": "file"}}
RAW = ["-f", "s16le", "-ar", 16000, "-ac", 1]  # what ffmpeg is told about headerless recordings
pytestmark = pytest.mark.limit(200)


def made(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    return path


def ffmpeg(*words):
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", *map(str, words)], check=True)


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


# ---- input formats -----------------------------------------------------------------------------------

def float_wav(samples, bits):
    values = [sample / 32768 for sample in array.array("h", samples)]
    return wav(struct.pack(f"<{len(values)}{'f' if bits == 32 else 'd'}", *values), bits=bits, tag=3)


def wide_wav(samples, bits):
    out = b"".join(struct.pack("<i", sample << 16)[4 - bits // 8:] for sample in array.array("h", samples))
    return wav(out, bits=bits)


def stereo_wav(samples):
    return wav(b"".join(samples[i:i + 2] * 2 for i in range(0, len(samples), 2)), channels=2)


def test_wav_layouts(tmp_path):
    """The same samples in another layout give the same result to the last digit."""
    samples = pcm_of(GOFORWARD)
    layouts = {
        "16": wav(samples), "stereo": stereo_wav(samples), "24": wide_wav(samples, 24),
        "32": wide_wav(samples, 32), "f32": float_wav(samples, 32), "f64": float_wav(samples, 64),
        "streamed-0": wav(samples, data_size=0), "streamed-max": wav(samples, data_size=0xFFFFFFFF),
        "claims-4-gb": wav(samples, data_size=4_000_000_000)}
    files = [made(tmp_path, f"{name}.wav", data) for name, data in layouts.items()]
    plain = speech(GOFORWARD)[0].result
    for name, run in zip(layouts, speech(*files, args=FILE)):
        assert run.result == plain, name


def test_wav_rates(tmp_path):
    rates = [8000, 11025, 22050, 44100, 48000, 96000]
    for rate in rates:
        ffmpeg(*RAW, "-i", GOFORWARD, "-ar", rate, "-ac", 2, tmp_path / f"{rate}.wav")
    for rate, run in zip(rates, speech(*(tmp_path / f"{rate}.wav" for rate in rates), args=FILE)):
        assert run.result["duration_s"] == pytest.approx(2.79, abs=0.01)
        assert rate < 16000 or run.result["text"] == FORWARD, rate


def test_eight_bits(tmp_path):
    ffmpeg(*RAW, "-i", GOFORWARD, "-c:a", "pcm_u8", tmp_path / "a.wav")
    assert speak(tmp_path / "a.wav").result["duration_s"] == pytest.approx(2.79, abs=0.01)


def test_raw_needs_a_name_or_a_declaration(tmp_path):
    assert speak(GOFORWARD).result["text"] == FORWARD
    path = made(tmp_path, "recording", pcm_of(GOFORWARD))
    assert speak(path).error["code"] == "unsupported_media"
    ffmpeg(*RAW, "-i", GOFORWARD, "-ar", 44100, "-ac", 2, "-f", "s16le",
           tmp_path / "cd")
    declared = {"format": {"encoding": "pcm_s16le", "sample_rate": 44100, "channels": 2}}
    assert speech(tmp_path / "cd", args=declared)[0].result["text"] == FORWARD


CONTAINERS = {
    "a.webm": ["-c:a", "libopus"], "a.ogg": ["-c:a", "libopus"], "vorbis.ogg": ["-c:a", "libvorbis"],
    "phone.wav": ["-c:a", "pcm_alaw"], "a.mp3": [], "a.flac": [], "a.aac": ["-f", "adts"],
    "index-last.mp4": ["-c:a", "aac"], "index-first.mp4": ["-c:a", "aac", "-movflags", "+faststart"],
    "fragments.mp4": ["-c:a", "aac", "-movflags", "frag_keyframe+empty_moov"]}


def test_containers(tmp_path):
    for name, options in CONTAINERS.items():
        ffmpeg("-i", SENTENCE, *options, tmp_path / name)
    expected = "he might even have been made amiable himself".split()
    for name, run in zip(CONTAINERS, speech(*(tmp_path / name for name in CONTAINERS), args=FILE)):
        assert run.result["duration_s"] == pytest.approx(3.29, abs=0.12), name
        assert edit_distance(expected, run.result["text"].split()) <= 6, name
        assert "warnings" not in run.result, name


def test_sound_of_a_video(tmp_path):
    picture = ["-f", "lavfi", "-i", "testsrc=d=3:s=160x120"]
    ffmpeg(*picture, "-i", SENTENCE, "-c:v", "libvpx", "-c:a", "libopus", tmp_path / "a.webm")
    run = speak(tmp_path / "a.webm")
    assert "made amiable" in run.result["text"] and "warnings" not in run.result
    ffmpeg(*picture, "-c:v", "mpeg4", tmp_path / "mute.mp4")
    assert speak(tmp_path / "mute.mp4").error["code"] == "no_audio"


def test_live_webm(tmp_path):
    """Partial text comes while a WebM stream is still being sent."""
    ffmpeg("-i", LIBRIVOX / "sense_and_sensibility_01_austen_64kb-0870.wav", "-c:a", "libopus", "-b:a", "24k",
           "-f", "matroska", "-live", 1, tmp_path / "a.webm")
    size = (tmp_path / "a.webm").stat().st_size
    run = speak(tmp_path / "a.webm", pace=1, chunk=size // 72)  # the file lasts as long as the speech
    assert run.pieces("partial") and run.result["duration_s"] == pytest.approx(7.1, abs=0.1)


# ---- hostile input -----------------------------------------------------------------------------------

def hostile(tmp_path):
    secret = made(tmp_path, "secret.wav", wav(pcm_of(GOFORWARD)))
    ffmpeg("-i", SENTENCE, "-c:a", "libopus", tmp_path / "whole.webm")
    whole = (tmp_path / "whole.webm").read_bytes()
    hls = f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{secret}\n#EXT-X-ENDLIST\n".encode()
    concat = f"ffconcat version 1.0\nfile {secret}\n".encode()
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 65535, 16000, 0, 65534, 16)
    return {
        "playlist.mp4": (hls, "unsupported_media"),
        "playlist.webm": (hls, "unsupported_media"),
        "concat.wav": (concat, "unsupported_media"),
        "playlist-in-a-box.mp4": (b"\0\0\0\x18ftypisom" + hls, "bad_audio"),
        "playlist-as-matroska.webm": (b"\x1a\x45\xdf\xa3" + hls, "bad_audio"),
        "concat-as-ogg.ogg": (b"OggS" + concat, "bad_audio"),
        "cut.webm": (whole[:200], "bad_audio"),
        "many-channels.wav": (b"RIFF\xff\xff\xff\xffWAVE" + fmt + b"data\xff\xff\xff\x7f", "bad_audio"),
        "no-format.wav": (b"RIFF\xff\xff\xff\xffWAVEdata\xff\xff\xff\xff", "bad_audio"),
        "endless-chunk.wav": (b"RIFF\xff\xff\xff\xffWAVELIST\xff\xff\xff\xff" + bytes(5000), "bad_audio"),
        "header-only.wav": (b"RIFF\xff\xff\xff\xffWAVE", "bad_audio"),
        "huge-box.mp4": (b"\0\0\0\x14ftypisom\0\0\0\0" + b"\xff\xff\xff\xffmoov" + bytes(3000), "bad_audio"),
        "text.txt": (b"hello, this is only text", "unsupported_media"),
        "empty.wav": (b"", "no_audio"),
        "tiny.mp3": (b"\xff\xfb", "bad_audio"),
    }


def test_hostile_files(tmp_path):
    cases = hostile(tmp_path)
    files = [made(tmp_path, name, data) for name, (data, _) in cases.items()]
    for (name, (_, code)), run in zip(cases.items(), speech(*files, args=FILE)):
        assert run.error and run.error["code"] == code, (name, run.end)
        assert run.error["retry"] is False and str(tmp_path) not in run.error["message"], name
        assert run.end["at_ms"] < 60_000 and run.end["cpu_ms"] < 10_000, name


def test_truncated_file_gives_what_it_has(tmp_path):
    ffmpeg("-i", SENTENCE, "-c:a", "libopus", tmp_path / "whole.webm")
    whole = (tmp_path / "whole.webm").read_bytes()
    run = speak(made(tmp_path, "cut.webm", whole[:len(whole) * 2 // 3]))
    assert 1.5 < run.result["duration_s"] < 3 and run.result["text"].startswith("he might")
    assert run.result["warnings"] == ["decode_errors"]


def test_hours_of_silence_are_cut(tmp_path):
    ffmpeg("-f", "lavfi", "-t", 3700, "-i", "anullsrc=r=8000:cl=mono", tmp_path / "long.flac")
    raw = made(tmp_path, "long.raw", b"")
    os.truncate(raw, 3700 * 32000)
    for run in (speak(tmp_path / "long.flac"), speak(raw)):
        assert run.result["duration_s"] == 3600 and run.result["warnings"] == ["audio_cut"]
        assert run.result["text"] == ""


def test_cancel_ends_the_decoder(tmp_path):
    ffmpeg("-f", "lavfi", "-t", 120, "-i", "sine=440", "-c:a", "libmp3lame", tmp_path / "long.mp3")
    run = speak(tmp_path / "long.mp3", cancel_ms=150, chunk=500)
    assert run.error["code"] == "cancelled"


def test_nothing_outlives_a_killed_child(tmp_path):
    """kill -9 of the task's process takes its draft and its ffmpeg with it."""
    ffmpeg(*RAW, "-stream_loop", 9, "-i", GOFORWARD, "-c:a", "libopus", tmp_path / "a.webm")
    parent = start_speech(tmp_path / "a.webm", args=FILE, pace=1, chunk=400)
    try:
        child = eventually(lambda: children(parent.pid), 30)[0]
        below = eventually(lambda: len(found := children(child)) == 2 and found, 30, "a draft and an ffmpeg")
        os.kill(child, signal.SIGKILL)
        eventually(lambda: not any(alive(pid) for pid in below), 10, "their end")
    finally:
        parent.kill()
        parent.wait()


# ---- the engine `http` -------------------------------------------------------------------------------

class Server(http.server.ThreadingHTTPServer):
    """A transcription server: answers with what `answer` makes of (number of the request, WAV bytes)."""

    def __init__(self, answer):
        self.answer, self.requests = answer, []
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server_port}/v1/audio/transcriptions"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.path, dict(self.headers), body))
        start = body.index(b"RIFF")
        size = struct.unpack("<I", body[start + 4:start + 8])[0] + 8
        status, answer = self.server.answer(len(self.server.requests), body[start:start + size])
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        with contextlib.suppress(OSError):
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    made_servers = []

    def make(answer):
        made_servers.append(Server(answer))
        return made_servers[-1]
    yield make
    for one in made_servers:
        one.shutdown()
        one.server_close()


def http_options(url, **more):
    return {"speech.engine": "http", "speech.http_url": url, **more}


def test_http_engine(tmp_path, server):
    words = [{"word": " Go", "start": 0.1, "end": 0.3}, {"word": "on!", "start": 0.4, "end": 0.9,
                                                        "probability": 0.75}]
    fake = server(lambda number, _: (200, {"text": " Go on! ", "segments": [{"words": words}]}))
    token = made(tmp_path, "token", b"s3cret\n")
    data = pcm_of(GOFORWARD) + bytes(32000) + pcm_of(SOMETHING)
    run = speech(made(tmp_path, "two.raw", data), pace=1,
                 options=http_options(fake.url, **{"speech.http_token_file": str(token),
                                                   "speech.http_model": "tiny"}))[0]
    assert run.result["text"] == "Go on! Go on!" and run.result["engine"] == "http"
    assert [word["word"] for word in run.result["words"]] == ["Go", "on!", "Go", "on!"]
    starts = [piece["start"] for piece in run.pieces("final")]
    assert run.result["words"][2]["start"] == pytest.approx(starts[1] + 0.1, abs=0.011), "stream time"
    assert run.result["words"][1]["confidence"] == 0.75 and "confidence" not in run.result["words"][0]
    assert any("go" in piece["text"] for piece in run.pieces("partial")), "live text by the built-in engine"
    assert len(fake.requests) == 2
    path, headers, body = fake.requests[0]
    assert path == "/v1/audio/transcriptions" and headers["Authorization"] == "Bearer s3cret"
    for field in (b'name="model"\r\n\r\ntiny', b'name="response_format"\r\n\r\nverbose_json', b"audio/wav"):
        assert field in body
    assert b"WAVEfmt" in body and b"s3cret" not in json.dumps(run.events).encode()


def test_http_engine_without_word_times(server):
    fake = server(lambda *_: (200, {"text": "one three"}))
    run = speech(GOFORWARD, options=http_options(fake.url))[0]
    first, second = run.result["words"]
    assert (first["word"], second["word"]) == ("one", "three") and first["end"] == second["start"]
    assert run.result["warnings"] == ["word_times_estimated"]


def test_http_engine_tries_again(server):
    fake = server(lambda number, _: (200, {"text": "second try"}) if number == 2 else (500, b"oops"))
    run = speech(GOFORWARD, options=http_options(fake.url))[0]
    assert run.result["text"] == "second try" and "degraded" not in run.result and len(fake.requests) == 2


@pytest.mark.parametrize("answer", [(500, b""), (200, b"<html>"), (200, {"no": "text"}), (404, {}),
                                    (200, b"x" * 2_000_000)],
                         ids=["500", "html", "no-text", "404", "too-long"])
def test_http_engine_falls_back(server, answer):
    fake = server(lambda *_: answer)
    run = speech(GOFORWARD, options=http_options(fake.url))[0]
    assert run.result["text"] == FORWARD and run.result["engine"] == "pocketsphinx"
    assert run.result["degraded"] is True and run.result["warnings"] == ["engine_unreachable"]
    assert len(fake.requests) == 2


def test_http_engine_unreachable():
    run = speech(GOFORWARD, options=http_options("http://127.0.0.1:1/v1/audio/transcriptions"))[0]
    assert run.result["text"] == FORWARD and run.result["degraded"] is True


def test_http_engine_needs_its_token_file(tmp_path):
    options = http_options("http://127.0.0.1:1/", **{"speech.http_token_file": str(tmp_path / "none")})
    assert speech(GOFORWARD, options=options)[0].error["code"] == "engine_unavailable"


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
