# SPDX-License-Identifier: MIT
"""Requests that somebody in between could read in another way, or that take more than their share."""
import array
import contextlib
import fcntl
import os
import re
import shutil
import signal
import socket
import tempfile
import termios

import pytest

from raw_ws import Raw, Server, running, upgrade

HOST = b"Host: localhost\r\n"
ASK = b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n"


@pytest.fixture(scope="module")
def server():
    path = tempfile.mkdtemp(prefix="taskhub-http-")
    yield from running(Server(path))
    shutil.rmtree(path)


def answers(server, request):
    """The statuses of all answers, and the bytes, of a connection that ends."""
    with Raw(server.port) as raw:
        raw.send(request)
        assert raw.ended()
        return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+) ", raw.data)], raw.data


@pytest.mark.parametrize("path", ["/", "/healthz", "/metrics", "/nope"])
def test_a_request_names_one_host(server, path):
    line = f"GET {path} HTTP/1.1\r\n".encode()
    for hosts in (b"", HOST * 2, HOST + b"host: evil.example\r\n", b"Host: 10.0.0.1\r\nA: b\r\nHOST:\r\n"):
        assert answers(server, line + hosts + b"\r\n" + ASK)[0] == [400], hosts
    assert answers(server, b"GET /healthz HTTP/1.0\r\n\r\n")[0] == [200], "HTTP/1.0 need not"
    assert answers(server, b"GET /healthz HTTP/1.0\r\n" + HOST * 2 + b"\r\n")[0] == [400]


def test_an_upgrade_names_one_host(server):
    for request in (upgrade(drop=["Host"]), upgrade(HOST="evil.example")):
        assert answers(server, request)[0] == [400]


@pytest.mark.parametrize("path, status", [("/nope", 404), ("/ws", 426), ("/metrics", 403)])
def test_a_refused_head_request_has_no_body(server, path, status):
    request = f"HEAD {path} HTTP/1.1\r\nHost: evil.example\r\n\r\n" if status == 403 else \
        f"HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"
    statuses, data = answers(server, request.encode())
    assert data.endswith(b"\r\n\r\n") and b"Content-Length: " in data
    assert statuses == [status]


def test_a_body_that_may_not_come(server):
    """Who has asked for leave and is answered at once may send the body or not: no request follows it."""
    ask = b"GET /healthz HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    for behind in (ASK, b"hello" + ASK):
        statuses, data = answers(server, ask % 5 + behind)
        assert statuses == [200] and b"Connection: close\r\n" in data
    with Raw(server.port) as raw:
        raw.send(ask % 0 + ASK + ASK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert raw.ended() and raw.data.count(b"HTTP/1.1 200 ") == 3, "nothing is to come"


@pytest.mark.parametrize("field, status", [(b"Transfer-Encoding: chunked", 411), (b"Content-Length: 8e6", 400),
                                           (b"Content-Length: 1\r\nTransfer-Encoding: chunked", 400)])
def test_a_body_of_no_known_length(server, field, status):
    """It is read and no request, whatever stands in it, so that who sends all before he listens is answered."""
    chunk = ASK * 1000
    body = b"%x\r\n%s\r\n" % (len(chunk), chunk)
    with Raw(server.port) as raw:
        raw.socket.sendall(b"POST /healthz HTTP/1.1\r\n" + HOST + field + b"\r\n\r\n" + body * 150)
        raw.socket.shutdown(socket.SHUT_WR)
        assert raw.ended()
        assert re.findall(rb"HTTP/1\.1 (\d+) ", raw.data) == [b"%d" % status]


def unread(connection):
    size = array.array("i", [0])
    fcntl.ioctl(connection, termios.FIONREAD, size)
    return size[0]


def test_many_requests_at_once_delay_nobody(server):
    """What comes in one read is answered over several turns, in which others are answered too."""
    one, first = len(answers(server, ASK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))[1]), []
    one -= len("Connection: close\r\n")
    for _ in range(50):
        with contextlib.ExitStack() as stack:
            other, many = [stack.enter_context(Raw(server.port)) for _ in range(2)]
            for raw in (other, many):  # so that the events of `many` come first
                raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
                raw.send(ASK)
                while len(raw.data) < one:
                    assert raw._more()
                raw.data = b""
            os.kill(server.pid, signal.SIGSTOP)
            try:
                many.send(ASK * 350)
                other.send(ASK)
            finally:
                os.kill(server.pid, signal.SIGCONT)
            assert other._more()
            first.append(unread(many.socket) // one)
            while len(many.data) < 350 * one:
                assert many._more()
            assert many.data == many.data[:one] * 350
        if first[-1] < 350:
            return
    raise AssertionError(first)


def whole_after_sigterm(directory, content, name):
    """Whether an answer that a slow reader has begun reaches him whole although the server ends."""
    server = Server(directory, name=name, options={"web_root": directory}).start()
    with Raw(server.port) as raw, Raw(server.port) as idle:
        raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 131072)
        raw.send(b"GET /large.txt HTTP/1.1\r\n" + HOST + b"\r\n")
        assert raw.head()[0] == 200
        server.signal(signal.SIGTERM)
        assert idle.ended()
        assert raw.ended()
        server.wait_exit(10)
        return raw.data == content


def test_an_answer_under_way_ends_before_the_server(tmp_path):
    (tmp_path / "app").mkdir()
    content = bytes(range(256)) * 30000
    (tmp_path / "app" / "large.txt").write_bytes(content)
    assert any(whole_after_sigterm(tmp_path, content, f"ends-{n}") for n in range(5))  # it has 2 s
