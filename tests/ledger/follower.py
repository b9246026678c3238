"""What the parts of the oracle share: the model, the command under way, and how deadlines are set."""

from collections import Counter

from tests.ledger.broken import broken
from tests.ledger.naive import WAITING, Job, Model

from cf_orch.ledger import Settings
from cf_orch.ledger import commands as c

__all__ = ["STEPS", "Follower"]

STEPS = [0, 10, 20]
"""The classes that aging leads to: below interactive."""


class Follower:
    """Follows one ledger by its events."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.model = Model(settings)
        self.name = ""
        self.seq = 0
        self.last_token = 0
        self.past: dict[str, Job] = {}
        self.command: c.Command = c.Tick()
        self.noted: Counter[str] = Counter()
        """How often each kind of event happened, and some rare things among them."""

    @property
    def now(self) -> float:
        return self.model.now

    def _was(self, job: Job, states: set[str]) -> None:
        if job.state not in states:
            broken("R7 state", f"{job.id} was {job.state}, not {sorted(states)}")

    def _arm(self, job: Job) -> None:
        """Give a lease all deadlines of its state, in full from now."""
        s, now = self.settings, self.now
        job.expires_at = None if job.ttl_s is None else now + job.ttl_s * s.grace_factor
        waits = job.slot.max_wait_s if job.state == "queued" else None
        job.waits_until = None if waits is None else now + waits
        self._arm_aging(job)
        loads = job.state == "loading" and not job.overdue
        job.load_until = now + s.load_timeout_s if loads else None
        asked = job.state == "evicting" and not job.late
        job.evict_until = self._late_at(job) if asked else None
        self._arm_reclaim(job)

    def _late_at(self, job: Job) -> float:
        """When one that is asked to leave is late: never before it could be done, as far as that is known."""
        return self.now + max(self.settings.grace_s, (job.checkpoint_s or 0.0) * 1.25)

    def _arm_aging(self, job: Job) -> None:
        ages = self.settings.aging_s if job.state in WAITING and any(job.klass < step for step in STEPS) else None
        job.ages_at = None if ages is None else self.now + ages

    def _arm_reclaim(self, job: Job) -> None:
        job.reclaim_at = self.now + self.settings.reclaim_timeout_s if job.leaving else None

    def _settle_driverless(self, job: Job) -> None:
        for uuid in job.devices:
            if not self.model.devices[uuid].driver:
                job.charge[uuid] = job.promised
                job.seen[uuid] = 0
