"""What a session must hear, as messages: live from the engine, and what it missed from the journal."""

from collections.abc import AsyncIterator
from functools import partial

from cf_orch.coordinator.doors.desk import Desk
from cf_orch.coordinator.listeners import Happening
from cf_orch.ledger import Ledger
from cf_orch.ledger.events import Closing, Ended, Event, Granted
from cf_orch.protocol import messages as m

__all__ = ["missed_notices", "notice_of"]

PAGE = 1000


def notice_of(desk: Desk, happening: Happening, ledger: Ledger, now: float) -> m.Notice:
    """Make the message of what happened, from the ledger as it is then."""
    lease = None if happening.lease_id is None else desk.find(happening.lease_id, ledger, now)
    return m.Notice(notice=happening.kind, seq=happening.seq, lease=lease)


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
    if not isinstance(event, Granted | Closing | Ended):
        return None
    lease = desk.engine.ledger.find(event.lease_id)
    if lease is None or lease.session_id != session_id:
        return None
    if isinstance(event, Granted):
        return Happening("granted", seq, session_id, lease.id)
    is_lost = isinstance(event, Closing) or lease.token is None
    return Happening("lost", seq, session_id, lease.id) if is_lost else None
