# SPDX-License-Identifier: MIT
"""What stands in Redis: records and the keys besides them, how long they are kept, idempotency keys; and what the
auditor finds when they are wrong."""
import time

import pytest

from queue_lib import (DUPLICATE, HEAVY_MS, INPUT_GONE, LIGHT_MS, LOST, MISMATCH, NET_MS, OK, PREFIX, STATE,
                       effect_of, field_of, ids_of_one_time, key_of, new_id)
from taskhub import eventually


@pytest.mark.parametrize("size", [10, 200, 201, 100000])
def test_arguments_and_result_of_any_size(q, size):
    text = '{"x":"' + "y" * (size - 8) + '"}'
    id = q.run(args=text)
    assert q.end(id, text=text) == OK
    assert q.get(id)["result"] == text
    assert q.redis("HEXISTS", f"th:{{0}}:t:{id[:10]}", id) == 1
    assert sorted(q.keys(f"*{id}")) == ([] if size <= 200 else [f"th:{{0}}:args:{id}", f"th:{{0}}:res:{id}"])


@pytest.mark.parametrize("progress", [(), (40, "work", "", "", 4, "line"), (40, "work", '"hi"', "", 4, "line")])
@pytest.mark.parametrize("result", ["", "{}", '{"n":1}', '{"n":"%s"}' % ("x" * 300)])
def test_one_item_or_several_leave_the_same(q, progress, result):
    """A task that is reported once as a whole takes a shorter way; what stands in the end is the same."""
    at_once, apart = q.submit(owner="u1"), q.submit(owner="u2")
    q.lease(count=2)
    assert q.report(at_once, 1, "sp"[:1 + bool(progress)] + "C", *progress, result) == OK
    assert q.started(apart) == OK
    if progress:
        assert q.report(apart, 1, "p", *progress) == OK
    assert q.end(apart, text=result) == OK
    if not progress:
        assert (q.codes(at_once, "u1"), q.codes(apart, "u2")) == ("AC", "ASC")
    else:
        assert q.codes(at_once, "u1") == q.codes(apart, "u2") == "ASC"
    rows = [q.get(id, owner) for id, owner in ((at_once, "u1"), (apart, "u2"))]
    for row in rows:
        assert row["started"] and row["ended"] and bool(row["updated"]) == bool(progress)
        for name in ("id", "owner", "created", "started", "ended", "updated", "seq"):
            del row[name]
    assert rows[0] == rows[1] and rows[0]["status"] == "completed"
    assert q.end(at_once) == LOST and q.cancel(at_once)[0] == STATE


def test_a_refused_submission_leaves_no_trace(q):
    q.limits, q.delayed_limit = (0, 0), 0
    assert q.submit(args="x" * 100, key="k", delay=5, expires=5) is None
    assert q.submit(args="x" * 100, key="k", expires=5) is None
    assert q.keys() == [PREFIX + "g"] and q.redis("HGET", PREFIX + "g", "act") is None


def test_idempotency_key(q):
    q.limits = (1, 1)
    id = q.submit(key="k1", args='{"a":1}')
    assert q.submit(key="k1", args='{"a":1}') is None
    assert q.answer == [DUPLICATE, id, "pending", 1]
    assert q.submit(key="k1", args='{"a":2}') is None and q.answer[0] == MISMATCH
    assert q.submit(key="k1", args='{"a":1}', task="other") is None and q.answer[0] == MISMATCH
    q.limits = (9, 9)
    assert q.submit(key="k1", args='{"a":2}', owner="u2", id="7fffffff" + new_id(owner="u2")[8:])  # of another time
    q.run(id)
    q.end(id)
    q.submit(key="k1", args='{"a":1}')
    assert q.answer[:3] == [DUPLICATE, id, "completed"]


def test_an_idempotency_key_twice_in_one_call(q):
    first, second = new_id(), new_id()
    head = "noop_heavy default 4 3 0 0 -"
    answer = q.call("submit", 1, 1, 15000, 9, 1, b"".join(key_of(id, "u1", "noop_heavy", "k") for id in (first, second)), *[
        w for id in (first, second) for w in (id, "u1", head, "", "0 - 0 0 " + effect_of("u1", "k"))])
    assert answer[:2] == [1, [DUPLICATE, first, "pending", 1]]
    assert [task["id"] for task in q.lease(count=2)] == [first]


@pytest.mark.parametrize("failed, status", [(False, "completed"), (True, "failed")])
def test_idempotency_key_of_a_task_that_is_recorded_once(q, failed, status):
    """The key stands for longer than the record."""
    id = q.recorded_once(key="k1", args='{"a":1}', failed=failed)
    for record in (True, False):
        assert q.recorded_once(key="k1", args='{"a":1}') is None and q.answer == [DUPLICATE, id, status, 1]
        assert q.submit(key="k1", args='{"a":1}', task="noop", light=True, queue="light", lease=True) is None
        assert q.answer == [DUPLICATE, id, status, 1]
        assert q.recorded_once(key="k1", args='{"a":2}') is None and q.answer[0] == MISMATCH
        q.redis("DEL", f"th:{{0}}:tl:{id[:10]}")
    assert q.recorded_once(key="k1", args='{"a":2}', owner="u2")
    assert len(q.log()) == 1


