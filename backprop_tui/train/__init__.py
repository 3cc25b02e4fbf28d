"""Training. The only place that imports torch, and only inside functions that need it.

Set before any library is imported: no telemetry leaves this machine, and no progress
bar of a library reaches the screen.
"""

from __future__ import annotations

import os

QUIET = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "TRL_EXPERIMENTAL_SILENCE": "1",
    "TQDM_DISABLE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # cards are numbered as NVML numbers them
}

os.environ.update(QUIET)
