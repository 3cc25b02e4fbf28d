"""One line in the place of panels that a small window would break."""

from __future__ import annotations

from textual.geometry import Size
from textual.screen import Screen
from textual.widgets import Static

LEAST = Size(80, 24)


class TooSmall(Static):
    """Lies over everything while it is displayed; nothing below it changes."""

    DEFAULT_CSS = """
    TooSmall {
        display: none;
        layer: small;
        width: 100%;
        height: 100%;
        content-align: center middle;
        text-align: center;
        background: $background;
    }
    """


def watch_size(screen: Screen[None], size: Size) -> None:
    """Say so when the window is too small, and only then."""
    small = size.width < LEAST.width or size.height < LEAST.height
    notice = screen.query_one(TooSmall)
    notice.display = small
    if small:
        need, have = f"{LEAST.width}x{LEAST.height}", f"{size.width}x{size.height}"
        text = f"backprop-tui needs {need}; this window is {have}"
        notice.update(text)
