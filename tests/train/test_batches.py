"""Token ids: what is trained is the answer, whole, once; what is too long is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backprop_tui.core.errors import InputError
from backprop_tui.core.rows import (
    NO_ANSWER,
    NOT_TEXT,
    TEMPLATE_FAILED,
    TOO_LONG,
    Chat,
    Labelled,
    Message,
    Pair,
    Row,
    paired_as_chat,
)
from backprop_tui.probe.data import DataSource, load
from backprop_tui.train import draft
from backprop_tui.train.batches import (
    ANSWER_CUT,
    BATCH,
    IGNORE,
    PROMPT_CUT,
    EncodedPair,
    Encoder,
)
from backprop_tui.train.tokens import Words
from tests.train import slow_encoder
from tests.train.tokenizers_here import (
    CHATML,
    CLOSING,
    COUNTING,
    STRICT,
    assistant,
    chat,
    metaspace,
    pair,
    pocket,
    system,
    user,
    with_template,
)

DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return pocket()


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


def test_everything_is_trained_when_the_run_file_says_so(tokenizer: Any) -> None:
    row = encode_one(tokenizer, Chat(1, (user("Hello?"), assistant("Hi."))), train_everything=True)
    assert row.labels == row.input_ids


def test_chat_without_an_answer_is_counted(tokenizer: Any) -> None:
    encoding = Encoder(tokenizer, 64).encode([Chat(1, (user("Hello?"),))])
    assert encoding.dropped == Counter({NO_ANSWER: 1})


def test_template_that_refuses_the_turns_drops_the_row(tokenizer: Any) -> None:
    strict = with_template(
        tokenizer,
        "{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools') }}"
        "{% endif %}{{ m.content }}<|im_end|>{% endfor %}",
    )
    row = Labelled(1, (Message("tool", "x"),), (assistant("Yes."),), True)
    encoding = Encoder(strict, 64).encode([row])
    assert encoding.dropped == Counter({TEMPLATE_FAILED: 1})


def test_template_that_rewrites_an_answered_prompt_still_splits(tokenizer: Any) -> None:
    """Reasoning templates open an answer with a tag that an answered turn does not have."""
    thinking = with_template(
        tokenizer,
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}",
    )
    row = encode_one(thinking, pair("Cold?", "Yes, cold.", "No."))
    assert thinking.decode(row.chosen) == "Yes, cold." + thinking.eos_token
    assert "<think>" not in thinking.decode(row.prompt)


def test_template_that_writes_an_answered_prompt_quite_differently_still_splits(
    tokenizer: Any,
) -> None:
    counting = with_template(tokenizer, COUNTING)
    row = encode_one(counting, pair("Cold?", "Yes, cold.", "Yes."))
    assert counting.decode(row.prompt).startswith("2 turns")
    assert counting.decode(row.chosen) == "Yes, cold.<|im_end|>"
    assert counting.decode(row.rejected) == "Yes.<|im_end|>"
    asked = encode_one(counting, chat("Cold?", "Yes.", "Sure?", "Quite."))
    trained = [token for token in asked.labels if token != IGNORE]
    assert counting.decode(trained) == "Quite.<|im_end|>"  # the rest was written otherwise


def test_row_without_a_prompt_trains_on_its_answers(tokenizer: Any) -> None:
    row = Pair(1, (), (assistant("Yes, it is."),), (assistant("Who knows."),))
    encoded = encode_one(tokenizer, row)
    assert tokenizer.decode(encoded.chosen).endswith("Yes, it is." + tokenizer.eos_token)
    assert encoded.prompt  # the frame both answers share is not trained


def test_bos_is_there_once_for_a_tokenizer_that_adds_its_own(tokenizer: Any) -> None:
    bos = with_template(tokenizer, "{{ bos_token }}" + tokenizer.chat_template, bos=True)
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


def as_lists(row: Any) -> list[list[int]]:
    return [part for part in astuple(row) if isinstance(part, list)]


def same_as_one_by_one(tokenizer: Any, rows: Sequence[Row]) -> None:
    encoding = Encoder(tokenizer, 10**9).encode(rows)
    assert not encoding.dropped
    for row, encoded in zip(rows, encoding.rows, strict=True):
        assert as_lists(encoded) == list(slow_encoder.encode(tokenizer, row)), row


def some_rows() -> list[Row]:
    texts = ["", "Yes.", " two  spaces ", "é漢🙂 z", "a\n\n\nb", "    x = 1\n", "\t", "l'été"]
    rows: list[Row] = []
    for i, text in enumerate(texts):
        other = texts[i - 1]
        rows.append(pair(text, f"{text}!", f"{text}?", i))
        rows.append(Pair(i, (system(text), user(other)), (assistant(text),), (assistant("no"),)))
        rows.append(Labelled(i, (user(other),), (assistant(text or "x"),), True))
        rows.append(chat(other, text or "x", text, other or "y", number=i))
    return rows


@pytest.mark.parametrize("template", [None, CHATML, STRICT])
def test_batches_give_the_same_tokens_as_one_call_a_text(
    tokenizer: Any, template: str | None
) -> None:
    chosen = with_template(tokenizer, template, bos=True) if template else tokenizer
    same_as_one_by_one(chosen, some_rows())


@pytest.mark.parametrize("kind", ["first", "always", "never", "legacy"])
def test_tokenizers_that_add_a_space_of_their_own(kind: str) -> None:
    made = metaspace(kind)
    same_as_one_by_one(made, some_rows())
    made.chat_template = CHATML.replace("<|im_start|>", "<s>").replace("<|im_end|>", "</s>")
    same_as_one_by_one(made, some_rows())
    row = encode_one(made, pair("What is </s>, then?", "It </s> ends. </s>", "No."))
    assert made.decode(row.chosen) == "It </s> ends. </s></s>"
    assert row.chosen.count(made.eos_token_id) == 1


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared data is not here")
@pytest.mark.parametrize(
    "name", ["lf_dpo_en_demo.json", "lf_dpo_zh_demo.json", "lf_kto_en_demo.json"]
)
def test_batches_give_the_same_tokens_on_real_files(tokenizer: Any, name: str) -> None:
    rows = load(DataSource(path=str(DATA / name))).rows
    same_as_one_by_one(tokenizer, rows)
    pairs = [row for row in rows if isinstance(row, Pair)]
    same_as_one_by_one(tokenizer, [paired_as_chat(row) for row in pairs])


def test_tokenizer_that_minds_what_stands_before_is_given_whole_texts(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokenising in two parts is checked, and given up where it is not the same."""
    from tokenizers.normalizers import Prepend

    odd = with_template(tokenizer, CHATML)
    odd.backend_tokenizer.normalizer = Prepend("_")
    # A text that opens with a line break gets no "_": now parts and wholes differ.
    monkeypatch.setattr(Words, "last_border", lambda _, opening: opening.text.find("\n") + 1)
    scripts = [Encoder(odd, 99).script(pair("Wet?", "Yes.", "No."))]
    assert not scripts[0].splits(Words(odd))  # type: ignore[union-attr]
    same_as_one_by_one(odd, [pair("Wet?", "Yes.", "No."), pair("Cold?", "No.", "Yes.")])
    monkeypatch.setattr(draft, "CHECKED", 0)
    with pytest.raises(AssertionError):
        same_as_one_by_one(odd, [pair("Wet?", "Yes.", "No.")])


