# SPDX-License-Identifier: MIT
"""What scenario tests are written with: real hubs, workers and Redis servers as objects, and tokens.

Everything a test starts lives in a temporary directory and ends with the test; processes are stopped
by their pid. Nothing here mocks anything. The WebSocket client is in client.py.

    def test_something(stack):                    # fixtures: conftest.py
        hub = stack.hub({"limits.user_tasks": 50})
        stack.worker()
        ...
"""
import base64
import contextlib
import fcntl
import hashlib
import hmac
import http.client
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("TASKHUB_BUILD", TOP / "build")).resolve()
SECRET = b"a secret of the scenario tests, 32 bytes or more"


# What runs the programs: 1, or how much slower a sanitizer or valgrind makes them (they need memory, too).
INSTRUMENTED = float(os.environ.get("TASKHUB_TEST_SLOWDOWN", "1"))
# How many processes run tests at once (tests/run.py): each may keep a processor busy, though none does just now.
PROCESSES = int(os.environ.get("TASKHUB_TEST_PROCESSES", "1"))


def share():
    """How much longer than its own work something takes on this machine now: 1 when it is quiet."""
    wall, cpu = time.monotonic(), time.process_time()
    while time.process_time() - cpu < 0.2:
        pass
    measured = (time.monotonic() - wall) / (time.process_time() - cpu)
    return max(1, measured, PROCESSES / os.cpu_count())


def slowdown():
    """Sanitizers and valgrind make everything slower, and so does what else runs on the machine now: whoever waits for
    a turn waits at each of the several processes."""
    return INSTRUMENTED * (2 * share() - 1)


SLOWDOWN = slowdown()  # every time limit of the tests is multiplied by this
SANITIZER_MARKS = ("ERROR: AddressSanitizer", "WARNING: ThreadSanitizer", "runtime error:",
                   "ERROR: LeakSanitizer", "FATAL: ThreadSanitizer")


def eventually(condition, seconds=10, what="the condition"):
    """Calls `condition` until it gives something true, and returns that. When it is late, what the machine is like is
    looked at again."""
    begun, limit = time.monotonic(), seconds * SLOWDOWN
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() - begun > limit:
            limit = max(limit, seconds * slowdown())
            if time.monotonic() - begun > limit:
                raise AssertionError(f"{what} did not come true within {limit:g} s")
        time.sleep(0.01)


PORTS = open(pathlib.Path(tempfile.gettempdir(), f"taskhub-test-ports-{os.getuid()}"), "ab")  # byte N: port N is given


def free_port():
    """A TCP port nobody listens on, below the range that outgoing connections take theirs from. Until this process
    ends, no other one that runs tests gets it."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as s, contextlib.suppress(OSError):
            fcntl.lockf(PORTS, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind(("127.0.0.1", port))
            return port


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(user="alice", roles=(), ttl=600, key=SECRET, kid=None, **claims):
    """A signed HS256 token; further claims by name, None removes one (token(exp=None))."""
    header = {"alg": "HS256", "typ": "JWT"} | ({"kid": kid} if kid else {})
    now = int(time.time())
    body = {"sub": user, "aud": "taskhub", "iat": now, "exp": now + ttl, "roles": list(roles)} | claims
    body = {name: value for name, value in body.items() if value is not None}
    text = ".".join(b64url(json.dumps(part, separators=(",", ":")).encode()) for part in (header, body))
    return text + "." + b64url(hmac.new(key, text.encode(), hashlib.sha256).digest())


def children(pid):
    """Pids of the direct children of a process."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError, IndexError):
                stat = pathlib.Path("/proc", entry, "stat").read_text().rsplit(")", 1)[1].split()
                if int(stat[1]) == pid and stat[0] != "Z":
                    found.append(int(entry))
    return found


def descendants(pid):
    """Pids of all processes below a process, parents before children."""
    found = children(pid)
    for child in found:
        found += children(child)
    return found


