# SPDX-License-Identifier: MIT
"""Leases: the fence, deaths and lapses, what is given back and reclaimed."""
import pytest

from queue_lib import DUPLICATE, LOST, OK, PREFIX, new_id
from taskhub import eventually


def test_stale_writes_change_nothing(q):
    id = q.run()
    for other in (q.as_("w:two"), q.as_("h:one", "bbbbbb")):
        assert other.end(id) == LOST
        assert other.update(id, percent=50) == LOST
        assert other.started(id) == LOST
        assert other.give_back(id) == LOST
        assert other.beat((id, 1))[0] == [id]
    assert q.end(id, fence=2) == LOST
    assert q.end(new_id()) == LOST
    assert q.end(id) == OK
    assert q.end(id) == LOST
    assert q.codes(id) == "ASC"


def test_a_lease_that_runs_out_costs_no_attempt(q):
    w = q.as_("w:one")
    w.lease_ms = 20
    id = w.run()
    other = q.as_("w:two")
    leased = eventually(other.lease, what="the lease to run out")
    assert (leased[0]["id"], leased[0]["attempt"], leased[0]["fence"]) == (id, "1", "2")
    for fence in (1, 2):
        assert w.end(id, fence) == LOST
    assert other.started(id) == LOST
    assert q.codes(id) == "ASR"
    assert other.end(id, 2, flags="s") == OK


@pytest.mark.parametrize("starts", [True, False])
def test_ten_leases_that_run_out_fail_a_task(q, starts):
    q.lease_ms = 1
    id = q.submit(max_attempts=1)
    for fence in range(1, 11):
        leased = eventually(q.lease, what="the lease to run out")[0]
        assert (leased["attempt"], leased["fence"]) == ("1", str(fence))
        if starts:
            q.started(id, fence)
    eventually(lambda: q.sweep() or q.status(id) == "failed")
    assert q.get(id)["code"] == "worker_lost"
    assert q.codes(id) == ("A" + "SR" * 9 + "SX" if starts else "AX")


def test_two_deaths_fail_a_task(q):
    id = q.run()
    assert q.end(id, kind="D") == OK
    assert (q.status(id), q.codes(id)) == ("pending", "ASR")
    leased = q.lease()[0]
    assert (leased["attempt"], leased["fence"]) == ("2", "2")
    q.started(id, 2)
    assert q.end(id, 2, kind="D") == OK
    task = q.get(id)
    assert (task["status"], task["code"]) == ("failed", "worker_lost")


def test_a_death_in_the_last_attempt_fails_a_task(q):
    id = q.run(max_attempts=1)
    q.end(id, kind="D")
    assert (q.status(id), q.codes(id)) == ("failed", "ASX")


def test_a_task_that_is_given_back_goes_on_with_its_attempt(q):
    id = q.submit(max_attempts=2, args='{"n":1}')
    for fence in range(1, 5):
        leased = q.lease()[0]
        assert (leased["attempt"], leased["fence"], leased["max"]) == ("1", str(fence), "2")
        if fence > 1:
            q.started(id, fence)
            q.update(id, fence, percent=fence)
        assert q.give_back(id, fence) == OK
        assert q.get(id)["stage"] == ("retrying" if fence > 1 else "queued")
    assert q.codes(id) == "A" + "SR" * 3
    assert q.fail(id, 4) == LOST
    q.lease()
    q.started(id, 5)
    assert q.get(id)["progress"] == "0"
    assert q.fail(id, 5, retry=True) == OK
    assert eventually(q.lease)[0]["attempt"] == "2"
    assert q.fail(id, 6, retry=True) == OK and q.status(id) == "failed"


def test_beats_keep_a_lease(q):
    q.lease_ms = 300
    id = q.run()
    for _ in range(3):
        assert q.beat((id, 1)) == ([], [])
    score = float(q.redis("ZSCORE", "th:{0}:l", id))
    q.lease_ms = 60000
    q.beat((id, 1))
    assert float(q.redis("ZSCORE", "th:{0}:l", id)) > score + 50000


def test_an_unstarted_lease_that_runs_out_burns_nothing(q):
    w = q.as_("w:one")
    w.lease_ms = 1
    id = w.submit()
    w.lease()
    leased = eventually(q.as_("w:two").lease)
    assert leased[0]["attempt"] == "1"
    assert w.started(id) == LOST
    assert q.codes(id) == "A"


def test_what_is_given_back_goes_first(q):
    first, second = q.submit(), q.submit()
    assert q.lease()[0]["id"] == first
    assert q.give_back(first) == OK
    assert q.codes(first) == "A"
    assert [task["id"] for task in q.lease(count=2)] == [first, second]
    assert q.give_back(first) == LOST


