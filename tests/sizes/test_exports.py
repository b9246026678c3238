"""The package's surface."""

import types

import cf_orch.gpus.sizes


def test_all_is_all_that_is_public() -> None:
    """`__all__` names every public object of the package."""
    public = {
        name
        for name, value in vars(cf_orch.gpus.sizes).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }

    assert set(cf_orch.gpus.sizes.__all__) == public
