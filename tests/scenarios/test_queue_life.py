# SPDX-License-Identifier: MIT
"""The transitions of a task, one by one, on the functions themselves."""
import json

import pytest

from queue_lib import (FORBIDDEN, GLOBAL_LIMIT, HEAVY_MS, LIGHT_MS, LOST, NET_MS, NOT_FOUND, OK, STATE, USER_LIMIT, event,
                       ids_of_one_time, lines_of, new_id)
from taskhub import eventually


def test_submit_lease_start_end(q):
    id = q.submit(args='{"steps":3}')
    assert q.answer == 1
    task = q.get(id)
    assert (task["status"], task["stage"], task["attempt"], task["progress"]) == ("pending", "queued", "0", "0")
    w = q.as_("w:one")
    leased = w.lease()
    assert leased == [{"id": id, "owner": "u1", "task": "noop_heavy", "attempt": "1", "fence": "1", "max": "3", "flags": "",
                       "args": '{"steps":3}', "rev": "0"}]
    assert q.get(id)["status"] == "pending"
    assert w.started(id) == OK
    assert q.get(id)["status"] == "processing"
    assert w.end(id, text='{"n":1}') == OK
    task = q.get(id)
    assert (task["status"], task["progress"], task["result"]) == ("completed", "100", '{"n":1}')
    assert q.codes(id) == "ASC"
    assert HEAVY_MS < q.redis("PTTL", f"th:{{0}}:t:{id[:10]}") <= HEAVY_MS + NET_MS


def test_start_and_end_in_one_item(q):
    id = q.submit()
    q.lease()
    q.attach()
    assert q.end(id, flags="s") == OK
    assert [event(line)["code"] for line in q.caused[0][1:]] == ["C"]
    assert q.codes(id) == "AC"
    assert q.get(id)["started"]


def test_start_progress_and_end_in_one_item(q):
    id = q.submit()
    q.lease()
    q.attach()
    line = f"=0 2 P 1 {id} 1795000000000 40 noop_heavy work"
    more = f"{line}\n~4 p 1795000000001 40 work\tt{{}}"
    assert q.report(id, 1, "spXr", 40, "work", '"hi"', "", 4, more, '"it broke"', "oops") == OK
    [[owner, *lines]] = q.caused
    assert owner == "u1" and lines[1:3] == more.split("\n")
    assert [(event(line)["code"], event(line)["progress"]) for line in (lines[0], lines[3])] == [("S", 0), ("R", 40)]
    assert len(lines) == 4 and q.codes(id) == "ASR"
    task = q.get(id)
    assert (task["progress"], task["message"], task["code"]) == ("40", '"hi"', "oops")
    leased = eventually(q.lease)
    assert (leased[0]["attempt"], leased[0]["rev"]) == ("2", "4")


def test_progress_of_a_record_never_falls_and_rev_rises(q):
    id = q.run()
    q.attach()
    for rev, percent in ((2, 10), (4, 40), (6, 20)):
        assert q.update(id, percent=percent, stage="working", message='"hi"', meta='{"a":1}') == OK
        told = event(q.caused[0][1])
        assert (told["code"], told["seq"], told["rev"], told["id"]) == ("P", 0, rev, id)
    task = q.get(id)
    assert (task["progress"], task["stage"], task["message"], task["meta"]) == ("40", "working", '"hi"', '{"a":1}')
    for rev in (4, 6):
        assert q.report(id, 1, "p", 50, "", "", "", rev, "=said before") == OK
        assert q.caused == []
    q.fail(id, retry=True)
    assert event(q.caused[0][1])["code"] == "R"
    assert eventually(q.lease)[0]["rev"] == "6"


