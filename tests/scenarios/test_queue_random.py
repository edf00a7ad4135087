# SPDX-License-Identifier: MIT
"""Thousands of random transitions by several hubs and workers, some of which die, against the invariants. The
seeds are fixed; TASKHUB_RANDOM_SEED runs another one."""
import os
import random

import pytest

from queue_lib import DUPLICATE, FORBIDDEN, INPUT_GONE, LOST, MISMATCH, OK, STATE, Queue, new_id
from taskhub import eventually

SEEDS = [int(os.environ["TASKHUB_RANDOM_SEED"])] if "TASKHUB_RANDOM_SEED" in os.environ else range(1, 7)
OWNERS = ["u1", "u2", "u3", "u4@example.org"]
STEPS = 1500
TERMINAL = {"C": "completed", "X": "failed", "K": "cancelled"}


class Run:
    """The model: what was accepted, what is held by whom, which cancels were acknowledged."""

    def __init__(self, queue, seed):
        self.q, self.rng = queue, random.Random(seed)
        self.q.limits, self.q.delayed_limit = (12, 40), 6
        self.accepted = {}  # id -> owner
        self.cancelled = set()
        self.leases = set()  # (id, fence)
        self.passed = False  # a day
        self.keyed = {}  # (owner, key) -> (id, arguments)
        self.processes = [self.process(name) for name in ("h:one", "h:two", "w:one", "w:two", "w:three")]

    def process(self, name):
        p = self.q.as_(name, "%06x" % self.rng.getrandbits(24))
        p.lease_ms = self.rng.choice([1, 20, 15000])
        p.held = {}  # id -> (fence, started)
        return p

    def worker(self):
        return self.rng.choice(self.processes)

    def hub(self):
        return self.processes[self.rng.randrange(2)]

    def id(self, owner="u1"):
        return new_id(self.rng, owner)

    def known(self):
        return self.rng.choice(list(self.accepted)) if self.accepted else self.id()

    # The steps.

    def submit(self):
        rng, hub, owner = self.rng, self.hub(), self.rng.choice(OWNERS)
        light = rng.random() < .2
        lease = light and rng.random() < .5
        args, key = self.args_and_key()
        id = hub.submit(owner=owner, id=self.id(owner), queue="light" if light else rng.choice(["default", "live"]),
                        args=args, light=light, lease=lease, waits=not lease and rng.random() < .1,
                        key=key, priority=rng.randrange(10),
                        delay=0 if lease else rng.choice([0, 0, 0, 5, 40]), expires=rng.choice([0, 0, 0, 3, 50]),
                        stream=not light and rng.random() < .2, max_attempts=rng.choice([1, 2, 3]),
                        base=rng.choice([0, 5, 20]), cap=30)
        self.check_key(hub, owner, key, args, id)
        if id:
            self.accepted[id] = owner
            if lease:
                hub.held[id] = (1, False)
                self.leases.add((id, 1))

    def recorded_once(self):
        hub, owner, (args, key) = self.hub(), self.rng.choice(OWNERS), self.args_and_key()
        id = hub.recorded_once(owner=owner, id=self.id(owner), failed=self.rng.random() < .2, task="noop_heavy", args=args,
                               key=key)
        self.check_key(hub, owner, key, args, id)
        if id:
            self.accepted[id] = owner

    def args_and_key(self):
        return (self.rng.choice(["", '{"a":1}', '{"a":"' + "x" * 290 + '"}']),
                self.rng.choice(["", "", "key%d" % self.rng.randrange(30)]))

    def check_key(self, hub, owner, key, args, id):
        """A key stands for the first task that was accepted with it; limits are asked only where it is free."""
        if key and id:
            assert (owner, key) not in self.keyed
            self.keyed[owner, key] = id, args
        elif key and (owner, key) in self.keyed:
            first, same = self.keyed[owner, key]
            assert hub.answer[:2] == [DUPLICATE if same == args else MISMATCH, first]
        elif not id:
            assert hub.answer[0] in (3, 4)

    def day(self):
        """A day passes, once: the keys of tasks that ended before it still stand."""
        if self.keyed and not self.passed:
            self.passed = True
            self.q.pass_day()

    def lease(self):
        p = self.worker()
        for task in p.lease(self.rng.choice(["default", "live", "light"]), self.rng.randrange(1, 6)):
            fence = int(task["fence"])
            assert (task["id"], fence) not in self.leases and int(task["attempt"]) <= int(task["max"])
            p.held[task["id"]] = (fence, False)
            self.leases.add((task["id"], fence))

    def held(self):
        p = self.worker()
        if not p.held:
            return p, None, 0, False
        id = self.rng.choice(list(p.held))
        return p, id, *p.held[id]

    def started(self):
        p, id, fence, _ = self.held()
        if id and p.started(id, fence) == OK:
            p.held[id] = (fence, True)
        elif id:
            del p.held[id]

    def update(self):
        p, id, fence, started = self.held()
        if id:
            code = p.update(id, fence, self.rng.choice("PPpFL"), self.rng.randrange(101), "s", '"m"', '{"x":1}')
            assert code == OK or not started or self.over(p, id, fence)

    def over(self, p, id, fence):
        """The process lost this task: by its lease, a cancel, an expiry, a failed stream."""
        task = p.get(id, any=1)
        p.held.pop(id, None)
        return task["status"] != "processing" or p.beat((id, fence))[0] == [id]

    def end(self):
        p, id, fence, started = self.held()
        if id:
            kind = self.rng.choice("CCCXXKDBW")
            before = p.status(id)
            code = p.end(id, fence, kind, self.rng.choice(["", "s", "r", "sr"]), '"e"' if kind == "X" else "",
                         "code" if kind == "X" else "")
            assert code in (OK, LOST)
            assert code == LOST or before in ("pending", "processing")
            del p.held[id]

    def zombie(self):
        """A write of somebody who does not hold the task."""
        id = self.known()
        ghost = self.q.as_("w:ghost", "ghost1")
        assert ghost.end(id, 1, flags="s") == LOST
        assert ghost.started(id, 1) == LOST

    def cancel(self):
        id = self.known()
        owner = self.rng.choice(OWNERS)
        if id not in self.accepted:
            return
        code, *rest = self.hub().cancel(id, owner)
        assert (code == FORBIDDEN) == (owner != self.accepted[id])
        if code == OK:
            self.cancelled.add(id)
            assert rest[0] in ("cancelled", "processing")

    def retry(self):
        id = self.known()
        if id in self.accepted:
            hub = self.hub()
            new = hub.retry(id, self.accepted[id], new=self.id(self.accepted[id]))
            if new:
                self.accepted[new] = self.accepted[id]
            else:
                assert hub.answer[0] in (STATE, INPUT_GONE, 3, 4)

    def beat(self):
        p = self.worker()
        lost, _ = p.beat(*[(id, fence) for id, (fence, _) in p.held.items()])
        for id in lost:
            del p.held[id]

    def audio(self):
        id, hub = self.known(), self.hub()
        owner = self.accepted.get(id, "u1")
        self.rng.choice([
            lambda: hub.call("audio_append", owner, id, self.rng.randrange(4), b"abcdef"),
            lambda: hub.call("audio_end", owner, id),
            lambda: hub.call("audio_fail", 1000000, 1000000, owner, id, "idle", '"x"'),
        ])()

    def wake(self):
        self.hub().wake(*[self.known() for _ in range(20)])

    def die(self):
        """A process is killed; its successor of the same name starts."""
        i = self.rng.randrange(len(self.processes))
        self.processes[i] = self.process(self.processes[i].origin)
        if self.rng.random() < .7:
            self.processes[i].reclaim()

    def listen(self):
        hub, owner = self.hub(), self.rng.choice(OWNERS)
        if self.rng.random() < .5:
            hub.attach(owner)
        else:
            hub.call("detach", owner)

    def go(self):
        steps = [self.submit] * 8 + [self.lease] * 6 + [self.started] * 6 + [self.update] * 4 + [self.end] * 5 + [
            self.recorded_once] * 2 + [self.zombie, self.cancel, self.cancel, self.retry, self.retry, self.beat,
                               self.audio, self.audio, self.wake, self.wake, self.die, self.listen, self.q.sweep, self.day]
        for i in range(STEPS):
            self.rng.choice(steps)()
            if i % 100 == 99:
                assert self.q.audit() == [], f"after step {i}"
                before = self.q.picture()
                assert self.q.repair() == [] and self.q.picture() == before, f"after step {i}"

    def drain(self):
        """One patient worker runs what is left."""
        w = self.q.as_("w:last", "last01")
        w.lease_ms = 15000

        def step():
            w.wake(*self.accepted)
            for queue in ("default", "live", "light"):
                for task in w.lease(queue, 50):
                    w.end(task["id"], task["fence"], flags="s")
            return self.q.active() == 0
        for p in self.processes:
            self.q.as_(p.origin, "reborn").reclaim()
        eventually(step, 20, "the end of every task")

    def check(self):
        assert self.q.audit() == []
        ends = {}
        for owner in OWNERS:
            log = self.q.log(owner)
            assert [seq for seq, _, _ in log] == list(range(1, len(log) + 1))
            for _, code, id in log:
                assert self.accepted[id] == owner
                assert id not in ends, "an event behind the terminal one"
                if code in TERMINAL:
                    ends[id] = TERMINAL[code]
            row = self.q.row(owner)
            assert row is None or (row["act"], row["run"], row["later"]) == (0, 0, 0)
        assert set(ends) == set(self.accepted)
        for id in self.cancelled:
            assert ends[id] == "cancelled", id
        for (owner, key), (id, _) in self.keyed.items():
            home, first, end = self.q.key(owner, key)
            assert home != "k" and first == id and TERMINAL[end or "C"] == ends[id]
        for id, status in ends.items():
            task = self.q.get(id, any=1)
            assert task["status"] == status
        assert self.q.redis("HMGET", "th:{0}:g", "act", "run", "due") == ["0", "0", "0"]
        for key in ("q:default", "q:live", "q:light", "d", "l", "w", "x"):
            assert self.q.redis("EXISTS", "th:{0}:" + key) == 0


@pytest.mark.limit(120)
@pytest.mark.parametrize("seed", SEEDS)
def test_random_transitions_keep_the_invariants(seed):
    queue = Queue()
    try:
        run = Run(queue, seed)
        run.go()
        run.drain()
        run.check()
    finally:
        queue.close()
