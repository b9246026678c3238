"""The ledger against the world itself: where drivers are honest, no grant ever takes more than there really is.

The oracle knows only what the ledger is told; here the cards' real use counts.
"""

from random import Random

import msgspec
import pytest
from tests.ledger.harness import Harness, Step
from tests.ledger.world import World, draw_settings

from cf_orch.ledger import commands as c
from cf_orch.ledger import events as e

STEPS = 60


class HonestWorld(World):
    """Every card names its processes with their bytes, every lease has one, and nobody takes more than promised."""

    def __init__(self, rng: Random, harness: Harness) -> None:
        super().__init__(rng, harness)
        for card in self.cards:
            card.honest, card.driver, card.names = True, True, "bytes"

    def _open(self) -> Step:
        step = super()._open()
        pid = 1000 + int(getattr(step.command, "session_id", "s0")[1:])
        return msgspec.structs.replace(step, command=msgspec.structs.replace(step.command, pid=pid, pid_start=1))

    def _session(self) -> str:
        return self._some_session()

    def _ask(self) -> Step:
        return super()._ask() if self.model.parties else self._open()

    def _ask_badly(self) -> Step:
        return self._step(c.Tick())  # some of the bad requests are possible, and have no process

    def _sync(self) -> Step:
        return self._step(c.Tick())  # what is adopted is a fact, beyond any total

    def really_needed(self, uuid: str) -> int:
        """What its leases may take on a card by their promises, and what all others have there still."""
        card = next(card for card in self.cards if card.uuid == uuid)
        holding = {
            job.id: job.promised for job in self.model.jobs.values() if uuid in job.devices and job.state != "closing"
        }
        others = sum(size for lease_id, size in card.uses.items() if lease_id not in holding)
        beyond = sum(max(0, card.uses.get(lease_id, 0) - size) for lease_id, size in holding.items())
        return sum(holding.values()) + others + beyond + card.kept


@pytest.mark.parametrize("first", range(0, 400, 50))
def test_no_grant_takes_more_than_there_is(first: int) -> None:
    """After each grant the promises, and the bytes that are still there of what has ended, fit into the card."""
    grants = 0
    for seed in range(first, first + 50):
        rng = Random(seed)
        harness = Harness(draw_settings(rng))
        world = HonestWorld(rng, harness)
        totals = {card.uuid: card.total for card in world.cards}
        for step in world.begin():
            harness.do(step)
        for _ in range(STEPS):
            for event in harness.do(world.next()) or ():
                if isinstance(event, e.Granted):
                    grants += 1
                    for uuid in set(event.devices) & totals.keys():
                        assert world.really_needed(uuid) <= totals[uuid], f"seed {seed}: {uuid} at {world.now}"

    assert grants > 100
