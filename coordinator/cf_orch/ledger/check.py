"""The rules as code: what must hold after every command, recounted from the records.

``check`` raises AssertionError with the first thing that is wrong.  Tests call it after every command; a daemon that
doubts itself may call it at any time, for it changes nothing.
"""

from collections import Counter

from cf_orch.ledger.books import Books
from cf_orch.ledger.eviction import to_withdraw
from cf_orch.ledger.queue import Shape, order_of, shape_of
from cf_orch.ledger.records import Device, Lease
from cf_orch.ledger.schedule import Walk
from cf_orch.ledger.states import HOLDING, WAITING, State

__all__ = ["check"]


def check(books: Books, now: float) -> None:
    """Hold the books against their rules at ``now``."""
    for lease in books.leases.values():
        _check_lease(books, lease)
    for device in books.devices.values():
        _check_device(books, device)
    _check_queue(books)
    _check_quotas(books)
    _check_requests(books)
    _check_evictions(books)
    step = Walk(books, now).next_step()
    _expect(step is None, f"{step} is to be done, and was not")
    unneeded = [lease.id for lease in to_withdraw(books, now)]
    _expect(not unneeded, f"{unneeded} are asked to leave, and nobody needs it")


def _expect(holds: bool, otherwise: str) -> None:  # noqa: FBT001 - it is the condition itself
    if not holds:
        raise AssertionError(otherwise)


def _check_lease(books: Books, lease: Lease) -> None:
    has_memory = lease.state is not State.QUEUED
    _expect(lease.state is not State.ENDED, f"{lease.id} has ended and is still listed as live")
    _expect(has_memory == bool(lease.devices), f"{lease.id} is {lease.state} with devices {lease.devices}")
    _expect(has_memory == (lease.token is not None), f"{lease.id} is {lease.state} with token {lease.token}")
    _expect(max(lease.place, lease.token or 0) <= books.seq, f"{lease.id}: place or token beyond the journal")
    _expect((lease.state is State.RESTING) == (lease.rest is not None), f"{lease.id} is {lease.state}, {lease.rest}")
    _expect((lease.state is State.CLOSING) == (lease.outcome is not None), f"{lease.id}: outcome {lease.outcome}")
    _expect(set(lease.charges) == set(lease.devices), f"{lease.id} is charged on {set(lease.charges)}")
    for uuid in lease.devices:
        _expect(lease.id in books.devices[uuid].holders, f"{lease.id} is not among the holders of {uuid}")
        _expect(lease.charges[uuid] >= lease.due_bytes(uuid), f"{lease.id} is charged too little on {uuid}")
    if lease.session_id is not None and lease.state is not State.CLOSING:
        _expect(lease.session_id in books.sessions, f"{lease.id} outlived session {lease.session_id}")
        _expect(lease.id in books.sessions[lease.session_id].leases, f"{lease.id} is unknown to its session")


def _check_device(books: Books, device: Device) -> None:
    on_it = [lease for lease in books.leases.values() if device.uuid in lease.devices]
    charged = sum(lease.charges[device.uuid] for lease in on_it)
    unseen = sum(max(0, lease.charges[device.uuid] - lease.seen[device.uuid]) for lease in on_it)
    _expect(device.holders == {lease.id for lease in on_it}, f"{device.uuid}: holders {device.holders}")
    _expect(device.charged_bytes == charged, f"{device.uuid} is charged {device.charged_bytes}, not {charged}")
    _expect(device.unseen_bytes == unseen, f"{device.uuid} has {device.unseen_bytes} unseen, not {unseen}")
    by_itself = not on_it or any(_grew(lease, device) for lease in on_it) or device.foreign_bytes
    _expect(bool(by_itself) or not device.over_committed, f"{device.uuid} is over-committed by grants alone")
    windows = {lease.id for lease in on_it if _has_window(lease)}
    _expect(windows == ({device.window} - {None}), f"{device.uuid}: window {device.window}, loading {windows}")


def _has_window(lease: Lease) -> bool:
    return lease.state is State.LOADING and lease.slot.peak_bytes is not None and not lease.load_overdue


def _check_evictions(books: Books) -> None:
    evicting = {lease.id for lease in books.leases.values() if lease.state is State.EVICTING}
    _expect(books.evicting == evicting, f"asked to leave are {evicting}, known is {books.evicting}")
    planned = {lease.id for lease in books.leases.values() if lease.has_plan}
    plans = {plan.owner for plan in books.plans.values() if not plan.given_up}
    _expect(planned == plans, f"plans are under way for {plans}, known to be for {planned}")
    for plan in books.plans.values():
        _expect(books.leases[plan.owner].state in WAITING, f"{plan.owner} has a plan and does not wait")
        active = [
            lease_id for lease_id in plan.victims if lease_id in books.leases and not _left(books.leases[lease_id])
        ]
        _expect(not active, f"{active} are victims of {plan.owner}, and nobody asks them")


def _left(lease: Lease) -> bool:
    return lease.state is State.EVICTING or lease.is_leaving


def _grew(lease: Lease, device: Device) -> bool:
    """Tell whether a lease may take a device beyond its total: a fact, older than the device's limits, or over-used.

    What had fallen by the driver's account counts in full again after a restart, until a driver looks.
    """
    beyond = lease.charges[device.uuid] > lease.promised_bytes
    return lease.adopted or beyond or (lease.token or 0) < device.facts_seq


def _check_queue(books: Books) -> None:
    waiting = sorted((x for x in books.leases.values() if x.state in WAITING), key=order_of)
    _expect(len(books.queue) == len(waiting), f"{len(books.queue)} in the queue, {len(waiting)} leases queued")
    returning = sum(bool(lease.devices) for lease in waiting)
    _expect(books.queue.returning == returning, f"{books.queue.returning} return, must be {returning}")
    for position, lease in enumerate(waiting):
        _expect(books.queue.position(lease) == position, f"{lease.id} is not at position {position}")
    for service, count in Counter(lease.slot.service for lease in waiting).items():
        _expect(books.queue.count(service) == count, f"{service} has {count} waiting")
    heads: dict[Shape, str] = {}
    for lease in filter(books.is_waiting, waiting):
        heads.setdefault(shape_of(lease), lease.id)
    lanes = [(lane.shape, lane.head) for lane in books.queue.lanes()]
    _expect(lanes == list(heads.items()), f"the lanes are {lanes}, in line are {heads}")


def _check_quotas(books: Books) -> None:
    held: Counter[str] = Counter()
    for lease in books.leases.values():
        must_count = lease.state in HOLDING
        _expect(
            lease.is_counted == must_count or lease.state is State.CLOSING, f"{lease.id}: counted {lease.is_counted}"
        )
        if lease.is_counted:
            held[lease.slot.service] += lease.full_bytes
    counted = {service: count for service, count in books.held_bytes.items() if count}
    _expect(dict(held) == counted, f"services hold {dict(held)}, counted are {counted}")
    for service, count in held.items():
        limit = books.settings.quota(service).max_vram_bytes
        by_itself = any(x.adopted for x in books.leases.values() if x.slot.service == service)
        _expect(limit is None or count <= limit or by_itself, f"{service} holds {count}, its quota is {limit}")


def _check_requests(books: Books) -> None:
    for (caller, request_id), lease_id in books.requests.items():
        lease = books.find(lease_id)
        _expect(lease is not None, f"request {request_id} of {caller} stands for {lease_id}, which is forgotten")
    tokens = [lease.token for lease in books.leases.values() if lease.token is not None]
    _expect(len(tokens) == len(set(tokens)), "two leases have the same token")
