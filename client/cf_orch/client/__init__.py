"""Leases on GPU memory, for programs that share it.

from cf_orch.client import ResourceCoordinator, VRAMSlot

coordinator = ResourceCoordinator()
slot = VRAMSlot(service="kiwi", task_type="recipe_llm", vram_gb=4.0)
async with coordinator.lease(slot):
    result = await run_inference(prompt)
"""

from cf_orch.client.coordinator import ResourceCoordinator
from cf_orch.client.errors import (
    CoordinatorAwayWarning,
    CoordinatorUnreachable,
    LeaseError,
    LeaseLost,
    LeaseRefused,
    LeaseTimeout,
    NotAuthorized,
)
from cf_orch.client.lease import AsyncLease, Lease
from cf_orch.client.opener import LeaseOpener
from cf_orch.client.slot import VRAMSlot
from cf_orch.protocol.priorities import Priority

__all__ = [
    "AsyncLease",
    "CoordinatorAwayWarning",
    "CoordinatorUnreachable",
    "Lease",
    "LeaseError",
    "LeaseLost",
    "LeaseOpener",
    "LeaseRefused",
    "LeaseTimeout",
    "NotAuthorized",
    "Priority",
    "ResourceCoordinator",
    "VRAMSlot",
]
