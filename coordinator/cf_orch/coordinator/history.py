"""What happened, read from the journal: by event numbers, of which each entry holds a run."""

from cf_orch.coordinator.batch import decode_batch
from cf_orch.coordinator.journal import Compacted, Entry, Journal
from cf_orch.ledger.events import DurableEvent

__all__ = ["PastEvent", "read_events"]

PastEvent = tuple[int, float, DurableEvent]
"""(sequence number, wall time as seconds since 1970, what happened)"""


async def read_events(journal: Journal, head_entry: int, since: int, limit: int) -> list[PastEvent]:
    """Return up to ``limit`` events after number ``since``, oldest first, as far back as the journal reaches.

    ``head_entry`` is the number of the last entry on disk.
    """
    found: list[PastEvent] = []
    first_entry = await _entry_before(journal, head_entry, since + 1)
    if first_entry is None or limit <= 0:
        return found
    async for entry in journal.read(first_entry):
        for seq, event in decode_batch(entry.body):
            if seq > since:
                found.append((seq, entry.wall_unix_s, event))
                if len(found) == limit:
                    return found
    return found


async def _entry_before(journal: Journal, head_entry: int, event_seq: int) -> int | None:
    """Find the last entry that begins at or before an event: entries hold rising numbers, so halve the span."""
    oldest = await _oldest(journal)
    if oldest is None:
        return None
    low, high = oldest.seq, head_entry
    while low < high:
        middle = (low + high + 1) // 2
        entry = await _entry_at(journal, middle)
        if entry is None or decode_batch(entry.body)[0][0] > event_seq:
            high = middle - 1
        else:
            low = middle
    return low


async def _oldest(journal: Journal) -> Entry | None:
    try:
        return await _entry_at(journal, 1)
    except Compacted as gone:
        return await _entry_at(journal, gone.oldest_seq)


async def _entry_at(journal: Journal, entry_seq: int) -> Entry | None:
    async for entry in journal.read(entry_seq):
        return entry
    return None
