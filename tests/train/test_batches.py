"""Token ids: what is trained is the answer, whole, once; what is too long is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backprop_tui.core.rows import (
    NO_ANSWER,
    TEMPLATE_FAILED,
    TOO_LONG,
    Chat,
    Labelled,
    Message,
    Pair,
)
from backprop_tui.probe.model import probe_model
from backprop_tui.train.batches import ANSWER_CUT, IGNORE, PROMPT_CUT, EncodedPair, Encoder


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(probe_model("pocket").path)


def user(text: str) -> Message:
    return Message("user", text)


def assistant(text: str) -> Message:
    return Message("assistant", text)


def pair(prompt: str, chosen: str, rejected: str, number: int = 1) -> Pair:
    return Pair(number, (user(prompt),), (assistant(chosen),), (assistant(rejected),))


def encode_one(tokenizer: Any, row: Any, max_length: int = 256, **options: Any) -> Any:
    encoding = Encoder(tokenizer, max_length, **options).encode([row])
    assert not encoding.dropped
    return encoding.rows[0]


def test_trained_tokens_of_a_pair_are_the_answers_and_their_end_of_turn(tokenizer: Any) -> None:
    row = encode_one(tokenizer, pair("Is it cold?", "Yes, wear a coat.", "Who knows."))
    assert tokenizer.decode(row.chosen) == "Yes, wear a coat." + tokenizer.eos_token
    assert tokenizer.decode(row.rejected) == "Who knows." + tokenizer.eos_token
    assert "Is it cold?" in tokenizer.decode(row.prompt)


def test_prompt_is_what_generation_will_see(tokenizer: Any) -> None:
    row = encode_one(tokenizer, pair("Is it cold?", "Yes.", "No."))
    seen = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Is it cold?"}], add_generation_prompt=True, tokenize=True
    )
    ids = seen if isinstance(seen, list) else seen["input_ids"]
    assert row.prompt == list(ids)


def test_no_token_is_doubled_at_either_end(tokenizer: Any) -> None:
    row = encode_one(tokenizer, pair("Is it cold?", "Yes.", "No."))
    for side in (row.chosen, row.rejected):
        assert side.count(tokenizer.eos_token_id) == 1
    if tokenizer.bos_token_id is not None:
        assert row.prompt.count(tokenizer.bos_token_id) <= 1


def test_prompt_is_cut_from_its_start_and_the_answers_stay_whole(tokenizer: Any) -> None:
    long_prompt = "The rain in the garden falls on the green leaves. " * 40
    row = pair(long_prompt + "Is it wet?", "Yes, very wet.", "No, dry.")
    encoding = Encoder(tokenizer, 64).encode([row])
    cut = encoding.rows[0]
    assert encoding.cut == Counter({PROMPT_CUT: 1})
    assert len(cut.prompt) + max(len(cut.chosen), len(cut.rejected)) == 64
    assert tokenizer.decode(cut.chosen).startswith("Yes, very wet.")
    assert "Is it wet?" in tokenizer.decode(cut.prompt)


def test_answer_too_long_by_itself_is_dropped_and_counted(tokenizer: Any) -> None:
    row = pair("Tell me.", "The rain falls on the leaves. " * 60, "No.")
    encoding = Encoder(tokenizer, 64).encode([row])
    assert encoding.rows == []
    assert encoding.dropped == Counter({TOO_LONG: 1})


def test_answer_is_cut_only_when_asked(tokenizer: Any) -> None:
    row = pair("Tell me.", "The rain falls on the leaves. " * 60, "No.")
    encoding = Encoder(tokenizer, 64, cut_answers=True).encode([row])
    cut = encoding.rows[0]
    assert encoding.cut[ANSWER_CUT] == 1
    assert len(cut.prompt) + len(cut.chosen) == 64
    assert tokenizer.decode(cut.rejected).startswith("No.")
    assert cut.prompt


def test_every_assistant_turn_of_a_chat_is_trained_and_nothing_else(tokenizer: Any) -> None:
    chat = Chat(1, (user("Hello?"), assistant("Hi there."), user("Warm?"), assistant("Yes.")))
    row = encode_one(tokenizer, chat)
    trained = [token for token in row.labels if token != IGNORE]
    assert tokenizer.decode(trained) == "".join(
        text + tokenizer.eos_token for text in ("Hi there.", "Yes.")
    )
    assert len(row.labels) == len(row.input_ids)


def test_chat_over_the_length_keeps_its_last_answer(tokenizer: Any) -> None:
    early = [user("The rain falls on the leaves. " * 20), assistant("I see. " * 20)]
    chat = Chat(1, (*early, user("Warm?"), assistant("Yes, quite warm.")))
    encoding = Encoder(tokenizer, 48).encode([chat])
    row = encoding.rows[0]
    assert encoding.cut == Counter({PROMPT_CUT: 1})
    assert len(row.input_ids) == len(row.labels) == 48
    trained = tokenizer.decode([token for token in row.labels if token != IGNORE])
    assert trained.endswith("Yes, quite warm." + tokenizer.eos_token)


def test_everything_is_trained_when_the_run_file_says_so(tokenizer: Any) -> None:
    row = encode_one(tokenizer, Chat(1, (user("Hello?"), assistant("Hi."))), train_everything=True)
    assert row.labels == row.input_ids


def test_chat_without_an_answer_is_counted(tokenizer: Any) -> None:
    encoding = Encoder(tokenizer, 64).encode([Chat(1, (user("Hello?"),))])
    assert encoding.dropped == Counter({NO_ANSWER: 1})


def test_template_that_refuses_the_turns_drops_the_row(tokenizer: Any) -> None:
    import copy

    strict = copy.deepcopy(tokenizer)
    strict.chat_template = (
        "{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools') }}"
        "{% endif %}{{ m.content }}<|im_end|>{% endfor %}"
    )
    row = Labelled(1, (Message("tool", "x"),), (assistant("Yes."),), True)
    encoding = Encoder(strict, 64).encode([row])
    assert encoding.dropped == Counter({TEMPLATE_FAILED: 1})


def test_template_that_rewrites_an_answered_prompt_still_splits(tokenizer: Any) -> None:
    """Reasoning templates open an answer with a tag that an answered turn does not have."""
    import copy

    thinking = copy.deepcopy(tokenizer)
    thinking.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
    )
    row = encode_one(thinking, pair("Cold?", "Yes, cold.", "No."))
    assert thinking.decode(row.chosen) == "Yes, cold." + thinking.eos_token
    assert "<think>" not in thinking.decode(row.prompt)


def test_row_without_a_prompt_trains_on_its_answers(tokenizer: Any) -> None:
    row = Pair(1, (), (assistant("Yes, it is."),), (assistant("Who knows."),))
    encoded = encode_one(tokenizer, row)
    assert tokenizer.decode(encoded.chosen).endswith("Yes, it is." + tokenizer.eos_token)
    assert encoded.prompt  # the frame both answers share is not trained


def test_bos_is_there_once_for_a_tokenizer_that_adds_its_own(tokenizer: Any) -> None:
    import copy

    from tokenizers.processors import TemplateProcessing

    bos = copy.deepcopy(tokenizer)
    bos.bos_token = "<|endoftext|>"
    bos.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", bos.bos_token_id)]
    )
    bos.chat_template = "{{ bos_token }}" + bos.chat_template
    assert bos("x")["input_ids"][0] == bos.bos_token_id  # it would add one by itself
    row = encode_one(bos, pair("Is it cold?", "Yes.", "No."))
    assert (row.prompt + row.chosen).count(bos.bos_token_id) == 1
    chat = encode_one(bos, Chat(1, (user("Cold?"), assistant("Yes."))))
    assert chat.input_ids.count(bos.bos_token_id) == 1
    long = pair("The rain falls on the leaves. " * 40, "Yes.", "No.")
    cut = Encoder(bos, 40).encode([long]).rows[0]
    assert cut.prompt[0] == bos.bos_token_id  # kept when the prompt is cut
    assert len(cut.prompt) + len(cut.chosen) == 40


WORDS = st.text(alphabet=st.characters(codec="utf-8"), max_size=200)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(WORDS, WORDS, WORDS), max_size=4), st.integers(2, 80), st.booleans())
def test_nothing_is_lost_and_nothing_is_too_long(
    tokenizer: Any, texts: Sequence[tuple[str, str, str]], max_length: int, cut: bool
) -> None:
    rows = [pair(*text, number=i) for i, text in enumerate(texts)]
    encoding = Encoder(tokenizer, max_length, cut_answers=cut).encode(rows)
    assert len(encoding.rows) + encoding.dropped.total() == len(rows)
    for row in encoding.rows:
        assert isinstance(row, EncodedPair)
        assert row.prompt
        assert row.chosen
        assert row.rejected
        assert len(row.prompt) + max(len(row.chosen), len(row.rejected)) <= max_length
