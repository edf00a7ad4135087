# SPDX-License-Identifier: MIT
"""Each fast path of the functions against its plain one, on the same random input: what stands in the end is the same,
up to the events that are meant to differ."""
import itertools
import random

import pytest

from queue_lib import LIGHT_MS, LOST, NET_MS, OK, PREFIX, Queue, answers_of, ids_of_one_time, key_of, new_id, runs_of

ROUNDS = 60


def record(q, id, kind):
    """A record as its fields; times of this call and what tells the two tasks apart are taken out."""
    text = q.redis("HGET", f"{PREFIX}{kind}:{id[:10]}", id)
    fixed, args, state, *result = text.split("\n")
    owner, task, flags, _, *way = fixed.split(" ")
    status, attempt, fence, holder, progress, _, rev, began, ended, updated, *letters = state.split(" ")
    letters = {pair[0]: pair[0] in "zX" or pair[2:] for pair in letters if pair}
    if "y" in letters:
        letters["y"] = sorted(letters["y"])
    return {"task": task, "flags": flags, "way": way, "args": args, "status": status, "attempt": attempt,
            "fence": fence, "holder": holder, "progress": progress, "rev": rev, "began": bool(began),
            "ended": bool(ended), "updated": bool(updated), "letters": letters, "result": result}


def row(q, id, owner):
    task = q.get(id, owner)
    return {name: bool(value) if name in ("created", "started", "ended", "updated") else value
            for name, value in task.items() if name not in ("id", "owner", "seq")}


def lists(q, id, owner):
    """Where a task is listed: names of indexes and lists, for its owner and for all."""
    found = [key for key in ("i", f"i:{owner}") if q.redis("ZSCORE", PREFIX + key, id)]
    for kind in "cxk":
        found += [key for key in (f"l{kind}:{owner}", f"gl{kind}")
                  if id in (entry[:36] for entry in q.redis("LRANGE", PREFIX + key, 0, -1))]
    return [key.replace(owner, "OWNER") for key in found]


def days(q):
    fields = q.redis("HGETALL", q.keys("day:*")[0])
    return {name: int(value) for name, value in zip(fields[::2], fields[1::2]) if name != "run_ms"}


def text_of(rng, small, large):
    size = rng.choice([0, 0, 2, small, small, large])
    return "" if size == 0 else "{}" if size == 2 else '{"x":"%s"}' % (chr(rng.randrange(97, 123)) * (size - 8))


def run_plain(q, id, failed, args, result, key):
    """Submitted as leased, started and ended, as a hub does with what must stand first."""
    q.submit("u2", "noop", "light", args, key, light=True, lease=True, base=1000, cap=60000, id=id)
    if failed:
        return q.end(id, 1, "X", "s", '"it broke"', "oops")
    return q.end(id, 1, "C", "s", result)


def check_once(q, rng):
    once_id, plain_id = ids_of_one_time(2, ("u1", "u2"))
    failed, key = rng.random() < .3, rng.choice(["", "k%d" % rng.randrange(10 ** 9)])
    args, result = text_of(rng, 100, 300), text_of(rng, 100, rng.choice([300, 5000]))
    before = days(q) if q.keys("day:*") else {}
    assert q.recorded_once("u1", result, failed, args, once_id, key=key) == once_id
    between = days(q)
    assert run_plain(q, plain_id, failed, args, result, key) == OK
    after = days(q)
    gain = [{name: b.get(name, 0) - a.get(name, 0) for name in b if b.get(name, 0) != a.get(name, 0)}
            for a, b in ((before, between), (between, after))]
    assert gain[0] == gain[1]
    short, plain = record(q, once_id, "tl"), record(q, plain_id, "tl")
    if not failed:  # of a task that went well at once arguments are not kept
        plain["args"], plain["letters"] = "", {k: v for k, v in plain["letters"].items() if v != ["a"]}
        if "y" in plain["letters"]:
            plain["letters"]["y"] = [letter for letter in plain["letters"]["y"] if letter != "a"]
        if len(args) > 200:
            rest = int(plain["letters"].pop("B")) - len(args) - 100
            plain["letters"].update({"B": str(rest)} if rest else {})
    elif args == "{}":
        short["args"] = plain["args"]
    assert short == plain
    assert row(q, once_id, "u1") == row(q, plain_id, "u2")
    assert lists(q, once_id, "u1") == lists(q, plain_id, "u2") == (["lx:OWNER", "glx"] if failed else ["lc:OWNER", "glc"])
    assert (q.codes(once_id, "u1"), q.codes(plain_id, "u2")) == (("X", "AX") if failed else ("C", "AC"))
    for kind in ("args", "res", "err"):
        keys = [f"{PREFIX}{kind}:{id}" for id in (once_id, plain_id)]
        if kind != "args" or failed:
            assert q.redis("EXISTS", keys[0]) == q.redis("EXISTS", keys[1])
        assert LIGHT_MS < q.redis("PTTL", keys[0]) <= LIGHT_MS + NET_MS or not q.redis("EXISTS", keys[0])
    if key:
        stands, plain = q.key("u1", key), q.key("u2", key)
        assert stands[1:] == (once_id, "X" if failed else "") and plain == (stands[0], plain_id, stands[2])
        assert q.recorded_once("u1", key=key, args=args) is None and q.recorded_once("u2", key=key, args=args) is None


