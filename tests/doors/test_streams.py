"""Server-sent events: the journal and a session's notices, live and resumed."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

import aiohttp
from tests.doors.conftest import HttpDoor

from cf_orch.coordinator.engine import Engine


class Sent(NamedTuple):
    """One message of a stream."""

    id: int
    event: str
    data: dict[str, Any]


async def stream(
    session: aiohttp.ClientSession, stack: AsyncExitStack, path: str, **headers: str
) -> AsyncIterator[Sent]:
    """Open a stream and return its messages as they come."""
    headers = {"Accept": "text/event-stream"} | {key.replace("_", "-"): value for key, value in headers.items()}
    answer = await stack.enter_async_context(session.get("/api/v1" + path, headers=headers))
    assert (answer.status, answer.content_type) == (200, "text/event-stream")
    return _messages(answer)


async def _messages(answer: aiohttp.ClientResponse) -> AsyncIterator[Sent]:
    fields: dict[str, str] = {}
    async for line in answer.content:
        name, colon, value = line.decode().rstrip("\n").partition(": ")
        if name and colon:
            fields[name] = value
        elif fields:
            yield Sent(int(fields["id"]), fields["event"], json.loads(fields["data"]))
            fields = {}


async def test_the_journal_is_told_as_it_grows(
    http: HttpDoor, session: aiohttp.ClientSession, stack: AsyncExitStack, engine: Engine
) -> None:
    """A reader gets what happened since, and then each event when it happens, in order."""
    since = engine.ledger.seq
    first = await http.call("lease.request", service="kiwi", vram_gb=1)

    events = await stream(session, stack, f"/events?since={since}")
    past = [await anext(events), await anext(events)]
    await http.call("lease.release", subject=first.body["id"])
    live = [await anext(events), await anext(events)]

    assert [(sent.id, sent.event) for sent in past + live] == [
        (since + 1, "requested"),
        (since + 2, "granted"),
        (since + 3, "closing"),
        (since + 4, "ended"),
    ]
    assert past[1].data["event"]["lease_id"] == first.body["id"]


async def test_the_journal_resumes_where_it_broke_off(
    http: HttpDoor, session: aiohttp.ClientSession, stack: AsyncExitStack, engine: Engine
) -> None:
    """A reader that comes back names the last event that it has, and gets the next."""
    since = engine.ledger.seq
    await http.call("lease.request", service="kiwi", vram_gb=1)

    events = await stream(session, stack, "/events", Last_Event_ID=str(since + 1))

    assert (await anext(events)).id == since + 2


async def test_a_stream_ends_with_the_coordinator(
    session: aiohttp.ClientSession, stack: AsyncExitStack, http: HttpDoor, engine: Engine
) -> None:
    """A coordinator that stops ends its streams; a session is told so before."""
    await http.call("session.open", service="kiwi", session_id="s1")
    events = await stream(session, stack, f"/events?since={engine.ledger.seq}")
    notices = await stream(session, stack, "/sessions/s1/events")

    engine.announce_stop()

    assert [sent async for sent in events] == []
    assert [sent.event async for sent in notices] == ["stopping"]


async def test_a_session_hears_its_notices(
    http: HttpDoor, session: aiohttp.ClientSession, stack: AsyncExitStack
) -> None:
    """What the WebSocket would tell a session, its stream tells: granted, then lost."""
    await http.call("session.open", service="kiwi", session_id="s1")
    holder = await http.call("lease.request", service="owl", vram_gb=24)
    notices = await stream(session, stack, "/sessions/s1/events")
    queued = await http.call("lease.request", service="kiwi", vram_gb=24, by="s1")

    await http.call("lease.release", subject=holder.body["id"])
    granted = await anext(notices)
    await http.call("lease.release", subject=queued.body["id"])
    lost = await anext(notices)

    assert [(sent.event, sent.data["lease"]["id"]) for sent in (granted, lost)] == [
        ("granted", queued.body["id"]),
        ("lost", queued.body["id"]),
    ]


async def test_a_session_gets_the_evictions_that_it_missed(
    http: HttpDoor, session: aiohttp.ClientSession, stack: AsyncExitStack, engine: Engine
) -> None:
    """A reader that comes back is told from the journal that its lease was to leave, and was granted again."""
    await http.call("session.open", service="kiwi", session_id="s1")
    since = engine.ledger.seq
    lease_id = (await http.call("lease.request", service="kiwi", vram_gb=20, by="s1", evictable=True)).body["id"]
    await http.call("lease.evict", subject=lease_id)
    await http.call("lease.resume", subject=lease_id)
    await http.call("lease.evict", subject=lease_id)
    await http.call("lease.checkpointed", subject=lease_id, by="s1")
    await http.call("lease.resume", subject=lease_id)

    notices = await stream(session, stack, "/sessions/s1/events", Last_Event_ID=str(since))

    told = [(await anext(notices)).event for _ in range(5)]
    assert told == ["granted", "evict", "withdrawn", "evict", "resume"]


async def test_a_session_gets_what_it_missed(
    http: HttpDoor, session: aiohttp.ClientSession, stack: AsyncExitStack, engine: Engine
) -> None:
    """A session's reader that comes back is told what happened since its last notice, once, and goes on live."""
    await http.call("session.open", service="kiwi", session_id="s1")
    since = engine.ledger.seq
    first = (await http.call("lease.request", service="kiwi", vram_gb=4, by="s1")).body["id"]
    await http.call("lease.request", service="owl", vram_gb=4)
    await http.call("lease.release", subject=first)

    notices = await stream(session, stack, "/sessions/s1/events", Last_Event_ID=str(since))
    missed = [await anext(notices), await anext(notices)]
    second = (await http.call("lease.request", service="kiwi", vram_gb=4, by="s1")).body["id"]
    await http.call("lease.release", subject=second)
    live = await anext(notices)
    while live.event == "granted":
        live = await anext(notices)

    assert [(sent.event, sent.data["lease"]["id"]) for sent in missed] == [("granted", first), ("lost", first)]
    assert (live.event, live.data["lease"]["id"]) == ("lost", second)


async def test_a_stream_of_another_session_is_refused(http: HttpDoor) -> None:
    """A session reads its own notices alone; one that is not open has none; a broken number is named."""
    await http.call("session.open", service="kiwi", session_id="s1")

    answers = []
    for session_id, header, value in (
        ("s1", "Cf-Orch-Session", "s2"),
        ("s3", "Accept", "*/*"),
        ("s1", "Last-Event-ID", "last"),
    ):
        async with http.session.get(f"/api/v1/sessions/{session_id}/events", headers={header: value}) as answer:
            answers.append((answer.status, (await answer.json(content_type="application/problem+json"))["code"]))

    assert answers == [(403, "not_yours"), (404, "unknown_session"), (422, "bad_value")]
