"""The lean preference engine: one trainer for every preference method. docs/engine.md has the idea.

objectives.py  losses as pure functions         build.py      a plan -> the trainer
layout.py      pairs as one row, packed         trainer.py    transformers.Trainer around it all
attention.py   attention over that row          processes.py  where several train together
attention_cuda.py, attention_probe.py           batch.py      what a batch is
               two more ways, and which to take order.py      which rows make one, which is first
logprobs.py    the head, without logits         mismatch.py   whose answer kto borrows
unitgrad.py    its gradient, made at once       ready.py      the work before step 1
forward.py     a batch -> log-probabilities     base.py       the frozen base's, for the run's rows
check.py       the quick way against the plain  reference.py  the file they are kept in
metrics.py     rows -> figures                  speed.py      operations a token
"""
