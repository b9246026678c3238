"""What went wrong, on the wire: problem+json (RFC 9457) with a code that programs may rely on.

One table says which HTTP status each code has; the codes of a refused lease are the ledger's own words.
"""

import msgspec

__all__ = ["STATUS_OF_CODE", "Problem"]


class Problem(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An answer that says no: ``code`` is stable, ``detail`` says what happened and what to do.

    ``numbers`` holds the figures that the sentence names, for programs; sizes in bytes.
    """

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    numbers: dict[str, int | float | str] = {}

    @classmethod
    def of(cls, code: str, detail: str, numbers: dict[str, int | float | str] | None = None) -> "Problem":
        """Make the problem for a code; an unlisted code is a fault of ours."""
        status = STATUS_OF_CODE.get(code, 500)
        return cls(title=code.replace("_", " "), status=status, detail=detail, code=code, numbers=numbers or {})


STATUS_OF_CODE: dict[str, int] = {
    # what was sent cannot be read, or says something that cannot be
    "bad_json": 400,
    "bad_request": 400,
    "wrong_protocol": 400,
    "bad_value": 422,
    "wrong_unit": 422,
    "body_too_large": 413,
    # who asks may not
    "not_authorized": 401,
    "foreign_origin": 403,
    "operator_only": 403,
    "not_yours": 403,
    "over_quota": 403,
    # what it is about is not there
    "not_found": 404,
    "unknown_session": 404,
    "unknown_lease": 404,
    "unknown_profile": 404,
    "device_not_found": 404,
    "method_not_allowed": 405,
    "lease_ended": 410,
    # it cannot be, as things are
    "unknown_device": 409,
    "unmet_requirement": 409,
    "too_large": 409,
    "not_granted": 409,
    "still_loading": 409,
    "not_evictable": 409,
    "request_id_reused": 409,
    "queue_full": 429,
    # we cannot
    "internal": 500,
    "stopping": 503,
    "model_not_ready": 503,
}
