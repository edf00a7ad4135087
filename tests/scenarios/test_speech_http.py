# SPDX-License-Identifier: MIT
"""The speech engine http: a transcription server, and everything that it may do wrong."""
import contextlib
import http.server
import json
import struct
import threading

import pytest

from speech import FORWARD, GOFORWARD, SOMETHING, made, pcm_of, speech

pytestmark = pytest.mark.limit(200)


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
