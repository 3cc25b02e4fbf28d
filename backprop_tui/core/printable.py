"""Text that came out of a file, safe to show: no terminal takes it for a command."""

from __future__ import annotations

# Of the control characters only the tab and the line end are text. A terminal obeys the others
# (ESC and the C1 block begin commands), so each is shown as the picture of itself.
_PICTURES = {
    **{code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n"},
    0x7F: 0x2421,
    **dict.fromkeys(range(0x80, 0xA0), 0xFFFD),
}


def printable(text: str) -> str:
    """The text with control characters made visible, and "?" for half surrogate pairs."""
    plain = text.replace("\r\n", "\n").translate(_PICTURES)
    return plain.encode("utf-8", "replace").decode()
