"""Leases without a coordinator: turns on this host, on devices that the driver shows to be free."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import msgspec

from cf_orch.client.claim import Claim, Phase
from cf_orch.client.errors import CoordinatorUnreachable
from cf_orch.client.local import LocalTurns
from cf_orch.gpus import DeviceSample, NvmlReader, NvmlUnavailable
from cf_orch.protocol.messages import DeviceRef, LeaseInfo, LeaseRequest
from cf_orch.protocol.priorities import Priority
from cf_orch.protocol.sizes import gb_to_bytes

__all__ = ["LocalLeases", "nvidia_devices"]

LOOK_EVERY_S = 0.25

Took = Callable[[Claim, LeaseInfo], None]


def nvidia_devices(reader: NvmlReader) -> list[DeviceSample]:
    """The NVIDIA devices of this host as their driver shows them; none where there is no driver."""
    try:
        return reader.read()
    except NvmlUnavailable:
        return []


class LocalLeases:
    """Grants one session's claims by turns.  Used on the I/O thread."""

    def __init__(self, turns: LocalTurns, look: Callable[[], list[DeviceSample]], host_name: str) -> None:
        """``look`` blocks, and is called in a thread of its own."""
        self._turns = turns
        self._look = look
        self._host_name = host_name
        self._waiting: dict[str, asyncio.Task[Any]] = {}

    def begin(self, claim: Claim, took: Took) -> None:
        """Let a claim wait for its turn, for ``took`` to take it; harmless while it waits already."""
        if claim.name not in self._waiting:
            task = asyncio.create_task(self._serve(claim, took))
            self._waiting[claim.name] = task
            task.add_done_callback(lambda _: self._waiting.pop(claim.name, None))

    async def withdraw(self, *claims: Claim) -> None:
        """Let claims wait no more; returns when their tickets are gone."""
        waiting = [task for claim in claims if (task := self._waiting.get(claim.name))]
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    async def resume(self, claim: Claim) -> bool:
        """Take a turn for a claim that kept its memory idle; False when the coordinator came back first.

        Raises LeaseLost when the claim ended meanwhile.
        """
        turn = asyncio.create_task(self._turns.take_turn(claim.name, 0, _within(claim)))
        self._waiting[claim.name] = turn
        await asyncio.wait([turn])
        self._waiting.pop(claim.name, None)
        if turn.cancelled():
            return False
        if claim.phase is not Phase.HELD:
            self._turns.end_turn(turn.result())
        claim.held  # noqa: B018 - raises
        claim.ticket = turn.result()
        return True

    async def _serve(self, claim: Claim, took: Took) -> None:
        request = claim.wanted()
        need_bytes = gb_to_bytes(max(_size_gb(request), request.peak_gb or 0.0) - claim.kept_gb)
        try:
            ticket = await self._turns.take_turn(claim.name, need_bytes, _within(claim))
        except (OSError, msgspec.MsgspecError) as error:
            claim.refuse(CoordinatorUnreachable(f"no coordinator answers, and this host offers no turns: {error}"))
            return
        try:
            devices = await self._fitting(request, need_bytes)
        except BaseException:
            self._turns.end_turn(ticket)
            raise
        if not claim.wants_memory:
            self._turns.end_turn(ticket)
            return
        self._turns.note_devices(ticket, [device.uuid for device in devices])
        claim.ticket = ticket
        took(claim, self._lease(claim, ticket.number, devices))

    async def _fitting(self, request: LeaseRequest, need_bytes: int) -> list[DeviceRef]:
        """Wait, with the turn in hand, until enough devices have room; none where the host shows none that is meant."""
        while True:
            looked = await asyncio.to_thread(self._look)
            samples = [sample for sample in looked if any(_is_pinned(pin, sample) for pin in _pins(request))]
            chosen = _choose(samples, request, need_bytes)
            if chosen or not samples:
                return [
                    DeviceRef(uuid=sample.uuid or "", name=sample.name, host=self._host_name, index=sample.index or 0)
                    for sample in chosen
                ]
            await asyncio.sleep(LOOK_EVERY_S)

    def _lease(self, claim: Claim, number: int, devices: list[DeviceRef]) -> LeaseInfo:
        request, size_gb = claim.request, _size_gb(claim.request)
        uuids = ",".join(device.uuid for device in devices)
        return LeaseInfo(
            id=f"local-{number}",
            state="active",
            token=None,
            service=request.service,
            task_type=request.task_type,
            model=request.model,
            priority=Priority.NORMAL if request.priority is None else Priority.parse(request.priority),
            vram_gb=size_gb,
            charge_gb=size_gb,
            devices=devices,
            position=None,
            waiting_for=None,
            evictable=request.evictable,
            local=True,
            request_id=claim.request_id,
            session_id=None,
            created_at=time.time() - (time.monotonic() - claim.asked_at),
            granted_at=time.time(),
            expires_at=None,
            env={"CUDA_VISIBLE_DEVICES": uuids} if uuids else {},
        )


def _within(claim: Claim) -> frozenset[str]:
    return frozenset(other.name for other in claim.within)


def _size_gb(request: LeaseRequest) -> float:
    """What it asks for; a size that only the coordinator's configuration knows counts as nothing beside its turn."""
    return 0.0 if request.vram_gb == "auto" else request.vram_gb


def _pins(request: LeaseRequest) -> list[str | int | None]:
    return list(request.device) if isinstance(request.device, list) else [request.device]


def _choose(samples: list[DeviceSample], request: LeaseRequest, need_bytes: int) -> list[DeviceSample]:
    """The devices with the most free memory among those that would do; none if there are not enough of them."""
    able = [
        sample
        for sample in samples
        if (sample.free_bytes or 0) >= need_bytes and set(request.requires) <= set(sample.capabilities)
    ]
    able.sort(key=lambda sample: (-(sample.free_bytes or 0), sample.uuid or ""))
    return able[: request.gpus] if len(able) >= request.gpus else []


def _is_pinned(pin: str | int | None, sample: DeviceSample) -> bool:
    return pin is None or str(pin) in (sample.uuid, str(sample.index)) or str(pin).lower() == sample.name.lower()
