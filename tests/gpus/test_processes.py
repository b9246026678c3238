"""Processes, on a made-up /proc and on the real one."""

import os
import shutil
import sys

import pytest
from tests.gpus.conftest import FakeProc, Holder

from cf_orch.gpus import ProcFs

MIB = 2**20


def test_start_is_field_22_whatever_the_command_is_called(proc: FakeProc) -> None:
    """A command with blanks and parentheses does not shift the fields after it."""
    proc.add(7, start=4711, command="a) S 9 (b")

    assert ProcFs(proc.root).start_ticks(7) == 4711


def test_absent_process_is_none(proc: FakeProc) -> None:
    """A pid that nobody has gives None for everything."""
    procfs = ProcFs(proc.root)

    assert (procfs.stat(7), procfs.start_ticks(7), procfs.name(7), procfs.pss_bytes(7)) == (None,) * 4
    assert procfs.ancestors(7) == ()


def test_process_that_goes_while_it_is_read_is_absent(proc: FakeProc) -> None:
    """A stat file that is cut short counts as no process."""
    proc.write("7/stat", "7 (prog) S 1")

    assert ProcFs(proc.root).stat(7) is None


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        ((), "prog"),
        (("/usr/local/bin/ollama", "runner", "--model", "/models/x"), "ollama"),
        (("./llama-server", "--api-key", "secret"), "llama-server"),
        (("VLLM::EngineCore",), "VLLM::EngineCore"),
        (("sshd: root@pts/0",), "sshd: root@pts/0"),
        (("/usr/bin/python3", "/srv/app/train.py", "--key", "secret"), "python3 train.py"),
        (("python3.11", "-u", "-OO", "train.py"), "python3.11 train.py"),
        (("python", "-m", "vllm.entrypoints.api_server"), "python -m vllm.entrypoints.api_server"),
        (("python", "-c", "password = 'secret'"), "python"),
        (("python", "-W", "error", "train.py"), "python"),
        (("node", "--token", "secret"), "node"),
        (("python",), "python"),
        (("shotwell", "photo.jpg"), "shotwell"),
        (("/opt/evil\x1b[2J",), "evil?[2J"),
        (("x" * 100,), "x" * 64),
    ],
)
def test_name_is_readable_and_keeps_arguments_to_itself(proc: FakeProc, argv: tuple[str, ...], name: str) -> None:
    """A name tells a person what runs, never shows an argument's value, and cannot steer a terminal."""
    proc.add(7, argv=argv)

    assert ProcFs(proc.root).name(7) == name


def test_name_falls_back_to_the_command(proc: FakeProc) -> None:
    """A process whose command line is not to be read is called by its command."""
    proc.add(7, command="Xorg")
    (proc.root / "7" / "cmdline").unlink()

    assert ProcFs(proc.root).name(7) == "Xorg"


def test_ancestors_go_up_to_pid_1(proc: FakeProc) -> None:
    """Parents are named nearest first, and pid 1 is left out."""
    proc.add(1, parent=0, start=1)
    proc.add(10, start=50)
    proc.add(20, parent=10, start=60)
    proc.add(30, parent=20, start=60)

    assert ProcFs(proc.root).ancestors(30) == ((20, 60), (10, 50))


def test_ancestors_end_at_a_parent_younger_than_its_child(proc: FakeProc) -> None:
    """A parent's pid that was given anew, so to a process born after the child, is no ancestor."""
    proc.add(10, start=90)
    proc.add(20, parent=10, start=60)

    assert ProcFs(proc.root).ancestors(20) == ()


def test_ancestors_end_at_the_edge_of_a_pid_namespace(proc: FakeProc) -> None:
    """A process whose parent is outside the namespace (pid 0) has no ancestors."""
    proc.add(20, parent=0)

    assert ProcFs(proc.root).ancestors(20) == ()


def test_rss_stands_in_where_pss_is_denied(proc: FakeProc) -> None:
    """PSS if it may be read, else RSS, else nothing."""
    proc.add(1, pss_kib=10, rss_kib=30)
    proc.add(2, rss_kib=30)
    proc.add(3)
    (proc.root / "2" / "smaps_rollup").mkdir()  # what a file gives that cannot be read: an OSError
    procfs = ProcFs(proc.root)

    assert [procfs.pss_bytes(pid) for pid in (1, 2, 3)] == [10 * 1024, 30 * 1024, None]


def test_tree_counts_descendants(proc: FakeProc) -> None:
    """A tree's PSS is that of its root and of all below it, and of nobody else."""
    proc.add(1, parent=0, pss_kib=1)
    proc.add(10, pss_kib=100)
    proc.add(20, parent=10, pss_kib=10)
    proc.add(30, parent=20, pss_kib=5)
    proc.add(40, pss_kib=1000)

    assert ProcFs(proc.root).tree_pss_bytes([(10, None)]) == {10: 115 * 1024}


def test_nested_roots_share_nothing(proc: FakeProc) -> None:
    """A process below two roots counts once, for the nearer."""
    proc.add(10, pss_kib=100)
    proc.add(20, parent=10, pss_kib=10)
    proc.add(30, parent=20, pss_kib=5)

    assert ProcFs(proc.root).tree_pss_bytes([(10, None), (20, None)]) == {10: 100 * 1024, 20: 15 * 1024}


def test_tree_of_another_process_with_the_same_pid_is_absent(proc: FakeProc) -> None:
    """A pid that was given anew is not the process that was attached; nor is one that is gone."""
    proc.add(10, start=50, pss_kib=100)
    proc.add(20, start=60, pss_kib=7)

    assert ProcFs(proc.root).tree_pss_bytes([(10, 49), (20, 60), (99, None)]) == {20: 7 * 1024}


def test_process_without_memory_is_absent_from_its_tree(proc: FakeProc) -> None:
    """A zombie holds nothing, and a tree of nothing but zombies is no tree."""
    proc.add(10)
    proc.add(20, parent=10, pss_kib=7)
    proc.add(30)

    assert ProcFs(proc.root).tree_pss_bytes([(10, None), (30, None)]) == {10: 7 * 1024}


def test_real_process_tree(holder: Holder) -> None:
    """On the real /proc: start, name, ancestors and a tree's PSS of processes that run."""
    pid, (child,) = holder(50, 30)
    procfs = ProcFs()
    start = procfs.start_ticks(pid)

    assert start is not None
    assert procfs.name(child) == f"{os.path.basename(sys.executable)} holder.py"  # noqa: PTH119 - as a path's text
    assert procfs.ancestors(child)[:2] == ((pid, start), (os.getpid(), procfs.start_ticks(os.getpid())))
    assert 80 * MIB <= procfs.tree_pss_bytes([(pid, start)])[pid] < 120 * MIB
    assert 30 * MIB <= procfs.tree_pss_bytes([(child, None)])[child] < 50 * MIB


def test_gone_folder_is_absent(proc: FakeProc) -> None:
    """A process seen once and gone since is absent, and its neighbours are not."""
    proc.add(10, pss_kib=1)
    proc.add(20, pss_kib=2)
    procfs = ProcFs(proc.root)
    assert procfs.tree_pss_bytes([(10, None), (20, None)]) == {10: 1024, 20: 2048}

    shutil.rmtree(proc.root / "10")

    assert procfs.tree_pss_bytes([(10, None), (20, None)]) == {20: 2048}
