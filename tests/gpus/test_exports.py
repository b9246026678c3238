"""The package's surface."""

import subprocess
import sys
import types

import cf_orch.gpus


def test_all_is_sorted_and_is_all_that_is_public() -> None:
    """`__all__` names every public object of the package, in order."""
    public = {
        name
        for name, value in vars(cf_orch.gpus).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }

    assert set(cf_orch.gpus.__all__) == public
    assert cf_orch.gpus.__all__ == sorted(cf_orch.gpus.__all__)


def test_import_loads_nothing_of_the_server() -> None:
    """The package stands alone: neither coordinator nor sidecar nor client comes with it."""
    code = (
        "import sys, cf_orch.gpus\n"
        "print(sorted(name for name in sys.modules if name.startswith('cf_orch.') and 'gpus' not in name))"
    )

    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"
