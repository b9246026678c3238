"""Models of many architectures in their published sizes, as GGUF headers without weights.

Sizes are those of each model's config.json on huggingface.co (the repository is named beside it); which tensors an
architecture has is what llama.cpp's loader asks for (src/models/*.cpp).
"""

from collections.abc import Callable

from tests.sizes import attention_models, expert_models, recurrent_models
from tests.sizes.model_builder import Model

__all__ = ["MODELS"]

MODELS: dict[str, Callable[[], Model]] = {
    name: getattr(group, name)
    for group in (attention_models, expert_models, recurrent_models)
    for name in group.__all__
}
