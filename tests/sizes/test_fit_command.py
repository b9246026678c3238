"""`cf-orch fit`: what it prints, and its exit status."""

import argparse
import json
from pathlib import Path

import pytest
from tests.sizes.conftest import Made

from cf_orch.coordinator.commands import fit
from cf_orch.gpus import get_gpu_profile


def _run(*arguments: str | Path) -> int:
    parser = argparse.ArgumentParser()
    fit.configure(parser)
    return fit.run(parser.parse_args([str(argument) for argument in arguments]))


def test_each_part_is_shown(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    """Four parts and their sum, each with how it came about, and how certain it is."""
    status = _run(made("gpt_oss_20b"), "--context", "32768")

    shown = capsys.readouterr().out.splitlines()
    assert status == 0
    assert [line.split("  ")[0] for line in shown] == ["PART", "weights", "KV cache", "computing", "context", "total"]
    assert "10.69 GB  459 tensors, most bytes in MXFP4; 587 MB of embeddings stay in host memory" in shown[1]
    assert "12 of 24 layers keep 32768 tokens, 12 keep a window of 128; as f16" in shown[2]
    assert "512 MB" in shown[4]
    assert "12.08 GB  confidence high: gpt-oss was compared with llama.cpp's loader" in shown[5]


def test_a_card_that_it_fits(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    """What is left over; 0."""
    assert _run(made("llama_8b"), "--gpu", "rtx4090") == 0

    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"fits {get_gpu_profile('rtx4090').name}, with 23.5 GB to use: 18.32 GB left over"


def test_a_card_that_it_does_not_fit(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    """By how much not and what would; 1."""
    assert _run(made("llama_8b"), "--gpu", "RTX 4060", "--context", "32768") == 1

    last = capsys.readouterr().out.splitlines()[-1]
    card = get_gpu_profile("RTX 4060").name
    assert last.startswith(f"does not fit {card}, with 7.5 GB to use: 1.2 GB too much; it would with ")
    assert "--kv-type q8_0 or --context 22784" in last


def test_for_programs(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    """Bytes, and what was said in words; without a card, fit is null."""
    assert _run(made("llama_8b"), "--json", "--parallel", "2", "--kv-type", "q8_0") == 0
    alone = json.loads(capsys.readouterr().out)
    assert _run(made("llama_8b"), "--json", "--gpu", "RTX 4060", "--context", "65536") == 1
    held = json.loads(capsys.readouterr().out)

    parts = ("weights_bytes", "kv_bytes", "compute_bytes", "context_bytes")
    assert sum(alone[part] for part in parts) == alone["total_bytes"]
    assert (alone["parallel"], alone["kv_type"], alone["kv_bytes"], alone["fit"]) == (2, "q8_0", 2 * 272 * 2**20, None)
    assert held["fit"]["left_bytes"] == held["fit"]["usable_bytes"] - held["total_bytes"] < 0
    assert not held["fit"]["fits"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.gguf"], "cf-orch: missing.gguf: does not exist; name a .gguf or .safetensors file"),
        ([__file__], 'at byte 0: this is no GGUF file: it begins with b\'"""`\'; name a .gguf file'),
        ([__file__, "--gpu", "RTX 4091"], "no GPU profile is named 'RTX 4091': did you mean"),
        ([__file__, "--context", "0"], "a context of 0 tokens is impossible"),
        ([__file__, "--parallel", "-1"], "-1 sequences at once are impossible"),
    ],
)
def test_bad_input(made: Made, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    """One sentence on stderr; 2."""
    if "--context" in arguments or "--parallel" in arguments:
        arguments = [str(made("llama_1b")), *arguments[1:]]

    assert _run(*arguments) == 2

    written = capsys.readouterr()
    assert (written.out, written.err.count("\n")) == ("", 1)
    assert said in written.err
