"""The doctor of PEFT adapters: what may go, what may not, what is written, and files that are anything else."""

import json
import math
import os
import resource
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest
from tests.doctor.adapters import FULL, adapter

from cf_orch.sidecar.doctor.adapter import Examination, NoAdapter, examine
from cf_orch.sidecar.doctor.adapter_file import BadAdapterFile, read_adapter, write_adapter
from cf_orch.sidecar.doctor.adapter_rules import judge
from cf_orch.sidecar.doctor.finding import worst
from cf_orch.sidecar.doctor.peft_table import UnknownRelease, load_table

TABLE = load_table()
RUN = """
import sys
from cf_orch.coordinator import cli
cli.COMMANDS.setdefault("doctor", ("cf_orch.sidecar.doctor.command", "say what is wrong with this machine"))
sys.exit(cli.main(["doctor", *sys.argv[1:]]))
"""


def looked_at(peft: str, **changed: Any) -> Examination:
    return examine(adapter(**changed), peft, TABLE)


def level(examination: Examination) -> str:
    return worst(examination.findings(by_key=True))


def test_a_plain_adapter_of_the_newest_peft_works_with_the_oldest() -> None:
    """Everything that came since is off: it may all go, and the rest is as it was."""
    examination = looked_at("0.6.2")

    assert level(examination) == "warning"
    assert examination.reduced == {key: FULL[key] for key in TABLE.fields("LORA", "0.6.2")}
    assert len(examination.dropped) == len(FULL) - 18
    assert "'alora_invocation_tokens'" in examination.summary[-1].why
    assert examination.needs is None


def test_a_release_that_knows_every_key_is_well() -> None:
    """Nothing to do."""
    examination = looked_at(TABLE.newest)

    assert level(examination) == "ok"
    assert examination.reduced == FULL


@pytest.mark.parametrize(
    ("changed", "needs"),
    [
        ({"use_rslora": True}, "0.8.0"),
        ({"use_dora": True}, "0.9.0"),
        ({"layer_replication": [[0, 4], [2, 5]]}, "0.10.0"),
        ({"lora_bias": True}, "0.14.0"),
        ({"exclude_modules": ["lm_head"]}, "0.14.0"),
        ({"trainable_token_indices": [1, 2]}, "0.15.0"),
        ({"use_qalora": True}, "0.16.0"),
        ({"target_parameters": ["mlp.experts"]}, "0.17.0"),
        ({"alora_invocation_tokens": [128000]}, "0.18.0"),
        ({"alora_invocation_tokens": []}, "0.18.0"),
        ({"arrow_config": {"top_k": 3}}, "0.18.0"),
        ({"ensure_weight_tying": True}, "0.18.0"),
        ({"use_bdlora": {}}, "0.19.0"),
        ({"monteclora_config": {}}, "0.20.0"),
        ({"kasa_config": {}}, "0.21.0"),
        ({"megatron_config": {"tensor_model_parallel_size": 2}}, "0.7.0"),
        ({"init_lora_weights": "pissa"}, "0.11.0"),
        ({"init_lora_weights": "pissa_niter_16"}, "0.11.0"),
        ({"init_lora_weights": "olora"}, "0.12.0"),
        ({"init_lora_weights": "corda", "corda_config": {}}, "0.15.0"),
        ({"init_lora_weights": "loftq", "loftq_config": {"loftq_bits": 4}}, "0.7.0"),
        ({"init_lora_weights": "lora_ga", "lora_ga_config": {}}, "0.19.0"),
        ({"init_lora_weights": "mica"}, "0.20.0"),
        ({"target_modules": "all-linear"}, "0.8.0"),
        ({"use_dora": True, "use_rslora": True, "lora_bias": True}, "0.14.0"),
    ],
)
def test_what_matters_cannot_be_left_out(changed: dict[str, Any], needs: str) -> None:
    """Refused for 0.6.2, with the release that it takes; that one takes it."""
    examination = looked_at("0.6.2", **changed)

    assert level(examination) == "error"
    assert examination.reduced is None
    assert examination.needs == needs
    assert f"use peft {needs}" in examination.summary[-1].do
    assert looked_at(needs, **changed).reduced is not None


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"qalora_group_size": 32}, "only with use_qalora"),
        ({"megatron_core": "my.megatron"}, "only with megatron_config"),
        ({"corda_config": {"rank": 8}}, "init_lora_weights"),
        ({"lora_ga_config": {"scale": "stable"}}, "init_lora_weights"),
        ({"loftq_config": {"loftq_bits": 4}}, "init_lora_weights"),
        ({"loftq_config": None}, "null is what a file without"),
        ({"eva_config": {"rho": 2.0}}, "how training began"),
        ({"velora_config": {"num_groups": 32}}, "gradients"),
        ({"exclude_modules": []}, "[] is what a file without"),
        ({"runtime_config": {"ephemeral_gpu_offload": True}}, "never reads it"),
        ({"peft_version": "0.18.2.dev0@abc"}, "note"),
    ],
)
def test_what_does_not_matter_may_go(changed: dict[str, Any], reason: str) -> None:
    """A value that is not the default, and yet without effect; the reason is given."""
    examination = looked_at("0.6.2", **changed)
    key = next(iter(changed))

    assert examination.reduced is not None
    assert key not in examination.reduced
    finding = next(one for one in examination.findings(by_key=True) if one.id == f"adapter.key.{key}")
    assert reason in finding.why


