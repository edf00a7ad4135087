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


def pytest_configure(config):
    config.addinivalue_line("markers", "limit(seconds): time limit of this test")
    config.addinivalue_line("markers", "quick: one that tells most, in `./run test quick`")
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
    mark = item.get_closest_marker("limit")
    seconds = (mark.args[0] if mark else 60) * taskhub.SLOWDOWN

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
    assert queue.audit() == []
    queue.close()
