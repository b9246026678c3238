"""The pool for programs without an event loop."""

import asyncio
import ctypes
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.pool.conftest import StartEngine, eventually, taken, warm_pool

from cf_orch.pool import BlockingDispatcher, DispatcherTimeoutError, ModelNotAvailableError, ServerPool


@pytest.fixture
def pool() -> ServerPool:
    return warm_pool(["A"], ["A"])


@pytest.fixture
def dispatcher(pool: ServerPool) -> Iterator[BlockingDispatcher]:
    dispatcher = BlockingDispatcher(pool)
    yield dispatcher
    dispatcher.close()


def test_threads_take_turns(pool: ServerPool, dispatcher: BlockingDispatcher) -> None:
    """Many threads share two servers, never more than one on each, and no slot is left taken."""
    inside: list[str] = []
    most = 0

    def work(_: int) -> str:
        nonlocal most
        with dispatcher.server("A") as url:
            inside.append(url)
            most = max(most, len(inside))
            assert len(set(inside)) == len(inside)
            inside.remove(url)
            return url

    with ThreadPoolExecutor(16) as threads:
        urls = list(threads.map(work, range(400)))

    assert set(urls) <= {"http://s0", "http://s1"}
    assert most <= 2
    assert taken(pool) == 0


def test_errors_are_the_same(pool: ServerPool, dispatcher: BlockingDispatcher) -> None:
    """Who waits in a thread hears what a task would."""
    with pytest.raises(ModelNotAvailableError, match="no server has 'B'"):
        dispatcher.submit("B")
    held = [dispatcher.submit("A"), dispatcher.submit("A")]
    with pytest.raises(DispatcherTimeoutError, match=r"within 0\.05 s"):
        dispatcher.submit("A", timeout=0.05)
    dispatcher.report_server_error(held[0], "it broke")
    dispatcher.release_server(held[0])
    dispatcher.release_server(held[1])
    assert dispatcher.submit("A") == "http://s1"
    assert dispatcher.get_all_available_models() == {"A"}
    assert pool.servers["http://s0"].last_refresh_error == "it broke"


def test_an_interrupted_wait_leaves_no_slot_taken(pool: ServerPool, dispatcher: BlockingDispatcher) -> None:
    """An exception that arrives in the waiting thread from outside, as Ctrl-C does, ends its wait."""
    held = [dispatcher.submit("A"), dispatcher.submit("A")]
    ended = threading.Event()

    def wait() -> None:
        try:
            dispatcher.submit("A")
        except KeyboardInterrupt:
            ended.set()

    thread = threading.Thread(target=wait)
    thread.start()
    asyncio.run(eventually(lambda: len(pool._waiters) == 1))
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(KeyboardInterrupt))
    dispatcher.release_server(held[0])  # the thread is waked, and finds the interruption
    thread.join()

    assert ended.is_set()
    asyncio.run(eventually(lambda: taken(pool) == 1))
    dispatcher.release_server(held[1])
    assert taken(pool) == 0


def test_close_tells_who_waits(pool: ServerPool) -> None:
    """Threads that wait hear that it was closed; releases after that are harmless, submits are refused."""
    dispatcher = BlockingDispatcher(pool)
    held = [dispatcher.submit("A"), dispatcher.submit("A")]
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(dispatcher.submit, "A")
        asyncio.run(eventually(lambda: len(pool._waiters) == 1))
        dispatcher.close()
        with pytest.raises(RuntimeError, match="Dispatcher loop stopped"):
            waiting.result()

    dispatcher.close()
    dispatcher.release_server(held[0])
    with pytest.raises(RuntimeError, match="this BlockingDispatcher is closed"):
        dispatcher.submit("A")


async def test_real_servers_from_a_thread(engine: StartEngine) -> None:
    """Entering asks the servers for their models; probes run in the face's own thread."""
    server = await engine("A")
    pool = ServerPool([server.url], probe_after_s=0.02)

    def program() -> str:
        with BlockingDispatcher(pool) as dispatcher:
            dispatcher.report_server_error(dispatcher.submit("A"), "it broke")
            asyncio.run(eventually(dispatcher.get_all_available_models))
            with dispatcher.server("A") as url:
                return url

    assert await asyncio.to_thread(program) == server.url
