"""Workers that wait: the call that submits a task leases it to one of them and tells it (tasks/queue/lua/51_demand.lua)."""
import time

import pytest

from queue_lib import DUPLICATE, LOST, OK, PREFIX, handed
from taskhub import eventually


@pytest.fixture
def w(q):
    """A worker that listens."""
    w = q.as_("w:one")
    w.ear = q.subscribe("ctl:w:one")
    yield w
    w.ear.close()


def test_a_task_is_handed_over(q, w):
    assert w.lease(count=2, connection=1) == [] and w.limit == 2
    ids = [q.submit(owner=f"u{i}", args='{"n":%d}' % i) for i in range(3)]
    for i in range(2):
        queue, holder, tasks = handed(w.ear.read()[2])
        assert (queue, holder) == ("default", "w:one/aaaaaa")
        assert [(t["id"], t["owner"], t["attempt"], t["args"]) for t in tasks] == [(ids[i], f"u{i}", "1", '{"n":%d}' % i)]
        assert (q.get(ids[i], f"u{i}")["status"], q.get(ids[i], f"u{i}")["attempt"]) == ("pending", "1")
    assert q.audit() == []
    assert [task["id"] for task in q.as_("w:two").lease(count=5)] == [ids[2]]  # more than was wanted
    for i in range(2):
        assert w.end(ids[i], flags="s") == OK
    assert q.codes(ids[0], "u0") == "AC" and q.audit() == []


def test_what_one_call_submits_comes_in_one_message(q, w):
    w.lease(count=3, connection=1)
    words = [word for i in range(3) for word in (
        "01a203c3-91bc-7349-baa3-00000000000%d" % i, "u1", "noop_heavy default 4 3 0 0 -", "", "")]
    q.call("submit", *q.limits, q.lease_ms, q.light_limit, *words)
    assert [task["id"] for task in handed(w.ear.read()[2])[2]] == words[::5]


def test_workers_take_turns(q, w):
    other = q.as_("w:two")
    other.ear = q.subscribe("ctl:w:two")
    w.lease(count=3, connection=1)
    other.lease(count=3, connection=1)
    ids = [q.submit() for _ in range(4)]
    mine = [handed(w.ear.read()[2])[2][0]["id"] for _ in range(2)]
    others = [handed(other.ear.read()[2])[2][0]["id"] for _ in range(2)]
    assert sorted(mine + others) == ids and mine != ids[:2]
    other.ear.close()


def test_nobody_hears_it(q):
    deaf = q.as_("w:deaf")
    deaf.lease(count=2, connection=1)
    first = q.submit()
    assert q.get(first)["attempt"] == "1" and q.audit() == []
    assert deaf.end(first, flags="s") == LOST
    assert q.redis("HLEN", PREFIX + "w") == q.redis("ZCARD", PREFIX + "wr:default") == 0
    assert [(task["id"], task["attempt"]) for task in q.as_("w:two").lease(count=2)] == [(first, "1")]


def test_whoever_waits_comes_first(q, w):
    waiting = q.submit(delay=150)
    w.lease(count=5, connection=1)
    eventually(lambda: q.sweep() or q.redis("ZCARD", PREFIX + "q:default") == 1, what="the delayed task is ready")
    later = q.submit()
    assert q.get(later)["attempt"] == "0"
    assert [task["id"] for task in w.lease(count=5, connection=1)] == [waiting, later]


def test_what_is_on_its_way_counts(q, w):
    w.lease(count=2, connection=1)
    q.submit()
    w.lease(count=2, connection=1, received=0)  # it does not know of the task yet
    assert w.limit == 2
    w.lease(count=2, connection=1, received=1)
    assert w.limit == 3
    w.lease(count=0, connection=1, received=1)
    assert w.limit == 1
    assert q.get(q.submit())["attempt"] == "0"  # it wants nothing any more


def test_a_new_connection_begins_anew(q, w):
    w.lease(count=2, connection=1)
    q.submit()
    w.lease(count=2, connection=2)  # what was told over the first one may be lost
    assert w.limit == 2
    reborn = q.as_("w:one", "bbbbbb")
    reborn.lease(count=1, connection=1)
    q.submit()
    messages = [handed(w.ear.read()[2])[1] for _ in range(2)]
    assert messages == ["w:one/aaaaaa", "w:one/bbbbbb"]
    assert q.redis("HLEN", PREFIX + "w") == 1


