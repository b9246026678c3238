"""How long a holder believes in its leases."""

import pytest

from cf_orch.client.belief import Belief


class Clocks:
    """Two clocks turned by hand."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.asleep = 0.0

    def monotonic(self) -> float:
        return self.now

    def boottime(self) -> float:
        return self.now + self.asleep


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def belief(clocks: Clocks) -> Belief:
    return Belief(clocks.monotonic, clocks.boottime)


@pytest.mark.parametrize(
    ("after_s", "phase"), [(0, (False, False)), (19.9, (False, False)), (20, (True, False)), (40, (True, True))]
)
def test_phases(belief: Belief, clocks: Clocks, after_s: float, phase: tuple[bool, bool]) -> None:
    """Belief is sure until 2/3 of the time to live, doubtful until 4/3, and then over."""
    belief.renewed(clocks.now, ttl_s=30)
    clocks.now += after_s

    assert (belief.in_doubt, belief.over) == phase


def test_counts_from_before_the_heartbeat_was_sent(belief: Belief, clocks: Clocks) -> None:
    """An acknowledgement that took 25 s to come leaves the holder in doubt already."""
    sent_at = belief.now()
    clocks.now += 25
    belief.renewed(sent_at, ttl_s=30)

    assert belief.in_doubt
    assert belief.renew_in_s == 0


def test_renews_at_a_third(belief: Belief, clocks: Clocks) -> None:
    """The next heartbeat is due at a third of the time to live."""
    belief.renewed(clocks.now, ttl_s=30)
    clocks.now += 4

    assert belief.renew_in_s == 6


def test_a_woken_machine_renews_before_it_believes(belief: Belief, clocks: Clocks) -> None:
    """A sleep of more than a second puts everything in doubt, until the next acknowledgement."""
    belief.renewed(clocks.now, ttl_s=30)
    clocks.asleep += 3600

    assert belief.woke
    assert belief.in_doubt
    assert not belief.over

    belief.renewed(clocks.now, ttl_s=30)

    assert not belief.in_doubt


def test_looks_again_at_the_next_change(belief: Belief, clocks: Clocks) -> None:
    """The time to look again is the next change, and never more than a second, so that a sleep is noticed."""
    belief.renewed(clocks.now, ttl_s=3)

    assert belief.look_in_s == 1.0
    clocks.now += 1.5
    assert belief.look_in_s == 0.5
    clocks.now += 10
    assert belief.look_in_s == 1.0


def test_nothing_is_believed_before_the_first_acknowledgement(belief: Belief) -> None:
    """A session that was never acknowledged is in doubt."""
    assert belief.in_doubt
