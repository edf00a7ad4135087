# SPDX-License-Identifier: MIT
"""The list of revoked tokens, as Redis keeps it: numbers, pages, and what goes when its time has come."""


def test_pages_by_number(q):
    assert q.call("revocations", 0, 3)[1:] == [0, 0], "nothing yet"
    assert [q.call("revoke", f"t {i} 9", 9_000_000_000, "word") for i in range(7)] == [1, 2, 3, 4, 5, 6, 7]
    epoch, newest, upto, *entries = q.call("revocations", 0, 3)
    assert (epoch, newest, upto, entries) == ("word", 7, 3, ["t 0 9", "t 1 9", "t 2 9"])
    assert q.call("revocations", 3, 3)[1:] == [7, 6, "t 3 9", "t 4 9", "t 5 9"]
    assert q.call("revocations", 6, 3)[1:] == [7, 7, "t 6 9"]
    assert q.call("revocations", 7, 3)[1:] == [7, 7]
    assert q.call("revoke", "t 2 9", 9_000_000_000, "other") == 8, "again: it is news again"
    assert q.call("revocations", 6, 3) == ["word", 8, 8, "t 6 9", "t 2 9"]


def test_what_is_over_goes(q):
    for i in range(5):
        q.call("revoke", f"t {i} 1", 1, "word")
    assert q.call("revoke", "t new 9", 9_000_000_000, "word") == 6
    assert q.call("revocations", 0, 10) == ["word", 6, 6, "t new 9"], "of the others nothing is left"
    assert sum(q.redis("ZCARD", key) for key in ("th:{0}:dn", "th:{0}:dx")) == 2
