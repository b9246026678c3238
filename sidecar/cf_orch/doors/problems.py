"""Whatever went wrong as a problem of the wire; nothing else leaves through a door."""

import msgspec
import structlog

from cf_orch.ledger import Refusal
from cf_orch.protocol.errors import Problem

__all__ = ["Stopping", "problem_of"]

log = structlog.get_logger()

LARGEST_EXACT = 2**53


class Stopping(Exception):  # noqa: N818 - the state of who raises it
    """Nothing more is done here: it was stopped, or it failed; whether the call took effect may be unknown."""


def problem_of(error: Exception) -> Problem:
    """Say what went wrong; what nobody foresaw is logged, and its details stay here."""
    match error:
        case Refusal():
            return Problem.of(error.code, str(error), {name: _plain(value) for name, value in error.numbers.items()})
        case msgspec.ValidationError():
            return Problem.of("bad_value", _readable(str(error)))
        case msgspec.DecodeError() | UnicodeDecodeError():
            return Problem.of("bad_json", f"the body is not JSON: {error}")
        case Stopping():
            return Problem.of("stopping", str(error))
        case _:
            log.error("a request failed", exc_info=error)
            return Problem.of("internal", "this request failed here; the log says how")


def _readable(message: str) -> str:
    """Name the field first: ``Expected `int`, got `str` - at `$.gpus` `` becomes ``gpus: Expected ...``."""
    what, _, where = message.partition(" - at `$")
    field = where.rstrip("`").lstrip(".")
    return f"{field}: {what}" if field else what


def _plain(value: float | str) -> float | str:
    """An integer beyond what every JSON reader keeps exactly goes out as a float."""
    return float(value) if isinstance(value, int) and abs(value) > LARGEST_EXACT else value
