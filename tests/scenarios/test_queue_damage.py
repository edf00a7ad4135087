# SPDX-License-Identifier: MIT
"""Records whose bytes are damaged: the task has failed as corrupt, for its owner and nobody else, all others go on; and
counters that are wrong are made right."""
import re

import pytest

from queue_lib import FORBIDDEN, HEAVY_MS, INPUT_GONE, LIGHT_MS, NET_MS, OK, PREFIX, STATE, ids_of_one_time
from taskhub import eventually

DAMAGES = {
    "garbage": lambda text: "\x00\xff\x07" * 20,
    "nothing": lambda text: "",
    "a word": lambda text: "garbage",
    "lines": lambda text: "\n\n\n\n",
    "cut early": lambda text: text[:5],
    "cut in the first line": lambda text: text[:text.index("\n") - 3],
    "cut behind it": lambda text: text[:text.index("\n") + 1],
    "cut in the third line": lambda text: text[:text.rindex("\n") - 6],
    "no such status": lambda text: re.sub(r"\n(.*)\n\w ", r"\n\1\n? ", text, count=1),
    "no number": lambda text: re.sub(r"\n(.*)\n(\w) \d+ ", r"\n\1\n\2 one ", text, count=1),
    "no priority": lambda text: re.sub(r"^(\S+ \S+ \S+ \d+ \S+) \d ", r"\1 high ", text),
    "no such deaths": lambda text: text.replace("\n", " d=x\n") if text.count("\n") < 3 else re.sub(
        r"\n(.*)\n(.*)\n", r"\n\1\n\2 d=x\n", text, count=1),
    "another owner": lambda text: text.replace("u1 ", "u2 ", 1),
    "another owner, with bytes that are encoded": lambda text: text.replace("u1 ", "auth0%7Cu%C3%A9 ", 1),
    "another owner's name, and cut": lambda text: ("u2" + text[text.index(" "):])[:25],
}


def key_of(q, id):
    return next(key for key in q.keys("t*:*") if q.redis("HEXISTS", key, id))


def damage(q, id, how):
    key = key_of(q, id)
    text = q.redis("HGET", key, id)
    after = DAMAGES[how](text)
    assert after != text
    q.redis("HSET", key, id, after.encode("latin-1"))


def make(q, state, light):
    """A task of u1 in this state, which is the only one that can be leased."""
    queue = "light" if light else "default"
    more = {"queue": queue, "light": light}
    if state == "pending":
        return q.submit(**more)
    if state == "delayed":
        return q.submit(delay=3600000, **more)
    if state == "leased":
        id = q.submit(**more)
        assert q.lease(queue)[0]["id"] == id
        return id
    id = q.run(**more)
    assert state == "running" or q.end(id) == OK
    return id


def sees_it_failed(q, id):
    row = q.get(id)
    assert (row["status"], row["code"], row["owner"]) == ("failed", "corrupt", "u1"), row
    assert q.get(id, "u2") == FORBIDDEN and q.cancel(id, "u2")[0] == FORBIDDEN and q.why(id, "u2")[0] == FORBIDDEN
    assert q.list("u2")[0] == [] and q.snapshot("u2") == []


STATES = [("pending", False), ("delayed", False), ("leased", False), ("running", False), ("ended", False),
          ("pending", True), ("running", True), ("ended", True)]


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("state,light", STATES)
def test_all_ways_to_a_damaged_record(q, state, light, how):
    before = q.run()
    q.end(before)
    id = make(q, state, light)
    behind = q.submit()
    damage(q, id, how)
    assert set(q.list()[0]) == {before, id, behind} == set(q.list("", "")[0]), "also what admins see"
    assert {row["id"]: row["status"] for row in q.snapshot()} == {before: "completed", id: "failed", behind: "pending"}
    sees_it_failed(q, id)
    assert q.why(id)[0] == OK and q.replay()[2]
    assert [task["id"] for task in q.lease("light" if light else "default", 5)] == ([] if light else [behind])
    assert q.cancel(id)[0] == STATE
    q.repair()
    assert q.repair() == [] and q.audit() == []
    sees_it_failed(q, id)
    codes = q.codes(id)
    assert codes.endswith("C" if state == "ended" else "X") and len(re.findall("[CXK]", codes)) == 1, "one end"
    assert q.list()[2]["pending"] + q.list()[2]["processing"] == 1
    assert q.retry(id) is None and q.answer[0] == INPUT_GONE, "what it was to do is lost"


