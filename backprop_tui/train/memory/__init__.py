"""How much memory one training step takes, from a model's config alone.

The real model code, adapters, quantised layers, engine and optimizer run two steps on fake
tensors, which have shapes and no storage (`rehearse.py`), for two and for four layers
(`estimate.py`). `python -m backprop_tui.train.memory` answers questions over a pipe; the rest of
the program asks it through `probe/memory.py` and never loads torch for it.
"""
