"""``status``, ``devices``, ``leases``, ``why``, ``drain``, ``profile``: what they say of a real coordinator."""

import json
import re
import signal

import pytest
from tests.commands.conftest import CF_ORCH, Cli, Coordinator, StartTerminal, said, until

from cf_orch.coordinator.cli import main


def test_status_of_an_idle_device(cli: Cli) -> None:
    """The device with its bar and its free memory; nobody waits."""
    shown = said(cli, "status")

    assert "0 RTX 4090 on " in shown
    assert "(declared: no driver, the ledger alone counts)" in shown
    assert "░" * 24 + " 0 held, 24 free of 24 GB" in shown
    assert "Nobody waits." in shown


def test_status_says_who_holds_and_who_waits_why(cli: Cli, coordinator: Coordinator) -> None:
    """Holder with size and time; waiters in order, each with its reason."""
    holder = coordinator.ask("kiwi", 16, task_type="recipe_llm")
    first = coordinator.ask("peregrine", 20, task_type="asr")
    second = coordinator.ask("merlin", 6, priority="batch")

    shown = said(cli, "status")

    assert "█" * 16 + "░" * 8 + " 16 held, 8 free of 24 GB" in shown
    assert re.search(rf"{holder} kiwi's recipe_llm 16 GB since \d\d:\d\d \(\d s\)", shown)
    assert (
        f"1. {first} peregrine's asr waits for memory on RTX 4090: needs 20 GB, 8 GB free, "
        f"behind kiwi's recipe_llm ({holder})" in shown
    )
    assert (
        f"2. {second} merlin waits its turn on RTX 4090: needs 6 GB, 8 GB free, behind peregrine's asr ({first})"
        in shown
    )


def test_status_says_who_loads(cli: Cli, coordinator: Coordinator) -> None:
    """While an engine loads, nothing else starts, and that is said."""
    loader = coordinator.ask("kiwi", 4, task_type="llm", peak_gb=6)

    shown = said(cli, "status")

    assert f"kiwi's llm ({loader}) is loading: nothing else starts until it is up" in shown
    assert f"{loader} kiwi's llm 6 GB loading, since" in shown


def test_status_fits_80_columns(cli: Cli, coordinator: Coordinator) -> None:
    """No line is longer, and nothing is cut off."""
    coordinator.ask("kiwi", 16, task_type="recipe_llm")
    coordinator.ask("peregrine", 20, task_type="asr")

    lines = cli("status", COLUMNS="80").stdout.splitlines()

    assert max(map(len, lines)) <= 80
    assert "…" not in "".join(lines)


def test_colours_only_on_a_terminal(cli: Cli, terminal: StartTerminal) -> None:
    """Not in a pipe, and not under NO_COLOR; a terminal that shows only ASCII gets an ASCII bar."""
    coloured = terminal(*CF_ORCH, "status").read_until("Nobody waits.")
    plain = terminal(*CF_ORCH, "status", NO_COLOR="1").read_until("Nobody waits.")
    ascii_only = cli("status", PYTHONIOENCODING="ascii").stdout

    assert "\x1b[2m░" in coloured
    assert "\x1b[3" not in plain
    assert "\x1b" not in cli("status").stdout
    assert "." * 24 + "  0 held" in ascii_only


def test_status_watch_goes_on_until_ctrl_c(coordinator: Coordinator, terminal: StartTerminal) -> None:
    """It shows what is new within a second, and Ctrl-C is its proper end."""
    shown = terminal(*CF_ORCH, "status", "--watch")
    shown.read_until("Nobody waits.")
    coordinator.ask("kiwi", 16, task_type="recipe_llm")
    shown.read_until("kiwi's recipe_llm")
    shown.press("\x03")

    assert shown.process.wait(timeout=10) == 0


def test_watch_needs_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """In a pipe it is wrong usage."""
    assert main(["status", "--watch"]) == 2
    assert capsys.readouterr() == ("", "cf-orch: --watch needs a terminal; --json is for programs\n")


@pytest.mark.parametrize("what", ["status", "devices", "leases"])
def test_json_is_the_answer_as_it_came(cli: Cli, coordinator: Coordinator, what: str) -> None:
    """For programs: one JSON text with all that the API says."""
    coordinator.ask("kiwi", 16)

    printed, answer = json.loads(cli(what, "--json").stdout), coordinator.get(f"/{what}")

    assert printed.keys() == answer.keys()
    if what == "leases":
        assert printed == answer


def test_leases(cli: Cli, coordinator: Coordinator) -> None:
    """A row for each, in the order of service; filters by state and service."""
    holder = coordinator.ask("kiwi", 16, task_type="recipe_llm")
    waiter = coordinator.ask("merlin", 20, priority="batch")

    everything, queued = said(cli, "leases"), said(cli, "leases", "--state", "queued")

    assert f"{holder} active kiwi's recipe_llm normal 16 0 RTX 4090 " in everything
    assert f"{waiter} queued 1. merlin batch 20 " in everything
    assert holder not in queued
    assert waiter in queued
    assert said(cli, "leases", "--service", "nobody") == "No such leases. "


def test_ended_leases(cli: Cli, coordinator: Coordinator) -> None:
    """They are listed by how they ended."""
    lease = coordinator.ask("kiwi", 16)
    coordinator.release(lease)

    assert f"{lease} released kiwi" in said(cli, "leases", "--state", "ended")


