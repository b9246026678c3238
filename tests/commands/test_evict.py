"""``evict``, ``resume``, ``drain --evict``: an operator makes room and gives it back."""

import re

from tests.commands.conftest import Cli, Coordinator, said, until


def test_evict_and_resume(cli: Cli, coordinator: Coordinator) -> None:
    """The holder is asked; once it has given its memory up, it rests until it is resumed."""
    lease = coordinator.ask("kiwi", 10, task_type="recipe_llm", evictable=True)

    asked = said(cli, "evict", lease)
    shown = said(cli, "status")
    coordinator.call("POST", f"/leases/{lease}/checkpointed", {"residue_gb": 0.5})
    why = said(cli, "why", lease)
    resumed = said(cli, "resume", lease)

    assert re.fullmatch(
        rf"{lease} of kiwi's recipe_llm is asked to leave its 10 GB within (30|29) s; "
        rf"`cf-orch resume {lease}` lets it come back\. ",
        asked,
    )
    assert "asked to leave, since" in shown
    assert "It gave its memory up and waits for nothing: an operator evicted it, and it comes back with" in why
    assert resumed == f"{lease} of kiwi's recipe_llm: loading. "


def test_evict_what_cannot_leave(cli: Cli, coordinator: Coordinator) -> None:
    """Exit status 1, with the reason."""
    lease = coordinator.ask("kiwi", 10)

    ended = cli("evict", lease)

    assert ended.returncode == 1
    assert f"lease {lease} of kiwi cannot leave: it was taken without a checkpoint" in ended.stderr


def test_a_wait_for_an_eviction_is_explained(cli: Cli, coordinator: Coordinator) -> None:
    """The waiter waits for the one that was asked; the one that left waits for its return, and says so."""
    batch = coordinator.ask("kiwi", 20, priority="batch", evictable=True)
    asker = coordinator.ask("merlin", 20, priority="realtime")

    waits = said(cli, "why", asker)
    coordinator.call("POST", f"/leases/{batch}/checkpointed", {"residue_gb": 1})
    queue = said(cli, "status")
    leases = said(cli, "leases")

    assert f"waits until kiwi ({batch}) has left RTX 4090: needs 20 GB, 4 GB free" in waits
    assert "nobody is forced, and what they free is kept for it" in waits
    assert f"1. {batch} kiwi waits for memory on RTX 4090: needs 19 GB, 3 GB free, behind merlin ({asker})" in queue
    assert "parked 1." in leases


def test_drain_evicts_until_it_ends(cli: Cli, coordinator: Coordinator) -> None:
    """Who can leave is asked, and comes back when the device grants again."""
    lease = coordinator.ask("kiwi", 10, evictable=True)

    drained = said(cli, "drain", "0", "--evict")
    coordinator.call("POST", f"/leases/{lease}/checkpointed", {})
    rests = coordinator.leases("resting")
    said(cli, "drain", "0", "--undo")

    assert "1 lease there may finish, 1 of them asked to leave." in drained
    assert [(x["id"], x["rest"], x["charge_gb"]) for x in rests] == [(lease, "drain", 0.0)]
    assert until(lambda: coordinator.leases("loading"))
