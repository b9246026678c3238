"""GGUF: what is read of a header, what is skipped, and what is refused at which byte."""

import struct
from pathlib import Path

import pytest
from tests.sizes.conftest import Made
from tests.sizes.gguf_writer import BLOCKS, Tensor, Value, header, write
from tests.sizes.models import MODELS

from cf_orch.gpus.sizes import ModelFileError, bits_per_weight, estimate, read_model
from cf_orch.gpus.sizes.gguf import read_gguf

METADATA: dict[str, Value] = {"general.architecture": "llama", "llama.block_count": 2}


def _file(tmp_path: Path, content: bytes, name: str = "model.gguf") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("version", [2, 3])
def test_versions(tmp_path: Path, version: int) -> None:
    """Keys of all types, arrays of numbers, and tensors with their sizes."""
    metadata: dict[str, Value] = {"a.text": "x", "a.int": 7, "a.long": 2**40, "a.float": 0.5, "a.flag": True}
    metadata |= {"a.list": [1, 2, 3], "a.flags": [True, False], "a.empty": []}
    path = _file(tmp_path, header(metadata, [Tensor("w", (256, 4), "Q4_K")], version=version) + bytes(576))

    file = read_gguf(path)

    assert file.version == version
    assert file.metadata == {
        "a.text": "x", "a.int": 7, "a.long": 2**40, "a.float": 0.5, "a.flag": True,
        "a.list": (1, 2, 3), "a.flags": (True, False), "a.empty": (),
    }  # fmt: skip
    assert file.tensors == (("w", (256, 4), "Q4_K", 576),)


def test_the_tokenizer_is_skipped(tmp_path: Path) -> None:
    """Half a million strings longer than one window are walked past, not kept; what comes after is read."""
    words = ["abc", "", "x" * 40] * 170_000
    texts: dict[str, Value] = {"tokenizer.ggml.tokens": words, "tokenizer.ggml.scores": [0.5] * 1000}
    path = _file(tmp_path, header({**texts, "tokenizer.chat_template": "t" * 9999, "llama.block_count": 2}, []))

    assert read_gguf(path).metadata == {"llama.block_count": 2}


@pytest.mark.parametrize("quantisation", BLOCKS)
def test_sizes_of_quantisations(tmp_path: Path, quantisation: str) -> None:
    """Whole blocks of each type, by the writer's own table."""
    tensor = Tensor("w", (512, 3), quantisation)
    write(tmp_path / "model.gguf", METADATA, [tensor])

    (read,) = read_gguf(tmp_path / "model.gguf").tensors

    assert (read.quantisation, read.size_bytes) == (quantisation, tensor.size_bytes)


def _with(tensor: Tensor, *, kind: int | None = None, offset: int = 0) -> bytes:
    """One tensor's entry with whatever shape, type and place."""
    name = tensor.name.encode()
    shape = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
    number = BLOCKS[tensor.quantisation][0] if kind is None else kind
    entry = struct.pack("<Q", len(name)) + name + shape + struct.pack("<IQ", number, offset)
    return b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + entry + bytes(64)


def _with_key(kind: int, value: bytes) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"k" + struct.pack("<I", kind) + value


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "at byte 0: the magic word needs 4 bytes, but the file has 0 left"),
        (b"GGML" + bytes(20), "at byte 0: this is no GGUF file: it begins with b'GGML'"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "at byte 4: GGUF version 1 is no longer read by anything"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "at byte 4: this GGUF file is for big-endian machines"),
        (b"GGUF" + struct.pack("<IQQ", 9, 0, 0), "at byte 4: GGUF version 9 is unknown"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**63, 0), "at byte 8: 9223372036854775808 tensors"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**64 - 1), "and 18446744073709551615 keys are more than any model"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**64 - 1), "at byte 24: a key has 18446744073709551615 bytes"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"\xff" + bytes(9), "at byte 24: a key is no UTF-8"),
        (_with_key(8, struct.pack("<Q", 2**64 - 1)), "at byte 45: k needs 18446744073709551615 bytes"),
        (_with_key(99, b""), "at byte 33: the value of k has the unknown type 99"),
        (_with_key(9, struct.pack("<IQ", 9, 1)), "at byte 37: k has arrays within arrays"),
        (_with_key(9, struct.pack("<IQ", 77, 1)), "at byte 37: k has elements of the unknown type 77"),
        (_with_key(9, struct.pack("<IQ", 4, 2**62)), "k needs 18446744073709551616 bytes, but the file has 0 left"),
        (_with_key(9, struct.pack("<IQ", 8, 2**63)), "k needs 73786976294838206464 bytes, but the file has 0 left"),
        (_with_key(9, struct.pack("<IQQ", 8, 1, 2**63)), "k goes on past the end of the file"),
        (_with(Tensor("w", (), "F32")), "at byte 24: the tensor 'w' has 0 dimensions"),
        (_with(Tensor("w", (1,) * 5, "F32")), "has 5 dimensions: 1 to 4 are possible"),
        (_with(Tensor("w", (2**32, 2**32), "F32")), "which is 18446744073709551616 weights"),
        (_with(Tensor("w", (4, 0), "F32")), "which is 0 weights"),
        (_with(Tensor("w", (100,), "Q4_K")), "rows of 'w' have 100 weights, which are no whole blocks of Q4_K"),
        (_with(Tensor("w", (4,), "F32"), kind=5), "the tensor 'w' has the unknown type 5"),
        (_with(Tensor("w", (4,), "F32"), offset=7), "begins at 7, no multiple of 32"),
        (_with(Tensor("w", (4,), "F32"), offset=2**63), "but the file has"),
        (_with(Tensor("w", (2**40,), "F32")), "but the file has"),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    """What is wrong, at which byte, and what to do."""
    with pytest.raises(ModelFileError) as refused:
        read_gguf(_file(tmp_path, content))

    assert said in str(refused.value)
    assert refused.value.todo in str(refused.value)
    assert str(tmp_path / "model.gguf") in str(refused.value)


