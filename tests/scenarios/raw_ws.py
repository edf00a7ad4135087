# SPDX-License-Identifier: MIT
"""WebSockets byte by byte, for tests of bad and hostile input, and the server under test: the hub's server
with an echo behind it (tests/lib/echo_server.c), so that nothing but the server is in play."""
import base64
import contextlib
import pathlib
import re
import socket
import struct

from taskhub import BUILD, SLOWDOWN, Process, environment

KEY = base64.b64encode(b"sixteen bytes ok").decode()
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class Server(Process):
    """An echo server with its own options."""

    def __init__(self, directory, *args, options=None, name="echo", listen="127.0.0.1:0"):
        super().__init__(name, [BUILD / "tests/lib/echo_server", *args, "--listen", listen], directory,
                         environment(options))

    def start(self):
        self.spawn()
        self.port = int(self.wait_log(r"(?m)^\S+:(\d+)$").group(1))
        return self

    def rss_kb(self):
        return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{self.pid}/status").read_text()).group(1))


def running(server):
    """Yields a started server and checks at its end that it ended well."""
    server.start()
    yield server
    assert server.stop() == 0, server.log()
    assert not server.sanitizer_report(), server.sanitizer_report()
    assert "handles left" not in server.log()


def own_addresses():
    """Addresses of this machine besides loopback, as far as it has a network."""
    for family, far in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as s:
            s.connect((far, 9))
            yield s.getsockname()[0]


class Raw:
    """A TCP connection that sends what it is told and reads frames."""

    def __init__(self, port, timeout=10, address="127.0.0.1"):
        self.socket = socket.create_connection((address, port))
        self.socket.settimeout(timeout * SLOWDOWN)
        self.data = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(data)

    def _more(self):
        try:
            part = self.socket.recv(65536)
        except ConnectionError:
            part = b""
        self.data += part
        return bool(part)

    def head(self):
        """The status and the head of the answer; (0, "") when the connection just ended."""
        while b"\r\n\r\n" not in self.data:
            if not self._more():
                return 0, self.data.decode(errors="replace")
        head, self.data = self.data.split(b"\r\n\r\n", 1)
        return int(head.split()[1]), head.decode(errors="replace")

    def frame(self):
        """(opcode, payload) of the next frame, None at the end of the connection."""
        while True:
            if len(self.data) >= 2:
                n, at = self.data[1] & 127, 2
                if n == 126 and len(self.data) >= 4:
                    n, at = struct.unpack(">H", self.data[2:4])[0], 4
                elif n == 127 and len(self.data) >= 10:
                    n, at = struct.unpack(">Q", self.data[2:10])[0], 10
                if (n < 126 or at > 2) and len(self.data) >= at + n:
                    frame = self.data[0] & 15, self.data[at:at + n]
                    self.data = self.data[at + n:]
                    return frame
            if not self._more():
                return None

    def text(self):
        frame = self.frame()
        assert frame and frame[0] == TEXT, frame
        return frame[1].decode()

    def close_code(self):
        """The code of the close frame; 0 when the connection ends without one. Skips other frames."""
        while True:
            frame = self.frame()
            if frame is None:
                return 0
            if frame[0] == CLOSE:
                return struct.unpack(">H", frame[1][:2])[0] if len(frame[1]) > 1 else 1005

    def ended(self):
        """Whether the connection ends (within the time limit)."""
        try:
            while self._more():
                pass
        except socket.timeout:
            return False
        return True


def frame(opcode, payload=b"", fin=True, rsv=0, masked=True, length=None):
    if isinstance(payload, str):
        payload = payload.encode()
    n = len(payload) if length is None else length
    head = bytes([(0x80 if fin else 0) | rsv | opcode])
    bit = 0x80 if masked else 0
    if n < 126:
        head += bytes([bit | n])
    elif n < 65536:
        head += bytes([bit | 126]) + struct.pack(">H", n)
    else:
        head += bytes([bit | 127]) + struct.pack(">Q", n)
    if not masked:
        return head + payload
    mask = b"\x37\xfa\x21\x3d"
    return head + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload))


def upgrade(line="GET /ws HTTP/1.1", drop=(), **changes):
    """An upgrade request; headers by name with _ for -."""
    headers = {"Host": "127.0.0.1", "Upgrade": "websocket", "Connection": "Upgrade",
               "Sec-WebSocket-Key": KEY, "Sec-WebSocket-Version": "13"}
    headers |= {name.replace("_", "-"): value for name, value in changes.items()}
    lines = [line] + [f"{name}: {value}" for name, value in headers.items() if name not in drop]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def open_ws(server, auth=True, **headers):
    raw = Raw(server.port)
    raw.send(upgrade(**headers))
    status, head = raw.head()
    assert status == 101, head
    if auth:
        raw.send(frame(TEXT, "auth alice"))
        assert raw.text() == "welcome"
    return raw