@pytest.mark.parametrize("kind, status", [("C", "completed"), ("X", "failed"), ("K", "cancelled")])
def test_the_key_of_a_leased_task_says_how_it_ended(q, kind, status):
    id = q.submit(key="k1", light=True, queue="light", lease=True)
    assert q.recorded_once(key="k1", task="noop_heavy") is None and q.answer[:3] == [DUPLICATE, id, "pending"]
    q.end(id, kind=kind, flags="s")
    q.redis("DEL", f"th:{{0}}:tl:{id[:10]}")
    assert q.submit(key="k1") is None and q.answer[:3] == [DUPLICATE, id, status]


def test_a_key_stands_while_its_task_lives_and_a_day_longer(q):
    def answers():
        assert q.submit(key="k") is None and q.recorded_once(key="k", task="noop_heavy") is None
        return q.answer[:2]
    id = q.submit(key="k", delay=30 * 86400000)
    assert q.key("u1", "k") == ("k", id, "") and q.redis("PTTL", PREFIX + "k") == -1
    q.beat()
    assert answers() == [DUPLICATE, id]
    q.cancel(id)
    home, *stands = q.key("u1", "k")
    assert stands == [id, "K"] and 86400000 + NET_MS < q.redis("PTTL", PREFIX + home) <= 2 * 86400000 + NET_MS
    q.pass_day()
    q.beat()
    assert answers() == [DUPLICATE, id]
    other = q.recorded_once(key="other")
    assert q.key("u1", "other")[:2] == (home, other)
    q.pass_day()
    q.beat()
    assert q.key("u1", "k") == [] and q.submit(key="k")
    assert q.recorded_once(key="other") is None and q.answer[:2] == [DUPLICATE, other]


def test_records_of_a_time_expire_when_the_last_task_has_ended(q):
    first, second, third, fourth = ids_of_one_time(4)
    key = f"th:{{0}}:t:{first[:10]}"
    for id in (first, second, third):
        q.submit(id=id)
    assert q.redis("PTTL", key) == -1
    q.run(first)
    q.end(first)
    assert q.redis("PTTL", key) == -1
    q.run(second)
    q.fail(second)
    assert q.redis("PTTL", key) == -1 and q.redis("HGET", key, "#").startswith("1 ")
    assert q.call("cancel", 1000, 1000, third, "u1", 0)[0] == OK
    assert HEAVY_MS + NET_MS - 60000 < q.redis("PTTL", key) <= HEAVY_MS + NET_MS  # the longest of all
    q.submit(id=fourth)
    assert q.redis("PTTL", key) == -1
    assert q.audit() == []
    q.cancel(fourth)
    assert HEAVY_MS + NET_MS - 60000 < q.redis("PTTL", key) <= HEAVY_MS + NET_MS
    assert [q.status(id) for id in (first, second, third, fourth)] == [
        "completed", "failed", "cancelled", "cancelled"]


def test_long_texts_that_are_gone_before_their_record(q):
    text = '{"x":"' + "y" * 300 + '"}'
    failed, done, waiting = ids_of_one_time(3)  # the last one keeps the records of the others
    q.submit(id=failed, args=text)
    q.fail(q.run(failed))
    q.submit(id=done)
    q.end(q.run(done), text=text)
    q.submit(id=waiting, delay=100000)
    keys = [f"th:{{0}}:args:{failed}", f"th:{{0}}:res:{done}"]
    assert all(HEAVY_MS < q.redis("PTTL", key) <= HEAVY_MS + NET_MS for key in keys)
    assert (q.get(done)["result"], q.get(done)["omitted"]) == (text, "0")
    q.redis("DEL", *keys)
    assert q.retry(failed) is None and q.answer == [INPUT_GONE]
    assert (q.get(done)["result"], q.get(done)["omitted"]) == ("", "1")
    ends = {e["entry"].split()[2]: e["outcome"] for e in q.replay()[2] if e["entry"][0] in "CX"}
    assert ends == {failed: [1, "oops", '"it broke"'], done: [0]}


def test_records_of_light_tasks_expire_apart(q):
    heavy, light = ids_of_one_time(2)
    q.submit(id=heavy)
    q.submit(id=light, light=True, queue="light", lease=True)
    assert q.end(light, flags="s") == OK
    assert LIGHT_MS < q.redis("PTTL", f"th:{{0}}:tl:{light[:10]}") <= LIGHT_MS + NET_MS
    assert q.redis("HKEYS", f"th:{{0}}:t:{light[:10]}") == [heavy, "#"]


