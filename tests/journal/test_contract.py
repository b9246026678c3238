"""What every journal promises, held against each of them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from cf_orch.coordinator.journal import (
    Compacted,
    Entry,
    Fenced,
    Journal,
    JournalBroken,
    JournalLocked,
    MemoryDisk,
    MemoryJournal,
    Snapshot,
    SqliteJournal,
    Term,
)

Opener = Callable[[], Journal]


@pytest.fixture(params=["memory", "sqlite"])
async def open_journal(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Opener]:
    """Open one more journal on the same state; all are closed in the end."""
    disk = MemoryDisk()
    opened: list[Journal] = []

    def open_one() -> Journal:
        sqlite = request.param == "sqlite"
        opened.append(SqliteJournal(tmp_path / "state") if sqlite else MemoryJournal(disk))
        return opened[-1]

    yield open_one
    for journal in opened:
        await journal.close()


@pytest.fixture
def journal(open_journal: Opener) -> Journal:
    return open_journal()


async def entries(journal: Journal, from_seq: int = 1) -> list[Entry]:
    return [entry async for entry in journal.read(from_seq)]


async def exhaust(reader: AsyncIterator[Entry], seqs: list[int]) -> None:
    """Read to the end, noting in `seqs` what was read."""
    async for entry in reader:
        seqs.append(entry.seq)  # noqa: PERF401 - what was read before an error counts


async def fill(journal: Journal, term: Term, count: int, *, first: int = 1) -> None:
    """Append `count` entries; entry n was written at n seconds."""
    for seq in range(first, first + count):
        await journal.append(term, seq, float(seq), b"batch %d" % seq)


async def test_reads_what_was_appended(journal: Journal) -> None:
    """Entries come back whole and in order, from any of them on; beyond the head there is nothing."""
    term = await journal.campaign("me")
    bodies = [b"", b"\x00\xff", b"x" * 100_000]
    for seq, body in enumerate(bodies, 1):
        await journal.append(term, seq, 1000.5 + seq, body)

    expected = [Entry(seq, term.epoch, 1000.5 + seq, body) for seq, body in enumerate(bodies, 1)]
    assert await entries(journal) == expected
    assert await entries(journal, 3) == expected[2:]
    assert await entries(journal, 4) == []


async def test_a_new_journal_is_empty(journal: Journal) -> None:
    """Before anything was ever written, also before a campaign, there is nothing to read, and no error."""
    assert await entries(journal) == []
    assert await journal.latest_snapshot() is None


async def test_long_history(journal: Journal) -> None:
    """A history of more entries than one look holds is read without a gap."""
    term = await journal.campaign("me")
    await fill(journal, term, 250)

    assert [entry.seq for entry in await entries(journal, 2)] == list(range(2, 251))


@pytest.mark.parametrize("seq", [0, 2, 4, -1])
async def test_only_the_next_seq(journal: Journal, seq: int) -> None:
    """An append anywhere but behind the head is refused, changes nothing, and the right one still works."""
    term = await journal.campaign("me")
    await fill(journal, term, 2)

    with pytest.raises(Fenced, match=f"entry {seq} cannot follow entry 2"):
        await journal.append(term, seq, 0.0, b"elsewhere")
    assert len(await entries(journal)) == 2
    await fill(journal, term, 1, first=3)
    assert len(await entries(journal)) == 3


async def test_a_newer_term_fences_the_older(journal: Journal) -> None:
    """After the next campaign nothing is written under the old term: no entry, snapshot or pruning."""
    old = await journal.campaign("me")
    await fill(journal, old, 2)
    new = await journal.campaign("me again")

    assert (journal.holds(old), journal.holds(new)) == (False, True)
    for write in (journal.append(old, 3, 0.0, b""), journal.snapshot(old, 2, b""), journal.prune(old, 9.0)):
        with pytest.raises(Fenced, match=f"term {old.epoch} has ended"):
            await write
    assert len(await entries(journal)) == 2
    assert await journal.latest_snapshot() is None
    await fill(journal, new, 1, first=3)
    assert [entry.epoch for entry in await entries(journal)] == [old.epoch, old.epoch, new.epoch]


async def test_a_made_up_term_is_fenced(journal: Journal) -> None:
    """A term that nobody won writes nothing, before and after a real one."""
    with pytest.raises(Fenced):
        await journal.append(Term(1), 1, 0.0, b"")
    real = await journal.campaign("me")
    with pytest.raises(Fenced):
        await journal.append(Term(real.epoch + 1), 1, 0.0, b"")
    assert journal.holds(real)


async def test_epochs_grow_over_restarts(open_journal: Opener) -> None:
    """Each campaign gets a greater epoch, also after a close, and finds the entries of the former."""
    epochs = []
    for restart in range(3):
        journal = open_journal()
        term = await journal.campaign("me")
        assert len(await entries(journal)) == restart
        await fill(journal, term, 1, first=restart + 1)
        epochs += [term.epoch, (await journal.campaign("me")).epoch]
        await journal.close()

    assert epochs == sorted(set(epochs))
    assert len(epochs) == 6


async def test_one_leader(open_journal: Opener) -> None:
    """While one leads, another is told so at once and by name, and may read; after a resignation it leads."""
    first, second = open_journal(), open_journal()
    old = await first.campaign("kiwi:7700")
    await fill(first, old, 1)

    with pytest.raises(JournalLocked, match="kiwi:7700") as locked:
        await second.campaign("other")
    assert locked.value.holder == "kiwi:7700"
    assert len(await entries(second)) == 1
    await first.resign(old)
    new = await second.campaign("other")
    assert new.epoch > old.epoch
    assert not first.holds(old)
    with pytest.raises(Fenced):
        await first.append(old, 2, 0.0, b"too late")
    await fill(second, new, 1, first=2)
    with pytest.raises(JournalLocked, match="other"):
        await first.campaign("kiwi:7700")


async def test_resigning_an_old_term_is_harmless(journal: Journal) -> None:
    """Resigning twice, or a term that has ended, leaves the newest alone."""
    old = await journal.campaign("me")
    new = await journal.campaign("me")
    await journal.resign(old)
    assert journal.holds(new)
    await journal.resign(new)
    await journal.resign(new)
    assert not journal.holds(new)


async def test_the_latest_snapshot_counts(open_journal: Opener) -> None:
    """A snapshot replaces the earlier one and outlives a restart."""
    journal = open_journal()
    term = await journal.campaign("me")
    await fill(journal, term, 3)
    await journal.snapshot(term, 2, b"state after 2")
    await journal.snapshot(term, 3, b"state after 3")
    await journal.close()

    assert await open_journal().latest_snapshot() == Snapshot(3, b"state after 3")


@pytest.mark.parametrize("seq", [1, 4])
async def test_a_snapshot_lies_between_the_former_and_the_head(journal: Journal, seq: int) -> None:
    """A snapshot of the future, or one older than what is kept, is refused and changes nothing."""
    term = await journal.campaign("me")
    await fill(journal, term, 3)
    await journal.snapshot(term, 2, b"state after 2")

    with pytest.raises(ValueError, match=f"snapshot of entry {seq}: not within 2 to 3"):
        await journal.snapshot(term, seq, b"wrong")
    assert await journal.latest_snapshot() == Snapshot(2, b"state after 2")


async def test_prune_keeps_the_young(journal: Journal) -> None:
    """What is not older than the given time stays, though the snapshot covers it."""
    term = await journal.campaign("me")
    await fill(journal, term, 9)
    await journal.snapshot(term, 9, b"state")

    assert await journal.prune(term, 4.0) == 3
    assert [entry.seq for entry in await entries(journal, 4)] == [4, 5, 6, 7, 8, 9]
    assert await journal.prune(term, 4.0) == 0


async def test_prune_keeps_what_follows_the_snapshot(journal: Journal) -> None:
    """However old, an entry that the snapshot does not cover stays; without a snapshot all do."""
    term = await journal.campaign("me")
    await fill(journal, term, 5)

    assert await journal.prune(term, 1e9) == 0
    await journal.snapshot(term, 3, b"state")
    assert await journal.prune(term, 1e9) == 3
    assert [entry.seq for entry in await entries(journal, 4)] == [4, 5]


async def test_prune_leaves_no_gap_when_the_wall_clock_jumped(journal: Journal) -> None:
    """An entry that bears an old time between young ones stays with them."""
    term = await journal.campaign("me")
    for seq, wall_unix_s in enumerate([100.0, 200.0, 5.0, 201.0], 1):
        await journal.append(term, seq, wall_unix_s, b"")
    await journal.snapshot(term, 4, b"state")

    assert await journal.prune(term, 150.0) == 1
    assert [entry.seq for entry in await entries(journal, 2)] == [2, 3, 4]


async def test_prune_of_many(journal: Journal) -> None:
    """More entries than one transaction drops are dropped all the same."""
    term = await journal.campaign("me")
    await fill(journal, term, 1100)
    await journal.snapshot(term, 1099, b"state")

    assert await journal.prune(term, 1e9) == 1099
    assert [entry.seq for entry in await entries(journal, 1100)] == [1100]


async def test_reading_what_was_pruned(journal: Journal) -> None:
    """A reader from before the oldest entry is told where it can begin, also when none is left."""
    term = await journal.campaign("me")
    await fill(journal, term, 4)
    await journal.snapshot(term, 4, b"state")
    await journal.prune(term, 3.0)
    with pytest.raises(Compacted) as some:
        await entries(journal, 2)
    await journal.prune(term, 1e9)
    with pytest.raises(Compacted) as all_gone:
        await entries(journal, 4)

    assert (some.value.oldest_seq, all_gone.value.oldest_seq) == (3, 5)
    assert await entries(journal, 5) == []


async def test_the_head_outlives_its_entries(open_journal: Opener) -> None:
    """When all entries are pruned and the journal is opened anew, the sequence goes on."""
    journal = open_journal()
    term = await journal.campaign("me")
    await fill(journal, term, 4)
    await journal.snapshot(term, 4, b"state")
    await journal.prune(term, 1e9)
    await journal.close()

    journal = open_journal()
    term = await journal.campaign("me")
    with pytest.raises(Fenced, match="entry 1 cannot follow entry 4"):
        await fill(journal, term, 1)
    await fill(journal, term, 1, first=5)
    assert [entry.seq for entry in await entries(journal, 5)] == [5]


async def test_pruned_while_reading(journal: Journal) -> None:
    """A slow reader whose next entries are pruned is told so, and never skips."""
    term = await journal.campaign("me")
    await fill(journal, term, 300)
    await journal.snapshot(term, 300, b"state")
    reader = journal.read(1)
    seen = [(await anext(reader)).seq]
    await journal.prune(term, 251.0)

    with pytest.raises(Compacted):
        await exhaust(reader, seen)
    assert seen == list(range(1, len(seen) + 1))
    assert len(seen) < 300


async def test_read_while_writing(journal: Journal) -> None:
    """A reader beside a writer sees a gapless beginning of what is written."""
    term = await journal.campaign("me")
    await fill(journal, term, 1)
    writing = asyncio.create_task(fill(journal, term, 150, first=2))
    while not writing.done():
        seqs = [entry.seq for entry in await entries(journal)]
        assert seqs == list(range(1, len(seqs) + 1))
        await asyncio.sleep(0)
    await writing

    assert len(await entries(journal)) == 151


async def test_close(journal: Journal) -> None:
    """After a close, which is harmless twice, everything but a resignation says that it was closed."""
    term = await journal.campaign("me")
    await journal.close()
    await journal.close()
    await journal.resign(term)

    assert not journal.holds(term)
    for use in (journal.campaign("me"), journal.append(term, 1, 0.0, b""), journal.latest_snapshot(), entries(journal)):
        with pytest.raises(JournalBroken, match="was closed"):
            await use


async def test_memory_fails_when_told_to() -> None:
    """After `fail_after` appends the twin is broken for good, and what was acknowledged is still there."""
    disk = MemoryDisk()
    journal = MemoryJournal(disk, fail_after=2)
    term = await journal.campaign("me")
    await fill(journal, term, 2)

    for _ in range(2):
        with pytest.raises(JournalBroken, match="disk is full"):
            await journal.append(term, 3, 0.0, b"")
    assert not journal.holds(term)
    with pytest.raises(JournalBroken):
        await journal.campaign("me")
    assert len(await entries(journal)) == 2


async def test_memory_crash() -> None:
    """After a crash the next journal leads on the same entries, and the one that crashed writes nothing."""
    disk = MemoryDisk()
    first, second = MemoryJournal(disk), MemoryJournal(disk)
    old = await first.campaign("first")
    await fill(first, old, 1)
    disk.crash()

    with pytest.raises(Fenced):
        await first.append(old, 2, 0.0, b"")
    new = await second.campaign("second")
    with pytest.raises(JournalLocked):
        await first.campaign("first")
    await first.close()
    assert new.epoch > old.epoch
    assert second.holds(new)
    await fill(second, new, 1, first=2)
    assert len(await entries(second)) == 2
