"""Facts, plan, rules and events: pure values and pure functions.

Nothing here imports textual, torch, transformers, datasets or pynvml (held by
import-linter and by tests/test_imports.py).
"""
