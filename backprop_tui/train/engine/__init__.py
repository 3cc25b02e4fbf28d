"""The lean preference engine: one trainer for every preference method. docs/engine.md has the idea.

objectives.py  losses as pure functions        logprobs.py   the head, without a logits tensor
layout.py      pairs as one row, packed        attention.py  attention over that row
forward.py     a batch -> log-probabilities    check.py      shared against plain, before step 1
reference.py   the frozen base, measured once  metrics.py    rows -> figures
trainer.py     transformers.Trainer around it  order.py      which rows make a batch
"""
