"""Where a request could go, and where it goes."""

from typing import Any

import pytest
from tests.ledger.builders import GIB

from cf_orch.ledger import Device
from cf_orch.ledger.placement import best_fit, choose, could_match, hosts_open_to, options_for, short_name
from cf_orch.ledger.queue import Option, Shape


def device(uuid: str, gb: float = 24, host: str = "h0", **facts: Any) -> Device:
    """A declared device."""
    known: dict[str, Any] = {"name": uuid, "host_name": f"host-{host}", "index": 0, "has_driver": False}
    return Device(uuid=uuid, host_id=host, total_bytes=int(gb * GIB), **(known | facts))


def shape(gb: float = 8, **fields: Any) -> Shape:
    """A shape that may go anywhere on its host."""
    known: dict[str, Any] = {"host_id": "h0", "host": None, "device": (), "requires": (), "gpus": 1}
    size = int(gb * GIB)
    return Shape(priority=20, service="kiwi", need_bytes=size, size_bytes=size, **(known | fields))


def by_uuid(*devices: Device) -> dict[str, Device]:
    """Index devices as the books do."""
    return {device.uuid: device for device in devices}


@pytest.mark.parametrize(
    ("host", "own", "expected"),
    [
        (None, "h0", {"h0"}),
        (None, None, {"h0", "h1"}),
        (None, "elsewhere", {"h0", "h1"}),
        ("any", "h0", {"h0", "h1"}),
        ("host-h1", "h0", {"h1"}),
        ("h1", "h0", {"h1"}),
        ("attic", "h0", set()),
    ],
)
def test_hosts(host: str | None, own: str | None, expected: set[str]) -> None:
    """The asker's own host by default; a named one, by name or id; all for any, or where its own has no devices."""
    assert hosts_open_to(host, own, [device("d0"), device("d1", host="h1")]) == expected


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("NVIDIA GeForce RTX 4090", "rtx 4090"),
        ("Tesla  T4", "t4"),
        ("AMD Radeon PRO W7900", "pro w7900"),
        ("rtx 4090", "rtx 4090"),
    ],
)
def test_short_names(name: str, short: str) -> None:
    """A card's name is what people call it: without its brands, in any case."""
    assert short_name(name) == short


@pytest.mark.parametrize(
    ("pin", "matches"),
    [
        ("GPU-1", True),
        ("gpu-1", False),
        ("3", True),
        ("4", False),
        ("RTX 4090", True),
        ("geforce rtx 4090", True),
        ("4090", False),
    ],
)
def test_pins(pin: str, matches: bool) -> None:  # noqa: FBT001 - a table's column
    """A pin is a UUID, an index or a name."""
    assert could_match(pin, device("GPU-1", name="NVIDIA GeForce RTX 4090", index=3)) is matches


def test_options_leave_out_what_can_never_serve() -> None:
    """Too small when empty, without a requirement, or too few of them on one host: no option."""
    devices = by_uuid(
        device("small", 4), device("plain"), device("able", capabilities=("bf16",)), device("far", host="h1")
    )

    assert options_for(shape(), devices) == (Option("h0", (frozenset({"plain", "able"}),)),)
    assert options_for(shape(requires=("bf16",)), devices) == (Option("h0", (frozenset({"able"}),)),)
    assert options_for(shape(gpus=2, host="any"), devices) == (Option("h0", (frozenset({"plain", "able"}),) * 2),)
    assert options_for(shape(gpus=3, host="any"), devices) == ()
    assert options_for(shape(device=("small",)), devices) == ()


def test_a_return_goes_to_its_own_devices() -> None:
    """Whatever it once asked for, a parked lease may go where it was, and nowhere else."""
    devices = by_uuid(device("d0"), device("d1"), device("d2", host="h1"), device("d3", host="h1", gb=4))

    assert options_for(shape(back_to=("d1",)), devices) == (Option("h0", (frozenset({"d1"}),)),)
    gang = shape(gpus=2, back_to=("d2", "d3"), device=("0", "0"))
    assert options_for(gang, devices) == (Option("h1", (frozenset({"d2"}), frozenset({"d3"}))),)


def test_narrow_pins_choose_first() -> None:
    """A pin that only one device can serve gets it, though a wider pin was named before."""
    devices = by_uuid(device("d0", name="A"), device("d1", name="A"))
    options = options_for(shape(gpus=2, device=("a", "d0")), devices)

    assert options == (Option("h0", (frozenset({"d0"}), frozenset({"d0", "d1"}))),)
    assert choose(options[0].picks, ["d0", "d1"]) == ["d0", "d1"]


def test_the_same_device_cannot_serve_two_pins() -> None:
    """Two pins of one device are no option, and none is chosen twice."""
    devices = by_uuid(device("d0"), device("d1"))

    assert options_for(shape(gpus=2, device=("d0", "0")), by_uuid(device("d0"))) == ()
    assert options_for(shape(gpus=2, device=("d0", "d0")), devices) == ()


def fit(asked: Shape, *devices: Device) -> tuple[str, ...] | None:
    """Choose among devices that may all be used."""
    known = by_uuid(*devices)
    return best_fit(asked, options_for(asked, known), known, frozenset(known))


def test_the_least_left_over_then_the_key() -> None:
    """The fullest device that has room; of two that are equal the first key."""
    full = device("a", 24, charged_bytes=20 * GIB)

    assert fit(shape(8), device("b", 24), device("c", 10), device("d", 10), full) == ("c",)
    assert fit(shape(4), device("b", 24), full) == ("a",)
    assert fit(shape(25), device("b", 48), full) == ("b",)


def test_the_own_host_before_the_best_fit() -> None:
    """A worse fit on the asker's own host is better than the best elsewhere; without room there it goes elsewhere."""
    far, near = device("far", 8, host="h1"), device("near", 24)

    assert fit(shape(8, host="any"), far, near) == ("near",)
    assert fit(shape(8, host="any"), far, device("near", 24, charged_bytes=20 * GIB)) == ("far",)


def test_all_of_a_gang_or_nothing() -> None:
    """A gang gets the devices with the least left over in sum, in order of their keys, or none."""
    big, one, two = device("big", 48), device("two", 12), device("one", 12)

    assert fit(shape(8, gpus=2), big, one, two) == ("one", "two")
    assert fit(shape(16, gpus=2), big, device("busy", 24, charged_bytes=20 * GIB)) is None
