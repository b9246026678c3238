"""One session of the product, passed on: what it asks for, what it must hear, and how long it may believe.

A process never believes longer than we do.  It counts its own belief from before it sent its last heartbeat, with the
time to live that we answered; so that is made shorter by what has passed since our own last heartbeat to the
coordinator was acknowledged.  What is local is ours to promise, and lasts.
"""

import time
from collections.abc import Callable
from itertools import count
from typing import NamedTuple

import msgspec

from cf_orch.client.away import LocalLeases
from cf_orch.client.claim import Phase
from cf_orch.client.claims import HOLDING
from cf_orch.client.eviction import AWAY
from cf_orch.client.line import Connect
from cf_orch.client.local import LocalTurns
from cf_orch.client.session import Fallback
from cf_orch.doors.problems import Stopping
from cf_orch.gpus import DeviceSample, HostIdentity
from cf_orch.ledger import Refusal, Settings
from cf_orch.protocol.messages import HoldingItem, LeaseInfo, LeaseRequest, Notice, SessionAnswer, SessionRequest
from cf_orch.sidecar.relay.claim import RelayedClaim
from cf_orch.sidecar.relay.hearing import Ears
from cf_orch.sidecar.relay.lease import RelayedLease
from cf_orch.sidecar.relay.upstream import Upstream

__all__ = ["RelayedSession", "Ways"]

GRACE = Settings().grace_factor
DEFAULT_TTL_S = Settings().ttl_s
FIRST_TTL_S = 3.0
SHORTEST_TTL_S = 0.1
"""What is shorter is not worth a heartbeat: it is as good as over."""


class Ways(NamedTuple):
    """What every session needs of this sidecar.

    ``look`` shows the host's cards, ``make_turns`` begins with nothing; ``epoch`` rises with each start of ours.
    """

    connect: Connect
    fallback: Fallback
    host: HostIdentity
    look: Callable[[], list[DeviceSample]]
    make_turns: Callable[[], LocalTurns]
    epoch: int
    pid: int
    pid_start: int | None
    new_id: Callable[[], str]


ENDED = ("ended",)
_seq = count(1)


