"""The transcriber: hears recordings, by faster-whisper with a real model.

The recordings say (espeak-ng 1.51, then sox and an Opus encoder; 3.5 to 5 s, 16 kHz, one channel, 16 kbit/s):

    1  Two programs share one graphics card, and each of them waits for its turn.
    2  One process gives the memory back, and then the other one begins.
    3  The coordinator has gone away, but the work goes on.
    4  The coordinator has come back, and nothing was lost.

    espeak-ng -v en-gb -s 155 -w raw.wav "..." && sox raw.wav -r 16000 -c 1 -b 16 clean.wav
    opusenc --bitrate 16 clean.wav speech-1.ogg
"""

from pathlib import Path

from cf_orch.sidecar.demo.engine import Engine
from cf_orch.sidecar.demo.product import Product, Result, serve_tasks

__all__ = ["SERVICE", "VRAM_GB"]

SERVICE = "transcriber"
VRAM_GB = 0.3


def _transcribe(engine: Engine, _loaded: str, number: int) -> Result:
    return Result(engine.ask(str(Path(__file__).with_name(f"speech-{number}.ogg"))))


if __name__ == "__main__":
    serve_tasks(Product(SERVICE, "asr", VRAM_GB, "cf_orch.sidecar.demo.whisper_engine", _transcribe))