def test_the_auditor_finds_wrong_counters_of_an_owner(q):
    q.submit(owner="u2")
    q.submit()
    q.run(queue="live")
    right = q.row()
    assert (right["seq"], right["act"], right["run"]) == (3, 2, 1)
    for name, value, finding in (
            ("act", 7, "counter u1 counts 7 active tasks, has 2"),
            ("run", 0, "counter u1 counts 0 running tasks, has 1"),
            ("seq", 2, "seq u1 the log has 3 events, the counter says 2")):
        q.set_row("u1", **{name: value})
        assert q.audit() == [finding]
        q.set_row("u1", **{name: right[name]})
    assert q.audit() == []


def test_the_auditor_finds_a_living_task_whose_key_is_lost(q):
    id = q.submit(key="k")
    assert q.audit() == []
    where = PREFIX + "k", field_of("u1", "k")
    stands = q.redis("HGET", *where)
    q.redis("HDEL", *where)
    assert q.audit() == [f"key {id} its idempotency key does not stand"]
    q.redis("HSET", *where, stands)


def test_the_auditor_finds_a_wrong_count_of_active_records(q):
    ended, active = ids_of_one_time(2)
    place = "t:" + ended[:10]
    q.submit(id=ended)
    q.end(q.run(ended))
    q.submit(id=active)
    key = "th:{0}:" + place
    right, till = q.redis("HGET", key, "#").split(" ")
    assert right == "1"
    for count in ("2", "0"):
        q.redis("HSET", key, "#", f"{count} {till}")
        assert q.audit() == [f"counter {place} counts {count} active records, has 1"]
    q.redis("HSET", key, "#", f"{right} {till}")
    assert q.audit() == []


def test_the_auditor_finds_a_wrong_expiry_of_records(q):
    ended, active = ids_of_one_time(2)
    place = "t:" + ended[:10]
    key = "th:{0}:" + place
    q.submit(id=ended)
    q.end(q.run(ended))
    q.submit(id=active)
    q.redis("PEXPIRE", key, 100000)
    assert q.audit() == [f"expiry {place} has active tasks and expires"]
    q.redis("PERSIST", key)
    assert q.audit() == []
    q.cancel(active)
    assert q.audit() == []
    q.redis("PERSIST", key)
    assert q.audit() == [], "it goes some day"
    q.redis("ZREM", PREFIX + "till", place)
    assert q.audit() == [f"expiry {place} its tasks have ended and it never goes"]
    q.redis("PEXPIRE", key, 100000)


def test_the_auditor_finds_a_wrong_lease(q):
    id = q.run()
    place = f"th:{{0}}:t:{id[:10]}"
    record = q.redis("HGET", place, id)
    for spoilt, finding in (
            (record.replace("\ns 1 1 ", "\ns 2 1 "), "fence {} was leased 1 times and is in attempt 2"),
            (record.replace("h:one/aaaaaa", ""), "lease {} is leased to nobody")):
        q.redis("HSET", place, id, spoilt)
        assert q.audit() == [finding.format(id)]
    q.redis("HSET", place, id, record)
    q.redis("ZREM", PREFIX + "l", id)
    assert f"lease {id} is held by h:one/aaaaaa without a lease" in q.audit()
    q.redis("ZADD", PREFIX + "l", int(1000 * time.time()) + 60000, id)
    assert q.audit() == []


def test_indexes_are_trimmed_by_more_than_they_grow(q):
    """Tasks whose records are gone at once: what the indexes still name stays bounded however many come."""
    old = [(int(time.time()) - 3 * 86400) * 1000 + i for i in range(3000)]
    ids = [f"{ms:012x}"[:8] + "-" + f"{ms:012x}"[8:] + new_id()[13:] for ms in old]
    for at in range(0, len(ids), 100):
        for id in ids[at:at + 100]:
            q.submit(id=id)
        words = [word for id in ids[at:at + 100] for word in (id, 1, "sC", "")]
        assert len(q.lease(count=100)) == 100
        q.call("report", 1, 1, *words)
        for key in q.keys("t:*"):
            q.redis("DEL", key)
    assert q.redis("ZCARD", PREFIX + "i:u1") < 1500
    assert q.redis("ZCARD", PREFIX + "i") < 2800  # by about every fourth call, as the clock falls
    q.redis("FLUSHALL")


def test_what_an_owner_has_goes_some_day(q):
    """An owner's keys get their expiry when they are written, also behind a call that wrote none of them."""
    q.call("attach", "u8", "epoch")
    q.call("notify", "u8", "n1", '{"title":"t"}')
    assert q.redis("PTTL", "th:{0}:e:u8") > 86400000 + NET_MS
    q.run(owner="u8")
    assert q.redis("PTTL", "th:{0}:i:u8") > HEAVY_MS + NET_MS
