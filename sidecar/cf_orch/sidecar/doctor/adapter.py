"""Whether a PEFT adapter loads in a given release of peft, and whether it computes the same there.

An older peft refuses a configuration with a key that it does not know (to 0.13.2: TypeError), a newer one drops the key
with a warning, whatever its value.  Both are wrong for one half of the keys: those that are "off" do no harm, and those
that are "on" make another adapter of it.  Here each unknown key is judged by its value.
"""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from cf_orch.sidecar.doctor.adapter_rules import initialization, judge, shown
from cf_orch.sidecar.doctor.finding import Finding, Level
from cf_orch.sidecar.doctor.peft_table import PeftTable

__all__ = ["Examination", "NoAdapter", "examine"]


class NoAdapter(Exception):  # noqa: N818 - it names what the file is not
    """The file says nothing that any peft could load; ``str()`` says what is missing or unknown."""


class Judged(NamedTuple):
    """One key that the target does not take as it is: left out, replaced by a value of the same effect, or kept."""

    key: str
    verdict: Literal["drop", "replace", "keep"]
    found: str
    why: str
    do: str
    needs: str | None


class Examination(NamedTuple):
    """What came of it: each key that the target does not take, and the configuration for it.

    ``reduced`` is None if it would be another adapter; ``needs`` is the release that takes what must stay.
    """

    target: str
    peft_type: str
    needs: str | None
    judged: list[Judged]
    reduced: dict[str, Any] | None
    summary: list[Finding]

    @property
    def dropped(self) -> list[str]:
        """The keys that may be left out."""
        return [item.key for item in self.judged if item.verdict == "drop"]

    @property
    def replaced(self) -> dict[str, Any]:
        """The keys whose value another one may stand for, with that."""
        return {item.key: True for item in self.judged if item.verdict == "replace"}

    def findings(self, *, by_key: bool) -> list[Finding]:
        """What is to be said: of each key, or of those that may go together by reason."""
        level: Level = "error" if any(finding.level == "error" for finding in self.summary) else "warning"
        keeps = [_finding(item, level) for item in self.judged if item.verdict != "drop"]
        drops = [item for item in self.judged if item.verdict == "drop"]
        if by_key:
            return [*(_finding(item, level) for item in drops), *keeps, *self.summary]
        reasons: dict[str, list[str]] = {}
        for item in drops:
            reasons.setdefault(item.why, []).append(_name(item.key))
        told = [
            Finding("adapter.keys", "info", f"can be left out: {', '.join(keys)}", why) for why, keys in reasons.items()
        ]
        return [*told, *keeps, *self.summary]


def examine(config: dict[str, Any], peft: str, table: PeftTable) -> Examination:
    """Compare an adapter's configuration with a release.  Raises NoAdapter and UnknownRelease."""
    target, is_known = table.release(peft)
    peft_type = _peft_type(config, table)
    summary = [] if is_known else [_newer_than_table(peft, table)]
    span = table.spans_of_type(peft_type)
    if table.class_of(peft_type, target) is None and span is not None:
        summary.append(_type_missing(peft_type, target, span, table))
        return Examination(target, peft_type, _first_after(target, span, table), [], None, summary)
    judged = list(_judge_all(config, peft_type, target, table))
    needs = max((item.needs for item in judged if item.needs), key=table.releases.index, default=None)
    summary += _summary(judged, peft_type, target, needs, table)
    examination = Examination(target, peft_type, needs, judged, None, summary)
    if any(item.verdict == "keep" for item in judged):
        return examination
    kept = {key: value for key, value in config.items() if key not in examination.dropped}
    return examination._replace(reduced=kept | examination.replaced)


def _peft_type(config: dict[str, Any], table: PeftTable) -> str:
    if "peft_type" not in config:
        raise NoAdapter("it has no peft_type, so it is no adapter's configuration")
    peft_type = config["peft_type"]
    if not isinstance(peft_type, str) or table.spans_of_type(peft_type) is None:
        raise NoAdapter(
            f"no peft up to {table.newest} knows peft_type {shown(peft_type)}; known: {', '.join(table.types())}"
        )
    return peft_type