@pytest.mark.parametrize(("target", "replaced"), [("0.6.2", {}), ("0.13.2", {"init_lora_weights": True})])
@pytest.mark.parametrize("began", ["eva", "orthogonal"])
def test_a_beginning_that_is_over_is_replaced(began: str, target: str, replaced: dict[str, bool]) -> None:
    """From 0.7.0 on an unknown text raises; before, it is as good as true."""
    examination = looked_at(target, init_lora_weights=began)

    assert examination.replaced == replaced
    assert examination.reduced is not None
    assert examination.reduced["init_lora_weights"] == (replaced.get("init_lora_weights") or began)


def test_a_value_that_a_dropping_release_does_not_know_still_raises() -> None:
    """0.15.0 drops unknown keys, and raises for an unknown initialization: so it does not load as it is."""
    harmless = looked_at("0.15.0", init_lora_weights="orthogonal")
    harmful = looked_at("0.15.0", init_lora_weights="mica")

    assert level(harmless) == "warning"
    assert "Unknown initialization" in harmless.summary[-1].why
    assert level(harmful) == "error"
    assert harmful.needs == "0.20.0"


def test_a_rank_stabilized_scale_can_be_said_by_hand() -> None:
    """With the exact number, and only where it is exact."""
    offered = looked_at("0.7.0", use_rslora=True, r=8)
    alone = next(item for item in offered.judged if item.key == "use_rslora")
    assert f'"lora_alpha": {16 * math.sqrt(8):.12g}' in alone.do

    patterned = looked_at("0.7.0", use_rslora=True, rank_pattern={"q_proj": 4})
    assert "lora_alpha" not in next(item for item in patterned.judged if item.key == "use_rslora").do


def test_a_newer_peft_drops_silently_and_is_warned_of() -> None:
    """What matters is a warning, what does not is not."""
    silent = looked_at("0.16.0", alora_invocation_tokens=[1])
    harmless = looked_at("0.16.0")

    assert level(silent) == "warning"
    assert silent.reduced is None
    assert "leaves out alora_invocation_tokens" in silent.summary[-1].found
    assert level(harmless) == "info"
    assert harmless.summary[-1].level == "ok"


