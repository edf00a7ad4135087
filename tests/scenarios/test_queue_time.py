# SPDX-License-Identifier: MIT
"""The two clocks of the queue. A step of Redis' clock is what the data set says of it: when it was read last."""
import time

from queue_lib import HEAVY_MS, LIGHT_MS, OK, PREFIX
from taskhub import eventually

HOUR = 3600000


def clock(q):
    return [int(v) for v in q.redis("HMGET", PREFIX + "g", "run_ms", "time_ms", "ahead_ms", "steps") if v]


def tick(q):
    return q.call("tick", HEAVY_MS, LIGHT_MS)


def step(q, ms):
    """Redis' clock goes forward by so much while nobody calls, or back (ms < 0)."""
    tick(q)
    q.redis("HINCRBY", PREFIX + "g", "time_ms", -ms)


def wait_written(q, before):
    eventually(lambda: tick(q) and clock(q)[1] > before, what="the clocks to be written")


def stamps(q, owner="u1"):
    return [int(e["entry"].split()[3]) for e in q.replay(owner)[2]]


def test_running_time_goes_on_with_calls(q):
    tick(q)
    first = clock(q)
    wait_written(q, first[1])
    second = clock(q)
    assert first[0] == first[1] and second[0] - first[0] == second[1] - first[1] and len(second) == 3


def test_a_gap_counts_two_seconds(q):
    tick(q)
    before = clock(q)
    step(q, HOUR)
    assert tick(q)[1] == 1 and abs(tick(q)[2] - HOUR) < 1000
    run, _, ahead, steps = clock(q)
    assert 2000 <= run - before[0] < 3000 and ahead == 0 and steps == 1


def test_a_clock_that_is_set_back_changes_no_order(q):
    id = q.run()
    before = clock(q)[0]
    step(q, -HOUR)
    q.update(id, percent=5)
    assert q.end(id) == OK and abs(tick(q)[2] + HOUR) < 1000
    run, time_ms, ahead, steps = clock(q)
    assert 0 <= run - before < 1000 and HOUR - 1000 < ahead <= HOUR and steps == 1
    assert stamps(q) == sorted(stamps(q)) and int(q.get(id)["ended"]) >= int(q.get(id)["started"])
    wait_written(q, time_ms)
    assert clock(q)[2] < ahead, "wall time is caught up"


def test_a_lease_outlives_a_gap_until_its_holder_may_have_come_back(q):
    w, other = q.as_("w:one"), q.as_("w:two")
    w.lease_ms = 2500
    id = w.run()
    step(q, HOUR)
    began = time.monotonic()
    assert other.lease() == [] and w.beat((id, 1)) == ([], [])
    other.sweep()
    assert other.lease() == [] and q.codes(id) == "AS"
    leased = eventually(other.lease, what="the lease to run out")
    assert (leased[0]["attempt"], leased[0]["fence"]) == ("1", "2") and time.monotonic() - began > 2


def test_a_lease_that_was_left_ends_whatever_the_clock_does(q):
    w, other = q.as_("w:one"), q.as_("w:two")
    w.lease_ms = 300
    id = w.run()
    step(q, -HOUR)
    leased = eventually(other.lease, what="the lease to run out")
    assert leased[0]["id"] == id and q.status(id) == "pending"


def test_a_gap_counts_two_seconds_of_a_delay_and_an_expiry(q):
    delayed, expiring = q.submit(delay=2500), q.submit(expires=2500)
    due = int(q.why(delayed)[7])
    step(q, HOUR)
    assert [task["id"] for task in q.lease(count=2)] == [expiring], "neither time is over"
    assert abs(due - int(q.why(delayed)[7]) - 2000) < 1000, "people are told a time of the wall clock"
    began = time.monotonic()
    assert eventually(q.lease, what="the delayed task")[0]["id"] == delayed
    assert time.monotonic() - began < 3


def test_a_clock_that_is_set_back_delays_nothing(q):
    failed = q.run(base=1, cap=1)
    delayed, expiring = q.submit(delay=300), q.submit(queue="live", expires=300)
    step(q, -HOUR)
    assert q.fail(failed, retry=True) == OK
    ids = set()
    eventually(lambda: ids.update(task["id"] for task in q.lease(count=2)) or
               len(ids) == 2 and q.status(expiring) == "failed")
    assert ids == {failed, delayed} and q.get(expiring)["code"] == "expired"


def test_who_lives_and_listens_outlasts_a_step(q):
    q.attach()
    q.call("watch")
    q.as_("w:one").beat()
    adm = q.subscribe("adm")
    step(q, HOUR)
    q.submit()
    assert "@u1" in adm.read()[2], "an admin watches still"
    name, seen, alive, _ = q.call("workers")[1][0]
    assert name == "w:one" and alive == 1 and int(seen) > time.time() * 1000 - 10000
    assert q.call("stats")[7] == 1


def test_a_holder_that_closed_its_channel_and_does_not_beat_died(q):
    dead, heard, beats = q.as_("w:dead"), q.as_("w:heard"), q.as_("w:beats")
    listens = heard.subscribe("ctl:w:heard/aaaaaa")
    ids = [w.run() for w in (dead, dead, heard, beats)]
    for w in (dead, heard, beats):
        w.beat()
    eventually(lambda: tick(q) and beats.beat((ids[3], 1)) and q.codes(ids[0])[-1] == "R", what="the death")
    tick(q)
    assert [q.codes(id) for id in ids] == ["ASR", "ASR", "AS", "AS"]
    listens.close()
    assert {task["attempt"] for task in q.lease(count=4)} == {"2"}, "a death costs an attempt"
    assert q.audit() == []
