# SPDX-License-Identifier: MIT
"""How long the queue keeps what: by running time, whatever Redis' clock says; and then nothing is left."""
import os
import time

import pytest

from queue_lib import DUPLICATE, HEAVY_MS, LIGHT_MS, OK, PREFIX, Queue, ids_of_one_time
from taskhub import Clock

HOUR, DAY = 3600000, 86400000
LONG = '"' + "x" * 5000 + '"'
ARGS = '{"text":' + LONG + "}"


@pytest.fixture
def clock(tmp_path):
    return Clock(tmp_path / "clock")


@pytest.fixture
def q(clock):
    queue = Queue(dict(os.environ, **clock.env))
    yield queue
    assert queue.audit() == [] == queue.repair()
    queue.close()


def keep_all(q):
    """Something of each kind that is kept for a while."""
    q.attach()
    kept = {
        "light": q.recorded_once(result=LONG, key="light"), "wrong": q.recorded_once(failed=True, args=ARGS),
        "heavy": q.submit(args=ARGS, key="heavy"), "stream": q.submit(queue="live", stream=True)}
    q.call("audio_append", "u1", kept["stream"], 0, b"abc")
    q.run(kept["heavy"])
    q.update(kept["heavy"], message='"m"', meta='{"a":1}')
    q.update(kept["heavy"], kind="F", meta='{"b":1}')
    assert q.end(kept["heavy"], text=LONG) == OK and q.cancel(kept["stream"])[0] == OK and q.notify() == 0
    q.call("revoke", "t one 9", int(time.time()) + 3600, "word")
    q.call("session", "u1", "s1", int(time.time()) + 3600)
    return kept


def look(q, kept):
    """All that somebody can see of it."""
    row = q.get(kept["heavy"])
    return {
        "rows": [q.get(id) for id in kept.values()], "pieces": row["pieces"], "list": q.list(), "log": q.log(),
        "stats": q.call("stats")[1], "audio": q.call("audio_read", "u1", kept["stream"], 0, 10),
        "revocations": q.call("revocations", 0, 10)[3:]}


@pytest.mark.parametrize("hours", [1, 24])
def test_a_clock_that_is_set_forward_drops_nothing(q, clock, hours):
    kept = keep_all(q)
    before = look(q, kept)
    assert before["log"] and before["audio"][3:] == ["abc"] and before["list"][2]["completed"] == 2
    clock.set(hours * 3600)
    for _ in range(3):
        q.call("tick", HEAVY_MS, LIGHT_MS)
        q.sweep()
        q.beat()
        q.call("cleanup", "0", 0, HEAVY_MS // 1000)
        assert look(q, kept) == before
    for key, task in (("light", "noop"), ("heavy", "noop_heavy")):
        assert q.recorded_once(key=key, task=task, args=ARGS if key == "heavy" else "") is None
        assert q.answer[:2] == [DUPLICATE, kept[key]]
    head = q.replay()[0]
    assert q.notify() == 0 and q.replay()[0] == head, "known still"
    q.call("revoke", "t two 9", int(time.time()) + 90 * 3600, "word")
    q.call("session", "u1", "s2", int(time.time()) + 90 * 3600)
    assert len(q.call("revocations", 0, 10)[3:]) == 2 == q.redis("ZCARD", PREFIX + "ses")
    assert q.retry(kept["stream"]) and q.retry(kept["wrong"]), "their bytes and arguments are there"


def test_what_is_over_is_gone_at_once(q):
    kept = keep_all(q)
    q.ages(LIGHT_MS + 8192)
    q.sweep()
    assert q.keys("tl:*") == [] and q.get(kept["light"]) == 5 and q.get(kept["heavy"])["result"] == LONG
    assert q.keys("res:*") == [f"{PREFIX}res:{kept['heavy']}"] and q.keys("a:*") == q.keys("err:*") == []
    assert q.list()[2] == {"pending": 0, "processing": 0, "completed": 1, "failed": 0, "cancelled": 1}
    assert q.recorded_once(key="light") is None and q.answer[:2] == [DUPLICATE, kept["light"]]
    q.ages(3 * DAY)
    q.sweep()
    stays = "g o i i:u1 k fm hs hb till glc glx dn dx dc ses".split()
    assert [key for key in q.keys() if key[len(PREFIX):] not in stays and ":day:" not in key] == []
    assert q.redis("ZRANGE", PREFIX + "till", 0, -1) == ["i:u1"]


def test_what_is_active_again_is_not_dropped(q):
    """Records of one time: all had ended, then one more came and lives on."""
    first, second = ids_of_one_time(2)
    q.submit(id=first)
    q.cancel(first)
    q.submit(id=second, delay=300 * DAY)
    q.ages(2 * HEAVY_MS)
    q.sweep()
    assert q.get(second)["stage"] == "queued" and q.audit() == []
    q.cancel(second)
    q.ages(HEAVY_MS - HOUR)
    q.sweep()
    assert q.status(second) == "cancelled" and q.redis("PTTL", f"{PREFIX}t:{first[:10]}") > HEAVY_MS
    q.ages(2 * HOUR)
    q.sweep()
    assert q.keys("t:*") == []


def test_an_owners_index_outlasts_delayed_tasks(q):
    """Also if he had nothing active when it was renewed last."""
    id = q.run()
    q.set_row("u1", touch=0)
    q.end(id)
    assert q.redis("PTTL", PREFIX + "i:u1") < 40 * DAY
    id = q.submit(delay=300 * DAY)
    assert q.redis("PTTL", PREFIX + "i:u1") > 300 * DAY
    q.ages(200 * DAY)
    q.sweep()
    assert q.list()[0][0] == id


def test_long_texts_of_many_tasks_go_as_fast_as_they_came(q):
    for _ in range(400):
        q.recorded_once(result=LONG)
    assert len(q.keys("res:*")) == 400
    q.ages(LIGHT_MS + 8192)
    for _ in range(300):
        q.recorded_once(result=LONG)
    assert len(q.keys("res:*")) <= 310
