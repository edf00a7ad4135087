# SPDX-License-Identifier: MIT
"""Bad and hostile input to the hub's port, byte by byte: upgrades that must be refused, frames that must
close with the right code, HTTP."""
import http.client
import pathlib
import re
import shutil
import socket
import struct
import tempfile
import time

import pytest

from raw_ws import (BINARY, CLOSE, KEY, PING, PONG, TEXT, Raw, Server, frame, open_ws, own_addresses, running,
                    upgrade)
from taskhub import INSTRUMENTED, SLOWDOWN


@pytest.fixture(scope="module")
def directory():
    path = tempfile.mkdtemp(prefix="taskhub-raw-")
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def server(directory):
    yield from running(Server(directory))


# ---- upgrades ----------------------------------------------------------------------------------------
UPGRADES = {
    "good": (upgrade(), {101}),
    "no-version": (upgrade(drop=["Sec-WebSocket-Version"]), {426}),
    "version-7": (upgrade(Sec_WebSocket_Version="7"), {426}),
    "key-not-16-bytes": (upgrade(Sec_WebSocket_Key="c2hvcnQ="), {400}),
    "no-key": (upgrade(drop=["Sec-WebSocket-Key"]), {400}),
    "two-keys": (upgrade().replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Key: " + KEY.encode() + b"\r\n\r\n"), {400}),
    "post-upgrade": (upgrade("POST /ws HTTP/1.1", Content_Length="0"), {400, 405}),
    "put-upgrade": (upgrade("PUT /ws HTTP/1.1"), {400, 405}),
    "http10-upgrade": (upgrade("GET /ws HTTP/1.0"), {505}),
    "other-path": (upgrade("GET /elsewhere HTTP/1.1"), {404}),
    "root-path": (upgrade("GET / HTTP/1.1"), {404}),
    "upgrade-h2c": (upgrade(Upgrade="h2c", HTTP2_Settings="AAMAAABkAARAAAAAAAIAAAAA"), {403}),
    "upgrade-unknown": (upgrade(Upgrade="telnet"), {403, 0}),
    "upgrade-unknown-pipelined": (upgrade(Upgrade="telnet") + upgrade(), {403, 0}),
    "connect-method": (b"CONNECT example:443 HTTP/1.1\r\nHost: example\r\n\r\n", {400, 405, 501, 0}),
    "foreign-origin": (upgrade(Origin="http://evil.example"), {403}),
    "origin-null": (upgrade(Origin="null"), {403}),
    "subprotocol-ours": (upgrade(Sec_WebSocket_Protocol="taskhub.v1"), {101}),
    "subprotocol-other": (upgrade(Sec_WebSocket_Protocol="chat"), {400}),
    "subprotocol-among": (upgrade(Sec_WebSocket_Protocol="chat, taskhub.v1"), {101}),
    "subprotocols-126": (upgrade(Sec_WebSocket_Protocol="taskhub.v1, " + "x" * 114), {101}),
    "subprotocols-127": (upgrade(Sec_WebSocket_Protocol="taskhub.v1, " + "x" * 115), {400}),
    "subprotocols-a-token": (upgrade(Sec_WebSocket_Protocol="taskhub.v1, bearer." + "x" * 300), {400}),
    "subprotocols-1000": (upgrade(Sec_WebSocket_Protocol="taskhub.v1, bearer." + "x" * 1000), {400}),
    "plain-get": (b"GET /ws HTTP/1.1\r\nHost: localhost\r\n\r\n", {426}),
    "plain-head": (b"HEAD /ws HTTP/1.1\r\nHost: localhost\r\n\r\n", {426}),
    "plain-get-of-a-proxy": (b"GET /ws HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\nSec-WebSocket-Version: 13\r\n"
                             b"Sec-WebSocket-Key: " + KEY.encode() + b"\r\n\r\n", {426}),
    "plain-post": (b"POST /ws HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}", {405}),
    "plain-elsewhere": (b"GET /wss HTTP/1.1\r\nHost: localhost\r\n\r\n", {404}),
    "upgrade-empty-body": (upgrade(Content_Length="0"), {101}),
    "upgrade-of-java": (b"GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nContent-Length: 0\r\nHost: 127.0.0.1\r\n"
                        b"Sec-WebSocket-Key: " + KEY.encode() + b"\r\nSec-WebSocket-Version: 13\r\n"
                        b"Upgrade: websocket\r\nUser-Agent: Java-http-client/17.0.15\r\n\r\n", {101}),
    "upgrade-blank-behind": (upgrade(Upgrade="websocket "), {101}),
    "upgrade-tab-behind": (upgrade(Upgrade="websocket\t"), {101}),
    "upgrade-blanks-around": (upgrade(Upgrade=" \t websocket \t "), {101}),
    "upgrade-mixed-case": (upgrade(Upgrade="WebSocket", Connection="upgrade"), {101}),
    "upgrade-list": (upgrade(Upgrade="h2c, WebSocket"), {101}),
    "upgrade-part-of-a-word": (upgrade(Upgrade="websockets"), {403}),
    "connection-list": (upgrade(Connection="keep-alive, Upgrade"), {101}),
    "version-blank-behind": (upgrade(Sec_WebSocket_Version="13 "), {101}),
    "header-names-in-capitals": (upgrade().upper().replace(b"GET /WS", b"GET /ws").replace(KEY.upper().encode(),
                                 KEY.encode()), {101}),
    "absolute-target": (upgrade("GET http://127.0.0.1/ws HTTP/1.1"), {101}),
    "blank-before-colon": (upgrade(**{"X ": "y"}), {400}),
    "folded-header": (upgrade(X="y\r\n z"), {400}),
    "header-without-name": (upgrade(**{"": "y"}), {400}),
    "header-without-colon": (upgrade().replace(b"\r\n\r\n", b"\r\nnonsense\r\n\r\n"), {400}),
    "bare-cr": (upgrade(X="y\rz"), {400}),
    "bare-lf": (upgrade(X="y\nHost: z"), {400}),
    "nul-in-header": (upgrade(X="y\0z"), {400}),
    "line-in-front": (b"\r\n" + upgrade(), {101}),
    "upgrade-two-lengths": (upgrade(Content_Length="0, 0"), {400}),
    "upgrade-empty-and-chunked": (upgrade(Content_Length="0", Transfer_Encoding="chunked"), {400}),
    "upgrade-with-body": (upgrade(Content_Length="5") + b"hello", {400}),
    "upgrade-chunked": (upgrade(Transfer_Encoding="chunked") + b"0\r\n\r\n", {400}),
    "headers-2000": (upgrade(**{f"X-{i}": "v" for i in range(2000)}), {431, 400, 0}),
    "header-64k": (upgrade(Cookie="c" * 65536), {431, 400, 0}),
    "uri-20k": (b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", {414, 431, 400, 404, 0}),
    "nul-in-uri": (b"GET /\0healthz HTTP/1.1\r\nHost: x\r\n\r\n", {200, 400, 403, 404, 0}),
    "no-http-at-all": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), {400, 403, 0}),
    "te-and-cl": (b"POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n"
                  b"0\r\n\r\n", {400}),
    "chunked-body": (b"POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {411}),
    "cl-negative": (b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", {400}),
    "cl-two": (b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcd", {400}),
    "cl-20-digits": (b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 12345678901234567890\r\n\r\n", {400}),
}


@pytest.mark.parametrize("name", UPGRADES)
def test_upgrade(server, name):
    request, allowed = UPGRADES[name]
    with Raw(server.port) as raw:
        raw.send(request)
        status, head = raw.head()
        assert status in allowed, head
        if status == 426:
            assert "Sec-WebSocket-Version: 13" in head
        if status == 101:
            assert ("Sec-WebSocket-Protocol: taskhub.v1" in head.replace("sec-websocket-protocol",
                    "Sec-WebSocket-Protocol")) == (b"Protocol" in request)
            assert "permessage-deflate" not in head
        else:
            assert raw.ended()


def test_origin(server):
    origin = f"http://localhost:{server.port}"
    with open_ws(server, auth=False, Origin=origin):
        pass
    for wrong in (origin + ".evil.example", origin + "/", origin[:-1], origin.upper(), "https" + origin[4:]):
        with Raw(server.port) as raw:
            raw.send(upgrade(Origin=wrong))
            assert raw.head()[0] == 403, wrong


def test_deflate_is_not_offered(server):
    with Raw(server.port) as raw:
        raw.send(upgrade(Sec_WebSocket_Extensions="permessage-deflate; client_max_window_bits"))
        status, head = raw.head()
        assert status == 101 and "extensions" not in head.lower()


def test_bearer_token_and_query(server):
    with Raw(server.port) as raw:
        raw.send(upgrade(Authorization="Bearer bob"))
        assert raw.head()[0] == 101
        assert raw.text() == "welcome"
    with Raw(server.port) as raw:
        raw.send(upgrade("GET /ws?token=alice-secret HTTP/1.1"))
        assert raw.head()[0] == 101
        raw.send(frame(TEXT, "hello"))
        assert raw.text() == "who are you?"
    assert "alice-secret" not in server.log()


# ---- frames ---------------------------------------------------------------------------------------------
MASK = b"\x37\xfa\x21\x3d"
FRAMES = {
    "rsv1-without-extension": (frame(TEXT, "x", rsv=0x40), {1002}),
    "rsv2": (frame(TEXT, "x", rsv=0x20), {1002}),
    "rsv3-of-a-ping": (frame(PING, "x", rsv=0x10), {1002}),
    "unmasked-text": (frame(TEXT, "x", masked=False), {1002}),
    "unmasked-empty": (frame(TEXT, "", masked=False), {1002}),
    "unmasked-ping": (frame(PING, "x", masked=False), {1002}),
    "unmasked-close": (frame(CLOSE, struct.pack(">H", 1000), masked=False), {1002}),
    "unmasked-inside": (frame(TEXT, "x", fin=False) + frame(0, "y", masked=False), {1002}),
    "length-16-not-minimal": (b"\x81\xfe\x00\x05" + MASK + b"hello", {1002}),
    "length-64-not-minimal": (b"\x81\xff" + struct.pack(">Q", 300) + MASK + b"x" * 300, {1002}),
    "utf8-cut-by-a-fragment": (frame(TEXT, b"\xe2\x82", fin=False) + frame(0, b"("), {1007}),
    "close-reason-not-utf8": (frame(CLOSE, struct.pack(">H", 1000) + b"\xff"), {1007}),
    "close-code-999": (frame(CLOSE, struct.pack(">H", 999)), {1002}),
    "close-code-2999": (frame(CLOSE, struct.pack(">H", 2999)), {1002}),
    "close-code-3000": (frame(CLOSE, struct.pack(">H", 3000)), {3000}),
    "close-code-4999": (frame(CLOSE, struct.pack(">H", 4999)), {4999}),
    "close-code-5000": (frame(CLOSE, struct.pack(">H", 5000)), {1002}),
    "reserved-opcode-3": (frame(3, "x"), {1002}),
    "reserved-opcode-11": (frame(11, "x"), {1002}),
    "ping-126": (frame(PING, b"x" * 126), {1002, 0}),
    "fragmented-ping": (frame(PING, b"x", fin=False), {1002, 0}),
    "continuation-first": (frame(0, "x"), {1002}),
    "text-inside-text": (frame(TEXT, "x", fin=False) + frame(TEXT, "y"), {1002}),
    "length-2^62-claim": (frame(BINARY, b"", length=1 << 62) + b"x" * 100, {1009}),
    "length-top-bit": (frame(BINARY, b"", length=(1 << 63) + 5) + b"x" * 100, {1002, 1009, 0}),
    "length-just-over-limit": (frame(TEXT, b"x" * 65537), {1009}),
    "binary-just-over-limit": (frame(BINARY, b"x" * 65541), {1009}),
    "fragments-over-limit": (frame(TEXT, b"x" * 40000, fin=False) + frame(0, b"x" * 40000), {1009}),
    "empty-fragments-10000": (frame(TEXT, b"", fin=False) + frame(0, b"", fin=False) * 10000, {1008, 1009}),
    "one-byte-fragments": (frame(TEXT, b"x", fin=False) + frame(0, b"x", fin=False) * 5000, {1008, 1009}),
    "invalid-utf8": (frame(TEXT, b"\xc3\x28"), {1007}),
    "utf8-cut": (frame(TEXT, b"\xe2\x82"), {1007}),
    "utf8-surrogate": (frame(TEXT, b"\xed\xa0\x80"), {1007}),
    "close-1000": (frame(CLOSE, struct.pack(">H", 1000)), {1000}),
    "close-empty": (frame(CLOSE), {1000, 1005}),
    "close-code-1005": (frame(CLOSE, struct.pack(">H", 1005)), {1002}),
    "close-one-byte": (frame(CLOSE, b"\x03"), {1002, 1005, 0}),
    "close-126": (frame(CLOSE, b"\x03\xe8" + b"x" * 124), {1002, 0}),
}


@pytest.mark.parametrize("name", FRAMES)
def test_frame(server, name):
    data, codes = FRAMES[name]
    with open_ws(server) as raw:
        before, began = server.rss_kb(), time.monotonic()
        raw.send(data)
        assert raw.close_code() in codes
        assert time.monotonic() - began < 2 * SLOWDOWN
        assert INSTRUMENTED > 1 or server.rss_kb() - before < 1024
    with open_ws(server) as raw:
        raw.send(frame(TEXT, "still there"))
        assert raw.text() == "still there"


def test_good_frames(server):
    with open_ws(server) as raw:
        for text in ("", "x", "é" * 100, "y" * 125, "z" * 126, "a" * 65535, "b" * 65536):
            raw.send(frame(TEXT, text))
            assert raw.text() == text
        raw.send(frame(BINARY, b"\0" * 65540))
        assert raw.text() == "65540 bytes"
        raw.send(frame(TEXT, "one ", fin=False) + frame(PING, "p") + frame(0, "two ", fin=False) + frame(0, "three"))
        got = [raw.frame(), raw.frame()]
        assert sorted(got) == [(TEXT, b"one two three"), (PONG, b"p")]
        for byte in frame(TEXT, "drip"):
            raw.send(bytes([byte]))
        assert raw.text() == "drip"
        raw.send(b"".join(frame(TEXT, str(i)) for i in range(1000)))
        assert [raw.text() for i in range(1000)] == [str(i) for i in range(1000)]
        raw.send(frame(PING, "a") * 20)
        raw.send(frame(TEXT, "after pings"))
        while (got := raw.frame()) != (TEXT, b"after pings"):
            assert got == (PONG, b"a")


def test_of_several_pings_the_newest_is_answered(server):
    with open_ws(server) as raw:
        for several in (frame(PING, "a") + frame(PING, "b"),
                        frame(TEXT, "say", fin=False) + frame(PING, "a") + frame(0, " it") + frame(PING, "b")):
            raw.send(several + frame(TEXT, "after"))
            pongs = []
            while (got := raw.frame()) != (TEXT, b"after"):
                pongs += [got] if got[0] == PONG else []
            raw.send(frame(TEXT, "and after"))
            while (got := raw.frame()) != (TEXT, b"and after"):
                pongs += [got] if got[0] == PONG else []
            assert pongs and pongs[-1] == (PONG, b"b"), pongs


def test_frames_that_come_with_the_upgrade(server):
    with Raw(server.port) as raw:
        raw.send(upgrade(Authorization="Bearer bob") + frame(TEXT, "early") + frame(TEXT, "cut")[:3])
        assert raw.head()[0] == 101
        assert [raw.text(), raw.text()] == ["welcome", "early"]
        raw.send(frame(TEXT, "cut")[3:])
        assert raw.text() == "cut"


def test_upgrade_byte_by_byte(server):
    with Raw(server.port) as raw:
        for byte in upgrade(Authorization="Bearer bob"):
            raw.send(bytes([byte]))
        assert raw.head()[0] == 101 and raw.text() == "welcome"


def test_upgrade_behind_a_request(server):
    with Raw(server.port) as raw:
        raw.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + upgrade() + frame(TEXT, "auth alice"))
        assert raw.head()[0] == 200
        raw.data = raw.data.removeprefix(b'{"ok":true}\n')
        assert raw.head()[0] == 101 and raw.text() == "welcome"


def test_unauthenticated_limit_is_smaller(server):
    with open_ws(server, auth=False) as raw:
        raw.send(frame(TEXT, "x" * 20481))
        assert raw.close_code() == 1009


def test_server_closes(server):
    for answer in (True, False):
        with open_ws(server) as raw:
            raw.send(frame(TEXT, "close 4403"))
            got = raw.frame()
            assert got[0] == CLOSE and got[1] == struct.pack(">H", 4403) + b"as you wish"
            began = time.monotonic()
            if answer:
                raw.send(frame(CLOSE, got[1]))
            assert raw.frame() is None
            assert time.monotonic() - began < (1 if answer else 5) * SLOWDOWN


# ---- HTTP ------------------------------------------------------------------------------------------------
def test_http(server):
    def get(path, *headers, method="GET"):
        with Raw(server.port) as raw:
            lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers]
            raw.send(("\r\n".join(lines) + "\r\n\r\n").encode())
            status, head = raw.head()
            assert raw.ended()
            return status, head, raw.data
    for path in ("/healthz", "/readyz", "/metrics", "/sdk/taskhub.js"):
        status, head, body = get(path)
        assert status == 200 and body, path
        for header in ("Content-Security-Policy: default-src 'none'", "Permissions-Policy: microphone=(self)",
                       "X-Content-Type-Options: nosniff", f"Content-Length: {len(body)}"):
            assert header in head, (path, header)
        assert get(path, method="HEAD") == (200, head, b"")
    etag = re.search(r"(?m)^ETag: (\S+)", get("/sdk/taskhub.js")[1]).group(1)
    assert get("/sdk/taskhub.js", f"If-None-Match: {etag}")[::2] == (304, b"")
    for path in ("/nope", "/../../etc/passwd", "/sdk/../../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/.git/config",
                 "/queue.lua", "//etc/passwd", "/sdk/", "/sdk/queue.lua"):
        assert get(path)[0] in (403, 404), path
    assert get("/healthz", "Content-Length: 4", method="POST")[0] == 405
    status, _, body = get("/nope")
    assert body == b'{"detail":"Not found","code":"not_found"}\n'


def test_names(server, directory):
    """Who makes a name lead to this machine reads nothing under it."""
    def status(port, path, host, request=None):
        with Raw(port) as raw:
            raw.send(request or f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            return raw.head()[0]
    for path in ("/", "/metrics", "/sdk/taskhub.js", "/nope"):
        assert status(server.port, path, f"evil.example:{server.port}") == 403, path
        assert status(server.port, path, "localhost.evil.example") == 403, path
    for host in ("localhost", f"LOCALHOST:{server.port}", "127.0.0.1", "[::1]:80", "10.1.2.3:80"):
        assert status(server.port, "/metrics", host) == 200, host
    for path in ("/healthz", "/readyz"):
        assert status(server.port, path, "evil.example") == 200, path
    assert status(server.port, None, None, upgrade(Host="app.example")) == 101, "a proxy, a program"
    assert status(server.port, None, None, upgrade(Host="evil.example", Origin="http://evil.example")) == 403
    options = {"origins": "https://app.example http://other.example:8080", "http.hosts": "hub hub.internal"}
    other = Server(directory, options=options, name="names").start()
    try:
        for host in ("app.example", "other.example", "hub:1", "hub.internal", "localhost"):
            assert status(other.port, "/metrics", host) == 200, host
        for host in ("example", "app.example.evil", "hub.", "internal"):
            assert status(other.port, "/metrics", host) == 403, host
    finally:
        assert other.stop() == 0


def metrics(address, port, *headers):
    """The status of /metrics."""
    with socket.create_connection((address, port), timeout=10 * SLOWDOWN) as s:
        s.sendall("\r\n".join(["GET /metrics HTTP/1.1", "Host: localhost", "Connection: close", *headers, "", ""]).encode())
        return int(s.makefile("rb").readline().split()[1])


def test_metrics_are_for_this_machine(directory):
    server = Server(directory, name="everywhere", listen="[::]:0").start()
    try:
        assert metrics("127.0.0.1", server.port) == metrics("::1", server.port) == 200
        for header in ("X-Forwarded-For: 203.0.113.7", "Forwarded: for=203.0.113.7", "x-forwarded-for: ::1"):
            assert metrics("127.0.0.1", server.port, header) == 403, header
        for address in own_addresses():
            assert metrics(address, server.port) == 403, address
    finally:
        assert server.stop() == 0


def test_metrics_with_a_token(directory, tmp_path):
    (tmp_path / "token").write_text("a-token\na second line\n")
    options = {"metrics.token_file": tmp_path / "token"}
    server = Server(directory, options=options, name="token", listen="[::]:0").start()
    try:
        for address in ("127.0.0.1", "::1", *own_addresses()):
            assert metrics(address, server.port) == 401, address
            assert metrics(address, server.port, "Authorization: Bearer a-toke") == 401, address
            assert metrics(address, server.port, "Authorization: Bearer a-token") == 200, address
        assert metrics("::1", server.port, "Authorization: Bearer a-token", "X-Forwarded-For: 203.0.113.7") == 200
    finally:
        assert server.stop() == 0


@pytest.mark.parametrize("text, error", [(None, "No such file"), ("", "no token"), ("two words", "no token"),
                                         ("x" * 5000, "File too large")])
def test_a_bad_token_file_for_metrics(directory, tmp_path, text, error):
    path = tmp_path / "token"
    if text is not None:
        path.write_text(text)
    server = Server(directory, options={"metrics.token_file": path}, name=f"bad-{len(error)}-{len(text or '')}")
    server.spawn()
    assert server.wait_exit() == 1
    assert f"option metrics.token_file: {path}: " in server.log() and error in server.log()


@pytest.mark.parametrize("path, status", [("/healthz", 405), ("/nope", 404), ("/ws", 405)])
@pytest.mark.parametrize("size", [1, 65536, 1000000, 8000000])
def test_a_body_that_nobody_wants(server, path, status, size):
    """A client that sends all before it listens is answered."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10 * SLOWDOWN)
    connection.request("POST", path, body=b"x" * size)
    response = connection.getresponse()
    assert response.status == status and b'"code"' in response.read()
    connection.close()


def test_a_body_without_end_is_cut(server):
    with Raw(server.port) as raw:
        raw.send(b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n" + b"x" * 70000)
        assert raw.head()[0] == 405
        raw.send(b"x" * 20000000)
        assert raw.ended()


def test_many_requests_on_one_connection(server):
    with Raw(server.port) as raw:
        raw.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
        for _ in range(20):
            status, head = raw.head()
            assert status == 200
            while len(raw.data) < 12:
                assert raw._more()
            assert raw.data[:12] == b'{"ok":true}\n'
            raw.data = raw.data[12:]


def test_web_root(directory):
    root = pathlib.Path(directory, "root")
    (root / "sdk").mkdir(parents=True)
    (root / "app").mkdir()
    (root / "app" / "index.html").write_text("<p>mine</p>")
    (root / "sdk" / "x.js").write_text("1;")
    (root / "app" / "link.js").symlink_to("/etc/hostname")
    server = Server(directory, options={"web_root": root}, name="web_root").start()
    try:
        for path, status in (("/", 200), ("/index.html", 200), ("/sdk/x.js", 200), ("/link.js", 404), ("/sdk", 404),
                             ("/missing.js", 404), ("/sdk/../../etc/passwd", 404)):
            with Raw(server.port) as raw:
                raw.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                assert raw.head()[0] == status, path
    finally:
        assert server.stop() == 0


def test_a_large_file_for_a_slow_reader(directory):
    """What the socket does not take at once comes later, whole and in order, and the next answer behind it."""
    root = pathlib.Path(directory, "large")
    (root / "app").mkdir(parents=True)
    content = bytes(range(256)) * 16384
    (root / "app" / "large.txt").write_bytes(content)
    server = Server(directory, options={"web_root": root}, name="large").start()
    try:
        with Raw(server.port, timeout=30) as raw:
            raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 131072)
            raw.send(b"GET /large.txt HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2 +
                     b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            for _ in range(2):
                assert raw.head()[0] == 200
                while len(raw.data) < len(content):
                    assert raw._more()
                assert raw.data[:len(content)] == content
                raw.data = raw.data[len(content):]
            assert raw.head()[0] == 200 and raw.ended()
            assert raw.data == b'{"ok":true}\n'
    finally:
        assert server.stop() == 0
