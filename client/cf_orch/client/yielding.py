"""Evictions at work: runs what the state machine of one claim says is next (see ``eviction``), on the I/O thread."""

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable
from functools import partial
from numbers import Real
from typing import Protocol

from cf_orch.client.claim import Claim, Phase
from cf_orch.client.claims import Claims
from cf_orch.client.eviction import Step
from cf_orch.client.hooks import NotGivenUp

__all__ = ["Speaker", "Yielding"]

LONGEST_ERROR = 2000
"""What a message carries."""
log = logging.getLogger("cf_orch.client")


class Speaker(Protocol):
    """Who speaks with the coordinator about a claim."""

    @property
    def is_connected(self) -> bool:
        """True while something can be said."""

    async def report(self, claim: Claim) -> None:
        """Say that the memory is given up, or why it could not be; returns when that was heard, or cannot be."""

    async def restate(self, claim: Claim) -> None:
        """Say what the coordinator does not know of a claim, as that its memory is loaded again."""

    def release(self, claim: Claim) -> None:
        """Give back what a claim that is over held."""


class Yielding:
    """One claim's checkpoints, reports and restores: one at a time, each in a task of its own."""

    def __init__(self, claim: Claim, claims: Claims, speaker: Speaker, changed: Callable[[Claim], None]) -> None:
        """``changed`` is called when a step is through."""
        self._claim = claim
        self._claims = claims
        self._speaker = speaker
        self._changed = changed
        self._step: asyncio.Task[None] | None = None
        self._is_over = False
        claim.gate.on_empty = partial(_soon, asyncio.get_running_loop(), changed, claim)

    def advance(self) -> bool:
        """Begin what is to be done next, if anything; tell whether use() may begin."""
        claim, eviction = self._claim, self._claim.eviction
        if self._is_over or claim.phase is not Phase.HELD:
            return False
        is_unused = claim.gate.close() if not eviction.is_open else False
        step = eviction.next_step(is_unused=is_unused)
        if step is not None and (step is not Step.REPORT or self._speaker.is_connected):
            eviction.begin(step)
            self._step = asyncio.create_task(self._take(step))
        if eviction.is_open:
            claim.gate.open()
        return eviction.is_open

    async def end(self, *, within_s: float | None = None) -> None:
        """Begin nothing more; what runs is cancelled and waited for, for so many seconds at most."""
        was_over, self._is_over = self._is_over, True
        self._claim.gate.close()
        if self._step is not None:
            if not was_over:
                self._step.cancel()
            _, late = await asyncio.wait([self._step], timeout=within_s)
            for step in late:  # it goes on in its thread, and nobody waits for it any more
                step.cancel()

    async def _take(self, step: Step) -> None:
        match step:
            case Step.CHECKPOINT:
                await self._checkpoint()
            case Step.REPORT:
                try:
                    await self._speaker.report(self._claim)
                finally:
                    self._claim.eviction.reported()
            case Step.RESTORE:
                await self._restore()
        self._step = None
        self._changed(self._claim)

    async def _checkpoint(self) -> None:
        claim, eviction = self._claim, self._claim.eviction
        assert claim.hooks is not None, "nobody asks a claim without hooks to leave"  # noqa: S101 - of this package
        try:
            kept = await claim.hooks.checkpoint()
        except NotGivenUp:
            eviction.kept(None)
        except Exception as error:
            log.exception("checkpoint() of lease %s failed: it keeps its memory", _id(claim))
            eviction.kept(_said(error))
        else:
            eviction.gave_up(_residue_gb(claim, kept))
            claim.is_loaded = False
            self._claims.put_down(claim)

    async def _restore(self) -> None:
        claim, eviction = self._claim, self._claim.eviction
        assert claim.hooks is not None, "only hooks give memory up"  # noqa: S101 - of this package
        self._claims.pick_up(claim)
        try:
            await claim.hooks.restore()
        except Exception as error:
            log.exception("restore() of lease %s failed: it is released", _id(claim))
            self._claims.lose(claim, f"restore() failed, so that the lease was released: {_said(error)}", error)
            self._speaker.release(claim)
        else:
            claim.is_loaded = True
            await self._speaker.restate(claim)
            eviction.restored()


def _soon(loop: asyncio.AbstractEventLoop, callback: Callable[[Claim], None], claim: Claim) -> None:
    """Call back on the I/O thread's loop; from any thread."""
    with contextlib.suppress(RuntimeError):  # closed meanwhile: then nothing is left to be done
        loop.call_soon_threadsafe(callback, claim)


def _residue_gb(claim: Claim, kept: object) -> float | None:
    """What checkpoint() said that it kept; None, which is what the slot declared, for what no lease can keep."""
    if not isinstance(kept, Real) or isinstance(kept, bool):
        return None
    residue_gb, most_gb = float(kept), claim.info.vram_gb if claim.info else math.inf
    if 0 <= residue_gb <= most_gb:
        return residue_gb
    log.warning(
        "checkpoint() of lease %s returned %g: a residue is 0 to %g GB on each device, so the slot's own counts",
        _id(claim), residue_gb, most_gb,
    )  # fmt: skip
    return None


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:LONGEST_ERROR]


def _id(claim: Claim) -> str:
    return claim.info.id if claim.info else claim.name
