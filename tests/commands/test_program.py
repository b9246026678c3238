"""The program that runs under a lease, as a child of this process."""

import os
import sys
from pathlib import Path

import pytest

from cf_orch.sidecar.commands.failures import CommandFailed
from cf_orch.sidecar.commands.program import Program, find_program

STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"


def test_all_that_a_program_started_ends_with_it(tmp_path: Path) -> None:
    """SIGTERM ends the shell; its child ignores that, and is killed after the grace: the memory may be the child's."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    shell = ["sh", "-c", f'"$@" >{fifo}; true', "sh", sys.executable, "-c", STUBBORN]
    program = Program(find_program("sh"), shell, {}, set())
    with fifo.open() as said:
        said.readline()

        program.end(grace_s=0.1)

        assert said.read() == ""  # its last writer is gone
    assert program.exit_status() == 128 + 15


def test_a_program_that_ends_in_time_is_not_killed() -> None:
    """The grace is the most that it may take, not what it takes."""
    program = Program(find_program("sleep"), ["sleep", "60"], {}, set())

    program.end(grace_s=60)

    assert program.exit_status() == 128 + 15


def test_a_script_whose_interpreter_is_missing(tmp_path: Path) -> None:
    """127, as in a shell; a file that no kernel can run is 126."""
    orphan, garbage = tmp_path / "orphan", tmp_path / "garbage"
    orphan.write_text("#!/no/such/interpreter\n")
    garbage.write_bytes(b"\x00\x01\x02\x03")
    for path in (orphan, garbage):
        path.chmod(0o755)

    with pytest.raises(CommandFailed, match="its interpreter is missing") as missing:
        Program(str(orphan), [str(orphan)], {}, set())
    with pytest.raises(CommandFailed, match="exec format error") as unknown:
        Program(str(garbage), [str(garbage)], {}, set())

    assert (missing.value.status, unknown.value.status) == (127, 126)
