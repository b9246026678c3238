"""Run all checks side by side against one deadline; a check that fails or hangs is itself a finding."""

import queue
import threading
import time
from collections.abc import Callable, Mapping

from cf_orch.sidecar.doctor.finding import Finding
from cf_orch.sidecar.doctor.machine import Machine, NoAnswer

__all__ = ["Check", "check_up"]

Check = Callable[[Machine], list[Finding]]
"""Looks at one thing; the function's name without ``check_`` is the id of a finding that it could not look."""


def check_up(
    machine: Machine, sections: Mapping[str, tuple[Check, ...]], *, within_s: float
) -> dict[str, list[Finding]]:
    """Run every check in a thread of its own; the findings come by section, in the checks' order.

    A thread that hangs is left behind: it does not keep the process from ending.
    """
    checks = [check for of_section in sections.values() for check in of_section]
    done: queue.SimpleQueue[tuple[Check, list[Finding]]] = queue.SimpleQueue()
    for check in checks:
        name = check.__name__
        threading.Thread(target=lambda c=check: done.put((c, _safely(machine, c))), daemon=True, name=name).start()
    found: dict[Check, list[Finding]] = {}
    deadline = time.monotonic() + within_s
    while len(found) < len(checks):
        try:
            check, findings = done.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        found[check] = findings
    return {
        section: [one for check in of_section for one in found.get(check, [_unfinished(check, within_s)])]
        for section, of_section in sections.items()
    }


def _safely(machine: Machine, check: Check) -> list[Finding]:
    try:
        return check(machine)
    except NoAnswer as silence:
        return [_not_known(check, str(silence))]
    except Exception as error:  # noqa: BLE001 - one ill check must not cost the others
        return [_not_known(check, f"the check itself failed: {type(error).__name__}: {error}")]


def _not_known(check: Check, found: str) -> Finding:
    why = "so nothing is known about it, neither good nor bad"
    return Finding(_id(check), "warning", found, why, "run `cf-orch doctor` again; report it if it stays so")


def _unfinished(check: Check, within_s: float) -> Finding:
    return Finding(
        _id(check),
        "error",
        f"the check did not end within {within_s:g} s",
        "what hangs here will hang cf-orch too: a driver, a network file system or a name server that does not answer",
        "see the kernel log (dmesg) for what hangs",
    )


def _id(check: Check) -> str:
    return check.__name__.removeprefix("check_")
