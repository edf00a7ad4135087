# SPDX-License-Identifier: MIT
"""The WebSocket client of the scenario tests: JSON-RPC calls, collected events, audio with credit, and
a check of what a socket was given (owner, order, gaps, duplicates).

    async with connect(hub, "alice") as c:
        task = await c.submit("noop_heavy", {"steps": 3})
        end = await c.wait_end(task)
        assert end["status"] == "completed"
        c.check()
"""
import asyncio
import bisect
import contextlib
import json
import os
import secrets
import socket
import struct

from websockets.exceptions import ConnectionClosed
from websockets.legacy.client import connect as ws_connect

from taskhub import SLOWDOWN, token as make_token

TERMINAL = ("completed", "failed", "cancelled")
MAKES_A_TASK = ("task.submit", "task.retry", "audio.start")  # their replies stand for `accepted`


class RpcError(Exception):
    """An error answer. .code, .message, .data, .word (data.code)."""

    def __init__(self, error):
        super().__init__(f"{error['code']} {error['message']} {error.get('data')}")
        self.code, self.message, self.data = error["code"], error["message"], error.get("data") or {}
        self.word = self.data.get("code")


class Client:
    """One connection. Use connect() below to make one."""

    def __init__(self, ws, user):
        self.ws = ws
        self.user = user
        self.order = []  # ("reply", method, answer) and ("event", method, params), as they came
        self.events = []  # params of every task.event
        self.notes = []  # (method, params) of every other notification
        self.session = None  # the result of auth
        self.start_seq = None  # what the connection had been told when its events began
        self.told_mark = None  # of that event
        self.told_seq = 0  # the highest seq it was given, by an event or by a reply that stands for one
        self.closed = None  # the close code, once closed
        self._by_task = {}
        self._next_id = 0
        self._waiting = {}  # id -> (method, future)
        self._news = asyncio.Event()
        self._reader = asyncio.ensure_future(self._read())

    # ---- the wire ----------------------------------------------------------------------------------
    async def _read(self):
        try:
            async for text in self.ws:
                message = json.loads(text)
                for part in message if isinstance(message, list) else [message]:
                    self._take(part)
                self._tell()
        except ConnectionClosed:
            pass
        finally:
            self.closed = self.ws.close_code
            for _, future in self._waiting.values():
                if not future.done():
                    future.set_exception(ConnectionError(f"closed with {self.closed}"))
                    future.exception()  # nobody may be waiting any more
            self._tell()

    def _tell(self):
        self._news.set()
        self._news = asyncio.Event()

    def _take(self, message):
        if "method" in message:
            method, params = message["method"], message.get("params", {})
            self.order.append(("event", method, params))
            if method == "task.event":
                self.events.append(params)
                self._by_task.setdefault(params["task_id"], []).append(params)
            else:
                self.notes.append((method, params))
            if method != "admin.event":
                self._move(params)
            return
        method, future = self._waiting.pop(message.get("id"), (None, None))
        self.order.append(("reply", method, message))
        result = message.get("result")
        if method in MAKES_A_TASK and isinstance(result, dict) and not result.get("duplicate"):
            self._move(result)
        if future and not future.done():
            future.set_result(message)

    def _move(self, told):
        if told.get("seq", 0) > self.told_seq:
            self.told_seq, self.told_mark = told["seq"], told.get("mark")

    async def send(self, value):
        """Sends a text as it is, bytes as a binary frame, anything else as JSON."""
        await self.ws.send(value if isinstance(value, (str, bytes)) else json.dumps(value))

    async def request(self, method, params=None, seconds=15, **extra):
        """Sends a request and gives the whole answer, error or not."""
        self._next_id += 1
        message = {"jsonrpc": "2.0", "id": self._next_id, "method": method, **extra}
        if params is not None:
            message["params"] = params
        future = asyncio.get_running_loop().create_future()
        self._waiting[self._next_id] = (method, future)
        await self.send(message)
        return await asyncio.wait_for(future, seconds * SLOWDOWN)

    async def call(self, method, params=None, seconds=15):
        """Sends a request and gives its result; an error answer raises RpcError."""
        answer = await self.request(method, params, seconds)
        if "error" in answer:
            raise RpcError(answer["error"])
        return answer["result"]

    async def batch(self, calls, seconds=15):
        """Sends [(method, params), …] as one batch; gives the answers in the order of the calls."""
        futures, messages = [], []
        for method, params in calls:
            self._next_id += 1
            future = asyncio.get_running_loop().create_future()
            self._waiting[self._next_id] = (method, future)
            futures.append(future)
            messages.append({"jsonrpc": "2.0", "id": self._next_id, "method": method, "params": params or {}})
        await self.send(messages)
        return await asyncio.wait_for(asyncio.gather(*futures), seconds * SLOWDOWN)

    async def until(self, condition, seconds=15, what=None):
        """Waits until condition() is true, looking after every message; gives its value."""
        async def look():
            while not (found := condition()):
                if self.closed is not None:
                    raise ConnectionError(f"closed with {self.closed} while waiting for {what or condition}")
                await self._news.wait()
            return found
        try:
            return await asyncio.wait_for(look(), seconds * SLOWDOWN)
        except asyncio.TimeoutError:
            last = "\n".join(map(repr, self.order[-8:]))
            raise AssertionError(f"{self.user}: no {what or condition} in {seconds} s; last:\n{last}") from None

    async def wait_closed(self, seconds=15):
        """Waits for the end of the connection; gives the close code."""
        await asyncio.wait_for(asyncio.shield(self._reader), seconds * SLOWDOWN)
        return self.closed

    async def close(self):
        self._reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reader
        with contextlib.suppress(ConnectionClosed):  # the other side is gone already
            await self.ws.close()

    async def drop(self):
        """Ends the TCP connection without a closing handshake."""
        self.ws.transport.abort()
        with contextlib.suppress(Exception):
            await self._reader

    # ---- the protocol ------------------------------------------------------------------------------
    async def auth(self, token, resume=None):
        params = {} if token is None else {"token": token}
        if resume:
            params["resume"] = resume
        self.session = await self.call("auth", params)
        self.start_seq = resume["seq"] if resume and self.session["resumed"] == "ok" else self.session["seq"]
        self._move({"seq": self.start_seq, "mark": resume.get("mark") if self.session["resumed"] == "ok" else
                    self.session.get("mark")})
        return self.session

    async def submit(self, task, args=None, **more):
        """task.submit; gives the task id. further params by name (idempotency_key=…)."""
        params = {"task": task, **more}
        if args is not None:
            params["args"] = args
        return (await self.call("task.submit", params))["task_id"]

    async def submit_patiently(self, task, args=None, **more):
        """submit(), again with the same key while the hub is not available: it may take the load of the machine for a
        Redis that hangs."""
        more.setdefault("idempotency_key", secrets.token_hex(8))
        while True:
            try:
                return await self.submit(task, args, **more)
            except RpcError as error:
                if error.word != "unavailable":
                    raise
                await asyncio.sleep(error.data["retry_ms"] / 1000)

    async def get(self, task_id):
        return await self.call("task.get", {"task_id": task_id})

    async def cancel(self, task_id):
        return await self.call("task.cancel", {"task_id": task_id})

    async def wait_event(self, condition=None, seconds=15, **fields):
        """The first event, already here or still to come, with these fields and this condition:
        wait_event(task_id=id, type="started"), wait_event(lambda e: e["progress"] > 50)."""
        def find():
            for event in self.of(fields["task_id"]) if "task_id" in fields else self.events:
                if all(event.get(k) == v for k, v in fields.items()) and (not condition or condition(event)):
                    return event
            return None
        return await self.until(find, seconds, f"event {fields or condition}")

    async def wait_end(self, task_id, seconds=30):
        """The terminal event of a task."""
        return await self.wait_event(lambda e: e["type"] in TERMINAL, seconds, task_id=task_id)

    async def wait_note(self, method, seconds=15):
        """The params of the first notification of that method (not task.event)."""
        return await self.until(lambda: next((p for m, p in self.notes if m == method), None), seconds, method)

    def of(self, task_id):
        """The events of one task, as they came."""
        return self._by_task.get(task_id, [])

    def resume_point(self):
        """What auth's `resume` takes to go on from here."""
        point = {"epoch": self.session["epoch"], "seq": self.told_seq}
        return {**point, "mark": self.told_mark} if self.told_mark else point

    # ---- audio -------------------------------------------------------------------------------------
    async def audio_start(self, task="process_speak_audio", args=None, format=None, **more):
        """audio.start; gives the whole result (task_id, stream, credit, seq)."""
        format = format or {"encoding": "pcm_s16le", "sample_rate": 16000, "channels": 1}
        return await self.call("audio.start", {"task": task, "args": args or {"resource_id": "r1"},
                                               "format": format, **more})

    async def audio_frame(self, stream, payload):
        await self.send(struct.pack(">I", stream) + payload)

    async def audio_send(self, stream, data, credit, sent=0, frame=3200, pace_s=0):
        """Sends data[sent:] in frames, never beyond received + credit. `credit` is what audio.start or
        audio.resume granted, `sent` the bytes that stand already. Gives the total."""
        limit = sent + credit

        def granted():
            acks = [p for m, p in self.notes if m == "audio.ack" and p["stream"] == stream]
            return max((p["received"] + p["credit"] for p in acks), default=0)
        while sent < len(data):
            size = min(frame, len(data) - sent)
            if sent + size > limit:
                await self.until(lambda: granted() >= sent + size, 15, "audio credit")
                limit = granted()
            await self.audio_frame(stream, data[sent:sent + size])
            sent += size
            if pace_s:
                await asyncio.sleep(pace_s)
        return sent

    # ---- checks ------------------------------------------------------------------------------------
    def check(self):
        """What every socket may rely on: only its owner's events; seq rises; `from` names the logged
        event given before; rev rises per task; nothing follows a task's terminal event; a task's
        events come behind the reply of its submit."""
        given, told, last, ended, revs, answered = set(), [], self.start_seq, set(), {}, set()
        mine = {b["result"]["task_id"] for k, m, b in self.order if k == "reply" and "result" in b
                and m in MAKES_A_TASK and not b["result"].get("duplicate")}
        for kind, method, body in self.order:
            if kind == "reply":
                result = body.get("result") or {}
                if method in MAKES_A_TASK and "task_id" in result:
                    answered.add(result["task_id"])
                    if "seq" in result and not result.get("duplicate"):
                        bisect.insort(told, result["seq"])
                continue
            if method not in ("task.event", "notification"):
                continue
            assert body["user_id"] == self.user, f"{self.user} was given {body}"
            seq = body.get("seq")
            if seq is not None:
                assert seq not in given, f"{seq} was given twice"
                assert seq > last, f"{seq} came after {last}"
                below = bisect.bisect_left(told, seq)
                before = max(last, told[below - 1] if below else 0)
                assert body.get("from", seq - 1) == before, f"from of {body}, given before: {before}"
                given.add(seq)
                last = seq
            if method == "notification":
                continue
            task = body["task_id"]
            assert task not in mine or task in answered, f"{body} overtook the reply of its submit"
            assert task not in ended, f"{body} follows the end of its task"
            if body["type"] in TERMINAL:
                ended.add(task)
            if "rev" in body:
                assert body["rev"] > revs.get(task, -1), f"rev fell: {body}"
                revs[task] = body["rev"]
            else:
                assert seq is not None, f"neither seq nor rev: {body}"


