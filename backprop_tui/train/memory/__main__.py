"""Answers memory questions over a pipe: a JSON object a line in, one a line out.

    in   {"config": "...", "method": "orpo", ...}     the fields of MemoryQuestion
    out  {"parts": {...} or null, "at": "...", "why": "..."}

Started by `probe/memory.py`. What libraries print goes to stderr.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import sys
import threading
from dataclasses import asdict

# No weights, no network and no card: everything is in the question. Nothing is compiled either, so
# that the compiler, which takes two seconds to load, stays out.
os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "TRL_EXPERIMENTAL_SILENCE": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "TORCHDYNAMO_DISABLE": "1",
}


def main() -> None:
    """Answer until the pipe is closed."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # libraries print
    from backprop_tui.core.memory_question import MemoryAnswer, from_json
    from backprop_tui.train.libraries import load_libraries
    from backprop_tui.train.memory.estimate import answer

    load_libraries(("torch", "transformers", "peft"))
    asked: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_listen, args=(asked,), daemon=True).start()
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        while True:
            try:
                found = answer(from_json(asked.get()))
            except Exception as error:  # noqa: BLE001 - the next question may be answered
                found = MemoryAnswer(why=f"it cannot be told ({type(error).__name__}: {error})")
            print(json.dumps(asdict(found)), file=answers, flush=True)


def _listen(asked: queue.Queue[str]) -> None:
    """Who asked is gone when the pipe is closed: what is computed for nobody ends there."""
    for line in sys.stdin:
        asked.put(line)
    os._exit(0)


if __name__ == "__main__":
    main()
