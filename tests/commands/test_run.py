"""``cf-orch run``: real programs and real signals under a real coordinator."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.commands.conftest import CF_ORCH, Cli, Coordinator, StartTerminal, until

from cf_orch.coordinator.cli import main

RUN_6 = ("run", "--vram", "6", "--service", "kiwi", "--")
TRAP = """
import signal, sys, time
def told(number, frame):
    print(signal.Signals(number).name, flush=True)
    if number != signal.SIGCONT:
        sys.exit(3)
for number in (1, 2, 3, 10, 12, 15, 18):
    signal.signal(number, told)
print("ready", flush=True)
while True:
    time.sleep(60)
"""
"""Says each signal that it gets, and ends with status 3, save for SIGCONT."""
NAMED_TRAP = TRAP.replace('"ready"', '"ready\\n%d" % __import__("os").getpid()')
"""Says its pid, too."""


def start_ready(cli: Cli, program: str, *flags: str) -> "subprocess.Popen[str]":
    """Start a Python program under a lease, and wait until it says that it is ready."""
    process = cli.start("run", "--vram", "6", "--service", "kiwi", *flags, "--", sys.executable, "-c", program)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def state_of(pid: int) -> str:
    """One letter, as /proc has it: T stopped; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return ""


def test_the_program_gets_the_lease_in_its_environment(cli: Cli, coordinator: Coordinator) -> None:
    """It sees its lease and size; its words and its exit status are its own, and the lease ends with it."""
    ended = cli(*RUN_6, "sh", "-c", 'echo "$CF_ORCH_VRAM_GB GB by $CF_ORCH_LEASE"; exit 7')

    leases = coordinator.get("/leases?state=ended")["leases"]
    assert ended.returncode == 7
    assert ended.stdout == f"6 GB by {leases[-1]['id']}\n"
    assert ended.stderr == ""
    assert (leases[-1]["service"], leases[-1]["outcome"]) == ("kiwi", "released")


def test_what_is_left_out_has_defaults(cli: Cli, coordinator: Coordinator) -> None:
    """The size ``auto`` is the task type's, and the service is the program's name."""
    ended = cli("run", "--vram", "auto", "--task-type", "recipe_llm", "--", "/bin/sh", "-c", "echo $CF_ORCH_VRAM_GB")

    assert ended.stdout == "5.5\n"
    assert coordinator.get("/leases?state=ended")["leases"][-1]["service"] == "sh"


def test_the_programs_process_is_attached(cli: Cli, coordinator: Coordinator) -> None:
    """The coordinator knows which process uses the memory."""
    process = start_ready(cli, NAMED_TRAP)
    assert process.stdout is not None
    pid = int(process.stdout.readline())

    def attached() -> list[int]:
        return [event["event"]["pid"] for event in coordinator.get("/events")["events"] if "attached" in str(event)]

    assert until(lambda: pid in attached())


def test_a_program_that_a_signal_ends_gives_128_and_its_number(cli: Cli) -> None:
    """As a shell does."""
    assert cli(*RUN_6, "sh", "-c", "kill -9 $$").returncode == 128 + 9


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_signals_go_on_to_the_program(cli: Cli, number: signal.Signals) -> None:
    """A signal that is sent to us reaches the program once, and its exit status is still its own."""
    process = start_ready(cli, TRAP)

    process.send_signal(number)

    assert process.communicate(timeout=10) == (f"{number.name}\n", "")
    assert process.returncode == 3


def test_a_wait_is_told_in_plain_lines(cli: Cli, coordinator: Coordinator) -> None:
    """Without a terminal: one line that says the place, why and behind whom; another one at the grant."""
    holder = coordinator.ask("merlin", 20, task_type="image")
    process = cli.start(*RUN_6, "echo", "ran")
    assert process.stderr is not None
    told = process.stderr.readline()
    coordinator.release(holder)

    out, more = process.communicate(timeout=10)
    assert "is number 1 in the queue and waits for memory on RTX 4090: needs 6 GB, 4 GB free" in told
    assert f"behind merlin's image ({holder})" in told
    assert "is granted: 6 GB on RTX 4090" in more
    assert (out, process.returncode) == ("ran\n", 0)