def test_the_reports_of_ten_tasks_in_one_call(q):
    ids = [q.submit(id=id) for id in ids_of_one_time(10)]
    q.lease(count=10)
    assert [q.started(id) for id in ids] == [OK] * 10
    q.as_("h:two").attach()
    channel = q.subscribe("hub:h:two/aaaaaa")
    lines = [[f"=0 2 P 1 {id} 1 {i} noop_heavy", f"~4 P 2 {i}", f"~6 p 3 {i}\tt{{}}"] for i, id in enumerate(ids)]
    words = [word for i, id in enumerate(ids) for word in (id, 1, "p", i, "", "", "", 6, "\n".join(lines[i]))]
    q.redis("CONFIG", "RESETSTAT")
    assert q.call("report", HEAVY_MS, LIGHT_MS, *words) == []
    stats = q.redis("INFO", "commandstats")
    assert "cmdstat_publish:calls=1," in stats
    assert "cmdstat_hset:calls=2," in stats, "the records, and how many calls have written"
    assert lines_of(channel.read()[2]) == [["u1", *sum(lines, [])]]
    assert [q.get(id)["progress"] for id in ids] == [str(i) for i in range(10)]
    channel.close()


def test_log_lines_are_bounded_per_attempt(q):
    id = q.run()
    for i in range(120):
        assert q.update(id, kind="L", message=f'"{i}"') == OK
    assert q.codes(id) == "AS" + "L" * 100
    q.fail(id, retry=True)
    q.sweep()
    q.run(id)
    q.update(id, fence=2, kind="L", message='"again"')
    assert q.codes(id) == "AS" + "L" * 100 + "RSL"


def test_final_pieces_are_kept_until_the_next_attempt(q):
    id = q.run()
    q.update(id, kind="F", meta='{"text":"a"}')
    q.update(id, kind="p", meta='{"text":"b"}')
    q.update(id, kind="F", meta='{"text":"c"}')
    assert q.get(id)["pieces"] == ['{"text":"a"}', '{"text":"c"}']
    assert q.snapshot()[0]["pieces"] == ['{"text":"a"}', '{"text":"c"}']
    assert q.codes(id) == "ASFF"
    q.fail(id, retry=True)
    q.sweep()
    q.run(id)
    assert q.get(id)["pieces"] == []
    assert q.end(id, fence=2) == OK


def test_many_pieces_are_cut_to_the_newest(q):
    id = q.run()
    for i in range(100):
        assert q.update(id, kind="F", meta='{"n":%d,"text":"%s"}' % (i, "y" * 8000)) == OK
    task = q.get(id)
    numbers = [json.loads(piece)["n"] for piece in task["pieces"]]
    assert numbers == list(range(100 - len(numbers), 100))
    assert 250000 < sum(map(len, task["pieces"])) <= 262144
    assert task["pieces_omitted"] == 100 - len(numbers)
    task = q.snapshot(budget=20000)[0]
    assert len(task["pieces"]) == 2 and task["pieces_omitted"] == 98
    assert q.snapshot(budget=20)[0]["pieces"] == []
    assert q.end(id) == OK


def test_what_is_said_again_is_taken_once(q):
    id = q.run()
    for number in (1, 2, 1, 2, 3, 3):
        assert q.update(id, kind="L", message=f'"{number}"', number=number) == OK
    assert q.update(id, kind="F", meta='{"a":1}', number=3) == OK
    for _ in range(2):
        assert q.update(id, kind="F", meta='{"a":1}', number=4) == OK
    assert q.codes(id) == "ASLLLF" and q.get(id)["pieces"] == ['{"a":1}']
    q.fail(id, retry=True)
    q.sweep()
    q.run(id)
    assert q.update(id, fence=2, kind="L", message='"1"', number=1) == OK
    assert q.codes(id) == "ASLLLFRSL"


def test_an_attempt_says_nothing_of_the_one_before(q):
    id = q.run()
    q.update(id, percent=40, stage="working", message='"nearly"', meta='{"a":1}')
    q.fail(id, retry=True)
    assert q.get(id)["message"] == '"nearly"'
    q.sweep()
    q.run(id)
    task = q.get(id)
    assert [task[field] for field in ("progress", "stage", "message", "meta")] == ["0", "started", "", ""]
    q.update(id, fence=2, percent=1, message='"again"')
    assert q.get(id)["message"] == '"again"' and q.get(id)["meta"] == ""
    assert q.end(id, fence=2) == OK