@pytest.mark.parametrize("how", ["garbage", "cut in the third line", "no such status", "another owner"])
@pytest.mark.parametrize("state,light", STATES)
def test_repair_alone(q, state, light, how):
    id = make(q, state, light)
    damage(q, id, how)
    assert any(re.match("record ", finding) for finding in q.audit())
    mended = q.repair()
    assert any(f"record {id} was damaged" in m for m in mended) and q.repair() == [] and q.audit() == []
    assert q.codes(id)[-1] == ("C" if state == "ended" else "X")
    assert q.redis("HMGET", PREFIX + "g", "act", "run") in (["0", "0"], [None, None])
    sees_it_failed(q, id)


@pytest.mark.parametrize("how", ["garbage", "cut early", "no number"])
def test_a_lease_that_runs_out_on_a_damaged_record(q, how):
    q.lease_ms = 50
    id = q.run()
    damage(q, id, how)
    eventually(lambda: q.sweep() or q.redis("ZCARD", PREFIX + "l") == 0, what="the end of the lease")
    q.repair()
    assert q.audit() == []
    sees_it_failed(q, id)


def test_owners_of_encoded_names(q):
    """Ids repeat the shard of the user id, not that of its form in keys."""
    owner = "auth0%7Cu%C3%A9"
    id = q.run(owner=owner)
    assert q.end(id) == OK and q.get(id, owner)["status"] == "completed"
    assert q.recorded_once(owner=owner) and q.list(owner)[2]["completed"] == 2


@pytest.mark.parametrize("tasks", [3, 150])
def test_counters_are_made_right(q, tasks):
    """Of many tasks, in slices."""
    ids = [q.submit() for _ in range(tasks)]
    q.submit(delay=3600000)
    running = q.lease(count=2)
    for task in running:
        q.started(task["id"], task["fence"])
    right = q.redis("HMGET", PREFIX + "g", "act", "run")
    row = q.redis("HGET", PREFIX + "o", "u1")
    q.redis("HSET", PREFIX + "g", "act", tasks + 7, "run", 0)
    wrong = q.redis("EVAL", "local r = {cmsgpack.unpack(ARGV[1])} r[2], r[3], r[10] = r[2] + 7, 0, 5 "
                            "return cmsgpack.pack(unpack(r))", 0, row if isinstance(row, bytes) else row.encode())
    q.redis("HSET", PREFIX + "o", "u1", wrong if isinstance(wrong, bytes) else wrong.encode())
    assert len(q.audit()) == 5
    assert len(q.repair()) == 3 and q.audit() == []
    q.redis("HSET", PREFIX + "g", "act", tasks - 2, "run", 9, "due", 1)
    assert len(q.repair()) == 3 and q.repair() == q.audit() == []
    assert q.redis("HMGET", PREFIX + "g", "act", "run") == right and len(ids) == tasks


@pytest.mark.parametrize("wrong", ["garbage", "7 0", "0 0", ""])
def test_a_hash_whose_count_is_wrong(q, wrong):
    ended = q.run(owner="u2")
    id = q.submit()
    q.redis("HSET", key_of(q, id), "#", wrong)
    q.redis("HSET", key_of(q, ended), "#", wrong)
    assert q.end(ended) == OK and id in q.list()[0]
    assert any(finding.startswith("counter t:") for finding in q.audit())
    q.repair()
    assert q.repair() == [] and q.audit() == []
    assert q.redis("PTTL", key_of(q, id)) == -1


def test_a_large_hash_whose_count_is_wrong(q):
    """It is counted in slices, by the round in which nothing of it begins or ends meanwhile."""
    ids = [q.submit(id=id) for id in ids_of_one_time(300)]
    key = key_of(q, ids[0])
    q.redis("HSET", key, "#", "7 0")
    cursor, rounds, mended = "0", [], []
    while len(rounds) < 2:
        cursor, more = q.call("repair", HEAVY_MS, LIGHT_MS, cursor)
        mended += more
        if cursor == "0":
            rounds.append(len(mended))
        elif cursor.endswith(key) and len(ids) == 300:
            q.cancel(ids.pop())
    assert rounds == [0, 1] and mended == [f"counter {key[len(PREFIX):]} counted 6 active records, has 299"]
    assert q.audit() == []


@pytest.mark.parametrize("count", [None, "3 0", "garbage"])
def test_a_hash_of_ended_light_tasks_that_never_goes(q, count):
    """Once mended it is kept as long as light tasks are."""
    id = q.recorded_once()
    key = key_of(q, id)
    q.redis("PERSIST", key)
    q.redis("ZREM", PREFIX + "till", key[len(PREFIX):])
    if count:
        q.redis("HSET", key, "#", count)
    assert any(finding.startswith("expiry tl:") for finding in q.audit())
    assert len(q.repair()) == 1 and q.repair() == q.audit() == []
    assert LIGHT_MS < q.redis("PTTL", key) <= LIGHT_MS + NET_MS and q.status(id) == "completed"
    q.ages(LIGHT_MS + 8192)
    q.sweep()
    assert q.keys("tl:*") == []


