"""The engine: nothing is said before it is on disk, time fires what is due, a broken journal ends it."""

import asyncio

import pytest
from tests.engine.conftest import StartEngine, nothing, request, settle, with_card

from cf_orch.coordinator import engine as engine_module
from cf_orch.coordinator.batch import decode_batch
from cf_orch.coordinator.clock import HandTurnedClock
from cf_orch.coordinator.engine import Engine, EngineStopped
from cf_orch.coordinator.journal import JournalLocked, MemoryDisk, MemoryJournal
from cf_orch.ledger import Refusal, State, commands
from cf_orch.ledger.events import Granted, Requested


class SlowJournal(MemoryJournal):
    """A journal whose writes wait until they are let through, and are counted."""

    def __init__(self, disk: MemoryDisk) -> None:
        super().__init__(disk)
        self.gate = asyncio.Event()
        self.gate.set()
        self.appends = 0

    async def append(self, term: object, seq: int, wall_unix_s: float, body: bytes) -> None:
        await self.gate.wait()
        self.appends += 1
        await super().append(term, seq, wall_unix_s, body)  # type: ignore[arg-type]  # passed on as it came


def on_disk(disk: MemoryDisk) -> list[str]:
    return [type(event).__name__ for entry in disk.entries for _, event in decode_batch(entry.body)]


async def test_an_answer_waits_for_the_disk(clock: HandTurnedClock, disk: MemoryDisk) -> None:
    """A request is answered only when its events are in the journal."""
    journal = SlowJournal(disk)
    engine = Engine(journal, clock=clock)
    await engine.start()
    await with_card(engine)
    journal.gate.clear()

    answer = asyncio.create_task(request(engine, "r1", 4))
    await settle()
    assert not answer.done()
    assert "Requested" not in on_disk(disk)

    journal.gate.set()
    lease_id = await answer

    assert engine.ledger.leases[lease_id].state is State.ACTIVE
    assert on_disk(disk)[-2:] == ["Requested", "Granted"]
    await engine.stop()


async def test_a_refusal_waits_for_what_it_was_judged_by(clock: HandTurnedClock, disk: MemoryDisk) -> None:
    """A refusal that rests on events not yet on disk is not given before they are."""
    journal = SlowJournal(disk)
    engine = Engine(journal, clock=clock)
    await engine.start()
    await with_card(engine)
    lease_id = await request(engine, "r1", 4)
    journal.gate.clear()
    releasing = asyncio.create_task(engine.do(commands.Release(lease_id=lease_id, by="s1"), nothing))
    await settle()

    refused = asyncio.create_task(engine.do(commands.MarkIdle(lease_id=lease_id, by="s1"), nothing))
    await settle()
    assert not refused.done()
    journal.gate.set()
    await releasing

    with pytest.raises(Refusal, match="has ended"):
        await refused
    await engine.stop()


async def test_commands_share_a_write(clock: HandTurnedClock, disk: MemoryDisk) -> None:
    """All that is decided while one write is under way goes to disk in the next one."""
    journal = SlowJournal(disk)
    engine = Engine(journal, clock=clock)
    await engine.start()
    await with_card(engine)
    journal.gate.clear()
    before = journal.appends

    asking = [asyncio.create_task(request(engine, f"r{n}", 1)) for n in range(100)]
    await settle()
    journal.gate.set()
    await asyncio.gather(*asking)

    assert journal.appends - before <= 2
    await engine.stop()


async def test_a_broken_journal_ends_the_engine(start_engine: StartEngine) -> None:
    """When a write fails nobody gets an answer that may be a lie, and every later command is turned away."""
    engine = await start_engine(fail_after=3)
    await with_card(engine)

    with pytest.raises(EngineStopped, match="disk is full"):
        await request(engine, "r1", 4)
    with pytest.raises(EngineStopped, match="disk is full"):
        await engine.look(nothing)

    assert "disk is full" in str(await engine.failure)
    assert engine.stopping.is_set()


