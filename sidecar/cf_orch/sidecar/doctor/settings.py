"""Where ``cf-orch serve`` would listen and keep its journal here, as it would read it: flags, CF_ORCH_*, the TOML file.

Only these two are read; ``cf-orch serve`` itself names every wrong setting when it starts.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["COORDINATOR_PORT", "SIDECAR_PORT", "ServeSettings", "read_settings"]

COORDINATOR_PORT, SIDECAR_PORT = 7700, 7701
_MOST_PORT = 65535


class ServeSettings(NamedTuple):
    """What the coordinator would use; ``problem`` says what of it could not be read."""

    state_dir: Path
    coordinator_port: int = COORDINATOR_PORT
    sidecar_port: int = SIDECAR_PORT
    problem: str | None = None


def read_settings(state_dir: Path | None, environ: Mapping[str, str]) -> ServeSettings:
    """Put the settings together; what cannot be read becomes the default and a ``problem``."""
    file, problem = _file(environ.get("CF_ORCH_CONFIG"))
    folder = state_dir or environ.get("CF_ORCH_STATE_DIR") or file.get("state_dir") or _default_folder(environ)
    if not isinstance(folder, str | Path):
        folder, problem = _default_folder(environ), f"state_dir is no text: {folder!r}"
    port = environ.get("CF_ORCH_PORT") or file.get("port", COORDINATOR_PORT)
    try:
        number = int(port)
    except (TypeError, ValueError):
        number = -1
    if not 0 <= number <= _MOST_PORT:
        number, problem = COORDINATOR_PORT, f"port must be 0 to {_MOST_PORT}, not {port!r}"
    # Port 0 is any free one: nothing has to be free for it.
    return ServeSettings(Path(folder).expanduser().absolute(), number or COORDINATOR_PORT, problem=problem)


def _file(path: str | None) -> tuple[dict[str, Any], str | None]:
    if not path:
        return {}, None
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8")), None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        return {}, f"config {path}: {error}"


def _default_folder(environ: Mapping[str, str]) -> str:
    """The system's place for root, else the user's; as the coordinator's configuration has it."""
    if os.geteuid() == 0:
        return "/var/lib/cf-orch"
    return environ.get("XDG_STATE_HOME", "~/.local/state") + "/cf-orch"