def test_the_fault_of_one_release_is_told() -> None:
    """0.14.0 judges by the class on which it was asked."""
    assert any(finding.id == "adapter.caller" for finding in looked_at("0.14.0").summary)
    assert not any(finding.id == "adapter.caller" for finding in looked_at("0.15.0").summary)


def test_a_method_that_the_release_lacks() -> None:
    """Not yet, or no longer."""
    early = examine({"peft_type": "MISS", "r": 8}, "0.16.0", TABLE)
    late = examine({"peft_type": "BONE", "r": 8}, "0.19.0", TABLE)

    assert early.reduced is late.reduced is None
    assert (early.needs, late.needs) == ("0.17.0", "0.18.1")
    assert "brought it" in early.summary[0].found
    assert "was the last" in late.summary[0].found


def test_another_method_than_lora() -> None:
    """The same rules: off may go; a default that is no "off" proves nothing."""
    config = {"peft_type": "OFT", "r": 8, "exclude_modules": None, "use_cayley_neumann": False, "module_dropout": 0.0}
    assert examine(config, "0.13.2", TABLE).needs == "0.16.0"

    kept = examine({**config, "use_cayley_neumann": True, "num_cayley_neumann_terms": 5}, "0.13.2", TABLE)
    assert {item.key for item in kept.judged if item.verdict == "keep"} == {
        "use_cayley_neumann",
        "num_cayley_neumann_terms",
    }
    assert examine({"peft_type": "IA3", "exclude_modules": None}, "0.6.0", TABLE).reduced == {"peft_type": "IA3"}


@pytest.mark.parametrize(("value", "may_go"), [(None, True), (False, True), ({}, True), (7, False), ("x", False)])
def test_a_key_that_no_release_knows(value: Any, may_go: bool) -> None:  # noqa: FBT001 - a parameter of the case
    """From a newer peft, a fork, or misspelt: what says that nothing is wanted may go."""
    examination = looked_at("0.6.2", from_the_future=value)

    assert (examination.reduced is not None) == may_go


@pytest.mark.parametrize("value", [0, 0.0, "", [], "null"])
def test_a_value_of_another_kind_than_the_default_proves_nothing(value: Any) -> None:
    """False is off; 0 is not what peft writes."""
    assert not judge("use_dora", {"use_dora": value}, False).may_go


@pytest.mark.parametrize(
    ("key", "began"), [("corda_config", "corda"), ("lora_ga_config", "lora_ga"), ("loftq_config", "loftq")]
)
def test_a_configuration_that_is_used_may_not_go(key: str, began: str) -> None:
    """Only the beginning that selects it makes it matter."""
    default: dict[str, Any] | None = {} if key == "loftq_config" else None

    assert not judge(key, {key: {"rank": 8}, "init_lora_weights": began}, default).may_go
    assert judge(key, {key: {"rank": 8}, "init_lora_weights": True}, default).may_go


def test_every_key_that_lora_got_since_0_6_is_judged() -> None:
    """In each release that lacks it a plain adapter's key may go; none is forgotten by the rules."""
    for release in TABLE.releases:
        examination = looked_at(release)
        assert examination.reduced is not None, [item for item in examination.judged if item.verdict == "keep"]
        assert set(examination.reduced) <= set(TABLE.fields("LORA", release))


@pytest.mark.parametrize(("peft", "release"), [("0.6", "0.6.0"), ("v0.6.2", "0.6.2"), (" 0.21.2 ", "0.21.2")])
def test_how_a_release_is_named(peft: str, release: str) -> None:
    """As people write versions."""
    assert TABLE.release(peft) == (release, True)


@pytest.mark.parametrize("peft", ["", "6", "0.5.0", "0.14.9", "latest", "0.6.2.1", "1.2.x", "0.²"])
def test_a_release_that_does_not_exist(peft: str) -> None:
    """It says which do."""
    with pytest.raises(UnknownRelease, match=r"0\."):
        TABLE.release(peft)


