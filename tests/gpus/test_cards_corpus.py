"""Names as drivers and tools really write them, and the row that each must find.

Found in, all public:
- NVML: NVIDIA/open-gpu-kernel-modules, src/nvidia/generated/g_nv_name_released.h (of driver 595.45.04)
- lspci: pciutils/pciids, pci.ids of 2026-08-22, behind the vendor's name as lspci prints it
- ROCm: libdrm, data/amdgpu.ids, which ROCm and Mesa take their marketing names from; Mesa adds "(RADV NAVI31)"
- Intel: Mesa, include/pci_ids/iris_pci_ids.h
- Jetson: nvidia-smi's, Vulkan's and /proc/device-tree/model's names in reports of users
- Apple: sysctl machdep.cpu.brand_string in reports of users
"""

import pytest

from cf_orch.gpus import UnknownGpuError, get_gpu_profile

# Where the row has the driver's name, only the size is to be told; of the others also the row.
NVML_AS_THE_ROW = [
    ("NVIDIA A10", 24), ("NVIDIA A10G", 24), ("NVIDIA A16", 16), ("NVIDIA A2", 16), ("NVIDIA A30", 24),
    ("NVIDIA A40", 48), ("NVIDIA A800 40GB Active", 40), ("NVIDIA B200", 180), ("NVIDIA GB10", 128),
    ("NVIDIA GB200", 186), ("NVIDIA GB300", 288), ("NVIDIA GH200 144G HBM3e", 144),
    ("NVIDIA GeForce GTX 1060", 6), ("NVIDIA GeForce GTX 1630", 4), ("NVIDIA GeForce GTX 1650", 4),
    ("NVIDIA GeForce GTX 1650 SUPER", 4), ("NVIDIA GeForce GTX 1650 Ti", 4),
    ("NVIDIA GeForce GTX 1650 Ti with Max-Q Design", 4), ("NVIDIA GeForce GTX 1650 with Max-Q Design", 4),
    ("NVIDIA GeForce GTX 1660", 6), ("NVIDIA GeForce GTX 1660 SUPER", 6), ("NVIDIA GeForce GTX 1660 Ti", 6),
    ("NVIDIA GeForce GTX 1660 Ti with Max-Q Design", 6), ("NVIDIA GeForce RTX 2050", 4),
    ("NVIDIA GeForce RTX 2060", 6), ("NVIDIA GeForce RTX 2060 SUPER", 8),
    ("NVIDIA GeForce RTX 2060 with Max-Q Design", 6), ("NVIDIA GeForce RTX 2070", 8),
    ("NVIDIA GeForce RTX 2070 SUPER", 8), ("NVIDIA GeForce RTX 2070 Super with Max-Q Design", 8),
    ("NVIDIA GeForce RTX 2070 with Max-Q Design", 8), ("NVIDIA GeForce RTX 2080", 8),
    ("NVIDIA GeForce RTX 2080 SUPER", 8), ("NVIDIA GeForce RTX 2080 Super with Max-Q Design", 8),
    ("NVIDIA GeForce RTX 2080 Ti", 11), ("NVIDIA GeForce RTX 2080 with Max-Q Design", 8),
    ("NVIDIA GeForce RTX 3050", 8), ("NVIDIA GeForce RTX 3050 Laptop GPU", 4),
    ("NVIDIA GeForce RTX 3050 Ti Laptop GPU", 4), ("NVIDIA GeForce RTX 3060", 12),
    ("NVIDIA GeForce RTX 3060 Laptop GPU", 6), ("NVIDIA GeForce RTX 3060 Ti", 8), ("NVIDIA GeForce RTX 3070", 8),
    ("NVIDIA GeForce RTX 3070 Laptop GPU", 8), ("NVIDIA GeForce RTX 3070 Ti", 8),
    ("NVIDIA GeForce RTX 3070 Ti Laptop GPU", 8), ("NVIDIA GeForce RTX 3080", 10),
    ("NVIDIA GeForce RTX 3080 Laptop GPU", 8), ("NVIDIA GeForce RTX 3080 Ti", 12),
    ("NVIDIA GeForce RTX 3080 Ti Laptop GPU", 16), ("NVIDIA GeForce RTX 3090", 24), ("NVIDIA GeForce RTX 3090 Ti", 24),
    ("NVIDIA GeForce RTX 4050 Laptop GPU", 6), ("NVIDIA GeForce RTX 4060", 8),
    ("NVIDIA GeForce RTX 4060 Laptop GPU", 8), ("NVIDIA GeForce RTX 4060 Ti", 8), ("NVIDIA GeForce RTX 4070", 12),
    ("NVIDIA GeForce RTX 4070 Laptop GPU", 8), ("NVIDIA GeForce RTX 4070 SUPER", 12),
    ("NVIDIA GeForce RTX 4070 Ti", 12), ("NVIDIA GeForce RTX 4070 Ti SUPER", 16), ("NVIDIA GeForce RTX 4080", 16),
    ("NVIDIA GeForce RTX 4080 Laptop GPU", 12), ("NVIDIA GeForce RTX 4080 SUPER", 16), ("NVIDIA GeForce RTX 4090", 24),
    ("NVIDIA GeForce RTX 4090 D", 24), ("NVIDIA GeForce RTX 4090 Laptop GPU", 16), ("NVIDIA GeForce RTX 5050", 8),
    ("NVIDIA GeForce RTX 5050 Laptop GPU", 8), ("NVIDIA GeForce RTX 5060", 8),
    ("NVIDIA GeForce RTX 5060 Laptop GPU", 8), ("NVIDIA GeForce RTX 5060 Ti", 16), ("NVIDIA GeForce RTX 5070", 12),
    ("NVIDIA GeForce RTX 5070 Laptop GPU", 8), ("NVIDIA GeForce RTX 5070 Ti", 16),
    ("NVIDIA GeForce RTX 5070 Ti Laptop GPU", 12), ("NVIDIA GeForce RTX 5080", 16),
    ("NVIDIA GeForce RTX 5080 Laptop GPU", 16), ("NVIDIA GeForce RTX 5090", 32), ("NVIDIA GeForce RTX 5090 D", 32),
    ("NVIDIA GeForce RTX 5090 D v2", 24), ("NVIDIA GeForce RTX 5090 Laptop GPU", 24), ("NVIDIA H100", 80),
    ("NVIDIA H100 NVL", 94), ("NVIDIA H100 PCIe", 80), ("NVIDIA H20", 96), ("NVIDIA H20-3e", 141),
    ("NVIDIA H200", 141), ("NVIDIA H200 NVL", 141), ("NVIDIA H800", 80), ("NVIDIA H800 PCIe", 80), ("NVIDIA L2", 24),
    ("NVIDIA L20", 48), ("NVIDIA L4", 24), ("NVIDIA L40", 48), ("NVIDIA L40S", 48),
    ("NVIDIA RTX 1000 Ada Generation Laptop GPU", 6), ("NVIDIA RTX 2000 Ada Generation", 16),
    ("NVIDIA RTX 2000 Ada Generation Laptop GPU", 8), ("NVIDIA RTX 3000 Ada Generation Laptop GPU", 8),
    ("NVIDIA RTX 3500 Ada Generation Laptop GPU", 12), ("NVIDIA RTX 4000 Ada Generation", 20),
    ("NVIDIA RTX 4000 Ada Generation Laptop GPU", 12), ("NVIDIA RTX 4000 SFF Ada Generation", 20),
    ("NVIDIA RTX 4500 Ada Generation", 24), ("NVIDIA RTX 500 Ada Generation Laptop GPU", 4),
    ("NVIDIA RTX 5000 Ada Generation", 32), ("NVIDIA RTX 5000 Ada Generation Laptop GPU", 16),
    ("NVIDIA RTX 5880 Ada Generation", 48), ("NVIDIA RTX 6000 Ada Generation", 48), ("NVIDIA RTX A1000", 8),
    ("NVIDIA RTX A1000 Laptop GPU", 4), ("NVIDIA RTX A2000", 6), ("NVIDIA RTX A2000 Laptop GPU", 4),
    ("NVIDIA RTX A3000 Laptop GPU", 6), ("NVIDIA RTX A400", 4), ("NVIDIA RTX A4000", 16),
    ("NVIDIA RTX A4000 Laptop GPU", 8), ("NVIDIA RTX A4500", 20), ("NVIDIA RTX A4500 Laptop GPU", 16),
    ("NVIDIA RTX A500 Laptop GPU", 4), ("NVIDIA RTX A5000", 24), ("NVIDIA RTX A5000 Laptop GPU", 16),
    ("NVIDIA RTX A5500", 24), ("NVIDIA RTX A5500 Laptop GPU", 16), ("NVIDIA RTX A6000", 48),
    ("NVIDIA RTX PRO 1000 Blackwell Generation Laptop GPU", 8), ("NVIDIA RTX PRO 2000 Blackwell", 16),
    ("NVIDIA RTX PRO 2000 Blackwell Generation Laptop GPU", 8),
    ("NVIDIA RTX PRO 3000 Blackwell Generation Laptop GPU", 12), ("NVIDIA RTX PRO 4000 Blackwell", 24),
    ("NVIDIA RTX PRO 4000 Blackwell Generation Laptop GPU", 16), ("NVIDIA RTX PRO 4000 Blackwell SFF Edition", 24),
    ("NVIDIA RTX PRO 4500 Blackwell", 32), ("NVIDIA RTX PRO 500 Blackwell Generation Laptop GPU", 6),
    ("NVIDIA RTX PRO 5000 Blackwell", 48), ("NVIDIA RTX PRO 5000 Blackwell Generation Laptop GPU", 24),
    ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", 96),
    ("NVIDIA RTX PRO 6000 Blackwell Server Edition", 96), ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", 96),
    ("NVIDIA T1000", 4), ("NVIDIA T400", 2), ("NVIDIA T600", 4), ("NVIDIA TITAN RTX", 24), ("Quadro RTX 3000", 6),
    ("Quadro RTX 4000", 8), ("Quadro RTX 5000", 16), ("Quadro RTX 6000", 24), ("Quadro RTX 8000", 48),
    ("Tesla T4", 16),
]  # fmt: skip
NVML = [
    ("NVIDIA A100 80GB PCIe", "NVIDIA A100 PCIe", 80),
    ("NVIDIA A100-PCIE-40GB", "NVIDIA A100 PCIe", 40),
    ("NVIDIA A100-SXM4-40GB", "NVIDIA A100 SXM4", 40),
    ("NVIDIA A100-SXM4-80GB", "NVIDIA A100 SXM4", 80),
    ("NVIDIA A800 80GB PCIe", "NVIDIA A800 PCIe", 80),
    ("NVIDIA A800-SXM4-40GB", "NVIDIA A800 SXM4", 40),
    ("NVIDIA A800-SXM4-80GB", "NVIDIA A800 SXM4", 80),
    ("NVIDIA B300 SXM6 AC", "NVIDIA B300", 288),
    ("NVIDIA GH200 120GB", "NVIDIA GH200", 96),
    ("NVIDIA GH200 480GB", "NVIDIA GH200", 96),
    ("NVIDIA GeForce RTX 2070 Super", "NVIDIA GeForce RTX 2070 SUPER", 8),
    ("NVIDIA GeForce RTX 2080 Super", "NVIDIA GeForce RTX 2080 SUPER", 8),
    ("NVIDIA GeForce RTX 3050 4GB Laptop GPU", "NVIDIA GeForce RTX 3050 Laptop GPU", 4),
    ("NVIDIA GeForce RTX 3050 6GB Laptop GPU", "NVIDIA GeForce RTX 3050 Laptop GPU", 6),
    ("NVIDIA GeForce RTX 3050Ti Laptop GPU", "NVIDIA GeForce RTX 3050 Ti Laptop GPU", 4),
    ("NVIDIA H100 80GB HBM3", "NVIDIA H100 SXM5", 80),
    ("NVIDIA RTX A1000 6GB Laptop GPU", "NVIDIA RTX A1000 Laptop GPU", 6),
    ("NVIDIA RTX A2000 12GB", "NVIDIA RTX A2000", 12),
    ("NVIDIA RTX A2000 8GB Laptop GPU", "NVIDIA RTX A2000 Laptop GPU", 8),
    ("NVIDIA RTX A3000 12GB Laptop GPU", "NVIDIA RTX A3000 Laptop GPU", 12),
    ("NVIDIA RTX PRO 5000 72GB Blackwell", "NVIDIA RTX PRO 5000 Blackwell", 72),
    ("NVIDIA T1000 8GB", "NVIDIA T1000", 8),
    ("NVIDIA T400 4GB", "NVIDIA T400", 4),
]
JETSON = [
    ("Orin (nvgpu)", "Orin", 8),
    ("NVIDIA Tegra Orin (nvgpu)", "Orin", 8),
    ("NVIDIA Orin Nano Developer Kit", "NVIDIA Jetson Orin Nano", 8),
    ("NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super", "NVIDIA Jetson Orin Nano", 8),
    ("NVIDIA Orin NX Developer Kit", "NVIDIA Jetson Orin NX", 16),
    ("NVIDIA Jetson AGX Orin Developer Kit", "NVIDIA Jetson AGX Orin", 64),
    ("NVIDIA Thor", "NVIDIA Thor", 128),
]
_NVIDIA = "01:00.0 VGA compatible controller: NVIDIA Corporation "
_AMD = "03:00.0 VGA compatible controller: Advanced Micro Devices, Inc. [AMD/ATI] "
_INTEL = "03:00.0 VGA compatible controller: Intel Corporation "
LSPCI = [
    (_NVIDIA + "GM200GL [Quadro M6000 24GB] (rev a1)", "Quadro M6000", 24),
    (_NVIDIA + "GM200 [GeForce GTX TITAN X] (rev a1)", "NVIDIA GeForce GTX TITAN X", 12),
    (_NVIDIA + "GP102 [TITAN X Pascal] (rev a1)", "NVIDIA TITAN X (Pascal)", 12),
    (_NVIDIA + "GP106 [GeForce GTX 1060 6GB Rev. 2] (rev a1)", "NVIDIA GeForce GTX 1060", 6),
    (_NVIDIA + "GV100GL [Tesla V100S PCIe 32GB] (rev a1)", "Tesla V100S PCIe", 32),
    (_NVIDIA + "TU102 [GeForce RTX 2080 Ti Rev. A] (rev a1)", "NVIDIA GeForce RTX 2080 Ti", 11),
    (_NVIDIA + "TU106M [GeForce RTX 2060 Max-Q] (rev a1)", "NVIDIA GeForce RTX 2060 with Max-Q Design", 6),
    (_NVIDIA + "GA102 [GeForce RTX 3080 Lite Hash Rate] (rev a1)", "NVIDIA GeForce RTX 3080", 10),
    (_NVIDIA + "GA104M [GeForce RTX 3070 Mobile / Max-Q] (rev a1)", "NVIDIA GeForce RTX 3070 Laptop GPU", 8),
    (_NVIDIA + "GA104GLM [RTX A5000 Mobile] (rev a1)", "NVIDIA RTX A5000 Laptop GPU", 16),
    (_NVIDIA + "AD102 [GeForce RTX 4090] [10de:2684] (rev a1)", "NVIDIA GeForce RTX 4090", 24),
    (_NVIDIA + "AD106M [GeForce RTX 4070 Max-Q / Mobile] (rev a1)", "NVIDIA GeForce RTX 4070 Laptop GPU", 8),
    (_NVIDIA + "AD103M / GN21-X11 [GeForce RTX 4090 Laptop GPU]", "NVIDIA GeForce RTX 4090 Laptop GPU", 16),
    (_NVIDIA + "GH100 [H200 SXM 141GB] (rev a1)", "NVIDIA H200", 141),
    (_NVIDIA + "GB203M / GN22-X9 [GeForce RTX 5080 Max-Q / Mobile]", "NVIDIA GeForce RTX 5080 Laptop GPU", 16),
    (_NVIDIA + "GB10B [Jetson AGX Thor]", "NVIDIA Jetson AGX Thor", 128),
    (_AMD + "Navi 21 [Radeon RX 6900 XT] (rev c0)", "AMD Radeon RX 6900 XT", 16),
    (_AMD + "Navi 21 GL-XL [Radeon PRO W6800]", "AMD Radeon Pro W6800", 32),
    (_AMD + "Navi 31 [Radeon Pro W7800 48GB]", "AMD Radeon Pro W7800", 48),
    (_AMD + "Navi 32 GL-XL [AMD Radeon PRO V710]", "AMD Radeon Pro V710", 28),
    (_AMD + "Aldebaran/MI200 [Instinct MI250X/MI250]", "AMD Instinct MI250X / MI250", 64),
    (_AMD + "Aqua Vanjaram [Instinct MI300X VF]", "AMD Instinct MI300X", 192),
    (_INTEL + "DG2 [Arc A770] (rev 08)", "Intel Arc A770", 16),
    (_INTEL + "Battlemage G21 [Arc B580]", "Intel Arc B580", 12),
    (_INTEL + "Battlemage G31 [Arc Pro B70]", "Intel Arc Pro B70", 32),
]
ROCM = [
    ("AMD Instinct MI100", "AMD Instinct MI100", 32),
    ("AMD Instinct MI210", "AMD Instinct MI210", 64),
    ("AMD Instinct MI250X / MI250", "AMD Instinct MI250X / MI250", 64),
    ("AMD Instinct MI300A", "AMD Instinct MI300A", 128),
    ("AMD Instinct MI300X", "AMD Instinct MI300X", 192),
    ("AMD Instinct MI355X VF", "AMD Instinct MI355X", 288),
    ("AMD Radeon RX 6500 XT", "AMD Radeon RX 6500 XT", 4),
    ("AMD Radeon RX 6700", "AMD Radeon RX 6700", 10),
    ("AMD Radeon RX 6800M", "AMD Radeon RX 6800M", 12),
    ("AMD Radeon RX 7600M XT", "AMD Radeon RX 7600M XT", 8),
    ("AMD Radeon RX 7900 XTX", "AMD Radeon RX 7900 XTX", 24),
    ("AMD Radeon RX 7900 XTX (RADV NAVI31)", "AMD Radeon RX 7900 XTX", 24),
    ("AMD Radeon RX 7900 XT", "AMD Radeon RX 7900 XT", 20),
    ("AMD Radeon RX 7900 GRE", "AMD Radeon RX 7900 GRE", 16),
    ("AMD Radeon RX 7900M", "AMD Radeon RX 7900M", 16),
    ("AMD Radeon RX 9070", "AMD Radeon RX 9070", 16),
    ("AMD Radeon RX 9060 XT", "AMD Radeon RX 9060 XT", 16),
    ("AMD Radeon AI PRO R9700", "AMD Radeon AI PRO R9700", 32),
    ("AMD Radeon Pro W7800 48GB", "AMD Radeon Pro W7800", 48),
    ("AMD Radeon Pro W7900 Dual Slot", "AMD Radeon Pro W7900 Dual Slot", 48),
    ("AMD Radeon 8060S Graphics", "AMD Radeon 8060S", 128),
]
INTEL = [
    ("Intel(R) Arc(tm) A770 Graphics", "Intel Arc A770", 16),
    ("Intel(R) Arc(tm) A770 Graphics (DG2)", "Intel Arc A770", 16),
    ("Intel(R) Arc(TM) A770M Graphics", "Intel Arc A770M", 16),
    ("Intel(R) Arc(tm) A380 Graphics", "Intel Arc A380", 6),
    ("Intel(R) Arc(tm) Pro A40/A50 Graphics", "Intel Arc Pro A40/A50", 6),
    ("Intel(R) Arc(tm) Pro A60 Graphics", "Intel Arc Pro A60", 12),
]
APPLE = [
    ("Apple M1", "Apple M1", 8),
    ("Apple M1 Pro", "Apple M1 Pro", 16),
    ("Apple M3", "Apple M3", 8),
    ("Apple M4", "Apple M4", 16),
    ("Apple M5 Max", "Apple M5 Max", 36),
]
NO_ROW = [
    # NVML: vGPUs, mining and embedded parts, and cards that are not in the table
    "GRID A100-10C", "GRID A100DX-7-80C", "GRID T4-16Q", "GRID RTX T10-8", "NVIDIA A10-24Q", "NVIDIA A10-24",
    "NVIDIA L4-4A", "NVIDIA L40S-48C", "NVIDIA RTXA6000-48Q", "NVIDIA RTX6000-Ada-48Q", "NVIDIA H100XM-80C",
    "NVIDIA GB200-189C", "NVIDIA RTX Pro 6000 Blackwell DC-96Q", "NVIDIA A100-SXM-64GB", "NVIDIA A100-PG509-200",
    "NVIDIA AX800", "NVIDIA A10M", "NVIDIA CMP 90HX", "NVIDIA DGX Display", "NVIDIA DRIVE P2021",
    "NVIDIA GeForce MX450", "NVIDIA GeForce RTX 3050 A Laptop GPU", "NVIDIA GeForce RTX 3050 OEM", "NVIDIA H20 NVL16",
    "NVIDIA PG506-232",
    "NVIDIA RTX 2000 Ada Generation Embedded GPU", "NVIDIA RTX 2000E Ada Generation", "NVIDIA RTX 6000D",
    "NVIDIA RTX A4000H", "NVIDIA RTX A1000 Embedded GPU", "NVIDIA T400E", "NVIDIA T600 Laptop GPU", "NVIDIA T500",
    "Quadro T1000", "Quadro RTX 5000 with Max-Q Design", "Matrox D-Series D2480",
    # lspci: several cards on one PCI id, and cards that are not in the table
    _NVIDIA + "GA104M [GeForce RTX 3080 Mobile / Max-Q 8GB/16GB]",
    _NVIDIA + "GB202GL [RTX PRO 5000 Blackwell / RTX PRO 5000 72GB Blackwell]",
    _NVIDIA + "TU102GL [Quadro RTX 6000/8000]",
    _NVIDIA + "GA107GL [A2 / A16]",
    _NVIDIA + "TU106BM [GeForce RTX 2070 Mobile / Max-Q]",
    _NVIDIA + "GA102 [GeForce RTX 3080 11GB / 12GB Engineering Sample]",
    _NVIDIA + "GA100 [A100 NVSwitch]",
    _NVIDIA + "GM206 [GeForce GTX 960 OEM]",
    _AMD + "Navi 31 [Radeon RX 7900 XT/7900 XTX/7900 GRE/7900M] (rev c8)",
    _AMD + "Navi 33 [Radeon RX 7600M/7600M XT]",
    _AMD + "Navi 48 [Radeon RX 9070/9070 XT/9070 GRE]",
    _AMD + "Navi 21 [Radeon RX 6800/6800 XT / 6900 XT]",
    _AMD + "Strix Halo [Radeon Graphics / Radeon 8050S Graphics / Radeon 8060S Graphics]",
    _INTEL + "DG2 [Arc Xe Graphics]",
    _INTEL + "Meteor Lake-P [Intel Arc Graphics]",
    # amdgpu.ids and Mesa
    "AMD Radeon Graphics", "AMD Radeon 890M Graphics", "AMD Radeon RX 6600 LE", "AMD Radeon RX 9060 XT LP",
    "AMD Radeon RX 6750 GRE 12GB", "AMD Radeon Pro W7900D", "AMD Radeon VII", "AMD Instinct MI60 / MI50",
    "AMD Instinct MI308X", "AMD Radeon RX 5700 XT", "Intel(R) Arc(tm) Graphics", "Intel(R) UHD Graphics 770",
    "Intel(R) Data Center GPU Flex 170",
]  # fmt: skip


@pytest.mark.parametrize(("name", "vram_gb"), NVML_AS_THE_ROW)
def test_nvmls_name_is_the_rows(name: str, vram_gb: float) -> None:
    """The row bears the driver's name."""
    profile = get_gpu_profile(name)

    assert (profile.name, profile.vram_gb) == (name, vram_gb)


@pytest.mark.parametrize(("name", "row", "vram_gb"), [*NVML, *JETSON, *LSPCI, *ROCM, *INTEL, *APPLE])
def test_a_drivers_name_finds_its_row(name: str, row: str, vram_gb: float) -> None:
    """Each tool has its own spelling of the card that it found."""
    profile = get_gpu_profile(name)

    assert (profile.name, profile.vram_gb) == (row, vram_gb)


@pytest.mark.parametrize("name", NO_ROW)
def test_a_drivers_name_without_a_row_finds_none(name: str) -> None:
    """A vGPU, a card that the table lacks, or a line that names several cards."""
    with pytest.raises(UnknownGpuError):
        get_gpu_profile(name)
