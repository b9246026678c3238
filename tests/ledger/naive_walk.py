"""What is to be done next, by the naive model: rule 2 read out loud, one waiter after the other."""

from typing import NamedTuple

from tests.ledger.naive import Job, Model, Scheme
from tests.ledger.naive_evictions import Way, best_way, comes_by_itself, holds_true, kept

__all__ = ["Line", "Todo", "next_todo", "residue_blocked", "victim_of"]


class Todo(NamedTuple):
    """Grant on ``devices``, or make the plan ``way``, or (neither) give the waiter's plan up."""

    job: Job
    devices: tuple[str, ...] | None = None
    way: Way | None = None

    def __str__(self) -> str:
        """Say it in short."""
        what = f"granted on {self.devices}" if self.devices else f"planned {self.way}" if self.way else "given up"
        return f"{self.job.id} is to be {what}"


class Line:
    """Those who stand in line before somebody, and what they keep from him."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.services: set[str] = set()
        self.keepers: list[tuple[Job, set[str], bool]] = []
        """Each with the devices that it keeps, and whether memory that suffices for it is on its way."""

    def let_pass(self, job: Job) -> str | None:
        """Tell why a waiter is passed over; a service that is over its quota is passed as a whole."""
        if job.cut_until is not None:
            return "cut off"
        if job.slot.service in self.services:
            return "quota"
        if self.model.over_quota(job):
            if not self.model.stalled(job):
                self.services.add(job.slot.service)
            return "quota"
        return "stalled" if self.model.active_scheme(job) is None and self.model.stalled(job) else None

    def keep(self, job: Job) -> None:
        """Let a waiter keep what it can use from all behind it."""
        model = self.model
        scheme = model.active_scheme(job)
        devices = set(scheme.devices) if scheme else {uuid for way in model.ways_of(job) for uuid in way}
        if job.devices:
            devices -= {uuid for other in model.active() if job.id in other.victims for uuid in other.devices}
        else:
            devices = {uuid for uuid in devices if not model.devices[uuid].draining}
        plans_itself = scheme is None and victim_of(model, job) is None
        soon = plans_itself and comes_by_itself(model, job, self.plannable())
        self.keepers.append((job, devices, soon))

    def plannable(self) -> set[str]:
        """The devices on which a waiter may plan that has passed nobody."""
        model, kept_back = self.model, self.kept_back()
        return {
            uuid
            for uuid, dev in model.devices.items()
            if not model.blind(dev) and model.window(uuid) is None and not dev.draining and uuid not in kept_back
        }

    def kept_back(self) -> set[str]:
        """All that is kept from a waiter that has passed nobody."""
        return set().union(*(devices for _, devices, _ in self.keepers))

    def may_take(self, job: Job, uuid: str) -> Job | None:
        """Tell who keeps a device from a waiter; None if nobody does.

        Who is kept from it by one that the waiter may pass, and may not pass him himself, counts for nothing.
        """
        passed: list[tuple[Job, set[str], bool]] = []
        for keeper, devices, soon in self.keepers:
            if self.may_pass(job, keeper, soon=soon) and not devices.isdisjoint(job.devices):
                passed.append((keeper, devices, soon))
            elif uuid in devices and self.could_go(keeper, uuid, passed):
                return keeper
        return None

    def could_go(self, keeper: Job, uuid: str, others: list[tuple[Job, set[str], bool]]) -> bool:
        """Tell whether one could take a device, for all that others keep from him."""
        kept_from: set[str] = set()
        for other, devices, soon in others:
            if not self.may_pass(keeper, other, soon=soon):
                kept_from |= devices
        return any(uuid in way and kept_from.isdisjoint(way) for way in self.model.ways_of(keeper))

    def may_pass(self, job: Job, keeper: Job, *, soon: bool) -> bool:
        """Tell whether a waiter may go before one who keeps a device from him."""
        return self.shuts_out(job, keeper) or (self.left_in_vain(job, keeper) and not soon)

    def left_in_vain(self, job: Job, keeper: Job) -> bool:
        """Tell whether a parked lease left for one who has given his plan up."""
        scheme = self.model.schemes.get(keeper.id)
        return bool(job.devices) and scheme is not None and scheme.given_up and job.id in scheme.victims

    def shuts_out(self, job: Job, keeper: Job) -> bool:
        """Tell whether what a parked lease keeps shuts a waiter out for ever."""
        return bool(job.devices) and any(
            job.charge[x] and x in residue_blocked(self.model, keeper) for x in job.devices
        )


def residue_blocked(model: Model, job: Job) -> set[str]:
    """Where a waiter could never fit beside what parked leases keep, if that is so everywhere; else nowhere."""
    need = job.slot.need_bytes
    most = {uuid: model.most_room(dev, draining=bool(job.devices)) for uuid, dev in model.devices.items()}
    beside = dict(most)
    for other in model.jobs.values():
        if other.state in ("parked", "resting") and other is not job:
            for uuid in other.devices:
                beside[uuid] -= kept(other, uuid)
    if any(all(need <= beside[uuid] for uuid in way) for way in model.ways_of(job)):
        return set()
    could = {uuid for way in model.ways_of(job) for uuid in way}
    return {uuid for uuid in could if beside[uuid] < need <= most[uuid]}


def victim_of(model: Model, job: Job) -> Scheme | None:
    """The plan under way on a lease's devices for which it left."""
    for scheme in model.active():
        if job.id in scheme.victims and not set(scheme.devices).isdisjoint(job.devices):
            return scheme
    return None


def next_todo(model: Model) -> Todo | None:
    """The first thing to do, by order of the queue."""
    line = Line(model)
    for job in model.queue():
        scheme = model.active_scheme(job)
        why = line.let_pass(job)
        if why is not None:
            if scheme is not None:
                return Todo(job)
            continue
        devices = _place(line, job)
        if devices is not None:
            return Todo(job, devices)
        todo = _to_plan(line, job, scheme)
        if todo is not None:
            return todo
        line.keep(job)
    return None


def _place(line: Line, job: Job) -> tuple[str, ...] | None:
    model = line.model
    if victim_of(model, job) is not None:
        return None
    rooms = {
        uuid: model.room(dev)
        for uuid, dev in model.devices.items()
        if not model.blind(dev) and model.window(uuid) is None
        if job.devices or not dev.draining
        if line.may_take(job, uuid) is None
    }
    return model.best_of(job, rooms)


def _to_plan(line: Line, job: Job, scheme: Scheme | None) -> Todo | None:
    """A plan where one could be made, or must be made anew; or its end."""
    model, kept_back = line.model, line.kept_back()
    if scheme is not None:
        drained = any(model.devices[uuid].draining for uuid in scheme.devices)
        if not drained and kept_back.isdisjoint(scheme.devices) and holds_true(model, scheme):
            return None
    way = best_way(model, job, line.plannable()) if victim_of(model, job) is None else None
    return Todo(job, way=way) if way or scheme else None
