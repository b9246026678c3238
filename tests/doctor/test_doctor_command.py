"""The command as a user runs it, and the check-up that never hangs and never falls."""

import json
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from tests.doctor.conftest import CARD, Host

from cf_orch.sidecar.doctor.checks import CHECKS
from cf_orch.sidecar.doctor.checkup import check_up
from cf_orch.sidecar.doctor.finding import LEVELS, Finding, worst
from cf_orch.sidecar.doctor.machine import Machine, NoAnswer

RUN = """
import sys
from cf_orch.coordinator import cli
cli.COMMANDS.setdefault("doctor", ("cf_orch.sidecar.doctor.command", "say what is wrong with this machine"))
sys.exit(cli.main(["doctor", *sys.argv[1:]]))
"""
COLOUR = re.compile(r"\x1b\[[\d;]*m")


def doctor(host: Host, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", RUN, "--state-dir", str(host.state_dir), *arguments]
    return subprocess.run(command, env=host.environ, capture_output=True, text=True, check=False, timeout=30)


def answer(host: Host, *arguments: str) -> Any:
    return json.loads(doctor(host, "--json", *arguments).stdout)


def test_what_is_wrong_is_told_with_why_and_what_to_do(host: Host) -> None:
    """An error makes the exit status 1; every section and the sum are printed."""
    done = doctor(host)

    assert done.returncode == 1, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("  ERROR    no coordinator answers at"))
    assert lines[at + 1].strip().startswith("why  ")
    assert lines[at + 2].strip().startswith("do   ")
    assert {"cf-orch", "driver", "coordinator", "state folder"} <= set(lines)
    assert re.fullmatch(r"1 error, (?:\d+ warnings?, )?\d+ to know, \d+ ok", lines[-1])


def test_nobody_at_the_default_address_is_no_error(host: Host) -> None:
    """On a machine that is being set up nothing is wrong yet: exit status 0."""
    del host.environ["CF_ORCH_URL"]

    done = doctor(host)

    assert done.returncode == 0, done.stdout + done.stderr


def test_json_says_the_same_for_programs(host: Host) -> None:
    """Each finding has five fields, levels are counted."""
    told = answer(host)

    assert set(told["findings"][0]) == {"id", "level", "found", "why", "do"}
    assert told["counts"]["error"] == 1
    assert {finding["level"] for finding in told["findings"]} <= set(LEVELS)
    assert {"driver", "coordinator", "clocks", "state_folder", "ports.sidecar"} <= {
        one["id"] for one in told["findings"]
    }


def test_every_finding_that_is_not_well_says_what_to_do(host: Host) -> None:
    """Why it matters, and what to do about it."""
    host.environ |= {"CF_ORCH_CONFIG": "/nowhere.toml", "container": "lxc", "NVIDIA_VISIBLE_DEVICES": "all"}

    for finding in answer(host)["findings"]:
        assert finding["found"]
        assert finding["why"]
        assert finding["do"] or finding["level"] in ("ok", "info"), finding


def test_the_card_of_the_driver_is_in_the_report(gpu_host: Host) -> None:
    """The driver's library is found as the linker finds it."""
    found = [finding["found"] for finding in answer(gpu_host)["findings"] if finding["id"] == "driver.card"]

    assert found == ["NVIDIA GeForce RTX 4090 (GPU-0): 24 GB, compute capability 8.9, 0 programs on it"]


def test_a_driver_that_hangs_costs_only_its_time(gpu_host: Host) -> None:
    """The report comes, with everything else in it, and the process ends."""
    gpu_host.says(CARD, "delay nvmlDeviceGetCount_v2 60000")
    began = time.monotonic()

    told = answer(gpu_host)

    assert time.monotonic() - began < 20.0
    driver = next(finding for finding in told["findings"] if finding["id"] == "driver")
    assert driver["level"] == "error"
    assert "clocks" in {finding["id"] for finding in told["findings"]}


@pytest.mark.parametrize(
    "arguments",
    [
        ("--nonsense",),
        ("adapter",),
        ("adapter", "x", "--pfet", "1"),
        ("--python", "/nowhere"),
        ("--python", "/etc/passwd"),
    ],
)
def test_a_wrong_command_line(host: Host, arguments: tuple[str, ...]) -> None:
    """Exit status 2, and no traceback."""
    done = doctor(host, *arguments)

    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_program_that_is_no_python(host: Host) -> None:
    """What it should tell is not known, and that is all."""
    told = answer(host, "--python", "/bin/true")

    found = next(finding for finding in told["findings"] if finding["id"] == "cuda")
    assert found["level"] == "warning"
    assert "/bin/true" in found["found"]


def test_an_environments_folder_is_a_python_too(host: Host) -> None:
    """As people name virtual environments."""
    told = answer(host, "--python", sys.prefix)

    found = next(finding for finding in told["findings"] if finding["id"] == "cuda")
    assert f"{sys.prefix}/bin/python" in found["found"]


