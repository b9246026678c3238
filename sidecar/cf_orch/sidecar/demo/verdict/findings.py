"""All claims of the demo."""

from cf_orch.sidecar.demo.record import Record
from cf_orch.sidecar.demo.verdict import budget, falling_back, whole, yielding
from cf_orch.sidecar.demo.verdict.finding import Finding

__all__ = ["find"]


def find(record: Record) -> list[Finding]:
    """Judge each claim; the run is good if all of them hold."""
    return [
        whole.nothing_lost(record),
        whole.nothing_cut(record),
        whole.speech_understood(record),
        yielding.text_ended_first(record),
        yielding.speech_came_first(record),
        yielding.came_back(record),
        yielding.memory_fell(record),
        falling_back.entered_at_once(record),
        falling_back.went_on(record),
        falling_back.one_at_a_time(record),
        falling_back.adopted(record),
        falling_back.in_order(record),
        budget.of_ledger(record),
        budget.of_driver(record),
        budget.of_models(record),
        budget.each_was_measured(record),
    ]