def test_on_a_terminal_the_wait_is_refreshed(coordinator: Coordinator, terminal: StartTerminal) -> None:
    """It is told whole within the terminal's width, again and again in place, and gone when the program speaks."""
    holder = coordinator.ask("otter", 20)
    shown = terminal(*CF_ORCH, *RUN_6, "echo", "ran")
    first = shown.read_until(f"({holder})")
    again = shown.read_until(f"({holder})")
    coordinator.release(holder)

    assert max(map(len, first.splitlines())) < 80
    assert again == "\r\x1b[1A\x1b[J" + first
    assert shown.read_until("is granted").startswith("\r\x1b[1A\x1b[J")
    shown.read_until("ran\r\n")
    assert shown.process.wait(timeout=10) == 0


def test_a_signal_ends_the_wait(cli: Cli, coordinator: Coordinator) -> None:
    """SIGTERM while it waits: the program never starts, and the place in the queue is given up."""
    coordinator.ask("merlin", 20)
    process = cli.start(*RUN_6, "echo", "ran")
    until(lambda: coordinator.leases("queued"))

    process.send_signal(signal.SIGTERM)

    assert process.communicate(timeout=10)[0] == ""
    assert process.returncode == 128 + signal.SIGTERM
    assert coordinator.leases("queued") == []


def test_max_wait_ends_the_wait(cli: Cli, coordinator: Coordinator) -> None:
    """What was waited for is told, and the exit status is 1."""
    coordinator.ask("merlin", 20)

    ended = cli("run", "--vram", "6", "--max-wait", "0.2s", "--", "echo", "ran")

    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("cf-orch: ")
    assert "0.2" in ended.stderr


def test_the_impossible_is_refused_with_what_is_possible(cli: Cli) -> None:
    """The coordinator's sentence, and exit status 1."""
    ended = cli("run", "--vram", "600", "--", "echo", "ran")

    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "cf-orch: 600 GB can never be given: the largest possible is 24 GB (total less reserve)\n"


