"""What the commands say of a card with a driver, on another host."""

from tests.commands.conftest import Cli, Coordinator, said


def test_status_says_what_is_wrong_with_a_device(cli: Cli, coordinator: Coordinator) -> None:
    """Foreign processes by name, over-committed, blind and draining in words."""
    coordinator.report(used_gb=48)
    full = said(cli, "status")
    coordinator.report(error="the driver does not answer")
    blind = said(cli, "status")
    cli("drain", "GPU-5b0c")
    draining = said(cli, "status")
    cli("drain", "GPU-5b0c", "--undo")

    assert "0 RTX 6000 Ada Generation on heron" in full
    assert "foreign Xorg (pid 812) 48 GB" in full
    assert "over-committed: 48.5 GB of 48 GB in use; nothing is granted until it fits" in full
    assert "blind: the driver does not answer; nothing is granted" in blind
    assert "draining: nothing new is granted" in draining


def test_a_name_cannot_steer_the_terminal(cli: Cli, coordinator: Coordinator) -> None:
    """A process may have any name; what would be a control sequence is not passed on."""
    coordinator.report(processes=[{"pid": 812, "name": "\x1b[2Jevil[red]", "used_bytes": 2**30}])

    assert "foreign ?[2Jevil[red] (pid 812) 1 GB" in said(cli, "status")


def test_devices(cli: Cli, coordinator: Coordinator) -> None:
    """A row for each, in GB, with UUID, what it computes in, and its state."""
    coordinator.report(used_gb=10)
    coordinator.ask("kiwi", 16, device="RTX 4090")

    shown = said(cli, "devices")

    assert "# DEVICE TOTAL HELD FOREIGN RESERVE FREE 0 RTX 4090 on " in shown
    assert " 24 16 0 0 8 DECL-" in shown
    assert "0 RTX 6000 Ada Generation on heron 48 0 10 0.5 37.5 GPU-5b0c bf16, fp8" in shown
