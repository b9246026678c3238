"""The folder of the journal: whose, on what, with how much room; and the settings that say where it is."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import require_part
from tests.doctor.conftest import Host, one

from cf_orch.coordinator.config import default_state_dir, read_config
from cf_orch.sidecar.doctor.settings import ServeSettings, read_settings
from cf_orch.sidecar.doctor.state_folder import check_file_system, check_state_folder, check_state_space
from cf_orch.sidecar.doctor.versions import check_packages, check_settings, check_versions

MOUNTS = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"


def settled(host: Host, folder: Path) -> list[str]:
    machine = host.machine(settings=ServeSettings(folder))
    return [finding.level for finding in check_state_folder(machine)]


def test_a_folder_that_can_be_written_to_is_left_as_it_was(host: Host) -> None:
    """Nothing stays behind."""
    assert one(check_state_folder(host.machine()), "state_folder").level == "ok"
    assert list(host.state_dir.iterdir()) == []


def test_a_folder_that_can_be_made(host: Host) -> None:
    """It is not made by looking."""
    folder = host.state_dir / "deep" / "deeper"

    assert settled(host, folder) == ["ok"]
    assert not folder.parent.exists()


def test_a_file_in_the_way(host: Host) -> None:
    """In its place, and above it."""
    file = host.state_dir / "file"
    file.write_text("")

    assert settled(host, file) == ["error"]
    assert settled(host, file / "below") == ["error"]


def test_a_folder_of_another_user() -> None:
    """Looked at by one who is not root, with root's journal in it."""
    require_part(os.geteuid() == 0, "root, who can become somebody else")
    code = (
        "import os, json, tempfile; from pathlib import Path\n"
        "from cf_orch.sidecar.doctor.machine import Machine\n"
        "from cf_orch.sidecar.doctor.settings import ServeSettings\n"
        "from cf_orch.sidecar.doctor.state_folder import check_state_folder\n"
        "folder = Path(tempfile.mkdtemp()); (folder / 'journal').write_text(''); (folder / 'journal').chmod(0o600)\n"
        "folder.chmod(0o755); seen = []\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os.setgid(65534); os.setuid(65534)\n"
        "    seen += check_state_folder(Machine(ServeSettings(folder)))\n"
        "    seen += check_state_folder(Machine(ServeSettings(folder / 'new')))\n"
        "    print(json.dumps([one.found for one in seen if one.level == 'error']), flush=True)\n"
        "    os._exit(0)\n"
        "os.waitpid(child, 0); folder.chmod(0o777)\n"
        "if os.fork() == 0:\n"
        "    os.setgid(65534); os.setuid(65534)\n"
        "    print(json.dumps([one.found for one in check_state_folder(Machine(ServeSettings(folder)))]), flush=True)\n"
        "    os._exit(0)\n"
        "os.wait(); import shutil; shutil.rmtree(folder)\n"
    )

    answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    closed, open_to_all = (json.loads(line) for line in answer.stdout.splitlines())
    assert closed[0].endswith("cannot be written to: Permission denied")
    assert "may not be written to" in closed[1]
    assert open_to_all[0].endswith("these may not be written to: journal")


@pytest.mark.parametrize(
    ("kind", "level", "word"),
    [
        ("ext4", "ok", "lasts"),
        ("btrfs", "ok", "lasts"),
        ("nfs4", "error", "over a network"),
        ("cifs", "error", "over a network"),
        ("9p", "error", "over a network"),
        ("tmpfs", "warning", "next boot"),
        ("overlay", "warning", "gone with that"),
    ],
)
def test_what_the_folder_is_on(host: Host, kind: str, level: str, word: str) -> None:
    """By the kernel's own list; the longest mount that holds it counts, and of two at one place the later."""
    at = str(host.state_dir).replace(" ", "\\040")
    lines = f"{MOUNTS}30 22 0:5 / {at} rw - xfs /dev/sdb1 rw\n31 22 0:6 / {at} rw shared:1 - {kind} server:/x rw\n"
    host.write("/proc/self/mountinfo", lines)

    finding = one(check_file_system(host.machine()), "file_system")

    assert finding.level == level
    assert f" is on {kind} " in finding.found
    assert word in finding.why