def test_a_release_newer_than_the_table() -> None:
    """It is judged as the newest, and that is told."""
    examination = looked_at("9.0.0")

    assert examination.target == TABLE.newest
    assert level(examination) == "warning"
    assert examination.reduced == FULL


@pytest.mark.parametrize(
    "config",
    [{}, {"r": 8}, {"peft_type": "lora"}, {"peft_type": None}, {"peft_type": ["LORA"]}, {"peft_type": "X" * 999}],
)
def test_a_file_of_no_known_method(config: dict[str, Any]) -> None:
    """It names those that are known, and does not repeat what is long."""
    with pytest.raises(NoAdapter, match="peft_type") as raised:
        examine(config, "0.6.2", TABLE)

    assert len(str(raised.value)) < 900


def write(folder: Path, content: bytes) -> Path:
    file = folder / "adapter_config.json"
    file.write_bytes(content)
    return file


def test_a_folder_or_its_file_is_read(tmp_path: Path) -> None:
    """Either name will do; numbers that JSON does not have are taken, as peft takes them."""
    file = write(tmp_path, b'{"peft_type": "LORA", "r": NaN}')

    assert read_adapter(tmp_path)[0] == read_adapter(file)[0] == file
    assert math.isnan(read_adapter(file)[1]["r"])


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b'{"a": 1,}', "no JSON"),
        (b"\xff\xfe{\x00", "UTF-8"),
        (b"\xef\xbb\xbf{}", "no JSON"),
        (b"[1]", "array"),
        (b'"x"', "string"),
        (b"null", "null"),
        (b"true", "boolean"),
        (b"12", "number"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"r": ' + b"9" * 10_000 + b"}", "no JSON"),
        (b" " * (16 * 2**20 + 1), "16 MB"),
    ],
)
def test_a_file_that_is_no_configuration(tmp_path: Path, content: bytes, word: str) -> None:
    """Each kind is told as what it is."""
    with pytest.raises(BadAdapterFile, match=word):
        read_adapter(write(tmp_path, content))


def test_a_path_that_is_no_file(tmp_path: Path) -> None:
    """Nothing there, a pipe that would block, a device that never ends."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "none", tmp_path, tmp_path / "pipe", Path("/dev/zero"), tmp_path / "nul\0"):
        with pytest.raises(BadAdapterFile):
            read_adapter(path)


def test_nothing_is_ever_overwritten(tmp_path: Path) -> None:
    """Not the file itself, by whichever name, and no other."""
    file = write(tmp_path, b'{"peft_type": "LORA"}')
    (tmp_path / "other.json").write_text("other")
    (tmp_path / "link.json").symlink_to(file)
    (tmp_path / "hard.json").hardlink_to(file)
    (tmp_path / "dangling.json").symlink_to(tmp_path / "not-there.json")
    (tmp_path / "folder").symlink_to(tmp_path)

    for out in ("adapter_config.json", "link.json", "hard.json", "folder", "folder/adapter_config.json", "."):
        with pytest.raises(BadAdapterFile, match="never changed"):
            write_adapter(tmp_path / out, file, {})
    for out in ("other.json", "dangling.json"):
        with pytest.raises(BadAdapterFile, match="nothing is overwritten"):
            write_adapter(tmp_path / out, file, {})
    with pytest.raises(BadAdapterFile, match="cannot be written"):
        write_adapter(tmp_path / "no" / "folder.json", file, {})

    assert file.read_text() == '{"peft_type": "LORA"}'
    assert (tmp_path / "other.json").read_text() == "other"
    assert not (tmp_path / "not-there.json").exists()


def test_half_a_file_is_not_left_behind(tmp_path: Path) -> None:
    """A disk that is full, or as here a limit of the kernel's on what this process may write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
    try:
        with pytest.raises(BadAdapterFile, match="File too large"):
            write_adapter(tmp_path / "out.json", tmp_path / "x", FULL)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert list(tmp_path.iterdir()) == []


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", RUN, *arguments]
    kept = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    return subprocess.run(command, env=kept | environ, capture_output=True, text=True, check=False, timeout=30)


