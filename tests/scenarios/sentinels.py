# SPDX-License-Identifier: MIT
"""A primary, its replicas and Sentinels, all real. Everybody reaches a Redis through its front, a proxy of the test,
which can cut it off from replicas and Sentinels: these come from an address of their own."""
import asyncio
import contextlib
import socket

from taskhub import SLOWDOWN, Process, Redis, ask, eventually, free_port

NAME = "tasks"
PASSWORD, SENTINEL_PASSWORD = "data", "watch"
MEMBERS = "127.0.0.2"  # where replicas and Sentinels come from


class Front:
    """A proxy before a port. While it is cut, nothing passes to or from the peers it is cut from."""

    def __init__(self, target):
        self.target, self.port, self.cut, self.server = target, free_port(), None, None

    async def open(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", self.port)
        return self

    def close(self):
        self.server.close()

    async def serve(self, reader, writer):
        with contextlib.suppress(OSError):
            back, forth = await asyncio.open_connection("127.0.0.1", self.target)
            peer = writer.get_extra_info("peername")[0]
            await asyncio.wait([asyncio.ensure_future(self.pump(reader, forth, peer)),
                                asyncio.ensure_future(self.pump(back, writer, peer))],
                               return_when=asyncio.FIRST_COMPLETED)
            forth.close()
        writer.close()

    async def pump(self, reader, writer, peer):
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                while self.cut in (peer, "all"):
                    await asyncio.sleep(0.01)
                writer.write(data)
                await writer.drain()


class Sentinel(Process):
    """A redis-sentinel that takes a primary for dead after half a second, later on a busy machine."""

    def __init__(self, directory, name, primary):
        super().__init__(name, [], directory)
        self.port = free_port()
        path = self.directory / f"{name}.conf"
        path.write_text(f"port {self.port}\nbind-source-addr {MEMBERS}\nloglevel warning\n"
                        f"requirepass {SENTINEL_PASSWORD}\nsentinel sentinel-pass {SENTINEL_PASSWORD}\n"
                        f"sentinel monitor {NAME} 127.0.0.1 {primary} 2\n"
                        f"sentinel auth-pass {NAME} {PASSWORD}\n"
                        f"sentinel down-after-milliseconds {NAME} {int(500 * SLOWDOWN)}\n"
                        f"sentinel failover-timeout {NAME} 3000\n")
        self.argv = ["redis-sentinel", str(path)]

    def ask(self, *words):
        """What it answers; None where it does not."""
        with contextlib.suppress(OSError, RuntimeError), socket.create_connection(("127.0.0.1", self.port), 5) as s:
            ask(s, "AUTH", SENTINEL_PASSWORD)
            return ask(s, *words)
        return None


class Group:
    """One primary, two replicas, three Sentinels that know all of them; Redis by the port of its front."""

    def __init__(self, stack, min_replicas=0):
        self.stack, self.min_replicas = stack, min_replicas
        self.redis, self.fronts, self.sentinels = {}, [], []

    async def __aenter__(self):
        first = await self.add()
        for _ in range(2):
            await self.add("--replicaof", "127.0.0.1", str(first))
        self.stack._redis = self.redis[first]
        for n in range(3):
            self.sentinels.append(self.stack._add(Sentinel(self.stack.directory, f"sentinel{n}", first)).spawn())
        await self.until(lambda: all(sentinel.ask("PING") for sentinel in self.sentinels), "Sentinels")
        for sentinel in self.sentinels:  # they look and talk at intervals of seconds
            sentinel.ask("SENTINEL", "DEBUG", "info-period", "500", "publish-period", "300")
        await self.until_whole()
        return self

    async def __aexit__(self, *_):
        for front in self.fronts:
            front.close()

    async def front(self, target):
        self.fronts.append(await Front(target).open())
        return self.fronts[-1]

    async def add(self, *extra):
        """Another Redis; gives the port of its front."""
        front = await self.front(free_port())
        self.redis[front.port] = redis = self.stack._add(Redis(self.stack.directory, f"redis{len(self.redis)}", PASSWORD))
        redis.front = front
        await asyncio.to_thread(redis.start, *self.words(front.port), *extra)
        return front.port

    def words(self, port):
        return ["--port", str(self.redis[port].front.target), "--bind-source-addr", MEMBERS, "--masterauth", PASSWORD,
                "--requirepass", PASSWORD, "--replica-announce-ip", "127.0.0.1", "--replica-announce-port", str(port),
                "--repl-diskless-sync-delay", "0", "--min-replicas-to-write", str(self.min_replicas),
                "--min-replicas-max-lag", "2", "--shutdown-timeout", "0"]

    def sees_all(self, sentinel):
        """Whether it knows the replicas, which answer, and the other Sentinels."""
        fields = sentinel.ask("SENTINEL", "MASTER", NAME) or []
        known = dict(zip(fields[::2], fields[1::2]))
        replicas = sentinel.ask("SENTINEL", "REPLICAS", NAME) or []
        return (known.get("flags") == "master" and known["num-other-sentinels"] == "2" and len(replicas) == 2
                and all("slave" in fields and "ok" in fields for fields in replicas))

    def primary(self):
        """The port that the Sentinels tell; None while they do not agree."""
        ports = {(sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME) or ["", "0"])[1] for sentinel in self.sentinels}
        return int(ports.pop()) if len(ports) == 1 else None

    async def until(self, condition, what):
        return await asyncio.to_thread(eventually, condition, 40, what)

    async def come_back(self, port, primary):
        """One that was killed comes back as a replica of this primary; returns when all know each other again."""
        await asyncio.to_thread(self.redis[port].start, *self.words(port), "--replicaof", "127.0.0.1", str(primary))
        await self.until_whole()

    async def until_whole(self):
        await self.until(lambda: all(map(self.sees_all, self.sentinels)), "Sentinels that know all")

    async def until_other(self, before):
        """The port of the next primary."""
        return await self.until(lambda: (self.primary() or before) != before and self.primary(), "another primary")

    def url(self, ports=None):
        places = ",".join(f"127.0.0.1:{port}" for port in ports or [sentinel.port for sentinel in self.sentinels])
        return f"redis+sentinel://:{PASSWORD}@{places}/{NAME}?sentinel_password={SENTINEL_PASSWORD}"
