"""How a view becomes text that can be printed."""

from __future__ import annotations

import pytest

from backprop_tui.core.mask import Kind, SideView, Token, runs, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a b", "a b"),
        (" a  b ", "·a··b·"),
        ("a\n b\n\nc", "a⏎\n·b⏎\n⏎\nc"),
        ("\tx", "⇥x"),
        ("\x1b[31mred\x00", "\\u001b[31mred\\u0000"),
        ("é漢🙂", "é漢🙂"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("   ", "···"),
    ],
)
def test_nothing_stays_unseen_and_no_control_character_reaches_the_terminal(
    text: str, shown: str
) -> None:
    assert visible(text) == shown


def test_space_between_two_pieces_is_an_ordinary_space() -> None:
    assert visible(" a ", opens=False, closes=False) == " a "
    assert visible(" a ", opens=False) == " a·"


def token(text: str, kind: Kind, *, special: bool = False, shared: bool = False) -> Token:
    return Token(1, text, kind, special, shared)


def test_neighbours_that_look_alike_are_one_run() -> None:
    side = SideView(
        name="chosen",
        tokens=(
            token("<s>", "prompt", special=True),
            token("<s>", "prompt", special=True),
            token("We", "prompt"),
            token("t?", "prompt"),
            token("Yes", "trained", shared=True),
            token(" sir", "trained"),
            token("</s>", "trained", special=True),
            token(" on", "cut"),
        ),
        bos=2,
        eos=1,
        answers=1,
        ended=True,
    )
    assert [(run.text, run.kind, run.special, run.shared, run.tokens) for run in runs(side)] == [
        ("<s>", "prompt", True, False, 1),
        ("<s>", "prompt", True, False, 1),
        ("Wet?", "prompt", False, False, 2),
        ("Yes", "trained", False, True, 1),
        (" sir", "trained", False, False, 1),
        ("</s>", "trained", True, False, 1),
        ("·on", "cut", False, False, 1),
    ]
    assert (side.prompt, side.trained, side.cut, side.length, side.shared) == (4, 3, 1, 7, 1)
