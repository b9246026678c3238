"""Make the table of PEFT's configuration fields from the sources of its releases; a command, and what the tests read.

Every release's wheel is downloaded (nothing is installed, and no line of it runs) and its dataclasses are read with
``ast``: which configuration class has which fields with which defaults, and what a release does with a key that it
does not know.  To take in new releases::

    python tests/doctor/peft_fields.py --folder /tmp/peft            # what is in the folder is not downloaded again
    git diff sidecar/cf_orch/sidecar/doctor/peft_releases.json       # then read what came

A key that is new in the difference needs a look at what peft does with it: ``adapter_rules.py`` says which values
change nothing.  A release is never taken out of the table by this command.
"""

import argparse
import ast
import json
import re
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

TABLE = Path(__file__).parents[2] / "sidecar/cf_orch/sidecar/doctor/peft_releases.json"
FIRST = (0, 6, 0)
ROOT_CLASS = "PeftConfigMixin"
"""Every configuration class derives from it; what it derives from itself (transformers) has no fields."""

_FACTORIES: dict[str, Any] = {"dict": {}, "list": [], "set": []}
_RELEASE = re.compile(r"\d+\.\d+\.\d+")


class ConfigClass(NamedTuple):
    """One configuration class of one release: its bases, what ``peft_type`` it sets, its own fields' defaults."""

    bases: tuple[str, ...]
    peft_type: str | None
    fields: dict[str, Any]


class Release(NamedTuple):
    """What one release's sources say."""

    version: str
    unknown_keys: str
    classes: dict[str, ConfigClass]


def read_release(wheel: Path) -> Release:
    """Read a wheel.  Raises ValueError for sources that are written in a way that this command does not know."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        sources = {
            name: archive.read(name).decode()
            for name in sorted(names)
            if name.startswith("peft/") and name.endswith(".py") and not _is_hidden(name, names)
        }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the style of others' sources
        trees = [ast.parse(source) for source in sources.values()]
    enums = {key: value for tree in trees for key, value in _enum_members(tree)}
    nodes: dict[str, ast.ClassDef] = {}
    for tree in trees:
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and node.name.endswith(("Config", ROOT_CLASS)):
                nodes[node.name] = node
    classes = {name: _config_class(node, enums) for name, node in nodes.items() if _is_config(name, nodes)}
    return Release(wheel.name.split("-")[1], _unknown_keys(sources["peft/config.py"]), classes)


def _is_hidden(name: str, names: set[str]) -> bool:
    """Some wheels hold stale modules beside the package of the same name, which Python never imports."""
    return f"{name.removesuffix('.py')}/__init__.py" in names


def _unknown_keys(source: str) -> str:
    """Tell what from_pretrained does with a key that the class lacks; "drops_all" is a fault of some releases."""
    if "_check_and_remove_unused_kwargs(config_cls, kwargs)" in source:
        return "drops"
    if "_check_and_remove_unused_kwargs(cls, kwargs)" in source:
        return "drops_by_caller"
    if "got an unexpected keyword argument" in source:
        raise ValueError("peft/config.py handles unknown keys in a way that is not known yet: read it")
    return "raises"


def _enum_members(tree: ast.Module) -> Iterator[tuple[str, Any]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and any("Enum" in ast.unparse(base) for base in node.bases):
            for item in node.body:
                if isinstance(item, ast.Assign) and isinstance(item.value, ast.Constant):
                    yield f"{node.name}.{ast.unparse(item.targets[0])}", item.value.value


def _is_config(name: str, nodes: dict[str, ast.ClassDef]) -> bool:
    return name == ROOT_CLASS or (
        name in nodes and any(_is_config(ast.unparse(base), nodes) for base in nodes[name].bases)
    )


def _config_class(node: ast.ClassDef, enums: dict[str, Any]) -> ConfigClass:
    fields: dict[str, Any] = {}
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            default = _default(item.value, enums)
            if default is not _NOT_IN_INIT:
                fields[item.target.id] = default
    bases = tuple(ast.unparse(base) for base in node.bases) if node.name != ROOT_CLASS else ()
    return ConfigClass(bases, _peft_type(node), fields)


_NOT_IN_INIT = object()
REQUIRED = {"required": True}


def _default(value: ast.expr | None, enums: dict[str, Any]) -> Any:
    """What a field is when the file lacks it, as JSON; {"factory": NAME} for an object of the release's own class."""
    if value is None:
        return REQUIRED
    if not (isinstance(value, ast.Call) and ast.unparse(value.func).endswith("field")):
        return _literal(value, enums)
    given = {keyword.arg: keyword.value for keyword in value.keywords}
    if "init" in given and ast.literal_eval(given["init"]) is False:
        return _NOT_IN_INIT
    if "default" in given:
        return _literal(given["default"], enums)
    return _made(given["default_factory"], enums) if "default_factory" in given else REQUIRED


