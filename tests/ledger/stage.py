"""The stage of a transcript: one ledger and its cast, and what each of the language's commands says to the ledger.

The language is described in :mod:`tests.ledger.transcript`; a command's method has its name, after an underscore.
"""

from collections.abc import Iterator
from typing import Any, get_type_hints

import msgspec
from tests.ledger.harness import Harness, Step
from tests.ledger.naive import Key
from tests.ledger.telling import tell, tell_devices, tell_queue, tell_reason
from tests.ledger.words import Fields, Words, in_bytes, number, size, split

from cf_orch.ledger import PRIORITIES, Process, Quota, Settings
from cf_orch.ledger import commands as c
from cf_orch.ledger import events as e

__all__ = ["Stage"]

SETTINGS = get_type_hints(Settings)
Told = Iterator[str]


class Stage:
    """One ledger and its cast: sessions, leases and devices by their names."""

    def __init__(self) -> None:
        self.now = 0.0
        self.policy: dict[str, Any] = {}
        self.cards: dict[str, c.DeviceReport] = {}
        self.hosts: dict[str, str] = {}
        self.pids: dict[str, int] = {}
        self.keys: dict[str, Key] = {}
        self.ids: dict[Key, str] = {}
        self._harness: Harness | None = None

    @property
    def harness(self) -> Harness:
        """The ledger under way; it begins with the first command that is not a setting."""
        if self._harness is None:
            self._harness = Harness(Settings(**self.policy))
            self._harness.do(Step(at=self.now, command=c.Found(ledger_id="x")))
        return self._harness

    def take(self, verb: str, *words: str) -> Told:
        """Take one command; gives what to write under it."""
        told: Told = getattr(self, f"_{verb}")(*split(words))
        return told

    def _do(self, command: c.Command, *, reborn: str = "", when: str = "") -> Told:
        harness = self.harness
        events = harness.do(Step(at=self.now, command=command, reborn=reborn))
        if events is None and harness.refusal:
            yield f"{when}refused ({harness.refusal.code}): {self._named(str(harness.refusal))}"
        for event in events or ():
            if isinstance(event, e.Requested | e.Adopted):
                self.ids[event.caller, event.request_id] = event.lease_id
            yield from (when + told for told in tell(harness.ledger, event))

    def _named(self, text: str) -> str:
        """Put the requests' names where a message has the ids of their leases."""
        for name in sorted(self.keys, key=lambda name: -len(self._id(name))):
            text = text.replace(self._id(name), name)
        return text

    def _id(self, name: str) -> str:
        return self.ids.get(self.keys.get(name, ("", name)), name)

    # --- settings, cards and what is seen of them

    def _settings(self, words: Words, fields: Fields) -> Told:
        if words[0] == "quota":
            highest = None if "priority" not in fields else PRIORITIES[fields["priority"]]
            quota = Quota(max_vram_bytes=in_bytes(words[2]), max_priority=highest)
            self.policy["quotas"] = self.policy.get("quotas", {}) | {words[1]: quota}
        else:
            name, value = words
            self.policy[name] = msgspec.convert(PRIORITIES.get(value, value), SETTINGS[name], strict=False)
        return iter(())

    def _device(self, words: Words, fields: Fields) -> Told:
        uuid, total, driver = words[0], in_bytes(words[1]), "declared" not in words
        self.cards[uuid] = c.DeviceReport(
            uuid=uuid,
            name=fields.get("model", uuid).replace("_", " "),
            index=int(fields.get("index", len(self.cards))),
            total_bytes=total,
            reserve_bytes=in_bytes(fields.get("reserve", "0")),
            has_driver=driver,
            capabilities=tuple(fields["has"].split(",")) if "has" in fields else (),
            used_bytes=0 if driver else None,
            free_bytes=total if driver else None,
        )
        self.hosts[uuid] = fields.get("host", "here")
        return self._report(self.cards[uuid])

    def _report(self, seen: c.DeviceReport) -> Told:
        host = self.hosts[seen.uuid]
        return self._do(c.ReportDevices(host_id=host, host_name=host, devices=(seen,)))

    def _look(self, words: Words, fields: Fields) -> Told:
        card = self.cards[words[0]]
        by = [pair.split("=") for pair in fields.get("by", "").split(",") if pair]
        used = in_bytes(fields["used"]) if "used" in fields else sum(in_bytes(gb) for _, gb in by)
        seen = msgspec.structs.replace(
            card,
            used_bytes=used,
            free_bytes=in_bytes(fields["free"]) if "free" in fields else card.total_bytes - used,
            processes=tuple(Process(pid=self.pids.get(who, 9000), name=who, used_bytes=in_bytes(gb)) for who, gb in by),
            age_s=number(fields, "age") or 0.0,
            error="the driver does not answer" if "fails" in words else None,
        )
        return self._report(seen)

    def _drain(self, words: Words, fields: Fields) -> Told:
        return self._do(c.Drain(uuid=words[0], for_s=number(fields, "for"), evict="evict" in words))

    def _undrain(self, words: Words, _: Fields) -> Told:
        return self._do(c.Undrain(uuid=words[0]))

    # --- sessions

    def _session(self, words: Words, fields: Fields) -> Told:
        name = words[0]
        pid = self.pids.setdefault(name, 100 + len(self.pids))
        return self._do(
            c.OpenSession(
                session_id=name, service=name, host_id=fields.get("host"), pid=pid, ttl_s=number(fields, "ttl")
            )
        )

    def _close(self, words: Words, _: Fields) -> Told:
        return self._do(c.CloseSession(session_id=words[0], lost="lost" in words))

    def _sync(self, words: Words, _: Fields) -> Told:
        session, *named = words
        return self._do(c.Sync(session_id=session, holdings=tuple(self._holding(session, one) for one in named)))

    def _holding(self, session: str, word: str) -> c.Holding:
        name, _, what = word.partition("=")
        gb, _, uuid = what.partition("@")
        self.keys[name] = (session, name)
        known = self.harness.ledger.find_request(session, name)
        if known is not None and gb.startswith("parked"):
            _, _, kept = gb.partition(":")
            return c.Holding(
                request_id=name,
                held=False,
                parked=True,
                size_bytes=known.slot.size_bytes,
                residue_bytes=in_bytes(kept) if kept else None,
            )
        if what:
            uuids, _, evictable = uuid.partition(",")
            return c.Holding(
                request_id=name,
                devices=tuple(uuids.split("+")),
                size_bytes=in_bytes(gb),
                evictable=evictable == "evictable",
            )
        return c.Holding(request_id=name, held=known is not None and bool(known.devices))

    # --- leases

    def _request(self, words: Words, fields: Fields) -> Told:
        name, who, gb, *evictable = words
        session = who if who in self.harness.ledger.sessions else None
        self.keys[name] = (session or "web", name)
        at = fields.get("at")
        return self._do(
            c.Request(
                caller=session or "web",
                request_id=name,
                service=who,
                size_bytes=None if gb == "auto" else in_bytes(gb),
                session_id=session,
                ttl_s=number(fields, "ttl"),
                task_type=fields.get("task", ""),
                priority=None if at is None else PRIORITIES[at] if at in PRIORITIES else int(at),
                peak_bytes=size(fields, "peak"),
                residue_bytes=size(fields, "residue"),
                gpus=int(fields.get("gpus", 1)),
                host=fields.get("host"),
                device=tuple(fields["pin"].replace("_", " ").split(",")) if "pin" in fields else (),
                requires=tuple(fields["requires"].split(",")) if "requires" in fields else (),
                evictable=evictable == ["evictable"],
                max_wait_s=number(fields, "max_wait"),
            )
        )

    def _release(self, words: Words, fields: Fields) -> Told:
        return self._do(c.Release(lease_id=self._id(words[0]), by=fields.get("by")))

    def _loaded(self, words: Words, _: Fields) -> Told:
        return self._do(c.MarkLoaded(lease_id=self._id(words[0])))

    def _idle(self, words: Words, _: Fields) -> Told:
        return self._do(c.MarkIdle(lease_id=self._id(words[0])))

    def _busy(self, words: Words, _: Fields) -> Told:
        return self._do(c.MarkBusy(lease_id=self._id(words[0])))

    def _checkpointed(self, words: Words, fields: Fields) -> Told:
        name, *failed = words
        error = " ".join(failed[1:]) if failed else None
        return self._do(c.Checkpointed(lease_id=self._id(name), residue_bytes=size(fields, "residue"), error=error))

    def _evict(self, words: Words, _: Fields) -> Told:
        return self._do(c.Evict(lease_id=self._id(words[0])))

    def _resume(self, words: Words, _: Fields) -> Told:
        return self._do(c.Resume(lease_id=self._id(words[0])))

    def _attach(self, words: Words, _: Fields) -> Told:
        self.pids[words[1]] = 500 + len(self.pids)
        return self._do(c.Attach(lease_id=self._id(words[0]), pid=self.pids[words[1]]))

    def _renew(self, words: Words, _: Fields) -> Told:
        if words[0] in self.keys:
            return self._do(c.RenewLease(lease_id=self._id(words[0])))
        return self._do(c.RenewSession(session_id=words[0]))

    def _cut(self, words: Words, _: Fields) -> Told:
        return self._do(c.CutOff(lease_id=self._id(words[0])))

    def _cancel(self, words: Words, fields: Fields) -> Told:
        return self._do(c.CancelRequest(caller=fields.get("of", "web"), request_id=words[0]))

    # --- time, and looking

    def _wait(self, words: Words, _: Fields) -> Told:
        began, until = self.now, self.now + float(words[0])
        while (due := self.harness.ledger.next_deadline()) is not None and due <= until:
            self.now = max(self.now, due)
            yield from self._do(c.Tick(), when=f"after {self.now - began:.4g} s: ")
        self.now = until

    def _restart(self, _: Words, __: Fields) -> Told:
        return self._do(c.Restart(), reborn="replay")

    def _queue(self, _: Words, __: Fields) -> Told:
        return tell_queue(self.harness.ledger)

    def _why(self, words: Words, _: Fields) -> Told:
        return tell_reason(self.harness.ledger, self._id(words[0]), self.now)

    def _devices(self, _: Words, __: Fields) -> Told:
        return tell_devices(self.harness.ledger)
