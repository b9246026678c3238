"""The transcriber: hears a recording in each turn, by faster-whisper with a real model.

The recordings say (espeak-ng 1.51, then sox and ffmpeg; 4 to 5 s, 16 kHz, one channel, Opus at 16 kbit/s):

    1  Two programs share one graphics card, and each of them waits for its turn.
    2  One process gives the memory back, and then the other one begins.

    espeak-ng -v en-gb -s 155 -w raw.wav "..." && sox raw.wav -r 16000 -c 1 -b 16 clean.wav
    ffmpeg -i clean.wav -c:a libopus -b:a 16k speech-1.ogg
"""

from pathlib import Path

from cf_orch.sidecar.demo.product import Engine, Product, Result, serve_turns

__all__ = ["SERVICE", "VRAM_GB"]

SERVICE = "transcriber"
VRAM_GB = 0.3


def _transcribe(engine: Engine, _loaded: str, turn: int) -> Result:
    return Result(engine.ask(str(Path(__file__).with_name(f"speech-{turn}.ogg"))))


if __name__ == "__main__":
    serve_turns(Product(SERVICE, "asr", VRAM_GB, "cf_orch.sidecar.demo.whisper_engine", _transcribe))
