# ruff: noqa: ASYNC220, ASYNC240 - small files and one process, and nothing else runs on the loop
"""The SQLite journal: its lock, its file, and what it says when that file is not as it should be."""

import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from cf_orch.coordinator.journal import Entry, Fenced, JournalBroken, JournalLocked, SqliteJournal
from cf_orch.coordinator.journal.sqlite_file import prepare_writer

HOLDER = """
import asyncio, sys
from pathlib import Path
from cf_orch.coordinator.journal import SqliteJournal

async def main():
    await SqliteJournal(Path(sys.argv[1])).campaign("the first")
    print("leads", flush=True)
    sys.stdin.read()

asyncio.run(main())
"""


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[SqliteJournal]:
    journal = SqliteJournal(tmp_path / "state")
    yield journal
    await journal.close()


async def read_everything(journal: SqliteJournal) -> None:
    """Read entries and snapshot."""
    await read_all(journal)
    await journal.latest_snapshot()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the journal's file will be."""
    return tmp_path / "state" / "journal.sqlite3"


async def write_some(file: Path, count: int = 50) -> None:
    """Fill the journal and close it."""
    journal = SqliteJournal(file.parent)
    term = await journal.campaign("me")
    for seq in range(1, count + 1):
        await journal.append(term, seq, float(seq), b"entry %d " % seq * 100)
    await journal.snapshot(term, count, b"the state " * 100)
    await journal.close()


async def read_all(journal: SqliteJournal) -> list[Entry]:
    return [entry async for entry in journal.read(1)]


