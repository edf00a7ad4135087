# SPDX-License-Identifier: MIT
"""What the function `claim` makes of those that have a name; the same with real processes is in test_names.py."""
import pytest

from queue_lib import PREFIX
from taskhub import eventually

WAITS, TAKEN = "waits", "taken"


def claim(q, numbered=0, beaten="", *gone):
    name, *more = q.call("claim", q.lease_ms, numbered, beaten, *gone)
    return name or (TAKEN if more[0] < 0 else WAITS, more[1])


def set_beat(q, holder, ago_ms):
    """As if the holder had beaten so long ago."""
    q.redis("ZINCRBY", PREFIX + "hb", -ago_ms, holder)


def claims(q, *words):
    return eventually(lambda: claim(q, *words) == q.origin, 8, "the name is given")


def test_a_name_is_of_who_beats(q):
    one, two = q.as_("w:same", "111111"), q.as_("w:same", "222222")
    assert claim(one) == "w:same" == claim(one), "again by the same process"
    answer, beaten = claim(two)
    assert answer == WAITS
    eventually(lambda: one.beat() and claim(two, 0, beaten)[0] == TAKEN, what="a later beat")
    assert one.unnamed == 0
    assert claim(q.as_("h:same", "333333")) == "h:same", "a hub is no worker"


def test_who_closed_his_channel_and_is_silent_has_no_name(q):
    one, two = q.as_("w:same", "111111"), q.as_("w:same", "222222")
    claim(one)
    id = one.run()
    assert claim(two)[0] == WAITS
    claims(two)
    two.reclaim()
    assert q.codes(id) == "ASR" and one.beat() == ([], []) and one.unnamed == 1
    assert claim(one)[0] == WAITS
    two.beat()
    assert claim(one, 0, "1")[0] == TAKEN


@pytest.mark.parametrize("longest", [15000, 60000])
def test_an_open_channel_keeps_the_name_for_a_lease(q, longest):
    """His own, as he beats three times within it."""
    one, two = q.as_("w:same", "111111"), q.as_("w:same", "222222")
    one.lease_ms, two.lease_ms = longest, 3000
    claim(one)
    listens = one.subscribe("ctl:w:same/111111")
    set_beat(q, "w:same/111111", longest - 3000)
    assert claim(two)[0] == WAITS
    set_beat(q, "w:same/111111", 3000)
    assert claim(two) == "w:same"
    listens.close()


def test_nobody_waits_for_the_lease_of_one_who_is_gone(q):
    """A holder with a very long lease lived once, another has one now."""
    long, one, two = q.as_("w:long", "111111"), q.as_("w:same", "111111"), q.as_("w:same", "222222")
    long.lease_ms = q.as_("w:long", "222222").lease_ms = 10 ** 12
    claim(long)
    long.beat()
    claim(one)
    listens = one.subscribe("ctl:w:same/111111")
    set_beat(q, "w:same/111111", one.lease_ms - 3000)
    assert 0 < two.call("claim", 3000, 0, "")[1] <= 3000
    long.call("leave")
    assert q.redis("HKEYS", PREFIX + "hl") == ["w:same/111111"]
    set_beat(q, "w:same/111111", 3000)
    assert claim(two) == "w:same"
    listens.close()


def test_all_numbers_of_a_name_are_taken(q):
    q.call("tick", 1, 1)
    beat = int(q.redis("HGET", PREFIX + "g", "run_ms")) + 3600000
    for n in range(1, 1001):
        q.redis("ZADD", PREFIX + "hb", beat, f"w:vm{f'-{n}' if n > 1 else ''}/111111")
    assert q.as_("w:vm", "222222").call("claim", 3000, 1, "") == ["", -2, "0"]
    q.as_("w:vm-700", "111111").call("leave")
    assert claim(q.as_("w:vm", "222222"), 1) == "w:vm-700"


def test_default_names_get_numbers(q):
    assert [claim(q.as_("w:vm-1f", f"{n:06}"), 1) for n in range(3)] == ["w:vm-1f", "w:vm-1f-2", "w:vm-1f-3"]
    q.as_("w:vm-1f", "000000").call("leave")
    assert claim(q.as_("w:vm-1f", "999999"), 1) == "w:vm-1f"
    assert claim(q.as_("w:vm-1f-2", "000001"), 1) == "w:vm-1f-2", "who comes back keeps his"


def test_a_lock_outside_frees_a_name(q):
    claim(q.as_("h:one", "111111"))
    claim(q.as_("w:one-worker", "111111"))
    hub = q.as_("h:one", "222222")
    assert claim(hub, 0, "", "h:one", "w:one-worker") == "h:one"
    assert claim(q.as_("w:one-worker", "222222")) == "w:one-worker"


def test_who_has_not_beaten_since_redis_began_may_come_back(q):
    one, two = q.as_("w:same", "111111"), q.as_("w:same", "222222")
    claim(q.as_("w:first", "111111"))
    q.redis("ZADD", PREFIX + "hb", 1, "w:same/111111")
    q.redis("HSET", PREFIX + "hl", "w:same/111111", 10 ** 15)
    wait = two.call("claim", 3000, 0, "")[1]
    assert 3000 < wait <= 5000
    one.beat()
    assert one.unnamed == 0 and claim(two, 0, "1")[0] == TAKEN
