"""What threads tell the screens. Each message carries one frozen value."""

from __future__ import annotations

from dataclasses import dataclass

from textual.message import Message

from backprop_tui.core.events import Event


@dataclass
class RunEvent(Message):
    """Something happened in the training. Posted by the training thread, in order."""

    event: Event
    """What happened; the last one is always Finished or Failed."""
