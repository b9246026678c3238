"""What was acknowledged is there: after kill -9, on a full disk, after a power cut."""

import json
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cf_orch.coordinator.journal import Entry, SqliteJournal

WRITER = """
import asyncio, json, os, resource, signal, sys
from pathlib import Path
from cf_orch.coordinator.journal import JournalBroken, SqliteJournal

async def main(state_dir, size, limit, synchronous):
    journal = SqliteJournal(Path(state_dir))
    term = await journal.campaign("writer")
    if synchronous:
        await journal._write(lambda: journal._writer.execute(f"PRAGMA synchronous = {synchronous}"))
    if limit:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    seq = 0
    async for entry in journal.read(1):
        seq = entry.seq
    answers = []
    while len(answers) < 3 and seq < 100_000:
        try:
            await journal.append(term, seq + 1, 1.0, b"%d " % (seq + 1) * size)
        except JournalBroken as error:
            answers.append(str(error))
        else:
            seq += 1
            os.write(1, b"%d\\n" % seq)
    os.write(1, json.dumps(answers).encode() + b"\\n")
    await journal.close()

asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
"""


def writer(state_dir: Path, size: int, *, limit: int = 0, synchronous: str = "") -> list[str]:
    """The command of a process that appends for ever and prints each acknowledged seq."""
    return [sys.executable, "-c", WRITER, str(state_dir), str(size), str(limit), synchronous]


def acknowledged_before_kill(command: list[str], count: int, env: dict[str, str] | None = None) -> int:
    """Run a writer, kill -9 it after `count` acknowledgements or a few more, and give the last that it sent."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=env) as process:
        assert process.stdout is not None
        try:
            for _ in range(count):
                line = process.stdout.readline()
        finally:
            process.send_signal(signal.SIGKILL)
        whole = [text for text in process.stdout.read().splitlines(keepends=True) if text.endswith(b"\n")]
        return int(whole[-1] if whole else line)


def refusals(command: list[str]) -> tuple[int, list[str]]:
    """Run a writer until its disk refuses: the last seq that it acknowledged, and the refusals it then got."""
    run = subprocess.run(command, stdout=subprocess.PIPE, timeout=60, check=True)
    *acknowledged, answers = run.stdout.decode().splitlines()
    return int(acknowledged[-1]), json.loads(answers)


async def history(state_dir: Path) -> list[Entry]:
    """Lead, as a restarted daemon does, and read everything."""
    journal = SqliteJournal(state_dir)
    try:
        await journal.campaign("reader")
        return [entry async for entry in journal.read(1)]
    finally:
        await journal.close()


def check(entries: list[Entry], size: int, acknowledged: int) -> None:
    """The history is gapless, unchanged, and reaches at least as far as was acknowledged."""
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    assert all(entry.body == b"%d " % entry.seq * size for entry in entries)
    assert len(entries) >= acknowledged


async def test_kill_9(tmp_path: Path) -> None:
    """20 times a writer is killed mid-stream: what it acknowledged is there, gapless, and the next goes on."""
    rng = random.Random(20)
    acknowledged = 0
    for _ in range(20):
        now = acknowledged_before_kill(writer(tmp_path, 30), rng.randrange(1, 120))
        assert now > acknowledged
        acknowledged = now
    entries = await history(tmp_path)

    check(entries, 30, acknowledged)
    assert len(entries) <= acknowledged + 20, "each kill may leave one entry whose answer was lost"
    epochs = [entry.epoch for entry in entries]
    assert epochs == sorted(epochs)
    assert len(set(epochs)) == 20


async def test_a_file_that_cannot_grow(tmp_path: Path) -> None:
    """At the process's file size limit the append fails with path and room, twice more, and nothing is lost."""
    acknowledged, answers = refusals(writer(tmp_path, 3000, limit=400_000))

    assert acknowledged > 10
    assert len(answers) == 3
    assert len(set(answers)) == 1
    assert f"{tmp_path}/journal.sqlite3 met an error of the disk" in answers[0]
    assert "bytes free there" in answers[0]
    check(await history(tmp_path), 3000, acknowledged)


