# SPDX-License-Identifier: MIT
"""The queue's functions, called as C calls them, against a private redis-server: a small RESP client, and one
method per function. Times are Redis' own, so leases and delays are made short instead of faking a clock."""
import binascii
import hashlib
import itertools
import pathlib
import random
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.parse
import uuid

from taskhub import TOP, eventually, upkeep_failures

PREFIX = "th:{0}:"
OK, DUPLICATE, MISMATCH, USER_LIMIT, GLOBAL_LIMIT, NOT_FOUND, FORBIDDEN, STATE, INPUT_GONE, LOST, QUOTA = range(11)
HEAVY_MS, LIGHT_MS = 86400000, 3600000
NET_MS = 25 * 3600000  # by how much Redis' own expiry comes later than what is kept so long


class RedisError(Exception):
    pass


class Resp:
    """A blocking connection; replies are str where they are UTF-8, else bytes."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.file = self.socket.makefile("rb")

    def send(self, *words):
        out = [b"*%d\r\n" % len(words)]
        for word in words:
            data = word if isinstance(word, bytes) else str(word).encode()
            out.append(b"$%d\r\n%s\r\n" % (len(data), data))
        self.socket.sendall(b"".join(out))

    def read(self):
        line = self.file.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            raise RedisError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            data = None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
            try:
                return data if data is None else data.decode()
            except UnicodeDecodeError:
                return data
        if kind == b"*":
            return None if rest == b"-1" else [self.read() for _ in range(int(rest))]
        raise RedisError(f"not RESP: {line!r}")

    def __call__(self, *words):
        self.send(*words)
        return self.read()

    def close(self):
        self.file.close()
        self.socket.close()


def event(line):
    """What a line of the feed says: "=seq rev code attempt id time progress task [stage]", then tab, letter, text."""
    head, *parts = line[1:].split("\t")
    seq, rev, code, attempt, id, at, progress, task, *stage = head.split(" ")
    return {"seq": int(seq), "rev": int(rev), "code": code, "attempt": int(attempt), "id": id, "at": int(at),
            "progress": int(progress), "task": task, "stage": stage[0] if stage else "",
            **{part[0]: part[1:] for part in parts}}


def lines_of(text):
    """[owner, line, …] per owner and run of lines of a message: "@owner", its lines, "@owner", …"""
    parts = []
    for line in text.split("\n"):
        if line.startswith("@"):
            parts.append([line[1:]])
        elif line:
            parts[-1].append(line)
    return parts


def leased(words):
    """What tasks/queue/attempt.c makes of the words of a lease."""
    tasks = []
    while words:
        id, record = words[:2]
        fixed, short, state, *_ = record.split("\n")
        owner, task, flags, _, _, _, most, *_ = fixed.split(" ")
        _, attempt, fence, _, _, _, rev, *_ = state.split(" ")
        apart = not short and any(word.startswith("y=") and "a" in word for word in state.split(" "))
        tasks.append({"id": id, "owner": owner, "task": task, "attempt": attempt, "fence": fence, "max": most,
                      "flags": flags[1:], "args": words[2] if apart else short, "rev": rev})
        words = words[3 if apart else 2:]
    return tasks


def code_of(answer):
    """The code of the only item, of number and code of those that went not well."""
    assert answer == [] or answer[0] == 1
    return answer[1] if answer else OK


def library():
    return "".join(p.read_text() for p in sorted((TOP / "tasks" / "queue" / "lua").glob("*.lua")))


LAST = [0]


def new_id(rng=random, owner="u1"):
    """A UUID of version 7; they rise, as those of one process do. Its lowest bits are its owner's shard."""
    LAST[0] = max(LAST[0] + 1, int(time.time() * 1000) << 12)
    last = rng.getrandbits(60) >> 10 << 10 | binascii.crc_hqx(urllib.parse.unquote_to_bytes(owner), 0) % 1024
    text = "%012x7%03x%x%015x" % (LAST[0] >> 12, LAST[0] & 0xfff, 8 + rng.getrandbits(2), last)
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def ids_of_one_time(count, owners=("u1",)):
    """Ids whose records stand in one hash, of these owners in turn."""
    ids = [new_id(owner=owners[n % len(owners)]) for n in range(count)]
    return ids if ids[0][:10] == ids[-1][:10] else ids_of_one_time(count, owners)


