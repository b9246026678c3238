"""NVIDIA devices, through the real pynvml, on a fake driver library."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.gpus.conftest import GIB, FakeNvml, FakeProc

from cf_orch.gpus import DeviceSample, GpuProcess, NvmlReader, NvmlUnavailable, ProcFs

CARD_0 = f"gpu uuid=GPU-0 total={24 * GIB} cc=8.9 name=NVIDIA GeForce RTX 4090"
CARD_1 = f"gpu uuid=GPU-1 total={16 * GIB} cc=7.5 name=Tesla T4"
MIG_CARD = f"gpu uuid=GPU-2 total={80 * GIB} mig=1 cc=9.0 name=NVIDIA H100 80GB HBM3"
MIG_A = f"migdev gpu=0 uuid=MIG-a gi=1 ci=0 total={10 * GIB} name=NVIDIA H100 80GB HBM3 MIG 1g.10gb"
MIG_B = f"migdev gpu=0 uuid=MIG-b gi=2 ci=0 total={20 * GIB} name=NVIDIA H100 80GB HBM3 MIG 2g.20gb"
NO_FUNCTION, NOT_SUPPORTED = 13, 3


@pytest.fixture
def reader(nvml: FakeNvml, proc: FakeProc) -> Iterator[NvmlReader]:
    """A reader of the fake driver that looks processes up in the made-up /proc."""
    del nvml
    reader = NvmlReader(procfs=ProcFs(proc.root))
    yield reader
    reader.close()


def one(reader: NvmlReader) -> DeviceSample:
    """The sample of the only device."""
    (sample,) = reader.read()
    return sample


def test_sample_of_one_card(nvml: FakeNvml, reader: NvmlReader) -> None:
    """A card reads as its UUID, name, index, memory and what it computes in; used is total less free."""
    nvml.says(f"{CARD_0.replace(' cc', f' reserved={GIB} base={2 * GIB} cc')}")

    assert one(reader) == DeviceSample(
        uuid="GPU-0",
        name="NVIDIA GeForce RTX 4090",
        kind="nvidia",
        index=0,
        total_bytes=24 * GIB,
        used_bytes=3 * GIB,
        free_bytes=21 * GIB,
        capabilities=("bf16", "fp16", "fp8", "int4", "int8"),
        compute_capability=(8, 9),
    )


def test_cards_come_in_the_drivers_order(nvml: FakeNvml, reader: NvmlReader) -> None:
    """Each card is one sample, with the driver's index and its own capabilities."""
    nvml.says(CARD_0, CARD_1)

    samples = reader.read()

    assert [(sample.uuid, sample.index) for sample in samples] == [("GPU-0", 0), ("GPU-1", 1)]
    assert samples[1].capabilities == ("fp16", "int4", "int8")


def test_no_cards_is_an_empty_list(nvml: FakeNvml, reader: NvmlReader) -> None:
    """A driver without any device is no error."""
    nvml.says("driver 570.124.06")

    assert reader.read() == []


def test_foreign_processes_have_names_and_ancestors(nvml: FakeNvml, reader: NvmlReader, proc: FakeProc) -> None:
    """Whoever uses the card is told by pid, start, a readable name and its parents, lease or no lease."""
    proc.add(70, start=500, argv=("/usr/bin/ollama", "serve"))
    proc.add(71, parent=70, start=600, argv=("python", "train.py"))
    nvml.also(f"proc gpu=0 pid=71 used={3 * GIB} sticky=1", f"proc gpu=0 pid=70 used={GIB} sticky=1")

    sample = one(reader)

    assert sample.processes == (
        GpuProcess(70, 500, "ollama", GIB),
        GpuProcess(71, 600, "python train.py", 3 * GIB, ((70, 500),)),
    )
    assert sample.used_bytes == 4 * GIB + GIB // 2


def test_process_unknown_to_proc_is_kept(nvml: FakeNvml, reader: NvmlReader) -> None:
    """A process in another pid namespace still holds its bytes: it keeps its pid, and has no start."""
    nvml.also(f"proc gpu=0 pid=4242 used={GIB} sticky=1")

    assert one(reader).processes == (GpuProcess(4242, None, "pid 4242", GIB),)


def test_bytes_that_the_driver_keeps_to_itself_are_none(nvml: FakeNvml, reader: NvmlReader) -> None:
    """A process without a number (WSL2, some containers) has None, never 0."""
    nvml.also("proc gpu=0 pid=4242 used=na sticky=1")

    assert one(reader).processes == (GpuProcess(4242, None, "pid 4242", None),)


