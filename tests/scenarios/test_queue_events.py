# SPDX-License-Identifier: MIT
"""Events: the owner's log, who is told, replay; lists, snapshots and figures."""
import json
import time

import pytest

from queue_lib import HEAVY_MS, LIGHT_MS, NET_MS, OK, event, lines_of, new_id, once
from taskhub import eventually


def test_seq_is_contiguous_and_a_call_writes_a_log_once(q):
    ids = [q.submit() for _ in range(3)]
    q.lease(count=3)
    for report in (["s"], ["C", ""]):
        q.redis("CONFIG", "RESETSTAT")
        q.call("report", HEAVY_MS, LIGHT_MS, *[word for id in ids for word in (id, 1, *report)])
        assert "cmdstat_rpush:calls=1," in q.redis("INFO", "commandstats")
    assert [seq for seq, _, _ in q.log()] == list(range(1, 10))
    assert "".join(code for _, code, _ in q.log()) == "AAASSSCCC"
    assert q.redis("LLEN", "th:{0}:e:u1") == 9
    assert q.row()["seq"] == 9


def test_replay_pages_within_an_entry(q):
    for _ in range(3):
        q.many_once(["u1"] * 5, '{"n":1}')
    seen, after, more = [], 0, 1
    while more:
        head, more, events = q.replay(after=after, count=4)
        seen += [int(e["seq"]) for e in events]
        after = seen[-1]
    assert head == 15 and seen == list(range(1, 16))
    assert q.replay(after=15) == (15, 0, [])
    assert q.replay(after=7, count=1)[2][0]["seq"] == "8"


def test_replay_has_results_and_errors(q):
    done, bad = q.recorded_once(result='{"n":1}'), q.recorded_once(failed=True)
    big = q.run()
    q.end(big, text='{"x":"' + "y" * 20000 + '"}')
    small = q.run()
    q.end(small, text='{"x":"' + "y" * 200 + '"}')
    outcomes = {e["entry"].split()[2]: e["outcome"] for e in q.replay()[2] if e["entry"][0] in "CX"}
    assert outcomes[done] == [1, '{"n":1}']
    assert outcomes[bad] == [1, "oops", '"it broke"']
    assert outcomes[big] == [0]
    assert outcomes[small][0] == 1 and len(outcomes[small][1]) > 200


def test_the_log_is_trimmed_and_a_gap_shows(q):
    for _ in range(170):
        q.many_once(["u1"] * 64)
    head, _, events = q.replay(after=0, count=5)
    assert head == 170 * 64
    first = int(events[0]["seq"])
    assert head - 10000 - 256 < first <= head - 10000 + 1  # trimmed now and then
    assert 10000 <= q.redis("LLEN", "th:{0}:e:u1") < 10000 + 256
    assert q.redis("LLEN", "th:{0}:lc:u1") <= 1000 + 256


def test_only_listeners_are_told(q):
    channels = mine, others = q.subscribe("hub:h:one/aaaaaa"), q.subscribe("hub:h:two/aaaaaa")
    id = q.submit()
    assert q.caused == []
    other = q.as_("h:two")
    q.attach()
    second = q.submit()
    assert q.caused == []  # the calling hub builds what it submits itself
    assert q.cancel(second)[0] == OK
    [[owner, line]] = q.caused
    assert owner == "u1" and event(line)["code"] == "K"
    other.attach()
    third = q.submit()
    [[owner, line]] = lines_of(others.read()[2])
    told = event(line)
    assert (owner, told["seq"], told["code"], told["id"]) == ("u1", 4, "A", third)
    w = q.as_("w:one")
    w.lease(count=3)
    w.started(id)
    for channel in channels:
        [[owner, line]] = lines_of(channel.read()[2])
        assert owner == "u1" and (event(line)["code"], event(line)["id"]) == ("S", id)
    assert w.caused == []
    q.submit(owner="u2")
    other.call("detach", "u1")
    assert q.cancel(third)[0] == OK
    for name, channel in (("one", mine), ("two", others)):
        q.redis("PUBLISH", f"th:{{0}}:hub:h:{name}/aaaaaa", "end")
        assert channel.read()[2] == "end"
        channel.close()


def test_a_message_names_the_owner_of_each_line(q):
    hub, w = q.as_("h:two"), q.as_("w:one")
    channel = q.subscribe("hub:h:two/aaaaaa")
    owners = ["u1", "u2", "u4@example.org", "u1", "u1", "u2"]
    for owner in set(owners):
        hub.attach(owner)
    ids = [new_id(owner=owner) for owner in owners]
    w.call("recorded_once", LIGHT_MS, "", *[word for id, owner in zip(ids, owners) for word in once(id, owner)])
    told = [(owner, event(line)["id"]) for owner, *lines in lines_of(channel.read()[2]) for line in lines]
    assert told == list(zip(owners, ids))
    channel.close()


