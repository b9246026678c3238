"""Sessions begin, and go on."""

from cf_orch.ledger import events as e
from cf_orch.ledger.books import Books
from cf_orch.ledger.deadlines import renew_session
from cf_orch.ledger.records import Session
from cf_orch.ledger.timers import Timer

__all__ = ["session_opened", "session_renewed"]


def session_opened(books: Books, event: e.SessionOpened, now: float) -> None:
    """Know a process, and give it its full grace."""
    session = Session(
        id=event.session_id,
        service=event.service,
        host_id=event.host_id,
        host_name=event.host_name,
        pid=event.pid,
        pid_start=event.pid_start,
        ttl_s=event.ttl_s,
    )
    books.sessions[session.id] = session
    renew_session(books, session, now)
    books.timers.at(session.expires_at, Timer.SESSION_EXPIRES, session.id)


def session_renewed(books: Books, event: e.SessionRenewed, now: float) -> None:
    """Give a process its full grace again."""
    session = books.sessions[event.session_id]
    session.may_adopt = session.may_adopt or event.reopened
    renew_session(books, session, now)
