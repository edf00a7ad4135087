# SPDX-License-Identifier: MIT
"""docs/add-a-task.md tells the truth: its example is put into a copy of the tree, built and run."""
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

import taskhub
from client import RpcError, connect

sys.path.append(str(taskhub.TOP / "tests/lint"))
from tree import files  # noqa: E402 (needs the path above)


def tree_with_example(to):
    """A copy of the tree's own files with the page's file and line added."""
    for name in files():
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(taskhub.TOP / name, to / name)
    page = (taskhub.TOP / "docs" / "add-a-task.md").read_text()
    name = re.search(r"^`(tasks/heavy/\w+\.c)`", page, re.M).group(1)
    (to / name).write_text(re.search(r"```c\n(.*?)```", page, re.S).group(1))
    line = re.search(r"```meson\n(.*?)```", page, re.S).group(1)
    lists = to / "tasks" / "meson.build"
    text = lists.read_text()
    lists.write_text(text.replace("heavy_types = [\n", "heavy_types = [\n" + line, 1))
    assert lists.read_text() != text


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    tree = tmp_path_factory.mktemp("tree")
    tree_with_example(tree)
    for command in (["meson", "setup", "build", "-Dtests=false", "-Doptimization=0", "-Db_sanitize=none"],
                    ["ninja", "-C", "build", "taskhub", "taskhub-worker"]):
        done = subprocess.run(command, cwd=tree, text=True, capture_output=True)
        assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
        assert "warning:" not in done.stdout or command[0] == "meson", done.stdout[-5000:]
    yield tree / "build"
    shutil.rmtree(tree, ignore_errors=True)


@pytest.mark.alone  # it compiles the tree
@pytest.mark.limit(400)
async def test_the_example_runs(build, monkeypatch, stack):
    monkeypatch.setattr(taskhub, "BUILD", pathlib.Path(build))
    hub = stack.private_hub()
    async with connect(hub) as c:
        task = await c.submit("count_primes", {"limit": 30000})
        end = await c.wait_end(task)
        assert end["result"] == {"primes": 3245}
        assert any(e["type"] == "progress" and e["stage"] == "counting" for e in c.of(task))
        with pytest.raises(RpcError) as refused:
            await c.submit("count_primes", {"limit": 1})
        assert refused.value.code == -32602 and refused.value.data["field"] == "limit"
        task = await c.submit("count_primes", {"limit": 100000000})
        await c.wait_event(task_id=task, type="progress")
        await c.cancel(task)
        assert (await c.wait_end(task, seconds=3))["status"] == "cancelled"
        c.check()
