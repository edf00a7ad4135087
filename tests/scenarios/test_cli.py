# SPDX-License-Identifier: MIT
"""The command line: subcommands, configuration errors, tokens, check, signals."""
import base64
import json
import re
import signal
import socket
import subprocess
import time

import pytest

from client import RpcError, connect
from taskhub import BUILD, SECRET, SLOWDOWN, TOP, alive, b64url, environment, eventually, free_port, run_program, token


def claims_of(text):
    head, payload, _ = text.strip().split(".")
    return [json.loads(base64.urlsafe_b64decode(part + "==")) for part in (head, payload)]


@pytest.fixture
def data(tmp_path):
    """A data directory with a key, as a hub leaves it."""
    path = tmp_path / "data"
    path.mkdir(mode=0o700)
    (path / "jwt.key").write_text("base64url:" + b64url(SECRET) + "\n")
    (path / "jwt.key").chmod(0o600)
    return path


def taskhub(*args, options=None):
    return run_program("taskhub", *args, options=options, check=False)


# ---- help, version, unknown -------------------------------------------------------------------------
@pytest.mark.parametrize("command", [[], ["serve"], ["token"], ["check"], ["config"]])
def test_help_and_version(command):
    done = taskhub(*command, "--help")
    assert done.returncode == 0 and done.stdout.startswith("usage: taskhub"), done
    assert "--data-dir" in done.stdout and done.stderr == ""
    done = taskhub(*command, "--version")
    assert done.returncode == 0 and re.fullmatch(r"taskhub \d+\.\d+\.\d+\n", done.stdout)


def test_unknown_command():
    done = taskhub("serv")
    assert done.returncode == 2 and "serv" in done.stderr and "--help" in done.stderr


# ---- configuration ------------------------------------------------------------------------------------
@pytest.mark.parametrize("args, needle", [
    (["--nope"], "--nope"),
    (["--listn", "127.0.0.1:1"], "did you mean --listen?"),
    (["--listen", "127.0.0.1:http"], "--listen"),
    (["--listen", "127.0.0.1:70000"], "--listen"),
    (["--limits-batch", "many"], "--limits-batch: must be a whole number between 1 and 1024"),
    (["--redis-url", "redis://:secret@127.0.0.1"], "password"),
    (["--config", "/nonexistent.conf"], "/nonexistent.conf"),
    (["--routes-no-such-type", "queue"], "routes.no_such_type: there is no such task type"),
    (["--routes-noop", "celery"], "threads or queue"),
    (["--routes-process-speak-audio", "threads"], "routes.process_speak_audio"),
    (["extra"], "extra"),
])
def test_bad_arguments(args, needle):
    done = taskhub("serve", *args)
    assert done.returncode == 2 and needle in done.stderr and done.stdout == "", done
    assert "secret" not in done.stderr


@pytest.mark.parametrize("text, needle", [
    ("nope = 1\n", "line 1: nope: unknown key"),
    ("log.level = info\nlog.level = info\n", "line 2: log.level: is given twice, first in line 1"),
    ("\nlimits.user_task = 3\n", "line 2: limits.user_task: unknown key, did you mean limits.user_tasks?"),
    ("limits.user_tasks = 0\n", "line 1: limits.user_tasks: must be a whole number"),
    ("hub.name = \"x\n", "line 1"),
])
def test_bad_file(tmp_path, text, needle):
    path = tmp_path / "bad.conf"
    path.write_text(text)
    done = taskhub("serve", "--config", path)
    assert done.returncode == 2 and needle in done.stderr and str(path) in done.stderr, done


@pytest.mark.parametrize("name, value", [
    ("TASKHUB_DATABASE_URL", "postgresql://db/x"), ("TASKHUB_CELERY_BROKER_URL", "redis://x"),
    ("REDIS_URL", "http://cache"), ("TASKHUB_LISTEM", "127.0.0.1:1"),
])
def test_bad_environment(name, value):
    env = environment() | {name: value}
    done = subprocess.run([BUILD / "taskhub", "config"], env=env, text=True, capture_output=True, timeout=30)
    assert done.returncode == 2 and name in done.stderr, done


@pytest.mark.parametrize("program, words", [("taskhub", ["config"]), ("taskhub", ["token", "--user", "alice"]),
                                            ("taskhub", ["check"]), ("taskhub-worker", ["--help"])])
