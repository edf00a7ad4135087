# SPDX-License-Identifier: MIT
"""How the data set knows which Redis wrote to it and how often, and that a new epoch is made once."""
from queue_lib import HEAVY_MS, LIGHT_MS, PREFIX, library


def number(q):
    """Of the newest call that wrote, as it is stored."""
    notes = [q.redis("HGET", PREFIX + "o", field) for field in q.redis("HKEYS", PREFIX + "o") if field.startswith("#")]
    return max(int(value or 0) for value in (q.redis("HGET", PREFIX + "g", "writes"), *notes))


def test_each_call_that_writes_is_counted(q):
    q.submit()
    for count, work in enumerate((q.submit, q.recorded_once, lambda: q.lease(count=2), q.beat, q.recorded_once,
                                  lambda: q.call("tick", HEAVY_MS, LIGHT_MS)), 2):
        work()
        assert q.writes == count == number(q)
    for work in (q.list, q.snapshot, q.replay):
        work()
        assert number(q) == count


def test_what_a_server_began_with_is_noted_once(q):
    q.submit()
    run = q.redis("INFO", "server").split("run_id:")[1][:8]
    assert q.server == run + "0" == q.redis("HGET", PREFIX + "g", "server")
    q.redis("FUNCTION", "LOAD", "REPLACE", library())
    q.submit()
    assert (q.writes, q.server) == (2, run + "0")
    q.redis("HSET", PREFIX + "g", "server", "012345671", "writes", 7)  # another server had the data set meanwhile
    q.submit()
    assert (q.writes, q.server) == (8, run + "7")


def test_a_server_gets_one_new_epoch(q):
    first, *_ = q.attach()
    before = q.server
    assert q.call("renew", before, "one") == first  # the first epoch is of this server, too
    q.redis("HSET", PREFIX + "g", "server", "012345671")
    q.submit()
    assert q.call("renew", before, "two") == first  # this server is another one
    assert q.call("renew", q.server, "three") == "three"
    assert q.call("renew", q.server, "four") == "three" == q.as_("w:one").call("renew", q.server, "five")
    assert q.attach()[0] == "three" == q.call("tick", HEAVY_MS, LIGHT_MS)[4]


def test_a_loss_is_told_although_the_next_server_has_begun(q):
    q.attach()
    q.redis("HSET", PREFIX + "g", "server", "012345671")
    q.submit()
    second = q.server
    q.redis("HSET", PREFIX + "g", "server", "123456781")
    q.submit()
    assert q.server != second and q.call("renew", second, "one") == "one"
    assert q.call("renew", second, "two") == "one" == q.as_("w:one").call("renew", q.server, "three")
