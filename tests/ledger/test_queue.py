"""One order for all who wait, walked by shape."""

from random import Random

from tests.ledger.builders import GIB

from cf_orch.ledger import Lease, Slot
from cf_orch.ledger.queue import Option, Order, Queue, Shape, order_of, shape_of

HERE = (Option("h0", (frozenset({"d0"}),)),)


def waiter(place: int, gb: int = 8, priority: int = 20, service: str = "kiwi") -> Lease:
    """A lease that waits."""
    return Lease(
        id=f"x-{place}",
        slot=Slot(service=service, size_bytes=gb * GIB, priority=priority),
        request_id=f"r{place}",
        caller="web",
        session_id=None,
        host_id=None,
        ttl_s=30.0,
        place=place,
        requested_unix_s=0.0,
        priority=priority,
    )


def queue_of(*waiters: Lease) -> Queue:
    """Let waiters take their places."""
    queue = Queue(lambda _: HERE)
    for lease in waiters:
        queue.join(lease)
        queue.line_up(lease)
    return queue


def heads(queue: Queue) -> list[str]:
    """Who comes first of each shape."""
    return [lane.head for lane in queue.lanes()]


def test_the_higher_class_then_the_lower_place() -> None:
    """Order is by class, then by place, whoever joined when."""
    late, early, urgent = waiter(5), waiter(3, gb=4), waiter(9, priority=40)
    queue = queue_of(late, early, urgent)

    assert order_of(urgent) < order_of(early) < order_of(late)
    assert [queue.position(lease) for lease in (urgent, early, late)] == [0, 1, 2]
    assert heads(queue) == ["x-9", "x-3", "x-5"]


def test_a_lane_is_a_shape() -> None:
    """Those who ask for the same stand in one lane, in order."""
    queue = queue_of(waiter(5), waiter(3), waiter(4, gb=4))

    assert heads(queue) == ["x-3", "x-4"]
    assert len(queue) == 3


def test_who_steps_out_keeps_the_position() -> None:
    """One who is cut off heads no lane but is still counted; lined up again he is where he was."""
    first, second = waiter(3), waiter(4)
    queue = queue_of(first, second)

    queue.step_out(first)
    assert heads(queue) == ["x-4"]
    assert (len(queue), queue.position(first), queue.position(second)) == (2, 0, 1)

    queue.line_up(first)
    assert heads(queue) == ["x-3"]


def test_who_leaves_is_gone() -> None:
    """Nothing is left of one who has left, nor of a lane or a service that is empty."""
    only = waiter(3)
    queue = queue_of(only)
    queue.step_out(only)
    queue.leave(only)

    assert (len(queue), heads(queue), queue.count("kiwi")) == (0, [], 0)
    assert queue.lane_of(only).empty


def test_services_are_counted() -> None:
    """How many of a service wait is known without looking at them."""
    queue = queue_of(waiter(3), waiter(4), waiter(5, service="paint"))

    assert (queue.count("kiwi"), queue.count("paint"), queue.count("nobody")) == (2, 1, 0)


def test_places_are_said_anew_when_devices_change() -> None:
    """A lane knows where it could be served, and learns when that changes."""
    options = list(HERE)
    queue = Queue(lambda _: tuple(options))
    queue.join(waiter(3))
    queue.line_up(waiter(3))
    assert next(queue.lanes()).devices == {"d0"}

    options.append(Option("h1", (frozenset({"d1"}), frozenset({"d2"}))))
    queue.devices_changed()

    assert next(queue.lanes()).devices == {"d0", "d1", "d2"}


def test_the_shape_is_all_that_decides() -> None:
    """A shape holds the class that ageing gave, the peak as what it needs, and all constraints."""
    lease = waiter(3)
    lease.priority = 10

    assert shape_of(lease) == Shape(10, "kiwi", None, None, (), (), 1, 8 * GIB, 8 * GIB)


def test_who_returns_shares_a_lane_with_nobody() -> None:
    """A parked lease goes back to its own devices, and is counted while it waits for that."""
    fresh, parked, other = waiter(3), waiter(4), waiter(5)
    parked.devices, other.devices = ("d0",), ("d0",)
    queue = queue_of(fresh, parked, other)

    assert heads(queue) == ["x-3", "x-4", "x-5"]
    assert shape_of(parked) == shape_of(fresh)._replace(alone="x-4", back_to=("d0",))
    assert queue.returning == 2
    queue.step_out(parked)
    queue.leave(parked)
    assert queue.returning == 1


def test_the_owner_of_a_plan_shares_a_lane_with_nobody() -> None:
    """Those behind it that want the same are visited without it."""
    owner, same = waiter(3), waiter(4)
    owner.has_plan = True

    assert heads(queue_of(owner, same)) == ["x-3", "x-4"]


def test_any_coming_and_going_keeps_the_order() -> None:
    """After thousands of joins, steps, returns and leaves the lanes' heads are what sorting gives."""
    rng, queue = Random(1), Queue(lambda _: HERE)
    waiting: dict[int, Lease] = {}
    standing: set[int] = set()
    for place in range(3000):
        lease = waiter(place, gb=rng.randint(1, 5), priority=rng.choice((10, 20)))
        queue.join(lease)
        queue.line_up(lease)
        waiting[place] = lease
        standing.add(place)
        for other in rng.sample(sorted(waiting), k=min(len(waiting), rng.choice((0, 1, 2)))):
            if other in standing:
                queue.step_out(waiting[other])
                standing.discard(other)
            elif rng.random() < 0.5:
                queue.line_up(waiting[other])
                standing.add(other)
            else:
                queue.leave(waiting.pop(other))

    by_shape: dict[Shape, Order] = {}
    for place in standing:
        lease = waiting[place]
        by_shape[shape_of(lease)] = min(order_of(lease), by_shape.get(shape_of(lease), order_of(lease)))
    assert [lane.order for lane in queue.lanes()] == sorted(by_shape.values())
    assert len(queue) == len(waiting)
