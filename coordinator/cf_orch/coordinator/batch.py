"""What goes to the journal in one write, and who is told once it is there."""

import asyncio
from typing import cast

import msgspec

from cf_orch.coordinator.listeners import Hearing
from cf_orch.ledger.events import DurableEvent, Event

__all__ = ["Batch", "decode_batch"]


class _Body(msgspec.Struct):
    first_seq: int
    events: list[DurableEvent]


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Body)


class Batch:
    """Events decided but not yet on disk.  ``done`` is set when they are, or has the journal's failure."""

    def __init__(self) -> None:
        """Begin an empty batch on the running loop."""
        self.first_seq = 0
        self.events: list[DurableEvent] = []
        self.changed_leases: set[str] = set()
        self.hearings: list[Hearing] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def add(self, events: list[Event], seq_after: int) -> None:
        """Take the durable ones of some events, after which the ledger's sequence number is ``seq_after``."""
        durable = [cast("DurableEvent", event) for event in events if event.durable]
        if durable and not self.events:
            self.first_seq = seq_after - len(durable) + 1
        self.events += durable

    def encode(self) -> bytes:
        """Make the journal's entry."""
        return _encoder.encode(_Body(self.first_seq, self.events))


def decode_batch(body: bytes) -> list[tuple[int, DurableEvent]]:
    """Read an entry: each event with its sequence number."""
    decoded = _decoder.decode(body)
    return list(enumerate(decoded.events, decoded.first_seq))
