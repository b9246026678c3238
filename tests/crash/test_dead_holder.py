"""A holder that is killed gives its memory to the next at once, not when its time to live is over."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.crash.test_kill import free_port, serve

from cf_orch.client import ResourceCoordinator, VRAMSlot

HOLDER = """
import sys, time
from cf_orch.client import ResourceCoordinator, VRAMSlot
with ResourceCoordinator(sys.argv[1], ttl_s=600) as coordinator, coordinator.lease(VRAMSlot("doomed", "llm", 20)):
    print("holds", flush=True)
    time.sleep(600)
"""
AT_ONCE_S = 10.0


def test_a_killed_holder_is_missed_at_once(tmp_path: Path) -> None:
    """Though it may be silent for 800 s, the next one has the card within moments of kill -9."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    coordinator = serve(port, tmp_path)
    with subprocess.Popen([sys.executable, "-c", HOLDER, url], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "holds\n"
        holder.send_signal(signal.SIGKILL)
        killed_at = time.monotonic()
        with (
            ResourceCoordinator(url, fallback="fail") as client,
            client.lease(VRAMSlot("next", "llm", 20, max_wait_s=AT_ONCE_S)) as lease,
        ):
            waited_s = time.monotonic() - killed_at
            assert lease.token
    coordinator.terminate()
    coordinator.wait()

    assert waited_s < AT_ONCE_S


def test_a_killed_holder_in_a_container_is_missed_at_once(tmp_path: Path) -> None:
    """In its own pid namespace it takes itself for another pid; over the unix socket the kernel tells which."""
    in_namespace = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if subprocess.run([*in_namespace, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this kernel lets us make no pid namespace")
    path = tmp_path / "sock"
    coordinator = serve(free_port(), tmp_path, "--socket", str(path))
    url = f"unix://{path}"
    with subprocess.Popen(
        [*in_namespace, sys.executable, "-c", HOLDER, url], stdout=subprocess.PIPE, text=True
    ) as namespace:
        assert namespace.stdout is not None
        assert namespace.stdout.readline() == "holds\n"
        with ResourceCoordinator(url, fallback="fail") as client:
            doomed = int(Path(f"/proc/{namespace.pid}/task/{namespace.pid}/children").read_text())
            os.kill(doomed, signal.SIGKILL)
            with client.lease(VRAMSlot("next", "llm", 20, max_wait_s=AT_ONCE_S)) as lease:
                assert lease.token
    coordinator.terminate()
    coordinator.wait()
