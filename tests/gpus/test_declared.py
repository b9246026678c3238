"""Devices that a person declares on the command line."""

import pytest
from tests.gpus.conftest import GIB

from cf_orch.gpus import DeclaredReader, DeviceSample, DeviceSpec, parse_device

ADA = (8, 9)
KNOWN_OF_ADA = ("bf16", "fp16", "fp8", "int4", "int8")


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        (
            "name=RTX 4090,vram_gb=24",
            DeviceSpec(
                kind="declared", name="RTX 4090", vram_bytes=24 * GIB, compute_capability=ADA, capabilities=KNOWN_OF_ADA
            ),
        ),
        (
            "name=RTX 4090",
            DeviceSpec(
                kind="declared", name="RTX 4090", vram_bytes=24 * GIB, compute_capability=ADA, capabilities=KNOWN_OF_ADA
            ),
        ),
        (
            " name = RTX 4090 , vram_gb = 20.5 ",
            DeviceSpec(
                kind="declared",
                name="RTX 4090",
                vram_bytes=41 * GIB // 2,
                compute_capability=ADA,
                capabilities=KNOWN_OF_ADA,
            ),
        ),
        ("name=Foo,vram_gb=12", DeviceSpec(kind="declared", name="Foo", vram_bytes=12 * GIB)),
        (
            "name=Foo,vram_gb=12,reserve_gb=1.5",
            DeviceSpec(kind="declared", name="Foo", vram_bytes=12 * GIB, reserve_bytes=3 * GIB // 2),
        ),
        (
            "name=Foo,vram_gb=12,reserve_gb=0",
            DeviceSpec(kind="declared", name="Foo", vram_bytes=12 * GIB, reserve_bytes=0),
        ),
        ("host,vram_gb=16", DeviceSpec(kind="host", name=None, vram_bytes=16 * GIB)),
        (
            "host, vram_gb=16, reserve_gb=2",
            DeviceSpec(kind="host", name=None, vram_bytes=16 * GIB, reserve_bytes=2 * GIB),
        ),
    ],
)
def test_device_is_parsed(text: str, spec: DeviceSpec) -> None:
    """What is written is declared; what is not comes from the card's profile, or is unknown."""
    assert parse_device(text) == spec


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "'' is not key=value"),
        ("RTX 4090", "'RTX 4090' is not key=value"),
        ("name=", "'name=' is not key=value"),
        ("name=Foo,,vram_gb=1", "'' is not key=value"),
        ("vram_gb=24", "name is missing"),
        ("name=RTX 4099", "vram_gb is missing, and no GPU profile is named 'RTX 4099': did you mean NVIDIA"),
        ("name=Foo,vram=24", "unknown key 'vram', known are name, vram_gb, reserve_gb"),
        ("name=Foo,vram_gb=24,vram_gb=25", "vram_gb is given twice"),
        ("name=Foo,vram_gb=much", "vram_gb=much is not a number of GB"),
        ("name=Foo,vram_gb=0", "vram_gb=0 is not a positive number of GB"),
        ("name=Foo,vram_gb=-1", "vram_gb=-1 is not a positive number of GB"),
        ("name=Foo,vram_gb=nan", "vram_gb=nan is not a positive number of GB"),
        ("name=Foo,vram_gb=inf", "vram_gb=inf is not a positive number of GB"),
        ("name=Foo,vram_gb=24576", "vram_gb=24576 GB: did you mean MB? vram_gb=24"),
        ("name=Foo,vram_gb=24,reserve_gb=-1", "reserve_gb=-1 is not a possible number of GB"),
        ("name=Foo,vram_gb=24,reserve_gb=24", "reserve_gb=24 leaves nothing of 24 GB"),
        ("host", "vram_gb is missing: how much of this host's RAM may be leased?"),
        ("host,name=Foo,vram_gb=1", "the host has no name to give"),
    ],
)
def test_wrong_text_is_explained(text: str, fault: str) -> None:
    """The message repeats the text, says what is wrong with it, and shows how to write it."""
    with pytest.raises(ValueError, match="--device") as caught:
        parse_device(text)

    message = str(caught.value)
    assert message.startswith(f"--device {text!r}: {fault}")
    assert message.endswith("write 'name=RTX 4090,vram_gb=24' for a device, or 'host,vram_gb=16' for this host's RAM")


def test_declared_device_has_a_total_and_no_use() -> None:
    """No driver tells what is used of a declared device: that is None, and what it computes in is its profile's."""
    (sample,) = DeclaredReader([parse_device("name=RTX 4090,vram_gb=20")], "boot-1").read()

    assert sample == DeviceSample(
        uuid=sample.uuid,
        name="RTX 4090",
        kind="declared",
        total_bytes=20 * GIB,
        capabilities=("bf16", "fp16", "fp8", "int4", "int8"),
        compute_capability=ADA,
    )


def test_unknown_declared_device_has_no_capabilities() -> None:
    """What nobody knows of a card is not promised."""
    (sample,) = DeclaredReader([parse_device("name=Foo,vram_gb=20")], "boot-1").read()

    assert (sample.capabilities, sample.compute_capability) == ((), None)


def keys(*texts: str, host_id: str = "boot-1") -> list[str | None]:
    """The keys of the devices that these texts declare."""
    return [sample.uuid for sample in DeclaredReader(map(parse_device, texts), host_id).read()]


def test_key_is_of_host_name_and_place_among_namesakes() -> None:
    """A key is the same at every start, differs by host, name and place, and is not moved by other devices."""
    a, b, second_a = keys("name=A,vram_gb=1", "name=B,vram_gb=1", "name=A,vram_gb=1")

    assert len({a, b, second_a}) == 3
    assert keys("name=B,vram_gb=2", "name=A,vram_gb=2", "name=A,vram_gb=2") == [b, a, second_a]
    assert keys("name=A,vram_gb=1", host_id="boot-2") != [a]
    assert str(a).startswith("DECL-")


def test_host_is_no_declared_device() -> None:
    """A host's budget has a reader of its own, and is passed over here."""
    assert keys("host,vram_gb=4", "name=A,vram_gb=1") == keys("name=A,vram_gb=1")
