"""Where every fact of the environment comes from, so that a test can put a folder, a socket or a library in its place.

Nothing here judges.  What may hang in the kernel for ever (an ill driver, another's Python) runs in a child process
that is given up after its time; what may hang otherwise is bounded by the check-up's deadline.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from cf_orch.client.address import Address, find_addresses
from cf_orch.gpus.processes import ProcFs
from cf_orch.sidecar.doctor.driver import DriverReport
from cf_orch.sidecar.doctor.settings import ServeSettings

__all__ = ["Distribution", "Machine", "NoAnswer"]

_MOST_BYTES = 2**23
_DRIVER_COMMAND = (sys.executable, "-P", "-m", "cf_orch.sidecar.doctor.driver")
_LIST_DISTRIBUTIONS = """
import sys
sys.path[:] = [path for path in sys.path if path]
import json
from importlib.metadata import distributions
found = []
for one in distributions():
    meta = one.metadata
    if meta["Name"]:
        path = str(one.locate_file(""))
        found.append({"name": meta["Name"], "version": meta["Version"] or "", "requires": one.requires or [], "folder": path})
print(json.dumps(found))
"""  # noqa: E501 - a program for another Python, 3.8 or later


class NoAnswer(Exception):  # noqa: N818 - it names what happened
    """A child process did not answer, or not with what was asked for; ``str()`` says how."""


class Distribution(msgspec.Struct, frozen=True):
    """One installed package: its metadata, and the folder that its files are in."""

    name: str
    version: str
    requires: list[str]
    folder: str


class Machine:
    """A machine as its kernel, its driver and its environment tell of it.

    ``root`` stands for ``/`` where /proc, /sys, /dev and /usr are read.
    """

    def __init__(
        self,
        settings: ServeSettings,
        *,
        root: Path = Path("/"),
        environ: Mapping[str, str] = os.environ,
        url: str | None = None,
        python: Path = Path(sys.executable),
        read_clock: Callable[[int], float] = time.clock_gettime,
        child_within_s: float = 4.0,
        answer_within_s: float = 3.0,
    ) -> None:
        """Look at nothing yet; a child process has ``child_within_s``, a peer on the network ``answer_within_s``."""
        self.root = root
        self.procfs = ProcFs(root / "proc")
        self.environ = environ
        self.settings = settings
        self.python = python
        self.read_clock = read_clock
        self.answer_within_s = answer_within_s
        self._child_within_s = child_within_s
        self._url = url
        self._driver: DriverReport | None = None
        self._asking_driver = threading.Lock()

    def addresses(self) -> tuple[Address, ...]:
        """Where a client looks for the coordinator.  Raises ValueError."""
        return find_addresses(self._url, self.environ)

    @property
    def names_coordinator(self) -> bool:
        """Tell whether somebody said where the coordinator is; else it is looked for where it is by default."""
        return bool(self._url or self.environ.get("CF_ORCH_URL"))

    @property
    def token(self) -> str | None:
        """The secret that a client shows."""
        return self.environ.get("CF_ORCH_TOKEN")

    def path(self, path: str) -> Path:
        """A path of this machine, given as it is from ``/``."""
        return self.root / path.lstrip("/")

    def text(self, path: str) -> str | None:
        """What a small file holds, None if it is not there or not to be read."""
        try:
            with self.path(path).open("rb") as file:
                return file.read(_MOST_BYTES).decode(errors="replace")
        except OSError:
            return None

    def names(self, path: str) -> list[str]:
        """What is in a folder, sorted; nothing if it is not there."""
        try:
            return sorted(entry.name for entry in self.path(path).iterdir())
        except OSError:
            return []

    def link(self, path: str) -> str | None:
        """Where a symbolic link points, None if it is none."""
        try:
            return str(self.path(path).readlink())
        except OSError:
            return None

    def exists(self, path: str) -> bool:
        """Tell whether something is there."""
        try:
            return self.path(path).exists()
        except OSError:
            return False

    @property
    def is_wsl(self) -> bool:
        """Tell whether this is Linux under Windows."""
        return "microsoft" in (self.text("/proc/sys/kernel/osrelease") or "").lower()

    def driver(self) -> DriverReport:
        """What the NVIDIA driver says; asked once, in a child process, and silence is an answer too."""
        with self._asking_driver:
            if self._driver is None:
                try:
                    answer = self._child(_DRIVER_COMMAND, "the NVIDIA driver")
                    self._driver = msgspec.json.decode(answer, type=DriverReport)
                except (NoAnswer, msgspec.MsgspecError) as error:
                    self._driver = DriverReport(str(error), None, None, None, None, [], is_silent=True)
            return self._driver

    def distributions(self) -> list[Distribution]:
        """The packages that the chosen Python sees.  Raises NoAnswer."""
        answer = self._child((str(self.python), "-c", _LIST_DISTRIBUTIONS), str(self.python))
        try:
            return msgspec.json.decode(answer, type=list[Distribution])
        except msgspec.MsgspecError as error:
            raise NoAnswer(f"{self.python} does not answer as a Python does: {error}") from error

    def _child(self, command: tuple[str, ...], who: str) -> bytes:
        """Run a program and return what it prints; one that cannot even be killed is left behind."""
        try:
            child = subprocess.Popen(  # noqa: S603 - our own program, or the Python that the user named
                command,
                env=dict(self.environ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise NoAnswer(f"{who} cannot be asked: {error.strerror or error}") from error
        try:
            output, complaint = child.communicate(timeout=self._child_within_s)
        except subprocess.TimeoutExpired:
            child.kill()
            threading.Thread(target=child.communicate, daemon=True).start()  # it may take the kernel for ever
            raise NoAnswer(f"{who} gave no answer within {self._child_within_s:g} s") from None
        if child.returncode != 0:
            last = complaint.decode(errors="replace").strip().splitlines()[-1:] or [f"exit status {child.returncode}"]
            raise NoAnswer(f"{who} failed: {last[0]}")
        return output
