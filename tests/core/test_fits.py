"""What each max_length would do."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backprop_tui.core.facts import Fit
from backprop_tui.core.fits import fits

LENGTHS = st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 3000)), min_size=1, max_size=20)


def test_rows_by_what_happens_to_them() -> None:
    assert fits([50, 100, 10, 0], [50, 100, 300, 128]) == (
        Fit(max_length=128, whole=2, prompt_cut=1, too_long=1),
        Fit(max_length=256, whole=3, prompt_cut=0, too_long=1),
        Fit(max_length=512, whole=4, prompt_cut=0, too_long=0),
    )


def test_answer_that_fills_the_length_leaves_no_room_for_a_prompt() -> None:
    assert fits([1], [128])[0].too_long == 1


def test_nothing_beyond_what_the_model_can_read() -> None:
    assert [fit.max_length for fit in fits([900], [900], context=700)] == [128, 256, 512, 700]
    assert [fit.max_length for fit in fits([100], [100], context=700)] == [128, 256]


def test_no_rows_say_nothing() -> None:
    assert fits([], []) == ()


@given(LENGTHS, st.none() | st.integers(1, 4000))
def test_every_row_is_counted_and_more_length_never_hurts(
    rows: list[tuple[int, int]], context: int | None
) -> None:
    prompts, answers = zip(*rows, strict=True)
    found = fits(prompts, answers, context)
    assert all(fit.whole + fit.prompt_cut + fit.too_long == len(rows) for fit in found)
    assert [fit.whole for fit in found] == sorted(fit.whole for fit in found)
    assert [fit.max_length for fit in found] == sorted({fit.max_length for fit in found})
    if context is None:
        assert found[-1].whole == len(rows)
