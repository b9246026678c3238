"""The queue: one order for all who wait, walked by shape so that its length does not matter.

Waiters stand in one order: higher class first, then lower place.  Waiters that ask for the same thing in the same
way (a *shape*) are interchangeable but for their place, so each shape has a *lane*, and whoever looks for the next
grant looks only at the heads of lanes.  A decision costs what the number of different shapes costs, not the number
of waiters.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from sortedcontainers import SortedDict, SortedList

from cf_orch.ledger.records import Lease, Slot

__all__ = ["Lane", "Option", "Order", "Queue", "Shape", "order_of", "shape_of"]


class Order(NamedTuple):
    """Where a waiter stands: smaller comes first."""

    class_below_top: int
    place: int


class Shape(NamedTuple):
    """All that decides where and when a waiter may be granted, but for its place."""

    priority: int
    service: str
    host_id: str | None
    host: str | None
    device: tuple[str, ...]
    requires: tuple[str, ...]
    gpus: int
    need_bytes: int
    size_bytes: int
    alone: str = ""
    """The id of a waiter that shares its lane with nobody: it returns, or has or had a plan."""
    back_to: tuple[str, ...] = ()
    """The devices to which a parked lease returns."""


class Option(NamedTuple):
    """One host on which a shape could be served: for each device of the gang, those it may be."""

    host_id: str
    picks: tuple[frozenset[str], ...]


class Lane:
    """The waiters of one shape, in order; ``options`` say where they could be served if all was empty."""

    def __init__(self, shape: Shape, options: tuple[Option, ...]) -> None:
        self.shape = shape
        self.set_options(options)
        self._waiting: SortedDict[int, str] = SortedDict()

    def set_options(self, options: tuple[Option, ...]) -> None:
        """Say anew where the shape could be served."""
        self.options = options
        self.devices = frozenset(uuid for option in options for pick in option.picks for uuid in pick)

    def add(self, place: int, lease_id: str) -> None:
        self._waiting[place] = lease_id

    def discard(self, place: int) -> None:
        del self._waiting[place]

    @property
    def empty(self) -> bool:
        """True where nobody stands in line."""
        return not self._waiting

    @property
    def head(self) -> str:
        """The id of the lease that comes first."""
        return self._waiting.peekitem(0)[1]

    @property
    def order(self) -> Order:
        """Where the first of the lane stands among all."""
        return Order(-self.shape.priority, self._waiting.peekitem(0)[0])


def order_of(lease: Lease) -> Order:
    """Where a lease stands, or would stand, in the queue."""
    return Order(-lease.priority, lease.place)


def shape_of(lease: Lease) -> Shape:
    """What a lease has in common with those that wait in the same lane."""
    slot: Slot = lease.slot
    return Shape(
        lease.priority,
        slot.service,
        lease.host_id,
        slot.host,
        slot.device,
        slot.requires,
        slot.gpus,
        slot.need_bytes,
        slot.size_bytes,
        lease.id if lease.has_plan or lease.gave_plan_up or lease.devices else "",
        lease.devices,
    )


class Queue:
    """All who wait.  A waiter that is cut off keeps its position but stands in no lane."""

    def __init__(self, options_for: Callable[[Shape], tuple[Option, ...]]) -> None:
        """Make an empty queue; ``options_for`` tells where a shape could be served if all was empty."""
        self._options_for = options_for
        self._order: SortedList[Order] = SortedList()
        self._heads: SortedDict[Order, Lane] = SortedDict()
        self._lanes: dict[Shape, Lane] = {}
        self._by_service: dict[str, int] = {}
        self.returning = 0  #: how many of them are parked, and wait for their return

    def __len__(self) -> int:
        return len(self._order)

    def count(self, service: str) -> int:
        """How many leases of a service wait."""
        return self._by_service.get(service, 0)

    def position(self, lease: Lease) -> int:
        """How many stand before a waiter."""
        return self._order.bisect_left(order_of(lease))

    def join(self, lease: Lease) -> None:
        """Take a place; the lease stands in no lane until it :meth:`line_up`."""
        self._order.add(order_of(lease))
        self._by_service[lease.slot.service] = self.count(lease.slot.service) + 1
        self.returning += bool(lease.devices)

    def leave(self, lease: Lease) -> None:
        """Give the place up; the lease must have stepped out of its lane."""
        self._order.remove(order_of(lease))
        self._by_service[lease.slot.service] -= 1
        if not self._by_service[lease.slot.service]:
            del self._by_service[lease.slot.service]
        self.returning -= bool(lease.devices)

    def line_up(self, lease: Lease) -> None:
        """Stand in the lane of one's shape."""
        shape = shape_of(lease)
        lane = self._lanes.get(shape)
        if lane is None:
            lane = self._lanes[shape] = Lane(shape, self._options_for(shape))
        else:
            del self._heads[lane.order]
        lane.add(lease.place, lease.id)
        self._heads[lane.order] = lane

    def step_out(self, lease: Lease) -> None:
        """Leave the lane, keeping the position."""
        lane = self.lane_of(lease)
        del self._heads[lane.order]
        lane.discard(lease.place)
        if lane.empty:
            del self._lanes[lane.shape]
        else:
            self._heads[lane.order] = lane

    def lane_of(self, lease: Lease) -> Lane:
        """The lane of a waiter's shape; an empty one, not kept, where nobody of that shape stands in line."""
        shape = shape_of(lease)
        return self._lanes.get(shape) or Lane(shape, self._options_for(shape))

    def devices_changed(self) -> None:
        """Say anew for each lane where it could be served."""
        for lane in self._lanes.values():
            lane.set_options(self._options_for(lane.shape))

    def lanes(self) -> Iterator[Lane]:
        """The lanes, by the order of their heads; the queue must not change meanwhile."""
        return iter(self._heads.values())
