"""Bugs that are planted in a copy of the ledger must be found by the histories, by the rule that they break.

Whoever changes the ledger so that a planted bug has no place any more plants it anew.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.ledger import histories, liveness
from tests.ledger.planted_evictions import EVICTION_BUGS
from tests.ledger.planting import Bug

import cf_orch.ledger

LEDGER = Path(cf_orch.ledger.__file__).parent
PROGRAMS = {"histories": Path(histories.__file__), "liveness": Path(liveness.__file__)}


BUGS = [
    Bug(
        "a waiter holds nobody back",
        "schedule.py",
        "        self._held_back |= devices\n        self._open -= devices\n",
        "",
        "R2 FIFO|S5 plan",
    ),
    Bug(
        "the last is served first",
        "schedule.py",
        "        for lane in books.queue.lanes():\n",
        "        for lane in reversed(list(books.queue.lanes())):\n",
        "R2 FIFO|L2",
    ),
    Bug(
        "the same memory is granted twice",
        "placement.py",
        "        if devices[uuid].room_bytes >= shape.need_bytes\n",
        "",
        "R1 oversubscribed",
    ),
    Bug(
        "what is not yet visible is not counted",
        "records.py",
        "self.sample.free_bytes - self.reserve_bytes - self.unseen_bytes",
        "self.sample.free_bytes - self.reserve_bytes",
        "R1 oversubscribed|R4 charge",
    ),
    Bug(
        "a charge is counted twice",
        "books.py",
        "device.charged_bytes += charge - old_charge",
        "device.charged_bytes += charge",
        "R4 charge",
    ),
    Bug("a token is lost", "decide/settling.py", "token=d.next_seq(),", "token=lease.place + 1,", "R8 tokens"),
    Bug(
        "an ended lease comes back by a retry",
        "decide/requests.py",
        "    if earlier is None:\n",
        "    if earlier is None or earlier.state is State.ENDED:\n",
        "R10",
    ),
    Bug(
        "an ended lease comes back by a sync",
        "decide/sessions.py",
        "to_adopt = unknown if session.may_adopt else []",
        "to_adopt = unknown",
        "S19",
    ),
    Bug(
        "one who is cut off stays in line",
        "apply/waiting.py",
        "        books.queue.step_out(lease)\n        lease.cut_until",
        "        lease.cut_until",
        "L2|R2|R7 no ghosts|check",
    ),
    Bug(
        "a refusal changes something",
        "decide/sessions.py",
        "    _check_named_once(command.holdings)\n    for",
        "    d.emit(e.SessionRenewed(session_id=session.id))\n    _check_named_once(command.holdings)\n    for",
        "R11 a refusal changes nothing",
    ),
    Bug(
        "a stalled waiter holds others back",
        "schedule.py",
        "if plan is None and (out_of_reach or stalled(self._books, lane, self._now)):",
        "if plan is None and out_of_reach:",
        "L2",
    ),
    Bug(
        "a full quota holds back other services",
        "schedule.py",
        "if service in self._services_held_back or",
        "if self._services_held_back or",
        "L2",
    ),
    Bug(
        "a full quota lets its own service pass",
        "schedule.py",
        "            self._services_held_back.add(lease.slot.service)\n",
        "            pass\n",
        "R2 quota",
    ),
    Bug(
        "a quota is no limit",
        "books.py",
        "self.held_bytes.get(service, 0) + planned_bytes + lease.full_bytes > limit",
        "lease.full_bytes > limit",
        "S15 quota",
    ),
    Bug(
        "a closing lease is freed before the driver shows it",
        "decide/ending.py",
        "if looked_since(d, lease) and not any(lease.charges.values()):",
        "if looked_since(d, lease):",
        "R5 closing",
    ),
    Bug(
        "the time to give back runs without a look",
        "decide/timeouts.py",
        "if blind or not looked_since(d, lease):",
        "if blind:",
        "R5 (closing|leak)",
    ),
    Bug(
        "a look from before the release counts",
        "apply/devices.py",
        "if sample.taken_at <= lease.due_since:",
        "if sample.taken_at < lease.due_since - 60:",
        "R5 closing|R4 charge|S11 charge",
    ),
    Bug(
        "what closes gives way to what grows",
        "attribution.py",
        "        *((claim, claim.kept_bytes) for claim in claims if claim.leaving),\n",
        "",
        "R5 closing|R4 charge|S11 charge",
    ),
    Bug(
        "what leaked is taken for growth",
        "apply/devices.py",
        "        device.floor_bytes += event.leaked_bytes\n",
        "        pass\n",
        "R4 (charge|foreign)|R5 closing|S11 charge",
    ),
    Bug("a load window is ignored", "schedule.py", "return device.window is None and not", "return not", "S10 window"),
    Bug(
        "a blind device grants",
        "schedule.py",
        "device.window is None and not device.blind(now, books.settings.stale_after_s)",
        "device.window is None",
        "R4 blind|R2 plan",
    ),
    Bug(
        "a draining device grants",
        "schedule.py",
        "self._books.devices, self._open - self._drained(self._open))",
        "self._books.devices, self._open)",
        "R4 blind or draining",
    ),
    Bug(
        "a restart shortens a session's deadline",
        "deadlines.py",
        "        session.may_adopt = True\n        renew_session(books, session, now)\n",
        "        session.may_adopt = True\n",
        "R7",
    ),
    Bug(
        "a session ends before its full grace",
        "deadlines.py",
        "session.expires_at = now + session.ttl_s * books.settings.grace_factor",
        "session.expires_at = now + session.ttl_s",
        "R7",
    ),
    Bug(
        "a hung session is not seen",
        "apply/sessions.py",
        "    renew_session(books, session, now)\n"
        "    books.timers.at(session.expires_at, Timer.SESSION_EXPIRES, session.id)\n",
        "    renew_session(books, session, now)\n",
        "R7 due",
    ),
    Bug(
        "aging leads to interactive",
        "deadlines.py",
        'if priority < value < PRIORITIES["interactive"]',
        'if priority < value <= PRIORITIES["interactive"]',
        "R3|R7 due",
    ),
    Bug(
        "the worst fit is chosen",
        "placement.py",
        "sum(left_over[uuid] for uuid in chosen), tuple",
        "-sum(left_over[uuid] for uuid in chosen), tuple",
        "placement",
    ),
    Bug("the own host does not come first", "placement.py", "option.host_id != shape.host_id", "False", "placement"),
    Bug(
        "a cancel that came first is forgotten",
        "decide/requests.py",
        "    if cancelled:\n",
        "    if cancelled and command.session_id:\n",
        "R10",
    ),
    Bug(
        "a snapshot forgets what was cancelled",
        "snapshot.py",
        'view["cancelled"] = list(books.cancelled)',
        'view["cancelled"] = []',
        "R9|R10",
    ),
    Bug(
        "being idle is taken into the snapshot",
        "snapshot.py",
        'if fields.get("state") is State.IDLE:',
        "if False:",
        "R9 fold",
    ),
    Bug(
        "a sync adopts one lease twice",
        "decide/sessions.py",
        "        if times > 1:\n",
        "        if times > 2:\n",
        "R10",
    ),
    Bug(
        "the impossible is taken",
        "admission.py",
        "    if options_for(_shape(slot, host_id), books.devices):\n",
        "    if books.devices:\n",
        "R11",
    ),
    *EVICTION_BUGS,
]


def plant(bug: Bug | None, into: Path) -> None:
    """Copy the ledger, with a bug in it."""
    ledger = into / "cf_orch" / "ledger"
    shutil.copytree(LEDGER, ledger, ignore=shutil.ignore_patterns("__pycache__"))
    if bug is not None:
        text = (ledger / bug.file).read_text()
        (ledger / bug.file).write_text(text.replace(bug.old, bug.new))


def live_through(ledger_root: Path, count: int, program: str = "histories") -> subprocess.CompletedProcess[str]:
    """Run histories with the ledger of a folder."""
    command = [sys.executable, str(PROGRAMS[program]), "--histories", str(count), "--seed", "1", "--brief"]
    environment = os.environ | {"PYTHONPATH": str(ledger_root), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_has_its_place(bug: Bug) -> None:
    """What a bug replaces stands in the ledger exactly once."""
    assert (LEDGER / bug.file).read_text().count(bug.old) == 1


@pytest.mark.slow
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_found(bug: Bug, tmp_path: Path) -> None:
    """The histories find it, and name the rule."""
    plant(bug, tmp_path)
    ran = live_through(tmp_path, bug.most_histories, bug.found_by)

    assert ran.returncode == 1, ran.stderr
    assert re.match(bug.breaks, ran.stdout.strip()), ran.stdout


def test_the_unchanged_copy_is_sound(tmp_path: Path) -> None:
    """Without a bug the same histories hold, and they ran with the copy."""
    plant(None, tmp_path)
    ran = live_through(tmp_path, 300)
    (tmp_path / "cf_orch" / "ledger" / "schedule.py").write_text("this is no ledger")
    without = live_through(tmp_path, 1)

    assert ran.returncode == 0, ran.stdout
    assert "SyntaxError" in without.stderr