def on_small_disk(tmp_path: Path, then: str) -> list[str]:
    """A command prefix that mounts 2 MiB on `tmp_path`/disk for the command alone, and runs `then` beside it."""
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare (util-linux) to mount a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=2m none {disk}"
    probe = subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True, check=False)
    if probe.returncode != 0:
        pytest.skip(f"user namespaces may not mount here: {probe.stderr.decode().strip()}")
    return ["unshare", "-rm", "sh", "-c", f'{mount} && "$@" && {then}', "sh"]


async def test_a_full_disk(tmp_path: Path) -> None:
    """When the disk is full the append says so with path and room, and the acknowledged survive."""
    (tmp_path / "after").mkdir()
    prefix = on_small_disk(tmp_path, f"cp {tmp_path}/disk/state/* {tmp_path}/after")
    acknowledged, answers = refusals([*prefix, *writer(tmp_path / "disk" / "state", 3000)])

    assert acknowledged > 10
    assert len(answers) == 3
    assert len(set(answers)) == 1
    assert f"{tmp_path}/disk/state/journal.sqlite3 cannot grow, the disk is full: make room" in answers[0]
    assert " 0 bytes free there" in answers[0]
    check(await history(tmp_path / "after"), 3000, acknowledged)


SYNCED_ONLY = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Each sync copies the whole file as it then is: the copies are what a power cut would leave. */
static int sync_and_copy(int fd, long call) {
    char link[64], path[4096], copy[4096], draft[4200], buffer[65536];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    int result = syscall(call, fd);
    if (n < 0 || result != 0 || !(path[n] = 0, strstr(path, "/journal.sqlite3"))) return result;
    snprintf(copy, sizeof copy, "%s%s", getenv("SYNCED_DIR"), strrchr(path, '/'));
    snprintf(draft, sizeof draft, "%s.draft", copy);
    int in = open(link, O_RDONLY), out = open(draft, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    while ((n = read(in, buffer, sizeof buffer)) > 0)
        if (write(out, buffer, n) != n) abort();
    close(in);
    close(out);
    rename(draft, copy);
    return 0;
}
int fsync(int fd) { return sync_and_copy(fd, SYS_fsync); }
int fdatasync(int fd) { return sync_and_copy(fd, SYS_fdatasync); }
"""


@pytest.fixture(scope="module")
def synced_only(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library to preload, which keeps in SYNCED_DIR every journal file as it was last synced."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler to see what is synced")
    place = tmp_path_factory.mktemp("synced")
    (place / "synced.c").write_text(SYNCED_ONLY)
    command = [compiler, "-shared", "-fPIC", "-o", str(place / "synced.so"), str(place / "synced.c")]
    subprocess.run(command, check=True, capture_output=True)
    return place / "synced.so"


async def cut_the_power(state_dir: Path, synced_only: Path, count: int, synchronous: str = "") -> tuple[Path, int]:
    """Cut it after `count` acknowledgements: the directory of what was synced, and the last acknowledged."""
    await history(state_dir)
    after = state_dir.with_name("after")
    shutil.copytree(state_dir, after)
    env = {"LD_PRELOAD": str(synced_only), "SYNCED_DIR": str(after)}
    return after, acknowledged_before_kill(writer(state_dir, 10_000, synchronous=synchronous), count, env)


@pytest.mark.parametrize("count", [1, 40, 150])
async def test_power_cut(tmp_path: Path, synced_only: Path, count: int) -> None:
    """From the synced bytes alone all that was acknowledged comes back, before and after a checkpoint."""
    after, acknowledged = await cut_the_power(tmp_path / "state", synced_only, count)

    check(await history(after), 10_000, acknowledged)


async def test_power_cut_without_full_sync(tmp_path: Path, synced_only: Path) -> None:
    """The control: with synchronous=NORMAL the same cut loses acknowledged entries, so the test can see it."""
    after, acknowledged = await cut_the_power(tmp_path / "state", synced_only, 40, "NORMAL")

    assert len(await history(after)) < acknowledged
