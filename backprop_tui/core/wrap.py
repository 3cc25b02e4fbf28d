"""Text in two columns that fits the screen; wide characters count as two cells."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from unicodedata import east_asian_width

from backprop_tui.core.printable import printable

WIDEST = 100  # cells; longer lines are hard to read
LABEL = 11  # cells before the text

Line = tuple[str, str]  # label, text


def room(label: int = LABEL) -> int:
    """Cells to the right of a label."""
    width = min(shutil.get_terminal_size((80, 24)).columns, WIDEST)
    return max(width - label, 20)


def cells(text: str) -> int:
    return len(text) + sum(1 for character in text if east_asian_width(character) in "WF")


def clipped(text: str, most: int) -> str:
    """One line of at most `most` cells."""
    if cells(text) <= most:
        return text
    return _start(text, most - 1) + "…"


def wrapped(rows: Sequence[Line], *, label: int = LABEL) -> Iterator[str]:
    """Label and text in two columns; the text goes on under itself. Both may be a file's own."""
    for name, text in ((printable(name), printable(text)) for name, text in rows):
        first, *rest = _broken(text, room(label)) or [""]
        yield f"{name:<{label}}{first}".rstrip()
        yield from (" " * label + line for line in rest)


def folded(line: str, hanging: int | None = None) -> Iterator[str]:
    """A line that is wider than the screen, broken at spaces; the rest goes on `hanging` cells in,
    by default two more than the line itself."""
    start = len(line) - len(line.lstrip(" "))
    hanging = start + 2 if hanging is None else hanging
    if cells(line) <= room(0):
        yield line
        return
    # The label's own spaces stay, and count.
    head = line[:hanging] if line[hanging - 1 : hanging] == " " else line[:start]
    first, *rest = _broken(line[len(head) :], room(len(head)))
    yield head + first
    for piece in _broken(" ".join(rest), room(hanging)) if rest else []:
        yield " " * hanging + piece


def _broken(text: str, most: int) -> list[str]:
    """Lines at spaces. A path that is too long stays whole: it is copied from here."""
    lines: list[str] = []
    for word in text.split():
        if lines and cells(lines[-1]) + 1 + cells(word) <= most:
            lines[-1] += f" {word}"
            continue
        while cells(word) > most and not word.isascii():  # a script without spaces
            part = _start(word, most)
            lines.append(part)
            word = word[len(part) :]
        lines.append(word)
    return lines


def _start(text: str, most: int) -> str:
    used = 0
    for i, character in enumerate(text):
        used += cells(character)
        if used > most:
            return text[:i]
    return text