def test_a_task_that_stands_nowhere_is_ready_again(q):
    waiting, running = q.submit(), q.submit()
    q.redis("ZREM", PREFIX + "q:default", waiting)
    q.lease()
    q.started(running)
    q.redis("ZREM", PREFIX + "l", running)
    assert len(q.audit()) > 1
    assert len([m for m in q.repair() if m.startswith("place ")]) == 2
    assert q.audit() == [] and {task["id"] for task in q.lease(count=5)} == {waiting, running}


def test_hubs_repair_by_themselves(q):
    id = q.submit()
    damage(q, id, "garbage")
    eventually(lambda: q.sweep() or q.codes(id)[-1] == "X", what="the end of the damaged task")
    eventually(lambda: q.sweep() or q.audit() == [], what="the repair")


def test_each_data_set_of_a_redis_has_a_round_of_repair(q):
    id = q.recorded_once()
    key = key_of(q, id)
    q.redis("PERSIST", key)
    q.redis("ZREM", PREFIX + "till", key[len(PREFIX):])
    for _ in range(20):
        q.sweep()
        q.redis("FCALL", "th2_alive", 1, "th:{1}:", "h:other", "bbbbbb", HEAVY_MS, LIGHT_MS)
    assert q.redis("PTTL", key) > 0


ROWS = {
    "garbage": lambda q: q.redis("HSET", PREFIX + "o", "u1", b"\xff\x00garbage"),
    "nothing": lambda q: q.redis("HSET", PREFIX + "o", "u1", ""),
    "cut": lambda q: q.redis("HSET", PREFIX + "o", "u1", b"\x05\x00\xcd"),
    "too few values": lambda q: q.redis("HSET", PREFIX + "o", "u1", b"\x05\x00\x00"),
    "a word for a number": lambda q: q.set_row("u1", seq="many"),
    "a number for a text": lambda q: q.set_row("u1", kinds=7),
    "a log that is shorter": lambda q: q.set_row("u1", seq=1),
    "lost": lambda q: q.redis("HDEL", PREFIX + "o", "u1"),
}


@pytest.mark.parametrize("how", ROWS)
@pytest.mark.parametrize("by", ["repair", "hubs"])
def test_an_owners_row_is_damaged(q, how, by):
    """Calls go on, counters come back, and whoever knew the log finds a gap."""
    q.as_("h:two").beat()
    done, running, waiting = q.run(), q.run(), q.submit()
    assert q.end(done) == OK and q.recorded_once() and q.submit(delay=3600000)
    head = q.replay()[0]
    ROWS[how](q)
    assert q.audit() != []
    assert {row["id"] for row in q.snapshot()} >= {done, running, waiting} and q.status(done) == "completed"
    if by == "repair":
        assert any(m.startswith("owner u1 ") for m in q.repair())
        assert q.repair() == []
    else:
        eventually(lambda: q.sweep() or q.audit() == [], what="the repair")
    assert q.audit() == []
    row = q.row()
    assert (row["act"], row["run"], row["later"]) == (2, 1, 1) and "h:two/aaaaaa" in row["hubs"]
    assert q.redis("HMGET", PREFIX + "g", "act", "run") == ["2", "1"]
    assert q.end(running) == OK and q.replay(after=head)[0] > head + 1000, "a gap: a number higher than any before"
    assert q.replay()[0] - len(q.log()) > head


def test_a_row_of_the_format_before_is_no_damage(q):
    """It counts no bytes; they come with the next round of repair."""
    running, waiting = q.run(), q.submit()
    head, row = q.replay()[0], q.redis("HGET", PREFIX + "o", "u1")
    before = q.redis("EVAL", "return cmsgpack.pack(unpack({cmsgpack.unpack(ARGV[1])}, 1, 10))", 0,
                     row if isinstance(row, bytes) else row.encode())
    q.redis("HSET", PREFIX + "o", "u1", before if isinstance(before, bytes) else before.encode())
    assert all(finding.startswith("bytes u1 ") for finding in q.audit())
    assert q.end(running) == OK and q.replay()[0] == head + 1 and q.row()["act"] == 1
    assert [m.split(" ")[0] for m in q.repair()] == ["bytes"] and q.status(waiting) == "pending"


@pytest.mark.parametrize("how", ROWS)
def test_owners_take_turns_while_a_row_is_damaged(q, how):
    running = [q.run(), q.run(owner="u3")]
    waiting = [q.submit(owner=owner) for owner in ("u3", "u1", "u2", "u2")]
    ROWS[how](q)
    assert waiting[2] in [task["id"] for task in q.lease(count=2)], "the first task of an owner who has none running"
    assert len(q.lease(count=5)) == 2 and q.end(running[0]) == OK
    q.repair()