def test_why_a_lease_waits(cli: Cli, coordinator: Coordinator) -> None:
    """The numbers, the reason, the place, and the chain of those in front."""
    holder = coordinator.ask("kiwi", 16, task_type="recipe_llm")
    first = coordinator.ask("peregrine", 20, task_type="asr")
    second = coordinator.ask("merlin", 6, priority="batch")

    shown = said(cli, "why", second)

    assert shown.startswith(f"{second} is merlin: 6 GB, class batch, asked at ")
    assert "It waits its turn on RTX 4090" in shown
    assert "Others come first: nobody is passed on a device that he could use." in shown
    assert "1 stands before it in the queue. How long that takes is not known. In front of it: " in shown
    assert f"peregrine's asr ({first}) waits for memory on RTX 4090: needs 20 GB, 8 GB free, behind" in shown
    assert f"kiwi's recipe_llm ({holder}) holds 16 GB on RTX 4090 since" in shown


def test_why_knows_how_long(cli: Cli, coordinator: Coordinator) -> None:
    """Once it is known how long a service holds, the wait is told in time."""
    coordinator.release(coordinator.ask("kiwi", 16))
    coordinator.ask("kiwi", 16)
    waiter = coordinator.ask("merlin", 20)

    shown = said(cli, "why", waiter)

    assert re.search(
        r"behind kiwi \([\w-]+\), (about \d s to go|due at any moment)\. Other leases hold the memory", shown
    )
    assert "not known" not in shown


def test_why_for_one_that_does_not_wait(cli: Cli, coordinator: Coordinator) -> None:
    """A granted or ended lease waits for nothing; that is said, and is no failure."""
    lease = coordinator.ask("kiwi", 16)
    granted = said(cli, "why", lease)
    coordinator.release(lease)

    assert "It waits for nothing: it holds 16 GB on RTX 4090 since" in granted
    assert "It has ended, released: its holder gave the memory back." in said(cli, "why", lease)


def test_why_for_one_that_never_was(cli: Cli) -> None:
    """Exit status 1, and the coordinator's sentence."""
    ended = cli("why", "no/such lease")

    assert (ended.returncode, ended.stdout) == (1, "")
    assert "no/such lease" in ended.stderr


def test_drain_and_undo(cli: Cli, coordinator: Coordinator) -> None:
    """Nothing new is granted, for a time or until --undo; what that means is said."""
    coordinator.ask("kiwi", 6)

    for_a_time = said(cli, "drain", "RTX 4090", "--for", "2h")
    waiter = coordinator.ask("merlin", 6)
    why = said(cli, "why", waiter)
    undone = said(cli, "drain", "rtx 4090", "--undo")

    assert re.fullmatch(r"RTX 4090 on \S+ grants nothing new for 2 h 0 min; 1 lease there may finish\. ", for_a_time)
    assert "waits for a drained device: nothing new is granted on RTX 4090" in why
    assert undone.endswith("grants again. ")
    assert until(lambda: not coordinator.leases("queued"))


def test_drain_of_an_unknown_device(cli: Cli) -> None:
    """Exit status 1 with the known ones."""
    ended = cli("drain", "RTX 5090")

    assert ended.returncode == 1
    assert "no device is called 'RTX 5090'; known: 0 = RTX 4090 on" in ended.stderr


def test_profile(capsys: pytest.CaptureFixture[str]) -> None:
    """What a card can do, by the name that people use; unknown ones bring near names and exit status 1."""
    assert main(["profile", "rtx", "4090"]) == 0
    shown = re.sub(" +", " ", capsys.readouterr().out)
    assert main(["profile", "RTX 4090", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert main(["profile", "RTX 4091"]) == 1
    refused = capsys.readouterr()

    assert "memory 24 GB" in shown
    assert "computes in fp16, bf16, fp8, int8\n" in shown
    assert answer["vram_gb"] == 24
    assert refused.out == ""
    assert "no GPU profile is named 'RTX 4091': did you mean" in refused.err


def test_the_unix_socket_serves_as_well(cli: Cli, coordinator: Coordinator) -> None:
    """--url goes over CF_ORCH_URL, and may name a socket."""
    assert "RTX 4090" in said(cli, "status", "--url", f"unix://{coordinator.socket}", CF_ORCH_URL="http://127.0.0.1:9")


def test_the_next_of_several_addresses_is_asked(cli: Cli, coordinator: Coordinator) -> None:
    """A comma list is tried in turn."""
    assert "RTX 4090" in said(cli, "status", CF_ORCH_URL=f"http://127.0.0.1:9,{coordinator.url}")


@pytest.mark.parametrize(
    "command", [["status"], ["devices"], ["leases"], ["why", "x"], ["history", "--follow"], ["drain", "0"]]
)
def test_nobody_answers(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit status 1, and one sentence that says who was asked and what to do."""
    monkeypatch.setenv("CF_ORCH_URL", "http://127.0.0.1:9")

    assert main(command) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == (
        "cf-orch: no coordinator answers at http://127.0.0.1:9 (connection refused): "
        "start one with `cf-orch serve`, or set CF_ORCH_URL\n"
    )


def test_a_wrong_address_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 2, and what one looks like."""
    assert main(["status", "--url", "coordinator"]) == 2
    assert "'coordinator' is no address" in capsys.readouterr().err


def test_a_reader_that_goes_is_no_failure(cli: Cli, coordinator: Coordinator) -> None:
    """``cf-orch history | head -1`` ends quietly."""
    for _ in range(30):
        coordinator.release(coordinator.ask("kiwi", 1))
    process = cli.start("history", "--since", "0", "--follow")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    coordinator.release(coordinator.ask("kiwi", 1))

    assert process.wait(timeout=10) == 128 + signal.SIGPIPE
    assert process.stderr.read() == ""
