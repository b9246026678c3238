"""The state machine of an eviction against the real ledger: every crossing of what both sides say."""

from collections import deque
from collections.abc import Callable

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from cf_orch.client import VRAMSlot
from cf_orch.client.claim import Claim
from cf_orch.client.eviction import WISHES, Eviction, Step, Wish
from cf_orch.coordinator.doors.commands import sync_of
from cf_orch.coordinator.doors.views import Moment, lease_info
from cf_orch.coordinator.listeners import happenings_of
from cf_orch.ledger import Ledger, Refusal, State
from cf_orch.ledger import commands as c
from cf_orch.ledger.states import HOLDING
from cf_orch.protocol.messages import HoldingItem, LeaseInfo, SyncRequest

GIB = 2**30
ME, OTHER = "me", "other"
SLOT = VRAMSlot("kiwi", "llm", 20, priority="batch")
REPORTS = ("given up", "failed", "read report")


class Hooks:
    """Hooks that the test itself ends."""

    async def checkpoint(self) -> object:
        raise NotImplementedError

    async def restore(self) -> object:
        raise NotImplementedError


class Meeting:
    """A holder and a ledger, with messages on the way in both directions.

    What goes up arrives in order.  What comes down are notices, in order, and answers, in order; which of the two is
    read first is anybody's guess.  A connection that is cut loses all that is on its way, and a sync follows.
    """

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.now = 0.0
        self.claim = Claim(SLOT, evictable=True, within=(), hooks=Hooks())
        self.is_listened_to = True  #: a session is bound: notices come
        self.is_connected = True  #: the sync was answered: calls may be made
        self.up: deque[tuple[str, int, HoldingItem | None]] = deque()
        self.notices: deque[LeaseInfo] = deque()
        self.answers: deque[tuple[str, int, LeaseInfo]] = deque()
        self.users = 0
        self.urgent: str | None = None
        self.asked = 0
        self.do(c.Found(ledger_id="x"))
        self.declare()
        self.do(c.OpenSession(session_id=ME, service=ME, host_id="h", ttl_s=86400))
        self.do(c.OpenSession(session_id=OTHER, service=OTHER, host_id="h", ttl_s=86400))
        self.do(request(ME, self.claim.request_id, 10, evictable=True))
        lease = self.ledger.find_request(ME, self.claim.request_id)
        assert lease is not None
        self.claim.is_known = True
        self.claim.grant(self.look(lease.id))

    @property
    def eviction(self) -> Eviction:
        return self.claim.eviction

    @property
    def lease_id(self) -> str:
        return self.claim.held.id

    @property
    def state(self) -> State:
        return self.ledger.leases[self.lease_id].state

    def do(self, command: c.Command, by: str | None = None) -> None:
        """Let the ledger decide; what the holder must hear goes on its way."""
        self.now += 0.001
        try:
            events = self.ledger.handle(command, self.now)
        except Refusal:
            return
        for happening in happenings_of(self.ledger, events, by):
            if happening.session_id == ME and happening.lease_id is not None and self.is_listened_to:
                self.notices.append(self.look(happening.lease_id))

    def declare(self) -> None:
        device = c.DeviceReport(uuid="d0", name="card", index=0, total_bytes=24 * GIB, has_driver=False)
        self.do(c.ReportDevices(host_id="h", host_name="h", devices=(device,)))

    def look(self, lease_id: str) -> LeaseInfo:
        lease = self.ledger.find(lease_id)
        assert lease is not None
        return lease_info(self.ledger, lease, Moment(self.now, 0.0))

    def actions(self) -> list[Callable[[], None]]:
        """All that may happen next; what moves an eviction on is there more than once, so that it comes about."""
        eviction, step = self.eviction, self.eviction.next_step(is_unused=not self.users)
        can_begin = step is not None and (step is not Step.REPORT or self.is_connected)
        possible: list[tuple[object, int, Callable[[], None]]] = [
            (self.up, 3, self.arrives_above),
            (self.notices, 1, self.notice_arrives),
            (self.answers, 1, self.answer_arrives),
            (can_begin, 3, self.step_begins),
            (eviction.running is Step.CHECKPOINT, 3, self.checkpoint_ends),
            (eviction.running is Step.CHECKPOINT, 1, self.checkpoint_fails),
            (eviction.running is Step.RESTORE, 3, self.restore_ends),
            (self.urgent is None, 2, self.somebody_asks),
            (self.urgent is not None, 2, self.somebody_leaves),
            (True, 1, self.operator_evicts),
            (True, 1, self.operator_resumes),
            (self.is_connected, 1, self.connection_is_cut),
            (not self.is_listened_to, 3, self.introduces_itself),
            (eviction.is_open and self.users < 2, 1, self.use_begins),
            (self.users, 1, self.use_ends),
            (True, 1, self.busy if self.claim.is_idle else self.idle),
        ]
        return [action for can, weight, action in possible if can for _ in range(weight)]

    # --- others

    def somebody_asks(self) -> None:
        self.asked += 1
        self.do(request(OTHER, f"u{self.asked}", 40, evictable=False))
        lease = self.ledger.find_request(OTHER, f"u{self.asked}")
        assert lease is not None
        self.urgent = lease.id

    def somebody_leaves(self) -> None:
        self.do(c.Release(lease_id=self.urgent or "", by=OTHER), OTHER)
        self.urgent = None

    def operator_evicts(self) -> None:
        self.do(c.Evict(lease_id=self.lease_id))

    def operator_resumes(self) -> None:
        self.do(c.Resume(lease_id=self.lease_id))

    # --- the wire

    def say(self, what: str, holding: HoldingItem | None = None) -> None:
        if self.is_connected or holding is not None:
            self.up.append((what, self.claim.notices, holding))

    def arrives_above(self) -> None:
        what, heard, holding = self.up.popleft()
        lease_id = self.lease_id
        commands: dict[str, c.Command] = {
            "idle": c.MarkIdle(lease_id=lease_id, by=ME),
            "busy": c.MarkBusy(lease_id=lease_id, by=ME),
            "loaded": c.MarkLoaded(lease_id=lease_id, by=ME),
            "given up": c.Checkpointed(lease_id=lease_id, by=ME, residue_bytes=0),
            "failed": c.Checkpointed(lease_id=lease_id, by=ME, error="no"),
        }
        if holding is not None:
            self.do(sync_of(ME, SyncRequest(leases=[holding])), ME)
        elif what in commands:
            self.do(commands[what], ME)
        self.answers.append((what, heard, self.look(lease_id)))

    def notice_arrives(self) -> None:
        self.claim.notices += 1
        self.claim.hear(self.notices.popleft())
        self.restate()

    def answer_arrives(self) -> None:
        what, heard, info = self.answers.popleft()
        has_met_notice = self.claim.notices != heard
        if what == "sync":
            self.is_connected = True
            self.claim.hear(info, is_answer=True)
            if has_met_notice:
                self.say("read")
        elif has_met_notice:
            self.say("read report" if what in REPORTS else "read")
            return
        else:
            self.claim.hear(info, is_answer=what in REPORTS)
            if what in REPORTS:
                self.eviction.reported()
        self.restate()

    def restate(self) -> None:
        info = self.claim.held
        if self.claim.is_loaded and info.state == "loading":
            self.say("loaded")
        if self.claim.is_idle and info.state == "active":
            self.say("idle")
        elif not self.claim.is_idle and (info.state == "idle" or info.rest == "idle"):
            self.say("busy")

    def connection_is_cut(self) -> None:
        """All that is on its way is lost, in both directions; the coordinator may have died, or not."""
        self.up.clear()
        self.notices.clear()
        self.answers.clear()
        self.is_connected = self.is_listened_to = False
        if self.eviction.running is Step.REPORT:
            self.eviction.reported()
        self.do(c.Restart())
        self.declare()

    def introduces_itself(self) -> None:
        self.is_listened_to = True
        holding = self.claim.holding()
        self.eviction.is_told = self.claim.is_away
        self.say("sync", holding)

    # --- the holder

    def use_begins(self) -> None:
        if self.claim.is_idle:
            self.busy()
        self.users += 1

    def use_ends(self) -> None:
        self.users -= 1

    def idle(self) -> None:
        self.claim.idle_since = self.now
        self.say("idle")

    def busy(self) -> None:
        self.claim.idle_since = None
        self.say("busy")

    def step_begins(self) -> None:
        step = self.eviction.next_step(is_unused=not self.users)
        assert step is not None
        is_in_place = self.eviction.is_in_place
        self.eviction.begin(step)
        if step is Step.REPORT:
            self.say("failed" if is_in_place else "given up")

    def checkpoint_ends(self) -> None:
        self.eviction.gave_up(None)
        self.claim.is_loaded = False

    def checkpoint_fails(self) -> None:
        self.eviction.kept("no")

    def restore_ends(self) -> None:
        self.claim.is_loaded = True
        self.restate()
        self.eviction.restored()

    # --- what holds

    def check(self) -> None:
        """Memory is used only while it is the holder's, and by nobody while it goes or comes."""
        uses = self.eviction.is_in_place or self.eviction.running is Step.RESTORE
        assert not uses or self.state in HOLDING
        if self.urgent is not None and self.ledger.leases[self.urgent].state in HOLDING:
            assert not uses
        if self.users:
            assert self.eviction.is_in_place
            assert self.eviction.running in (None, Step.REPORT)

    def come_to_rest(self) -> None:
        """Let all that is under way arrive and end; both sides then say the same."""
        others = {self.somebody_asks, self.somebody_leaves, self.operator_evicts, self.operator_resumes}
        at_will = {self.connection_is_cut, self.use_begins, self.idle, self.busy, self.checkpoint_fails}
        for _ in range(200):
            goes_on = [action for action in self.actions() if action not in others | at_will]
            if not goes_on:
                break
            goes_on[0]()
            self.check()
        else:
            pytest.fail(f"it does not come to rest: {self.state}, {vars(self.eviction)}")
        assert self.state is not State.EVICTING
        assert self.eviction.wish is WISHES[self.state.value]
        assert self.eviction.is_open is (self.state in HOLDING)
        if self.state in HOLDING:  # between parked and resting nobody is told of a change
            assert self.claim.state == self.state.value


