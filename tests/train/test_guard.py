"""The length guard: oldest turns, then the start of the prompt, then (if asked) the answer."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backprop_tui.core.rows import IDENTICAL, TOO_LONG, Chat, Labelled, Message, Pair, Row
from backprop_tui.train.batches import ANSWER_CUT, IGNORE, PROMPT_CUT, TURNS_CUT, Encoder, Encoding
from backprop_tui.train.encoded import sequences
from backprop_tui.train.guard import oldest_left_out
from tests.train.tokenizers_here import (
    CHATML,
    STRICT,
    assistant,
    chat,
    pair,
    pocket,
    system,
    user,
    with_template,
)

LONG = "The rain falls on the leaves. "


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return pocket()


@pytest.fixture(scope="module")
def strict(tokenizer: Any) -> Any:
    return with_template(tokenizer, STRICT, bos=True)


def encode(tokenizer: Any, row: Row, max_length: int, **options: Any) -> Encoding:
    return Encoder(tokenizer, max_length, **options).encode([row])


def talk(*prompt: Message) -> Pair:
    return Pair(1, prompt, (assistant("Yes, very wet."),), (assistant("No, dry."),))


def test_turns_go_oldest_first_and_the_system_turn_stays() -> None:
    turns = (system("s"), user("1"), assistant("2"), user("3"), assistant("4"), user("5"))
    assert oldest_left_out(turns) == [(turns[0], *turns[3:]), (turns[0], turns[5])]
    assert oldest_left_out((user("1"),)) == []
    assert oldest_left_out((assistant("hello"), user("1"))) == [(user("1"),)]


def test_as_few_turns_go_as_make_it_fit(tokenizer: Any) -> None:
    row = talk(
        system("Be brief."),
        *(turn(f"{LONG}{i}.") for i in range(5) for turn in (user, assistant)),
        user("Is it wet?"),
    )
    whole = encode(tokenizer, row, 10_000).rows[0]
    longest = len(whole.prompt) + len(whole.chosen)
    encoding = encode(tokenizer, row, longest - 1)
    cut = encoding.rows[0]
    assert encoding.cut == Counter({TURNS_CUT: 1})
    text = tokenizer.decode(cut.prompt)
    assert "Be brief." in text
    assert f"{LONG}0." not in text
    assert text.count(LONG.strip()) == 8  # one question and its answer went
    assert text.endswith("Is it wet?<|im_end|>\n<|im_start|>assistant\n")
    assert (cut.chosen, cut.rejected) == (whole.chosen, whole.rejected)


def test_what_is_left_of_the_turns_is_rendered_as_if_it_were_all(tokenizer: Any) -> None:
    row = talk(system("Be brief."), user(LONG * 9), assistant("Yes."), user("Is it wet?"))
    short = talk(system("Be brief."), user("Is it wet?"))
    assert encode(tokenizer, row, 60).rows == encode(tokenizer, short, 60).rows


def test_template_that_wants_a_question_first_still_gets_one(strict: Any) -> None:
    row = talk(system("Be brief."), user(LONG * 9), assistant(LONG), user(LONG), user("Wet?"))
    assert encode(strict, row, 10_000).dropped  # two questions in a row: refused
    row = talk(system("Be brief."), user(LONG * 9), assistant(LONG), user("Is it wet?"))
    encoding = encode(strict, row, 60)
    assert encoding.cut == Counter({TURNS_CUT: 1})
    assert strict.decode(encoding.rows[0].prompt) == (
        "<|endoftext|>[INST] Be brief.\n\nIs it wet? [/INST]"
    )


def test_start_that_the_template_refuses_is_passed_over(tokenizer: Any) -> None:
    template = (
        "{% if messages[0].content == 'no' %}{{ raise_exception('no') }}{% endif %}"
        + tokenizer.chat_template
    )
    refusing = with_template(tokenizer, template)
    early = (user(LONG * 9), assistant("a"), user(LONG * 9), assistant("b"))
    row = talk(*early, user("no"), assistant("c"), user("Is it wet?"))
    encoding = encode(refusing, row, 60)
    assert encoding.cut == Counter({TURNS_CUT: 1})
    assert refusing.decode(encoding.rows[0].prompt).startswith("<|im_start|>user\nIs it wet?")


def test_after_the_turns_the_start_of_the_rest_goes_and_the_bos_stays(strict: Any) -> None:
    row = talk(user("First?"), assistant("Yes."), user(LONG * 9 + "Is it wet?"))
    encoding = encode(strict, row, 40)
    cut = encoding.rows[0]
    assert encoding.cut == Counter({TURNS_CUT: 1, PROMPT_CUT: 1})
    assert cut.prompt[0] == strict.bos_token_id
    assert cut.prompt.count(strict.bos_token_id) == 1
    assert len(cut.prompt) + len(cut.chosen) == 40
    assert strict.decode(cut.prompt).endswith("Is it wet? [/INST]")


def test_turns_go_before_an_answer_is_cut_as_well(tokenizer: Any) -> None:
    row = Labelled(1, (user(LONG), assistant("Yes."), user("Wet?")), (assistant(LONG * 20),), True)
    assert encode(tokenizer, row, 64).dropped == Counter({TOO_LONG: 1})
    encoding = encode(tokenizer, row, 64, cut_answers=True)
    cut = encoding.rows[0]
    assert encoding.cut == Counter({TURNS_CUT: 1, ANSWER_CUT: 1})
    assert tokenizer.decode(cut.prompt).startswith("<|im_start|>user\nWet?")
    assert len(cut.prompt) + len(cut.completion) == 64


def test_pair_that_differs_only_in_what_was_cut_off_is_dropped(tokenizer: Any) -> None:
    row = pair("Wet?", LONG * 20 + "Yes.", LONG * 20 + "No.")
    assert encode(tokenizer, row, 64, cut_answers=True).dropped == Counter({IDENTICAL: 1})


def test_chat_loses_its_oldest_turns_whole(tokenizer: Any) -> None:
    row = chat(LONG * 3, "I see.", "Warm?", "Yes, quite.", "Sure?", "Yes.")
    encoding = encode(tokenizer, row, 48)
    assert encoding.cut == Counter({TURNS_CUT: 1})
    kept = encoding.rows[0]
    assert tokenizer.decode(kept.input_ids).startswith("<|im_start|>user\nWarm?")
    trained = tokenizer.decode([label for label in kept.labels if label != IGNORE])
    assert trained == "Yes, quite.<|im_end|>Yes.<|im_end|>"


def test_chat_whose_last_question_is_too_long_loses_its_start(strict: Any) -> None:
    row = chat("Hello?", "Hi.", LONG * 20 + "Warm?", "Yes, quite.")
    encoding = encode(strict, row, 48)
    kept = encoding.rows[0]
    assert encoding.cut == Counter({TURNS_CUT: 1, PROMPT_CUT: 1})
    assert len(kept.input_ids) == 48
    assert kept.input_ids[0] == strict.bos_token_id
    assert kept.labels[0] == IGNORE
    assert strict.decode(kept.input_ids).endswith("Warm? [/INST]Yes, quite.<|im_end|>")


def test_chat_whose_last_answer_is_too_long_is_dropped_or_cut(tokenizer: Any) -> None:
    row = chat("Hello?", "Hi.", "Tell me.", LONG * 20)
    assert encode(tokenizer, row, 48).dropped == Counter({TOO_LONG: 1})
    encoding = encode(tokenizer, row, 48, cut_answers=True)
    kept = encoding.rows[0]
    assert encoding.cut == Counter({TURNS_CUT: 1, ANSWER_CUT: 1})
    assert len(kept.input_ids) == 48
    assert "Tell me." in tokenizer.decode(kept.input_ids)
    assert kept.labels[-1] != IGNORE


WORDS = st.text(alphabet=st.characters(codec="utf-8"), max_size=60)
ROLES = st.sampled_from(["system", "user", "assistant", "tool"])
TURNS = st.lists(st.builds(Message, ROLES, WORDS), max_size=6).map(tuple)
ANSWER = st.builds(Message, st.just("assistant"), WORDS).map(lambda message: (message,))
ROWS = st.one_of(
    st.builds(Pair, st.just(1), TURNS, ANSWER, ANSWER),
    st.builds(Labelled, st.just(1), TURNS, ANSWER, st.booleans()),
    st.builds(Chat, st.just(1), TURNS),
)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(ROWS, max_size=4), st.integers(1, 60), st.booleans(), st.booleans())
def test_no_row_is_lost_and_none_is_too_long_or_untrained(
    tokenizer: Any, strict: Any, rows: list[Row], max_length: int, cut: bool, refuses: bool
) -> None:
    chosen = strict if refuses else tokenizer
    encoding = Encoder(chosen, max_length, cut_answers=cut).encode(rows)
    assert len(encoding.rows) + encoding.dropped.total() == len(rows)
    for row in encoding.rows:
        for sequence in sequences(row):
            assert len(sequence) <= max_length
            assert any(trained for _, trained in sequence)


def test_chat_that_is_trained_whole_loses_its_oldest_turns_too(tokenizer: Any) -> None:
    row = chat(LONG * 3, "I see.", "Warm?", "Yes, quite.", "Sure?", "Yes.")
    encoding = encode(tokenizer, row, 48, train_everything=True)
    assert encoding.cut == Counter({TURNS_CUT: 1})
    kept = encoding.rows[0]
    assert kept.labels == kept.input_ids
    assert tokenizer.decode(kept.input_ids).startswith("<|im_start|>user\nWarm?")


def test_answer_that_grows_when_turns_go_is_not_cut_unasked(tokenizer: Any) -> None:
    growing = with_template(
        tokenizer,
        CHATML.replace("{{ m.content }}", "{{ m.content }}{% if messages | length == 2 %}"
        + LONG * 9 + "{% endif %}"),
    )  # fmt: skip
    row = talk(user(LONG * 9), assistant(LONG), user("Is it wet?"))
    assert encode(growing, row, 40).dropped == Counter({TOO_LONG: 1})