async def test_a_restart_folds_the_journal(start_engine: StartEngine, disk: MemoryDisk, clock: HandTurnedClock) -> None:
    """After kill -9 leases, queue and sessions are as they were answered, each with its full grace from now."""
    engine = await start_engine()
    await with_card(engine)
    held, waiting = await request(engine, "r1", 20), await request(engine, "r2", 20)
    clock.turn(39)
    disk.crash()

    second = await start_engine()
    clock.turn(39)
    await second.look(nothing)

    assert second.ledger.id == engine.ledger.id
    assert second.ledger.leases[held].state is State.ACTIVE
    assert second.ledger.position(second.ledger.leases[waiting]) == 0
    assert second.epoch > engine.epoch


async def test_a_clean_stop_leaves_a_snapshot(start_engine: StartEngine, disk: MemoryDisk) -> None:
    """A start after a clean stop replays nothing, and history still reaches back."""
    engine = await start_engine()
    await with_card(engine)
    held = await request(engine, "r1", 20)
    await engine.stop()

    assert disk.snapshot is not None
    assert disk.snapshot.seq == disk.entries[-1].seq
    second = await start_engine()
    assert second.ledger.leases[held].state is State.ACTIVE
    past = await second.events(since=0, limit=100)
    assert [seq for seq, _, _ in past] == list(range(1, len(past) + 1))
    assert isinstance(past[-1][2], Granted)


async def test_snapshots_are_taken_on_the_way(
    start_engine: StartEngine, disk: MemoryDisk, clock: HandTurnedClock
) -> None:
    """Once an hour the state is kept, and what is older than two weeks is dropped."""
    engine = await start_engine()
    await with_card(engine)
    clock.turn(engine_module.SNAPSHOT_EVERY_S)
    await engine.do(commands.OpenSession(session_id="s1", service="kiwi", host_id="h"), nothing)
    await request(engine, "r1", 4)
    await settle()
    assert disk.snapshot is not None
    first = disk.snapshot.seq
    clock.turn(engine_module.HISTORY_KEPT_S + 1)
    await engine.do(commands.OpenSession(session_id="s1", service="kiwi", host_id="h"), nothing)
    await request(engine, "r2", 4)
    await settle()

    assert disk.snapshot.seq > first
    assert disk.entries[0].seq > 1
    past = await engine.events(since=0, limit=1000)
    assert {type(event).__name__ for _, _, event in past} >= {"Requested", "Granted"}


async def test_history_is_read_from_any_event_on(start_engine: StartEngine) -> None:
    """Events after a number come in order and without a gap, whatever batches they were written in."""
    engine = await start_engine()
    await with_card(engine)
    await asyncio.gather(*(request(engine, f"r{n}", 1) for n in range(20)))
    last = engine.ledger.seq

    for since in range(last + 1):
        numbers = [seq for seq, _, _ in await engine.events(since, limit=5)]
        assert numbers == list(range(since + 1, min(since + 6, last + 1)))


async def test_time_fires_what_is_due(start_engine: StartEngine, clock: HandTurnedClock) -> None:
    """A silent session ends at its full grace, by the timer alone, and its waiter is passed on to the next."""
    engine = await start_engine()
    await with_card(engine)
    await engine.do(commands.OpenSession(session_id="s2", service="plum", host_id="h", ttl_s=60), nothing)
    held, waiting = await request(engine, "r1", 20), await request(engine, "r2", 20, "s2", "plum")

    clock.turn(39.9)
    assert held in engine.ledger.leases
    clock.turn(0.2)
    await settle()

    assert held not in engine.ledger.leases
    assert engine.ledger.leases[waiting].state is State.ACTIVE


async def test_a_machine_that_slept_ends_nobody(start_engine: StartEngine, clock: HandTurnedClock) -> None:
    """After a suspend every lease has its full grace from the wake-up."""
    engine = await start_engine()
    await with_card(engine)
    held = await request(engine, "r1", 20)
    clock.turn(39)
    clock.sleep_machine(3600)

    clock.turn(1.5)
    await settle()
    assert held in engine.ledger.leases
    clock.turn(41)
    await settle()
    assert held not in engine.ledger.leases


