"""The engine: one writer around the pure ledger.

A command is decided at once, on the one event loop; its events join the batch that is open; its answer goes out when
that batch is on disk.  While one batch is being written the next one fills: that is the group commit.  Whatever an
answer may show, a refusal too, is on disk before it is given.

A journal that fails ends the engine: from then on memory is ahead of the disk, and every answer might be a lie.
``failure`` then holds the reason; whoever runs the engine ends the process with it.

``sample_wanted`` is set when memory is being given back: an observer that looks at once lets its waiter in at once.
"""

import asyncio
import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeVar

import structlog

from cf_orch.coordinator.batch import Batch, decode_batch
from cf_orch.coordinator.clock import Clock, SystemClock, Timer
from cf_orch.coordinator.history import PastEvent, read_events
from cf_orch.coordinator.journal import Journal, JournalError, Term
from cf_orch.coordinator.listeners import Listeners, Subscription, View, Watch, happenings_of
from cf_orch.doors.problems import Stopping
from cf_orch.ledger import Ledger, Refusal, Settings, commands
from cf_orch.ledger.events import Closing, Event, Parked

__all__ = ["Engine", "EngineStopped"]

T = TypeVar("T")
log = structlog.get_logger()

SNAPSHOT_EVERY_ENTRIES = 10_000
SNAPSHOT_EVERY_S = 3600.0
HISTORY_KEPT_S = 14 * 86_400.0
SLEEP_NOTICED_S = 1.0
LOOK_FOR_SLEEP_EVERY_S = 1.0


class EngineStopped(Stopping):
    """The engine takes no more commands: it was stopped, or its journal failed."""


