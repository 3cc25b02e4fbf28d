"""Peak rates of known cards, for the share of it that training reaches. Pure.

Dense products of 16-bit matrices (bf16; fp16 on the T4) summed in float32 on the tensor cores,
without sparsity, at the boost clock. Training in float32 has another peak: this one does not
apply to it.
"""

from __future__ import annotations

import re

# GeForce cards: 4 operations a CUDA core and clock, half the rate of the professional cards on
# the same chip. The papers print the figures of the first cards of a series; those of the others
# follow from the cores and the boost clock of the card's product page.
AMPERE = "NVIDIA Ampere GA102 GPU Architecture, whitepaper v2"
ADA = "NVIDIA Ada GPU Architecture, whitepaper v2.1"
BLACKWELL = "NVIDIA RTX Blackwell GPU Architecture, whitepaper"
A100 = "NVIDIA A100 Tensor Core GPU Architecture, whitepaper"
H100 = "NVIDIA H100 Tensor Core GPU Architecture, whitepaper"

# Words of the name without maker, memory and socket -> TFLOP/s, source.
PEAKS: dict[str, tuple[float, str]] = {
    "rtx 3060": (25.5, AMPERE),
    "rtx 3060 ti": (32.4, AMPERE),
    "rtx 3070": (40.6, AMPERE),
    "rtx 3070 ti": (43.5, AMPERE),
    "rtx 3080": (59.5, AMPERE),
    "rtx 3080 ti": (68.2, AMPERE),
    "rtx 3090": (71.2, AMPERE),
    "rtx 3090 ti": (80.0, AMPERE),
    "rtx a4000": (76.7, "NVIDIA RTX A4000 datasheet: 153.4 with sparsity"),
    "rtx a5000": (111.1, "NVIDIA RTX A5000 datasheet: 222.2 with sparsity"),
    "rtx a6000": (154.8, AMPERE),
    "rtx 4060": (30.2, ADA),
    "rtx 4060 ti": (44.1, ADA),
    "rtx 4070": (58.3, ADA),
    "rtx 4070 super": (71.0, ADA),
    "rtx 4070 ti": (80.2, ADA),
    "rtx 4070 ti super": (88.2, ADA),
    "rtx 4080": (97.5, ADA),
    "rtx 4080 super": (104.4, ADA),
    "rtx 4090": (165.2, ADA),
    "rtx 6000 ada": (364.2, ADA),
    "rtx 5070": (61.7, BLACKWELL),
    "rtx 5070 ti": (87.9, BLACKWELL),
    "rtx 5080": (112.6, BLACKWELL),
    "rtx 5090": (209.5, BLACKWELL),
    "t4": (65.0, "NVIDIA T4 datasheet"),
    "a10": (125.0, "NVIDIA A10 datasheet"),
    "l4": (121.0, "NVIDIA L4 datasheet: 242 with sparsity"),
    "l40s": (362.05, "NVIDIA L40S datasheet"),
    "a100": (312.0, A100),
    "a100 pcie": (312.0, A100),
    "h100": (989.4, H100),
    "h100 pcie": (756.0, H100),
    "h200": (989.4, "NVIDIA H200 datasheet: 1,979 with sparsity"),
}
# Words that do not change the rate. HBM3 is on the SXM boards of Hopper only.
NOT_THE_MODEL = re.compile(r"nvidia|geforce|tesla|generation|sxm\d?|hbm3e?|\d+gb")


def peak_flops(card_name: str) -> float | None:
    """FLOP/s of the card that the driver calls this; None for a card that is not in the table.

    Every other word has to match, so a laptop's chip, a MIG slice or a variant unknown here
    (RTX 4090 D) does not pass for the card it is named after.
    """
    words = re.findall(r"[a-z0-9]+", card_name.lower())
    model = " ".join(word for word in words if not NOT_THE_MODEL.fullmatch(word))
    found = PEAKS.get(model)
    return found[0] * 1e12 if found else None