async def test_a_second_process_is_refused_with_the_pid(journal: SqliteJournal, tmp_path: Path) -> None:
    """A second daemon is told the pid of the first, at once; when the first is killed, the second leads."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "state")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"leads\n"
        with pytest.raises(
            JournalLocked, match=rf"{tmp_path / 'state'} is in use by pid {first.pid} \(the first\)"
        ) as e:
            await journal.campaign("the second")
        first.send_signal(signal.SIGKILL)
        first.wait()

    assert e.value.pid == first.pid
    assert (await journal.campaign("the second")).epoch == 2


async def test_a_lock_that_names_nobody_yet(journal: SqliteJournal, file: Path) -> None:
    """A holder that has not written its pid yet is another process all the same."""
    first = SqliteJournal(file.parent)
    await first.campaign("me")
    os.truncate(file.with_suffix(".lock"), 0)

    with pytest.raises(JournalLocked, match="in use by another process") as locked:
        await journal.campaign("me")
    assert locked.value.pid is None
    await first.close()


async def test_the_file_fences_when_the_lock_does_not(journal: SqliteJournal, file: Path) -> None:
    """On a file system whose locks do nothing, the epoch in the file still stops the older writer."""
    old = await journal.campaign("me")
    with closing(sqlite3.connect(file)) as other, other:
        other.execute("UPDATE term SET epoch = epoch + 1")

    with pytest.raises(Fenced, match=f"term {old.epoch} has ended"):
        await journal.append(old, 1, 0.0, b"")
    assert not journal.holds(old)
    assert await read_all(journal) == []


async def test_for_the_owner_alone(journal: SqliteJournal, file: Path) -> None:
    """The directory and every file in it are closed to others, whatever the umask."""
    umask = os.umask(0)
    try:
        term = await journal.campaign("me")
        await journal.append(term, 1, 0.0, b"")
    finally:
        os.umask(umask)

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [file.parent, *file.parent.iterdir()]}
    assert modes.pop("state") == 0o700
    assert {"journal.sqlite3", "journal.sqlite3-wal", "journal.lock"} <= modes.keys()
    assert set(modes.values()) == {0o600}


async def test_durable_settings(journal: SqliteJournal) -> None:
    """The writing connection is in WAL mode and syncs each commit."""
    await journal.campaign("me")
    (mode,) = await journal._write(lambda: journal._writer.execute("PRAGMA journal_mode").fetchone())  # type: ignore[union-attr]
    (level,) = await journal._write(lambda: journal._writer.execute("PRAGMA synchronous").fetchone())  # type: ignore[union-attr]

    assert (mode, level) == ("wal", 2)


def test_no_wal_no_journal(file: Path) -> None:
    """A store that cannot be in WAL mode, as a database in memory, is refused."""
    with closing(sqlite3.connect(":memory:")) as db, pytest.raises(JournalBroken, match="cannot be in WAL mode"):
        prepare_writer(db, file)


async def test_the_wal_stays_small(journal: SqliteJournal, file: Path) -> None:
    """While 24 MB pass through the journal beside a reader that never finishes, the WAL keeps to a few MiB."""
    term = await journal.campaign("me")
    await journal.append(term, 1, 0.0, b"")
    reader = journal.read(1)
    await anext(reader)
    for seq in range(2, 400):
        await journal.append(term, seq, 0.0, bytes(60_000))
    size = file.with_name("journal.sqlite3-wal").stat().st_size
    await reader.aclose()  # type: ignore[attr-defined]

    assert size < 6 * 2**20


async def test_readable_without_a_campaign(journal: SqliteJournal, file: Path) -> None:
    """A journal that nobody leads can be read, and reading takes no lock."""
    await write_some(file)

    assert len(await read_all(journal)) == 50
    other = SqliteJournal(file.parent)
    await other.campaign("me")
    await other.close()


async def test_a_newer_schema_is_refused(journal: SqliteJournal, file: Path) -> None:
    """A file of a later version is refused by number, to writers and readers, and left as it was."""
    await write_some(file)
    with closing(sqlite3.connect(file)) as db:
        db.execute("PRAGMA user_version = 2")
    before = file.read_bytes()

    with pytest.raises(JournalBroken, match=rf"{file} was written by a newer cf-orch \(schema 2, this one knows 1\)"):
        await journal.campaign("me")
    with pytest.raises(JournalBroken, match="newer cf-orch"):
        await journal.latest_snapshot()
    assert file.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"no database " * 1000], ids=["empty", "garbage"])
async def test_not_a_journal(journal: SqliteJournal, file: Path, content: bytes) -> None:
    """What is no journal is refused by its path, and never made into one."""
    file.parent.mkdir()
    file.write_bytes(content)

    with pytest.raises(JournalBroken, match=rf"{file} is .*restore a backup or move it aside"):
        await journal.campaign("me")
    assert file.read_bytes() == content


async def test_another_program_s_database(journal: SqliteJournal, file: Path) -> None:
    """A database of another program under our name is refused untouched."""
    file.parent.mkdir()
    with closing(sqlite3.connect(file)) as db:
        db.execute("CREATE TABLE theirs (x)")

    with pytest.raises(JournalBroken, match="not a journal of cf-orch"):
        await journal.campaign("me")


async def test_a_file_that_vanished_beside_its_wal(journal: SqliteJournal, file: Path) -> None:
    """A WAL without its file is not taken for a beginning: acknowledged entries may be in it."""
    file.parent.mkdir()
    wal = file.with_name("journal.sqlite3-wal")
    wal.write_bytes(b"acknowledged entries")

    with pytest.raises(JournalBroken, match=r"journal\.sqlite3 is gone, journal\.sqlite3-wal is left"):
        await journal.campaign("me")
    assert wal.exists()
    assert not file.exists()


async def test_a_start_that_was_cut_short(journal: SqliteJournal, file: Path) -> None:
    """What a first start left half made does not hinder the next."""
    file.parent.mkdir()
    file.with_suffix(".new").write_bytes(b"half")

    assert (await journal.campaign("me")).epoch == 1


async def test_a_damaged_page_is_found_at_the_start(journal: SqliteJournal, file: Path) -> None:
    """Pages overwritten in the middle of the file are found before anything is promised."""
    await write_some(file)
    with file.open("r+b") as raw:
        raw.seek(4096 * 4)
        raw.write(b"\xff" * 4096 * 4)

    for _ in range(2):
        with pytest.raises(JournalBroken, match=rf"{file} is damaged: keep a copy"):
            await journal.campaign("me")


async def test_damage_that_no_entry_shows(journal: SqliteJournal, file: Path) -> None:
    """A wrong count of free pages, by which a later entry could overwrite an older one, is found at the start."""
    await write_some(file)
    with file.open("r+b") as raw:
        raw.seek(36)
        raw.write((3).to_bytes(4, "big"))

    with pytest.raises(JournalBroken, match=r"is damaged: .*[Ff]reelist"):
        await journal.campaign("me")


@pytest.mark.parametrize("content", [b"entry 7 ", b"the state "])
async def test_a_changed_byte_is_found_on_reading(journal: SqliteJournal, file: Path, content: bytes) -> None:
    """One wrong bit inside a body, which SQLite cannot see, is not handed out as history."""
    await write_some(file)
    raw = file.read_bytes()
    assert content in raw
    file.write_bytes(raw.replace(content, content[:-1] + b"!", 1))

    await journal.campaign("me")
    with pytest.raises(JournalBroken, match=r"is damaged: .*entry (7|50) is not as it was written"):
        await read_everything(journal)


async def test_a_missing_entry_is_found_on_reading(journal: SqliteJournal, file: Path) -> None:
    """A gap is damage, not history."""
    await write_some(file)
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("DELETE FROM entry WHERE seq = 20")

    with pytest.raises(JournalBroken, match="entry 20 is not as it was written"):
        await read_all(journal)


async def test_a_place_that_cannot_be(tmp_path: Path) -> None:
    """A state directory below a file is refused with its path and the reason."""
    (tmp_path / "file").touch()
    journal = SqliteJournal(tmp_path / "file" / "state")

    with pytest.raises(JournalBroken, match=rf"{tmp_path}/file/state: Not a directory .*mend that"):
        await journal.campaign("me")
    await journal.close()


async def test_broken_for_good(journal: SqliteJournal, file: Path) -> None:
    """After one failed write every later one gets the same answer, though it would succeed; reading goes on."""
    term = await journal.campaign("me")
    await journal.append(term, 1, 0.0, b"kept")
    with closing(sqlite3.connect(file)) as db:
        db.execute("ALTER TABLE entry RENAME TO hidden")
        with pytest.raises(JournalBroken, match="no such table") as first:
            await journal.append(term, 2, 0.0, b"lost")
        db.execute("ALTER TABLE hidden RENAME TO entry")

    assert not journal.holds(term)
    later = (journal.append(term, 2, 0.0, b""), journal.snapshot(term, 1, b""), journal.campaign("me"))
    for write in later:
        with pytest.raises(JournalBroken) as again:
            await write
        assert str(again.value) == str(first.value)
    assert [entry.body for entry in await read_all(journal)] == [b"kept"]
