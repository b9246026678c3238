"""Every estimate beside what llama.cpp's loader said of the same file; measure.py asks it anew."""

import json

import pytest
from tests.sizes.conftest import Made
from tests.sizes.measure import CASES, MEASURED
from tests.sizes.models import MODELS

from cf_orch.gpus.sizes import estimate

_MIB = 2**20
_TABLE = json.loads(MEASURED.read_text())


@pytest.mark.parametrize("name", MODELS)
def test_estimates_are_what_the_loader_says(made: Made, name: str) -> None:
    """Weights and KV within 2 %, the sum within 10 % or 64 MiB, and never far below; the loader gives whole MiB."""
    rows = [row for row in _TABLE["rows"] if row["model"] == name]
    assert len(rows) == len(CASES)
    for row in rows:
        ours = estimate(made(name), context=row["context"], parallel=row["parallel"], kv_type=row["kv_type"])

        total_mib = row["weights_mib"] + row["kv_mib"] + row["compute_mib"]
        off_mib = (ours.total_bytes - ours.context_bytes) / _MIB - total_mib
        assert ours.weights_bytes / _MIB == pytest.approx(row["weights_mib"], rel=0.02, abs=1), row
        assert ours.kv_bytes / _MIB == pytest.approx(row["kv_mib"], rel=0.02, abs=1.5), row
        assert ours.host_bytes / _MIB == pytest.approx(row["host_mib"], rel=0.02, abs=1), row
        assert abs(off_mib) <= max(64, 0.1 * total_mib), row
        assert off_mib > -16, row


@pytest.mark.parametrize("name", MODELS)
def test_what_was_compared_is_certain(made: Made, name: str) -> None:
    """An architecture in the table has high confidence, which says why."""
    ours = estimate(made(name), context=4096)

    assert (ours.confidence, ours.architecture in ours.confidence_reason) == ("high", True)
