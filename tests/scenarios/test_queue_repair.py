# SPDX-License-Identifier: MIT
"""Repair leaves alone what is in order: after work of every kind a whole round finds nothing and writes nothing, neither
values nor times at which they go."""
import itertools

import pytest

from queue_lib import OK

HOUR = 3600000
LONG = '"' + "x" * 5000 + '"'
ARGS = '{"text":' + LONG + "}"
FEW, MANY = 2, 150  # less and more than one slice looks at
numbers = itertools.count()


def run(q, **more):
    """A task that runs; others that waited in its queue are leased."""
    id = q.submit(**more)
    fence = next(task["fence"] for task in q.lease(more.get("queue", "default"), 1000) if task["id"] == id)
    assert q.started(id, fence) == OK
    return id


def recorded_once(q, owner, key, count):
    for outcome in ({}, {"result": LONG}, {"failed": True}, {"failed": True, "args": ARGS}):
        q.recorded_once(owner=owner, key=key and f"{key} {next(numbers)}", **outcome)
    if key:
        assert q.recorded_once(owner=owner, key=key) and q.recorded_once(owner=owner, key=key) is None
    for _ in range(count):
        q.recorded_once(owner=owner)


def light(q, owner, key, count):
    """Those that waited in the queue."""
    more = {"owner": owner, "queue": "light", "light": True}
    ended, failed, cancelled = (run(q, key=key and f"{key} {next(numbers)}", **more) for _ in range(3))
    assert q.end(ended, text=LONG) == q.fail(failed) == OK
    q.cancel(cancelled, owner)
    assert q.end(cancelled, kind="K") == OK
    q.cancel(q.submit(key=key, **more), owner)
    run(q, **more)
    q.submit(lease=True, **more)
    for _ in range(count):
        q.submit(**more)


def heavy(q, owner, key, count):
    ended, failed, running, waits, again, asked = (
        run(q, owner=owner, args=ARGS, base=HOUR, cap=HOUR, key=key and f"{key} {next(numbers)}") for _ in range(6))
    q.update(ended, message='"m"', meta='{"a":1}')
    q.update(running, kind="L", message='"line"')
    q.update(running, kind="F", meta='{"b":1}')
    assert q.end(ended, text=LONG) == q.fail(failed) == q.wait(waits) == q.fail(again, retry=True) == OK
    assert q.retry(failed, owner)
    q.cancel(asked, owner)
    q.cancel(q.submit(owner=owner, delay=HOUR, key=key), owner)
    for more in ({}, {"delay": HOUR}, {"expires": HOUR}, {"waits": True}):
        for _ in range(count):
            q.submit(owner=owner, queue="live", **more)


def streams(q, owner, key, count):
    append = lambda id: q.call("audio_append", owner, id, 0, b"abc" * 1000)
    going, ended, cancelled, retried, completed = (
        q.submit(owner=owner, queue="live", stream=True, key=key and f"{key} {next(numbers)}") for _ in range(5))
    for id in going, ended, cancelled, retried, completed:
        append(id)
    q.call("audio_end", owner, ended)
    q.cancel(cancelled, owner)
    q.cancel(retried, owner)
    assert append(q.retry(retried, owner)) and q.lease("live", 1000)
    assert q.started(completed) == q.end(completed) == OK


def notifications(q, owner, key, count):
    for _ in range(count):
        id = f"n{next(numbers)}"
        assert q.notify(id, owner) == q.notify(id, owner) == 0


WORK = [recorded_once, light, heavy, streams, notifications]


def work(q, kinds, count, key=""):
    q.limits, q.light_limit, q.delayed_limit, q.lease_ms = (10000, 10000), 10000, 10000, 100 * HOUR
    for owner in "u1", "u2@example.org":
        q.attach(owner)
        for kind in kinds:
            kind(q, owner, key and f"{key} {next(numbers)}", count)


def assert_same(before, after):
    assert {key: (before.get(key), after.get(key)) for key in before.keys() | after.keys()
            if before.get(key) != after.get(key)} == {}


def assert_in_order(q):
    """By the auditor and by repair, which leaves everything as it was."""
    assert q.audit() == []
    before = q.picture()
    assert q.repair() == []
    assert_same(before, q.picture())


@pytest.mark.parametrize("key", ["", "key"], ids=["plain", "keyed"])
@pytest.mark.parametrize("count", [FEW, MANY])
@pytest.mark.parametrize("kind", WORK, ids=lambda kind: kind.__name__)
def test_work_of_one_kind(q, kind, count, key):
    work(q, [kind], count, key)
    assert_in_order(q)


@pytest.mark.parametrize("hours", [[0], [1, 1], [2, 25], [30, 1]], ids=str)
def test_all_work_as_time_passes(q, hours):
    """What was kept is over, and more came in the meantime."""
    work(q, WORK, FEW, "key")
    for passed in hours:
        q.ages(passed * HOUR)
        assert_in_order(q)
        q.sweep()
        assert_in_order(q)
        work(q, WORK, FEW, "key")
    q.call("revoke", "t one 9", 4102444800, "word")
    assert_in_order(q)


@pytest.mark.parametrize("kinds", [[recorded_once, notifications], [light, heavy]], ids=["recorded", "queued"])
def test_the_rounds_of_hubs_change_nothing(q, kinds):
    """A slice with each sign of life; far more of them than there are slices."""
    work(q, kinds, FEW, "key")
    q.sweep()
    before = q.picture()
    for _ in range(100):
        q.sweep()
    after = q.picture()
    for sign_of_life in "hs", "fm":
        assert after.pop(sign_of_life) and before.pop(sign_of_life)
    assert_same(before, after)