def test_twice_the_same(tmp_path: Path) -> None:
    """A key or a tensor that is there twice."""
    keys = header({"a": 1, "b": 1}, []).replace(b"b", b"a")
    tensors = header({}, [Tensor("v", (8,), "F32"), Tensor("w", (8,), "F32")]).replace(b"w", b"v") + bytes(99)

    with pytest.raises(ModelFileError, match="the key 'a' is there twice"):
        read_gguf(_file(tmp_path, keys))
    with pytest.raises(ModelFileError, match="the tensor 'v' is there twice"):
        read_gguf(_file(tmp_path, tensors))


@pytest.mark.parametrize("alignment", [0, 33, 2**21, "32", 0.5])
def test_alignments_that_are_none(tmp_path: Path, alignment: Value) -> None:
    """A power of two up to 1 MiB."""
    with pytest.raises(ModelFileError, match=r"general\.alignment is .*: it must be a power of two"):
        read_gguf(_file(tmp_path, header({"general.alignment": alignment}, [])))


def test_shards(tmp_path: Path, made: Made) -> None:
    """Any of them is the model; one that is missing is named."""
    whole = read_gguf(made("openelm_270m"))
    tensors = [Tensor(*tensor[:3]) for tensor in whole.tensors]
    metadata: dict[str, Value] = {
        key: list(value) if isinstance(value, tuple) else value for key, value in whole.metadata.items()
    }
    paths = [tmp_path / f"elm-{number:05}-of-00003.gguf" for number in (1, 2, 3)]
    for number, path in enumerate(paths):
        mine: dict[str, Value] = {"split.no": number, "split.count": 3}
        write(path, mine | (metadata if number == 0 else {}), tensors[number::3])

    sizes = {estimate(path, context=2048).total_bytes for path in (*paths, tmp_path, made("openelm_270m"))}

    assert len(sizes) == 1
    paths[1].unlink()
    with pytest.raises(ModelFileError, match=r"elm-00002-of-00003\.gguf: is missing: the model has 3 files"):
        read_model(paths[2])
    write(paths[1], {"split.count": 3}, tensors[:1])
    with pytest.raises(ModelFileError, match="is in another file too"):
        read_model(paths[0])
    with pytest.raises(ModelFileError, match="is one of 3 files, but its name does not"):
        read_model(paths[0].rename(tmp_path / "renamed.gguf"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"general.architecture": ""}, "general.architecture is missing"),
        ({"llama.block_count": 0}, "llama.block_count is 0: 1 to 4096 layers are possible"),
        ({"llama.block_count": 2**31}, "1 to 4096 layers are possible"),
        ({"llama.embedding_length": "wide"}, "llama.embedding_length is 'wide', which is no count"),
        ({"llama.attention.head_count_kv": [8, 8]}, "has 2 numbers, none for layer 2"),
        ({"llama.attention.key_length": -1.5}, "is -1.5, which is no count"),
    ],
)
def test_metadata_that_makes_no_model(tmp_path: Path, change: dict[str, Value], said: str) -> None:
    """The key and its value are named."""
    path = tmp_path / "model.gguf"
    write(path, MODELS["llama_1b"]().metadata | change, [])

    with pytest.raises(ModelFileError) as refused:
        read_model(path)

    assert said in str(refused.value)


def test_a_blob_without_a_suffix(tmp_path: Path, made: Made) -> None:
    """As Ollama keeps models: the content says what it is."""
    blob = tmp_path / "sha256-0123"
    blob.symlink_to(made("openelm_270m"))

    assert read_model(blob).weights == read_model(made("openelm_270m")).weights


def test_a_folder_of_several(tmp_path: Path) -> None:
    """Which is meant must be said; a projector beside the model is not meant."""
    for name in ("a.gguf", "b.gguf", "mmproj-a.gguf"):
        _file(tmp_path, b"", name)

    with pytest.raises(ModelFileError, match=r"2 files that could be the model: a\.gguf, b\.gguf; name one"):
        read_model(tmp_path)


@pytest.mark.parametrize("name", ["nothing.gguf", "nothing.safetensors", "no\0name", "x" * 300])
def test_no_such_file(tmp_path: Path, name: str) -> None:
    """It is said, whatever the name."""
    with pytest.raises(ModelFileError):
        read_model(tmp_path / name)


def test_bits_per_weight() -> None:
    """Mixtures by llama.cpp's table, types by their blocks, case does not matter."""
    assert bits_per_weight("q4_k_m") == 4.8944
    assert bits_per_weight("MXFP4") == 4.25
    assert bits_per_weight("bf16") == 16
    with pytest.raises(ValueError, match="'Q9' is no quantisation"):
        bits_per_weight("Q9")
