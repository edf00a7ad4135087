# SPDX-License-Identifier: MIT
"""A second client, written from docs/protocol.md alone: what the page does not say, this client does not know. It keeps
the cursor of "Resuming", repeats what was not answered with its idempotency key, and notes each logged event that it
was given, so that a test can see what it missed."""
import asyncio
import base64
import contextlib
import hashlib
import itertools
import json
import os
import struct

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
TERMINAL = ("completed", "failed", "cancelled")
CONFLICT, UNAVAILABLE = -32009, -32053
STAY_AWAY = range(4400, 5000)  # close codes that say so


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, error):
        super().__init__(error["message"])
        self.code = error["code"]
        self.retry_s = error["data"].get("retry_ms", 50) / 1000


class Lost(Exception):
    """The connection ended."""


class Socket:
    """RFC 6455 on a TCP connection, as far as the page wants it; counts its bytes."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.read_bytes = self.sent_bytes = 0
        self.borders = ([], [])  # where each frame ended: sent, read
        self.close_code = 1006

    @classmethod
    async def open(cls, host, port, token=None):
        try:
            self = cls(*await asyncio.open_connection(host, port))
        except OSError:
            raise Lost from None
        try:
            await self._upgrade(host, port, token)
        except Lost:
            self.close()
            raise
        return self

    async def _upgrade(self, host, port, token):
        key = base64.b64encode(os.urandom(16)).decode()
        lines = ["GET /ws HTTP/1.1", f"Host: {host}:{port}", "Upgrade: websocket", "Connection: Upgrade",
                 "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Protocol: taskhub.v1"]
        lines += [f"Authorization: Bearer {token}"] if token else []
        self._write(("\r\n".join(lines) + "\r\n\r\n").encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await self._read(1)
        self.borders[1].append(self.read_bytes)
        if b" 101 " not in head.split(b"\r\n")[0]:
            raise Lost
        digest = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
        assert base64.b64encode(digest) in head and b"taskhub.v1" in head

    def _write(self, data):
        if self.writer.is_closing():
            raise Lost
        self.writer.write(data)
        self.sent_bytes += len(data)
        self.borders[0].append(self.sent_bytes)

    async def _read(self, n):
        try:
            data = await self.reader.readexactly(n)
        except (OSError, asyncio.IncompleteReadError):
            raise Lost from None
        self.read_bytes += n
        return data

    def send(self, opcode, payload):
        mask, n = os.urandom(4), len(payload)
        size = bytes([0x80 | n]) if n < 126 else b"\xfe" + struct.pack(">H", n)
        self._write(bytes([0x80 | opcode]) + size + mask + bytes(b ^ mask[i & 3] for i, b in enumerate(payload)))

    async def text(self):
        """The next text; Lost when the connection ends."""
        while True:
            first, second = await self._read(2)
            size = second
            if second > 125:
                size = int.from_bytes(await self._read(2 if second == 126 else 8), "big")
            payload = await self._read(size)
            self.borders[1].append(self.read_bytes)
            if first == 0x80 | TEXT:
                return payload.decode()
            if first == 0x80 | PING:
                self.send(PONG, payload)
            elif first == 0x80 | CLOSE:
                self.close_code = struct.unpack(">H", payload[:2])[0] if payload else 1005
                self.send(CLOSE, payload[:2])
                raise Lost
            else:
                assert first == 0x80 | PONG, first

    def close(self):
        self.writer.close()


def encode(message):
    return json.dumps(message, separators=(",", ":")).encode()


class LiteralClient:
    """One user's client. Within `async with` it is connected, again and again."""

    def __init__(self, port, token, resume=None):
        self.port, self.token = port, token
        self.epoch, self.cursor, self.mark = (resume["epoch"], resume["seq"], resume.get("mark")) if resume else (None, 0, None)
        self.socket = None  # while it is authenticated
        self.sockets, self.welcomes = [], []  # all there were, all answers to auth
        self.given = {}  # the logged events that came, by seq …
        self.told = {}  # … and of answers that stand for one: the task
        self.types = set()  # of all events
        self.tasks, self.notifications, self.streams = {}, {}, {}  # what is known of each; the last audio.ack
        self.posted, self.answers = [], {}  # what was asked and must be asked again; answers nobody took yet
        self.ids = itertools.count(1)

    async def __aenter__(self):
        self.wake = asyncio.get_running_loop().create_future()
        self.life = asyncio.create_task(self._live())
        return self

    async def __aexit__(self, *_):
        self.life.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.life

    async def until(self, condition):
        """Waits for what messages bring."""
        while not condition():
            await asyncio.wait([self.life, self.wake], return_when=asyncio.FIRST_COMPLETED)
            if self.life.done():
                self.life.result()

    def _changed(self):
        wake, self.wake = self.wake, asyncio.get_running_loop().create_future()
        wake.set_result(None)

    # ---- connections -------------------------------------------------------------------------------
    async def _live(self):
        while True:
            try:
                socket = await Socket.open("127.0.0.1", self.port)
            except Lost:
                await asyncio.sleep(0.02)
                continue
            self.sockets.append(socket)
            try:
                with contextlib.suppress(Lost):
                    await self._serve(socket)
            finally:
                socket.close()
                self.socket = None
                self._changed()
            assert socket.close_code not in STAY_AWAY, socket.close_code

    async def _serve(self, socket):
        resume = {"resume": self.resume_point()} if self.epoch else {}
        socket.send(TEXT, encode({"jsonrpc": "2.0", "id": "auth", "method": "auth",
                                  "params": {"token": self.token, **resume}}))
        while "id" not in (answer := json.loads(await socket.text())):
            assert answer["method"] == "hub.draining", f"{answer} precedes the answer to auth"
        if "error" in answer:
            assert answer["error"]["data"]["code"] == "unavailable", answer
            raise Lost
        self._welcome(answer["result"], bool(resume))
        self.streams = {}
        self.socket = socket
        self._changed()
        for message in self.posted:
            socket.send(TEXT, encode(message))
        while True:
            message = json.loads(await socket.text())
            for one in message if isinstance(message, list) else [message]:
                self._take(one)
            self._changed()

    def resume_point(self):
        return {"epoch": self.epoch, "seq": self.cursor, **({"mark": self.mark} if self.mark else {})}

    def _move(self, told):
        self.cursor, self.mark = told["seq"], told.get("mark")

    def _welcome(self, result, resumed):
        assert resumed == (result["resumed"] != "none"), result
        self.epoch = result["epoch"]
        if result["resumed"] != "ok":
            self._move(result)
        self.welcomes.append(result)
        if result.get("snapshot_pending"):
            self.epoch = "-"
        else:
            self._snapshot(result)

    def _snapshot(self, told):
        self.epoch = self.welcomes[-1]["epoch"]
        for task in told.get("snapshot", []):
            if task["seq"] >= self.tasks.get(task["task_id"], task)["seq"]:
                self.tasks[task["task_id"]] = task
        for note in told.get("notifications", []):
            self.notifications[note["id"]] = note

    # ---- what comes --------------------------------------------------------------------------------
    def _take(self, message):
        if "id" in message:
            self._answer(message)
            return
        method, params = message["method"], message["params"]
        if method == "snapshot":
            self._snapshot(params)
        elif method == "audio.ack":
            self.streams[params["stream"]] = params
        elif method in ("task.event", "notification"):
            self.types.add(params.get("type", method))
            if "seq" in params:
                self._logged(params)
            if method == "notification":
                self.notifications[params["id"]] = params
            else:
                self._event(params)

    def _answer(self, message):
        self.answers[message["id"]] = message
        for post in list(self.posted):
            ids = [one["id"] for one in (post if isinstance(post, list) else [post])]
            if all(answered in self.answers for answered in ids):
                self.posted.remove(post)
        result, method = message.get("result"), message["id"].split("#")[0]
        if result is None or method not in ("task.submit", "task.retry", "audio.start"):
            return
        task = self.tasks.setdefault(result["task_id"], {"seq": 0})
        if result.get("duplicate"):
            return
        if "status" not in task:
            task.update(status=result["status"], seq=result["seq"])
        self.told.setdefault(result["seq"], result["task_id"])
        if result["seq"] == self.cursor + 1:
            self._move(result)

    def _logged(self, params):
        seq = params["seq"]
        before = params.get("from", seq - 1)
        assert seq > self.cursor, f"{params} came behind {self.cursor}"
        assert before <= self.cursor or before in self.told, f"{params} came behind {self.cursor}"
        self._move(params)
        self.given[seq] = params

    def _event(self, params):
        task = self.tasks.setdefault(params["task_id"], {"seq": 0})
        if params.get("seq", task["seq"] + 1) <= task["seq"]:
            return  # an answer or a snapshot said more
        assert task.get("status") not in TERMINAL, f"{params} follows the end: {task}"
        task.update(params)

    # ---- what is asked -----------------------------------------------------------------------------
    def _request(self, method, params):
        return {"jsonrpc": "2.0", "id": f"{method}#{next(self.ids)}", "method": method, "params": params}

    def notify(self, method, params):
        """A request without id; nothing tells whether it came."""
        if self.socket:
            with contextlib.suppress(Lost):
                self.socket.send(TEXT, encode({"jsonrpc": "2.0", "method": method, "params": params}))

    async def call(self, method, params):
        """The result; asks again after a cut, so what writes needs an idempotency key."""
        return (await self.batch((method, params)))[0]

    async def batch(self, *calls):
        """The results of several requests in one message."""
        requests = [self._request(method, params) for method, params in calls]
        message = requests if len(requests) > 1 else requests[0]
        self.posted.append(message)
        if self.socket:
            with contextlib.suppress(Lost):
                self.socket.send(TEXT, encode(message))
        await self.until(lambda: all(request["id"] in self.answers for request in requests))
        return [await self._result(request) for request in requests]

    async def _result(self, request):
        answer = self.answers.pop(request["id"])
        if "result" in answer:
            return answer["result"]
        refused = Refused(answer["error"])
        if refused.code != UNAVAILABLE:
            raise refused
        await asyncio.sleep(refused.retry_s)
        return await self.call(request["method"], request["params"])

    async def _once(self, socket, method, **params):
        """The same on this connection alone: what it asks has no meaning on another."""
        request = self._request(method, params)
        socket.send(TEXT, encode(request))
        await self.until(lambda: request["id"] in self.answers or self.socket is not socket)
        answer = self.answers.pop(request["id"], None)
        if answer is None:
            raise Lost
        if "error" in answer:
            raise Refused(answer["error"])
        return answer["result"]

    async def ended(self, *task_ids):
        """Waits until these tasks have ended; what is known of them."""
        await self.until(lambda: all(self.tasks[one].get("status") in TERMINAL for one in task_ids))
        return [self.tasks[one] for one in task_ids]

    # ---- sound -------------------------------------------------------------------------------------
    async def stream(self, data, piece, **params):
        """Starts a task and sends it all of `data`, through as many connections as it takes; its id."""
        task_id = None
        while True:
            await self.until(lambda: self.socket)
            socket = self.socket
            try:
                if task_id is None:
                    at = await self._once(socket, "audio.start", **params)
                    task_id = at["task_id"]
                else:
                    at = await self._once(socket, "audio.resume", task_id=task_id)
                if "stream" in at:
                    await self._pour(socket, at, data, piece)
                return task_id
            except Lost:
                await self.until(lambda: self.socket is not socket)
            except Refused as refused:
                if refused.code == CONFLICT:
                    return task_id  # the stream has ended
                if refused.code != UNAVAILABLE:
                    raise
                await asyncio.sleep(refused.retry_s)

    async def _pour(self, socket, at, data, piece):
        number, sent = at["stream"], at.get("received", 0)

        def allowed():
            ack = self.streams.get(number, at)
            return min(len(data), ack.get("received", 0) + ack["credit"], sent + piece)
        while sent < len(data):
            await self.until(lambda: allowed() > sent or self.socket is not socket)
            upto = allowed()
            socket.send(BINARY, struct.pack(">I", number) + data[sent:upto])
            sent = upto
        assert (await self._once(socket, "audio.end", stream=number))["received"] == len(data)
