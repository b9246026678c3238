"""Who may import whom: the layers that keep a client light and the ledger pure."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOTS = [Path(__file__).parent.parent / root for root in ("client", "coordinator", "sidecar")]

ALLOWED = {
    "protocol": set[str](),
    "ledger": set[str](),
    "gpus": {"protocol", "ledger"},
    "client": {"protocol", "ledger", "gpus"},
    "models": {"protocol", "ledger", "gpus", "client"},
    "pool": {"protocol", "ledger", "gpus", "client"},
    "doors": {"protocol", "ledger", "gpus"},
    "sidecar": {"protocol", "ledger", "gpus", "client", "models", "pool", "doors"},
    "coordinator": {"protocol", "ledger", "gpus", "client", "doors", "sidecar"},
}
IMPURE = {
    "aiohttp", "asyncio", "datetime", "httpx", "logging", "os", "pathlib", "pynvml", "random", "secrets", "socket",
    "sqlite3", "structlog", "subprocess", "threading", "time", "uuid",
}  # fmt: skip


def modules() -> list[tuple[str, Path]]:
    found = [(path.relative_to(root / "cf_orch").parts[0], path) for root in ROOTS for path in root.rglob("*.py")]
    return sorted(found)


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize(("layer", "path"), modules(), ids=lambda value: str(value).rpartition("cf_orch/")[2])
def test_imports_stay_in_their_layer(layer: str, path: Path) -> None:
    """A module imports only from its own layer and those below it."""
    ours = {name.split(".")[1] for name in imports(path) if name.startswith("cf_orch.")}

    assert ours <= ALLOWED[layer] | {layer}


@pytest.mark.parametrize("path", [path for layer, path in modules() if layer == "ledger"], ids=lambda path: path.name)
def test_the_ledger_is_pure(path: Path) -> None:
    """No clock, no randomness, no I/O in the core."""
    assert not {name.split(".")[0] for name in imports(path)} & IMPURE


def test_no_root_hides_the_others() -> None:
    """cf_orch is a namespace: an __init__.py in any root would hide the other two."""
    assert not [root for root in ROOTS if (root / "cf_orch/__init__.py").exists()]


def test_the_client_loads_nothing_of_the_server() -> None:
    """A product that imports the client pays for neither server, database, driver nor tables."""
    code = "import sys, cf_orch.client; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    )

    assert "cf_orch.client" in loaded
    assert not loaded & {"aiohttp.web", "cf_orch.coordinator", "cf_orch.ledger", "pynvml", "rich", "sqlite3"}
