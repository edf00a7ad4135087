# SPDX-License-Identifier: MIT
"""The speech engine http: a transcription server, and everything that it may do wrong."""
import contextlib
import http.server
import json
import struct
import threading
import time

import pytest

from speech import FORWARD, GOFORWARD, SOMETHING, made, pcm_of, speech

pytestmark = pytest.mark.limit(200)


class Server(http.server.ThreadingHTTPServer):
    """A transcription server: answers with what `answer` makes of (number of the request, WAV bytes)."""

    def __init__(self, answer):
        self.answer, self.requests, self.times = answer, [], []
        self.over = threading.Event()
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server_port}/v1/audio/transcriptions"

    def answer_after(self, seconds, answer):
        self.over.wait(seconds)
        return 200, answer

    def hang(self):
        return self.answer_after(None, {"text": "too late"})


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.times.append(time.monotonic())
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
        one.over.set()
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


@pytest.mark.parametrize("args, sent", [({}, b"en"), ({"language": "de-CH"}, b"de-CH")], ids=["none", "de-CH"])
def test_http_engine_gets_the_language(server, args, sent):
    """Of another language than English there is no text by the built-in engine, and no alignment."""
    fake = server(lambda number, _: (200, {"text": "Vorwärts!"}) if number == 1 else (401, {}))
    run = speech(GOFORWARD, args={"expected_text": "Vorwärts", **args}, options=http_options(fake.url), pace=1)[0]
    assert b'name="language"\r\n\r\n' + sent + b"\r\n" in fake.requests[0][2]
    assert run.result["text"] == "Vorwärts!"
    assert bool(run.pieces("partial")) is (sent == b"en")
    assert (run.result["alignment"] == "align_skipped") is (sent != b"en")
    if args:
        assert run.result["score"] == 100
        fake = server(lambda *_: (401, {}))
        run = speech(GOFORWARD, args=args, options=http_options(fake.url))[0]
        assert run.result["text"] == "" and run.result["degraded"] is True


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


@pytest.mark.parametrize("answer, warning, requests", [
    ((500, b""), "engine_error", 2), ((503, {}), "engine_error", 2), ((429, b"slow down"), "engine_error", 2),
    ((200, b"<html>"), "engine_garbled", 2), ((200, {"no": "text"}), "engine_garbled", 2),
    ((200, b"x" * 2_000_000), "engine_garbled", 2), ((401, {}), "engine_refused", 1),
    ((404, {}), "engine_refused", 1), ((400, {}), "engine_refused", 1), ((302, b""), "engine_refused", 1)],
    ids=["500", "503", "429", "html", "no-text", "too-long", "401", "404", "400", "302"])
def test_http_engine_falls_back(server, answer, warning, requests):
    """The warning names the kind, the operator's log the status, and a repeated request waits."""
    fake = server(lambda *_: answer)
    log = []
    run = speech(GOFORWARD, options=http_options(fake.url), log=log)[0]
    assert run.result["text"] == FORWARD and run.result["engine"] == "pocketsphinx"
    assert run.result["degraded"] is True and run.result["warnings"] == [warning]
    assert len(fake.requests) == requests
    lines = [line for line in log if "speech server" in line]
    assert len(lines) == 1 and f"status={answer[0]}" in lines[0] and warning in lines[0], log
    if requests == 2:
        assert fake.times[1] - fake.times[0] >= 0.25


def test_http_engine_refused_once_is_not_asked_again(tmp_path, server):
    fake = server(lambda *_: (401, {"error": "no such key"}))
    log = []
    run = speech(made(tmp_path, "three.raw", THREE), options=http_options(fake.url), log=log)[0]
    assert len(fake.requests) == 1 and run.result["utterances"] == 3
    assert run.result["warnings"] == ["engine_refused"]
    assert sum("speech server" in line for line in log) == 1


def test_http_engine_unreachable():
    log = []
    run = speech(GOFORWARD, options=http_options("http://127.0.0.1:1/v1/audio/transcriptions"), log=log)[0]
    assert run.result["text"] == FORWARD and run.result["degraded"] is True
    assert run.result["warnings"] == ["engine_unreachable"]
    assert any("engine_unreachable" in line and "status=0" in line for line in log)


def silence(seconds):
    return bytes(int(seconds * 16000) * 2)


THREE = (pcm_of(GOFORWARD) + silence(1.5)) * 3


def test_a_hanging_server_stops_nothing(tmp_path, server):
    """Live text goes on, the server is asked once, and the end comes no later than the first time-out."""
    fake = server(lambda *_: fake.hang())
    data = (pcm_of(GOFORWARD) + silence(1.2)) * 7
    run = speech(made(tmp_path, "seven.raw", data), pace=1, options=http_options(fake.url))[0]
    seconds = len(data) / 32000
    assert len(fake.requests) == 1 and run.result["warnings"] == ["engine_timeout"]
    assert run.result["text"] == " ".join([FORWARD] * 7) and run.result["degraded"] is True
    spoken = [event for event in run.events if event["event"] == "partial"]
    lag = max(event["at_ms"] - event["fed_ms"] for event in spoken)
    assert lag < 30_000, f"live text was {lag} ms behind the voice"
    assert run.end["at_ms"] < 1000 * (seconds + 40)


def test_a_slow_server_gets_what_it_can(tmp_path, server):
    """While it answers in time nothing is closed; what it does not get to keeps the draft, in order."""
    fake = server(lambda number, _: fake.answer_after(4.5, {"text": f"number {number}"}))  # 7.4 s are in time
    data = (pcm_of(GOFORWARD)[16000:-16000] + silence(1)) * 14
    run = speech(made(tmp_path, "fourteen.raw", data), pace=1, options=http_options(fake.url))[0]
    texts = [piece["text"] for piece in run.pieces("final")]
    served = [text for text in texts if text.startswith("number")]
    assert served == [f"number {n + 1}" for n in range(len(served))] and len(texts) == 14
    assert 2 <= len(served) < 14 and "engine_behind" in run.result["warnings"]
    assert run.result["degraded"] is True and len(fake.requests) == len(served)


def test_a_file_waits_for_a_slow_server(tmp_path, server):
    """A file needs no live text: each of its utterances is read by the server."""
    fake = server(lambda number, _: fake.answer_after(0.7, {"text": f"number {number}"}))
    run = speech(made(tmp_path, "nine.raw", THREE * 3), options=http_options(fake.url))[0]
    assert run.result["text"] == " ".join(f"number {n + 1}" for n in range(9))
    assert "degraded" not in run.result and len(fake.requests) == 9


def test_http_engine_needs_its_token_file(tmp_path):
    options = http_options("http://127.0.0.1:1/", **{"speech.http_token_file": str(tmp_path / "none")})
    assert speech(GOFORWARD, options=options)[0].error["code"] == "engine_unavailable"
