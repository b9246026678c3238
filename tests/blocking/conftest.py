"""The pool's coordinator, and real applications on a real server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from tests.pool.conftest import coordinator, coordinator_url

__all__ = ["Serve", "coordinator", "coordinator_url"]

Serve = Callable[[Any], Any]


@pytest.fixture
def serve() -> Serve:
    """Run an ASGI application on uvicorn for a block; yields its address, and what stops it."""

    @asynccontextmanager
    async def serve(app: Any) -> AsyncIterator[tuple[str, Callable[[], Awaitable[None]]]]:
        config = uvicorn.Config(app, port=0, lifespan="on", log_level="error", ws="none")
        server = uvicorn.Server(config)
        running = asyncio.create_task(server._serve())

        async def stop() -> None:
            server.should_exit = True
            await asyncio.wait([running])

        async with asyncio.timeout(10):
            while not server.started:
                assert not running.done()
                await asyncio.sleep(0.005)
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            yield f"http://127.0.0.1:{port}", stop
        finally:
            await stop()

    return serve