def test_failure_is_retried_with_jitter(q):
    id = q.run(base=200, cap=200)
    assert q.fail(id, retry=True) == OK
    task = q.get(id)
    assert (task["status"], task["stage"]) == ("pending", "retrying")
    assert q.codes(id) == "ASR"
    leased = eventually(q.lease, what="the second attempt")
    assert leased[0]["attempt"] == "2"
    assert q.started(id, 2) == OK
    assert q.fail(id, 2, retry=False) == OK
    task = q.get(id)
    assert (task["status"], task["code"], task["error"]) == ("failed", "oops", '"it broke"')


def test_a_task_that_went_well_in_the_end_shows_no_error(q):
    id = q.run()
    q.fail(id, retry=True)
    assert q.get(id)["code"] == "oops"
    q.lease()
    q.started(id, 2)
    q.end(id, 2)
    assert (q.get(id)["status"], q.get(id)["code"], q.get(id)["error"]) == ("completed", "", "")


def test_jitter_spreads(q):
    ids = [q.submit(base=1000000, cap=1000000) for _ in range(50)]
    for task in q.lease(count=50):
        q.started(task["id"])
        q.fail(task["id"], retry=True)
    due = sorted(int(q.redis("ZSCORE", "th:{0}:d", id)) for id in ids)
    assert due[-1] - due[0] > 300000 and len(set(due)) > 40


def test_the_last_attempt_fails(q):
    id = q.submit(max_attempts=2)
    for attempt in (1, 2):
        eventually(q.lease)
        q.started(id, attempt)
        q.fail(id, attempt, retry=True)
        q.sweep()
    assert q.get(id)["status"] == "failed"
    assert q.codes(id) == "ASRSX"


def test_cancel_waiting(q):
    id = q.submit()
    assert q.cancel(id)[:3] == [OK, "cancelled", "cancelled"]
    assert q.cancel(id)[:3] == [OK, "cancelled", "cancelled"]
    assert q.lease() == []
    assert q.codes(id) == "AK"


def test_cancel_delayed_and_retrying(q):
    delayed = q.submit(delay=100000)
    assert q.cancel(delayed)[:2] == [OK, "cancelled"]
    retrying = q.run(base=1000000, cap=1000000)
    q.fail(retrying, retry=True)
    assert q.cancel(retrying)[:2] == [OK, "cancelled"]
    assert q.codes(retrying) == "ASRK"


def test_cancel_leased_but_not_started(q):
    id = q.submit()
    w = q.as_("w:one")
    control = q.subscribe("ctl:w:one/aaaaaa")
    w.lease()
    assert q.cancel(id)[:2] == [OK, "cancelled"]
    assert control.read()[2] == f"cancel {id} 1"
    assert w.started(id) == LOST
    control.close()


@pytest.mark.parametrize("kind", ["C", "X", "K", "D", "B"])
def test_cancel_running_ends_cancelled_however_it_ends(q, kind):
    w = q.as_("w:one")
    id = w.run()
    control = q.subscribe("ctl:w:one/aaaaaa")
    assert q.cancel(id)[:3] == [OK, "processing", "cancelling"]
    assert q.cancel(id)[:3] == [OK, "processing", "cancelling"]
    assert control.read()[2] == f"cancel {id} 1"
    assert w.beat((id, 1)) == ([], [id])
    assert w.update(id, percent=70, stage="working") == OK
    assert q.get(id)["stage"] == "cancelling"
    assert w.end(id, kind=kind, flags="r", text='"x"', code="c") == OK
    assert q.status(id) == "cancelled"
    assert q.codes(id) == "ASK"
    control.close()


def test_progress_told_after_a_cancel_is_no_news(q):
    id = q.run()
    q.attach()
    q.update(id, percent=30, stage="working")
    q.cancel(id)
    [[owner, line]] = q.caused
    told = event(line)
    assert (owner, told["code"], told["seq"], told["rev"], told["stage"]) == ("u1", "P", 0, 3, "cancelling")
    assert told["progress"] == 30
    q.cancel(id)
    assert q.caused == []
    assert q.update(id, percent=70, stage="working") == OK
    assert q.caused == []
    assert (q.get(id)["stage"], q.get(id)["progress"]) == ("cancelling", "70")
    assert q.end(id) == OK
    assert [event(line)["code"] for line in q.caused[0][1:]] == ["K"]


