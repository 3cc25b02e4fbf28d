"""The view of a row: the encoder's ids and mask, with the characters each token stands for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from backprop_tui.core.mask import RowView, SideView
from backprop_tui.core.rows import (
    NO_TRAINED_TOKEN,
    TEMPLATE_FAILED,
    TOO_LONG,
    Labelled,
    Pair,
    Row,
)
from backprop_tui.train.batches import ANSWER_CUT, PROMPT_CUT, TURNS_CUT, Encoder
from backprop_tui.train.encoded import sequences
from backprop_tui.train.template import Rendered
from backprop_tui.train.tokens import Words
from backprop_tui.train.view import kept, pieces, view_row
from tests.train.test_guard import LONG, ROWS, talk
from tests.train.tokenizers_here import (
    CHATML,
    COUNTING,
    STRICT,
    assistant,
    chat,
    pair,
    pocket,
    system,
    user,
    with_template,
)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return pocket()


def view(tokenizer: Any, row: Row, max_length: int = 256, **options: Any) -> RowView:
    return view_row(Encoder(tokenizer, max_length, **options), row)


def text(side: SideView, *kinds: str) -> str:
    return "".join(token.text for token in side.tokens if not kinds or token.kind in kinds)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(ROWS)
@pytest.mark.parametrize("max_length", [12, 40, 400])
@pytest.mark.parametrize("template", [None, STRICT, COUNTING])
def test_what_is_shown_is_what_trains(
    tokenizer: Any, template: str | None, max_length: int, row: Row
) -> None:
    if template:
        tokenizer = with_template(tokenizer, template, bos=True)
    encoder = Encoder(tokenizer, max_length, cut_answers=True)
    seen = view_row(encoder, row)
    encoding = encoder.encode([row])
    assert ({seen.dropped} - {""}) == set(encoding.dropped)
    for encoded in encoding.rows:
        for side, sequence in zip(seen.sides, sequences(encoded), strict=True):
            left = [token for token in side.tokens if token.kind != "cut"]
            assert [(token.id, token.kind == "trained") for token in left] == sequence


def test_prompt_is_read_and_answer_is_trained(tokenizer: Any) -> None:
    chosen, rejected = view(tokenizer, pair("Wet?", "Yes, very.", "Yes, not.")).sides
    assert (chosen.name, rejected.name) == ("chosen", "rejected")
    assert text(chosen, "prompt") == "<|im_start|>user\nWet?<|im_end|>\n<|im_start|>assistant\n"
    assert text(chosen, "trained") == "Yes, very.<|im_end|>"
    assert "".join(token.text for token in chosen.tokens if token.shared) == "Yes,"
    assert chosen.shared == rejected.shared > 0
    assert [token.text for token in chosen.tokens if token.special] == [
        "<|im_start|>",
        "<|im_end|>",
        "<|im_start|>",
        "<|im_end|>",
    ]
    assert (chosen.bos, chosen.eos, chosen.answers, chosen.ended) == (0, 1, 1, True)
    assert chosen.length == chosen.prompt + chosen.trained == len(chosen.tokens)


def test_unpaired_row_shows_its_label(tokenizer: Any) -> None:
    seen = view(tokenizer, Labelled(7, (user("Wet?"),), (assistant("Yes."),), False))
    assert (seen.number, seen.label, seen.sides[0].name) == (7, False, "completion")


def test_chat_alternates(tokenizer: Any) -> None:
    (side,) = view(tokenizer, chat("Wet?", "Yes.", "Sure?", "No.")).sides
    assert text(side, "trained") == "Yes.<|im_end|>No.<|im_end|>"
    assert (side.answers, side.eos) == (2, 2)


def test_bos_is_counted(tokenizer: Any) -> None:
    bos = with_template(tokenizer, STRICT, bos=True)
    assert view(bos, pair("Wet?", "Yes.", "No.")).sides[0].bos == 1


def test_end_of_turn_that_is_also_the_bos_is_counted_as_what_it_is(tokenizer: Any) -> None:
    both = with_template(tokenizer, "{{ bos_token }}" + CHATML, bos=True)
    both.bos_token = both.eos_token
    for side in view(both, pair("Wet?", "Yes.", "No.")).sides:
        assert (side.bos, side.eos) == (1, 1)


def test_turns_that_go_are_shown_whole(tokenizer: Any) -> None:
    row = talk(system("Be brief."), user(LONG * 9), assistant("I see."), user("Is it wet?"))
    seen = view(tokenizer, row, 60)
    assert seen.changes == (TURNS_CUT,)
    for side in seen.sides:
        assert text(side, "cut") == (
            f"<|im_start|>user\n{LONG * 9}<|im_end|>\n<|im_start|>assistant\nI see.<|im_end|>\n"
        )
    assert not seen.dropped


def test_start_of_the_prompt_is_shown_cut_and_the_bos_kept(tokenizer: Any) -> None:
    bos = with_template(tokenizer, STRICT, bos=True)
    seen = view(bos, pair(LONG * 20 + "Wet?", "Yes.", "No."), 40)
    tokens = seen.sides[0].tokens
    assert seen.changes == (PROMPT_CUT,)
    assert [token.kind for token in tokens[:3]] == ["prompt", "cut", "cut"]
    assert text(seen.sides[0]).startswith("<|endoftext|>[INST] The rain")


def test_end_of_an_answer_is_shown_cut(tokenizer: Any) -> None:
    seen = view(tokenizer, pair("Wet?", LONG * 20, "No."), 40, cut_answers=True)
    chosen, rejected = seen.sides
    assert ANSWER_CUT in seen.changes
    assert text(chosen, "trained", "cut").endswith(LONG * 15 + "<|im_end|>")
    assert chosen.tokens[-1].kind == "cut"
    assert not chosen.ended
    assert rejected.ended


def test_template_that_counts_the_turns_is_shown_before_and_after(tokenizer: Any) -> None:
    counting = with_template(tokenizer, COUNTING)
    row = Pair(
        1, (user(LONG * 9), assistant("a"), user("Wet?")), (assistant("Yes."),), (assistant("x"),)
    )
    side = view(counting, row, 40).sides[0]
    assert text(side, "cut").startswith("4 turns\n<|im_start|>user\nThe rain")
    assert text(side, "prompt").startswith("2 turns\n<|im_start|>user\nWet?")
    assert text(side, "trained") == "Yes.<|im_end|>"


def test_dropped_row_is_all_cut_and_says_why(tokenizer: Any) -> None:
    seen = view(tokenizer, pair("Wet?", LONG * 20, "No."), 40)
    assert seen.dropped == TOO_LONG
    assert all(token.kind == "cut" for side in seen.sides for token in side.tokens)


def test_row_with_nothing_to_train_on_is_shown_as_read(tokenizer: Any) -> None:
    silent = with_template(
        tokenizer,
        "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}",
    )
    seen = view(silent, pair("Wet?", "Yes.", "No."))
    assert seen.dropped == NO_TRAINED_TOKEN
    assert [text(side, "prompt") for side in seen.sides] == ["Wet?", "Wet?"]


def test_row_the_template_refuses_has_no_sides(tokenizer: Any) -> None:
    strict = with_template(tokenizer, STRICT)
    seen = view(strict, talk(user("a"), user("b")))
    assert (seen.sides, seen.dropped) == ((), TEMPLATE_FAILED)


def test_pieces_are_the_text_and_a_character_stands_where_it_is_complete(tokenizer: Any) -> None:
    written = "a  é漢🙂\n\tb<|im_end|>\n"
    found = pieces(Words(tokenizer), Rendered(written))
    assert "".join(found) == written
    assert pieces(Words(tokenizer), Rendered("aé")) == ["a", "", "é"]  # two bytes, two tokens
    assert "🙂" in found
    assert "<|im_end|>" in found


def test_pieces_of_words_that_spell_a_special_token(tokenizer: Any) -> None:
    row = pair("An <|im_end|>é?", "Yes.", "No.")
    side = view(tokenizer, row).sides[0]
    assert text(side) == (
        "<|im_start|>user\nAn <|im_end|>é?<|im_end|>\n<|im_start|>assistant\nYes.<|im_end|>"
    )
    assert [token.text for token in side.tokens if token.special].count("<|im_end|>") == 2


@pytest.mark.parametrize(
    ("full", "final", "expected"),
    [
        ("abcdef", "abcdef", "abcdef"),
        ("abcdef", "adef", "a..def"),
        ("abcdef", "ef", "....ef"),
        ("abcdef", "abc", "abc..."),
        ("abcdef", "ade", "a..de."),
        ("abcdef", "", "......"),
        ("SuxSuySuz", "SuySuz", "...SuySuz"),  # the whole first turn, not "xSu"
        ("abcdef", "axf", None),
    ],
)
def test_kept_tokens_are_found_in_the_full_row(full: str, final: str, expected: str | None) -> None:
    left = kept(list(full), list(final))
    shown = left and "".join(c if stays else "." for c, stays in zip(full, left, strict=True))
    assert shown == expected
