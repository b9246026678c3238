"""The rules by name, as the oracle cites them.

====  ====================================================================================================
R1    no grant takes more than total - reserve - foreign use - charges, nor more than the driver shows free (S1)
R2    whoever is passed is stalled, cut off, over his service's quota, or could not use the devices (S2, D11, D12)
R3    aging raises one class a time, after its time, and never to interactive (D19)
R4    nothing is granted on a device that is blind or draining, or whose load window is open (S10, D10)
R5    what is given back stays charged until the driver shows it gone (S11)
R7    nothing ends before its full grace, nothing that has ended comes back, whatever is due happens
R8    tokens rise, and so do the numbers of ids (S14)
R9    the fold of the durable events is the live state; a restart changes no order and shortens no deadline (S16)
R10   the same caller and request id stand for one lease (S13); what was cancelled before it came is not granted
R11   what is impossible is refused, with the code that says so; a refused command changes nothing
L2    who comes first and fits is granted in the same command
S15   what a service is granted never exceeds its quota
S19   after a sync a session has the leases that it named
====  ====================================================================================================
"""

from typing import Never

__all__ = ["Broken", "broken"]


class Broken(AssertionError):  # noqa: N818 - it says what happened
    """A rule does not hold."""


def broken(rule: str, what: str) -> Never:
    """Say which rule does not hold, and how."""
    raise Broken(f"{rule}: {what}")