def test_cancel_refusals(q):
    id = q.run()
    assert q.cancel(new_id()) == [NOT_FOUND]
    assert q.cancel(id, owner="u2") == [FORBIDDEN]
    q.end(id)
    assert q.cancel(id)[0] == STATE
    light = q.recorded_once()
    assert q.cancel(light)[0] == STATE
    assert q.cancel(light, owner="u2") == [FORBIDDEN]
    waiting = q.submit()
    assert q.cancel(waiting, owner="admin", any=1)[:2] == [OK, "cancelled"]


def test_retry_copies_arguments(q):
    for args in ('{"a":1}', '{"a":"' + "x" * 200 + '"}', ""):
        id = q.run(args=args)
        assert q.retry(id) is None and q.answer[0] == STATE
        q.fail(id)
        new = q.retry(id)
        assert q.get(new)["retry_of"] == id
        assert q.lease()[0]["args"] == args
        q.end(new, flags="s")
        assert q.retry(new) is None and q.answer[0] == STATE


def test_retry_of_a_light_task(q):
    id = q.recorded_once(failed=True, args='{"a":1}')
    new = q.retry(id)
    assert q.answer[1] == "pending" and int(q.answer[5]) > 0
    leased = q.lease("light")
    assert (leased[0]["id"], leased[0]["args"]) == (new, '{"a":1}')


def test_retry_refusals(q):
    id = q.run()
    q.fail(id)
    assert q.retry(id, owner="u2") is None and q.answer == [FORBIDDEN]
    assert q.retry(new_id()) is None and q.answer == [NOT_FOUND]
    q.limits = (0, 10)
    assert q.retry(id) is None and q.answer[0] == USER_LIMIT and q.answer[6] > 0


def test_limits(q):
    q.limits = (2, 3)
    first, _ = q.submit(), q.submit()
    assert q.submit() is None and q.answer[0] == USER_LIMIT and q.answer[3] > 0
    assert q.submit(owner="u2")
    assert q.submit(owner="u2") is None and q.answer[0] == GLOBAL_LIMIT
    assert q.submit(owner="u2", light=True, queue="light")
    q.cancel(first)
    assert q.submit(owner="u2")
    assert [q.row(owner)["act"] for owner in ("u1", "u2")] == [1, 2]


def test_who_has_no_task_is_admitted_beyond_the_global_limit(q):
    q.limits = (5, 2)
    taken = [q.submit(owner="u1"), q.submit(owner="u1")]
    for n in range(2, 8):
        taken.append(q.submit(owner=f"u{n}"))
        assert q.submit(owner=f"u{n}") is None and q.answer[0] == GLOBAL_LIMIT
    assert None not in taken and len(taken) == 4 * 2
    assert q.submit(owner="last") is None and q.answer[0] == GLOBAL_LIMIT
    q.cancel(taken[0])
    assert q.submit(owner="last")


def test_delayed_tasks_have_a_limit_of_their_own(q):
    q.limits, q.delayed_limit = (2, 2), 3
    later = [q.submit(delay=60000) for _ in range(3)]
    assert q.submit(delay=60000) is None and q.answer[0] == USER_LIMIT and q.answer[3] > 0
    assert (q.row()["act"], q.row()["later"]) == (0, 3) and q.audit() == []
    assert q.submit() and q.submit(), "they take none of the places of those that are active"
    assert q.submit(owner="u2")
    q.cancel(later[0])
    assert (q.row()["act"], q.row()["later"]) == (2, 2) and q.audit() == []
    assert q.submit(delay=60000), "and so they do not ask for one"


