"""The systemd unit and its user, as systemd's own programs read them."""

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.conftest import require_part
from tests.deploy.conftest import DEPLOY

UNIT, USER = DEPLOY / "systemd/cf-orch.service", DEPLOY / "systemd/cf-orch.sysusers"
MOST_EXPOSURE = "25"
"""In tenths: 0 is none, 100 all.  The rest is the network, other processes and the cards' files, which it is for."""


def systemd(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    require_part(shutil.which(program) is not None, f"{program}: the package systemd has it")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit, with the program where this machine has one: that of the unit is installed by a person."""
    text = UNIT.read_text()
    assert text.count("/opt/cf-orch/bin/cf-orch") == 1
    path = tmp_path / UNIT.name
    path.write_text(text.replace("/opt/cf-orch/bin/cf-orch", shutil.which("true") or "/bin/true"))
    return path


def test_systemd_has_nothing_to_say_against_the_unit(unit: Path) -> None:
    said = systemd("systemd-analyze", "verify", "--man=no", str(unit))

    assert (said.returncode, said.stderr) == (0, "")


def test_a_mistake_in_the_unit_would_be_told(unit: Path) -> None:
    unit.write_text(unit.read_text().replace("NoNewPrivileges", "NoNewPriviledges"))
    said = systemd("systemd-analyze", "verify", "--man=no", str(unit))

    assert "NoNewPriviledges" in said.stderr


def test_the_unit_is_shut_off_from_what_it_does_not_need(unit: Path) -> None:
    said = systemd("systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSURE}", str(unit))

    assert said.returncode == 0, said.stdout


def test_the_user_has_the_images_number(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    said = systemd("systemd-sysusers", f"--root={tmp_path}", str(USER))

    assert said.returncode == 0, said.stderr
    assert (tmp_path / "etc/passwd").read_text().startswith("cf-orch:x:7700:7700:")
    assert (tmp_path / "etc/group").read_text() == "cf-orch:x:7700:\n"


def test_the_runtime_folder_outlives_the_coordinator_and_is_the_groups() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.read(UNIT)
    service = unit["Service"]

    assert service["RuntimeDirectory"] == "cf-orch"
    assert service["RuntimeDirectoryMode"] == "2770"
    assert service["RuntimeDirectoryPreserve"] == "yes"
    assert "--socket /run/cf-orch/sock" in service["ExecStart"]
