"""Preference tuning on one consumer GPU, in the terminal.

Importing the package sets, before any library is loaded, that none of them reports home
or draws a progress bar over the screen.
"""

import os

__version__ = "0.1.0"

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