def test_what_comes_due_is_never_refused(q):
    q.limits = (2, 2)
    due = [q.submit(delay=20) for _ in range(9)]
    eventually(lambda: q.sweep() or q.row()["act"] == 9)
    assert q.row()["later"] == 0 and q.audit() == []
    assert q.submit() is None and q.answer[0] == USER_LIMIT
    assert [q.submit(owner=owner) for owner in ("u2", "u2", "u3")].count(None) == 0, "its owner's places, not others'"
    assert q.submit(owner="u3") is None and q.answer[0] == GLOBAL_LIMIT
    q.cancel(due[0])
    [leased] = [task for task in q.lease(count=20) if task["id"] == due[1]]
    assert q.end(due[1], leased["fence"], "X", "sr", '"e"', "code") == OK, "between two attempts it is active"
    assert (q.row()["act"], q.row()["later"]) == (8, 0) and q.audit() == []
    q.cancel(due[1])
    assert (q.row()["act"], q.redis("HGET", "th:{0}:g", "due")) == (7, "7") and q.audit() == []


def test_light_tasks_that_wait_are_bounded(q):
    q.light_limit = 2
    for _ in range(2):
        assert q.submit(light=True, queue="light", delay=60000)
    assert q.submit(light=True, queue="light", delay=60000) is None and q.answer[0] == USER_LIMIT
    assert q.submit(light=True, queue="light", lease=True), "one that runs already is its hub's business"
    assert q.submit(owner="u2", light=True, queue="light", delay=60000) and q.submit()


def test_delay(q):
    q.submit(delay=40)
    assert q.lease() == [] and 0 < q.next_due <= 40
    assert eventually(q.lease)


def test_expiry(q):
    late, running, retrying = q.submit(expires=30), q.submit(expires=30), q.submit(expires=30, delay=60000)
    leased = q.lease(count=2)
    assert [t["id"] for t in leased] == [late, running]
    q.started(running)
    eventually(lambda: q.sweep() or q.status(late) == "failed")
    assert q.get(late)["code"] == "expired"
    eventually(lambda: q.sweep() or q.status(retrying) == "failed")
    assert q.status(running) == "processing"
    assert q.started(late) == LOST
    assert q.codes(late) == "AX"
    assert q.redis("ZCARD", "th:{0}:x") == 0


def test_priority_and_fairness(q):
    many = [q.submit("u1") for _ in range(5)]
    few = [q.submit("u2") for _ in range(2)]
    urgent = q.submit("u1", priority=9)
    idle = q.submit("u2", priority=0)
    order = [t["id"] for t in q.lease(count=20)]
    assert order[0] == urgent and order[-1] == idle
    assert order[1:5] == [many[0], few[0], many[1], few[1]]
    assert order[5:-1] == many[2:]
    late = q.submit("u3")
    more = q.submit("u1")
    assert [t["id"] for t in q.lease(count=2)] == [late, more]


def test_who_has_a_task_running_waits_while_others_wait_for_their_first(q):
    many = [q.submit("u1", priority=priority) for priority in (4, 4, 9)]
    assert [t["id"] for t in q.lease()] == [many[2]]
    q.started(many[2])
    firsts = [q.submit("u2"), q.submit("u3", priority=0)]
    second = q.submit("u2")
    assert [t["id"] for t in q.lease(count=2)] == firsts
    q.started(firsts[1])
    q.end(many[2])
    assert [t["id"] for t in q.lease()] == [many[0]], "its turn is here again"
    assert [t["id"] for t in q.lease(count=9)] == [many[1], second], "no one waits for a first"


def test_one_long_task_with_many_behind_it_delays_nobody(q):
    many = [q.submit("u1") for _ in range(100)]
    q.lease()
    q.started(many[0])
    older, newer = q.submit("u2"), q.submit("u3")
    for i in range(150):
        assert [t["id"] for t in q.lease()] == [older], i
        q.end(older, flags="s")
        older, newer = newer, q.submit("u%d" % (i % 2 + 2))
    q.end(many[0])
    assert many[1] in [t["id"] for t in q.lease(count=2)]
    assert q.audit() == []


def test_queues_are_apart(q):
    bulk, live = q.submit(), q.submit(queue="live")
    assert [t["id"] for t in q.lease("live", 5)] == [live]
    assert [t["id"] for t in q.lease("default", 5)] == [bulk]


def test_the_bell_rings(q):
    bell = q.subscribe("bell:default")
    q.submit()
    assert bell.read()[2] == "default"
    q.redis("PUBLISH", "th:{0}:bell:default", "end")
    q.submit(queue="live")
    assert bell.read()[2] == "end"
    bell.close()
