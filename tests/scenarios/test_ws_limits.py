# SPDX-License-Identifier: MIT
"""Limits of the hub's sockets: connections, rate, time, silence, slow readers; draining, descriptors, where
it listens."""
import concurrent.futures
import contextlib
import os
import pathlib
import re
import shutil
import socket
import struct
import tempfile
import time

import pytest

from raw_ws import CLOSE, PONG, TEXT, Raw, Server, frame, open_ws, own_addresses, running, upgrade
from taskhub import INSTRUMENTED, SLOWDOWN, eventually


@pytest.fixture(scope="module")
def directory():
    path = tempfile.mkdtemp(prefix="taskhub-raw-")
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def server(directory):
    yield from running(Server(directory))


# ---- limits -----------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def small(directory):
    options = {"limits.connections": 40, "limits.user_connections": 3, "limits.unauthenticated": 8,
               "limits.http_connections": 10,
               "auth.deadline_ms": 1500, "limits.messages_per_s": 50, "limits.messages_burst": 100,
               "limits.outbox_bytes": 65536}
    yield from running(Server(directory, options=options, name="small"))


def test_user_connections(small):
    with contextlib.ExitStack() as held:
        for _ in range(3):
            held.enter_context(open_ws(small))
        raw = held.enter_context(open_ws(small, auth=False))
        raw.send(frame(TEXT, "auth alice"))
        assert raw.close_code() == 4429
        other = held.enter_context(open_ws(small, auth=False))
        other.send(frame(TEXT, "auth bob"))
        assert other.text() == "welcome"


def test_auth_deadline(small):
    with open_ws(small, auth=False) as raw:
        began = time.monotonic()
        assert raw.close_code() == 4408
        assert 1 < time.monotonic() - began < 3 * SLOWDOWN


def test_token_expiry(server):
    with open_ws(server, auth=False) as raw:
        raw.send(frame(TEXT, "auth carol 2"))
        assert raw.text() == "welcome"
        assert '"method":"auth.expiring","params":{"expires_at":"20' in raw.text()
    with open_ws(server, auth=False) as raw:
        raw.send(frame(TEXT, "auth carol -29"))
        assert raw.text() == "welcome"
        assert raw.close_code() == 4401


def test_message_rate(small):
    with open_ws(small) as raw:
        raw.send(frame(TEXT, "x") * 90)
        assert [raw.text() for _ in range(90)] == ["x"] * 90
    with open_ws(small) as raw:
        raw.send(frame(TEXT, "x") * 400)
        assert raw.close_code() == 4429


def test_unauthenticated(small):
    with contextlib.ExitStack() as held:
        silent = [held.enter_context(Raw(small.port)) for _ in range(4)]
        silent += [held.enter_context(open_ws(small, auth=False)) for _ in range(4)]
        for first in silent[:2]:  # for one too many the oldest goes
            raw = held.enter_context(open_ws(small, auth=False))
            raw.send(frame(TEXT, "auth bob"))
            assert raw.text() == "welcome"
            held.enter_context(Raw(small.port))
            assert first.ended()
        raw = held.enter_context(Raw(small.port))
        raw.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert raw.head()[0] == 200


def test_idle_pages_keep_nobody_out(small):
    """Connections that asked over HTTP and stay open have places of their own."""
    ask = b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    with contextlib.ExitStack() as held:
        pages = [held.enter_context(Raw(small.port)) for _ in range(12)]
        for raw in pages:
            raw.send(ask)
            assert raw.head()[0] == 200
        for n in range(3):
            raw = held.enter_context(open_ws(small, auth=False))
            raw.send(frame(TEXT, f"auth user{n}"))
            assert raw.text() == "welcome"
        assert pages[0].ended() and pages[1].ended(), "of more than there are places for the oldest go"
        pages[-1].send(ask)
        assert pages[-1].head()[0] == 200, "the newest stay"