def test_a_listener_that_is_gone_is_forgotten(q):
    q.as_("h:two").attach()
    assert q.row()["hubs"] == " h:two/aaaaaa "
    q.submit()
    assert q.row()["hubs"] == ""


def test_a_publish_that_nobody_hears_changes_every_row_of_the_call(q):
    old, new = q.as_("h:two", "old111"), q.as_("h:two", "new222")
    channel = q.subscribe("hub:h:two/new222")
    owners = ("u1", "u2", "u3")
    for owner in owners:
        old.attach(owner)
        new.attach(owner)
    q.many_once(owners[:2])
    assert [q.row(owner)["hubs"] for owner in owners] == [
        " h:two/new222 ", " h:two/new222 ", " h:two/old111 h:two/new222 "]
    assert [part[0] for part in lines_of(channel.read()[2])] == ["u1", "u2"]
    q.submit(owner="u2")
    assert [part[0] for part in lines_of(channel.read()[2])] == ["u2"]
    channel.close()


def test_attach_drops_dead_hubs_and_keeps_live_ones(q):
    q.as_("h:two").attach()
    q.as_("h:dead").attach()
    q.redis("ZADD", "th:{0}:hs", 1, "h:dead")
    epoch, head, entry = q.attach()
    assert sorted(q.row()["hubs"].split()) == ["h:one/aaaaaa", "h:two/aaaaaa"]
    assert q.attach() == [epoch, head, entry]


def test_the_admin_feed_only_while_it_is_watched(q):
    channel = q.subscribe("adm")
    q.submit()
    q.call("watch")
    q.recorded_once(result='{"n":1}')
    [[owner, line]] = lines_of(channel.read()[2])
    told = event(line)
    assert (owner, told["seq"], told["code"], told["r"]) == ("u1", 2, "C", '{"n":1}')
    channel.close()


def test_lines_carry_what_the_body_is_made_of(q):
    q.attach()
    id = q.run()
    q.update(id, percent=5, stage="s", message='"m \\"x\\""', meta='{"a":[1]}')
    told = event(q.caused[0][1])
    assert (told["seq"], told["rev"], told["progress"], told["stage"]) == (0, 2, 5, "s")
    assert told["m"] == '"m \\"x\\""' and told["t"] == '{"a":[1]}'
    assert abs(told["at"] - time.time() * 1000) < 60000
    q.end(id, text='{"x":"' + "y" * 20000 + '"}')
    told = event(q.caused[0][1])
    assert "o" in told and "r" not in told
    q.fail(q.run())
    told = event(q.caused[0][1])
    assert (told["c"], told["e"]) == ("oops", '"it broke"') and "r" not in told


def test_notifications_once_per_id(q):
    q.attach()
    body = '{"user_id":"u1","id":"n1","title":"T","at":"x"}'
    assert q.call("notify", "u1", "n1", body) == 0
    [[owner, line]] = q.caused
    assert owner == "u1" and line.startswith("=1 0 N 0 - ")
    assert event(line)["b"] == body
    q.call("notify", "u1", "n1", body)
    assert q.caused == []
    q.call("notify", "u1", "n2", body)
    events = q.replay()[2]
    assert [e["entry"][0] for e in events] == ["N", "N"] and events[0]["text"] == body


def mixed(q, n=60):
    """Tasks of every status and kind; id -> status."""
    tasks = {}
    for i in range(n):
        kind = i % 6
        if kind == 0:
            tasks[q.recorded_once()] = "completed"
        elif kind == 1:
            tasks[q.recorded_once(failed=True)] = "failed"
        elif kind == 2:
            tasks[q.submit(delay=100000)] = "pending"
        else:
            id = q.run()
            tasks[id] = {3: "processing", 4: "completed", 5: "cancelled"}[kind]
            if kind == 4:
                q.end(id)
            elif kind == 5:
                q.cancel(id)
                q.end(id)
    return tasks


def pages(q, **filters):
    ids, cursor = [], ""
    while True:
        page, cursor, _ = q.list(cursor=cursor, **filters)
        ids += page
        if not cursor:
            return ids


@pytest.mark.parametrize("limit", [1, 7, 200])
def test_lists_name_every_task_once(q, limit):
    tasks = mixed(q)
    assert sorted(pages(q, limit=limit)) == sorted(tasks)
    assert sorted(pages(q, owner="", limit=limit)) == sorted(tasks)
    for status in ("pending", "processing", "completed", "failed", "cancelled"):
        want = sorted(id for id, s in tasks.items() if s == status)
        assert sorted(pages(q, status=status, limit=limit)) == want
        assert sorted(pages(q, owner="", status=status, limit=limit)) == want
    assert pages(q, owner="u2", limit=limit) == []
    assert sorted(pages(q, task="noop", limit=limit)) == sorted(
        id for id in tasks if q.get(id)["task"] == "noop")