def _newer_than_table(peft: str, table: PeftTable) -> Finding:
    return Finding(
        "adapter.table",
        "warning",
        f"peft {peft} is newer than {table.newest}, the last release known here",
        f"it is judged as {table.newest} would be: what came since is not known",
        "update cf-orch",
    )


def _type_missing(peft_type: str, target: str, span: tuple[str, str], table: PeftTable) -> Finding:
    first, last = span
    gone = table.releases.index(target) > table.releases.index(last)
    known = f"peft {last} was the last to know it" if gone else f"peft {first} brought it"
    where = f"use peft {last}" if gone else f"use peft {first} or later"
    found = f"peft {target} has no {peft_type} adapters: {known}"
    return Finding("adapter.type", "error", found, "no part of the adapter can be loaded without its method", where)


def _first_after(target: str, span: tuple[str, str], table: PeftTable) -> str:
    """The release to use instead: the first that knows the type, or the last that did."""
    first, last = span
    return last if table.releases.index(target) > table.releases.index(last) else first


def _judge_all(config: dict[str, Any], peft_type: str, target: str, table: PeftTable) -> Iterator[Judged]:
    known = table.fields(peft_type, target)
    for key in sorted(config):
        if key not in known:
            yield _judge_key(key, config, peft_type, target, table)
    yield from _judge_values(config, peft_type, target, table)


def _judge_key(key: str, config: dict[str, Any], peft_type: str, target: str, table: PeftTable) -> Judged:
    releases = table.key_spans(peft_type, key)
    if not releases:
        return _judge_stranger(key, config[key], peft_type, target, table)
    is_later = table.releases.index(releases[0]) > table.releases.index(target)
    needs = releases[0] if is_later else releases[-1]
    came = f"came with peft {needs}" if is_later else f"was last in peft {needs}"
    found = f"{_name(key)} = {shown(config[key])} {came}"
    verdict = judge(key, config, table.fields(peft_type, releases[0])[key])
    if verdict.may_go:
        return Judged(key, "drop", found, verdict.why, "it can be left out", None)
    advice = f"use peft {needs}{' or later' if is_later else ''}"
    return Judged(key, "keep", found, verdict.why, f"{advice}; {verdict.do}" if verdict.do else advice, needs)


def _judge_stranger(key: str, value: Any, peft_type: str, target: str, table: PeftTable) -> Judged:
    found = f"{_name(key)} = {shown(value)} is in no peft up to {table.newest} for {peft_type}"
    if key == "runtime_config" or value is None or value is False or value in ([], {}):
        return Judged(key, "drop", found, f"{shown(value)} says that nothing is wanted", "it can be left out", None)
    why = "what it does is not known: it is from a newer peft, from a fork of it, or misspelt"
    advice = f"if it means nothing, take it out by hand; peft {target} cannot be told to mind it"
    return Judged(key, "keep", found, why, advice, None)


def _judge_values(config: dict[str, Any], peft_type: str, target: str, table: PeftTable) -> Iterator[Judged]:
    """Values that came later than their keys."""
    place = table.releases.index(target)
    began = initialization(config.get("init_lora_weights")) if peft_type == "LORA" else None
    if began is not None and place < table.releases.index(began[0]):
        since, verdict = began
        found = f"init_lora_weights = {shown(config['init_lora_weights'])} came with peft {since}"
        if verdict.may_go and place >= table.releases.index(_TEXT_IS_JUDGED_SINCE):
            yield Judged("init_lora_weights", "replace", found, verdict.why, "true can stand in its place", None)
        elif not verdict.may_go:
            yield Judged("init_lora_weights", "keep", found, verdict.why, f"use peft {since} or later", since)
    if config.get("target_modules") == _ALL_LINEAR and place < table.releases.index(_ALL_LINEAR_SINCE):
        found = f'target_modules = "{_ALL_LINEAR}" came with peft {_ALL_LINEAR_SINCE}'
        why = f"peft {target} takes it for a pattern, and no module has such a name"
        advice = f"name the modules, or use peft {_ALL_LINEAR_SINCE} or later"
        yield Judged("target_modules", "keep", found, why, advice, _ALL_LINEAR_SINCE)


