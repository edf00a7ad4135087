# SPDX-License-Identifier: MIT
"""The first command of the README: ./run starts hub, private Redis and workers, prints a link that works,
and Ctrl-C stops everything it started."""
import base64
import json
import os
import re
import shutil
import signal
import subprocess

import pytest

import taskhub
from client import connect
from taskhub import TOP, Process, alive, descendants, environment, eventually, free_port

pytestmark = pytest.mark.skipif(taskhub.BUILD != TOP / "build", reason="./run uses build/")


@pytest.fixture
def started(stack):
    """./run on a port and a data directory of its own; (process, link)."""
    port = free_port()
    process = Process("run", [TOP / "run", "--listen", f"127.0.0.1:{port}", "--data-dir", stack.directory / "data"],
                      stack.directory, environment())
    process.spawn()
    link = process.wait_log(rf"http://127\.0\.0\.1:{port}/#token=([\w.-]+)", 60)
    process.port = port
    process.url = f"ws://127.0.0.1:{port}/ws"
    yield process, link
    if process.running:
        process.stop()


def test_what_is_missing_can_be_pasted(tmp_path):
    """Without root and sudo the last line is a command for root: one line that a shell takes."""
    for name in ("dirname", "cd", "cat", "grep"):
        found = shutil.which(name)
        if found:
            (tmp_path / name).symlink_to(found)
    for name, text in (("id", "echo 1000"), ("dpkg-query", "exit 1")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run([TOP / "run", "build"], env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    lines = done.stderr.splitlines()
    assert done.returncode == 1 and len(lines) == 2, done
    command = lines[1].strip()
    assert command.startswith("apt-get update && apt-get install ") and " libuv1-dev" in command
    assert subprocess.run(["/bin/sh", "-n", "-c", command]).returncode == 0 and "'" not in command


async def test_the_link_works(started):
    process, link = started
    claims = json.loads(base64.urlsafe_b64decode(link.group(1).split(".")[1] + "=="))
    assert claims["sub"] == "demo" and claims["roles"] == ["admin"]
    assert 11 * 3600 < claims["exp"] - claims["iat"] <= 12 * 3600
    async with connect(process.url, "demo", token=link.group(1)) as c:
        task = await c.submit("process_text", {"text": "It works. It really does."})
        assert (await c.wait_end(task))["status"] == "completed"
        c.check()
    assert "redis-server" in "".join(map(taskhub.command_line, descendants(process.pid)))


def test_interrupt_stops_everything(started):
    process, _ = started
    below = descendants(process.pid)
    eventually(lambda: len(descendants(process.pid)) >= 2, 10, "Redis and the worker")
    below = descendants(process.pid)
    os.killpg(process.pid, signal.SIGINT)  # what Ctrl-C sends: to the foreground group
    assert process.wait_exit(20) == 0
    eventually(lambda: not [pid for pid in below if alive(pid)], 10, "the end of all children")
    assert not re.search(r"level=error", process.log())


def test_paths_are_those_of_the_caller(stack):
    """Also where the data directory is named by the environment."""
    for words, more in ((["--data-dir", "mine"], {}), ([], {"data_dir": stack.directory / "mine"})):
        argv = ["sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", stack.directory, TOP / "run", "--listen",
                f"127.0.0.1:{free_port()}", *words]
        run = Process("by-flag" if words else "by-variable", argv, stack.directory, environment(more))
        run.spawn()
        run.wait_log("#token=", 60)
        assert run.stop() == 0 and (stack.directory / "mine" / "jwt.key").exists()
        (stack.directory / "mine" / "jwt.key").unlink()


def test_second_instance_names_the_option(started):
    process, _ = started
    done = taskhub.run_program("taskhub", "serve", "--listen", f"127.0.0.1:{process.port}", "--data-dir",
                               process.directory / "other", check=False)
    assert done.returncode == 1
    assert "listen" in done.stderr and str(process.port) in done.stderr


def test_same_data_directory_names_the_holder(started):
    process, _ = started
    done = taskhub.run_program("taskhub", "serve", "--listen", "127.0.0.1:0", "--data-dir",
                               process.directory / "data", check=False, timeout=30)
    assert done.returncode == 1
    assert str(process.pid) in done.stderr
