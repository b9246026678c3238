"""What observers of a host should know of its leases: whether memory is on its way back, and whose RAM counts."""

from collections.abc import Iterator

from cf_orch.ledger import Lease, Ledger, State
from cf_orch.ledger.records import Pid

__all__ = ["pids_on", "something_comes_back"]


def something_comes_back(ledger: Ledger, host_id: str) -> bool:
    """Tell whether memory of a lease on the host is on its way back."""
    return any(_comes_back(lease) for lease in _leases_on(ledger, host_id))


def pids_on(ledger: Ledger, host_id: str) -> tuple[Pid, ...]:
    """The processes whose RAM the host's leases pay for, each once."""
    return tuple({pid for lease in _leases_on(ledger, host_id) for pid in _users(ledger, lease)})


def _leases_on(ledger: Ledger, host_id: str) -> Iterator[Lease]:
    for lease in ledger.leases.values():
        if any(ledger.devices[uuid].host_id == host_id for uuid in lease.devices):
            yield lease


def _comes_back(lease: Lease) -> bool:
    """Of a parked lease only what it is not expected to keep."""
    kept = (lease.charges[uuid] <= lease.kept_bytes(uuid) for uuid in lease.devices)
    return lease.state is State.CLOSING or (lease.is_leaving and not all(kept))


def _users(ledger: Ledger, lease: Lease) -> tuple[Pid, ...]:
    """Those attached, and its session's own only where none is.

    A product that loads its model into another process keeps some RAM itself for as long as it lives.
    """
    session = ledger.sessions.get(lease.session_id or "")
    own = None if session is None else (session.pid, session.pid_start)
    return tuple(pid for pid in lease.pids if pid != own) or lease.pids
