"""What a file says never reaches a terminal as a command."""

from __future__ import annotations

import pytest

from backprop_tui.core.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("naïve, 字\n\tand more", "naïve, 字\n\tand more"),
        ("\x1b[31mred\x07", "␛[31mred␇"),
        ("a\x9b31mb\x7f", "a\ufffd31mb␡"),
        ("one\r\ntwo\rthree", "one\ntwo␍three"),
        ("half \ud83d of a pair", "half ? of a pair"),
    ],
)
def test_control_characters_are_shown_not_obeyed(text: str, shown: str) -> None:
    assert printable(text) == shown
