# SPDX-License-Identifier: MIT
"""What Redis keeps of one owner is bounded in bytes, and counted as it is."""
import random

import pytest

from queue_lib import INPUT_GONE, OK, PREFIX, QUOTA, STATE, Queue, new_id

MIB = 1 << 20
LIMIT, SLACK = 4 * MIB, 3 * MIB
DAY = 86400


@pytest.fixture
def q():
    queue = Queue()
    queue.call("alive", 30 * DAY * 1000, 3600000, LIMIT)
    yield queue
    assert queue.failures() == []
    queue.close()


def memory(q):
    return int(dict(line.split(":", 1) for line in q.redis("INFO", "memory").splitlines() if ":" in line)["used_memory"])


def fill(q):
    """Keeps as much as 1 MiB allows, of what goes by itself alone."""
    q.call("alive", 30 * DAY * 1000, 3600000, MIB)
    for _ in range(400):
        if not q.recorded_once(result=text(4000)):
            return
    raise AssertionError("1.6 MB were taken")


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
    if i % 300 == 0:
        piece.id = q.submit(owner="u1")
        if piece.id:
            q.run(piece.id)
    for _ in range(3):
        q.update(piece.id, kind="F", meta=text(3000))
    return i == 599 and q.submit() is None


WAYS = [cancelled, streamed, completed, light_result, light_failed, notified, piece]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_one_owner_does_not_fill_redis(q, way):
    """Whatever he repeats: memory stays near the limit, he is told, and others go on."""
    before, refused = memory(q), False
    for i in range(600):
        refused = refused or way(q, i)
    assert memory(q) - before < LIMIT + SLACK
    assert refused == (way in (notified, piece)), "of the others something older can go"
    assert q.submit(owner="u2") and q.recorded_once(owner="u2")
    assert q.audit() == []


def test_a_refusal_says_how_much_and_until_when(q):
    fill(q)
    assert q.answer[0] == QUOTA
    q.submit()
    code, id, status, wait, _, used, most = q.answer
    assert (code, id, status, most) == (QUOTA, "", "", MIB) and used == q.used() > MIB
    assert 3600000 <= wait <= 2 * 3600000, "until the light ones are dropped"
    assert q.submit(owner="u2", key="k") and q.recorded_once(owner="u2", key="l")


def test_what_ends_is_never_refused(q):
    id, key = q.submit(key="first"), q.submit(key="second")
    q.lease(count=2)
    assert q.started(id) == q.started(key) == OK
    fill(q)
    assert q.submit(key="first") is None and q.answer[:2] == [1, id], "keys stand before the quota"
    assert q.update(id, kind="L", message='"still here"') == OK
    assert q.end(id, text=text(100000)) == q.fail(key) == OK
    assert q.get(id)["result"] == text(100000) and q.codes(id) == "ASLC"
    assert q.audit() == []


def test_what_is_dropped_counts_no_more(q):
    """Hours pass: nothing is told of what expired."""
    fill(q)
    q.set_row("u1", hour=q.row()["hour"] - 3)
    assert q.submit(), "the light ones' slot is in the past"
    assert q.used() < MIB / 2


def test_a_dropped_log_counts_no_more(q):
    """Nor once it has begun anew, in the same hour."""
    q.recorded_once()
    assert q.row()["logged"] > 0
    q.ages(25 * 3600000)
    q.sweep()
    assert q.keys("e:*") == [] and q.row()["logged"] == 0
    q.recorded_once()
    assert q.audit() == []


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
    mended = q.repair()
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


def test_the_oldest_lose_what_they_left_before_anything_is_refused(q):
    """Audio first, then arguments and results; their records stay."""
    ids = []
    for i in range(50):
        ids.append(q.run(args=text(1000)))
        q.update(ids[-1], message='"m"')
        assert q.end(ids[-1], text=text(50000)) == OK
    stream = q.submit(stream=True)
    q.call("audio_append", "u1", stream, 0, bytes(MIB))
    q.cancel(stream)
    while q.used() <= LIMIT:
        ids.append(q.run())
        assert q.end(ids[-1], text=text(50000)) == OK
    assert q.cancel(q.submit())[0] == OK and q.redis("EXISTS", f"{PREFIX}a:{stream}") == 0, "it was large enough"
    assert q.get(stream)["dropped"] == "u" and q.get(ids[0])["dropped"] == "" and q.audit() == []
    while q.used() <= LIMIT:
        ids.append(q.run())
        assert q.end(ids[-1], text=text(50000)) == OK
    assert q.submit() and q.used() <= LIMIT
    first, last = q.get(ids[0]), q.get(ids[-1])
    assert set(first["dropped"]) == set("arm") and (first["result"], first["omitted"], first["message"]) == ("", "1", "")
    assert first["status"] == "completed" and (last["dropped"], last["result"]) == ("", text(50000))
    assert q.audit() == []


def test_who_keeps_too_much_goes_on_while_something_can_go(q):
    for i in range(400):
        assert not cancelled(q, i), i
        assert not light_result(q, i), i
    assert memory(q) < LIMIT + SLACK and q.audit() == []


def test_what_was_dropped_cannot_be_retried(q):
    first = q.submit(args=text(40000))
    q.cancel(first)
    for i in range(120):
        cancelled(q, i)
    assert "a" in q.get(first)["dropped"]
    assert q.retry(first) is None and q.answer == [INPUT_GONE]


def reads(q):
    """How often entries of lists and indexes were read."""
    return sum(int(line.split("calls=")[1].split(",")[0]) for line in q.redis("INFO", "commandstats").splitlines()
               if line.startswith(("cmdstat_lrange:", "cmdstat_zrange:")))


def test_what_can_go_is_looked_for_once(q):
    """Who has nothing left costs no more than others, until something of his ends."""
    while large := q.submit(args=text(45000), delay=DAY * 1000):
        last = large
    assert q.answer[0] == QUOTA and q.submit() is None
    before = reads(q)
    assert q.submit() is None and q.recorded_once() is None and reads(q) == before
    q.cancel(last)
    assert q.submit() and q.get(last)["dropped"] == "a" and q.audit() == []
