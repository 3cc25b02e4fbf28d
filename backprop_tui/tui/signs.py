"""Every sign the screens draw, in one place, so that a plain terminal can have plain ones.

BACKPROP_TUI_ASCII=1 chooses the plain set; it is read once, before the first screen.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from backprop_tui.core.rules import Level


@dataclass(frozen=True, slots=True)
class Signs:
    """One sign each; always paired with a word, never alone."""

    here: str
    done: str
    problem: str
    warning: str
    note: str
    todo: str
    on: str
    off: str
    dot: str
    times: str
    arrow: str
    back: str
    about: str
    full: str
    free: str
    limit: str
    more: str
    pause: str

    def level(self, level: Level) -> str:
        """The sign of a level of advice."""
        return {"problem": self.problem, "warning": self.warning, "note": self.note}[level]


UNICODE = Signs(
    here="▸",
    done="✔",
    problem="✖",
    warning="▲",
    note="•",
    todo="○",
    on="◉",
    off="○",
    dot="·",
    times="×",
    arrow="→",
    back="←",
    about="≈",
    full="█",
    free="░",
    limit="┃",
    more="…",
    pause="‖",
)
PLAIN = Signs(
    here=">",
    done="v",
    problem="x",
    warning="!",
    note="-",
    todo="o",
    on="(x)",
    off="( )",
    dot="-",
    times="x",
    arrow="->",
    back="<-",
    about="~",
    full="#",
    free=".",
    limit="|",
    more="...",
    pause="=",
)


def is_plain() -> bool:
    """Whether this terminal asked for plain signs."""
    return os.environ.get("BACKPROP_TUI_ASCII", "") not in ("", "0")


SIGNS = PLAIN if is_plain() else UNICODE
