"""One command being decided: the books to look at, the time, and the events so far."""

from cf_orch.ledger.apply.dispatch import apply
from cf_orch.ledger.books import Books
from cf_orch.ledger.events import Event
from cf_orch.ledger.records import Lease, Session
from cf_orch.ledger.refusals import Refusal
from cf_orch.ledger.states import State

__all__ = ["Decision"]


class Decision:
    """A decision under way.  ``emit`` applies an event at once, so that what follows sees its effect."""

    def __init__(self, books: Books, now: float, unix_s: float) -> None:
        """Begin to decide at ``now`` (monotonic seconds); ``unix_s`` is the same instant for people."""
        self.books = books
        self.now = now
        self.unix_s = unix_s
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        """Let something have happened."""
        apply(self.books, event, self.now)
        self.events.append(event)

    def next_seq(self) -> int:
        """The sequence number that the next durable event gets."""
        return self.books.seq + 1

    def session(self, session_id: str) -> Session:
        """Return an open session or refuse."""
        session = self.books.sessions.get(session_id)
        if session is None:
            raise Refusal(
                "unknown_session",
                f"no session {session_id} is open here: it ended, or another coordinator opened it; register anew",
            )
        return session

    def owned(self, lease_id: str, by: str | None) -> Lease:
        """Return a lease that ``by`` may command, live or ended not long ago, or refuse."""
        lease = self.books.find(lease_id)
        if lease is None:
            raise self.unknown(lease_id)
        if by is not None and by != lease.session_id:
            raise Refusal("not_yours", f"lease {lease_id} belongs to another session of {lease.slot.service}")
        return lease

    def live(self, lease_id: str, by: str | None) -> Lease:
        """Return a lease that ``by`` may command and that has not ended, or refuse."""
        lease = self.owned(lease_id, by)
        if lease.state in (State.ENDED, State.CLOSING):
            raise Refusal("lease_ended", f"lease {lease_id} has ended ({lease.outcome}): ask for a new one")
        return lease

    def unknown(self, lease_id: str) -> Refusal:
        """The refusal for a lease that the books do not hold: it ended long ago, or it never was."""
        if self.ended_long_ago(lease_id):
            return Refusal("lease_ended", f"lease {lease_id} ended long ago: ask for a new one")
        return Refusal("unknown_lease", f"there never was a lease {lease_id} here")

    def ended_long_ago(self, lease_id: str) -> bool:
        """Tell whether an id that the books do not hold was given out by this ledger."""
        name, _, number = lease_id.rpartition("-")
        return name == self.books.ledger_id and number.isdecimal() and 0 < int(number) <= self.books.seq