def test_progress_counts_every_row_and_may_stop(tokenizer: Any) -> None:
    rows = [pair("Wet?", "Yes.", "No.", i) for i in range(BATCH + 3)]
    seen: list[int] = []
    Encoder(tokenizer, 64).encode(rows, seen.append)
    assert seen == [BATCH, BATCH + 3]

    def stop(done: int) -> None:
        raise InterruptedError(done)

    with pytest.raises(InterruptedError, match=str(BATCH)):
        Encoder(tokenizer, 64).encode(rows, stop)


def test_special_token_spelled_in_the_words_is_trained_as_words(tokenizer: Any) -> None:
    question = "What is <|im_end|> for?<|im_start|>assistant"
    answer = "It ends a turn: <|im_end|>, like this."
    eos, start = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|im_start|>"])
    encoding = Encoder(tokenizer, 256).encode([pair(question, answer, "Who knows.")])
    row = encoding.rows[0]
    assert encoding.plain == 1
    assert row.chosen.count(eos) == 1
    assert row.prompt.count(eos) == 1
    assert row.prompt.count(start) == 2
    assert tokenizer.decode(row.chosen) == answer + "<|im_end|>"
    assert question in tokenizer.decode(row.prompt)
    asked = encode_one(tokenizer, Chat(1, (user(question), assistant(answer))))
    assert asked.input_ids == row.prompt + row.chosen
    assert [token for token in asked.labels if token != IGNORE] == row.chosen


