"""The image's healthcheck, asked of a real coordinator, and of what is none."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from tests.deploy.conftest import DEPLOY

SOON_S = 20.0


def check(url: str) -> subprocess.CompletedProcess[str]:
    # With nothing but the standard library, as the system's Python in the image has it.
    program = [sys.executable, "-I", "-S", str(DEPLOY / "healthcheck.py"), url]
    return subprocess.run(program, capture_output=True, text=True, check=False)


@pytest.fixture
def coordinator(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """A coordinator, told as compose.yml tells it; and the addresses of its two doors."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("CF_ORCH_")}
    environ |= {"CF_ORCH_TOKEN": "", "CF_ORCH_DEVICES": "", "CF_ORCH_STATE_DIR": str(tmp_path / "state")}
    path = tmp_path / "sock"
    command = [sys.executable, "-m", "cf_orch.coordinator.cli", "serve", "--socket", str(path), "--port", "0"]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        url = server.stdout.readline().split()[3]
        try:
            yield server, url, f"unix://{path}"
        finally:
            server.kill()


def test_a_coordinator_is_well_by_both_its_doors_until_it_ends(
    coordinator: tuple[subprocess.Popen[str], str, str],
) -> None:
    server, url, unix_url = coordinator
    while_it_runs = [check(url).returncode, check(unix_url).returncode]
    began = time.monotonic()
    server.send_signal(signal.SIGTERM)
    status = server.wait(SOON_S)
    took_s = time.monotonic() - began
    after = [check(url), check(unix_url)]

    assert while_it_runs == [0, 0]
    assert status == 0
    assert took_s < 15, "compose.yml grants 15 s"
    assert [said.returncode for said in after] == [1, 1]
    assert "does not answer" in after[0].stderr


def test_a_coordinator_that_hangs_is_not_well(coordinator: tuple[subprocess.Popen[str], str, str]) -> None:
    server, _, unix_url = coordinator
    server.send_signal(signal.SIGSTOP)
    said = check(unix_url)

    assert said.returncode == 1
    assert "timed out" in said.stderr


def test_a_server_that_has_other_news_is_not_well() -> None:
    class Ill(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the base class
            pass

    with HTTPServer(("127.0.0.1", 0), Ill) as server:
        answerer = Thread(target=server.handle_request)
        answerer.start()
        said = check(f"http://127.0.0.1:{server.server_port}")
        answerer.join()

    assert said.returncode == 1
    assert "503" in said.stderr


def test_one_that_does_not_speak_http_is_not_well(tmp_path: Path) -> None:
    def speak_ssh() -> None:
        caller, _ = listener.accept()
        with caller:
            caller.sendall(b"SSH-2.0-x\r\n\r\n")

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "sock"))
        listener.listen()
        speaker = Thread(target=speak_ssh)
        speaker.start()
        said = check(f"unix://{tmp_path}/sock")
        speaker.join()

    assert said.returncode == 1
    assert "does not answer" in said.stderr


def test_an_address_that_is_none_is_explained() -> None:
    said = check("7700")

    assert said.returncode == 1
    assert "write unix:///run/cf-orch/sock" in said.stderr
