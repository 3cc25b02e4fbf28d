"""Changing a text only when it changed: every update of a Static costs a layout."""

from __future__ import annotations

import re

from textual.content import Content
from textual.widgets import Static

# Control characters, and those that turn the direction of writing.
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def put(widget: Static, content: Content | str, *, layout: bool = True) -> None:
    """Show a text. layout=False where the size is fixed in the style sheet."""
    plain = content.plain if isinstance(content, Content) else content
    if UNSEEN.search(plain):  # names and texts of files must not steer the terminal
        content = Content(UNSEEN.sub("\N{REPLACEMENT CHARACTER}", plain))
    old = widget.content
    if type(old) is type(content) and old == content and _spans(old) == _spans(content):
        return
    widget.update(content, layout=layout)


def _spans(content: object) -> object:
    """Two contents are equal for Textual when their letters are; styles count here."""
    return content.spans if isinstance(content, Content) else None
