"""What is said of a run, and what is made of a model's stream."""

import http.client
import io
import socket

import pytest
from rich.console import Console

from cf_orch.protocol.messages import LeaseInfo, WaitingInfo
from cf_orch.sidecar.demo.record import Sample, Turn
from cf_orch.sidecar.demo.timeline import Timeline, waiting_in_words
from cf_orch.sidecar.demo.writer import gather


def lease(waiting: WaitingInfo | None) -> LeaseInfo:
    return LeaseInfo(
        id="a-2", state="queued", token=None, service="writer", task_type="llm", model=None, priority=20, vram_gb=0.3,
        charge_gb=0, devices=[], position=1, waiting_for=waiting, evictable=False, request_id="r", session_id="s",
        created_at=1.0, granted_at=None, expires_at=None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("memory", "waits for memory that transcriber 1 holds: 0.30 GB needed, 0.10 GB free"),
        ("fifo", "waits its turn behind transcriber 1: 0.30 GB needed, 0.10 GB free"),
        ("drain", "waits (drain): 0.30 GB needed, 0.10 GB free, behind transcriber 1"),
    ],
)
def test_a_wait_is_told_with_its_reason(rule: str, words: str) -> None:
    """Who is waited for, by name, with the numbers."""
    waiting = WaitingInfo(rule=rule, device="d", needs_gb=0.3, free_gb=0.1, behind=["a-1"], eta_s=None)

    assert waiting_in_words(lease(waiting), {"a-1": "transcriber 1"}) == words


def test_who_does_not_wait_needs_no_reason() -> None:
    """A lease that was granted at once says nothing."""
    assert waiting_in_words(lease(None), {}) == ""


def test_lines_are_plain_where_no_terminal_is() -> None:
    """One line for each thing, with the time since the beginning, and no escape sequences."""
    now = 100.0
    console = Console(file=io.StringIO(), width=1000)
    timeline = Timeline(console, clock=lambda: now)
    timeline.begin()
    now = 101.5

    timeline.asked(Turn("writer", 2, 2**29, waited_for="waits its turn"))
    timeline.memory(Sample(1.5, 0, 2**28, 0), 2**29)
    timeline.memory(Sample(1.6, 0, 2**28 + 1, 0), 2**29)

    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().splitlines() == [
        "  1.50 s  writer 2      asks for 0.50 GB, and waits its turn",
        "  1.50 s  the driver    ███████████████░░░░░░░░░░░░░░░ 0.25 GB used, 0.25 GB free",
    ]


def stream(*events: str) -> http.client.HTTPResponse:
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + "".join(f"data: {event}\n\n" for event in events).encode())
    with ours:
        response = http.client.HTTPResponse(ours)
        response.begin()
        return response


def word(text: str | None, reason: str = "null") -> str:
    content = "null" if text is None else f'"{text}"'
    return f'{{"choices": [{{"delta": {{"content": {content}}}, "finish_reason": {reason}}}]}}'


@pytest.mark.parametrize(
    ("events", "complete"),
    [
        ([word(None), word("A "), word("dog."), word(None, '"stop"'), "[DONE]"], True),
        ([word("A "), word("dog."), word(None, '"length"'), "[DONE]"], False),
        ([word("A "), word("dog."), word(None, '"stop"')], False),
        ([word("A "), word("dog.")], False),
    ],
    ids=["ended by itself", "cut off by the limit", "stream broken after the last word", "stream broken"],
)
def test_a_text_is_complete_if_the_model_and_the_stream_say_so(events: list[str], complete: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Only a model that stopped by itself, in a stream that came to its end, has written a whole text."""
    with stream(*events) as response:
        result = gather(response)

    assert result == ("A dog.", complete)
