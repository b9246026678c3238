"""What a task asks for."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Literal

from cf_orch.client.errors import LeaseRefused
from cf_orch.protocol.messages import LeaseRequest

__all__ = ["VRAMSlot"]


@dataclass(frozen=True, slots=True)
class VRAMSlot:
    """What a task asks for: which service, what it does, and how much memory.

    Sizes are in GB (GiB, 2**30 bytes), on each device if ``gpus`` > 1.  ``vram_gb="auto"`` and ``priority=None``
    leave it to the task type.  ``peak_gb`` is what loading takes in all, until ``lease.loaded()``; ``residue_gb`` what
    stays when the lease is parked.  ``device`` is an index, UUID or name, or one for each of ``gpus``; ``requires``
    names what the device must compute in ("bf16", "fp8").  ``max_wait_s`` bounds the wait for the grant.
    """

    service: str
    task_type: str
    vram_gb: float | Literal["auto"]
    _: KW_ONLY
    model: str | None = None
    priority: int | str | None = None
    peak_gb: float | None = None
    residue_gb: float | None = None
    gpus: int = 1
    host: str | None = None
    device: str | int | Sequence[str | int] | None = None
    requires: Iterable[str] | None = None
    max_wait_s: float | None = None

    def request(self, request_id: str, *, evictable: bool) -> LeaseRequest:
        """The slot as it goes over the wire.  Raises LeaseRefused for a number that no message could carry."""
        for name in ("vram_gb", "peak_gb", "residue_gb", "max_wait_s"):
            value = getattr(self, name)
            if isinstance(value, float) and not math.isfinite(value):
                raise LeaseRefused("bad_value", f"{name} must be a finite number, not {value}")
        return LeaseRequest(
            service=self.service,
            vram_gb=self.vram_gb,
            request_id=request_id,
            task_type=self.task_type,
            model=self.model,
            priority=self.priority,
            peak_gb=self.peak_gb,
            residue_gb=self.residue_gb,
            gpus=self.gpus,
            host=self.host,
            device=self.device if self.device is None or isinstance(self.device, str | int) else list(self.device),
            requires=sorted(set(self.requires or ())),
            evictable=evictable,
            max_wait_s=self.max_wait_s,
        )
