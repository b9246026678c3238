"""The ledger: one pure account of who holds how much memory on which device, who waits, and why.

Read ``states`` for the life of a lease, ``schedule`` for who is next, ``placement`` for where, ``eviction`` for who is
asked to leave, ``admission`` for what is refused, ``attribution`` for whose bytes the driver shows, ``decide`` and
``apply`` for what commands lead to and events change, ``ledger`` for how it is driven.
"""

from cf_orch.ledger.ledger import Ledger
from cf_orch.ledger.records import Device, Lease, Process, Sample, Session, Slot
from cf_orch.ledger.refusals import Refusal
from cf_orch.ledger.settings import PRIORITIES, Quota, Settings, TaskType
from cf_orch.ledger.states import TRANSITIONS, Outcome, State
from cf_orch.ledger.waiting import WaitingFor

__all__ = [
    "PRIORITIES", "TRANSITIONS", "Device", "Lease", "Ledger", "Outcome", "Process", "Quota", "Refusal", "Sample",
    "Session", "Settings", "Slot", "State", "TaskType", "WaitingFor",
]  # fmt: skip
