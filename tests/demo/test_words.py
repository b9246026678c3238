"""What is said and drawn of a run, and what is made of a model's stream."""

import http.client
import io
import socket
from importlib.util import find_spec
from pathlib import Path

import pytest
from rich.console import Console
from tests.conftest import require_part
from tests.demo.planted import MB, good_run

from cf_orch.sidecar.demo import plot as plotting
from cf_orch.sidecar.demo.picture import draw
from cf_orch.sidecar.demo.record import Job, Record, Sample
from cf_orch.sidecar.demo.said import Said
from cf_orch.sidecar.demo.script import make_jobs
from cf_orch.sidecar.demo.summary import sum_up
from cf_orch.sidecar.demo.timeline import Timeline
from cf_orch.sidecar.demo.verdict.findings import find
from cf_orch.sidecar.demo.writer import gather


def told(job: Job, *all_said: Said) -> list[str]:
    """What the timeline says when a product says so."""
    console = Console(file=io.StringIO(), width=1000)
    timeline = Timeline(console)
    for said in all_said:
        job.hear(said, said.at)
        timeline.heard(job, said, said.at)
    assert isinstance(console.file, io.StringIO)
    return [line[23:] for line in console.file.getvalue().splitlines()]


def reads(at: float, lease_id: str, token: int | None, state: str = "active", *, local: bool = False) -> Said:
    return Said("lease", at, lease_id=lease_id, token=token, state=state, local=local)


def test_an_eviction_is_told_step_by_step() -> None:
    """From the asking to the return, with the numbers of lease, token and process."""
    job = make_jobs()["texts 1-4"]

    lines = told(
        job,
        Said("asks", 0.0),
        reads(0.5, "a-6", 7),
        Said("started", 0.6, pid=77),
        Said("begins", 1.0, item=1),
        reads(1.1, "a-6", 7, "evicting"),
        Said("result", 2.0, item=1, text="A dog.", complete=True),
        Said("leaves", 2.0),
        Said("stopped", 2.1, pid=77),
        reads(2.1, "a-6", 7, "parked"),
        reads(3.0, "a-6", 9, "loading"),
        reads(3.5, "a-6", 9),
    )

    assert lines == [
        "asks for 0.30 GB in class batch, and gives way when asked to",
        "has its memory, as lease a-6, after 0.5 s",
        "starts process 77 and loads its model into it",
        "text 1 is begun",
        "is asked to give way",
        "wrote text 1: “A dog.”",
        "nothing is being done any more, so that it can give its memory up",
        "ended process 77, which had 0.00 GB",
        "has given its memory up, and keeps its place",
        "has its memory again: lease a-6 as before, token 9 instead of 7",
    ]


def test_a_turn_and_its_adoption_are_told() -> None:
    """Who got it without a coordinator, and what became of that lease when it was back."""
    job = make_jobs()["recording 3"]

    lines = told(
        job,
        Said("asks", 0.0),
        reads(0.01, "local-1", None, local=True),
        reads(5.0, "a-9", 9),
        Said("failed", 6.0, why="X"),
    )

    assert lines == [
        "asks for 0.30 GB in class normal",
        "has a turn on this host, as local-1, at once",
        "the coordinator has adopted local-1: it goes on as lease a-9, token 9",
        "X",
    ]


def test_lines_are_plain_where_no_terminal_is() -> None:
    """One line for each thing, with the time, and no escape sequences; memory only where it changed."""
    console = Console(file=io.StringIO(), width=1000)
    timeline = Timeline(console)

    timeline.killed(1.25)
    timeline.memory(Sample(1.5, 0, 2**28, {}), 2**29)
    timeline.memory(Sample(1.6, 0, 2**28 + 1, {}), 2**29)
    timeline.memory(Sample(1.7, None, None, {}), 2**29)

    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().splitlines() == [
        "  1.25 s  coordinator  is killed (kill -9)",
        "  1.50 s  the driver   ███████████████░░░░░░░░░░░░░░░ 0.25 GB used, 0.25 GB free",
    ]


def test_the_picture_shows_who_had_how_much_when() -> None:
    """A band for each product, as high as the budget, and the coordinator's absence below."""
    record = good_run()
    samples = [
        Sample(0.0, 0, 0, {}),
        Sample(5.0, 0, 0, {"writer": 400 * MB}),
        Sample(10.0, 0, 0, {"writer": 200 * MB}),
        Sample(15.0, 0, 0, {"transcriber": 450 * MB}),
        Sample(20.0, 0, 0, {}),
    ]
    record.samples, record.outage.killed_at, record.outage.returned_at = samples, 5.0, 15.0

    rows = [row.plain for row in draw(record, width=34)]

    assert rows == [
        "      0.39 GB ┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄",
        "                             ▲▲▲▲▲",
        "                             █████",
        "  transcriber                █████",
        "      0.39 GB ┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄",
        "                   █████          ",
        "                   █████▄▄▄▄▄     ",
        "       writer      ██████████     ",
        "  coordinator ━━━━━✕         ━━━━━",
        "              0 s       10 s      ",
    ]


def test_a_run_that_never_began_has_no_picture() -> None:
    """Without a sample there is nothing to draw."""
    assert list(draw(Record(400 * MB, make_jobs()), width=80)) == []


def test_the_summary_has_what_each_waited_and_the_verdict() -> None:
    """A table of the jobs, then each claim with its mark."""
    console = Console(file=io.StringIO(), width=1000)
    record = good_run()
    record.jobs["texts 5-6"].results.pop(5)

    sum_up(console, record, find(record))

    assert isinstance(console.file, io.StringIO)
    said = console.file.getvalue()
    assert "texts 1-4       0.30 GB           0.22 GB    0.1 s          1.7 s" in said
    assert "recording 3     0.30 GB           0.22 GB    3.5 s              -" in said
    assert "FAILED  nothing was lost: texts 5-6: nothing came of 5" in said
    assert said.count("ok    ") == 15


def test_without_matplotlib_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is begun, and the folder is looked at too."""
    monkeypatch.setattr(plotting, "find_spec", lambda _name: None)
    with pytest.raises(plotting.CannotPlot, match=r"--plot needs matplotlib: pip install 'cf-orch\[plots\]'"):
        plotting.check_can_plot(tmp_path / "memory.png")

    monkeypatch.setattr(plotting, "find_spec", lambda _name: object())
    with pytest.raises(plotting.CannotPlot, match=r"there is no folder .*nowhere"):
        plotting.check_can_plot(tmp_path / "nowhere" / "memory.png")
    plotting.check_can_plot(tmp_path / "memory.png")


def test_the_plot_is_a_png(tmp_path: Path) -> None:
    """A run with an outage, and one without any sample, can be drawn."""
    require_part(find_spec("matplotlib") is not None, "matplotlib, of the extra plots")
    plotting.plot(good_run(), tmp_path / "memory.png")
    plotting.plot(Record(400 * MB, make_jobs()), tmp_path / "empty.png")

    assert (tmp_path / "memory.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "empty.png").stat().st_size > 1000
    with pytest.raises(plotting.CannotPlot, match="cannot be written"):
        plotting.plot(good_run(), tmp_path)


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
