"""What can go wrong with a lease, as the caller sees it.

LeaseError
|-- LeaseRefused            the coordinator will not: what was asked is impossible, unknown or not allowed
|-- LeaseTimeout            it was not granted within max_wait_s
|-- LeaseLost               it was held, and is no longer: stop using the memory
|-- CoordinatorUnreachable  nobody answers, and the caller does not want to go on without
`-- NotAuthorized           the token is missing or wrong

CoordinatorAwayWarning      nobody answers: leases are taken in turns on this host until the coordinator is back
"""

from collections.abc import Mapping
from types import MappingProxyType

from cf_orch.protocol.messages import WaitingInfo

__all__ = [
    "CoordinatorAwayWarning",
    "CoordinatorUnreachable",
    "LeaseError",
    "LeaseLost",
    "LeaseRefused",
    "LeaseTimeout",
    "NotAuthorized",
]


class LeaseError(Exception):
    """A lease could not be had or kept."""


class LeaseRefused(LeaseError):  # noqa: N818 - the tree is the interface
    """The answer is no, and asking again does not help.

    ``code`` is stable and for programs, ``detail`` says what happened and what to do, ``numbers`` holds the figures
    that it names (sizes in bytes).
    """

    def __init__(self, code: str, detail: str, numbers: Mapping[str, int | float | str] | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.numbers = MappingProxyType(dict(numbers or {}))

    def __reduce__(self) -> tuple[type["LeaseRefused"], tuple[str, str, dict[str, int | float | str]]]:
        return type(self), (self.code, self.detail, dict(self.numbers))


class LeaseTimeout(LeaseError):  # noqa: N818 - the tree is the interface
    """It was not granted in time; ``waiting_for`` is what stood in the way, where the coordinator could say."""

    def __init__(self, message: str, waiting_for: WaitingInfo | None = None) -> None:
        super().__init__(message)
        self.waiting_for = waiting_for

    def __reduce__(self) -> tuple[type["LeaseTimeout"], tuple[str, WaitingInfo | None]]:
        return type(self), (str(self), self.waiting_for)


class LeaseLost(LeaseError):  # noqa: N818 - the tree is the interface
    """The lease ended by another hand, or can no longer be believed in: its memory may be somebody else's now."""


class CoordinatorUnreachable(LeaseError):  # noqa: N818 - the tree is the interface
    """No coordinator answers; the message names every URL tried, and why."""


class NotAuthorized(LeaseError):  # noqa: N818 - the tree is the interface
    """The coordinator wants a token (CF_ORCH_TOKEN), or another one."""


class CoordinatorAwayWarning(UserWarning):
    """No coordinator answers: leases are local, taken in turns on this host, until it is back."""
