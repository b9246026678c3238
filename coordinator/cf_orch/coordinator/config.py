"""Settings: flags over ``CF_ORCH_*`` over a TOML file, and every wrong one named at once.

The file has the flags' names at its top level, and tables beside::

    port = 7700
    devices = ["name=RTX 4090,vram_gb=24"]

    [policy]                # durations in seconds, see cf_orch.ledger.settings
    aging_s = 300
    protect = "strict"      # idle memory never goes down to a lower class

    [quotas.batch-tools]
    max_vram_gb = 12
    max_priority = "batch"

    [tasks.recipe_llm]
    class = "interactive"
    vram_gb = 5.5

    [reserve_gb]            # by UUID; the default is 0.5 on a card
    GPU-5b0c... = 2.0
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from cf_orch.doors.access import is_loopback
from cf_orch.gpus import DeviceSpec, parse_device
from cf_orch.ledger import Quota, Settings, TaskType
from cf_orch.protocol.priorities import Priority
from cf_orch.protocol.sizes import gb_to_bytes

__all__ = ["ConfigError", "ServeConfig", "read_config"]


class ConfigError(Exception):
    """Settings that are wrong; ``problems`` names every one, with what to do."""

    def __init__(self, problems: list[str]) -> None:
        """Collect the sentences, one a wrong setting."""
        super().__init__("\n".join(problems))
        self.problems = problems


class ServeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """All that ``cf-orch serve`` can be told."""

    host: str = "127.0.0.1"
    port: int = 7700
    socket: Path | None = None
    state_dir: Path
    journal: str = "sqlite"
    token: str | None = None
    devices: tuple[DeviceSpec, ...] = ()
    reserve_bytes: dict[str, int] = {}
    policy: Settings = Settings()


_SIMPLE = {"host": str, "port": int, "socket": str, "state_dir": str, "journal": str, "token": str}
_TABLES = ("policy", "quotas", "tasks", "reserve_gb")
_JOURNALS = ("sqlite", "memory")
_POLICY_FIELDS = tuple(name for name in Settings.__struct_fields__ if name not in ("quotas", "tasks", "grace_factor"))
_MAY_BE_ZERO = ("idle_protect_s", "min_residency_s")


def read_config(flags: Mapping[str, Any], environ: Mapping[str, str]) -> ServeConfig:
    """Put the settings together.

    ``flags`` has the flags that were given, by name, and ``devices`` as a list of texts.  Raises ConfigError.
    """
    reading = _Reading()
    file = reading.file(flags.get("config") or environ.get("CF_ORCH_CONFIG"))
    values = {name: reading.simple(name, kind, flags, environ, file) for name, kind in _SIMPLE.items()}
    devices = reading.devices(flags, environ, file)
    policy = reading.policy(file)
    reserve = reading.sizes("reserve_gb", file.get("reserve_gb", {}))
    reading.check_simple(values)
    if reading.problems:
        raise ConfigError(reading.problems)
    given = {name: value for name, value in values.items() if value is not None}
    given["state_dir"] = Path(given.get("state_dir") or default_state_dir(environ)).expanduser()
    if "socket" in given:
        given["socket"] = Path(given["socket"]).expanduser()
    return ServeConfig(**given, devices=devices, reserve_bytes=reserve, policy=policy)


def default_state_dir(environ: Mapping[str, str]) -> str:
    """Where the journal lives when nothing is said: the system's place for root, else the user's."""
    if os.geteuid() == 0:
        return "/var/lib/cf-orch"
    return environ.get("XDG_STATE_HOME", "~/.local/state") + "/cf-orch"


class _Reading:
    """Reads settings one by one and collects what is wrong with each."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def file(self, path: str | None) -> dict[str, Any]:
        if path is None:
            return {}
        try:
            content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            self.problems.append(f"config {path}: {error}")
            return {}
        known = {*_SIMPLE, "devices", *_TABLES}
        self.problems += [
            f"config {path}: unknown setting {name!r} (known: {', '.join(sorted(known))})"
            for name in sorted(content.keys() - known)
        ]
        tables = {name: content.get(name, {}) for name in _TABLES}
        for name, table in tables.items():
            if not isinstance(table, dict):
                self.problems.append(f"config {path}: {name} must be a table, [{name}]")
                content.pop(name)
        return content

    def simple(
        self, name: str, kind: type, flags: Mapping[str, Any], environ: Mapping[str, str], file: Mapping[str, Any]
    ) -> Any:
        variable = f"CF_ORCH_{name.upper()}"
        flag = f"--{name.replace('_', '-')}"
        for source, value in ((flag, flags.get(name)), (variable, environ.get(variable)), (name, file.get(name))):
            if value is None or value == "":
                continue
            try:
                return msgspec.convert(value, kind, strict=source == name)
            except msgspec.ValidationError:
                self.problems.append(f"{source}: {value!r} is no {'number' if kind is int else 'text'}")
                return None
        return None

    def devices(
        self, flags: Mapping[str, Any], environ: Mapping[str, str], file: Mapping[str, Any]
    ) -> tuple[DeviceSpec, ...]:
        texts = flags.get("devices") or environ.get("CF_ORCH_DEVICES", "").split(";") or []
        texts = [text for text in texts if text] or file.get("devices", [])
        if not isinstance(texts, list):
            self.problems.append('devices must be a list: devices = ["name=RTX 4090,vram_gb=24"]')
            return ()
        found = []
        for text in texts:
            try:
                found.append(parse_device(str(text)))
            except ValueError as error:
                self.problems.append(str(error))
        if sum(spec.kind == "host" for spec in found) > 1:
            self.problems.append("--device host is given more than once: this host has one RAM")
        return tuple(found)

    def policy(self, file: Mapping[str, Any]) -> Settings:
        chosen: dict[str, Any] = {}
        for name, value in file.get("policy", {}).items():
            if name not in _POLICY_FIELDS:
                self.problems.append(f"[policy] {name} is unknown (known: {', '.join(_POLICY_FIELDS)})")
            elif name == "protect":
                chosen[name] = self.choice("[policy] protect", value, ("strict", "cascade"))
            elif name == "protected_priority":
                chosen[name] = self.priority("policy", name, file["policy"])
            else:
                chosen[name] = self.positive(f"[policy] {name}", value, or_zero=name in _MAY_BE_ZERO)
        chosen = {name: value for name, value in chosen.items() if value is not None}
        quotas = {name: self.quota(name, table) for name, table in file.get("quotas", {}).items()}
        tasks = {name: self.task(name, table) for name, table in file.get("tasks", {}).items()}
        return Settings(**chosen, quotas=quotas, tasks=tasks)

    def positive(self, name: str, value: Any, *, or_zero: bool) -> float | None:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and (value > 0 or (or_zero and value == 0)):
            return float(value) if isinstance(value, float) else int(value)
        self.problems.append(f"{name} must be a positive number{' or 0' if or_zero else ''}, not {value!r}")
        return None

    def choice(self, name: str, value: Any, known: tuple[str, ...]) -> str | None:
        if value in known:
            return str(value)
        self.problems.append(f"{name} must be one of {', '.join(known)}, not {value!r}")
        return None

    def quota(self, service: str, table: Any) -> Quota:
        values = self.table(f"quotas.{service}", table, ("max_vram_gb", "max_priority"))
        return Quota(
            max_vram_bytes=self.size(f"quotas.{service}", "max_vram_gb", values),
            max_priority=self.priority(f"quotas.{service}", "max_priority", values),
        )

    def task(self, task_type: str, table: Any) -> TaskType:
        values = self.table(f"tasks.{task_type}", table, ("class", "vram_gb"))
        return TaskType(
            priority=self.priority(f"tasks.{task_type}", "class", values),
            vram_bytes=self.size(f"tasks.{task_type}", "vram_gb", values),
        )

    def table(self, name: str, table: Any, known: tuple[str, ...]) -> dict[str, Any]:
        if not isinstance(table, dict):
            self.problems.append(f"{name} must be a table, [{name}]")
            return {}
        self.problems += [
            f"[{name}] {key} is unknown (known: {', '.join(known)})" for key in sorted(table) if key not in known
        ]
        return table

    def sizes(self, name: str, table: Mapping[str, Any]) -> dict[str, int]:
        sizes = {key: self.size(name, key, table) for key in table}
        return {key: size for key, size in sizes.items() if size is not None}

    def size(self, table: str, key: str, values: Mapping[str, Any]) -> int | None:
        value = values.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
            self.problems.append(f"[{table}] {key} must be a number of GB, not {value!r}")
            return None
        return gb_to_bytes(value)

    def priority(self, table: str, key: str, values: Mapping[str, Any]) -> int | None:
        value = values.get(key)
        if value is None:
            return None
        try:
            return Priority.parse(value)
        except (ValueError, AttributeError) as error:
            self.problems.append(f"[{table}] {key}: {error}")
            return None

    def check_simple(self, values: Mapping[str, Any]) -> None:
        port, journal = values["port"], values["journal"]
        if port is not None and not 0 <= port <= 65535:  # noqa: PLR2004 - what a port can be
            self.problems.append(f"port must be 0 to 65535, not {port}")
        if journal is not None and journal not in _JOURNALS:
            self.problems.append(f"journal must be one of {', '.join(_JOURNALS)}, not {journal!r}")
        host = values["host"]
        if host is not None and not is_loopback(host) and not values["token"]:
            self.problems.append(
                f"host {host} can be reached from other machines: set CF_ORCH_TOKEN to a shared secret, "
                "or serve on 127.0.0.1"
            )