def line(q, name="w:one", queue="default", **values):
    """A worker's line in the hash w; `values` spoil it."""
    names = "incarnation connection given room seen unheard lease".split()
    fields = dict(zip(names, q.redis("HGET", PREFIX + "w", f"{queue} {name}").split()))
    fields.update({name: str(value) for name, value in values.items()})
    q.redis("HSET", PREFIX + "w", f"{queue} {name}", " ".join(fields[name] for name in names))
    return fields


def test_a_silent_worker_gets_nothing(q, w):
    w.lease(count=5, connection=1)
    line(q, seen=int(line(q)["seen"]) - 6001)
    assert q.get(q.submit())["attempt"] == "0"


def test_a_worker_that_hangs_gets_little(q, w):
    w.lease(count=5, connection=1)
    q.submit()
    assert line(q)["unheard"] != "0"
    line(q, unheard=int(line(q)["unheard"]) - 751)
    assert q.get(q.submit())["attempt"] == "0"
    w.lease(count=5, connection=1, received=1)
    assert line(q)["unheard"] != "0"  # the second one came by this call
    w.lease(count=5, connection=1, received=2)
    assert line(q)["unheard"] == "0" and q.get(q.submit())["attempt"] == "1"


def test_the_worker_decides_how_long_it_leases(q, w):
    w.lease_ms = 60000
    w.lease(count=2, connection=1)
    q.lease_ms = 1000
    id = q.submit()
    assert float(q.redis("ZSCORE", PREFIX + "l", id)) > 1000 * time.time() + 50000


def test_a_new_process_of_the_name_drops_its_predecessors_demand(q, w):
    w.lease(count=2, connection=1)
    q.as_("w:one", "bbbbbb").reclaim()
    assert q.get(q.submit())["attempt"] == "0"


def test_a_lost_reply_is_made_up_for_by_a_new_connection(q, w):
    waiting = [q.submit() for _ in range(2)]
    w.lease(count=2, connection=1)  # its answer is lost
    later = q.submit()
    assert w.lease(count=2, connection=1, received=0) == []
    assert [task["id"] for task in w.lease(count=2, connection=2)] == [later]
    assert w.give_back(waiting[0]) == OK  # as its lease does when it runs out
    assert [task["id"] for task in w.lease(count=2, connection=2, received=1)] == [waiting[0]]


@pytest.mark.parametrize("size, attempt", [(199, "1"), (4000, "1"), (5000, "0")])
def test_arguments(q, w, size, attempt):
    args = '{"a":"%s"}' % ("x" * size)
    w.lease(count=2, connection=1)
    assert q.get(q.submit(args=args))["attempt"] == attempt
    if attempt == "1":
        assert handed(w.ear.read()[2])[2][0]["args"] == args
    else:
        assert w.lease(connection=1)[0]["args"] == args  # such arguments are fetched


def test_options(q, w):
    w.lease("default", 9, connection=1)
    w.lease("light", 9, connection=1)
    key = q.submit(key="k1", expires=60000)
    assert handed(w.ear.read()[2])[2][0]["id"] == key
    q.submit(key="k1")
    assert q.answer[0] == DUPLICATE
    assert q.get(q.submit(delay=60000))["attempt"] == "0"
    assert q.get(q.submit(light=True, queue="light"))["attempt"] == "0"
    assert q.cancel(key)[:2] == [OK, "cancelled"]
    assert w.ear.read()[2] == f"cancel {key} 1" and q.audit() == []


def test_a_lease_that_was_handed_over_runs_out(q, w):
    w.lease_ms = 1
    w.lease(count=1, connection=1)
    id = q.submit()
    leased = eventually(q.as_("w:two").lease, what="the lease to run out")
    assert (leased[0]["id"], leased[0]["attempt"]) == (id, "1")
    assert w.started(id) == LOST and q.codes(id) == "A"