def test_colours_only_on_a_terminal(host: Host) -> None:
    """And on a terminal lines are broken beside their label."""
    assert not COLOUR.search(doctor(host).stdout)
    ours, theirs = pty.openpty()
    environ = {**host.environ, "TERM": "xterm-256color", "COLUMNS": "72"}
    environ.pop("NO_COLOR", None)
    command = [sys.executable, "-c", RUN, "--state-dir", str(host.state_dir)]
    with subprocess.Popen(command, env=environ, stdout=theirs, stderr=theirs, stdin=theirs) as process:
        os.close(theirs)
        shown = _read_all(ours)
        assert process.wait(timeout=20) == 1
    os.close(ours)

    assert "\x1b[1;31mERROR" in shown
    plain = COLOUR.sub("", shown).replace("\r", "").splitlines()
    assert max(len(line.rstrip()) for line in plain) <= 72


def _read_all(descriptor: int) -> str:
    content = b""
    while True:
        try:
            part = os.read(descriptor, 65536)
        except OSError:  # the last who held the other side has gone
            part = b""
        if not part:
            return content.decode()
        content += part


def test_a_reader_that_has_gone_is_no_failure(host: Host) -> None:
    """As in ``cf-orch doctor | head -1``."""
    command = f'"$0" -c "$1" --state-dir {host.state_dir} --json | head -1'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable, RUN], env=host.environ, capture_output=True, text=True, check=True
    )

    assert done.stdout == "{\n"
    assert "Traceback" not in done.stderr


def test_a_check_that_fails_or_hangs_is_a_finding(host: Host) -> None:
    """The others' findings come all the same, in their order, and in time."""
    forever = Event()

    def check_first(_machine: Machine) -> list[Finding]:
        return [Finding("first", "ok", "found", "why")]

    def check_hung(_machine: Machine) -> list[Finding]:
        forever.wait()
        return []

    def check_ill(_machine: Machine) -> list[Finding]:
        raise KeyError("it")

    def check_mute(_machine: Machine) -> list[Finding]:
        raise NoAnswer("python gave no answer")

    began = time.monotonic()
    sections = {"one": (check_hung, check_first), "two": (check_ill, check_mute)}

    found = check_up(host.machine(), sections, within_s=0.5)

    forever.set()
    assert time.monotonic() - began < 5.0
    assert [(one.id, one.level) for one in found["one"]] == [("hung", "error"), ("first", "ok")]
    assert [(one.id, one.level) for one in found["two"]] == [("ill", "warning"), ("mute", "warning")]
    assert "did not end within 0.5 s" in found["one"][0].found
    assert "KeyError: 'it'" in found["two"][0].found


def test_a_check_that_hangs_does_not_keep_the_process() -> None:
    """It ends with a thread still waiting."""
    code = (
        "from pathlib import Path; from threading import Event; from cf_orch.sidecar.doctor.checkup import check_up\n"
        "from cf_orch.sidecar.doctor.machine import Machine\n"
        "from cf_orch.sidecar.doctor.settings import ServeSettings\n"
        "def check_hung(machine): Event().wait()\n"
        "found = check_up(Machine(ServeSettings(Path())), {'all': (check_hung,)}, within_s=0.1)\n"
        "print(found['all'][0].level)\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=15)

    assert done.stdout == "error\n"


def test_checks_run_side_by_side(host: Host) -> None:
    """Each waits for the other, so neither could end alone."""
    here, there = Event(), Event()

    def check_here(_machine: Machine) -> list[Finding]:
        here.set()
        return [Finding("here", "ok", str(there.wait(5)), "")]

    def check_there(_machine: Machine) -> list[Finding]:
        there.set()
        return [Finding("there", "ok", str(here.wait(5)), "")]

    found = check_up(host.machine(), {"all": (check_here, check_there)}, within_s=10)

    assert [one.found for one in found["all"]] == ["True", "True"]


def test_each_check_has_a_name_of_its_own() -> None:
    """By it a finding says which check it was that failed."""
    names = [check.__name__ for checks in CHECKS.values() for check in checks]

    assert len(names) == len(set(names))
    assert all(name.startswith("check_") for name in names)


def test_the_worst_level() -> None:
    """Nothing found is nothing wrong."""
    assert worst([]) == "ok"
    assert (
        worst([Finding("a", "warning", "", ""), Finding("b", "error", "", ""), Finding("c", "info", "", "")]) == "error"
    )


def test_names_cannot_steer_the_terminal(host: Host, tmp_path: Path) -> None:
    """What others name is shown without its control characters."""
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps({"peft_type": "LORA", "\x1b[31mred": "\x1b]0;title\x07"}))

    done = doctor(host, "adapter", str(file), "--peft", "0.6.2")

    assert done.returncode == 1
    assert "\x1b" not in done.stdout