def test_the_three_process_lists_are_one(nvml: FakeNvml, reader: NvmlReader) -> None:
    """Compute, graphics and MPS processes are united by pid; who stands in two lists counts once, by the larger."""
    nvml.also(
        "proc gpu=0 pid=1001 used=5 kind=c sticky=1",
        "proc gpu=0 pid=1002 used=7 kind=g sticky=1",
        "proc gpu=0 pid=1003 used=9 kind=m sticky=1",
        "proc gpu=0 pid=1001 used=6 kind=g sticky=1",
        "proc gpu=0 pid=1002 used=na kind=m sticky=1",
    )

    assert [(process.pid, process.used_bytes) for process in one(reader).processes] == [(1001, 6), (1002, 7), (1003, 9)]


@pytest.mark.parametrize("code", [2, NOT_SUPPORTED, 4, NO_FUNCTION])
def test_list_that_is_not_offered_is_left_out(nvml: FakeNvml, reader: NvmlReader, code: int) -> None:
    """A driver without the MPS list, or one that withholds it, still tells of the others and of the memory."""
    nvml.also(
        f"proc gpu=0 pid=1001 used={GIB} sticky=1",
        f"fail nvmlDeviceGetGraphicsRunningProcesses_v3 {code}",
        f"fail nvmlDeviceGetMPSComputeRunningProcesses_v3 {code}",
    )

    sample = one(reader)

    assert sample.error is None
    assert [process.pid for process in sample.processes] == [1001]


@pytest.mark.parametrize("code", [2, NOT_SUPPORTED, NO_FUNCTION, 25])
def test_old_memory_call_stands_in(nvml: FakeNvml, reader: NvmlReader, code: int) -> None:
    """A driver without the second version of the memory call gives the same free and used by the first."""
    nvml.also(f"proc gpu=0 pid=1001 used={GIB} sticky=1")
    expected = one(reader)

    nvml.also(f"fail nvmlDeviceGetMemoryInfo_v2 {code}")

    assert one(reader) == expected


def test_unified_memory_is_an_error_with_advice(nvml: FakeNvml, reader: NvmlReader) -> None:
    """A device whose memory the driver cannot tell says how to lease it all the same, and has no numbers."""
    nvml.also("fail nvmlDeviceGetMemoryInfo_v2 3", "fail nvmlDeviceGetMemoryInfo 3")

    sample = one(reader)

    assert (sample.uuid, sample.total_bytes, sample.used_bytes, sample.free_bytes) == ("GPU-0", None, None, None)
    assert "--device host,vram_gb=N" in str(sample.error)


def test_total_of_zero_is_no_total(nvml: FakeNvml, reader: NvmlReader) -> None:
    """A driver that says 0 bytes does not know: that is an error, not an empty device."""
    nvml.says("gpu uuid=GPU-9 total=0 cc=12.1 name=NVIDIA GB10")

    sample = one(reader)

    assert sample.total_bytes is None
    assert "does not report" in str(sample.error)


@pytest.mark.parametrize(
    ("function", "code", "advice"),
    [
        ("nvmlDeviceGetMemoryInfo_v2", 15, "fell off the bus"),
        ("nvmlDeviceGetMemoryInfo_v2", 16, "nvidia-smi --gpu-reset"),
        ("nvmlDeviceGetMemoryInfo_v2", 999, "the NVIDIA driver failed (NVML error 999: Unknown Error)"),
        ("nvmlDeviceGetMemoryInfo_v2", 4, "no permission"),
        ("nvmlDeviceGetComputeRunningProcesses_v3", 999, "NVML error 999"),
        ("nvmlDeviceGetHandleByIndex_v2", 15, "fell off the bus"),
        ("nvmlDeviceGetUUID", 999, "NVML error 999"),
        ("nvmlDeviceGetName", 999, "NVML error 999"),
        ("nvmlDeviceGetMigMode", 999, "NVML error 999"),
    ],
)
def test_ill_device_leaves_the_others_alone(
    nvml: FakeNvml, reader: NvmlReader, function: str, code: int, advice: str
) -> None:
    """Whatever call fails for one card, it keeps its UUID and says why; the other is read as ever."""
    nvml.says(CARD_0, CARD_1)
    well = reader.read()[0]

    nvml.says(CARD_0, CARD_1, f"fail {function} {code} gpu=1")
    first, second = reader.read()

    assert first == well
    assert (second.uuid, second.name, second.index) == ("GPU-1", "Tesla T4", 1)
    assert (second.total_bytes, second.used_bytes, second.free_bytes, second.processes) == (None, None, None, ())
    assert advice in str(second.error)


