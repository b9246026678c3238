"""The coordinator and its ports: a real one, none at all, and others that only look like one."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from tests.conftest import require_part
from tests.doctor.conftest import Host, Served, one

from cf_orch.sidecar.doctor.coordinator import check_coordinator
from cf_orch.sidecar.doctor.finding import Finding
from cf_orch.sidecar.doctor.ports import check_ports
from cf_orch.sidecar.doctor.settings import ServeSettings

STATUS = b'{"version":"0.1.0","ledger_id":"x","devices":[],"queued":0}'


class Impostor(ThreadingHTTPServer):
    """Answers every call the same, and never a WebSocket."""

    body = STATUS
    date = "Fri, 01 Jan 2038 00:00:00 GMT"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Answering(BaseHTTPRequestHandler):
    server: Impostor

    def do_GET(self) -> None:
        self.send_response_only(200)
        if self.server.date:
            self.send_header("Date", self.server.date)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def impostor() -> Iterator[Impostor]:
    """One that answers HTTP."""
    with Impostor(("127.0.0.1", 0), _Answering) as server:
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def silent() -> Iterator[int]:
    """A port where somebody listens and never answers."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        yield listening.getsockname()[1]


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        return int(listening.getsockname()[1])


def examine(host: Host, url: str | None, token: str | None = None) -> list[Finding]:
    host.environ.pop("CF_ORCH_URL", None)
    if token is not None:
        host.environ["CF_ORCH_TOKEN"] = token
    return check_coordinator(host.machine(url=url, answer_within_s=0.6))


def test_a_coordinator_is_reached_over_tcp_and_over_its_socket(host: Host, served: Served) -> None:
    """Version, devices, token and the WebSocket, as a client would use them."""
    host.environ["CF_ORCH_TOKEN"] = "secret"
    tcp = check_coordinator(host.machine(url=served.url))
    unix = check_coordinator(host.machine(url=f"unix://{served.socket}"))

    for findings in (tcp, unix):
        assert [finding.level for finding in findings] == ["ok"]
        assert "1 device, 0 waiting" in findings[0].found


@pytest.mark.parametrize(("token", "word"), [(None, "is not set"), ("wrong", "does not take")])
def test_a_token_that_does_not_fit(host: Host, served: Served, token: str | None, word: str) -> None:
    """It says whether there is none, or another is wanted."""
    finding = one(examine(host, served.url, token), "coordinator.token")

    assert finding.level == "error"
    assert word in finding.found
    assert "CF_ORCH_TOKEN" in finding.do


def test_nobody_at_the_address_that_was_given(host: Host) -> None:
    """An error, for somebody said where it is."""
    finding = one(examine(host, f"http://127.0.0.1:{free_port()}"), "coordinator")

    assert finding.level == "error"
    assert "Connection refused" in finding.found
    assert "cf-orch serve" in finding.do


def test_one_of_several_addresses_is_enough(host: Host, served: Served) -> None:
    """A client tries them in turn, so a silent one is only a warning."""
    findings = examine(host, f"http://127.0.0.1:{free_port()},{served.url}", "secret")

    assert [finding.level for finding in findings] == ["warning", "ok"]


@pytest.mark.parametrize("url", ["ftp://somewhere", "127.0.0.1:7700", "unix://relative"])
def test_an_address_that_is_none(host: Host, url: str) -> None:
    """It says what one looks like."""
    finding = one(examine(host, url), "coordinator")

    assert finding.level == "error"
    assert "http://HOST:7700" in finding.found


def test_a_socket_file_without_a_coordinator(host: Host) -> None:
    """A left-over file, and none at all."""
    path = host.root / "sock"
    with closing(socket.socket(socket.AF_UNIX)) as bound:
        bound.bind(str(path))
    for url in (f"unix://{path}", f"unix://{path}-not-there"):
        assert one(examine(host, url), "coordinator").level == "error"


def test_one_that_never_answers_is_given_up(host: Host, silent: int) -> None:
    """A listener that accepts and is silent."""
    finding = one(examine(host, f"http://127.0.0.1:{silent}"), "coordinator")

    assert "no answer within 0.6 s" in finding.found


def test_another_program_at_the_address(host: Host, impostor: Impostor) -> None:
    """It answers, but not as a coordinator does."""
    impostor.body = b"<html>"

    assert "is no coordinator" in one(examine(host, impostor.url), "coordinator").found