def request(session: str, request_id: str, priority: int, *, evictable: bool) -> c.Request:
    return c.Request(
        caller=session, request_id=request_id, session_id=session, service=session, size_bytes=20 * GIB,
        priority=priority, evictable=evictable,
    )  # fmt: skip


@given(st.lists(st.integers(0, 2**16), min_size=10, max_size=80))
@settings(max_examples=300, deadline=None)
def test_every_crossing(choices: list[int]) -> None:
    """Whatever meets whatever on its way, nobody uses what is not his, and all is well in the end."""
    meeting = Meeting()
    for choice in choices:
        possible = meeting.actions()
        action = possible[choice % len(possible)]
        note(action.__name__)
        action()
        meeting.check()
    meeting.come_to_rest()
    if meeting.urgent is not None:
        meeting.somebody_leaves()
    meeting.operator_resumes()
    meeting.come_to_rest()
    if meeting.claim.is_idle:
        meeting.busy()
    meeting.come_to_rest()

    assert meeting.state is State.ACTIVE


# --- the table


def asked_and_given_up() -> Eviction:
    eviction = Eviction()
    eviction.heard(Wish.LEAVE)
    eviction.begin(Step.CHECKPOINT)
    eviction.gave_up(0.5)
    return eviction


def test_undisturbed() -> None:
    """Nothing is to be done while nobody asks, whether used or not."""
    eviction = Eviction()

    assert eviction.is_open
    assert eviction.next_step(is_unused=True) is None


