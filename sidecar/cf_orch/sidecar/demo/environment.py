"""The environment that the parts live in: built whole or not at all, and kept in the user's cache.

It is built beside its place and renamed to it when it is complete, under a lock that dies with its holder: what an
interrupted build left behind is never used, and is removed by the next one.  A renamed environment's scripts name
the old place, so nothing in it is run but its python.
"""

import asyncio
import fcntl
import hashlib
import os
import shutil
import signal
import sys
import sysconfig
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

__all__ = ["BuildFailed", "Environment", "cache_folder", "running_paths"]

MARKER = "complete"
TOLD_LINES = 6
"""How many of pip's last lines are told when it fails."""

LOOKED_FOR_EVERY_S = 0.05

Say = Callable[[str], None]


class BuildFailed(Exception):  # noqa: N818 - it names what happened
    """The environment cannot be built; ``str()`` says why in a sentence, with the last lines of whoever failed."""


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Where this user's cached things of cf-orch lie."""
    named = environ.get("XDG_CACHE_HOME", "")
    # The specification has a relative path ignored.
    base = Path(named) if Path(named).is_absolute() else Path(environ.get("HOME") or Path.home()) / ".cache"
    return base / "cf-orch"


class Environment:
    """A virtual environment of this Python with these requirements; its folder's name tells both apart."""

    def __init__(self, cache: Path, requirements: Sequence[str], *, installed_mb: int) -> None:
        """Name it; nothing is built yet.  It takes ``requirements`` as they are, without what they depend on."""
        self._requirements = tuple(requirements)
        self._installed_mb = installed_mb
        key = "\n".join((*self._requirements, sys.version, sys.base_prefix))
        self.folder = cache / f"demo-{hashlib.sha256(key.encode()).hexdigest()[:12]}"

    @property
    def python(self) -> Path:
        """The interpreter that has the parts."""
        return self.folder / "bin" / "python"

    @property
    def complete(self) -> bool:
        """Whether it was built to the end."""
        return (self.folder / MARKER).is_file() and self.python.exists()

    async def build(self, say: Say) -> None:
        """Build it, unless it is complete by now; ``say`` hears each step.  Raises BuildFailed.

        A cancelled build leaves nothing behind.
        """
        try:
            async with self._alone(say):
                if not self.complete:
                    await self._build(say)
        except OSError as error:
            raise BuildFailed(f"the parts cannot be kept in {self.folder.parent}: {error}") from error

    def join(self, paths: Sequence[str]) -> None:
        """Let it import from ``paths`` too, after what it has itself; replaces what an earlier run had written.

        Raises BuildFailed.
        """
        target = _site_packages(self.folder) / "cf_orch_running.pth"
        fresh = target.with_name(f"{target.name}.{os.getpid()}")
        try:
            fresh.write_bytes(b"".join(os.fsencode(path) + b"\n" for path in paths))
            fresh.replace(target)
        except OSError as error:
            raise BuildFailed(f"the demo's environment cannot be written: {error}") from error

    @asynccontextmanager
    async def _alone(self, say: Say) -> AsyncIterator[None]:
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.folder.parent / f"{self.folder.name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if not _locked(lock):
                say("another cf-orch demo is installing the parts; waiting for it")
                while not _locked(lock):  # noqa: ASYNC110 - a file lock tells nobody that it is free
                    await asyncio.sleep(LOOKED_FOR_EVERY_S)
            yield
        finally:
            os.close(lock)

    async def _build(self, say: Say) -> None:
        prefix = f"{self.folder.name}.partial-"
        for left_over in (self.folder, *self.folder.parent.glob(f"{prefix}*")):
            shutil.rmtree(left_over, ignore_errors=True)  # somebody that outlived his demo may still write to it
        _check_room(self.folder.parent, self._installed_mb)
        partial = Path(tempfile.mkdtemp(prefix=prefix, dir=self.folder.parent))
        try:
            say("making an environment")
            await _run([sys.executable, "-m", "venv", str(partial)], "the environment cannot be made", say=None)
            pip = [str(partial / "bin" / "python"), "-I", "-m", "pip", "--no-input", "--disable-pip-version-check"]
            install = ["install", "--no-deps", "--only-binary", ":all:", "--progress-bar", "off", *self._requirements]
            await _run([*pip, *install], "pip could not install the parts", say=say)
            (partial / MARKER).touch()
            partial.rename(self.folder)  # noqa: ASYNC240 - nothing else runs that it could block
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def running_paths() -> list[str]:
    """The folders that this process imports from, without the standard library's."""
    standard = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}
    standard |= {f"{path}/lib-dynload" for path in standard}
    return [path for path in dict.fromkeys(sys.path) if path not in standard and Path(path).is_dir()]


def _site_packages(folder: Path) -> Path:
    return Path(sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)}))


def _check_room(folder: Path, needed_mb: int) -> None:
    free_mb = shutil.disk_usage(folder).free // 10**6
    if free_mb < needed_mb:
        raise BuildFailed(
            f"the parts need {needed_mb} MB in {folder}, but only {free_mb} MB are free there: "
            "make room, or set XDG_CACHE_HOME to another disk"
        )


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def _run(command: Sequence[str], failure: str, *, say: Say | None) -> None:
    """Run a command to its end; its output goes to ``say`` line by line, and is told if it fails."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,  # no key of the terminal reaches it, and what it starts can be ended with it
    )
    assert process.stdout is not None  # noqa: S101 - it was asked for
    told: deque[str] = deque(maxlen=TOLD_LINES)
    try:
        async for raw in process.stdout:
            if line := raw.decode(errors="replace").strip():
                told.append(line)
                if say is not None:
                    say(line)
        status = await process.wait()
    except BaseException:
        await _end_group(process.pid)
        raise
    if status:
        raise BuildFailed("\n  ".join((f"{failure} (exit status {status}); its last lines:", *told)))


async def _end_group(group: int) -> None:
    """End what still runs of a command, and wait until it writes no more."""
    with suppress(ProcessLookupError):
        while True:
            os.killpg(group, signal.SIGKILL)
            await asyncio.sleep(LOOKED_FOR_EVERY_S)
