"""The ledger's doubt of itself: whatever is harmed in its books, the check says what."""

from collections.abc import Callable

import pytest
from tests.ledger.builders import GIB, ask, books_of, card, founded, lease_of, looked

from cf_orch.ledger import State
from cf_orch.ledger import commands as c
from cf_orch.ledger.books import Books
from cf_orch.ledger.records import Plan


def _lose_a_holder(books: Books) -> None:
    books.devices["d0"].holders.clear()


def _charge_twice(books: Books) -> None:
    books.devices["d0"].charged_bytes += GIB


def _lose_the_unseen(books: Books) -> None:
    books.devices["d0"].unseen_bytes = 0


def _forget_a_session(books: Books) -> None:
    books.sessions.clear()


def _count_a_quota_twice(books: Books) -> None:
    books.held_bytes["kiwi"] += 1


def _open_a_window(books: Books) -> None:
    books.devices["d0"].window = books.requests["kiwi", "r1"]


def _undercharge(books: Books) -> None:
    books.leases[books.requests["kiwi", "r1"]].charges["d0"] -= 1


def _end_and_keep(books: Books) -> None:
    books.leases[books.requests["kiwi", "r1"]].state = State.ENDED


def _give_a_token_twice(books: Books) -> None:
    leases = list(books.leases.values())
    leases[1].token = leases[0].token


def _forget_what_a_request_is(books: Books) -> None:
    books.requests["kiwi", "gone"] = "x-999"


def _make_room(books: Books) -> None:
    books.devices["d0"].total_bytes *= 4
    books.devices["d0"].has_driver = False


def _over_commit(books: Books) -> None:
    books.devices["d0"].total_bytes //= 2


def _swap_two_places(books: Books) -> None:
    leases = list(books.leases.values())
    leases[2].place, leases[3].place = leases[3].place, leases[2].place


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (_lose_a_holder, "is not among the holders"),
        (_charge_twice, "is charged"),
        (_lose_the_unseen, "unseen"),
        (_forget_a_session, "outlived session"),
        (_count_a_quota_twice, "services hold"),
        (_open_a_window, "window"),
        (_undercharge, "charged too little"),
        (_end_and_keep, "has ended and is still listed"),
        (_give_a_token_twice, "the same token|token before"),
        (_forget_what_a_request_is, "which is forgotten"),
        (_make_room, "is to be done, and was not"),
        (_over_commit, "over-committed by grants alone"),
        (_swap_two_places, "the lanes are"),
    ],
)
def test_check_finds_what_is_wrong(harm: Callable[[Books], None], says: str) -> None:
    """Whatever is harmed in the books, the check says what."""
    ledger = founded(card(driver=True))
    for request_id, gb in (("r1", 8), ("r2", 8), ("r3", 20), ("r4", 20)):
        ledger.handle(ask(request_id, gb), 0.0)
    ledger.handle(looked(card(driver=True)), 0.0)
    ledger.check(0.0)

    harm(books_of(ledger))

    with pytest.raises(AssertionError, match=says):
        ledger.check(0.0)


def _forget_who_is_asked(books: Books) -> None:
    books.evicting.clear()


def _forget_a_plan(books: Books) -> None:
    books.plans.clear()


def _plan_for_a_holder(books: Books) -> None:
    owner = books.requests["kiwi", "victim"]
    books.plans[owner] = Plan(owner=owner, devices=("d0",), victims=(), given_up=True)


def _ask_nobody_for_a_plan(books: Books) -> None:
    plan = books.plans[books.requests["kiwi", "waiter"]]
    plan.victims += (books.requests["kiwi", "other"],)


def _ask_one_too_many(books: Books) -> None:
    other = books.leases[books.requests["kiwi", "other"]]
    other.state, other.evicted_for = State.EVICTING, books.requests["kiwi", "waiter"]
    books.evicting.add(other.id)


def _count_one_that_left(books: Books) -> None:
    books.leases[books.requests["kiwi", "resting"]].is_counted = True


def _rest_for_no_reason(books: Books) -> None:
    books.leases[books.requests["kiwi", "resting"]].rest = None


def _miscount_who_returns(books: Books) -> None:
    books.queue.returning += 1


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (_forget_who_is_asked, "asked to leave are"),
        (_forget_a_plan, "plans are under way for"),
        (_plan_for_a_holder, "has a plan and does not wait"),
        (_ask_nobody_for_a_plan, "and nobody asks them"),
        (_ask_one_too_many, "and nobody needs it"),
        (_count_one_that_left, "counted True"),
        (_rest_for_no_reason, "is resting, None"),
        (_miscount_who_returns, "0 return, must be|1 return, must be"),
    ],
)
def test_check_finds_what_is_wrong_with_an_eviction(harm: Callable[[Books], None], says: str) -> None:
    """The plans, who is asked, who rests and who returns are held against one another."""
    ledger = founded(card())
    for request_id, gb in (("victim", 12), ("other", 4), ("resting", 8)):
        ledger.handle(ask(request_id, gb, priority=10, evictable=True), 0.0)
    ledger.handle(c.Evict(lease_id=lease_of(ledger, "resting").id), 0.0)
    ledger.handle(c.Checkpointed(lease_id=lease_of(ledger, "resting").id), 0.0)
    ledger.handle(ask("waiter", 18, priority=40), 0.0)
    assert [lease_of(ledger, name).state for name in ("victim", "other")] == [State.EVICTING, State.ACTIVE]
    ledger.check(0.0)

    harm(books_of(ledger))

    with pytest.raises(AssertionError, match=says):
        ledger.check(0.0)


def test_check_bears_what_grew_by_itself() -> None:
    """A device may be over-committed by what no grant decided: foreign use, over-use, adoption, a smaller total."""
    ledger = founded(card(driver=True))
    ledger.handle(ask("r1", 20), 0.0)
    ledger.handle(looked(card(driver=True, used=24, free_bytes=0)), 1.0)
    assert ledger.devices["d0"].over_committed is False
    ledger.handle(looked(card(driver=True, used=24, free_bytes=0, reserve_bytes=8 * GIB)), 2.0)
    assert ledger.devices["d0"].over_committed is True
    ledger.check(2.0)