async def test_a_watch_sees_a_change_once_it_is_on_disk(start_engine: StartEngine) -> None:
    """Whoever waits for a lease hears of its grant, and of nothing when time runs out."""
    engine = await start_engine()
    await with_card(engine)
    held, waiting = await request(engine, "r1", 20), await request(engine, "r2", 20)

    with engine.watch(waiting) as watch:
        await engine.do(commands.Release(lease_id=held, by="s1"), nothing)
        assert await watch.changed(1.0)
        assert not await watch.changed(0.0)
    assert engine.ledger.leases[waiting].state is State.ACTIVE


async def test_a_session_hears_what_others_do(start_engine: StartEngine) -> None:
    """Grants, and leases taken by another hand, come down; what it released itself does not."""
    engine = await start_engine()
    await with_card(engine)
    first, second, third = [await request(engine, name, 20) for name in ("r1", "r2", "r3")]

    with engine.subscribe("s1", lambda happening, _ledger, _now: happening) as heard:
        await engine.do(commands.Release(lease_id=first, by="s1"), nothing)
        await engine.do(commands.Release(lease_id=second), nothing)
        await engine.do(commands.Release(lease_id=third, by="s1"), nothing)
        engine.announce_stop()

        kinds = [(await anext(heard)) for _ in range(4)]

    assert [(happening.kind, happening.lease_id) for happening in kinds] == [
        ("granted", second),
        ("lost", second),
        ("granted", third),
        ("stopping", None),
    ]


async def test_idle_is_told_though_nothing_is_written(start_engine: StartEngine, disk: MemoryDisk) -> None:
    """Volatile changes reach watchers without a write to the journal."""
    engine = await start_engine()
    await with_card(engine)
    held = await request(engine, "r1", 20)
    entries = len(disk.entries)

    with engine.watch(held) as watch:
        await engine.do(commands.MarkIdle(lease_id=held, by="s1"), nothing)
        assert await watch.changed(1.0)
    assert len(disk.entries) == entries


async def test_a_second_coordinator_is_turned_away(start_engine: StartEngine, clock: HandTurnedClock) -> None:
    """Two engines never lead on one journal."""
    first = await start_engine()
    with pytest.raises(JournalLocked):
        await Engine(MemoryJournal(first._journal._disk), clock=clock).start()  # type: ignore[attr-defined]  # its disk


async def test_an_engine_that_lost_its_term_says_nothing(start_engine: StartEngine, disk: MemoryDisk) -> None:
    """Not even a renewal is acknowledged once another may lead."""
    engine = await start_engine()
    await with_card(engine)
    disk.crash()

    with pytest.raises(EngineStopped, match="term"):
        await engine.do(commands.RenewSession(session_id="s1"), nothing)


async def test_after_a_stop_commands_are_turned_away(start_engine: StartEngine) -> None:
    """A stopping engine says so, and tells whom to try again."""
    engine = await start_engine()
    await engine.stop()

    with pytest.raises(EngineStopped, match="stopping"):
        await engine.look(nothing)


async def test_what_was_decided_before_a_stop_is_written(clock: HandTurnedClock, disk: MemoryDisk) -> None:
    """A stop waits for the batch that is open: no answer is lost on the way."""
    journal = SlowJournal(disk)
    engine = Engine(journal, clock=clock)
    await engine.start()
    await with_card(engine)
    journal.gate.clear()
    answer = asyncio.create_task(request(engine, "r1", 4))
    await settle()
    stopping = asyncio.create_task(engine.stop())
    await settle()
    journal.gate.set()

    await stopping

    assert await answer
    assert any(isinstance(event, Requested) for entry in disk.entries for _, event in decode_batch(entry.body))
