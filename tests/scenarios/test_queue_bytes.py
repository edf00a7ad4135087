# SPDX-License-Identifier: MIT
"""What Redis keeps of one owner is bounded in bytes, and counted as it is."""
import random

import pytest

from queue_lib import OK, PREFIX, QUOTA, STATE, Queue, new_id

MIB = 1 << 20
LIMIT, SLACK = 4 * MIB, 3 * MIB
DAY = 86400


@pytest.fixture
def q():
    queue = Queue()
    queue.call("alive", 30 * DAY * 1000, 3600000, LIMIT)
    yield queue
    queue.close()


def memory(q):
    return int(dict(line.split(":", 1) for line in q.redis("INFO", "memory").splitlines() if ":" in line)["used_memory"])


def text(size):
    return '{"a":"%s"}' % ("x" * size)


def cancelled(q, i):
    id = q.submit(args=text(40000))
    if id:
        q.cancel(id)
    return id is None


def streamed(q, i):
    id = q.submit(stream=True)
    if not id:
        return True
    code = q.call("audio_append", "u1", id, 0, bytes(200000))[0][0]
    q.cancel(id)
    return code == QUOTA


def completed(q, i):
    id = q.submit()
    if not id:
        return True
    q.run(id)
    assert q.end(id, text=text(100000)) == OK
    return False


def light_result(q, i):
    return q.recorded_once(result=text(50000)) is None


def light_failed(q, i):
    return q.recorded_once(failed=True, args=text(40000)) is None


def notified(q, i):
    return q.call("notify", "u1", str(i), text(20000)) == QUOTA


def piece(q, i):
    if i == 0:
        piece.id = q.run(q.submit())
    q.update(piece.id, kind="F", meta=text(3000))
    return i % 500 == 499 and q.submit() is None


WAYS = [cancelled, streamed, completed, light_result, light_failed, notified, piece]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_one_owner_does_not_fill_redis(q, way):
    """Whatever he repeats: memory stays near the limit, he is told, and others go on."""
    before = memory(q)
    for i in range(1000):
        refused = way(q, i)
        if refused:
            break
    assert memory(q) - before < LIMIT + SLACK
    assert refused
    assert q.submit(owner="u2") and q.recorded_once(owner="u2")
    assert q.audit() == []


def test_a_refusal_says_how_much_and_until_when(q):
    while q.recorded_once(result=text(50000)):
        pass
    assert q.answer[0] == QUOTA
    q.submit()
    code, id, status, wait, _, used, most = q.answer
    assert (code, id, status, most) == (QUOTA, "", "", LIMIT) and used == q.used() > LIMIT
    assert 3600000 <= wait <= 2 * 3600000, "until the light ones are dropped"
    assert q.submit(owner="u2", key="k") and q.recorded_once(owner="u2", key="l")


def test_what_ends_is_never_refused(q):
    id, key = q.submit(key="first"), q.submit(key="second")
    q.lease(count=2)
    assert q.started(id) == q.started(key) == OK
    while q.recorded_once(result=text(50000)):
        pass
    assert q.submit(key="first") is None and q.answer[:2] == [1, id], "keys stand before the quota"
    assert q.update(id, kind="L", message='"still here"') == OK
    assert q.end(id, text=text(100000)) == q.fail(key) == OK
    assert q.get(id)["result"] == text(100000) and q.codes(id) == "ASLC"
    assert q.audit() == []


def test_what_is_dropped_counts_no_more(q):
    """Hours pass: nothing is told of what expired."""
    while q.recorded_once(result=text(50000)):
        pass
    q.set_row("u1", hour=q.row()["hour"] - 3)
    assert q.submit(), "the light ones' slot is in the past"
    assert q.used() < LIMIT / 2


def test_trimmed_light_tasks_count_no_more(q):
    for i in range(40):
        words = [w for _ in range(64) for w in (new_id(), text(random.choice([10, 100, 2000])))]
        head = f"C {int(words[0][:8] + words[0][9:13], 16)} {words[0][:13]} noop light 4 3 1000 60000 -l"
        q.call("recorded_once", 3600000, "", "u1", head, 64, *words)
        assert q.audit() == []
    assert q.redis("LLEN", PREFIX + "lc:u1") <= 1000
    assert q.used() < LIMIT


def test_attempts_and_retries_count_once(q):
    id = q.submit(args=text(300), stream=True, max_attempts=3)
    assert q.call("audio_append", "u1", id, 0, bytes(1000))[0][0] == OK
    for fence in (1, 2):
        q.lease()
        q.started(id, fence)
        q.update(id, fence, percent=10 * fence, message='"working"', meta='{"at":%d}' % fence)
        q.update(id, fence, percent=20 * fence, message='"still working"', meta='{"at":1%d}' % fence)
        q.update(id, fence, kind="F", meta='{"text":"one"}')
        assert q.audit() == []
        q.fail(id, fence, retry=True)
        q.sweep()
        assert q.audit() == []
    q.cancel(id)
    assert q.audit() == []
    used = q.used()
    new = q.retry(id)
    assert new and q.audit() == [] and q.used() - used < 2000, "the audio was handed over"
    assert q.call("audio_append", "u1", id, 1000, b"late")[0][0] == STATE


def test_a_wrong_count_is_found_and_mended(q):
    for i in range(3):
        cancelled(q, i)
    q.submit(key="k")
    q.recorded_once(result=text(5000))
    assert q.audit() == []
    right = q.used()
    q.set_row("u1", living=5, logged=6, heavy=7)
    findings = q.audit()
    assert len(findings) == 1 and findings[0].startswith("bytes u1 counts 5 bytes of living tasks, has ")
    cursor, mended = "0", []
    while True:
        cursor, more = q.call("repair", 30 * DAY * 1000, 3600000, cursor)
        mended += more
        if cursor == "0":
            break
    assert [what.split(",")[0] for what in mended if what.startswith("bytes")] == ["bytes u1 counted 5 bytes of living tasks"]
    assert q.audit() == [] and q.used() == right


def test_an_owner_of_many_things_is_recounted_in_slices(q):
    for _ in range(200):
        q.submit()
    q.set_row("u1", living=1)
    cursor, calls, mended = "b 0", 0, []
    while cursor != "0":
        cursor, more = q.call("repair", 30 * DAY * 1000, 3600000, cursor)
        mended += more
        calls += 1
    assert calls > 5 and len(mended) == 1 and q.audit() == []
