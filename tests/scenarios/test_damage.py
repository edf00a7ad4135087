# SPDX-License-Identifier: MIT
"""Damaged bytes in Redis, with the real programs: the task has failed as corrupt for its owner, nobody else notices, and
`taskhub check --audit --repair` mends what is left."""
import pytest

from client import RpcError, connect
from taskhub import run_program


def damage(stack, id, text):
    key = next(key for key in stack.redis.command("KEYS", "th:{0}:t*:*")
               if stack.redis.command("HEXISTS", key, id))
    stack.redis.command("HSET", key, id, text(stack.redis.command("HGET", key, id)))


@pytest.mark.parametrize("text", [lambda text: "\x01garbage\n", lambda text: text[:30],
                                  lambda text: text.replace("\np ", "\n! ")], ids=["garbage", "cut", "field"])
async def test_a_damaged_task(stack, text):
    hub = stack.hub()
    async with connect(hub) as c, connect(hub, "bob") as other, connect(hub, "root", roles=["admin"]) as admin:
        done = await c.submit("noop")
        await c.wait_end(done)
        queued, light = await c.submit("noop_heavy", {"steps": 1}), await c.submit("noop")
        await c.wait_end(light)
        theirs = await other.submit("noop_heavy", {"steps": 1})
        damage(stack, queued, text)
        damage(stack, light, lambda text: text[:40])
        page = (await c.call("task.list"))["tasks"]
        assert {t["task_id"]: t["status"] for t in page} == {done: "completed", queued: "failed", light: "failed"}
        everybody = (await admin.call("admin.tasks"))["tasks"]
        assert {t["task_id"] for t in everybody} == {done, queued, light, theirs}
        for id in (queued, light):
            got = await c.get(id)
            assert got["status"] == "failed" and got["error"]["code"] == "corrupt"
            with pytest.raises(RpcError) as refused:
                await other.get(id)
            assert refused.value.code in (-32003, -32004)
        assert [t["task_id"] for t in (await other.call("task.list"))["tasks"]] == [theirs]
        checked = run_program("taskhub", "check", "--audit", options=hub.options, check=False)
        assert checked.returncode == 1 and "is damaged" in checked.stdout
        repaired = run_program("taskhub", "check", "--audit", "--repair", options=hub.options)
        assert f"record {queued}: was damaged" in repaired.stdout and "0 findings" in repaired.stdout, repaired.stdout
        assert (await c.wait_end(queued))["error"]["code"] == "corrupt", "its owner is told, once"
        stack.worker()
        assert (await other.wait_end(theirs))["status"] == "completed"
        c.check()
    stack.audit()
