"""The description of the interface is complete, and whole in itself."""

import re
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from cf_orch.doors.openapi import describe
from cf_orch.protocol.errors import STATUS_OF_CODE
from cf_orch.protocol.operations import API_PREFIX, OPERATIONS, Operation

DOCUMENT = describe()


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(reference := value.get("$ref"), str):
            yield reference
        for part in value.values():
            yield from references(part)
    elif isinstance(value, list):
        for part in value:
            yield from references(part)


def resolve(reference: str) -> Any:
    assert reference.startswith("#/")
    found: Any = DOCUMENT
    for part in reference[2:].split("/"):
        found = found[part]
    return found


def test_every_reference_leads_somewhere() -> None:
    """No part of the description points to what is not in it."""
    found = set(references(DOCUMENT))

    assert len(found) > 30
    assert all(isinstance(resolve(reference), dict) for reference in found)


@pytest.mark.parametrize("operation", OPERATIONS, ids=[operation.name for operation in OPERATIONS])
def test_every_call_is_described(operation: Operation) -> None:
    """A call's parameters, body, answers and problems are those of the table."""
    call = DOCUMENT["paths"][API_PREFIX + operation.path][operation.method.lower()]
    parameters = {(parameter["in"], parameter["name"]): parameter for parameter in call["parameters"]}

    assert call["operationId"] == operation.name
    assert {name for where, name in parameters if where == "path"} == set(re.findall(r"{(\w+)}", operation.path))
    assert {name for where, name in parameters if where == "query"} == (
        set(operation.query.__struct_fields__) if operation.query else set()
    )
    assert ("requestBody" in call) == (operation.body is not None)
    assert set(call["responses"]) == {str(status) for status in (operation.status, *operation.also)} | {"4XX", "5XX"}
    assert ("content" in call["responses"][str(operation.status)]) == (operation.answer is not None)


def test_requests_are_closed_and_answers_open() -> None:
    """Unknown fields are refused in what is sent to the coordinator, and allowed in what it says."""
    schemas = DOCUMENT["components"]["schemas"]

    assert schemas["LeaseRequest"]["additionalProperties"] is False
    assert schemas["LeaseRequestCall"]["additionalProperties"] is False
    assert "additionalProperties" not in schemas["LeaseInfo"]


def test_the_problems_are_described() -> None:
    """The problem's media type, and the table of codes, can be read."""
    response = DOCUMENT["components"]["responses"]["Problem"]

    assert set(response["content"]) == {"application/problem+json"}
    assert response["x-status-of-code"] == STATUS_OF_CODE


def test_the_websocket_knows_every_call() -> None:
    """Each call's frame has the fields of its path, query and body side by side."""
    calls = DOCUMENT["x-websocket"]["calls"]

    assert set(calls) == {operation.name for operation in OPERATIONS}
    for operation in OPERATIONS:
        fields = {"id", "op"} | ({operation.subject} if operation.subject else set())
        for part in (operation.query, operation.body):
            fields |= set(part.__struct_fields__) if part else set()
        assert set(resolve(calls[operation.name]["$ref"])["properties"]) == fields


async def test_it_is_served(session: aiohttp.ClientSession) -> None:
    """The description is at /openapi.json."""
    async with session.get("/openapi.json") as answer:
        assert await answer.json() == DOCUMENT
