"""Models' files for the tests: headers of true size over holes."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.sizes.gguf_writer import write
from tests.sizes.models import MODELS

Made = Callable[[str], Path]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """Make the file of a model by its name in models.py; once, however many tests ask.

    The files are removed at once: they take no room, but whoever lists them sees hundreds of gigabytes.
    """
    folder = tmp_path_factory.mktemp("models")

    def making(name: str) -> Path:
        path = folder / f"{name}.gguf"
        if not path.exists():
            model = MODELS[name]()
            write(path, model.metadata, model.tensors)
        return path

    yield making
    shutil.rmtree(folder)