class Engine:
    """Runs one ledger over one journal.  Everything is called on the event loop that ``start`` ran on."""

    def __init__(
        self,
        journal: Journal,
        settings: Settings | None = None,
        *,
        clock: Clock | None = None,
        new_id: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        """Make an engine that has not started; ``new_id`` is its only source of randomness."""
        self.new_id = new_id
        self.ledger = Ledger(settings)
        self.epoch = 0
        self.stopping = asyncio.Event()
        self.sample_wanted = asyncio.Event()
        self.failure: asyncio.Future[JournalError] = asyncio.get_running_loop().create_future()
        self._settings = settings
        self._journal = journal
        self._clock = clock or SystemClock()
        self._listeners = Listeners()
        self._term = Term(0)
        self._entry_seq = 0
        self._snapshot_entry_seq = 0
        self._snapshot_at = 0.0
        self._open = Batch()
        self._writing: Batch | None = None
        self._wake_writer = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None
        self._timers: dict[str, Timer] = {}
        self._armed_for: float | None = None
        self._slept_s = 0.0

    # --- life

    async def start(self) -> None:
        """Lead, fold the journal, give every deadline its full time, and begin to serve.

        Raises JournalError: the journal is led by another process, or cannot be read or written.
        """
        self._term = await self._journal.campaign("cf-orch serve")
        self.epoch = self._term.epoch
        await self._recover()
        self._snapshot_at = self._clock.monotonic()
        self._slept_s = self._clock.boottime() - self._clock.monotonic()
        self._writer = asyncio.create_task(self._write_batches(), name="journal writer")
        self._start_deadlines_anew()  # before anything else: replay knows no time, so all would be due
        if not self.ledger.id:
            await self.do(commands.Found(ledger_id=self.new_id()[:8]), _nothing)
        self._look_for_sleep()
        log.info("engine started", epoch=self.epoch, ledger=self.ledger.id, events=self.ledger.seq)

    async def _recover(self) -> None:
        snapshot = await self._journal.latest_snapshot()
        if snapshot is not None:
            self.ledger = Ledger.from_snapshot(snapshot.body, self._settings)
            self._entry_seq = self._snapshot_entry_seq = snapshot.seq
        async for entry in self._journal.read(self._entry_seq + 1):
            self.ledger.replay(event for _, event in decode_batch(entry.body))
            self._entry_seq = entry.seq

    def announce_stop(self) -> None:
        """Take no more commands, and tell every session."""
        if not self.stopping.is_set():
            self.stopping.set()
            self._listeners.announce_stop(self.ledger, self._clock.monotonic())

    async def stop(self) -> None:
        """Write what was decided, keep a snapshot, and give the journal up."""
        self.announce_stop()
        for timer in self._timers.values():
            timer.cancel()
        if self._writer is not None:
            self._wake_writer.set()
            await self._writer
        if self._writer is not None and not self.failure.done():
            await self._journal.snapshot(self._term, self._entry_seq, self.ledger.snapshot())
        await self._journal.close()

    # --- commands and looks

    async def do(self, command: commands.Command, view: Callable[[Ledger, float], T]) -> T:
        """Decide a command and look at the outcome in the same instant; return when all that it shows is on disk.

        Raises:
            Refusal: the ledger will not; nothing changed.
            EngineStopped: the engine has stopped; whether the command took effect may be unknown.

        """
        self._check_serving()
        now = self._let_time_pass()
        try:
            events = self.ledger.handle(command, now, self._clock.unix())
        except Refusal:
            await self._on_disk()
            raise
        self._take(events, _sender(command))
        result = view(self.ledger, now)
        self._arm()
        await self._on_disk()
        return result

    async def look(self, view: Callable[[Ledger, float], T]) -> T:
        """Look at the ledger; return what was seen when all of it is on disk.  Raises EngineStopped."""
        self._check_serving()
        result = view(self.ledger, self._let_time_pass())
        self._arm()
        await self._on_disk()
        return result

    def watch(self, lease_id: str) -> AbstractContextManager[Watch]:
        """Watch for a change of a lease."""
        return self._listeners.watch(lease_id)

    def subscribe(self, session_id: str, view: View[T]) -> AbstractContextManager[Subscription[T]]:
        """Hear what happens to a session's leases by another hand than its own, as ``view`` makes it."""
        return self._listeners.subscribe(session_id, view)

    def note_observer(self, host_id: str, session_id: str) -> None:
        """Remember which session looks at a host's devices: it is asked to look when memory is given back there."""
        self._listeners.note_observer(host_id, session_id)

    async def events(self, since: int, limit: int) -> list[PastEvent]:
        """Read what happened after an event number, oldest first."""
        return await read_events(self._journal, self._entry_seq, since, limit)

    def _check_serving(self) -> None:
        if not self.failure.done() and not self._journal.holds(self._term) and not self.stopping.is_set():
            self._fail(JournalError(f"term {self._term.epoch} has ended: another coordinator leads"))
        if self.failure.done():
            raise EngineStopped(str(self.failure.result()))
        if self.stopping.is_set():
            raise EngineStopped("the coordinator is stopping: try again in some seconds")

    # --- time

    def _let_time_pass(self) -> float:
        """Fire what is due, so that nothing is decided on a state that is over."""
        self._notice_sleep()
        now = self._clock.monotonic()
        deadline = self.ledger.next_deadline()
        if deadline is not None and deadline <= now:
            self._take(self.ledger.handle(commands.Tick(), now, self._clock.unix()), None)
        return now

    def _arm(self) -> None:
        """Arm the one timer for the ledger's next deadline."""
        deadline = self.ledger.next_deadline()
        if deadline == self._armed_for or self.stopping.is_set():
            return
        if (armed := self._timers.pop("deadline", None)) is not None:
            armed.cancel()
        self._armed_for = deadline
        if deadline is not None:
            self._timers["deadline"] = self._clock.call_at(deadline, self._deadline_reached)

    def _deadline_reached(self) -> None:
        self._armed_for = None
        self._let_time_pass()
        self._arm()

    def _look_for_sleep(self) -> None:
        self._deadline_reached()
        self._timers["sleep"] = self._clock.call_at(
            self._clock.monotonic() + LOOK_FOR_SLEEP_EVERY_S, self._look_for_sleep
        )

    def _notice_sleep(self) -> None:
        """A machine that slept must not end leases whose holders slept with it."""
        slept_s = self._clock.boottime() - self._clock.monotonic()
        if slept_s - self._slept_s > SLEEP_NOTICED_S:
            log.warning("the machine slept: every deadline starts anew", slept_s=round(slept_s - self._slept_s, 1))
            self._slept_s = slept_s
            self._start_deadlines_anew()

    def _start_deadlines_anew(self) -> None:
        self._take(self.ledger.handle(commands.Restart(), self._clock.monotonic(), self._clock.unix()), None)

    # --- journal

    def _take(self, events: list[Event], by: str | None) -> None:
        """Put events into the open batch, with all who are to hear of them."""
        if not events:
            return
        now = self._clock.monotonic()
        batch = self._open
        if hosts := self._hosts_giving_back(events):
            self.sample_wanted.set()
            batch.hearings += self._listeners.look(
                self._listeners.samples_wanted(hosts, self.ledger.seq), self.ledger, now
            )
        batch.add(events, self.ledger.seq)
        batch.changed_leases.update(lease_id for event in events if (lease_id := getattr(event, "lease_id", None)))
        happenings = happenings_of(self.ledger, events, by)
        batch.hearings += self._listeners.look(happenings, self.ledger, now)
        if batch.events:
            self._wake_writer.set()
        elif self._writing is None:
            self._tell(batch)

    def _hosts_giving_back(self, events: list[Event]) -> set[str]:
        """The hosts on which memory is being given back just now."""
        leases = (self.ledger.find(event.lease_id) for event in events if isinstance(event, Closing | Parked))
        return {self.ledger.devices[uuid].host_id for lease in leases if lease for uuid in lease.devices}

    async def _on_disk(self) -> None:
        """Wait until everything decided so far is on disk."""
        batch = self._open if self._open.events else self._writing
        if batch is not None:
            try:
                await asyncio.shield(batch.done)
            except JournalError as error:
                raise EngineStopped(str(error)) from error

    async def _write_batches(self) -> None:
        while self._open.events or not self.stopping.is_set():
            await self._wake_writer.wait()
            self._wake_writer.clear()
            try:
                while self._open.events:
                    await self._write_one()
            except JournalError as error:
                self._fail(error)
                return

    async def _write_one(self) -> None:
        batch, self._open = self._open, Batch()
        self._writing = batch
        snapshot = self.ledger.snapshot() if self._snapshot_is_due() else None
        self._entry_seq += 1
        await self._journal.append(self._term, self._entry_seq, self._clock.unix(), batch.encode())
        self._writing = None
        batch.done.set_result(None)
        self._tell(batch)
        if not self._open.events:
            self._tell(self._open)
        if snapshot is not None:
            await self._keep_snapshot(snapshot)

    def _tell(self, batch: Batch) -> None:
        self._listeners.tell(batch.changed_leases, batch.hearings)
        batch.changed_leases, batch.hearings = set(), []

    def _snapshot_is_due(self) -> bool:
        return (
            self._entry_seq - self._snapshot_entry_seq >= SNAPSHOT_EVERY_ENTRIES
            or self._clock.monotonic() - self._snapshot_at >= SNAPSHOT_EVERY_S
        )

    async def _keep_snapshot(self, snapshot: bytes) -> None:
        await self._journal.snapshot(self._term, self._entry_seq, snapshot)
        self._snapshot_entry_seq, self._snapshot_at = self._entry_seq, self._clock.monotonic()
        await self._journal.prune(self._term, self._clock.unix() - HISTORY_KEPT_S)

    def _fail(self, error: JournalError) -> None:
        """Let nobody believe anything that is not on disk."""
        log.error("the journal failed", error=str(error))
        if not self.failure.done():
            self.failure.set_result(error)
        for batch in (self._writing, self._open):
            if batch is not None and not batch.done.done():
                batch.done.set_exception(error)
                batch.done.exception()  # told to whoever waits; nobody may
        self.announce_stop()


def _sender(command: commands.Command) -> str | None:
    """The session that a command comes from, where it names one: it need not be told what it does itself."""
    for field in ("by", "caller", "session_id"):
        if sender := getattr(command, field, None):
            return str(sender)
    return None


def _nothing(_ledger: Ledger, _now: float) -> None:
    """Look at nothing: the command alone matters."""