def test_environment_of_another_program(data, program, words):
    """An application's own DATABASE_URL and Celery stop nothing; who reads them says so, without the values."""
    env = environment({"data_dir": data}) | {
        "DATABASE_URL": "postgresql://u:hunter2@db/x", "CELERY_BROKER_URL": "amqp://u:hunter2@mq",
        "CELERY_RESULT_BACKEND": "redis://:hunter2@cache"}
    done = subprocess.run([BUILD / program, *words], env=env, text=True, capture_output=True, timeout=30)
    assert done.returncode == 0 and "hunter2" not in done.stdout + done.stderr, done
    if words != ["--help"]:
        for name in ("DATABASE_URL", "CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
            assert f"environment {name}: " in done.stderr, done.stderr


def test_hub_and_worker_in_the_environment_of_another_program(stack):
    hub = stack.private_hub(start=False)
    hub.env.update({"DATABASE_URL": "postgresql://db/x", "CELERY_BROKER_URL": "redis://x"})
    hub.start()
    for program in ("taskhub", "taskhub-worker"):
        hub.wait_log(rf"prog={program} .*environment DATABASE_URL: ")


def test_config_shows_origin_and_no_secret(tmp_path):
    path = tmp_path / "taskhub.conf"
    path.write_text("limits.user_tasks = 9\nroutes.process_text = threads\n")
    done = taskhub("config", "--config", path, "--hub-name", "one",
                   options={"redis.url": "redis://user:hunter2@cache:6390/1"})
    assert done.returncode == 0 and "hunter2" not in done.stdout
    lines = {line.split(" = ")[0]: line for line in done.stdout.splitlines()}
    assert re.search(r"^limits.user_tasks = 9 +# .*taskhub.conf line 1$", lines["limits.user_tasks"])
    assert lines["hub.name"].endswith("# --hub-name")
    assert "@cache:6390/1" in lines["redis.url"] and lines["redis.url"].endswith("# environment TASKHUB_REDIS_URL")
    assert lines["listen"].endswith("# default")
    assert lines["routes.process_text"] == "routes.process_text = threads"
    table = taskhub("config", "--document").stdout
    assert table.startswith("| key |") and "`MAX_CONCURRENT_TASKS_PER_USER`" in table
    assert table in (TOP / "docs" / "configuration.md").read_text(), "the page is older than the options"


# ---- tokens -------------------------------------------------------------------------------------------
def test_token(data):
    before = int(time.time())
    done = taskhub("token", "--user", "alice", "--role", "admin", "--ttl", "90m", "--data-dir", data)
    assert done.returncode == 0 and done.stdout.count("\n") == 1 and done.stderr == "", done
    header, claims = claims_of(done.stdout)
    assert header == {"alg": "HS256", "typ": "JWT"}
    assert claims["sub"] == "alice" and claims["aud"] == "taskhub" and claims["roles"] == ["admin"]
    assert claims["exp"] - claims["iat"] == 5400 and 0 <= claims["iat"] - before <= 30
    assert claims_of(taskhub("token", "--user=bob", "--data-dir", data).stdout)[1]["roles"] == []
    assert claims_of(taskhub("token", "--user", "bob", "--role", "viewer", "--role", "admin",
                             "--data-dir", data).stdout)[1]["roles"] == ["admin", "viewer"]


async def test_token_of_the_key_that_the_hub_made(stack):
    hub = stack.hub({"jwt.key_file": ""})
    assert hub.log().count("a signing key was made") == 1
    key = hub.data / "jwt.key"
    assert key.stat().st_mode & 0o777 == 0o600 and re.fullmatch(r"[\w-]{43}\n", key.read_text())
    signed = taskhub("token", "--user", "alice", "--data-dir", hub.data).stdout.strip()
    async with connect(hub, token=signed) as c:
        assert c.session["user_id"] == "alice"


WRONG_DIRECTORIES = ["dtaa", "dtaa/deeper", "empty", "file", "data/jwt.key"]


@pytest.mark.parametrize("command", [["token", "--user", "alice"], ["check"]])
@pytest.mark.parametrize("name", WRONG_DIRECTORIES)
def test_nothing_is_made_in_a_wrong_data_directory(data, tmp_path, command, name):
    """What a mistyped directory would get is a key that no hub knows."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    before = sorted(tmp_path.rglob("*"))
    wrong = tmp_path / name
    done = taskhub(*command, "--data-dir", wrong)
    said = done.stdout if command == ["check"] else done.stderr
    assert done.returncode == 1 and f"no key in {wrong}; is this the hub's data directory?" in said, done
    assert command == ["check"] or done.stdout == ""
    assert sorted(tmp_path.rglob("*")) == before, "neither key nor database nor directory"


def test_check_makes_no_database(data, tmp_path):
    """Before the first start there may be a key, but no database yet."""
    key = data / "jwt.key"
    done = taskhub("check", "--data-dir", data)
    assert done.returncode == 0 and re.search("^database +ok +none yet", done.stdout, re.M), done
    done = taskhub("check", "--data-dir", tmp_path / "dtaa", "--jwt-key-file", key)
    assert done.returncode == 1 and re.search(f"^database +FAIL +no database in {tmp_path}/dtaa; is", done.stdout, re.M), done
    done = taskhub("check", "--data-dir", data, options={"database_url": f"sqlite:{tmp_path}/dtaa/x.db"})
    assert done.returncode == 1 and re.search("^database +FAIL", done.stdout, re.M), done
    elsewhere = {"database_url": f"sqlite:{tmp_path}/x.db", "jwt.key_file": key}
    (tmp_path / "x.db").touch()
    done = taskhub("check", "--data-dir", tmp_path / "dtaa", options=elsewhere)
    assert done.returncode == 0 and "opens, tables" in done.stdout and not (tmp_path / "dtaa").exists(), done
    assert sorted(path.name for path in data.iterdir()) == ["jwt.key"]


@pytest.mark.parametrize("args, needle", [
    ([], "--user is required"), (["--user", "a\nb"], "--user"), (["--user", ""], "--user"),
    (["--user", "x" * 256], "--user"), (["--user", "a", "--role", "root"], "--role"),
    (["--user", "a", "--ttl", "0"], "--ttl"), (["--user", "a", "--ttl", "1y"], "--ttl"),
    (["--user", "a", "--ttl"], "--ttl needs a value"), (["--user", "a", "--nope", "1"], "--nope"),
])
def test_bad_token_arguments(data, args, needle):
    done = taskhub("token", *args, "--data-dir", data)
    assert done.returncode == 2 and needle in done.stderr and done.stdout == "", done


def test_token_needs_a_private_key(tmp_path):
    path = tmp_path / "public.json"
    path.write_text(json.dumps({"kty": "OKP", "crv": "Ed25519", "x": b64url(bytes(range(32)))}))
    done = taskhub("token", "--user", "a", "--jwt-key-file", path)
    assert done.returncode == 2 and "public" in done.stderr and done.stdout == "", done
    path.write_text(b64url(b"too short") + "\n")
    done = taskhub("serve", "--jwt-key-file", path, "--data-dir", tmp_path)
    assert done.returncode == 2 and "9 bytes" in done.stderr and str(path) in done.stderr, done


async def test_ed25519_key_pair(stack, tmp_path):
    """A back end signs with the private key (RFC 8037, A.1); the hub holds the public one and a secret."""
    public = {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    private, ring = tmp_path / "private.json", tmp_path / "ring.json"
    private.write_text(json.dumps(public | {"d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}))
    ring.write_text(json.dumps({"keys": [public, {"kty": "oct", "alg": "HS256", "k": b64url(b"s" * 32)}]}))
    signed = taskhub("token", "--user", "eve", "--jwt-key-file", private).stdout.strip()
    assert claims_of(signed)[0] == {"alg": "EdDSA", "typ": "JWT", "kid": "ed"}
    hub = stack.hub({"jwt.key_file": ring})
    async with connect(hub, "eve", token=signed) as c:
        assert c.session["user_id"] == "eve"
    async with connect(hub, token=token(key=b"s" * 32)):
        pass
    head, body, signature = signed.split(".")
    other = "B" if signature[0] == "A" else "A"
    for bad in (f"{head}.{body}.{other}{signature[1:]}", token(key=public["x"].encode(), kid="ed"),
                token(key=b"s" * 32, kid="other"), token(key=b"x" * 32)):
        with pytest.raises(RpcError) as refused:
            async with connect(hub, token=bad):
                pass
        assert refused.value.code == -32001


# ---- check --------------------------------------------------------------------------------------------
def test_check(stack, data):
    options = {"redis.url": stack.redis.url}
    done = taskhub("check", "--data-dir", data, options=options)
    assert done.returncode == 0, done
    assert re.search(r"^redis +ok +version 7|^redis +ok +version 8", done.stdout, re.M) and "FAIL" not in done.stdout
    stack.redis.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    done = taskhub("check", "--data-dir", data, options=options)
    assert done.returncode == 1 and "maxmemory-policy" in done.stdout, done
    done = taskhub("check", "--data-dir", data, options=options | {"redis.allow_volatile": True})
    assert done.returncode == 0, done
    stack.redis.stop()
    done = taskhub("check", "--data-dir", data, options=options)
    assert done.returncode == 1 and re.search(r"^redis +FAIL", done.stdout, re.M), done


def test_check_private(stack, data):
    done = taskhub("check", "--data-dir", data)
    assert done.returncode == 0 and "not running" in done.stdout, done
    hub = stack.private_hub()
    done = hub.program("check")
    assert "version" in done.stdout and "not running" not in done.stdout


async def test_audit(stack):
    hub = stack.hub()
    async with connect(hub) as c:
        await c.wait_end(await c.submit("process_text", {"text": "some words"}))
        await c.submit("noop_heavy", {"steps": 1})  # waits, there is no worker
    done = hub.program("check", "--audit")
    assert re.search(r"^audit +ok +2 tasks, 1 owners, 0 findings$", done.stdout, re.M), done.stdout
    stack.redis.command("ZADD", "th:{0}:d", 10 ** 15, "00000000-0000-7000-8000-000000000000")
    done = hub.program("check", "--audit", check=False)
    assert done.returncode == 1 and re.search(r"^audit +FAIL", done.stdout, re.M), done.stdout
    assert "place 00000000-0000-7000-8000-000000000000" in done.stdout


def test_audit_of_an_unused_redis(stack, tmp_path):
    done = taskhub("check", "--audit", "--data-dir", tmp_path, options={"redis.url": stack.redis.url})
    assert done.returncode == 1 and re.search(r"^audit +FAIL .*no hub has used", done.stdout, re.M), done.stdout
    assert stack.redis.command("FUNCTION", "LIST") == [], "a check writes nothing"


# ---- serve --------------------------------------------------------------------------------------------
def test_port_in_use(stack, tmp_path):
    stack.redis
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        address = f"127.0.0.1:{s.getsockname()[1]}"
        began = time.monotonic()
        done = taskhub("serve", "--listen", address, "--data-dir", tmp_path)
        assert done.returncode == 1 and address in done.stderr and "listen" in done.stderr, done
        done = taskhub("serve", "--listen", address, "--data-dir", tmp_path, options={"redis.url": stack.redis.url})
        assert done.returncode == 1 and address in done.stderr, done
        assert time.monotonic() - began < 8 * SLOWDOWN


def test_a_redis_without_append_only_file(stack, data):
    """Taken with a warning that says what a crash loses; refused where that is asked for."""
    stack.redis.command("CONFIG", "SET", "appendonly", "no")
    options = {"redis.url": stack.redis.url}
    done = taskhub("serve", "--listen", f"127.0.0.1:{free_port()}", "--data-dir", data,
                   options=options | {"redis.require_durable": True})
    assert done.returncode == 1 and "redis.require_durable" in done.stderr and "appendonly" in done.stderr, done
    hub = stack.hub()
    assert "lost" in hub.get("/readyz").json()["warnings"]["durability"]
    assert len(re.findall("keeps no append-only file", hub.log())) == 1, hub.log()
    done = taskhub("check", "--data-dir", data, options=options)
    assert done.returncode == 0 and re.search(r"^durability +warn +.*lost", done.stdout, re.M), done
    done = taskhub("check", "--data-dir", data, options=options | {"redis.require_durable": True})
    assert done.returncode == 1 and "redis.require_durable" in done.stdout, done
    assert "durability" not in stack.hub({"redis.allow_volatile": True}).get("/readyz").json().get("warnings", {})
    done = taskhub("check", options=options | {"redis.require_durable": True, "redis.allow_volatile": True})
    assert done.returncode == 2 and "redis.require_durable" in done.stderr, done


def test_a_user_of_redis_without_info(stack, data):
    stack.redis.command("ACL", "SETUSER", "app", "on", ">hunter2", "~*", "&*", "+@all", "-info")
    url = stack.redis.url.replace("unix:", "unix://app:hunter2@")
    done = taskhub("check", options={"redis.url": url, "data_dir": data})
    assert done.returncode == 1 and "7.0" not in done.stdout and "hunter2" not in done.stdout + done.stderr, done
    assert re.search(r"FAIL .*(permission|right|may not|ACL|NOPERM)", done.stdout), done.stdout
    stack.redis.command("ACL", "SETUSER", "app", "+info")
    assert taskhub("check", options={"redis.url": url, "data_dir": data}).returncode == 0


@pytest.mark.parametrize("url", ["unix://:hunter2@/nowhere.sock", "unix://app:hunter2@/nowhere.sock?db=1",
                                 "redis://app:hunter2@127.0.0.1:1", "redis://:hunter2%23@127.0.0.1:1/2"])
def test_check_shows_no_password(data, url):
    done = taskhub("check", options={"redis.url": url, "data_dir": data})
    assert done.returncode == 1 and "is that server running?" in done.stdout, done
    assert "hunter2" not in done.stdout + done.stderr, done


def test_redis_down_at_start(stack):
    redis = stack.redis
    redis.stop()
    hub = stack.hub(start=False).start(ready=False)
    answer = eventually(lambda: _get(hub, "/readyz"))
    assert answer.status == 503 and "redis" in answer.json()["reasons"], answer.text
    assert hub.get("/healthz").status == 200
    redis.start()
    hub.wait_ready()


def _get(hub, path):
    try:
        return hub.get(path)
    except OSError:
        return None


def test_signals(stack):
    hub = stack.private_hub()
    below = [eventually(hub.private_redis_pid), eventually(hub.worker_pid)]
    began = time.monotonic()
    hub.signal(signal.SIGINT)
    assert hub.wait_exit() == 0 and time.monotonic() - began < 10 * SLOWDOWN
    for pid in below:
        eventually(lambda p=pid: not alive(p), 2, f"the end of {pid}")


async def test_sighup_reloads_keys(stack, tmp_path):
    key = tmp_path / "ring.json"
    old, new = b"o" * 32, b"n" * 32

    def ring(*keys):
        key.write_text(json.dumps({"keys": [{"kty": "oct", "alg": "HS256", "kid": kid, "k": b64url(secret)}
                                            for kid, secret in keys]}))
        key.chmod(0o600)
    ring(("old", old))
    hub = stack.hub({"jwt.key_file": key})
    async with connect(hub, token=token("alice", key=old, kid="old")):
        pass
    ring(("old", old), ("new", new))
    hub.signal(signal.SIGHUP)
    hub.wait_log("the keys were reloaded")
    async with connect(hub, token=token("alice", key=new, kid="new")) as c:
        key.write_text("{")
        hub.signal(signal.SIGHUP)
        hub.wait_log("were not reloaded")
        await c.call("ping")  # nothing happened to it
    async with connect(hub, token=token("alice", key=new, kid="new")):
        pass
    ring(("new", new))
    hub.signal(signal.SIGHUP)
    eventually(lambda: len(re.findall("the keys were reloaded", hub.log())) == 2)
    with pytest.raises(RpcError):
        async with connect(hub, token=token("alice", key=old, kid="old")):
            pass


def test_demo_link(stack):
    hub = stack.hub({"demo_link": True})
    link = hub.wait_log(r"http://127\.0\.0\.1:\d+/#token=(\S+)")
    _, claims = claims_of(link.group(1))
    assert claims["sub"] == "demo" and claims["roles"] == ["admin"] and claims["exp"] - claims["iat"] == 43200
    assert "#token" not in stack.hub().log()


def test_config_file_is_found(tmp_path, data, stack):
    (tmp_path / "taskhub.conf").write_text(f"listen = 127.0.0.1:{free_port()}\nredis.url = {stack.redis.url}\n"
                                           f"data_dir = {data}\n")
    done = subprocess.run([BUILD / "taskhub", "check"], cwd=tmp_path, env=environment(), text=True,
                          capture_output=True, timeout=30)
    assert done.returncode == 0 and "./taskhub.conf" in done.stdout, done

