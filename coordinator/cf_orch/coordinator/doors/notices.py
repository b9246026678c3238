"""What a session must hear, as messages: live from the engine, and what it missed from the journal."""

from collections.abc import AsyncIterator
from functools import partial

from cf_orch.coordinator.doors.desk import Desk
from cf_orch.coordinator.listeners import Happening, kind_of
from cf_orch.ledger import Ledger
from cf_orch.ledger.events import Event
from cf_orch.protocol import messages as m

__all__ = ["missed_notices", "notice_of"]

PAGE = 1000


def notice_of(desk: Desk, happening: Happening, ledger: Ledger, now: float) -> m.Notice:
    """Make the message of what happened, from the ledger as it is then."""
    lease = None if happening.lease_id is None else desk.find(happening.lease_id, ledger, now)
    notice = m.Notice(notice=happening.kind, seq=happening.seq, lease=lease)
    if lease is not None and lease.eviction is not None:
        notice.deadline_s, notice.for_whom = lease.eviction.deadline_s, lease.eviction.for_whom
    return notice


async def missed_notices(desk: Desk, session_id: str, since: int) -> AsyncIterator[tuple[int, m.Notice | None]]:
    """Go through all events after number ``since``: each with the notice that it is worth for a session, if any.

    A lease that the session itself gave back is told as lost too: the journal does not say by whom.
    """
    while past := await desk.engine.events(since, PAGE):
        for seq, _, event in past:
            since = seq
            happening = _happening(desk, session_id, seq, event)
            yield seq, None if happening is None else await desk.engine.look(partial(notice_of, desk, happening))


def _happening(desk: Desk, session_id: str, seq: int, event: Event) -> Happening | None:
    lease = desk.engine.ledger.find(getattr(event, "lease_id", ""))
    if lease is None or lease.session_id != session_id:
        return None
    kind = kind_of(event, lease)
    return None if kind is None else Happening(kind, seq, session_id, lease.id)
