"""The first act: a batch of texts gives way to a recording of a higher class, and comes back in its old place."""

from cf_orch.sidecar.demo.script import YIELDING
from cf_orch.sidecar.demo.stage import Stage

__all__ = ["play"]

WRITTEN_WHEN_IT_COMES = 2
"""Which of the texts is being written when the recording comes."""


async def play(stage: Stage) -> None:
    """Let the texts be written, have one recording come in the midst of one, and another that is in no hurry."""
    texts, urgent, unhurried = (stage.record.jobs[name] for name in YIELDING)
    stage.ask(texts)
    await stage.until(lambda: WRITTEN_WHEN_IT_COMES in texts.begun)
    stage.ask(urgent)
    await stage.until(lambda: urgent.asked_at is not None)
    stage.ask(unhurried)
    await stage.until(lambda: texts.over and urgent.over and unhurried.over)