def test_device_that_recovers_is_read_again(nvml: FakeNvml, reader: NvmlReader) -> None:
    """An error lasts as long as its cause."""
    before = one(reader)
    nvml.also("fail nvmlDeviceGetMemoryInfo_v2 999")
    assert one(reader).error

    nvml.says(f"gpu uuid=GPU-0 total={24 * GIB} reserved={GIB // 2} cc=8.9 name=NVIDIA GeForce RTX 4090")

    assert one(reader) == before


def test_card_lost_from_the_start_has_no_uuid(nvml: FakeNvml, reader: NvmlReader) -> None:
    """A card that never said who it is has neither a UUID nor a name of ours."""
    nvml.says(CARD_0, f"{CARD_1} lost=1".replace(" name=Tesla T4", ""))

    assert [(sample.uuid, sample.name) for sample in reader.read()] == [
        ("GPU-0", "NVIDIA GeForce RTX 4090"),
        (None, "GPU 1"),
    ]


def test_capability_that_is_not_told_is_none(nvml: FakeNvml, reader: NvmlReader) -> None:
    """A device of unknown compute capability is offered nothing that needs one."""
    nvml.also("fail nvmlDeviceGetCudaComputeCapability 3")

    sample = one(reader)

    assert (sample.compute_capability, sample.capabilities, sample.error) == (None, (), None)


def test_mig_instances_stand_for_their_card(nvml: FakeNvml, reader: NvmlReader) -> None:
    """A card in MIG mode is not a device; each instance is, with its own UUID, memory and processes."""
    nvml.says(MIG_CARD, MIG_A, MIG_B, f"proc gpu=0 pid=1001 used={GIB} gi=2 ci=0 sticky=1")

    first, second = reader.read()

    assert (first.uuid, first.total_bytes, first.processes) == ("MIG-a", 10 * GIB, ())
    assert (second.uuid, second.total_bytes, second.used_bytes) == ("MIG-b", 20 * GIB, GIB)
    assert [process.pid for process in second.processes] == [1001]
    assert (second.name, second.index) == ("NVIDIA H100 80GB HBM3 MIG 2g.20gb", 0)
    assert second.compute_capability == (9, 0)


def test_mig_card_without_instances_is_no_device(nvml: FakeNvml, reader: NvmlReader) -> None:
    """In MIG mode and not yet partitioned there is nothing to lease."""
    nvml.says(MIG_CARD)

    assert reader.read() == []


def test_lost_mig_card_is_all_its_instances(nvml: FakeNvml, reader: NvmlReader) -> None:
    """When the card is lost each of its instances says so, under its own UUID."""
    nvml.says(MIG_CARD, MIG_A, MIG_B)
    assert [sample.error for sample in reader.read()] == [None, None]

    nvml.says(MIG_CARD.replace(" mig=1", " mig=1 lost=1"), MIG_A, MIG_B)

    samples = reader.read()
    assert [sample.uuid for sample in samples] == ["MIG-a", "MIG-b"]
    assert all("fell off the bus" in str(sample.error) for sample in samples)


def test_ill_mig_instance_leaves_its_sister_alone(nvml: FakeNvml, reader: NvmlReader) -> None:
    """An instance that cannot be read is one device's error, not its card's."""
    nvml.says(MIG_CARD, MIG_A, MIG_B, "fail nvmlDeviceGetMemoryInfo_v2 999 gpu=2")

    first, second = reader.read()

    assert (first.error, first.total_bytes) == (None, 10 * GIB)
    assert (second.uuid, second.total_bytes) == ("MIG-b", None)


def test_mig_lookup_that_fails_is_the_cards_error(nvml: FakeNvml, reader: NvmlReader) -> None:
    """An empty slot is passed over; any other failure to list the instances is told."""
    nvml.says(MIG_CARD, MIG_A, "fail nvmlDeviceGetMigDeviceHandleByIndex 4")

    sample = one(reader)

    assert (sample.uuid, sample.name) == (None, "GPU 0")
    assert "no permission" in str(sample.error)


