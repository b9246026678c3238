"""``cf-orch hold``: a person's own lease."""

import getpass
import re
import signal

from tests.commands.conftest import CF_ORCH, Cli, Coordinator, StartTerminal, until


def test_it_holds_until_it_is_told_to_end(cli: Cli, coordinator: Coordinator) -> None:
    """The memory is the person's, in the class realtime, and goes back at the end."""
    process = cli.start("hold", "--vram", "6")
    assert process.stdout is not None
    told = process.stdout.readline()
    lease = coordinator.leases("active")[0]
    process.send_signal(signal.SIGTERM)

    out, err = process.communicate(timeout=10)
    assert re.fullmatch(rf"{lease['id']} holds 6 GB on RTX 4090 on \S+ until Ctrl-C\.\n", told)
    assert (lease["service"], lease["priority"], lease["vram_gb"]) == (f"person:{getpass.getuser()}", 40, 6)
    assert (out, err, process.returncode) == (f"{lease['id']} is given back.\n", "", 0)
    assert coordinator.leases() == []


def test_it_waits_its_turn_and_says_so(cli: Cli, coordinator: Coordinator) -> None:
    """Everything is not there while others hold some of it: the wait is told, and the grant."""
    holder = coordinator.ask("kiwi", 4, task_type="llm")
    process = cli.start("hold", "--vram", "all", "--device", "rtx 4090")
    assert process.stderr is not None
    assert process.stdout is not None
    waits = process.stderr.readline()
    coordinator.release(holder)

    assert "waits for memory on RTX 4090: needs 24 GB, 20 GB free, behind kiwi's llm" in waits
    assert "holds 24 GB on RTX 4090" in process.stdout.readline()


def test_it_ends_after_its_time(cli: Cli, coordinator: Coordinator) -> None:
    """--for bounds it, and it says until when."""
    ended = cli("hold", "--vram", "all", "--for", "0.3s", "--priority", "batch")

    assert ended.returncode == 0
    assert re.search(r"holds 24 GB on RTX 4090 on \S+ until \d\d:\d\d \(0 s\) or Ctrl-C\.", ended.stdout)
    assert coordinator.get("/leases?state=ended")["leases"][-1]["priority"] == 10


def test_ctrl_c_is_its_proper_end(coordinator: Coordinator, terminal: StartTerminal) -> None:
    """Exit status 0, and the memory is back."""
    shown = terminal(*CF_ORCH, "hold", "--vram", "6")
    shown.read_until("until Ctrl-C.")
    shown.press("\x03")

    assert shown.process.wait(timeout=10) == 0
    assert until(lambda: not coordinator.leases())


def test_losing_it_is_told(cli: Cli, coordinator: Coordinator) -> None:
    """An operator may end it: exit status 1 and why."""
    process = cli.start("hold", "--vram", "6")
    assert process.stdout is not None
    process.stdout.readline()

    coordinator.release(coordinator.leases("active")[0]["id"])

    assert process.communicate(timeout=10)[1].startswith("cf-orch: the lease is lost: ")
    assert process.returncode == 1


def test_without_a_coordinator_there_is_nothing_to_hold(cli: Cli) -> None:
    """It never falls back to turns on this host: exit status 1."""
    ended = cli("hold", "--vram", "6", CF_ORCH_URL="http://127.0.0.1:9")

    assert ended.returncode == 1
    assert "no coordinator answers" in ended.stderr


def test_an_unknown_device_is_refused(cli: Cli) -> None:
    """Exit status 1 with the known ones."""
    ended = cli("hold", "--vram", "all", "--device", "7")

    assert ended.returncode == 1
    assert "no device is called '7'; known: 0 = RTX 4090" in ended.stderr
