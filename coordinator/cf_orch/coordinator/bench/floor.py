"""The floor: a server that does nothing but answer, so that what remains is the price of asking at all.

``python -m cf_orch.coordinator.bench.floor`` prints its port and serves until it is told to stop.
"""

import asyncio

from aiohttp import WSMsgType, web

__all__ = ["floor_app"]


def floor_app() -> web.Application:
    """Make an application with a handler that does nothing and a WebSocket that echoes."""
    app = web.Application()
    app.router.add_post("/nothing", _nothing)
    app.router.add_get("/echo", _echo)
    return app


async def _nothing(_request: web.Request) -> web.Response:
    return web.Response(text="{}", content_type="application/json")


async def _echo(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
    return socket


async def _serve() -> None:
    runner = web.AppRunner(floor_app())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)  # noqa: T201 - whoever started it reads the port
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve())