def alive(pid):
    """Whether a process exists and is no zombie."""
    with contextlib.suppress(OSError, IndexError):
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def command_line(pid):
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    return ""


def environment(options=None):
    """The environment of a program of ours: nothing of the caller's settings, these options set."""
    own = re.compile(r"^(TASKHUB_(?!TEST|BUILD)|REDIS_URL|DATABASE_URL|CELERY_|MAX_(CONCURRENT|GLOBAL)_)")
    env = {name: value for name, value in os.environ.items() if not own.match(name)}
    for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"):
        env.setdefault(name, "")
    for key, value in (options or {}).items():
        name = "TASKHUB_" + key.upper().replace(".", "_")
        env[name] = str(value).lower() if isinstance(value, bool) else str(value)
    return env


def run_program(name, *args, options=None, check=True, timeout=30):
    """Runs `taskhub` (or another built program) to its end; returns the CompletedProcess (text)."""
    done = subprocess.run([str(BUILD / name), *map(str, args)], env=environment(options), text=True,
                          capture_output=True, timeout=timeout * SLOWDOWN, stdin=subprocess.DEVNULL)
    assert not check or done.returncode == 0, f"{name} {args}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done


class Process:
    """One started program: its pid, its log, how to end it."""

    def __init__(self, name, argv, directory, env=None):
        self.name = name
        self.argv = [str(word) for word in argv]
        self.directory = pathlib.Path(directory)
        self.env = env
        self.log_path = self.directory / f"{name}.log"
        self.process = None
        self.expected_exits = (0,)

    def spawn(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.argv, env=self.env, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, start_new_session=True)
        return self

    @property
    def pid(self):
        return self.process.pid

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def wait_log(self, pattern, seconds=10):
        """Waits until the log has a match of the regular expression; returns the match."""
        return eventually(lambda: re.search(pattern, self.log()), seconds, f"{pattern!r} in {self.log_path}")

    def wait_exit(self, seconds=15):
        return self.process.wait(seconds * SLOWDOWN)

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        """kill -9, and wait until it is gone."""
        if self.running:
            self.signal(signal.SIGKILL)
        self.process.wait()

    def stop(self, seconds=20):
        """SIGTERM and wait; returns the exit code. Fails when it has to be killed."""
        if self.running:
            self.signal(signal.SIGTERM)
            try:
                self.process.wait(seconds * SLOWDOWN)
            except subprocess.TimeoutExpired:
                below = descendants(self.pid)
                self.kill()
                for pid in below:
                    with contextlib.suppress(OSError):
                        os.kill(pid, signal.SIGKILL)
                raise AssertionError(f"{self.name} did not end within {seconds * SLOWDOWN:g} s of SIGTERM:\n"
                                     + self.log()[-3000:]) from None
        return self.process.returncode

    def sanitizer_report(self):
        """The part of the log where a sanitizer complained, or ''."""
        text = self.log()
        places = [text.find(mark) for mark in SANITIZER_MARKS if mark in text]
        return text[max(0, min(places) - 200):][:6000] if places else ""


def upkeep_failures(log):
    """What failed behind a call's back, at its end: Redis' log alone has it."""
    return [line for line in log.splitlines() if "taskhub: " in line and "taskhub: mended: " not in line]