def test_a_program_that_cannot_run_asks_for_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not found is 127, not executable 126, as in a shell; that is known before anybody is asked for memory."""
    monkeypatch.setenv("CF_ORCH_URL", "http://127.0.0.1:9")
    plain = tmp_path / "plain"
    plain.write_text("echo ran")

    statuses = [main([*RUN_6, name]) for name in ("no-such-program", str(plain), str(tmp_path))]

    assert statuses == [127, 126, 126]
    assert capsys.readouterr().err.splitlines() == [
        "cf-orch: no-such-program: no such program",
        f"cf-orch: {plain} is not executable: try chmod +x, or name its interpreter",
        f"cf-orch: {tmp_path} is a folder, no program",
    ]


def test_a_lost_lease_ends_the_program(cli: Cli, coordinator: Coordinator) -> None:
    """The program is told by SIGTERM; the exit status is 75, and one line says why."""
    process = start_ready(cli, TRAP)

    coordinator.release(coordinator.leases("active")[0]["id"])

    out, told = process.communicate(timeout=10)
    assert (out, process.returncode) == ("SIGTERM\n", 75)
    assert told.startswith("cf-orch: the lease is lost, so the program must end: ")
    assert told.count("\n") == 1


def test_the_program_dies_with_us(cli: Cli, coordinator: Coordinator) -> None:
    """After kill -9 of `cf-orch run` neither program nor lease is left."""
    process = start_ready(cli, TRAP)

    process.kill()

    assert process.communicate(timeout=10) == ("", "")
    assert until(lambda: not coordinator.leases())


def test_a_keeper_that_dies_loses_the_lease(cli: Cli, coordinator: Coordinator) -> None:
    """Who keeps the lease is a process, too: without it the program must not go on."""
    process = start_ready(cli, TRAP)
    keeper = coordinator.get("/sessions")["sessions"][0]["pid"]

    os.kill(keeper, signal.SIGKILL)

    assert "has died" in process.communicate(timeout=10)[1]
    assert process.returncode == 75


def test_ctrl_c_reaches_the_program_once(terminal: StartTerminal) -> None:
    """The terminal sends it to both of us; it is not sent on again."""
    shown = terminal(*CF_ORCH, *RUN_6, sys.executable, "-c", TRAP.replace("sys.exit(3)", "pass"))
    shown.read_until("ready")
    shown.press("\x03")
    shown.read_until("SIGINT")
    shown.press("\x1c")

    assert "SIGINT" not in shown.read_until("SIGQUIT")


def test_ctrl_z_stops_and_fg_continues(coordinator: Coordinator, terminal: StartTerminal) -> None:
    """Under a shell the job stops as any other, keeps its lease while it is stopped, and goes on."""
    shell = terminal("bash", "--norc", "-i", PS1="$ ")
    shell.press(f"{' '.join([*CF_ORCH, *RUN_6])} sh -c 'echo is; while read word; do echo got $word; done'\n")
    shell.read_until("\ris\r")
    lease = coordinator.leases("active")[0]

    shell.press("\x1a")
    shell.read_until("Stopped")
    renewed = until(lambda: coordinator.get(f"/leases/{lease['id']}")["expires_at"] > lease["expires_at"] + 1)
    shell.press("fg\n")
    shell.press("on\n")

    assert renewed
    shell.read_until("got on")


def test_a_stop_that_is_sent_stops_the_program_too(cli: Cli) -> None:
    """SIGTSTP stops both, SIGCONT continues both."""
    process = start_ready(cli, NAMED_TRAP)
    assert process.stdout is not None
    program = int(process.stdout.readline())

    process.send_signal(signal.SIGTSTP)
    assert until(lambda: state_of(process.pid) == state_of(program) == "T")
    process.send_signal(signal.SIGCONT)

    assert process.stdout.readline() == "SIGCONT\n"
    assert until(lambda: state_of(process.pid) == "S")


def test_without_a_coordinator_the_fallback_decides(cli: Cli) -> None:
    """``fail`` says who was asked and what to do; ``local`` runs the program in turn, and says that."""
    nobody = "http://127.0.0.1:9"

    failed = cli("run", "--vram", "6", "--fallback", "fail", "--url", nobody, "--", "echo", "ran")
    local = cli("run", "--vram", "6", "--url", nobody, "--", "echo", "ran")

    assert (failed.returncode, failed.stdout) == (1, "")
    assert f"no coordinator answers ({nobody}" in failed.stderr
    assert "cf-orch serve" in failed.stderr
    assert (local.returncode, local.stdout) == (0, "ran\n")
    assert "no coordinator answers" in local.stderr


@pytest.mark.parametrize(
    "wrong",
    [
        ["--", "true"],
        ["--vram", "6"],
        ["--vram", "six", "--", "true"],
        ["--vram", "6", "--priority", "urgent", "--", "true"],
        ["--vram", "6", "--max-wait", "10", "--", "true"],
        ["--vram", "6", "--gpus", "0", "--", "true"],
        ["--vram", "6", "--url", "ftp://nowhere", "--", "true"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2(
    wrong: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence says what is wrong; it is said before anything is looked for or asked."""
    monkeypatch.setenv("CF_ORCH_URL", "http://127.0.0.1:9")

    with pytest.raises(SystemExit) as ended:  # as argparse ends it
        sys.exit(main(["run", *wrong]))

    assert ended.value.code == 2
    assert "cf-orch" in capsys.readouterr().err