def upgrades(port, count, address="127.0.0.1"):
    """How many of so many connections that have asked over HTTP may upgrade afterwards, at once."""
    with contextlib.ExitStack() as held:
        pages = []
        for _ in range(count):
            pages.append(raw := held.enter_context(Raw(port, address=address)))
            raw.send(b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert raw.head()[0] == 200
        for raw in pages:
            raw.send(upgrade())
        statuses = [raw.head()[0] for raw in pages]
        assert set(statuses) == {101, 503}
        return statuses.count(101)


def test_who_upgrades_after_a_request_needs_a_place(small):
    """More than there are would keep newcomers out for as long as they are too many."""
    assert 1 <= upgrades(small.port, 10) <= 8


def test_who_upgrades_after_a_request_needs_a_place_of_its_address(directory):
    address = next(own_addresses(), None)
    if address is None:
        pytest.skip("this machine has no network")
    server = Server(directory, name="address", listen="[::]:0", options={"limits.address_unauthenticated": 3}).start()
    try:
        assert upgrades(server.port, 6, address) == 3
    finally:
        assert server.stop() == 0


def test_total(small):
    def served(path="healthz"):
        with Raw(small.port) as raw:
            raw.send(f"GET /{path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            return raw.head()[0] == 200
    with contextlib.ExitStack() as held:
        for i in range(40):
            raw = held.enter_context(open_ws(small, auth=False))
            raw.send(frame(TEXT, f"auth user{i // 3}"))
            assert raw.text() == "welcome"
        with Raw(small.port) as raw:
            raw.send(upgrade())
            assert raw.head()[0] == 503
        for _ in range(20):
            assert served(), "probes have places of their own"
        assert not served("metrics")
    eventually(lambda: served("metrics"), 5)


def closed_slow(server):
    """How many connections were closed as too slow."""
    with Raw(server.port) as http:
        http.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        http.head()
        http.ended()
        return int(re.search(rb"closed_slow_total (\d+)", http.data).group(1))


TOO_MUCH = {"answers": frame(TEXT, "text 60000") * 90, "events": frame(TEXT, "events 1 20000 A"),
            "both": frame(TEXT, "events 1 10000 A") + frame(TEXT, "text 60000") * 40}


@pytest.mark.parametrize("what", TOO_MUCH)
def test_who_is_too_slow_is_told(small, what):
    """4101 comes behind what was on its way, however late the reader wakes; the rest is thrown away."""
    with Raw(small.port) as raw:
        raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 131072)
        raw.send(upgrade(Authorization="Bearer dora"))
        assert raw.head()[0] == 101
        before, closed = small.rss_kb(), closed_slow(small)
        raw.send(TOO_MUCH[what])
        eventually(lambda: closed_slow(small) > closed, 10, "closed as too slow")
        assert INSTRUMENTED > 1 or small.rss_kb() - before < 2048
        time.sleep(5)  # the reader sleeps: longer than others get for their answer to a close frame
        assert raw.close_code() == 4101


def test_slow_reader_of_events(small):
    """Progress is merged, bounded events are dropped oldest first with an honest `from`, and what was sent
    before comes whole and in order."""
    with Raw(small.port, timeout=5) as raw:
        raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 131072)
        raw.send(upgrade(Authorization="Bearer emil"))
        assert raw.head()[0] == 101 and raw.text() == "welcome"
        raw.send(frame(TEXT, "events 1 20000 S"))
        raw.send(frame(TEXT, "events 1 20000 P"))
        raw.send(frame(TEXT, "events 20001 20001 A"))
        last = 0
        revs = []
        while last < 20001:
            text = raw.text()
            if found := re.search(r'"rev":(\d+)', text):
                revs.append(int(found.group(1)))
                continue
            seq, _, start = re.search(r'"seq":(\d+)(,"from":(\d+))?', text).groups()
            assert int(start or int(seq) - 1) == last or last == 0, text[:120]
            last = int(seq)
        assert revs == sorted(revs) and revs[-1] == 20000 and len(revs) < 20000


# ---- silence -------------------------------------------------------------------------------------------------
def ends_within(server, seconds, *parts, auth=True, drip=None, stays=False):
    """The code with which a connection ends after it sent these parts; -1 if it does not. One that `stays` is looked at
    for the bare time: the server's clock is the same on a busy machine."""
    raw = open_ws(server, auth) if auth is not None else Raw(server.port)
    with raw:
        for part in parts:
            raw.send(part)
        raw.socket.settimeout(1)
        end = time.monotonic() + seconds * (1 if stays else SLOWDOWN)
        while time.monotonic() < end:
            if drip:
                raw.send(drip)
            try:
                return raw.close_code()
            except socket.timeout:
                continue
        return -1