_TEXT_IS_JUDGED_SINCE = "0.7.0"
"""Before it, any text in init_lora_weights is as good as true."""
_ALL_LINEAR, _ALL_LINEAR_SINCE = "all-linear", "0.8.0"


def _finding(item: Judged, level: Level) -> Finding:
    return Finding(
        f"adapter.key.{item.key}", level if item.verdict == "keep" else "info", item.found, item.why, item.do
    )


def _summary(
    judged: list[Judged], peft_type: str, target: str, needs: str | None, table: PeftTable
) -> Iterator[Finding]:
    treats = table.treats_unknown_keys(target)
    known = table.fields(peft_type, target)
    unknown = [item.key for item in judged if item.key not in known]
    has_strange_value = len(unknown) < len(judged)
    if treats == "drops_by_caller" and unknown:
        yield _by_caller(target)
    if not judged:
        yield Finding(
            "adapter", "ok", f"peft {target} knows every key of this {peft_type} adapter", "it loads as it is"
        )
    elif keeps := [item for item in judged if item.verdict == "keep"]:
        goes_on = treats != "raises" and all(item.key in unknown for item in keeps)
        yield _no_way(keeps, target, needs, goes_on=goes_on)
    elif treats == "raises" or has_strange_value:
        error = f"TypeError \"... got an unexpected keyword argument '{unknown[0]}'\"" if unknown else _UNKNOWN_VALUE
        yield Finding(
            "adapter",
            "warning",
            f"peft {target} does not load this file as it is: {_count(judged)} must go, and nothing is lost by that",
            f"it ends with {error if treats == 'raises' else _UNKNOWN_VALUE}",
            "--write OUT writes the reduced copy; the file itself is never changed",
        )
    else:
        why = "it drops unknown keys with a warning, and here none of them changes what the adapter computes"
        yield Finding("adapter", "ok", f"peft {target} loads it as it is, without {_count(judged)}", why)


_UNKNOWN_VALUE = 'ValueError "Unknown initialization ..."'


def _no_way(keeps: list[Judged], target: str, needs: str | None, *, goes_on: bool) -> Finding:
    keys = ", ".join(_name(item.key) for item in keeps)
    do = f"use peft {needs} or later" if needs else "see each key"
    if goes_on:
        found = f"peft {target} loads it as another adapter: it leaves out {keys}"
        return Finding("adapter", "warning", found, "it warns of keys it drops, but goes on: the output is wrong", do)
    found = f"peft {target} cannot run this adapter: {keys} cannot be left out"
    return Finding("adapter", "error", found, "without that it would compute something else, if it loads at all", do)


def _by_caller(target: str) -> Finding:
    return Finding(
        "adapter.caller",
        "warning",
        f"peft {target} drops too much if it is asked through PeftConfig.from_pretrained",
        "it then keeps only what every method has, and r, lora_alpha and target_modules silently become defaults; "
        "PeftModel.from_pretrained and LoraConfig.from_pretrained are not affected",
        "write the reduced copy with --write OUT, or use peft 0.15.0 or later",
    )


def _count(judged: list[Judged]) -> str:
    """How many keys, or the one."""
    return f"{len(judged)} keys" if len(judged) > 1 else _name(judged[0].key)


def _name(key: str) -> str:
    """A key as it may be shown: a file may name one anything."""
    return key if key.isidentifier() and len(key) < _LONG_KEY else shown(key)


_LONG_KEY = 64
