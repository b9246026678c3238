"""The rules by name, as the oracle cites them.

====  ====================================================================================================
R1    no grant takes more than total - reserve - foreign use - charges, nor more than the driver shows free (S1)
R2    whoever is passed is stalled, cut off, over his service's quota, could not use the devices, has a plan on
      others, or is passed by one that he shuts out by what it keeps, or who left for him in vain (S2, D4, D11, D12)
R3    aging raises one class a time, after its time, and never to interactive (D19)
R4    nothing is granted on a device that is blind or draining, or whose load window is open (S10, D10)
R5    what is given back stays charged until the driver shows it gone; what does not come back leaks, after its time
R6    who is asked to leave may be asked, comes first in order, is needed, and is asked; plans end when they must
R7    nothing ends before its full grace, nothing that has ended comes back, whatever is due happens
R8    tokens rise, and so do the numbers of ids (S14)
R9    the fold of the durable events is the live state; a restart changes no order and shortens no deadline (S16)
R10   the same caller and request id stand for one lease (S13); what was cancelled before it came is not granted
R11   what is impossible is refused, with the code that says so; a refused command changes nothing
L1    every command ends and, with cooperative holders, everything does
L2    who comes first and fits is granted in the same command; so is a plan made, given up, and a notice withdrawn
S4    a plan's victims suffice with what is on its way, and none of them can be left out
S5    nobody behind a plan's owner takes its devices
S6    no victim of a plan takes its devices while it lasts
S7    who was evicted while idle rests until its holder is busy, whom an operator evicted until he resumes it
S8    evictions are finite once nobody asks for more
S9    an idle lease is safe from its own class for its residency
S10   nobody is granted or asked where a load window is open
S11   what is on its way back is charged until a look from after that shows it gone
S12   withdrawing, answering, releasing and using, in any crossing, leave one legal state
S15   what a service is granted never exceeds its quota
S16   no clock survives a restart, and each deadline begins anew in full
S17   nobody is asked whose known checkpoint outlasts the wait
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