def _made(factory: ast.expr, enums: dict[str, Any]) -> Any:
    """What a factory makes."""
    if isinstance(factory, ast.Lambda):
        return _literal(factory.body, enums)
    name = ast.unparse(factory)
    return _FACTORIES.get(name, {"factory": name})


def _literal(value: ast.expr, enums: dict[str, Any]) -> Any:
    if isinstance(value, ast.Attribute):
        return enums[ast.unparse(value)]
    literal = ast.literal_eval(value)
    return list(literal) if isinstance(literal, tuple | set) else literal


def _peft_type(node: ast.ClassDef) -> str | None:
    """The type that __post_init__ sets, by which a file finds its class."""
    for item in ast.walk(node):
        if isinstance(item, ast.Assign) and ast.unparse(item.targets[0]) == "self.peft_type":
            return ast.unparse(item.value).removeprefix("PeftType.")
    return None


def make_table(releases: Iterable[Release]) -> dict[str, Any]:
    """Put releases together: each fact with the first and the last release in which it is so."""
    ordered = sorted(releases, key=lambda release: version_key(release.version))
    versions = [release.version for release in ordered]
    names = sorted({name for release in ordered for name in release.classes})
    return {
        "releases": versions,
        "unknown_keys": _spans([release.unknown_keys for release in ordered], versions),
        "classes": {name: _class_table(name, ordered, versions) for name in names},
    }


def _class_table(name: str, releases: list[Release], versions: list[str]) -> dict[str, Any]:
    found = [release.classes.get(name) for release in releases]
    fields = sorted({field for config in found if config for field in config.fields})
    return {
        "peft_type": _spans([config.peft_type if config else _ABSENT for config in found], versions),
        "bases": _spans([list(config.bases) if config else _ABSENT for config in found], versions),
        "fields": {
            field: _spans([config.fields.get(field, _ABSENT) if config else _ABSENT for config in found], versions)
            for field in fields
        },
    }


_ABSENT = object()


def _spans(values: list[Any], versions: list[str]) -> list[list[Any]]:
    """Join neighbours that say the same, as [first release, last release, value]; what is absent has no span."""
    spans: list[list[Any]] = []
    before: Any = _ABSENT
    for version, value in zip(versions, values, strict=True):
        if value is not _ABSENT:
            if before is not _ABSENT and json.dumps(before) == json.dumps(value):
                spans[-1][1] = version
            else:
                spans.append([version, version, value])
        before = value
    return spans


def version_key(version: str) -> tuple[int, ...]:
    """Order releases as numbers."""
    return tuple(int(part) for part in version.split("."))


def write_table(table: dict[str, Any], path: Path) -> None:
    """Write JSON with a line a field, so that a difference can be read."""
    classes = ",\n".join(_class_lines(name, config) for name, config in table["classes"].items())
    head = "".join(f"{json.dumps(key)}: {json.dumps(table[key])},\n" for key in ("releases", "unknown_keys"))
    path.write_text(f'{{\n{head}"classes": {{\n{classes}\n}}\n}}\n', encoding="utf-8")


def _class_lines(name: str, config: dict[str, Any]) -> str:
    fields = ",\n".join(f"  {json.dumps(field)}: {json.dumps(spans)}" for field, spans in config["fields"].items())
    head = ", ".join(f"{json.dumps(key)}: {json.dumps(config[key])}" for key in ("peft_type", "bases"))
    return f' {json.dumps(name)}: {{{head}, "fields": {{\n{fields}\n }}}}'


def published() -> list[str]:
    """Ask the package index which releases there are."""
    answer = _pip("index", "versions", "peft")
    line = next(line for line in answer.splitlines() if line.startswith("Available versions:"))
    return sorted({v for v in _RELEASE.findall(line) if version_key(v) >= FIRST}, key=version_key)


def download(version: str, folder: Path) -> Path:
    """Get one release's wheel into the folder, if it is not there.  Raises CalledProcessError."""
    if not (found := sorted(folder.glob(f"peft-{version}-*.whl"))):
        _pip("download", "--no-deps", "--only-binary", ":all:", "--dest", str(folder), f"peft=={version}")
        found = sorted(folder.glob(f"peft-{version}-*.whl"))
    return found[0]


def _pip(*arguments: str) -> str:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout


def main() -> None:
    """Download what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--folder", type=Path, required=True, help="where the wheels are kept")
    parser.add_argument("--out", type=Path, default=TABLE, help="where the table goes (the package's own)")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    releases = [read_release(download(version, arguments.folder)) for version in published()]
    write_table(make_table(releases), arguments.out)
    print(f"{len(releases)} releases, {releases[0].version} to {releases[-1].version}: {arguments.out}")  # noqa: T201


if __name__ == "__main__":
    main()
