"""The table of PEFT's configuration fields: how it is made, that it is right, and what real releases make of a file.

Real releases come from the package index; their own configuration code runs, without torch (see ``real_peft.py``).
"""

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import require_part
from tests.doctor import peft_fields
from tests.doctor.adapters import FULL

from cf_orch.sidecar.doctor.adapter import examine
from cf_orch.sidecar.doctor.peft_table import load_table

TABLE = load_table()
REAL = ("0.6.2", "0.13.2", "0.14.0", TABLE.newest)
"""The first and the last that raise, drop by the caller's class, and drop; between them nothing changes."""


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Real releases of peft."""
    folder = tmp_path_factory.mktemp("wheels")
    found = {}
    for version in REAL:
        try:
            found[version] = peft_fields.download(version, folder)
        except (subprocess.SubprocessError, OSError) as error:
            require_part(False, f"the package index, for peft {version}: {error}")
    return found


def load_really(wheel: Path, folder: Path) -> Any:
    """What a release's own code makes of a file."""
    command = [sys.executable, str(Path(__file__).with_name("real_peft.py")), str(wheel), str(folder)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.parametrize("version", REAL)
def test_the_table_is_what_a_release_says_of_itself(wheels: dict[str, Path], version: str) -> None:
    """Every class with every field and default, by ast and by the running code."""
    release = peft_fields.read_release(wheels[version])
    types = {config.peft_type: name for name, config in release.classes.items() if config.peft_type}

    assert release.unknown_keys == TABLE.treats_unknown_keys(version)
    assert {peft_type: TABLE.class_of(peft_type, version) for peft_type in TABLE.types()} == {
        peft_type: types.get(peft_type) for peft_type in TABLE.types()
    }
    for peft_type, name in types.items():
        assert TABLE.fields(peft_type, version) == inherited(release.classes, name), name


def inherited(classes: dict[str, peft_fields.ConfigClass], name: str) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for base in classes[name].bases:
        if base in classes:
            fields |= inherited(classes, base)
    return fields | classes[name].fields


@pytest.mark.parametrize("version", REAL)
def test_a_release_does_with_a_file_what_is_said_of_it(wheels: dict[str, Path], version: str, tmp_path: Path) -> None:
    """The whole file is refused or complained of, as foretold; the reduced one is loaded without a word, the same."""
    (tmp_path / "adapter_config.json").write_text(json.dumps(FULL))
    whole = load_really(wheels[version], tmp_path)
    examination = examine(FULL, version, TABLE)
    assert examination.reduced is not None
    (tmp_path / "adapter_config.json").write_text(json.dumps(examination.reduced))
    reduced = load_really(wheels[version], tmp_path)

    assert set(whole["keys"]) == set(TABLE.fields("LORA", version))
    if TABLE.treats_unknown_keys(version) == "raises":
        assert f"unexpected keyword argument '{examination.dropped[0]}'" in whole["error"]
    elif examination.dropped:
        assert any(str(examination.dropped) in warning for warning in whole["warnings"])
        assert reduced["config"] == whole["config"]
    else:
        assert whole["warnings"] == []
    assert "error" not in reduced
    assert reduced["warnings"] == []
    warned = any(finding.id == "adapter.caller" for finding in examination.summary)
    assert warned == (whole.get("rank_by_base", FULL["r"]) != FULL["r"])
    assert reduced["rank_by_base"] == FULL["r"]
    kept = {key: value for key, value in examination.reduced.items() if key != "target_modules"}
    assert kept.items() <= reduced["config"].items()
    assert sorted(reduced["config"]["target_modules"]) == FULL["target_modules"]


CONFIG = """
from enum import Enum
class Init(str, Enum):
    TEXT = "text"
@dataclass
class PeftConfigMixin(PushToHubMixin):
    peft_type: str = field(default=None)
    peft_version: str = field(default=None, init=False)
@dataclass
class LoraConfig(PeftConfigMixin):
    plain: int = 3
    must: int
    started: Init = field(default=Init.TEXT, metadata={"help": "x"})
    table: dict = field(default_factory=dict)
    runtime: Runtime = field(default_factory=Runtime)
    pair: tuple = field(default_factory=lambda: (1, 2))
    def __post_init__(self):
        self.peft_type = PeftType.LORA
class UnrelatedConfig:
    other: int = 1
"""


def make_wheel(folder: Path, version: str, **sources: str) -> Path:
    wheel = folder / f"peft-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, source in sources.items():
            archive.writestr(f"peft/{name.replace('__', '/')}.py", source)
    return wheel


def test_how_sources_are_read(tmp_path: Path) -> None:
    """Defaults of every kind; what is not in __init__ is no key; a stale module beside its package is not read."""
    stale = "class LoraConfig(PeftConfigMixin):\n    stale: int = 1\n"
    wheel = make_wheel(tmp_path, "0.9.9", config=CONFIG, tuners__lora=stale)
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("peft/tuners/lora/__init__.py", "")

    release = peft_fields.read_release(wheel)

    assert release.version == "0.9.9"
    assert release.unknown_keys == "raises"
    assert set(release.classes) == {"PeftConfigMixin", "LoraConfig"}
    assert release.classes["LoraConfig"] == peft_fields.ConfigClass(
        ("PeftConfigMixin",),
        "LORA",
        {
            "plain": 3,
            "must": {"required": True},
            "started": "text",
            "table": {},
            "runtime": {"factory": "Runtime"},
            "pair": [1, 2],
        },
    )


def test_sources_of_an_unknown_kind_are_refused(tmp_path: Path) -> None:
    """Rather than guessed at."""
    wheel = make_wheel(tmp_path, "9.0.0", config=CONFIG + "\nMESSAGE = 'got an unexpected keyword argument'\n")

    with pytest.raises(ValueError, match="not known yet"):
        peft_fields.read_release(wheel)


def test_the_table_is_made_of_spans(tmp_path: Path) -> None:
    """A field that goes, comes back and changes its default has a span for each."""
    sources = [
        CONFIG,
        CONFIG.replace("plain: int = 3", ""),
        CONFIG,
        CONFIG.replace("= 3", "= 4"),
        CONFIG.replace("= 3", "= 4"),
    ]
    made = peft_fields.make_table(
        peft_fields.read_release(make_wheel(tmp_path, f"0.{9 + number}.0", config=source))
        for number, source in enumerate(sources)
    )
    path = tmp_path / "table.json"
    peft_fields.write_table(made, path)

    assert json.loads(path.read_text()) == made
    assert made["releases"] == ["0.9.0", "0.10.0", "0.11.0", "0.12.0", "0.13.0"]
    assert made["classes"]["LoraConfig"]["fields"]["plain"] == [
        ["0.9.0", "0.9.0", 3],
        ["0.11.0", "0.11.0", 3],
        ["0.12.0", "0.13.0", 4],
    ]


def test_the_table_in_the_package_is_as_the_command_writes_it(tmp_path: Path) -> None:
    """Nobody has edited it by hand."""
    path = tmp_path / "again.json"
    peft_fields.write_table(json.loads(peft_fields.TABLE.read_text()), path)

    assert path.read_text() == peft_fields.TABLE.read_text()
