"""What the package shows, and what it costs to import."""

import ast
import subprocess
import sys
from pathlib import Path

import cf_orch.client

HEAVY = (
    "aiohttp",
    "sqlite3",
    "rich",
    "pynvml",
    "structlog",
    "cf_orch.coordinator",
    "cf_orch.ledger",
    "cf_orch.sidecar",
)


def test_exports() -> None:
    """All that is exported is there, and listed in order."""
    assert cf_orch.client.__all__ == sorted(cf_orch.client.__all__)
    assert all(hasattr(cf_orch.client, name) for name in cf_orch.client.__all__)


def test_import_loads_nothing_heavy() -> None:
    """Importing the client loads neither the server's parts nor what only a connection needs."""
    code = f"import sys, cf_orch.client; print([name for name in {HEAVY!r} if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert shown.strip() == "[]"


def test_layers() -> None:
    """No module of the client imports the coordinator, its ledger or the sidecar."""
    for file in Path(cf_orch.client.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom):
                parts = (node.module or "").split(".")
                assert parts[:1] != ["cf_orch"] or parts[1] in ("client", "gpus", "protocol"), file.name
