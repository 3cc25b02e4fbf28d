"""Peak rates: the right card, or none."""

from __future__ import annotations

import pytest

from backprop_tui.core.cards import PEAKS, peak_flops

# As the driver spells them -> TFLOP/s.
NAMES = {
    "NVIDIA GeForce RTX 4090": 165.2,
    "NVIDIA GeForce RTX 4070": 58.3,
    "NVIDIA GeForce RTX 4070 Ti": 80.2,
    "NVIDIA GeForce RTX 4070 Ti SUPER": 88.2,
    "NVIDIA GeForce RTX 3090": 71.2,
    "NVIDIA RTX A6000": 154.8,
    "NVIDIA RTX 6000 Ada Generation": 364.2,
    "Tesla T4": 65.0,
    "NVIDIA A10": 125.0,
    "NVIDIA L4": 121.0,
    "NVIDIA L40S": 362.05,
    "NVIDIA A100-SXM4-80GB": 312.0,
    "NVIDIA A100 80GB PCIe": 312.0,
    "NVIDIA H100 80GB HBM3": 989.4,
    "NVIDIA H100 PCIe": 756.0,
    "NVIDIA H200": 989.4,
}
# CUDA cores and boost clock in MHz, from the product pages.
GEFORCE = {
    "rtx 3060": (3584, 1777),
    "rtx 3060 ti": (4864, 1665),
    "rtx 3070": (5888, 1725),
    "rtx 3070 ti": (6144, 1770),
    "rtx 3080": (8704, 1710),
    "rtx 3080 ti": (10240, 1665),
    "rtx 3090": (10496, 1695),
    "rtx 3090 ti": (10752, 1860),
    "rtx 4060": (3072, 2460),
    "rtx 4060 ti": (4352, 2535),
    "rtx 4070": (5888, 2475),
    "rtx 4070 super": (7168, 2475),
    "rtx 4070 ti": (7680, 2610),
    "rtx 4070 ti super": (8448, 2610),
    "rtx 4080": (9728, 2505),
    "rtx 4080 super": (10240, 2550),
    "rtx 4090": (16384, 2520),
    "rtx 5070": (6144, 2512),
    "rtx 5070 ti": (8960, 2452),
    "rtx 5080": (10752, 2617),
    "rtx 5090": (21760, 2407),
}


@pytest.mark.parametrize(("name", "tflops"), NAMES.items())
def test_a_card_is_known_by_the_driver_s_name(name: str, tflops: float) -> None:
    assert peak_flops(name) == pytest.approx(tflops * 1e12)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "CPU (x86_64)",
        "NVIDIA GeForce RTX 4070 Laptop GPU",
        "NVIDIA GeForce RTX 4090 D",
        "NVIDIA A100-SXM4-40GB MIG 1g.5gb",
        "NVIDIA A10G",
        "NVIDIA GH200 480GB",
        "NVIDIA H100 80GB HBM2e",
        "Quadro RTX 6000",
        "NVIDIA RTX PRO 6000 Blackwell Workstation Edition",
        "NVIDIA GeForce GTX 1080",
        "AMD Instinct MI300X",
    ],
)
def test_another_card_has_no_peak(name: str) -> None:
    assert peak_flops(name) is None


def test_geforce_rates_are_four_operations_a_core_and_clock() -> None:
    names = {name for name in PEAKS if name[:4] == "rtx " and name[4].isdigit()} - {"rtx 6000 ada"}
    assert names == set(GEFORCE)
    for name, (cores, megahertz) in GEFORCE.items():
        assert PEAKS[name][0] == pytest.approx(4 * cores * megahertz / 1e6, rel=0.005), name


def test_every_rate_has_a_source() -> None:
    assert all("NVIDIA" in source for _, source in PEAKS.values())