@pytest.mark.limit(120)
def test_silence(server):
    """What never finishes, and who never answers a ping, is cut off; side by side, since it takes time."""
    cases = {
        "connect-and-say-nothing": ((15,), {"auth": None}, {0}),
        "half-request": ((15, b"GET /ws HTTP/1.1\r\nHost: x\r\n"), {"auth": None}, {0}),
        "slow-header": ((15, b"GET /ws HTTP/1.1\r\nX: "), {"auth": None, "drip": b"x"}, {0}),
        "never-finishing-message": ((33, frame(TEXT, "x", fin=False)), {"drip": frame(0, "x", fin=False)}, {1008}),
        "half-frame-then-silence": ((60, frame(TEXT, "x" * 100)[:3]), {}, {0, 1008}),
        "frame-that-never-ends": ((60, frame(TEXT, "x" * 10, length=100)), {}, {0, 1008}),
        "no-pong": ((60,), {}, {0}),
        "answers-pings": ((45,), {"drip": frame(PONG, "p"), "stays": True}, {-1}),
    }
    with concurrent.futures.ThreadPoolExecutor(len(cases)) as pool:
        runs = {name: pool.submit(ends_within, server, *args, **kwargs) for name, (args, kwargs, _) in cases.items()}
        got = {name: run.result() for name, run in runs.items()}
    assert {name: code for name, code in got.items() if code not in cases[name][2]} == {}


# ---- the life of the server ------------------------------------------------------------------------------
def test_drain(directory):
    server = Server(directory, name="drain").start()
    with contextlib.ExitStack() as held:
        several = [held.enter_context(open_ws(server, Authorization=f"Bearer u{i}", auth=False)) for i in range(20)]
        assert [raw.text() for raw in several] == ["welcome"] * 20
        silent = held.enter_context(Raw(server.port))
        server.signal(15)
        for raw in several:
            assert re.fullmatch(r'{"jsonrpc":"2.0","method":"hub.draining","params":{"retry_ms":\[\d+,\d+\]}}',
                                raw.text())
            assert raw.close_code() == 4100
            raw.send(frame(CLOSE, struct.pack(">H", 4100)))
        assert silent.ended()
        assert server.wait_exit(10) == 0, server.log()
    assert "handles left" not in server.log() and not server.sanitizer_report()


def test_few_descriptors(directory):
    """With few descriptors fewer connections are taken; the others are refused at once, nothing spins."""
    server = Server(directory, name="descriptors", options={"limits.unauthenticated": 1000})
    server.argv = ["/bin/sh", "-c", 'ulimit -n 60; exec "$@"', "sh", *server.argv]
    server.start()

    def cpu():
        return sum(map(int, pathlib.Path(f"/proc/{server.pid}/stat").read_text().split()[13:15]))
    try:
        with contextlib.ExitStack() as held:
            several = [held.enter_context(Raw(server.port)) for _ in range(100)]
            before, began = cpu(), time.monotonic()
            assert several[-1].ended() and several[0].ended()  # refused; silent for too long
            used = (cpu() - before) / os.sysconf("SC_CLK_TCK")
            assert used < 0.2 * (time.monotonic() - began) + 0.2

        def served():
            with Raw(server.port) as raw:
                raw.send(upgrade())
                return raw.head()[0] == 101
        eventually(served, 5, "a connection taken again")
    finally:
        assert server.stop() == 0


def test_unix_socket_and_refusals(directory):
    path = pathlib.Path(directory, "s.sock")
    server = Server(directory, name="unix")
    server.argv[-1] = f"unix:{path}"
    server.spawn()
    server.wait_log(re.escape(f"unix:{path}"))
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(path))
        s.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert s.recv(100).startswith(b"HTTP/1.1 200")
    second = Server(directory, name="second")
    for listen, text in ((f"unix:{path}", "in use"), ("nowhere", "option listen"), ("127.0.0.1:x", "option listen"),
                         ("::1:80", "option listen"), ("unix:" + "x" * 200, "option listen")):
        second.argv[-1] = listen
        second.spawn()
        assert second.wait_exit() in (1, 2)
        assert text in second.log()
    assert server.stop() == 0
    assert not path.exists()


def test_memory_of_closed_connections_is_given_back(directory):
    options = {"limits.unauthenticated": 3000, "limits.user_connections": 3000, "auth.deadline_ms": 60000}
    server = Server(directory, options=options, name="memory").start()
    try:
        before = server.rss_kb()
        with contextlib.ExitStack() as connections:
            opened = [connections.enter_context(Raw(server.port)) for _ in range(2500)]
            for raw in opened:
                raw.send(upgrade())
            assert all(raw.head()[0] == 101 for raw in opened)
            for raw in opened:
                raw.send(frame(TEXT, "x" * 3000, fin=False))
            eventually(lambda: server.rss_kb() - before > 10000, what="memory of many connections")
            full = server.rss_kb()
        eventually(lambda: server.rss_kb() - before < (full - before) / 3, what=f"less than a third of {full} kB")
        with open_ws(server) as raw:
            raw.send(frame(TEXT, "still there"))
            assert raw.text() == "still there"
    finally:
        assert server.stop() == 0