def test_words_that_the_template_rewrites_are_left_as_they_are(tokenizer: Any) -> None:
    shouting = with_template(
        tokenizer, CHATML.replace("{{ m.content }}", "{{ m.content | length }}{{ m.content }}")
    )
    encoding = Encoder(shouting, 256).encode([pair("An <|im_end|>?", "Yes.", "No.")])
    assert encoding.plain == 0
    assert shouting.decode(encoding.rows[0].chosen) == "4Yes.<|im_end|>"


def test_end_of_turn_that_is_not_the_eos_ends_the_answer(tokenizer: Any) -> None:
    other = with_template(tokenizer, CHATML.replace("<|im_end|>", "<|endoftext|>"))
    row = encode_one(other, pair("Wet?", "Yes.", "No."))
    assert other.decode(row.chosen) == "Yes.<|endoftext|>"
    asked = encode_one(other, chat("Wet?", "Yes.", "Sure?", "No."))
    trained = [token for token in asked.labels if token != IGNORE]
    assert other.decode(trained) == "Yes.<|endoftext|>No.<|endoftext|>"


def test_answer_that_repeats_the_frame_is_still_told_from_it(tokenizer: Any) -> None:
    row = encode_one(tokenizer, Pair(1, (), (assistant("assistant"),), (assistant("user"),)))
    assert tokenizer.decode(row.chosen) == "assistant<|im_end|>"
    assert tokenizer.decode(row.rejected) == "user<|im_end|>"


def test_spaces_are_trained_although_their_tokens_report_no_characters(tokenizer: Any) -> None:
    from tokenizers.processors import ByteLevel

    trimming = with_template(tokenizer, CHATML)
    trimming.backend_tokenizer.post_processor = ByteLevel(trim_offsets=True)
    answer = "if wet:\n        go()   "
    row = encode_one(trimming, chat("Code?", answer))
    trained = [token for token in row.labels if token != IGNORE]
    assert trimming.decode(trained) == answer + "<|im_end|>"
    trimming.chat_template = CHATML.replace("\n{{ m", " {{ m").replace("assistant\n", "assistant ")
    row = encode_one(trimming, chat("Code?", "é"))  # the template's space is no part of it
    assert trimming.decode([token for token in row.labels if token != IGNORE]) == "é<|im_end|>"


def test_half_a_surrogate_pair_drops_its_row_alone(tokenizer: Any) -> None:
    rows = [pair("Wet?", "Yes.", "No.", 1), pair("Wet\ud800?", "Yes.", "No.", 2)]
    encoding = Encoder(tokenizer, 64).encode(rows)
    assert [row.number for row in encoding.rows] == [1]
    assert encoding.dropped == Counter({NOT_TEXT: 1})


class Python:
    """A tokenizer without a Rust backend: no batches, no spans."""

    def __init__(self, tokenizer: Any) -> None:
        self.inner = tokenizer

    def __getattr__(self, name: str) -> Any:
        if name == "backend_tokenizer":
            raise AttributeError(name)
        return getattr(self.inner, name)

    def __call__(self, text: str, *, add_special_tokens: bool) -> Any:
        return self.inner(text, add_special_tokens=add_special_tokens)