class Redis(Process):
    """A private redis-server on a unix socket, with the settings the product asks for. It forgets nothing when it is
    killed; with everysec it would what it holds back while the disk is slow."""

    def __init__(self, directory, name="redis", password=None):
        super().__init__(name, [], directory)
        self.password = password
        self.data = self.directory / name
        self.socket_path = self.directory / f"{name}.sock"
        self.url = f"unix:{self.socket_path}"
        self.extra = []

    def start(self, *extra):
        """Starts (again, with the data it had) and waits until it answers."""
        self.data.mkdir(exist_ok=True)
        self.extra = list(extra) or self.extra
        self.argv = ["redis-server", "--port", "0", "--unixsocket", str(self.socket_path), "--dir",
                     str(self.data), "--appendonly", "yes", "--appendfsync", "always", "--save", "",
                     "--maxmemory-policy", "noeviction", "--loglevel", "warning", *self.extra]
        self.spawn()

        def up():
            assert self.running, self.log()
            with contextlib.suppress(OSError, RuntimeError):
                return self.command("PING") == "PONG"
            return False
        eventually(up, 10, "redis-server")
        return self

    def command(self, *words):
        """One command on a connection of its own; the reply as str, int, list or None."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(10)
            # A socket's path has at most 107 bytes: go through the directory.
            at = os.open(self.directory, os.O_DIRECTORY)
            try:
                s.connect(f"/proc/self/fd/{at}/{self.socket_path.name}")
            finally:
                os.close(at)
            if self.password:
                ask(s, "AUTH", self.password)
            return ask(s, *words)


def ask(connection, *words):
    """One command on a connection to a Redis; the reply as str, int, list or None."""
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    connection.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))
    with connection.makefile("rb") as stream:
        return read_reply(stream)


def read_reply(stream):
    line = stream.readline()
    if not line:
        raise ConnectionError("redis closed the connection")
    kind, rest = line[:1], line[1:].strip()
    if kind == b"+":
        return rest.decode()
    if kind == b"-":
        raise RuntimeError(rest.decode())
    if kind == b":":
        return int(rest)
    if int(rest) < 0:
        return None
    if kind == b"$":
        return stream.read(int(rest) + 2)[:-2].decode(errors="surrogateescape")
    return [read_reply(stream) for _ in range(int(rest))]


class Hub(Process):
    """A hub on a port of its own. With a `redis` it uses that; without, it starts a private one."""

    def __init__(self, directory, name="hub", redis=None, options=None):
        self.port = free_port()
        self.redis = redis
        data = pathlib.Path(directory) / name
        data.mkdir(exist_ok=True)
        self.data = data
        key_file = pathlib.Path(directory) / "jwt.key"
        if not key_file.exists():
            key_file.write_text("base64url:" + b64url(SECRET) + "\n")
            key_file.chmod(0o600)
        self.options = {"jwt.key_file": key_file, "diagnostics": True, "hub.name": name,
                        "slots.default": 2, "slots.live": 2, **(options or {})}
        if redis:
            self.options.setdefault("redis.url", redis.url)
        argv = [BUILD / "taskhub", "serve", "--listen", f"127.0.0.1:{self.port}", "--data-dir", data]
        super().__init__(name, argv, directory, environment(self.options))

    @property
    def url(self):
        return f"ws://127.0.0.1:{self.port}/ws"

    def start(self, ready=True):
        """Starts (again, on the same port and data) and waits for /readyz."""
        self.spawn()
        if ready:
            self.wait_ready()
        return self

    def wait_ready(self, seconds=15):
        def up():
            assert self.running, f"the hub ended with {self.process.returncode}:\n{self.log()[-3000:]}"
            with contextlib.suppress(OSError, http.client.HTTPException):
                return self.get("/readyz").status == 200
            return False
        eventually(up, seconds, f"{self.name} ready; log in {self.log_path}")

    def request(self, method, path, body=None, headers=None, timeout=10):
        """One HTTP request; the response has .status, .headers, .text and .json()."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout * SLOWDOWN)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            response = connection.getresponse()
            response.text = response.read().decode(errors="replace")
            response.json = lambda: json.loads(response.text)
            return response
        finally:
            connection.close()

    def get(self, path, **kwargs):
        return self.request("GET", path, **kwargs)

    def metric(self, name):
        """The sum of a metric's series (name without labels, or one series with them)."""
        values = [float(line.rsplit(" ", 1)[1]) for line in self.get("/metrics").text.splitlines()
                  if line.startswith((name + " ", name + "{"))]
        assert values, f"no metric {name}"
        return sum(values)

    def program(self, *args, check=True):
        """Runs `taskhub ARGS` with this hub's configuration, e.g. program("check", "--audit")."""
        return run_program("taskhub", *args, "--data-dir", self.data, options=self.options, check=check)

    def private_redis_pid(self):
        """The redis-server this hub started."""
        found = [pid for pid in children(self.pid) if "redis-server" in command_line(pid)]
        return found[0] if found else None

    def worker_pid(self):
        """The worker parent this hub started."""
        found = [pid for pid in children(self.pid) if "taskhub-worker" in command_line(pid)]
        return found[0] if found else None


