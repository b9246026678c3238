"""The frames of the WebSocket, made from the table of operations: a call's path, query and body fields side by side."""

from typing import Any

import msgspec

from cf_orch.doors.asked import Asked
from cf_orch.ledger import Refusal
from cf_orch.protocol.operations import OPERATIONS, Operation

__all__ = ["FRAME_TYPES", "Head", "decode_call", "decode_head", "unknown_call"]


class Head(msgspec.Struct):
    """What every call begins with; ``id`` is given back with the answer."""

    id: int
    op: str


def _frame_type(operation: Operation) -> type[msgspec.Struct]:
    """The type of an operation's calls: its body's own type with more fields, so that a frame is also the body."""
    fields: list[Any] = [("id", int), ("op", str)]
    if operation.subject is not None:
        fields.append((operation.subject, str))
    if operation.query is not None:
        fields += [
            (field.name, field.type) if field.required else (field.name, field.type, field.default)
            for field in msgspec.structs.fields(operation.query)
        ]
    return msgspec.defstruct(
        "".join(word.capitalize() for word in operation.name.split(".")) + "Call",
        fields,
        bases=None if operation.body is None else (operation.body,),
        namespace={"__doc__": operation.summary},
        kw_only=True,
        forbid_unknown_fields=True,
    )


FRAME_TYPES = {operation.name: _frame_type(operation) for operation in OPERATIONS}
"""The type of each operation's calls, by name."""

_head_decoder = msgspec.json.Decoder(Head)
_CALLS = {
    operation.name: (operation, operation.subject, msgspec.json.Decoder(FRAME_TYPES[operation.name]))
    for operation in OPERATIONS
}


def decode_head(frame: str | bytes) -> Head:
    """Read which call a frame is.  Raises msgspec.DecodeError."""
    return _head_decoder.decode(frame)


def unknown_call(op: str) -> Refusal:
    """Make the refusal of a call that is not in the table."""
    return Refusal("not_found", f"no call is named {op!a}: there are {', '.join(_CALLS)}")


def decode_call(head: Head, frame: str | bytes) -> tuple[Operation, Asked[Any, Any]] | None:
    """Read a call whose head was read; None for one that is not in the table.  Raises msgspec.DecodeError."""
    known = _CALLS.get(head.op)
    if known is None:
        return None
    operation, subject, decoder = known
    call = decoder.decode(frame)
    return operation, Asked("" if subject is None else getattr(call, subject), call, call)