def test_reclaim_returns_what_the_predecessor_held(q):
    old, new, other = q.as_("w:one", "old111"), q.as_("w:one", "new222"), q.as_("w:two", "old111")
    running, waiting, foreign = old.run(), None, None
    waiting = q.submit()
    old.lease()
    foreign = other.run()
    new.reclaim()
    assert q.codes(running) == "ASR" and q.status(running) == "pending"
    assert q.codes(waiting) == "A"
    assert q.status(foreign) == "processing"
    assert {(t["id"], t["attempt"]) for t in new.lease(count=5)} == {(running, "2"), (waiting, "1")}
    new.reclaim()
    assert new.started(running, 2) == OK
    assert old.end(running) == LOST


def test_reclaim_of_many(q):
    old, other = q.as_("w:one", "old111"), q.as_("w:two")
    q.limits = (2000, 2000)
    for _ in range(1200):
        q.submit()
    for i in range(12):
        (old if i % 2 else other).lease(count=100)
    q.as_("w:one", "new222").reclaim()
    assert q.redis("ZCARD", "th:{0}:l") == 600
    assert q.redis("ZCARD", "th:{0}:q:default") == 600


def test_cancel_of_a_task_whose_worker_died(q):
    w = q.as_("w:one")
    w.lease_ms = 5
    id = w.run()
    q.cancel(id)
    eventually(lambda: q.sweep() or q.status(id) == "cancelled")


def test_submit_and_lease_in_one(q):
    id = q.submit(light=True, queue="light", lease=True)
    assert q.lease("light") == []
    assert q.started(id) == OK
    assert q.end(id) == OK
    assert q.codes(id) == "ASC"


def test_a_task_that_waits_for_its_children(q):
    w = q.as_("w:one")
    q.attach()
    id = w.run(max_attempts=1)
    assert q.as_("w:two").wait(id) == LOST and w.wait(id) == OK
    task = q.get(id)
    assert (task["status"], task["stage"], task["attempt"]) == ("processing", "waiting", "1")
    assert q.why(id)[3] == "waiting" and q.active() == 1 and q.audit() == []
    assert q.list()[2]["processing"] == 1 and q.row()["run"] == 1
    assert w.end(id) == w.wait(id) == LOST and q.lease() == [] and w.beat((id, 1))[0] == [id]
    q.as_("w:one", "bbbbbb").reclaim()
    assert q.get(id)["stage"] == "waiting"
    assert q.wake(id, id, new_id()) == 1 and q.wake(id) == 0
    assert q.get(id)["status"] == "pending" and q.audit() == []
    leased = w.lease()[0]
    assert (leased["id"], leased["attempt"], leased["fence"]) == (id, "1", "2")
    assert w.end(id, 1) == LOST and w.end(id, 2, flags="s") == OK
    assert q.codes(id) == "ASC"


def test_a_task_that_waits_for_a_unique_key(q):
    id = q.submit(waits=True, key="k")
    task = q.get(id)
    assert (task["status"], task["stage"], task["attempt"]) == ("pending", "waiting", "0")
    assert q.lease() == [] and q.audit() == [] and q.row()["act"] == 1
    assert q.submit(key="k") is None and q.answer[:3] == [DUPLICATE, id, "pending"]
    assert q.wake(id) == 1 and q.get(id)["stage"] == "queued"
    assert q.lease()[0]["attempt"] == "1" and q.end(id, flags="s") == OK
    assert q.wake(id) == 0 and q.codes(id) == "AC"


def test_cancel_and_expiry_of_a_waiting_task(q):
    for children in (False, True):
        id = q.run() if children else q.submit(waits=True)
        assert q.wait(id) == (OK if children else LOST)
        assert q.cancel(id)[:3] == [OK, "cancelled", "cancelled"]
        assert q.active() == 0 and q.audit() == []
    cancelled = q.run()
    assert q.cancel(cancelled)[:2] == [OK, "processing"] and q.wait(cancelled) == OK
    assert q.status(cancelled) == "cancelled"
    late = q.submit(waits=True, expires=1)
    eventually(lambda: q.sweep() or q.status(late) == "failed")
    assert q.get(late)["code"] == "expired" and q.wake(late) == 0


def test_the_auditor_finds_a_waiting_task_that_is_not_listed(q):
    id = q.submit(waits=True)
    q.redis("ZREM", PREFIX + "w", id)
    assert f"place {id} waits and is not listed so" in q.audit()
    q.redis("ZADD", PREFIX + "w", 1, id)
    assert q.audit() == []