class RelayedSession:
    """A process's session with us, and ours for it with the coordinator.

    ``lives_alone``: its leases have no session here; each lives by its own heartbeats.
    """

    def __init__(
        self,
        registration: SessionRequest,
        ways: Ways,
        *,
        lives_alone: bool = False,
        on_notice: Callable[[Notice], object] | None = None,
    ) -> None:
        """Tell the coordinator nothing yet; ``on_notice`` hears all that it says to the session."""
        self.id = registration.session_id or ""
        self.registration = registration
        self.ears = Ears()
        self.heard_at = time.monotonic()
        self.leases: dict[str, RelayedLease] = {}  #: by request id; those that ended are kept for a while
        self._by_id: dict[str, RelayedLease] = {}  #: by every id that it was told under
        self.cancelled: dict[str, float] = {}  #: requests taken back before they came, and when
        self._ways = ways
        self._lives_alone = lives_alone
        self._turns = ways.make_turns()
        self.upstream = Upstream(
            registration,
            ways.connect,
            self._turns,
            LocalLeases(self._turns, ways.look, registration.host_name or ways.host.host_name),
            ways.fallback,
            on_news=self._tell_all,
            on_notice=on_notice or (lambda _notice: None),
        )

    # --- the session itself

    @property
    def ttl_s(self) -> float:
        """The time to live: the coordinator's where it has said one."""
        return self.upstream.belief.ttl_s or self.registration.ttl_s or DEFAULT_TTL_S

    @property
    def silent_at(self) -> float:
        """When it has been silent for its full grace, on the monotonic clock."""
        return self.heard_at + self.ttl_s * GRACE

    @property
    def valid_for_s(self) -> float | None:
        """How long what the coordinator granted may be believed in, from now; None while it has granted nothing."""
        left_s = self.upstream.belief.left_s
        counts = self.upstream.connection is not None or any(
            lease.is_held and not lease.claim.is_local for lease in self.leases.values()
        )
        return left_s if counts else None

    def heard(self) -> None:
        """Its process gave a sign of life."""
        self.heard_at = time.monotonic()

    def answer(self, *, returns: bool = False) -> SessionAnswer:
        """What its process is told of it.  Raises Stopping where no belief is left to pass on.

        One that ``returns`` may hold what we know nothing of yet: it is to ask again soon.
        """
        valid_for_s = self.valid_for_s
        ttl_s = self.ttl_s if valid_for_s is None else min(self.ttl_s, valid_for_s / GRACE)
        ttl_s = min(ttl_s, FIRST_TTL_S) if returns else ttl_s
        if ttl_s < SHORTEST_TTL_S:
            raise Stopping("the coordinator was not heard in time: nothing can be promised until it is back")
        return SessionAnswer(session_id=self.id, ttl_s=ttl_s, epoch=self._ways.epoch)

    def begin(self) -> None:
        """Tell the coordinator of the session, and of all its leases; harmless when that has begun."""
        self.upstream.start()

    async def end(self, outcome: str) -> None:
        """End it, and with it all its leases."""
        for lease in self.leases.values():
            lease.end(outcome)
            lease.told = ENDED
        await self.upstream.close()
        self._turns.close()
        self.ears.hang_up()

    async def leave(self) -> None:
        """Let go of it without ending it: its process lives, and finds another to speak for it."""
        self._tell(Notice(notice="stopping", seq=next(_seq)))
        await self.upstream.abandon()
        self._turns.close()

    # --- its leases

    def ask(self, body: LeaseRequest) -> RelayedLease:
        """Take a request, or find the one that an earlier try with its id became.

        Raises Refusal request_id_reused.
        """
        body = msgspec.structs.replace(body, session_id=None, ttl_s=body.ttl_s if self._lives_alone else None)
        lease = self.leases.get(body.request_id or "")
        if lease is None or (lease.is_named_only and lease.is_over):
            lease = self._add(RelayedClaim(msgspec.structs.replace(body, ttl_s=None)), body)
            self.begin()
            self.upstream.ask(lease.claim)
        elif lease.claim.is_named_only:
            lease.request, lease.claim.request = body, body
            lease.claim.is_named_only = False
            self.upstream.ask(lease.claim)
        elif lease.is_taken_in:
            lease.request, lease.is_taken_in = body, False
        elif lease.request != body:
            raise Refusal(
                "request_id_reused",
                f"request id {body.request_id} already stands for lease {lease.reads(None).id}, which asked for "
                "something else: use a new id for a new request",
            )
        return lease

    def sync(self, items: list[HoldingItem]) -> list[RelayedLease]:
        """Hold for the session exactly what it says that it holds and wants; return what it does not know by name."""
        named = {item.request_id for item in items}
        for item in items:
            known = self.leases.get(item.request_id)
            if known is None or (known.is_over and item.state != "queued"):
                self._take_in(item)
        left = [lease for lease in self.leases.values() if lease.request_id not in named and not lease.is_over]
        self.begin()
        return left

    def find(self, lease_id: str) -> RelayedLease | None:
        """The lease that was ever told under that id."""
        return self._by_id.get(lease_id)

    def reads(self, lease: RelayedLease) -> LeaseInfo:
        """A lease as its process may know it; then it does."""
        info = self._look(lease)
        lease.told = _gist(info)
        return info

    def _look(self, lease: RelayedLease) -> LeaseInfo:
        info = lease.reads(self.valid_for_s)
        self._by_id[info.id] = lease
        return info

    async def let_go(self, lease: RelayedLease, outcome: str) -> None:
        """End a lease; returns when the coordinator has heard, or cannot hear."""
        if not lease.is_over:
            lease.end(outcome)
            lease.told = ENDED
            await self.upstream.let_go(lease.claim)

    def forget(self, before: float) -> None:
        """Forget what ended before a time on the monotonic clock."""
        self.leases = {
            name: lease for name, lease in self.leases.items() if lease.ended_at is None or lease.ended_at > before
        }
        self._by_id = {name: lease for name, lease in self._by_id.items() if lease.request_id in self.leases}
        self.cancelled = {name: at for name, at in self.cancelled.items() if at > before}

    def _take_in(self, item: HoldingItem) -> None:
        claim = RelayedClaim.named(item, self.registration.service, self.registration.host_name or "")
        lease = self._add(claim, claim.request)
        lease.is_taken_in = claim.phase is Phase.HELD
        lease.note_change()
        if claim.phase is Phase.HELD:
            if not claim.is_idle and not claim.is_away:
                self._turns.use(claim.name)
            self.upstream.hold(claim)
        elif self.upstream.connection is None:  # else what is not known here is not known there
            self.upstream.hold(claim)
        else:
            del self.leases[claim.request_id]

    def _add(self, claim: RelayedClaim, request: LeaseRequest) -> RelayedLease:
        lease = RelayedLease(claim, None if self._lives_alone else self.id)
        lease.request = request
        self.leases[lease.request_id] = lease
        claim.on_change = lambda: self._changed(lease)
        if claim.asking is not None:
            claim.asking.tell = lambda: self._tell_of(lease)
        return lease

    # --- what its process must hear

    def _changed(self, lease: RelayedLease) -> None:
        lease.note_change()
        self._tell_of(lease)

    def _tell_all(self) -> None:
        for lease in list(self.leases.values()):
            self._tell_of(lease)

    def _tell_of(self, lease: RelayedLease) -> None:
        """Tell of a lease what its process does not know, once we may believe in it ourselves."""
        if lease.told is None:  # it is asked for just now, and its answer tells
            return
        info = self._look(lease)
        kind = _news(lease.told, info)
        if kind is None or (info.state in HOLDING and not info.local and self.upstream.belief.in_doubt):
            return
        lease.told = _gist(info)
        notice = Notice(notice=kind, seq=next(_seq), lease=info)
        if kind == "evict" and info.eviction is not None:
            notice.deadline_s, notice.for_whom = info.eviction.deadline_s, info.eviction.for_whom
        self._tell(notice)

    def _tell(self, notice: Notice) -> None:
        self.ears.tell(notice)


def _gist(info: LeaseInfo) -> tuple[object, ...]:
    """What its holder must know of a lease."""
    if info.state == "evicting":
        return ("evicting", info.token)
    if info.state in HOLDING:
        return ("held", info.token, info.id, info.local, tuple(device.uuid for device in info.devices))
    return (info.state,)


def _news(told: tuple[object, ...], info: LeaseInfo) -> str | None:
    """The notice that makes what was told into what is so; None where it is so already, or need not be told."""
    gist = _gist(info)
    if gist == told:
        return None
    match gist[0]:
        case "evicting":
            return "evict"
        case "held" if told[:2] == ("evicting", info.token):
            return "withdrawn"
        case "held":
            return "resume" if told[0] in AWAY else "granted"
        case "ended":
            return "lost"
    return None