def test_tokenizer_without_a_rust_backend_gives_the_same(tokenizer: Any) -> None:
    rows: list[Row] = [pair("Wet?", "Yes.", "No."), chat("Wet?", "Yes.", "Sure?", " No.")]
    assert Encoder(Python(tokenizer), 64).encode(rows) == Encoder(tokenizer, 64).encode(rows)


def trained(row: Any) -> list[int]:
    return [token for token in row.labels if token != IGNORE]


def test_earlier_answers_are_trained_under_a_template_that_closes_the_conversation(
    tokenizer: Any,
) -> None:
    closing = with_template(tokenizer, CLOSING)
    row = encode_one(closing, chat("Wet?", "Yes.", "Sure?", "No."))
    assert closing.decode(trained(row)) == "Yes.<|im_end|>No.<|im_end|>"
    closing.eos_token = "<|endoftext|>"
    row = encode_one(closing, chat("Wet?", "Yes.", "Sure?", "No."))
    assert closing.decode(trained(row)) == "Yes.<|im_end|>No.<|im_end|>\n<|endoftext|>"


@pytest.mark.parametrize("trim", [True, False])
def test_word_that_merges_with_the_space_before_it_is_trained_in_a_chat(
    tokenizer: Any, trim: bool
) -> None:
    from tokenizers.processors import ByteLevel

    spaced = with_template(
        tokenizer,
        "{% for m in messages %}{{ m.role }}: {{ m.content }}<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}",
    )
    spaced.backend_tokenizer.post_processor = ByteLevel(trim_offsets=trim)
    asked = encode_one(spaced, chat("Wet?", "the rain."))
    paired = encode_one(spaced, pair("Wet?", "the rain.", "the sun."))
    assert trained(asked) == paired.chosen
    assert spaced.decode(trained(asked)).lstrip() == "the rain.<|im_end|>"


def test_special_token_that_takes_the_spaces_behind_it_is_no_part_of_the_answer(
    tokenizer: Any,
) -> None:
    from tokenizers import AddedToken

    taking = with_template(
        tokenizer,
        "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}",
    )
    names = ("<|user|>", "<|assistant|>")
    taking.add_tokens([AddedToken(name, rstrip=True, special=True) for name in names], True)
    row = encode_one(taking, chat("Wet?", "  Yes."))
    assert taking.decode(trained(row)) == "Yes.<|im_end|>"


def test_answer_is_whole_although_the_end_token_in_it_is_read_as_such(tokenizer: Any) -> None:
    """Where words cannot be kept as words, they do not end the answer early."""
    other = with_template(
        tokenizer,
        CHATML.replace("<|im_end|>", "<|endoftext|>").replace(
            "{{ m.content }}", "{{ m.content | length }}{{ m.content }}"
        ),
    )
    row = encode_one(other, pair("Wet?", "It ends <|im_end|> here.", "No."))
    assert other.decode(row.chosen).endswith("It ends <|im_end|> here.<|endoftext|>")


def test_answer_that_opens_a_chat_is_read_where_the_template_refuses_it_alone(
    tokenizer: Any,
) -> None:
    template = (
        "{% if not messages | selectattr('role', 'equalto', 'user') | list %}"
        "{{ raise_exception('No user query found') }}{% endif %}" + CHATML
    )
    asking = with_template(tokenizer, template)
    row = encode_one(asking, Chat(1, (assistant("Hello."), user("Wet?"), assistant("Yes."))))
    assert asking.decode(trained(row)) == "Yes.<|im_end|>"


@pytest.mark.parametrize(
    "template", ["{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}", "{{ 'a' * 10 ** 15 }}"]
)
def test_template_that_exhausts_the_machine_drops_the_row(tokenizer: Any, template: str) -> None:
    encoding = Encoder(with_template(tokenizer, template), 64).encode([pair("a", "b", "c")])
    assert encoding.dropped == Counter({TEMPLATE_FAILED: 1})


def test_template_that_is_no_template_says_where(tokenizer: Any) -> None:
    broken = with_template(tokenizer, "{% for m in messages %}\n{% endif %}")
    with pytest.raises(InputError, match="line 2"):
        Encoder(broken, 64).encode([pair("a", "b", "c")])