def effect_of(owner, key):
    """What the queue's client makes of an idempotency key."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{owner} {key}")) if key else "-"


def field_of(owner, key):
    """The field of an idempotency key."""
    return uuid.UUID(effect_of(owner, key)).bytes


def key_of(id, owner, task, key, args=""):
    """A key as a call brings it: field, id, digest of type and arguments."""
    return field_of(owner, key) + uuid.UUID(id).bytes + hashlib.md5(f"{task} {args}".encode()).digest() if key else b""


def run_of(id, owner, outcome="", code="C", task="noop", key=""):
    """What a light task that ran before it is recorded has in common with others; its id and outcome."""
    return ((owner, f"{code.lower() if key else code} {int(id[:8] + id[9:13], 16)} {id[:13]} "
             f"{task} light 4 3 1000 60000 -l"), (id, "" if outcome == "{}" else outcome))


def once(id, owner, outcome="", code="C", task="noop", key=""):
    """The words of one that shares nothing."""
    head, task = run_of(id, owner, outcome, code, task, key)
    return (*head, 1, *task)


def runs_of(tasks):
    """The words of tasks (the arguments of run_of()), and how many stand in each run, as C gathers them."""
    words, counts = [], []
    for head, run in itertools.groupby((run_of(*task) for task in tasks), lambda task: task[0]):
        run = list(run)
        counts.append(len(run))
        words += [*head, len(run), *[word for _, task in run for word in task]]
    return words, counts


def answers_of(answer, counts):
    """What each task of recorded_once() is answered: its seq, or [code, id, status, number]."""
    _time, *answers = answer
    others = {other[4]: other[:4] for other in answers[len(counts):]}
    told = []
    for seq, count in zip(answers, counts):
        for _ in range(count):
            told.append(others.get(len(told), seq))
            seq += isinstance(told[-1], int)
    return told


class Queue:
    """One redis-server with the library, and a caller: hub `h:one` unless as_() says otherwise."""

    def __init__(self, env=None):
        self.env = env
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="queue-test-"))
        self.start()
        self.origin, self.incarnation = "h:one", "aaaaaa"
        self.limits = (1000, 1000)
        self.light_limit = self.delayed_limit = 1000
        self.lease_ms = 15000
        self.caused = []
        self.revs = {}

    def start(self):
        with open(self.dir / "redis.log", "ab") as log:
            self.process = subprocess.Popen(
                ["redis-server", "--port", "0", "--unixsocket", str(self.dir / "s"), "--save", "", "--appendonly", "no"],
                cwd=self.dir, stdout=log, env=self.env)
        try:
            self.redis = eventually(self.connect, what="the connection to redis-server")
            self.redis("FUNCTION", "LOAD", "REPLACE", library())
        except Exception:
            self.process.kill()  # nobody would: there is no object yet
            raise

    def connect(self):
        try:
            return Resp(self.dir / "s")
        except OSError:
            return None

    def failures(self):
        return upkeep_failures((self.dir / "redis.log").read_text(errors="replace"))

    def close(self):
        self.redis.close()
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.dir)

    def as_(self, origin, incarnation="aaaaaa"):
        """The same data set seen by another process."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.origin, other.incarnation = origin, incarnation
        return other

    def call(self, function, *words):
        answer, lines, *more = self.redis("FCALL", "th2_" + function, 1, PREFIX, self.origin, self.incarnation, *words)
        if len(more) == 1:
            self.caused = lines
            raise RedisError(more[0])
        self.caused = lines_of(lines)
        if more:
            self.writes, self.server = more
        return answer

    def keys(self, pattern="*"):
        return self.redis("KEYS", PREFIX.replace("{", "\\{") + pattern)

    # One method per function; the names of the arguments are those of tasks/queue/queue.h.

    def submit(self, owner="u1", task="noop_heavy", queue="default", args="", key="", priority=4, delay=0, expires=0,
               light=False, stream=False, lease=False, waits=False, max_attempts=3, base=0, cap=0, id=None, retry_of=""):
        id = id or new_id(owner=owner)
        flags = "-" + ("l" if light else "") + ("s" if stream else "")
        head = f"{task} {queue} {priority} {max_attempts} {base} {cap} {flags}"
        options = f"{'u' if waits else int(lease)} {retry_of or '-'} {delay} {expires} {effect_of(owner, key)}"
        answer = self.call("submit", *self.limits, self.lease_ms, self.light_limit, self.delayed_limit,
                           key_of(id, owner, task, key, args), id, owner, head, args,
                           "" if options == "0 - 0 0 -" else options)[0]
        self.answer = answer
        return id if isinstance(answer, int) else None

    def recorded_once(self, owner="u1", result="", failed=False, args="", id=None, task="noop", key=""):
        id = id or new_id(owner=owner)
        self.answer = answers_of(self.call("recorded_once", LIGHT_MS, key_of(id, owner, task, key, args), *once(
            id, owner, f'oops\n"it broke"\n{args}' if failed else result, "X" if failed else "C", task, key)), [1])[0]
        return id if isinstance(self.answer, int) else None

    def many_once(self, owners, result=""):
        """Light tasks of one call, one per owner."""
        return self.call("recorded_once", LIGHT_MS, "", *[w for owner in owners for w in once(new_id(owner=owner), owner, result)])

    def lease(self, queue="default", count=1):
        self.next_due, *words = self.call("lease", HEAVY_MS, LIGHT_MS, queue, count, self.lease_ms)
        return leased(words)

    def report(self, id, fence, verbs, *words):
        return code_of(self.call("report", HEAVY_MS, LIGHT_MS, id, fence, verbs, *words))

    def started(self, id, fence=1):
        return self.report(id, fence, "s")

    def update(self, id, fence=1, kind="P", percent=0, stage="", message="", meta="", number=0):
        """P and p go with the line that a worker makes of them, F and L are made events by the function."""
        if kind in "FL":
            return code_of(self.call("update", id, fence, kind, meta if kind == "F" else message, number))
        rev = self.revs[id] = self.revs.get(id, 0) + 2
        line = f"=0 {rev} {kind} 1 {id} {int(time.time() * 1000)} {percent} noop_heavy {stage}".rstrip()
        line += (f"\tm{message}" if message else "") + (f"\tt{meta}" if meta else "")
        if kind == "p":
            stage = message = meta = ""
        return self.report(id, fence, "p", percent, stage, message, meta, rev, line)

    def end(self, id, fence=1, kind="C", flags="", text="", code=""):
        verbs = flags.replace("r", "") + kind + ("r" if "r" in flags else "")
        return self.report(id, fence, verbs, text, *([] if kind == "C" else [code]))

    def fail(self, id, fence=1, retry=False, code="oops"):
        return self.end(id, fence, "X", "r" if retry else "", '"it broke"', code)

    def give_back(self, id, fence=1):
        return self.end(id, fence, "B", text='"The worker was stopped."', code="worker_stopped")

    def wait(self, id, fence=1, flags=""):
        """Its runner ends the lease: the task waits for its children."""
        return self.end(id, fence, "W", flags)

    def wake(self, *ids):
        return self.call("wake", *ids)

    def reclaim(self):
        skip = 0
        while skip >= 0:
            skip = self.call("reclaim", HEAVY_MS, LIGHT_MS, skip)

    def beat(self, *items, info="{}"):
        words = [word for item in items for word in item]
        lost, cancelled, self.unnamed = self.call("beat", HEAVY_MS, LIGHT_MS, self.lease_ms, info, *words)
        return lost[::2], cancelled[::2]

    def sweep(self):
        self.call("alive", HEAVY_MS, LIGHT_MS)

    def cancel(self, id, owner="u1", any=0):
        return self.call("cancel", HEAVY_MS, LIGHT_MS, id, owner, any)

    def retry(self, id, owner="u1", any=0, new=None):
        new = new or new_id(owner=owner)
        self.answer = self.call("retry", *self.limits, self.light_limit, id, owner, any, new)
        return new if self.answer[0] == OK else None

    ROW = ("id owner task status stage progress attempt created started ended updated seq priority retry_of max result"
           " code error message meta omitted pieces pieces_omitted dropped").split()

    OWNER = ("seq", "act", "run", "touch", "kinds", "hubs", "class", "tag", "tags", "later", "hour", "living", "logged",
             "light", "heavy", "keyed", "slotted", "slots")

    def row(self, owner="u1"):
        """The owner's counters and who listens; None if there is no row."""
        values = self.redis("EVAL", "local row = redis.call('HGET', KEYS[1], ARGV[1])"
                            " return row and {cmsgpack.unpack(row)}", 1, PREFIX + "o", owner)
        return values and dict(zip(self.OWNER, values))

    def set_row(self, owner, **values):
        """Spoils an owner's row."""
        for name, value in values.items():
            self.redis("EVAL", "local row = {cmsgpack.unpack(redis.call('HGET', KEYS[1], ARGV[1]))}"
                       " row[tonumber(ARGV[2])] = tonumber(ARGV[3]) or ARGV[3]"
                       " redis.call('HSET', KEYS[1], ARGV[1], cmsgpack.pack(unpack(row)))",
                       1, PREFIX + "o", owner, self.OWNER.index(name) + 1, value)

    def used(self, owner="u1"):
        """Bytes that the owner keeps."""
        row = self.row(owner)
        return sum(row[part] for part in ("living", "logged", "light", "heavy", "keyed", "slotted")) if row else 0

    def active(self):
        return sum(self.redis("ZCARD", PREFIX + key) for key in ("q:default", "q:live", "q:light", "d", "l", "w"))

    def get(self, id, owner="u1", any=0):
        code, *row = self.call("get", id, owner, any)
        return dict(zip(self.ROW, row[0])) if row else code

    def status(self, id):
        return self.get(id, any=1)["status"]

    def list(self, owner="u1", status="", task="", since=-1, until=-1, cursor="", limit=50, budget=100000):
        _, totals, cursor, rows, _cost = self.call("list", owner, status, task, since, until, cursor, limit,
                                                   budget)
        return [row[0] for row in rows], cursor, dict(zip(
            ("pending", "processing", "completed", "failed", "cancelled"), totals))

    def snapshot(self, owner="u1", count=200, budget=100000):
        return [dict(zip(self.ROW, row)) for row in self.call("snapshot", owner, count, budget)[1]]

    def why(self, id, owner="u1"):
        return self.call("why", id, owner, 0)

    def attach(self, owner="u1"):
        return self.call("attach", owner, "epoch" + str(random.random()))

    def replay(self, owner="u1", after=0, count=1000):
        head, more, events, self.before = self.call("replay", owner, after, count)
        return head, more, [dict(zip(("seq", "entry", "text", "outcome"), e)) for e in events]

    def log(self, owner="u1"):
        """The owner's events as (seq, code, task)."""
        events, after, more = [], 0, 1
        while more:
            _, more, page = self.replay(owner, after)
            events += [(int(e["seq"]), e["entry"][0], e["entry"].split()[2]) for e in page]
            after = events[-1][0] if events else 0
        return events

    def codes(self, id, owner="u1"):
        return "".join(code for _, code, task in self.log(owner) if task == id)

    def key(self, owner, key):
        """Where an idempotency key stands ("k" while its task lives, else "k:<day>"), for which task, and how that ended."""
        found = [(home[len(PREFIX):], value if isinstance(value, bytes) else value.encode()) for home in self.keys("k*")
                 if (value := self.redis("HGET", home, field_of(owner, key)))]
        assert len(found) <= 1, found
        return found and (found[0][0], str(uuid.UUID(bytes=found[0][1][:16])), found[0][1][32:].decode())

    def ages(self, ms):
        """So much running time passes."""
        self.call("tick", HEAVY_MS, LIGHT_MS)
        self.redis("HINCRBY", PREFIX + "g", "run_ms", ms)

    def notify(self, id="n1", owner="u1"):
        return self.call("notify", owner, id, '{"title":"t"}')

    def pass_day(self):
        """What stands in the hash of idempotency keys of a day is moved to that of the day before."""
        homes = (self.redis("HGET", PREFIX + "g", "keys") or "").split()
        days = sorted(int(home[2:]) for home in homes if home != "k")
        for day in days:
            if self.redis("EXISTS", f"{PREFIX}k:{day}"):
                self.redis("RENAME", f"{PREFIX}k:{day}", f"{PREFIX}k:{day - 1}")
                till = float(self.redis("ZSCORE", PREFIX + "till", f"k:{day}"))
                self.redis("ZREM", PREFIX + "till", f"k:{day}")
                self.redis("ZADD", PREFIX + "till", till - 86400000, f"k:{day - 1}")
        self.redis("HSET", PREFIX + "g", "keys", " ".join(
            ["", *(f"k:{day - 1}" for day in reversed(days)), *(home for home in homes if home == "k"), ""]) or " ")

    def subscribe(self, channel):
        other = Resp(self.dir / "s")
        other("SUBSCRIBE", PREFIX + channel)
        return other

    def run(self, id=None, **more):
        """Submits (if need be), leases and starts one task."""
        id = id or self.submit(**more)
        leased = self.lease(more.get("queue", "default"))
        assert leased and leased[0]["id"] == id, leased
        assert self.started(id, leased[0]["fence"]) == OK
        return id

    def audit(self):
        """Every finding of the auditor."""
        found = []
        for kind in ("t:", "o:", "b:"):
            cursor = "0"
            while True:
                cursor, _, findings = self.call("audit", kind, cursor)
                found += findings
                if cursor == "0":
                    break
        return found + self.call("audit_places", 100000)[1]

    def repair(self, cursor="0"):
        """A whole round, or the rest of one: what was mended."""
        found = []
        while True:
            cursor, mended = self.call("repair", HEAVY_MS, LIGHT_MS, cursor)
            found += mended
            if cursor == "0":
                return found

    READ = {"hash": ("HGETALL",), "list": ("LRANGE", 0, -1), "stream": ("XRANGE", "-", "+"), "string": ("GET",),
            "zset": ("ZRANGE", 0, -1, "WITHSCORES"), "set": ("SMEMBERS",)}
    EVERY_CALL = ("writes", "run_ms", "time_ms", "ahead_ms", "steps", "step_ms")  # fields of g

    def picture(self):
        """All keys with what they hold and until when Redis keeps them, without what every call writes."""
        seen = {}
        for key in self.keys():
            command, *words = self.READ[self.redis("TYPE", key)]
            value = self.redis(command, key, *words)
            if command == "HGETALL":
                value = dict(zip(value[::2], value[1::2]))
            if key == PREFIX + "g":
                value = {name: text for name, text in value.items() if name not in self.EVERY_CALL}
            seen[key[len(PREFIX):]] = value, self.redis("PEXPIRETIME", key)
        return seen
