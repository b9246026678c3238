"""The SQLite file of a journal: made whole or not at all, opened only if it is one, its errors told to people."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from cf_orch.coordinator.journal.interface import JournalBroken

__all__ = ["create_file", "explained", "integer", "open_file", "prepare_writer", "transaction"]

_APPLICATION_ID = 0x63_66_6F_72  # "cfor": tells a journal from any other SQLite file
_SCHEMA_VERSION = 1
_SCHEMA = """
    CREATE TABLE term (id INTEGER PRIMARY KEY CHECK (id = 1), epoch INTEGER NOT NULL);
    INSERT INTO term VALUES (1, 0);
    CREATE TABLE entry (
        seq INTEGER PRIMARY KEY,
        epoch INTEGER NOT NULL,
        wall_unix_s REAL NOT NULL,
        crc32 INTEGER NOT NULL,
        body BLOB NOT NULL
    );
    CREATE TABLE snapshot (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        seq INTEGER NOT NULL,
        crc32 INTEGER NOT NULL,
        body BLOB NOT NULL
    );
"""
_WAL_KEPT_BYTES = 16 * 2**20  # what a large snapshot added beyond is given back

_START_OVER = "keep a copy, then restore a backup or move it aside to begin with an empty ledger"
_ADVICE = {
    sqlite3.SQLITE_FULL: "cannot grow, the disk is full: make room and start again",
    sqlite3.SQLITE_READONLY: "is read-only: mount it writable or mend its permissions, and start again",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened: mend the permissions of its directory, and start again",
    sqlite3.SQLITE_BUSY: "is held by another program, such as a sqlite3 shell: end that and start again",
    sqlite3.SQLITE_IOERR: "met an error of the disk: see the kernel's log, and start again when it is well",
    sqlite3.SQLITE_CORRUPT: f"is damaged: {_START_OVER}",
    sqlite3.SQLITE_NOTADB: f"is not an SQLite file: {_START_OVER}",
}


def integer(db: sqlite3.Connection, statement: str) -> int:
    return int(db.execute(statement).fetchone()[0])


@contextmanager
def transaction(db: sqlite3.Connection, begin: str) -> Iterator[None]:
    db.execute(begin)
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # the first error tells more
            db.execute("ROLLBACK")
        raise


def create_file(path: Path) -> None:
    """Make a new journal appear whole or not at all: an empty file is then always a loss, never a start."""
    wal = path.with_name(f"{path.name}-wal")
    if wal.exists():
        raise JournalBroken(f"{path} is gone, {wal.name} is left: put it back, or remove both to begin anew")
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    new.touch(0o600)
    with closing(sqlite3.connect(new, isolation_level=None)) as db:
        db.executescript(f"PRAGMA journal_mode = OFF; {_SCHEMA}")
        db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
        db.execute("PRAGMA journal_mode = WAL")  # now: a rollback journal must never lie beside the real file
    _sync(new)
    new.rename(path)
    _sync(path.parent)
    _sync(path.parent.parent)  # the directory itself may be new


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def open_file(path: Path, mode: str) -> sqlite3.Connection:
    db = sqlite3.connect(f"{path.as_uri()}?mode={mode}", uri=True, isolation_level=None)
    try:
        _check_kind(db, path)
    except BaseException:
        db.close()
        raise
    return db


def _check_kind(db: sqlite3.Connection, path: Path) -> None:
    if integer(db, "PRAGMA application_id") != _APPLICATION_ID:
        raise JournalBroken(f"{path} is empty or not a journal of cf-orch: {_START_OVER}")
    version = integer(db, "PRAGMA user_version")
    if version > _SCHEMA_VERSION:
        raise JournalBroken(
            f"{path} was written by a newer cf-orch (schema {version}, this one knows {_SCHEMA_VERSION}): "
            "run that version, or use another state directory"
        )


def prepare_writer(db: sqlite3.Connection, path: Path) -> None:
    (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise JournalBroken(f"{path} cannot be in WAL mode: use a state directory on a local disk")
    db.execute("PRAGMA synchronous = FULL")
    db.execute(f"PRAGMA journal_size_limit = {_WAL_KEPT_BYTES}")
    # quick_check goes backwards, which defeats the kernel's read-ahead: 6 s for 400 MiB on a cold disk. One
    # walk forwards brings all pages in first: 0.5 s.
    db.execute("SELECT max(substr(body, -1)) FROM entry").fetchone()
    (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise sqlite3.DatabaseError(" ".join(verdict.split()))


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Tell people of a failure in a sentence: which file, what is wrong, what to do."""
    try:
        yield
    except sqlite3.Error as error:
        # An error without a code is our own: what was read is not what was written.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
        advice = _ADVICE.get(code & 0xFF, "failed: start again")
        detail = f"{getattr(error, 'sqlite_errorname', 'check failed')}: {error}; {_free_room(path)}"
        raise JournalBroken(f"{path} {advice} ({detail})") from error
    except OSError as error:
        place = error.filename or path
        message = f"{place}: {error.strerror} ({_free_room(path)}): mend that and start again"
        raise JournalBroken(message) from error


def _free_room(path: Path) -> str:
    try:
        disk = os.statvfs(path.parent)
    except OSError:
        return "its directory cannot be reached"
    return f"{disk.f_bavail * disk.f_frsize} bytes free there"