def test_lists_are_newest_first_and_filtered_by_time(q):
    ids = []
    for i in range(9):
        ids.append(q.submit() if i % 2 else q.recorded_once())
        last = int(q.get(ids[-1])["created"])
        eventually(lambda: int(time.time() * 1000) > last)  # the next one is a millisecond younger
    assert pages(q, limit=4) == ids[::-1]
    created = int(q.get(ids[4])["created"])
    assert pages(q, since=created) == ids[:3:-1]
    assert pages(q, until=created) == ids[4::-1]


def test_totals(q):
    tasks = mixed(q)
    want = {s: list(tasks.values()).count(s) for s in ("pending", "processing", "completed", "failed", "cancelled")}
    assert q.list(limit=1)[2] == want
    assert q.list(owner="", limit=1)[2] == want


def test_a_page_looks_at_a_bounded_number_of_entries(q):
    q.delayed_limit = 5000
    for _ in range(1500):
        q.submit(delay=100000)
    page, cursor, _ = q.list(task="other", limit=10)
    assert page == [] and cursor
    assert q.list(task="other", limit=10, cursor=cursor)[:2] == ([], "")


def test_light_tasks_of_a_type_are_found_behind_many_others(q):
    wanted = [q.recorded_once(task="rare") for _ in range(3)]
    for _ in range(4):
        q.many_once(["u1"] * 100)
    assert q.list(task="rare", limit=10)[:2] == (wanted[::-1], "")


def test_snapshot_has_all_active_and_the_newest_ended(q):
    tasks = mixed(q, 60)
    rows = q.snapshot(count=40)
    active = [id for id, status in tasks.items() if status in ("pending", "processing")]
    assert len(rows) == 40
    assert {r["id"] for r in rows[:20]} == set(active)
    ended = [id for id in tasks if id not in active]
    assert {r["id"] for r in rows[20:]} <= set(ended)


def test_optional_parts_of_a_list_are_bounded(q):
    for _ in range(10):
        id = q.run()
        q.update(id, message='"' + "m" * 400 + '"', meta='{"x":"' + "y" * 3000 + '"}')
        q.end(id, text='{"x":"' + "y" * 9000 + '"}')
    *_, rows, _cost = q.call("list", "u1", "", "", -1, -1, "", 50, 30000)
    size = sum(len(word) for row in rows for word in row if isinstance(word, str))
    assert len(rows) == 10 and size < 36000
    assert [row[20] for row in rows].count("1") >= 7


def test_stats_and_workers(q):
    tasks = mixed(q)
    q.as_("w:one").beat(info='{"slots":4}')
    q.beat()
    _, totals, active, queues, delayed, leased, workers, _, failed, days = q.call("stats")
    assert active == list(tasks.values()).count("processing")
    assert (delayed, leased, workers, failed) == (10, 10, 1, 10)
    assert queues == ["default", 0, "live", 0, "light", 0]
    fields = dict(zip(days[0][1][::2], days[0][1][1::2]))
    assert (fields["done:completed"], fields["done:failed"], fields["done:cancelled"]) == ("20", "10", "10")
    assert totals[:2] == [10, 10]
    rows = q.call("workers")[1]
    assert {row[0]: row[2:] for row in rows} == {"w:one": [1, '{"slots":4}'], "h:one": [1, "{}"]}


def test_a_worker_that_is_silent_leaves_the_list(q):
    q.as_("w:one").beat()
    q.redis("ZADD", "th:{0}:ws", 1, "w:one")
    assert q.call("workers")[1][0][2] == 0
    q.beat()
    assert [row[0] for row in q.call("workers")[1]] == ["h:one"]
    assert q.redis("HGET", "th:{0}:wi", "w:one") is None


def test_light_records_go_with_the_list(q):
    first = q.recorded_once()
    for _ in range(20):
        q.many_once(["u1"] * 64)
    assert q.get(first) == 5
    page = q.list(limit=200)[0]
    assert len(page) == 200
    kept = sum(q.redis("HLEN", key) for key in q.keys("tl:*"))
    assert kept <= 1000 + 64
    assert all(LIGHT_MS < q.redis("PTTL", key) <= LIGHT_MS + NET_MS + 5000 for key in q.keys("tl:*"))


def test_functions_that_only_read_are_marked(q):
    functions = q.redis("FUNCTION", "LIST")[0][5]
    flags = {f[1][4:]: f[5] for f in functions}
    assert {name for name, f in flags.items() if f == ["no-writes"]} == {
        "get", "list", "snapshot", "why", "stats", "workers", "replay", "audio_read", "audit", "revocations",
        "audit_places"}
    assert {"submit", "recorded_once", "retry", "notify", "audio_append"} <= {name for name, f in flags.items() if f == []}


def test_every_key_has_the_prefix(q):
    mixed(q)
    q.attach()
    q.beat()
    q.submit(key="k", expires=100000)
    assert q.redis("DBSIZE") == len(q.keys())
