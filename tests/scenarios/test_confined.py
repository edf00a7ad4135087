# SPDX-License-Identifier: MIT
"""What a real task reaches, from its own process and from a fenced child of it, and whom hub, worker and tasks run as:
started by root, by an ordinary user, and by root with the option `user`."""
import contextlib
import os
import pathlib
import pwd
import re
import shutil
import socket
import subprocess

import pytest

import taskhub
from client import connect
from taskhub import BUILD, alive, children, command_line, descendants, environment, eventually

ROOT = os.geteuid() == 0
USER = "daemon"  # any that is neither root nor nobody
WAYS = ["root", "ordinary", "user"] if ROOT else ["ordinary"]
TRIES = ("read", "list", "write", "unix", "tcp", "udp", "signal")


def uid(name):
    return pwd.getpwnam(name).pw_uid


def uid_of(pid):
    """The effective user of a process, None once it is gone."""
    with contextlib.suppress(OSError):
        return int(re.search(r"Uid:\s+\d+\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text()).group(1))
    return None


def name_of(pid):
    """The name a process gave itself, None once it is gone."""
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
    return None


class Place:
    """A private hub of one of WAYS, with directories that its user may pass."""

    def __init__(self, stack, monkeypatch, way, options=None):
        self.way = way
        self.temporary = stack.directory / "tmp"
        self.temporary.mkdir()
        self.temporary.chmod(0o1777)
        stack.directory.chmod(0o711)
        monkeypatch.setenv("TMPDIR", str(self.temporary))
        more = {"user": USER} if way == "user" else {}
        self.hub = stack.private_hub({"slots.default": 2, "slots.live": 1, **more, **(options or {})}, start=False)
        self.key = pathlib.Path(self.hub.options["jwt.key_file"])
        self.user = os.geteuid()
        if way in ("ordinary", "user") and ROOT:
            self.user = uid(USER)
            for path in (self.hub.data, self.key):
                shutil.chown(path, USER)
        if way == "ordinary" and ROOT:
            self.hub.argv = ["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups", *self.hub.argv]

    def start(self):
        self.hub.start()
        return self.hub

    @property
    def task_user(self):
        """Whom tasks run as."""
        return self.user or uid("nobody")


@pytest.fixture(params=WAYS)
def place(stack, monkeypatch, request):
    return Place(stack, monkeypatch, request.param)


def test_whom_they_are(place):
    hub = place.start()
    users = {"taskhub-slot": place.task_user, "taskhub-fresh": place.task_user}

    def fit():
        """Whether all are there, and each has the user of its name; a slot takes both a moment after it is forked."""
        found = [(name_of(pid), uid_of(pid)) for pid in descendants(hub.pid)]
        return (len(found) >= 7 and sum(name in users for name, _ in found) >= 2
                and all(user in (users.get(name, place.user), None) for name, user in found))
    assert uid_of(hub.pid) == place.user
    eventually(fit, 10, "each has the user it should have")
    for path in hub.data.rglob("*"):
        assert path.stat().st_uid == place.user and path.stat().st_mode & 0o077 == 0, path
    assert hub.program("check").returncode == 0


@pytest.mark.main
@pytest.mark.parametrize("fenced", [False, True], ids=["task", "fenced"])
async def test_a_task_reaches_nothing(place, fenced):
    hub = place.start()
    async with connect(hub) as c:
        other = await c.submit("misbehave", {"mode": "patient", "attempts": 1})
        await c.wait_event(task_id=other, type="progress")
        directory = next(path for path in self_directories(place) if path.is_dir())
        targets = {"file": str(place.key), "directory": str(directory), "socket": str(hub.data / "redis/redis.sock"),
                   "port": hub.port, "pid": hub.pid, "fenced": fenced}
        with socket.socket(socket.AF_UNIX) as s:  # who may, can
            s.connect(targets["socket"])
        result = (await c.wait_end(await c.submit("pry", targets)))["result"]
        assert result.pop("uid") == place.task_user
        assert result.pop("root") in ("EPERM", "EINVAL")  # the latter where its namespace knows no root
        assert set(result) == set(TRIES) and set(result.values()) <= {"EACCES", "EPERM"}, result
        await c.cancel(other)
        await c.wait_end(other)


def self_directories(place):
    """Those of the slots."""
    return sorted(path for worker in place.temporary.glob("taskhub-worker-*") for path in worker.iterdir())


async def test_ffmpeg_is_confined(place):
    """The real one, as the kernel sees it while a task listens."""
    hub = place.start()
    async with connect(hub) as c:
        start = await c.audio_start(format={"encoding": "file"})
        await c.audio_frame(start["stream"], b"fLaC" + bytes(4000))
        worker = hub.worker_pid()
        found = eventually(lambda: [p for p in descendants(worker) if command_line(p).startswith("ffmpeg")], 20, "ffmpeg")
        status = pathlib.Path(f"/proc/{found[0]}/status").read_text()
        assert uid_of(found[0]) == place.task_user
        for line in (r"NoNewPrivs:\s+1", r"Seccomp:\s+2", r"CapEff:\s+0+$", r"CapPrm:\s+0+$"):
            assert re.search(line, status, re.M), line
        assert os.readlink(f"/proc/{found[0]}/ns/net") != os.readlink(f"/proc/{hub.pid}/ns/net")
        assert os.getpgid(found[0]) != found[0], "it is in the group of its slot"
        assert os.readlink(f"/proc/{found[0]}/cwd").startswith(str(place.temporary))
        await c.cancel(start["task_id"])
        assert (await c.wait_end(start["task_id"]))["status"] == "cancelled"
        eventually(lambda: not alive(found[0]), 10, "its end")


# ---- the command of the engine exec --------------------------------------------------------------------

SAYS_WHO = """#!/bin/sh
cat >/dev/null
printf '{"type":"final","text":"%s"}\\n' "$(id -u)"
"""


async def heard(hub):
    """The text of a stream of silence."""
    async with connect(hub) as c:
        start = await c.audio_start()
        await c.audio_send(start["stream"], bytes(32000), start["credit"])
        await c.call("audio.end", {"stream": start["stream"]})
        end = await c.wait_end(start["task_id"])
        assert end["status"] == "completed", end
        return end["result"]["text"]


@pytest.mark.parametrize("way, exec_user, runs_as", [
    ("root", "", "nobody"), ("root", USER, USER), ("root", "root", "root"), ("user", "", USER), ("ordinary", "", USER),
] if ROOT else [("ordinary", "", None)])
async def test_the_command_is_not_root(stack, monkeypatch, way, exec_user, runs_as):
    script = stack.directory / "engine.sh"
    script.write_text(SAYS_WHO)
    script.chmod(0o755)
    place = Place(stack, monkeypatch, way, {"speech.engine": "exec", "speech.exec": script, "speech.exec_user": exec_user})
    expected = uid(runs_as) if runs_as else os.geteuid()
    assert await heard(place.start()) == str(expected)


async def test_a_command_that_hangs_ends_with_its_task(stack, monkeypatch):
    script = stack.directory / "engine.sh"
    script.write_text("#!/bin/sh\nsleep 1000 &\nexec sleep 1001\n")
    script.chmod(0o755)
    hub = Place(stack, monkeypatch, WAYS[0], {"speech.engine": "exec", "speech.exec": script}).start()
    async with connect(hub) as c:
        start = await c.audio_start()

        def sleepers():
            return [pid for pid in descendants(hub.pid) if command_line(pid) in ("sleep 1000", "sleep 1001")]
        found = eventually(lambda: len(sleepers()) == 2 and sleepers(), 20, "the command")
        await c.cancel(start["task_id"])
        assert (await c.wait_end(start["task_id"]))["status"] == "cancelled"
        eventually(lambda: not any(map(alive, found)), 10, "its end")


# ---- the option user -----------------------------------------------------------------------------------

def refused(hub, what):
    hub.spawn()
    assert hub.wait_exit() != 0
    assert what in hub.log(), hub.log()
    hub.process = None


def test_a_user_that_cannot_be(stack):
    refused(stack.private_hub({"user": "no-such-user"}, start=False), "option user: there is no user no-such-user")
    done = subprocess.run([BUILD / "taskhub-worker"], text=True, capture_output=True, timeout=30, check=False,
                          env=environment({"redis.url": "redis://127.0.0.1:1", "data_dir": stack.directory / "none",
                                           "speech.exec_user": "no-such-user"}))
    assert done.returncode == 1 and "option speech.exec_user: there is no user no-such-user" in done.stderr


def test_only_root_becomes_another(stack, monkeypatch):
    place = Place(stack, monkeypatch, "ordinary", {"user": "games"})
    refused(place.hub, "only root can become games")


if ROOT:
    def test_root_hands_over(stack, monkeypatch):
        """A data directory that is not there becomes the user's, one of root's is refused; ports below 1024 work."""
        place = Place(stack, monkeypatch, "user")
        hub, data = place.hub, place.hub.data
        shutil.chown(data, "root")
        refused(hub, f"user {USER} cannot write there")
        data.rmdir()
        hub.data = stack.directory / "deep" / "data"
        hub.port = next(port for port in range(1023, 500, -1) if is_free(port))
        hub.argv = [BUILD / "taskhub", "serve", "--listen", f"127.0.0.1:{hub.port}", "--data-dir", hub.data]
        hub.start()
        assert hub.data.stat().st_uid == uid(USER)
        status = pathlib.Path(f"/proc/{hub.pid}/status").read_text()
        assert re.search(r"CapEff:\s+0+$", status, re.M) and re.search(r"Groups:[^\n]*", status)
        hub.stop()
        hub.start()

    MACHINE = """
        top=$(mktemp -d -p "$0") && mount -t tmpfs none "$top"
        for name in $(ls /); do
            [ -L "/$name" ] && cp -P "/$name" "$top" && continue
            [ -d "/$name" ] && [ "$name" != run ] && mkdir "$top/$name" && mount --rbind "/$name" "$top/$name"
        done
        exec chroot "$top" "$@"
    """  # shows the files of this machine, but for those that tell a container

    @pytest.mark.parametrize("options, told", [({}, True), ({"user": "root"}, False)], ids=["silent", "meant"])
    def test_root_is_told_so(stack, options, told):
        """Outside of a container, once, by hub and check; it starts all the same."""
        hub = stack.private_hub(options, start=False)
        hub.argv = ["unshare", "--mount", "sh", "-ec", MACHINE, str(stack.directory), *map(str, hub.argv)]
        hub.env = {name: value for name, value in hub.env.items() if name not in ("container", "KUBERNETES_SERVICE_HOST")}
        hub.start()
        hub.wait_log("worker ready")
        assert hub.log().count("running as root") == told, hub.log()
        check = subprocess.run([*hub.argv[:6], BUILD / "taskhub", "check", "--data-dir", hub.data], env=hub.env,
                               text=True, capture_output=True, timeout=60, check=False)
        assert check.returncode == 0, check.stdout
        assert re.search(r"^user +warn +running as root" if told else r"^user +ok +root$", check.stdout, re.M), check.stdout

    def test_a_worker_of_root_becomes_another(stack, monkeypatch):
        place = Place(stack, monkeypatch, "root")
        hub = stack.hub()
        stack.redis.socket_path.chmod(0o777)
        data = stack.directory / "worker1"
        worker = stack.worker({"user": USER, "data_dir": data / "made"})
        worker.wait_log("worker ready")
        assert uid_of(worker.pid) == uid(USER) and (data / "made").stat().st_uid == uid(USER)
        assert place.temporary.stat() and hub.running


def is_free(port):
    with socket.socket() as s, contextlib.suppress(OSError):
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", port))
        return True
    return False
