"""Read an adapter_config.json that may be anything, and write a reduced copy beside nothing that is there already."""

import json
import os
import stat
from pathlib import Path
from typing import Any

__all__ = ["CONFIG_NAME", "BadAdapterFile", "read_adapter", "write_adapter"]

CONFIG_NAME = "adapter_config.json"
MOST_BYTES = 16 * 2**20
"""A real one has some kilobytes, a few hundred where ``rank_pattern`` names every layer."""


class BadAdapterFile(Exception):  # noqa: N818 - it names the file's state
    """The file cannot be used; ``str()`` says which, why, and what to do."""


def read_adapter(path: Path) -> tuple[Path, dict[str, Any]]:
    """Read the file, or the one in the folder; return its path and what it holds.  Raises BadAdapterFile."""
    file = path / CONFIG_NAME if path.is_dir() else path
    content = _read_bytes(file)
    try:
        # As peft reads it: NaN and Infinity are taken, the last of two equal keys wins.
        value = json.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BadAdapterFile(f"{file} is no UTF-8 text (byte {error.start}): is it the weights' file?") from None
    except RecursionError:
        raise BadAdapterFile(f"{file} is nested too deeply to be an adapter's configuration") from None
    except ValueError as error:
        raise BadAdapterFile(f"{file} is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise BadAdapterFile(f"{file} holds a JSON {_kind(value)}, and an adapter's configuration is an object")
    return file, value


def _read_bytes(file: Path) -> bytes:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe must not block
    except FileNotFoundError:
        raise BadAdapterFile(f"there is no {file}: name the adapter's folder or its {CONFIG_NAME}") from None
    except (OSError, ValueError) as error:
        raise BadAdapterFile(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    with os.fdopen(descriptor, "rb") as opened:
        status = os.fstat(opened.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise BadAdapterFile(f"{file} is no ordinary file")
        content = opened.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise BadAdapterFile(
            f"{file} has {status.st_size / 2**20:.0f} MB, and an adapter's configuration has a few kB at most: "
            "is it the weights' file?"
        )
    return content


def _kind(value: Any) -> str:
    match value:
        case list():
            return "array"
        case str():
            return "string"
        case None:
            return "null"
        case bool():
            return "boolean"
        case _:
            return "number"


def write_adapter(out: Path, source: Path, config: dict[str, Any]) -> Path:
    """Write a configuration as peft writes it, into a new file, or a folder's adapter_config.json; return its path.

    Nothing that exists is ever written to, so neither is the file that was read, by whichever name.  Raises
    BadAdapterFile.
    """
    target = out / CONFIG_NAME if out.is_dir() else out
    text = json.dumps(config, indent=2, sort_keys=True)
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except FileExistsError:
        if _is_same(target, source):
            raise BadAdapterFile(
                f"{target} is the file that was read, and it is never changed: name another place for the copy"
            ) from None
        raise BadAdapterFile(f"{target} exists, and nothing is overwritten: remove it, or name another place") from None
    except (OSError, ValueError) as error:
        raise BadAdapterFile(f"{target} cannot be written: {getattr(error, 'strerror', None) or error}") from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            opened.write(text)
    except OSError as error:
        target.unlink(missing_ok=True)  # half a file is worse than none
        raise BadAdapterFile(f"{target} cannot be written: {error.strerror}") from None
    return target


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