def test_recorded_once_or_step_by_step(q):
    rng = random.Random(20261130)
    for _ in range(ROUNDS):
        check_once(q, rng)
    assert q.audit() == []


def random_calls(rng):
    """Light tasks for some calls, of which no two of a call have one key. In every other one all keys are new."""
    calls = []
    for number in range(12):
        keys, tasks = iter(rng.sample(range(150), 100)), []
        for _ in range(20):
            owner, failed = rng.choice("aaaaaaabc"), rng.random() < .1
            ended = 'oops\n"x"\n' if failed else rng.choice(["", "", '{"n":1}', '{"x":"%s"}' % ("x" * 5000)])
            names = [str(key + number % 2 * 1000 * number) if key < 60 else "" for key in itertools.islice(keys, 5)]
            tasks += [(new_id(owner=owner), owner, ended, "X" if failed else "C", "noop", name) for name in names]
        calls.append(tasks)
    return calls


def test_many_in_one_call_or_each_in_its_own():
    """A call of many leaves what as many calls leave: same rows, same lists, same logs; an owner's events pass 1,000."""
    rng, stands, waiting = random.Random(7), [], [new_id(owner="a") for _ in range(600)]
    calls = random_calls(rng)
    for at_once in (True, False):
        q, answers = Queue(), []
        try:
            for id in waiting:
                q.submit("a", id=id)
            for tasks in calls:
                for part in [tasks] if at_once else [[task] for task in tasks]:
                    words, counts = runs_of(part)
                    keys = [key_of(id, owner, "noop", key) for id, owner, *_, key in part]
                    answers += answers_of(q.call("recorded_once", LIGHT_MS, b"".join(keys), *words), counts)
            ended = sum(calls, [])
            stands.append((answers, [q.log(owner) for owner in "abc"], [lists(q, id, o) for id, o, *_ in ended],
                           [answer if isinstance(answer, list) else record(q, id, "tl")
                            for answer, (id, *_) in zip(answers, ended)], q.audit()))
        finally:
            q.close()
    assert stands[0] == stands[1] and stands[0][-1] == []
    assert len(stands[0][1][0]) > 1000


def reports_of(rng):
    """Words of a report that says all of a task, from start to end; most are plain ones that take the short way."""
    progress = []
    if rng.random() < .7:
        progress = [rng.randrange(101), rng.choice(["", "", "work"]), rng.choice(["", "", "", '"hi"']),
                    rng.choice(["", "", "", '{"a":1}']), 2 * rng.randrange(1, 9), "=line"]
    kind = rng.choice("CCCCXK")
    return progress, kind, text_of(rng, 100, 300) if kind == "C" else '"it broke"' if kind == "X" else ""


@pytest.mark.parametrize("seed", range(3))
def test_one_report_or_several(q, seed):
    """An attempt that is reported once as a whole takes a shorter way (end_whole) than one reported step by step."""
    rng = random.Random(seed)
    for _ in range(ROUNDS):
        whole, steps = ids_of_one_time(2, ("u1", "u2"))
        options = {"args": text_of(rng, 100, 300), "key": rng.choice(["", "", "", str(rng.random())]),
                   "expires": rng.choice([0, 0, 0, 60000])}
        for id, owner in ((whole, "u1"), (steps, "u2")):
            q.submit(owner, id=id, **options)
        assert sorted(task["id"] for task in q.lease(count=2)) == sorted((whole, steps))
        progress, kind, text = reports_of(rng)
        code = [] if kind == "C" else ["oops" if kind == "X" else ""]
        cancelled = rng.random() < .1
        if cancelled:  # of a running task
            for id, owner in ((whole, "u1"), (steps, "u2")):
                q.started(id)
                q.cancel(id, owner)
        assert q.report(whole, 1, "s" + "p" * bool(progress) + kind, *progress, text, *code) == OK
        assert q.started(steps) == OK
        assert not progress or q.report(steps, 1, "p", *progress) == OK
        assert q.end(steps, 1, kind, "", text, *code) == OK
        assert record(q, whole, "t") == record(q, steps, "t")
        assert row(q, whole, "u1") == row(q, steps, "u2")
        assert lists(q, whole, "u1") == lists(q, steps, "u2")
        assert q.codes(whole, "u1").replace("S", "") == q.codes(steps, "u2").replace("S", "")
        assert q.end(whole) == q.end(steps) == LOST
    assert q.audit() == []
