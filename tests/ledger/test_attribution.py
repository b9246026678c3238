"""Whose bytes the driver shows."""

from cf_orch.ledger import Process, Sample
from cf_orch.ledger.attribution import Account, Claim, attribute


def claim(
    name: str, token: int, *pids: int, kept: int = 0, promised: int = 8, closing: bool = False, start: int | None = None
) -> Claim:
    """A lease that may use 8 bytes unless told otherwise."""
    return Claim(name, token, tuple((pid, start) for pid in pids), kept, promised, closing)


def process(pid: int, used: int | None, start: int | None = None, *ancestors: tuple[int, int | None]) -> Process:
    """A process as the driver lists it."""
    return Process(pid=pid, pid_start=start, used_bytes=used, ancestors=ancestors)


def account(used: int, processes: list[Process], claims: list[Claim], floor: int | None = 0) -> Account:
    """Share out what one sample shows."""
    return attribute(Sample(taken_at=0.0, used_bytes=used, processes=tuple(processes)), claims, floor)


def test_a_process_fills_its_lease() -> None:
    """The bytes of a lease's process are the lease's; the rest of the use is foreign, and so are its processes."""
    told = account(9, [process(1, 6), process(2, 3)], [claim("a", 1, 1)])

    assert told == Account({"a": 6}, 3, (process(2, 3),), 3)


def test_an_ancestor_counts_as_the_lease() -> None:
    """A child of a lease's process is the lease's too."""
    assert account(6, [process(7, 6, 50, (5, 40), (1, 10))], [claim("a", 1, 1)]).seen_bytes == {"a": 6}


def test_a_process_is_its_nearest_owners() -> None:
    """A child that was attached to one lease is not shared with another lease of its parent, older or leaving."""
    claims = [claim("old", 1, 1, kept=6, closing=True), claim("new", 2, 1, 7)]

    assert account(6, [process(7, 6, 50, (1, 10))], claims).seen_bytes == {"old": 0, "new": 6}
    assert account(6, [process(1, 6)], claims).seen_bytes == {"old": 6, "new": 0}


def test_a_number_used_again_is_another_process() -> None:
    """A process with the same number and another start is foreign; where one start is not known it is the same."""
    later, unknown = process(1, 6, 99), process(1, 6)

    assert account(6, [later], [claim("a", 1, 1, start=10)]).foreign_bytes == 6
    assert account(6, [unknown], [claim("a", 1, 1, start=10)]).foreign_bytes == 0
    assert account(6, [later], [claim("a", 1, 1)]).foreign_bytes == 0


def test_a_shared_process_fills_the_oldest_first_up_to_its_promise() -> None:
    """Two leases of one process share its bytes by age; what is over is over-use of the newest."""
    both = [claim("b", 2, 1), claim("a", 1, 1)]

    assert account(10, [process(1, 10)], both).seen_bytes == {"a": 8, "b": 2}
    assert account(18, [process(1, 18)], both).seen_bytes == {"a": 8, "b": 10}


def test_what_was_seen_before_stays_where_it_was() -> None:
    """The newer lease, which had all, keeps it until the process grows."""
    both = [claim("a", 1, 1), claim("b", 2, 1, kept=8)]

    assert account(8, [process(1, 8)], both).seen_bytes == {"a": 0, "b": 8}
    assert account(12, [process(1, 12)], both).seen_bytes == {"a": 4, "b": 8}


def test_a_closing_lease_keeps_its_bytes_until_the_sum_falls() -> None:
    """While the process shows as much as before nothing has come back, whoever of its leases is new."""
    both = [claim("old", 1, 1, kept=8, closing=True), claim("new", 2, 1)]

    assert account(8, [process(1, 8)], both).seen_bytes == {"old": 8, "new": 0}
    assert account(3, [process(1, 3)], both).seen_bytes == {"old": 3, "new": 0}


def test_a_closing_lease_is_the_first_to_give_back() -> None:
    """What a staying lease was seen to use before is still its own when the process shrinks."""
    both = [claim("old", 1, 1, kept=8, closing=True), claim("new", 2, 1, kept=8)]

    assert account(9, [process(1, 9)], both).seen_bytes == {"old": 1, "new": 8}


def test_over_use_of_closing_leases_alone() -> None:
    """Where no lease stays the newest closing one has what is over."""
    both = [claim("a", 1, 1, kept=4, closing=True), claim("b", 2, 1, kept=4, closing=True)]

    assert account(9, [process(1, 9)], both).seen_bytes == {"a": 4, "b": 5}


def test_growth_is_the_leases_where_no_process_is_named() -> None:
    """Without a list of processes what grew over the floor is the leases', oldest first; the rest is foreign."""
    both = [claim("a", 1, 1), claim("b", 2)]

    assert account(13, [], both, floor=3) == Account({"a": 8, "b": 2}, 3, (), 3)
    assert account(30, [], both, floor=3) == Account({"a": 8, "b": 8}, 14, (), 3)


def test_the_floor_falls_with_foreign_use() -> None:
    """What is now less than the floor is the new floor."""
    assert account(1, [], [claim("a", 1)], floor=3) == Account({"a": 0}, 1, (), 1)


def test_the_floor_is_what_is_seen_while_no_lease_grows() -> None:
    """With nobody to grow all unclaimed use is foreign, and is the floor for later."""
    assert account(5, [process(2, 5)], [], floor=None) == Account({}, 5, (process(2, 5),), 5)
    assert account(9, [process(1, 4)], [claim("a", 1, 1)], floor=None).floor_bytes == 5


def test_without_a_floor_nothing_is_taken_for_growth() -> None:
    """After a restart what is unclaimed counts as foreign: rather twice than not at all."""
    assert account(9, [], [claim("a", 1)], floor=None) == Account({"a": 0}, 9, (), None)


def test_a_process_without_its_bytes_lets_its_lease_grow() -> None:
    """A listed process whose bytes the driver does not say is filled by growth, others by what is said."""
    listed = [process(1, None), process(2, 4), process(3, None)]
    told = account(12, listed, [claim("a", 1, 1), claim("b", 2, 2)], floor=2)

    assert told.seen_bytes == {"a": 6, "b": 4}
    assert told.foreign_bytes == 2
    assert told.foreign_processes == (process(3, None),)


def test_a_lease_without_processes_grows_beside_others_that_have() -> None:
    """A lease of which no process is known takes the unclaimed growth, though the driver names others."""
    assert account(12, [process(2, 4)], [claim("a", 1), claim("b", 2, 2)], floor=0).seen_bytes == {"a": 8, "b": 4}


def test_no_more_is_foreign_than_is_used() -> None:
    """Processes that add up to more than is used leave nothing unclaimed."""
    assert account(4, [process(1, 6)], [claim("a", 1, 1)]).foreign_bytes == 0