def test_mig_instance_without_a_name_has_its_cards(nvml: FakeNvml, reader: NvmlReader) -> None:
    """An old driver names no instance: it bears its card's name."""
    nvml.says(MIG_CARD, MIG_A, f"fail nvmlDeviceGetName {NOT_SUPPORTED} gpu=1")

    assert one(reader).name == "NVIDIA H100 80GB HBM3 MIG"


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (4, "no permission"),
        (9, "driver is not loaded"),
        (12, "libnvidia-ml.so.1 is not found"),
        (15, "fell off the bus"),
        (16, "must be reset"),
        (18, "version mismatch): reboot"),
        (999, "NVML error 999"),
    ],
)
@pytest.mark.parametrize("function", ["nvmlInitWithFlags", "nvmlDeviceGetCount_v2"])
def test_driver_that_cannot_be_asked_says_why(
    nvml: FakeNvml, reader: NvmlReader, function: str, code: int, advice: str
) -> None:
    """Each cause has its own message and what to do, whether it shows at the start or later."""
    nvml.also(f"fail {function} {code}")

    with pytest.raises(NvmlUnavailable) as caught:
        reader.read()

    assert caught.value.code == code
    assert advice in str(caught.value)


@pytest.mark.parametrize("code", [1, 9, 12, 18])
def test_driver_that_goes_while_devices_are_read_is_unavailable(nvml: FakeNvml, reader: NvmlReader, code: int) -> None:
    """A device's error that is the driver's is not put down to the device."""
    nvml.also(f"fail nvmlDeviceGetMemoryInfo_v2 {code}")

    with pytest.raises(NvmlUnavailable) as caught:
        reader.read()

    assert caught.value.code == code


def test_driver_that_comes_back_is_found(nvml: FakeNvml, reader: NvmlReader) -> None:
    """A reader outlives its driver: it fails while there is none, and reads on when there is one again."""
    before = reader.read()
    nvml.vanish()
    for _ in range(2):
        with pytest.raises(NvmlUnavailable, match="not loaded"):
            reader.read()

    nvml.says(f"gpu uuid=GPU-0 total={24 * GIB} reserved={GIB // 2} cc=8.9 name=NVIDIA GeForce RTX 4090")

    assert reader.read() == before


def test_reader_can_be_closed_at_any_time(nvml: FakeNvml, reader: NvmlReader) -> None:
    """Closing lets the driver go, twice too; the next read takes it up again."""
    reader.close()
    assert one(reader).uuid == "GPU-0"
    reader.close()
    reader.close()

    nvml.says(CARD_1)

    assert one(reader).uuid == "GPU-1"


def test_real_process_is_attributed(nvml: FakeNvml) -> None:
    """On the real /proc, this very process is named with its start and without its arguments."""
    nvml.also(f"proc gpu=0 pid={os.getpid()} used={GIB}")
    reader = NvmlReader()

    (process,) = one(reader).processes

    reader.close()
    assert (process.pid, process.used_bytes) == (os.getpid(), GIB)
    assert process.pid_start == ProcFs().start_ticks(os.getpid())
    assert process.name.startswith(("python", "pytest"))
    assert all(pid > 1 for pid, _ in process.ancestors)


def test_pynvml_is_an_argument(nvml: FakeNvml) -> None:
    """The library handle comes from outside: another module's answers are what is read."""
    del nvml
    module = SimpleNamespace(NVMLError=RuntimeError, nvmlInit=lambda: None, nvmlDeviceGetCount=lambda: 0)

    assert NvmlReader(module).read() == []


def run_python(code: str, **environment: str) -> str:
    """What a fresh interpreter prints."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=os.environ | environment, check=True, capture_output=True, text=True).stdout


READ = """
from cf_orch.gpus import NvmlReader, NvmlUnavailable
try:
    NvmlReader().read()
except NvmlUnavailable as error:
    print(error.code, error)
"""


def test_missing_library_says_so(tmp_path: Path) -> None:
    """Where the driver's library cannot be loaded, the message names it and says what to install."""
    (tmp_path / "libnvidia-ml.so.1").touch()  # stands before a real one, and is none

    assert run_python(READ, LD_LIBRARY_PATH=str(tmp_path)).startswith(
        "12 the NVIDIA driver library libnvidia-ml.so.1 is not found: install the driver"
    )


def test_missing_module_says_so() -> None:
    """Where nvidia-ml-py is not installed, the message says how to install it."""
    without = "import sys; sys.modules['pynvml'] = None\n"

    assert run_python(without + READ) == "None the Python module pynvml is missing: pip install nvidia-ml-py\n"


def test_import_loads_no_driver_library() -> None:
    """Importing the package does not import pynvml: that waits for the first read."""
    assert run_python("import sys, cf_orch.gpus; print('pynvml' in sys.modules)") == "False\n"
