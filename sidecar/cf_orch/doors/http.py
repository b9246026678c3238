"""The HTTP door: one route for each operation, and every no as problem+json (RFC 9457)."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import msgspec
from aiohttp import hdrs, web

from cf_orch.doors import websocket
from cf_orch.doors.access import check_access
from cf_orch.doors.asked import Answer, Asked, caller_of
from cf_orch.doors.backend import Backend
from cf_orch.doors.openapi import describe
from cf_orch.doors.problems import problem_of
from cf_orch.protocol.errors import Problem
from cf_orch.protocol.operations import API_PREFIX, OPERATIONS, Operation

__all__ = ["MOST_BODY_BYTES", "TOKEN", "make_app"]

MOST_BODY_BYTES = 2**20

TOKEN = web.AppKey("token", str)
"""The shared secret that the application asks for; absent where it asks for none."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_encoder = msgspec.json.Encoder()


class _Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """The body or query of a call that takes none."""


def make_app(
    backend: Backend, *, token: str | None = None, streams: Mapping[str, Handler] | None = None
) -> web.Application:
    """Make the application that serves all calls; ``streams`` answer, by operation, readers that ask for a stream.

    It must be run with ``handler_cancellation=True``, or callers that have gone are not noticed.
    """
    app = web.Application(client_max_size=MOST_BODY_BYTES, middlewares=[_guard])
    if token is not None:
        app[TOKEN] = token
    for operation in OPERATIONS:
        handler = _handler(backend, operation)
        if stream := (streams or {}).get(operation.name):
            handler = _streamed(handler, stream)
        app.router.add_route(operation.method, API_PREFIX + operation.path, handler)
    sockets = websocket.Sockets()
    app.router.add_route("GET", API_PREFIX + "/connect", websocket.handler(backend, sockets))
    app.on_shutdown.append(lambda _: websocket.close_all(sockets))
    app.on_cleanup.append(lambda _: _close(backend))
    app.router.add_route("GET", "/healthz", _healthz)
    app.router.add_route("GET", "/readyz", _readyz(backend))
    app.router.add_route("GET", "/openapi.json", _openapi)
    return app


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let in who may come in, and let out nothing but answers and problems."""
    try:
        check_access(request, request.app.get(TOKEN))
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:  # noqa: PLR2004 - not a no
            raise
        return _said_no(_problem_of_http(request, error), error)
    except (ConnectionError, web.RequestPayloadError) as error:
        return _said_no(Problem.of("bad_request", f"the body cannot be read: {' '.join(str(error).split())}"), None)
    except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets a problem and no traceback
        return _said_no(problem_of(error), None)


def _problem_of_http(request: web.Request, error: web.HTTPException) -> Problem:
    match error:
        case web.HTTPRequestEntityTooLarge():
            return Problem.of("body_too_large", f"a body may have {MOST_BODY_BYTES} bytes")
        case web.HTTPNotFound():
            return Problem.of("not_found", f"nothing is at {request.path}: /openapi.json lists all calls")
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(error.allowed_methods))
            return Problem.of(
                "method_not_allowed", f"{request.path} does not take {request.method}: it takes {allowed}"
            )
        case _:
            return Problem.of("bad_request", error.text or error.reason)


def _said_no(problem: Problem, error: web.HTTPException | None) -> web.Response:
    headers = {}
    if problem.code == "not_authorized":
        headers[hdrs.WWW_AUTHENTICATE] = 'Bearer realm="cf-orch"'
    if error is not None and hdrs.ALLOW in error.headers:
        headers[hdrs.ALLOW] = error.headers[hdrs.ALLOW]
    body = _encoder.encode(problem)
    return web.Response(status=problem.status, body=body, headers=headers, content_type="application/problem+json")


def _handler(backend: Backend, operation: Operation) -> Handler:
    body_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(operation.body or _Nothing)
    query_type = operation.query or _Nothing

    async def handle(request: web.Request) -> web.StreamResponse:
        query = msgspec.convert(dict(request.query), query_type, strict=False)
        body = body_decoder.decode(await request.read() or b"{}")
        subject = next(iter(request.match_info.values()), "")
        answer = await backend.perform(operation, caller_of(request), Asked(subject, body, query))
        return await _write(request, answer)

    return handle


def _streamed(handle: Handler, stream: Handler) -> Handler:
    async def choose(request: web.Request) -> web.StreamResponse:
        wants_stream = "text/event-stream" in request.headers.get(hdrs.ACCEPT, "")
        return await (stream if wants_stream else handle)(request)

    return choose


async def _write(request: web.Request, answer: Answer) -> web.StreamResponse:
    """Make the response; where somebody wants to hear of it, write it here and see whether that goes well."""
    body = b"" if answer.body is None else _encoder.encode(answer.body)
    content_type = None if answer.body is None else "application/json"
    response = web.Response(status=answer.status, body=body, content_type=content_type)
    if answer.delivery is not None:
        with suppress(ConnectionError):  # it is noticed again, and passed over, when the response is finished
            async with answer.delivery:
                await response.prepare(request)
                await response.write_eof()
    return response


async def _close(backend: Backend) -> None:
    backend.close()


async def _healthz(_request: web.Request) -> web.Response:
    """The process lives."""
    return web.json_response({"status": "ok"})


def _readyz(backend: Backend) -> Handler:
    async def readyz(_request: web.Request) -> web.Response:
        """It serves, and what it promised can be kept."""
        return web.json_response({"status": "ready", "epoch": (await backend.check_ready()).epoch})

    return readyz


async def _openapi(_request: web.Request) -> web.Response:
    return web.Response(body=_encoder.encode(describe()), content_type="application/json")
