"""Whatever went wrong as a problem of the wire; nothing else leaves the coordinator."""

import msgspec
import structlog

from cf_orch.coordinator.engine import EngineStopped
from cf_orch.ledger import Refusal
from cf_orch.protocol.errors import Problem

__all__ = ["problem_of"]

log = structlog.get_logger()

LARGEST_EXACT = 2**53


def problem_of(error: Exception) -> Problem:
    """Say what went wrong; what nobody foresaw is logged, and its details stay here."""
    match error:
        case Refusal():
            return Problem.of(error.code, str(error), {name: _plain(value) for name, value in error.numbers.items()})
        case msgspec.ValidationError():
            return Problem.of("bad_value", _readable(str(error)))
        case msgspec.DecodeError() | UnicodeDecodeError():
            return Problem.of("bad_json", f"the body is not JSON: {error}")
        case EngineStopped():
            return Problem.of("stopping", str(error))
        case _:
            log.error("a request failed", exc_info=error)
            return Problem.of("internal", "the coordinator failed on this request; its log says how")


def _readable(message: str) -> str:
    """Name the field first: ``Expected `int`, got `str` - at `$.gpus` `` becomes ``gpus: Expected ...``."""
    what, _, where = message.partition(" - at `$")
    field = where.rstrip("`").lstrip(".")
    return f"{field}: {what}" if field else what


def _plain(value: float | str) -> float | str:
    """An integer beyond what every JSON reader keeps exactly goes out as a float."""
    return float(value) if isinstance(value, int) and abs(value) > LARGEST_EXACT else value