def test_the_command_writes_a_copy_that_the_release_knows(tmp_path: Path) -> None:
    """And the file that was read stays as it was; the copy needs nothing more."""
    content = json.dumps(FULL).encode()
    file = write(tmp_path, content)
    out = tmp_path / "reduced"
    out.mkdir()

    done = run("adapter", str(tmp_path), "--peft", "0.6.2", "--write", str(out))

    assert done.returncode == 0, done.stderr
    assert f"{out}/adapter_config.json is written, without 23 keys" in done.stdout
    assert file.read_bytes() == content
    again = run("adapter", str(out), "--peft", "0.6.2", "--json")
    assert json.loads(again.stdout)["dropped"] == []
    assert run("adapter", str(tmp_path), "--peft", "0.6.2", "--write", str(out)).returncode == 2


@pytest.mark.parametrize("peft", ["0.13.2", "0.16.0"])
def test_the_command_writes_nothing_that_is_another_adapter(tmp_path: Path, peft: str) -> None:
    """Not even for a release that would drop it without a word."""
    write(tmp_path, json.dumps(adapter(alora_invocation_tokens=[1])).encode())
    out = tmp_path / "out.json"

    done = run("adapter", str(tmp_path), "--peft", peft, "--write", str(out))

    assert done.returncode == 1
    assert "nothing was written" in done.stdout
    assert not out.exists()


def test_the_command_for_programs(tmp_path: Path) -> None:
    """What goes, what is needed, and a finding for each key."""
    write(tmp_path, json.dumps(adapter(use_dora=True)).encode())

    done = run("adapter", str(tmp_path), "--peft", "0.8.2", "--json")

    told = json.loads(done.stdout)
    assert run("--json", "adapter", str(tmp_path), "--peft", "0.8.2").stdout == done.stdout
    assert done.returncode == 1
    assert (told["target"], told["peft_type"], told["needs"]) == ("0.8.2", "LORA", "0.9.0")
    assert "use_dora" not in told["dropped"]
    assert {one["level"] for one in told["findings"] if one["id"] == "adapter.key.use_dora"} == {"error"}


@pytest.mark.parametrize(
    ("content", "arguments"),
    [
        (b"{", ("--peft", "0.6.2")),
        (b'{"peft_type": "X"}', ("--peft", "0.6.2")),
        (b'{"peft_type": "LORA"}', ("--peft", "5")),
    ],
)
def test_the_command_refuses_what_it_cannot_judge(tmp_path: Path, content: bytes, arguments: tuple[str, ...]) -> None:
    """One sentence, exit status 2."""
    done = run("adapter", str(write(tmp_path, content)), *arguments)

    assert done.returncode == 2
    assert done.stderr.startswith("cf-orch: ")
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_the_installed_peft_is_meant_where_none_is_named(tmp_path: Path) -> None:
    """By its metadata; without one a release must be named."""
    write(tmp_path, json.dumps(FULL).encode())
    site = tmp_path / "site"
    (site / "peft-0.10.0.dist-info").mkdir(parents=True)
    (site / "peft-0.10.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: peft\nVersion: 0.10.0\n")

    assert json.loads(run("adapter", str(tmp_path), "--json", PYTHONPATH=str(site)).stdout)["target"] == "0.10.0"
    try:
        version("peft")
    except PackageNotFoundError:
        assert "--peft" in run("adapter", str(tmp_path)).stderr


def test_nothing_heavy_is_imported() -> None:
    """The doctor of adapters needs no torch, no peft, no transformers, and no server either."""
    code = (
        "import sys; from cf_orch.sidecar.doctor import adapter, adapter_file, command\n"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()

    assert not {"torch", "peft", "transformers", "aiohttp", "pynvml"} & set(loaded)
