# SPDX-License-Identifier: MIT
"""Audio streams, the answer to why, and a Redis that is full: on the functions themselves."""
import pytest

from queue_lib import FORBIDDEN, INPUT_GONE, LOST, OK, STATE, RedisError


def test_audio(q):
    id = q.submit(queue="live", stream=True)
    append = lambda offset, data: q.call("audio_append", "u1", id, offset, data)[0]
    assert append(0, b"\x00\xff\x01") == [OK, "3", 0]
    assert append(0, b"\x00\xff\x01") == [OK, "3", 0]
    assert append(2, b"\x01\xfe") == [OK, "4", 0]
    assert append(9, b"gap") == [OK, "4", 0]
    read = lambda offset, n: q.call("audio_read", "u1", id, offset, n)
    def text(parts):
        return b"".join(p if isinstance(p, bytes) else p.encode() for p in parts[3:])
    assert text(read(0, 100)) == b"\x00\xff\x01\xfe"
    assert text(read(1, 2)) == b"\xff\x01"
    assert read(4, 10) == [OK, "4", 0]
    assert q.call("audio_take", "u2", id) == [FORBIDDEN, "0", 0]
    assert q.call("audio_end", "u1", id) == [OK, "4", 1]
    assert q.call("audio_end", "u1", id) == [OK, "4", 1]
    assert append(4, b"x") == [STATE, "4", 1]
    w = q.as_("w:one")
    w.lease("live")
    w.started(id)
    assert w.end(id) == OK
    assert q.redis("EXISTS", f"th:{{0}}:a:{id}") == 0
    assert q.call("audio_take", "u1", id)[0] == STATE


def test_audio_of_many_chunks(q):
    id = q.submit(queue="live", stream=True)
    data = bytes(i * 7 % 256 for i in range(5000))
    at = 0
    for size in range(1, 99):
        q.call("audio_append", "u1", id, at, data[at:at + size])
        at += size
    for offset in (0, 1, 1000, 4000, at - 1):
        parts = q.call("audio_read", "u1", id, offset, 3000)[3:]
        got = b"".join(p if isinstance(p, bytes) else p.encode() for p in parts)
        assert got == data[offset:min(at, offset + 3000)]


def test_audio_retry_takes_the_bytes_along(q):
    id = q.submit(queue="live", stream=True)
    q.call("audio_append", "u1", id, 0, b"abc")
    w = q.as_("w:one")
    w.lease("live")
    w.started(id)
    w.fail(id)
    new = q.retry(id)
    assert q.call("audio_read", "u1", new, 0, 10) == [OK, "3", 1, "abc"]
    assert q.redis("PTTL", f"th:{{0}}:a:{new}") == -1
    assert w.lease("live")[0]["flags"] == "s"
    q.cancel(new)
    assert q.retry(id) is None and q.answer == [INPUT_GONE]
    assert q.retry(new)


def test_audio_failure_from_outside(q):
    w = q.as_("w:one")
    id = q.submit(queue="live", stream=True)
    q.call("audio_append", "u1", id, 0, b"abc")
    w.lease("live")
    w.started(id)
    control = q.subscribe("ctl:w:one/aaaaaa")
    assert q.call("audio_fail", 1000000, 1000000, "u2", id, "idle", '"x"') == FORBIDDEN
    assert q.call("audio_fail", 1000000, 1000000, "u1", id, "idle", '"x"') == OK
    assert control.read()[2] == f"cancel {id} 1"
    assert (q.get(id)["status"], q.get(id)["code"]) == ("failed", "idle")
    assert w.end(id) == LOST
    assert q.retry(id) is None and q.answer == [INPUT_GONE]
    assert q.call("audio_fail", 1000000, 1000000, "u1", id, "idle", '"x"') == STATE
    control.close()


def test_a_stream_that_no_hub_keeps_fails(q):
    w = q.as_("w:one")
    kept, lost, ended = (q.submit(queue="live", stream=True) for _ in range(3))
    q.call("audio_append", "u1", lost, 0, b"abc")
    q.call("audio_end", "u1", ended)
    w.lease("live", 3)
    w.started(lost)
    q.call("audio_keep", 60000, kept)
    q.call("audio_keep", -1, lost, ended)
    w.beat()
    assert (q.get(lost)["status"], q.get(lost)["code"]) == ("failed", "abandoned")
    assert q.redis("EXISTS", f"th:{{0}}:a:{lost}") == 0
    assert q.status(kept) == q.status(ended) == "pending"
    q.call("audio_keep", 60000, lost)
    assert q.redis("ZRANGE", "th:{0}:as", 0, -1) == [kept]
    q.cancel(kept)
    assert q.redis("EXISTS", "th:{0}:as") == 0


def cancelled_stream(q, size):
    id = q.submit(queue="live", stream=True)
    if size:
        q.call("audio_append", "u1", id, 0, bytes(size))
    q.cancel(id)
    return id


def test_what_an_owner_keeps_of_ended_streams_is_bounded(q):
    ids = [cancelled_stream(q, 20 << 20) for _ in range(5)]
    kept = [q.redis("EXISTS", f"th:{{0}}:a:{id}") for id in ids]
    assert kept == [0, 0, 1, 1, 1], "64 MiB, the newest"
    assert q.retry(ids[0]) is None and q.answer == [INPUT_GONE]
    new = q.retry(ids[4])
    assert q.redis("PTTL", f"th:{{0}}:a:{new}") == -1
    assert q.redis("ZCARD", "th:{0}:ra:u1") == 2, "what lives is not kept of an ended one"
    few = [cancelled_stream(q, 1) for _ in range(101)]
    assert q.redis("ZCARD", "th:{0}:ra:u1") == 100 and not q.redis("EXISTS", f"th:{{0}}:a:{few[0]}")
    assert q.redis("EXISTS", f"th:{{0}}:a:{few[1]}", f"th:{{0}}:a:{new}") == 2
    cancelled_stream(q, 0)
    assert q.redis("ZCARD", "th:{0}:ra:u1") == 100
    assert q.redis("PTTL", "th:{0}:ra:u1") > 0 and q.audit() == []


def test_a_stream_larger_than_that_can_be_retried(q):
    id = cancelled_stream(q, 70 << 20)
    assert q.retry(id)


def test_why(q):
    id = q.submit()
    other = q.submit()
    assert q.why(other)[3:7] == ["ready", "default", 1, 2]
    q.as_("w:one").beat(info='{"slots":2}')
    assert q.why(id)[8] == 1
    w = q.as_("w:one")
    w.lease()
    assert q.why(id)[3] == "leased" and q.why(id)[9] == "w:one"
    delayed = q.submit(delay=100000)
    assert q.why(delayed)[3] == "delayed"
    q.cancel(delayed)
    assert q.why(delayed)[3] == "ended"
    assert q.why(delayed, owner="u2") == [FORBIDDEN]


def test_a_full_redis_refuses_new_tasks_and_finishes_old_ones(q):
    id = q.run()
    q.redis("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(RedisError, match="OOM"):
        q.submit()
    with pytest.raises(RedisError, match="OOM"):
        q.recorded_once()
    assert q.update(id, percent=5) == OK
    assert q.beat((id, 1)) == ([], [])
    assert q.end(id) == OK
    assert q.get(id)["status"] == "completed"
    q.redis("CONFIG", "SET", "maxmemory", "0")
