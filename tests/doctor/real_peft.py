"""Run the configuration code of a real peft release, and nothing else of it: no torch, no transformers.

    python real_peft.py WHEEL CONFIG_FOLDER

loads ``CONFIG_FOLDER/adapter_config.json`` as that release does and prints as JSON what came of it: ``error`` and
``warnings``, or the configuration; always the keys that its LoraConfig takes, and in ``rank_by_base`` the rank that
PeftConfig, its base, reads from the same file.
"""

import contextlib
import dataclasses
import importlib
import inspect
import json
import sys
import types
import warnings
from enum import Enum
from pathlib import Path
from typing import Any


class _Anything(types.ModuleType):
    """Stands for a library that configuration classes name and never call."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def _stand_in(*names: str) -> None:
    for name in names:
        sys.modules[name] = _Anything(name)


def _package(name: str, folder: str) -> types.ModuleType:
    """A package whose __init__ is not run, so that only what is asked for is loaded."""
    package = types.ModuleType(name)
    package.__path__ = [folder]
    sys.modules[name] = package
    return package


def load_lora_config(wheel: str) -> Any:
    """The real LoraConfig class of a wheel."""
    _stand_in("torch", "torch.nn", "transformers", "transformers.utils", "huggingface_hub", "huggingface_hub.errors")
    sys.modules["huggingface_hub"].hf_hub_download = lambda *_args, **_more: None  # type: ignore[attr-defined]
    sys.modules["huggingface_hub.utils"] = _Anything("huggingface_hub.utils")
    packaging = importlib.import_module("packaging.version")
    assert packaging.Version
    peft = _package("peft", f"{wheel}/peft")
    peft.__version__ = Path(wheel).name.split("-")[1]  # type: ignore[attr-defined]
    utils = _package("peft.utils", f"{wheel}/peft/utils")
    types_of = importlib.import_module("peft.utils.peft_types")
    utils.PeftType, utils.TaskType = types_of.PeftType, types_of.TaskType  # type: ignore[attr-defined]
    utils.CONFIG_NAME = "adapter_config.json"  # type: ignore[attr-defined]
    utils.http_user_agent = lambda: ""  # type: ignore[attr-defined]
    for name in ("peft.tuners", "peft.tuners.lora"):
        _package(name, f"{wheel}/{name.replace('.', '/')}")
    config = importlib.import_module("peft.tuners.lora.config").LoraConfig
    mapping = types.ModuleType("peft.mapping")
    mapping.PEFT_TYPE_TO_CONFIG_MAPPING = {"LORA": config}  # type: ignore[attr-defined]
    sys.modules["peft.mapping"] = mapping
    return config


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    return sorted(value) if isinstance(value, set) else str(value)


def main() -> None:
    """Load one file."""
    wheel, folder = sys.argv[1:]
    sys.path.insert(0, wheel)
    config_class = load_lora_config(wheel)
    result: dict[str, Any] = {"keys": sorted(set(inspect.signature(config_class.__init__).parameters) - {"self"})}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result["config"] = dataclasses.asdict(config_class.from_pretrained(folder))
        except (TypeError, ValueError) as error:
            result["error"] = f"{type(error).__name__}: {error}"
        result["warnings"] = [str(warning.message) for warning in caught]
        base = importlib.import_module("peft.config").PeftConfig
        with contextlib.suppress(TypeError, ValueError):
            result["rank_by_base"] = base.from_pretrained(folder).r
    print(json.dumps(result, default=_plain))  # noqa: T201


if __name__ == "__main__":
    main()