class Worker(Process):
    """A separate taskhub-worker; `options` as for hubs. stop() drains it."""

    def __init__(self, directory, redis, name="worker", options=None):
        data = pathlib.Path(directory) / name
        data.mkdir(exist_ok=True)
        self.data = data
        self.options = {"redis.url": redis.url, "data_dir": data, "worker.name": name, "diagnostics": True,
                        "slots.default": 2, "slots.live": 2, **(options or {})}
        super().__init__(name, [BUILD / "taskhub-worker"], directory, environment(self.options))

    def start(self):
        return self.spawn()

    def slots(self):
        """Pids of everything below the worker's parent."""
        return descendants(self.pid)


class Clock:
    """The wall time of a program, set while it runs; its monotonic time goes on."""

    def __init__(self, path):
        self.path = path
        self.path.write_bytes(bytes(8))
        self.env = {"LD_PRELOAD": str(BUILD / "tests/lib/libset_clock.so"), "SET_CLOCK": str(self.path)}

    def set(self, seconds):
        """So many seconds off from now on."""
        with open(self.path, "r+b") as file:  # in place: it is mapped
            file.write(seconds.to_bytes(8, "little", signed=True))


class Stack:
    """Redis, hubs and workers of one test, in one temporary directory."""

    def __init__(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="th-"))
        self.started = []
        self._redis = None

    @property
    def redis(self):
        """The shared redis-server, started on first use."""
        if self._redis is None:
            self._redis = self._add(Redis(self.directory)).start()
        return self._redis

    def _add(self, process):
        self.started.append(process)
        return process

    def hub(self, options=None, name=None, start=True):
        """A hub on the shared Redis; wants worker() for heavy tasks."""
        name = name or f"hub{sum(isinstance(p, Hub) for p in self.started) + 1}"
        hub = self._add(Hub(self.directory, name, self.redis, options))
        return hub.start() if start else hub

    def private_hub(self, options=None, name="private", start=True):
        """A hub with its own Redis and workers, as ./run starts it."""
        hub = self._add(Hub(self.directory, name, None, options))
        return hub.start() if start else hub

    def worker(self, options=None, name=None):
        name = name or f"worker{sum(isinstance(p, Worker) for p in self.started) + 1}"
        return self._add(Worker(self.directory, self.redis, name, options)).start()

    def audit(self):
        """The auditor finds nothing wrong in the shared Redis (call it when nothing is running)."""
        done = run_program("taskhub", "check", "--audit", "--data-dir", self.directory,
                           options={"redis.url": self.redis.url}, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def close(self, failed=False):
        """Stops everything in reverse order; sanitizer reports and bad exits are failures."""
        problems = []
        for process in sorted(self.started, key=lambda p: isinstance(p, Redis)):
            if process.process is None:
                continue
            was_running = process.running
            try:
                code = process.stop()
            except AssertionError as error:
                problems.append(str(error))
                continue
            if was_running and code not in process.expected_exits:
                problems.append(f"{process.name} ended with {code}:\n{process.log()[-3000:]}")
        problems += [p.sanitizer_report() for p in self.started if p.sanitizer_report()]
        problems += [line for p in self.started if isinstance(p, Redis) for line in upkeep_failures(p.log())]
        if failed or problems:
            for process in self.started:
                print(f"--- {process.log_path}\n{process.log()[-4000:]}")
        if not os.environ.get("TASKHUB_TEST_KEEP"):
            shutil.rmtree(self.directory, ignore_errors=True)
        assert not problems, "\n".join(problems)
