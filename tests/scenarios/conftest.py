# SPDX-License-Identifier: MIT
"""Fixtures of the scenario tests. A test may be a coroutine; each has a time limit (60 s, or
@pytest.mark.limit(seconds)). Run: /usr/bin/python3 -m pytest tests/scenarios

    stack    Redis, hubs, workers to start as the test needs them (taskhub.Stack)
    hub      one ready hub with its own Redis and workers, as ./run starts it; diagnostics on
    two_hubs two hubs and a worker on one Redis: (hub, hub)
    q        the queue's functions in a redis-server of their own (queue_lib.Queue); audited at the end
"""
import asyncio
import inspect
import signal

import pytest

import taskhub
from queue_lib import Queue

# The scenarios that tell most, about a minute of them: files, or tests of a file. ./run test quick.
QUICK = """test_admin test_audio_stream test_before_auth test_cli test_domain test_light test_limits test_listen
    test_owner_only test_queue_audio test_queue_events test_queue_lease test_queue_life test_queue_random
    test_queue_records test_redis_hangs test_resume test_retry test_rpc test_two_hubs
    test_kill::test_everything_is_killed_in_turn test_kill::test_worker_is_killed test_run::test_the_link_works
    test_speech::test_speech_becomes_text test_worker::test_worker_killed""".split()


def limit(item):
    """How many seconds a test may take on a quiet machine."""
    mark = item.get_closest_marker("limit")
    return mark.args[0] if mark else 60


def pytest_collection_modifyitems(items):
    """What may take long begins first, so that no process of several has it left at the end."""
    for item in items:
        if item.path.stem in QUICK or f"{item.path.stem}::{item.originalname}" in QUICK:
            item.add_marker("quick")
    items.sort(key=limit, reverse=True)


def pytest_configure(config):
    config.addinivalue_line("markers", "limit(seconds): time limit of this test")
    config.addinivalue_line("markers", "quick: one of QUICK")
    config.addinivalue_line("markers", "alone: keeps all processors busy; no other test runs beside it")
    config.addinivalue_line("markers", "java: needs a JDK; ./run test all")
    config.addinivalue_line("markers", "long: many rounds, or much time has to pass; ./run test all")
    config.addinivalue_line("markers", "main: a main scenario, also run under the sanitizers")


def pytest_make_parametrize_id(config, val, argname):
    """Bytes are too long for names of tests."""
    return f"{argname}{len(val)}" if isinstance(val, bytes) else None


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Runs coroutine tests."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    """Ends a test that hangs."""
    seconds = limit(item) * taskhub.SLOWDOWN

    def late(*_):
        raise TimeoutError(f"the test took longer than {seconds:g} s")
    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if call.when == "call":
        item.failed_call = outcome.get_result().failed


@pytest.fixture
def stack(request):
    made = taskhub.Stack()
    yield made
    made.close(failed=getattr(request.node, "failed_call", False))


@pytest.fixture
def hub(stack):
    return stack.private_hub()


@pytest.fixture
def two_hubs(stack):
    first, second = stack.hub(), stack.hub()
    stack.worker()
    return first, second


@pytest.fixture
def q():
    queue = Queue()
    yield queue
    assert queue.audit() == [] == queue.repair()
    assert queue.failures() == []
    queue.close()