def test_a_mount_with_a_blank_in_its_name(host: Host) -> None:
    """The kernel writes it as an octal number."""
    folder = host.root / "my state" / "new"
    at = str(folder.parent).replace(" ", "\\040")
    folder.parent.mkdir()
    host.write("/proc/self/mountinfo", f"{MOUNTS}30 22 0:5 / {at} rw - tmpfs tmpfs rw\n")

    finding = one(check_file_system(host.machine(settings=ServeSettings(folder))), "file_system")

    assert "will be on tmpfs" in finding.found


def test_a_neighbours_mount_does_not_count(host: Host) -> None:
    """/state is not /state2, and without a list of mounts nothing is said."""
    host.write("/proc/self/mountinfo", f"{MOUNTS}30 22 0:5 / {str(host.state_dir)[:-1]} rw - nfs server:/x rw\n")
    assert "on ext4" in one(check_file_system(host.machine()), "file_system").found

    host.write("/proc/self/mountinfo", "")
    assert check_file_system(host.machine()) == []


def test_room_for_the_journal(host: Host) -> None:
    """Nothing is said while there is enough."""
    require_part(shutil.disk_usage(host.state_dir).free > 2**30, "a disk with room")

    assert check_state_space(host.machine()) == []


def test_a_real_file_system_that_is_nearly_full(host: Host) -> None:
    """One megabyte of memory, mounted for this test alone."""
    unshare = shutil.which("unshare")
    mount = f"mount -t tmpfs -o size=1m none {host.state_dir}"
    can = unshare is not None and subprocess.run([unshare, "-m", "sh", "-c", mount], check=False).returncode == 0
    require_part(can, "the right to mount in a namespace of its own")
    code = (
        "import sys; from pathlib import Path; from cf_orch.sidecar.doctor.machine import Machine\n"
        "from cf_orch.sidecar.doctor.settings import ServeSettings\n"
        "from cf_orch.sidecar.doctor.state_folder import check_file_system, check_state_space\n"
        "machine = Machine(ServeSettings(Path(sys.argv[1])))\n"
        "print(*[one.found for one in check_state_space(machine) + check_file_system(machine)], sep='\\n')\n"
    )
    script = f'{mount} && exec "$0" -c "$1" "$2"'

    command = [str(unshare), "-m", "sh", "-c", script, sys.executable, code, str(host.state_dir)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)

    space, kind = answer.stdout.splitlines()
    assert space.startswith("1 MB are free")
    assert f"is on tmpfs ({host.state_dir})" in kind


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"XDG_STATE_HOME": "/somewhere"},
        {"CF_ORCH_STATE_DIR": "/var/tmp/x", "CF_ORCH_PORT": "7800"},
        {"CF_ORCH_CONFIG": "config.toml"},
        {"CF_ORCH_CONFIG": "config.toml", "CF_ORCH_STATE_DIR": "/var/tmp/y"},
    ],
)
def test_the_settings_are_those_that_serve_reads(
    environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same places in the same order."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").write_text('state_dir = "/srv/state"\nport = 7801\n')
    served = read_config({}, environ)

    settings = read_settings(None, environ)

    assert settings == ServeSettings(served.state_dir, served.port)
    assert str(read_settings(None, {}).state_dir) == os.path.expanduser(default_state_dir({}))  # noqa: PTH111 - a text


@pytest.mark.parametrize(
    ("environ", "word"),
    [
        ({"CF_ORCH_CONFIG": "/nowhere.toml"}, "/nowhere.toml"),
        ({"CF_ORCH_PORT": "many"}, "'many'"),
        ({"CF_ORCH_PORT": "70000"}, "'70000'"),
    ],
)
def test_settings_that_cannot_be_read_are_an_error(host: Host, environ: dict[str, str], word: str) -> None:
    """They are told, and the rest is examined by the defaults."""
    machine = host.machine(settings=read_settings(None, environ))

    assert word in one(check_settings(machine), "settings").found
    assert machine.settings.coordinator_port == 7700
    assert check_settings(host.machine()) == []


def test_the_versions_that_run_here(host: Host) -> None:
    """An old kernel is told of; the packages of this very environment are well."""
    assert one(check_versions(host.machine()), "versions").level == "ok"
    assert check_packages(host.machine()) == []

    host.write("/proc/sys/kernel/osrelease", "4.15.0-generic\n")
    assert one(check_versions(host.machine()), "versions").level == "warning"
