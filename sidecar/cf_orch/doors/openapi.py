"""The description of the interface, OpenAPI 3.1, made from the table of operations and the message types."""

from functools import cache
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

import msgspec

from cf_orch.doors.frames import FRAME_TYPES
from cf_orch.protocol import messages as m
from cf_orch.protocol.errors import STATUS_OF_CODE, Problem
from cf_orch.protocol.operations import API_PREFIX, OPERATIONS, Operation

__all__ = ["describe"]

Document = dict[str, Any]

_PROBLEM = {"$ref": "#/components/responses/Problem"}


@cache
def describe() -> Document:
    """Return the whole document."""
    schemas, components = _schemas()
    paths: Document = {}
    for operation in OPERATIONS:
        paths.setdefault(API_PREFIX + operation.path, {})[operation.method.lower()] = _call(operation, schemas)
    _add_streams(paths, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "cf-orch coordinator",
            "version": version("cf-orch"),
            "summary": "Who holds how much GPU memory, and who is next.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": {"Problem": _problem_response(schemas)},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
        "x-websocket": _websocket(schemas),
    }


def _schemas() -> tuple[dict[type[Any], Document], Document]:
    types: list[type[Any]] = [Problem, m.Opening, m.Reply, m.Notice, m.EventInfo, *FRAME_TYPES.values()]
    types += [kind for operation in OPERATIONS for kind in (operation.body, operation.query, operation.answer) if kind]
    unique = list(dict.fromkeys(types))
    refs, components = msgspec.json.schema_components(unique, ref_template="#/components/schemas/{name}")
    return dict(zip(unique, refs, strict=True)), dict(components)


def _call(operation: Operation, schemas: dict[type[Any], Document]) -> Document:
    call: Document = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": _parameters(operation),
        "responses": _responses(operation, schemas),
    }
    if operation.body is not None:
        call["requestBody"] = {"required": True, "content": _json(schemas[operation.body])}
    if operation.operator_only:
        call["description"] = "The operator's: refused to callers that name a session."
    return call


def _parameters(operation: Operation) -> list[Document]:
    parameters: list[Document] = [
        {
            "name": "Cf-Orch-Session",
            "in": "header",
            "required": False,
            "description": "The session that asks; without one it is the operator.",
            "schema": {"type": "string"},
        }
    ]
    if operation.subject is not None:
        schema = {"type": "string"}
        parameters.append({"name": operation.subject, "in": "path", "required": True, "schema": schema})
    for field in msgspec.structs.fields(operation.query) if operation.query else ():
        schema = msgspec.json.schema(field.type)
        parameters.append({"name": field.name, "in": "query", "required": field.required, "schema": schema})
    return parameters


def _responses(operation: Operation, schemas: dict[type[Any], Document]) -> Document:
    responses: Document = {}
    for status in sorted((operation.status, *operation.also)):
        response: Document = {"description": HTTPStatus(status).phrase}
        if operation.answer is not None:
            response["content"] = _json(schemas[operation.answer])
        responses[str(status)] = response
    return responses | {"4XX": _PROBLEM, "5XX": _PROBLEM}


def _json(schema: Document) -> Document:
    return {"application/json": {"schema": schema}}


def _problem_response(schemas: dict[type[Any], Document]) -> Document:
    return {
        "description": "It was refused, or failed: `code` says why.",
        "content": {"application/problem+json": {"schema": schemas[Problem]}},
        "x-status-of-code": STATUS_OF_CODE,
    }


def _add_streams(paths: Document, schemas: dict[type[Any], Document]) -> None:
    """What no operation of the table is: streams, for readers that ask for them."""
    events = paths[API_PREFIX + "/events"]["get"]["responses"]["200"]
    events["content"] |= _stream(schemas[m.EventInfo])
    paths[API_PREFIX + "/sessions/{session_id}/events"] = {
        "get": {
            "operationId": "session.events",
            "summary": "Hear what happens to a session's leases; resumes after Last-Event-ID.",
            "parameters": [
                {"name": "session_id", "in": "path", "required": True, "schema": {"type": "string"}},
                {"name": "Last-Event-ID", "in": "header", "required": False, "schema": {"type": "integer"}},
            ],
            "responses": {
                "200": {"description": "One message for each notice", "content": _stream(schemas[m.Notice])},
                "4XX": _PROBLEM,
                "5XX": _PROBLEM,
            },
        }
    }


def _stream(message: Document) -> Document:
    """A stream of server-sent events, the data of each being such a message."""
    return {"text/event-stream": {"schema": {"type": "string"}, "x-data": message}}


def _websocket(schemas: dict[type[Any], Document]) -> Document:
    return {
        "path": API_PREFIX + "/connect",
        "opening": schemas[m.Opening],
        "calls": {name: schemas[frame] for name, frame in FRAME_TYPES.items()},
        "reply": schemas[m.Reply],
        "notice": schemas[m.Notice],
    }
