# SPDX-License-Identifier: MIT
"""The processes that a measurement starts, and what they cost: Redis, hub and worker of one build."""
import base64
import contextlib
import json
import os
import pathlib
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("TASKHUB_BUILD", TOP / "build"))
HUGE = "1000000"


def wait_until(condition, what, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"bench: {what} did not come within {seconds} s")
        time.sleep(0.02)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def parent(pid):
    with contextlib.suppress(OSError):
        return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    return None


def tree(pid):
    """A process and all below it."""
    parents = {int(name): parent(name) for name in os.listdir("/proc") if name.isdigit()}
    found = [pid]
    for known in found:
        found += [child for child, above in parents.items() if above == known]
    return found


def thread_cpu(pid, tid):
    """Seconds on a CPU of one thread, to the nanosecond."""
    with contextlib.suppress(OSError):
        return int(pathlib.Path(f"/proc/{pid}/task/{tid}/schedstat").read_text().split()[0]) / 1e9
    return 0


def cpu(process, below=True):
    """Seconds on a CPU of a process that lives, and of those below it."""
    total = 0
    for pid in tree(process.pid) if below else [process.pid]:
        with contextlib.suppress(OSError):
            total += sum(thread_cpu(pid, tid) for tid in os.listdir(f"/proc/{pid}/task"))
    return total


def main_thread(process):
    """The same of the main thread alone: of Redis without those that write its file."""
    return thread_cpu(process.pid, process.pid)


def resident(process):
    """Bytes of resident memory of one process."""
    pages = int(pathlib.Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class Stack:
    """Redis, hub and worker from the programs of one build directory, measured by our load generator."""

    def __init__(self, build=BUILD, keep=False):
        self.build, self.keep = pathlib.Path(build).resolve(), keep
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="th-bench-"))
        self.log = open(self.directory / "log", "wb")
        self.running = []
        self.faults = []
        self.key_file = self.directory / "key"
        self.key_file.write_text(base64.urlsafe_b64encode(secrets.token_bytes(48)).decode() + "\n")
        self.key_file.chmod(0o600)
        self.redis_socket = self.directory / "redis.sock"

    # ---- processes ---------------------------------------------------------------------------------
    def start(self, *words, stdout=None, env=None):
        process = subprocess.Popen([str(w) for w in words], stdin=subprocess.DEVNULL, stderr=self.log,
                                   stdout=stdout or self.log, env=dict(os.environ, **(env or {})),
                                   cwd=self.directory)
        self.running.append(process)
        return process

    def stop(self, process):
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self.running.remove(process)

    def start_redis(self):
        """Its file is never rewritten, since that would be in some rounds and not in others."""
        self.redis = self.start("redis-server", "--port", "0", "--unixsocket", self.redis_socket, "--dir",
                                self.directory, "--appendonly", "yes", "--appendfsync", "everysec", "--save", "",
                                "--auto-aof-rewrite-percentage", "0", "--maxmemory-policy", "noeviction")
        wait_until(self.redis_socket.exists, "redis-server")

    def settings(self):
        return {"REDIS_URL": f"unix:{self.redis_socket}", "TASKHUB_JWT_KEY_FILE": str(self.key_file),
                "TASKHUB_DIAGNOSTICS": "true", "TASKHUB_PROGRESS_COALESCE_MS": "0",
                "MAX_CONCURRENT_TASKS_PER_USER": HUGE, "MAX_GLOBAL_CONCURRENT_TASKS": HUGE,
                "TASKHUB_LIMITS_MESSAGES_PER_S": HUGE, "TASKHUB_LIMITS_MESSAGES_BURST": HUGE,
                "TASKHUB_LIMITS_USER_MESSAGES_PER_S": HUGE,
                "TASKHUB_LIMITS_UNAUTHENTICATED": HUGE, "TASKHUB_LOG_LEVEL": "warn"}

    def start_hub(self, *under, name="hub"):
        """A ready hub and its port; `under` is a program that runs it."""
        port = free_port()
        hub = self.start(*under, self.build / "taskhub", "serve", "--listen", f"127.0.0.1:{port}", "--data-dir",
                         self.directory / name, env=self.settings())

        def ready():
            if hub.poll() is not None:
                raise SystemExit(f"bench: the hub ended; see {self.directory}/log")
            with contextlib.suppress(OSError):
                return urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1).status == 200
            return False
        wait_until(ready, "the hub", 120 if under else 30)
        return hub, port

    def start_worker(self):
        self.worker = self.start(self.build / "taskhub-worker", env=self.settings())

    def start_all(self):
        self.start_redis()
        self.hub, self.port = self.start_hub()
        self.start_worker()

    def close(self):
        for process in reversed(self.running[:]):
            self.stop(process)
        self.log.close()
        if self.keep:
            print(f"kept: {self.directory}")
        else:
            shutil.rmtree(self.directory, ignore_errors=True)

    # ---- the load generator ------------------------------------------------------------------------
    def generator(self, port, *words):
        return [str(w) for w in (BUILD / "tests/bench/load", "--port", port, "--key-file", self.key_file, *words)]

    def load(self, what, port, *words):
        """The report of one load."""
        done = subprocess.run(self.generator(port, *words), stdout=subprocess.PIPE, stderr=self.log, text=True,
                              check=False)
        return self.report(what, done.returncode, done.stdout)

    def report(self, what, code, text):
        if not text.strip():
            raise SystemExit(f"bench: {what}: the generator ended with {code}; --keep and see the log")
        if code:
            self.faults.append(f"{what}: {text.strip()}")
        return json.loads(text.strip().splitlines()[-1])

    def hold(self, port, count, seconds, *words):
        """A generator that holds so many idle connections, and what it said when all were open."""
        holder = subprocess.Popen(self.generator(port, *words, "--users", 0, "--idle", count, "--hold", seconds),
                                  stdout=subprocess.PIPE, stderr=self.log, text=True)
        opened = json.loads(holder.stdout.readline() or "{\"ready\":0,\"open_s\":1}")
        if opened["ready"] != count:
            self.faults.append(f"idle: {opened}")
        return holder, opened