def test_a_clock_that_is_off_and_a_proxy_without_websockets(host: Host, impostor: Impostor) -> None:
    """Both are told, and that there is no device."""
    findings = examine(host, impostor.url)

    assert one(findings, "coordinator").level == "warning"
    assert "ahead of this one" in one(findings, "coordinator.clock").found
    assert one(findings, "coordinator.connect").level == "error"


@pytest.mark.parametrize("date", ["", "no date at all"])
def test_a_clock_that_is_not_told(host: Host, impostor: Impostor, date: str) -> None:
    """Then nothing is said of it."""
    impostor.date = date

    assert not [finding for finding in examine(host, impostor.url) if finding.id == "coordinator.clock"]


def test_another_version_is_told_of(host: Host, impostor: Impostor) -> None:
    """A coordinator serves its own minor version and the two before."""
    impostor.body = STATUS.replace(b"0.1.0", b"0.0.9")
    assert one(examine(host, impostor.url), "coordinator.version").level == "warning"

    impostor.body = STATUS.replace(b"0.1.0", b"0.3.2")
    assert not [finding for finding in examine(host, impostor.url) if finding.id == "coordinator.version"]


def ports(host: Host, coordinator: int, sidecar: int) -> list[Finding]:
    settings = ServeSettings(host.state_dir, coordinator, sidecar)
    return check_ports(host.machine(settings=settings, answer_within_s=0.4))


def test_free_ports(host: Host) -> None:
    """Nobody listens."""
    findings = ports(host, free_port(), free_port())

    assert [finding.level for finding in findings] == ["ok", "ok"]
    assert all("is free" in finding.found for finding in findings)


def test_a_port_with_a_coordinator_is_ours(host: Host, served: Served) -> None:
    """Even without the token, by how it says no."""
    port = int(served.url.rpartition(":")[2])

    assert "is cf-orch's" in one(ports(host, port, free_port()), "ports.coordinator").found


def test_a_port_that_another_program_has_is_told_with_its_name(host: Host, silent: int) -> None:
    """Where clients look for the coordinator it is an error, elsewhere a warning; the program is this one."""
    host.root = Path("/")  # the kernel's own account
    finding = one(ports(host, silent, free_port()), "ports.coordinator")
    assert finding.level == "warning"
    assert f"(pid {os.getpid()})" in finding.found

    host.environ["CF_ORCH_URL"] = f"http://127.0.0.1:{silent}"
    assert one(ports(host, silent, free_port()), "ports.coordinator").level == "error"
    assert one(ports(host, free_port(), silent), "ports.sidecar").level == "warning"


def test_a_port_of_another_program_that_speaks_http(host: Host, impostor: Impostor) -> None:
    """An answer is not yet ours."""
    impostor.body = b"hello"
    port = impostor.server_address[1]

    assert "is taken by" in one(ports(host, int(port), free_port()), "ports.coordinator").found


def test_a_name_server_that_is_silent_keeps_nobody(tmp_path: Path) -> None:
    """One that is bound and never answers, in a mount of this test's own: the finding comes, and the process ends."""
    unshare = shutil.which("unshare")
    resolv = tmp_path / "resolv.conf"
    resolv.write_text("nameserver 127.0.0.77\noptions timeout:30 attempts:1\n")
    bind = f"mount --bind {resolv} /etc/resolv.conf"
    can = unshare is not None and subprocess.run([unshare, "-m", "sh", "-c", bind], check=False).returncode == 0
    require_part(can and os.geteuid() == 0, "the right to mount in a namespace of its own, and to use port 53")
    code = (
        "import sys; from pathlib import Path; from cf_orch.sidecar.doctor.machine import Machine\n"
        "from cf_orch.sidecar.doctor.settings import ServeSettings\n"
        "from cf_orch.sidecar.doctor.coordinator import check_coordinator\n"
        "machine = Machine(ServeSettings(Path('/')), url='http://coordinator.test:7700', answer_within_s=0.4)\n"
        "print(*[one.found for one in check_coordinator(machine)], sep='\\n')\n"
    )
    script = f'{bind} && exec "$0" -c "$1"'
    began = time.monotonic()
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as silent:
        silent.bind(("127.0.0.77", 53))
        command = [str(unshare), "-m", "sh", "-c", script, sys.executable, code]
        answer = subprocess.run(command, check=True, capture_output=True, text=True, timeout=25)

    assert "the name server did not answer within 0.4 s" in answer.stdout
    assert time.monotonic() - began < 15.0
