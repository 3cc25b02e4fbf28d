"""Changing a text only when it changed: every update of a Static costs a layout."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static


def put(widget: Static, content: Content | str, *, layout: bool = True) -> None:
    """Show a text. layout=False where the size is fixed in the style sheet."""
    old = widget.content
    if type(old) is type(content) and old == content and _spans(old) == _spans(content):
        return
    widget.update(content, layout=layout)


def _spans(content: object) -> object:
    """Two contents are equal for Textual when their letters are; styles count here."""
    return content.spans if isinstance(content, Content) else None