@contextlib.asynccontextmanager
async def connect(hub, user="alice", *, token=None, roles=(), resume=None, auth=True, headers=None,
                  subprotocols=("taskhub.v1",), **options):
    """A connection to a hub (or to a ws:// address), authenticated as `user` unless auth=False."""
    address = hub if isinstance(hub, str) else hub.url
    ws = await ws_connect(address, subprotocols=list(subprotocols) or None, extra_headers=headers or {},
                          compression=None, max_size=None, max_queue=None, ping_interval=None,
                          open_timeout=10 * SLOWDOWN, close_timeout=5, **options)
    client = Client(ws, user)
    try:
        if auth:
            await client.auth(token or make_token(user, roles), resume)
        yield client
    finally:
        await client.close()


class SlowClient:
    """A blocking WebSocket with a small receive buffer that reads only when asked to: for tests of
    slow readers. Text frames in both directions, no more."""

    def __init__(self, hub, receive_buffer=4096):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(30 * SLOWDOWN)
        self.socket.connect(("127.0.0.1", hub.port))
        self.socket.sendall((f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{hub.port}\r\nUpgrade: websocket\r\n"
                             "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                             "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                             "Sec-WebSocket-Protocol: taskhub.v1\r\n\r\n").encode())
        self.stream = self.socket.makefile("rb")
        assert b" 101 " in self.stream.readline()
        while self.stream.readline().strip():
            pass
        self.close_code = None

    def send(self, message):
        data = json.dumps(message).encode()
        mask = os.urandom(4)
        size = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + struct.pack(">H", len(data))
        self.socket.sendall(b"\x81" + size + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(data)))

    def read(self):
        """The next text message as JSON, None when the hub closed (see close_code)."""
        head = self.stream.read(2)
        if len(head) < 2:
            return None
        size = head[1] & 0x7F
        if size == 126:
            size = struct.unpack(">H", self.stream.read(2))[0]
        elif size == 127:
            size = struct.unpack(">Q", self.stream.read(8))[0]
        data = self.stream.read(size)
        if head[0] & 15 == 8:
            self.close_code = struct.unpack(">H", data[:2])[0] if len(data) >= 2 else 1005
            return None
        return json.loads(data) if head[0] & 15 == 1 else self.read()

    def auth(self, token):
        self.send({"jsonrpc": "2.0", "id": "auth", "method": "auth", "params": {"token": token}})
        answer = self.read()
        assert "result" in answer, answer
        return answer["result"]

    def close(self):
        self.stream.close()
        self.socket.close()