def test_asked_waits_for_use_to_end() -> None:
    """Who is asked lets nobody in, and checkpoints when nobody is inside."""
    eviction = Eviction()
    eviction.heard(Wish.LEAVE)

    assert not eviction.is_open
    assert eviction.next_step(is_unused=False) is None
    assert eviction.next_step(is_unused=True) is Step.CHECKPOINT


def test_one_step_at_a_time() -> None:
    """Whatever is heard, nothing begins while a step runs."""
    eviction = Eviction()
    eviction.heard(Wish.LEAVE)
    eviction.begin(Step.CHECKPOINT)
    for wish in (Wish.STAY, Wish.LEAVE, Wish.AWAY):
        eviction.heard(wish)

        assert eviction.next_step(is_unused=True) is None
        assert not eviction.is_open


def test_nothing_is_restored_before_the_report_is_answered() -> None:
    """A notice that is older than the report may say that the memory is the holder's, and be wrong."""
    eviction = asked_and_given_up()
    assert eviction.next_step(is_unused=True) is Step.REPORT
    eviction.begin(Step.REPORT)
    eviction.heard(Wish.STAY)
    eviction.reported()

    assert eviction.next_step(is_unused=True) is None
    eviction.heard(Wish.STAY, is_answer=True)
    assert eviction.next_step(is_unused=True) is Step.RESTORE


def test_what_nobody_knows_to_be_given_up_is_taken_back() -> None:
    """When nobody answers, an eviction that was not reported is undone; one that may have been heard of is not."""
    unheard, heard = asked_and_given_up(), asked_and_given_up()
    heard.begin(Step.REPORT)
    heard.reported()
    for eviction in (unheard, heard):
        eviction.left_alone()

    assert unheard.next_step(is_unused=True) is Step.RESTORE
    assert heard.next_step(is_unused=True) is None
    heard.took_turn()
    assert heard.next_step(is_unused=True) is Step.RESTORE


def test_a_failure_lets_use_go_on() -> None:
    """use() goes on at once, the error is said once, and another notice means another try."""
    eviction = Eviction()
    eviction.heard(Wish.LEAVE)
    eviction.begin(Step.CHECKPOINT)
    eviction.kept("no room")

    assert eviction.is_open
    assert eviction.next_step(is_unused=True) is Step.REPORT
    eviction.begin(Step.REPORT)
    assert eviction.is_open
    eviction.heard(Wish.STAY, is_answer=True)
    eviction.reported()
    assert eviction.next_step(is_unused=True) is None
    eviction.heard(Wish.LEAVE)
    assert eviction.next_step(is_unused=True) is Step.CHECKPOINT


def test_what_is_older_than_the_report_is_not_believed() -> None:
    """A notice that took longer than the answer does not bring parked memory back; a greater token does."""
    meeting = Meeting()
    eviction, stale = meeting.eviction, meeting.look(meeting.lease_id)
    meeting.operator_evicts()
    meeting.notice_arrives()
    for end in (meeting.checkpoint_ends, meeting.arrives_above):
        meeting.step_begins()
        end()
    meeting.answer_arrives()
    meeting.claim.hear(stale)

    assert eviction.next_step(is_unused=True) is None
    assert meeting.claim.state == "resting"
    meeting.operator_resumes()
    meeting.notice_arrives()
    assert eviction.next_step(is_unused=True) is Step.RESTORE
