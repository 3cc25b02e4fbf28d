"""What stays in the terminal after the screen has closed: how the run ended, in plain lines."""

from __future__ import annotations

from pathlib import Path

from backprop_tui.core.events import Failed, Finished
from backprop_tui.core.history import History
from backprop_tui.core.reading import NOTHING_SAVED
from backprop_tui.core.summary import summary
from backprop_tui.core.wrap import wrapped
from backprop_tui.runs.state import as_typed

STILL_STOPPING = "waiting for the step in progress to end ..."


def way_back(folder: Path) -> list[str]:
    """The lines after leaving a run that goes on."""
    return [f"The run goes on. See it again: backprop-tui watch {as_typed(folder)}"]


def way_on(folder: Path) -> str:
    """The command that takes up a run nobody works on."""
    return f"backprop-tui resume {as_typed(folder)}"


def last_words(history: History | None, ending: Finished | Failed | None) -> list[str]:
    """The lines; none when nothing was trained."""
    if history is None or ending is None:
        return []
    if isinstance(ending, Failed):
        log = f"log: {ending.log}" if ending.log else ""
        return [
            f"The run failed: {ending.message} [{ending.code}]",
            *(f"  {text}" for text in (ending.hint, log) if text),
        ]
    if ending.stopped and not ending.path:
        return [f"{NOTHING_SAVED}."]
    history.ended = ending  # the screen may have closed before it took this in
    facts = summary(history)
    return list(wrapped(facts, label=max(len(label) for label, _ in facts) + 2))
