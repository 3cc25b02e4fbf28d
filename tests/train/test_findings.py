"""What is odd about the masks of a sample: found where it is, and not where it is not."""

from __future__ import annotations

from typing import Any

import pytest

from backprop_tui.core.mask import MaskReport
from backprop_tui.core.quality import Finding
from backprop_tui.core.rows import TOO_LONG, Labelled, Pair, Row
from backprop_tui.train.batches import PROMPT_CUT, Encoder
from backprop_tui.train.findings import findings
from backprop_tui.train.markup import markup_in
from tests.train.tokenizers_here import (
    CHATML,
    REASONING,
    STRICT,
    assistant,
    chat,
    pair,
    pocket,
    system,
    user,
    with_template,
)

SILENT = "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}"
NO_SYSTEM = CHATML.replace(
    "{% for m in messages %}", "{% for m in messages if m.role != 'system' %}"
)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return pocket()


def report(tokenizer: Any, *rows: Row, max_length: int = 256, **options: Any) -> MaskReport:
    return findings(Encoder(tokenizer, max_length, **options), rows)


def only(found: MaskReport) -> Finding:
    (finding,) = found.findings
    return finding


FINE = pair("Wet?", "Yes.", "No.", 1)


def test_clean_rows_have_no_findings_under_any_template(tokenizer: Any) -> None:
    rows = (
        FINE,
        chat("Wet?", "Yes.", "Sure?", "No."),
        Labelled(3, (user("a"),), (assistant("b"),), True),
    )
    for template in (tokenizer.chat_template, CHATML, STRICT):
        clean = report(with_template(tokenizer, template, bos=True), *rows)
        assert (clean.findings, clean.rows, clean.kept) == ((), 3, 3)


def test_two_bos(tokenizer: Any) -> None:
    doubled = with_template(tokenizer, "{{ bos_token }}" + STRICT, bos=True)
    finding = only(report(doubled, FINE, chat("a", "b", "c", "d", number=2)))
    assert (finding.code, finding.count, finding.of) == ("mask-two-bos", 2, 2)
    assert finding.examples == ("row 1", "row 2")


def test_one_bos_for_every_question_is_as_some_models_want_it(tokenizer: Any) -> None:
    each = STRICT.replace("[INST]", "{{ bos_token }}[INST]").replace(
        "{{ bos_token }}{% if", "{% if", 1
    )
    assert not report(with_template(tokenizer, each, bos=True), chat("a", "b", "c", "d")).findings


def test_no_end_of_turn(tokenizer: Any) -> None:
    endless = with_template(tokenizer, CHATML.replace("<|im_end|>", ""))
    finding = only(report(endless, FINE, pair("a", "b", "c", 2)))
    assert (finding.code, finding.level, finding.count) == ("mask-no-eos", "warning", 2)


def test_end_of_turn_that_is_not_the_eos_is_a_note(tokenizer: Any) -> None:
    other = with_template(tokenizer, CHATML.replace("<|im_end|>", "<|endoftext|>"))
    finding = only(report(other, FINE))
    assert (finding.code, finding.level) == ("mask-no-eos", "note")
    assert "<|endoftext|>" in finding.text


def test_cut_answer_has_no_end(tokenizer: Any) -> None:
    found = report(tokenizer, pair("Wet?", "Yes. " * 90, "No."), max_length=40, cut_answers=True)
    assert only(found).code == "mask-no-eos"
    assert "1 answer was cut" in only(found).text


def test_everything_trained_ends_where_its_last_turn_does(tokenizer: Any) -> None:
    chatml = with_template(tokenizer, CHATML)  # writes a line break after the last turn
    assert not report(chatml, chat("a", "b"), train_everything=True).findings


def test_no_trained_token(tokenizer: Any) -> None:
    silent = with_template(tokenizer, SILENT)
    found = report(silent, FINE, pair("a", "b", "c", 2))
    assert (only(found).code, only(found).level) == ("mask-no-trained-token", "problem")
    assert (found.kept, sum(found.dropped.values())) == (0, 2)


def test_empty_prompt(tokenizer: Any) -> None:
    rows = (FINE, Pair(2, (), (assistant("a"),), (assistant("b"),)), pair(" ", "a", "b", 3))
    finding = only(report(tokenizer, *rows))
    assert (finding.code, finding.count, finding.examples) == (
        "mask-empty-prompt",
        2,
        ("row 2", "row 3"),
    )


def test_dropped_system_message(tokenizer: Any) -> None:
    row = Pair(1, (system("Be  brief."), user("a")), (assistant("b"),), (assistant("c"),))
    assert only(report(with_template(tokenizer, NO_SYSTEM), row)).code == "mask-system-dropped"
    assert not report(with_template(tokenizer, STRICT), row).findings


def test_foreign_markup(tokenizer: Any) -> None:
    rows = (FINE, pair("[INST] Wet? [/INST]", "Yes.", "No.", 2))
    finding = only(report(tokenizer, *rows))
    assert (finding.code, finding.count) == ("mask-foreign-markup", 1)
    assert "Llama 2 / Mistral" in finding.text


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("<|im_start|>user\nhi<|im_end|>", "ChatML"),
        ("<|start_header_id|>user<|end_header_id|>", "Llama 3"),
        ("Below is a task.\n\n### Instruction:\nAdd.", "Alpaca"),
        ("<start_of_turn>user\nhi", "Gemma"),
        ("<|user|>\nhi", "Zephyr / Phi"),
        ("\n\nHuman: hi\n\nAssistant: hello", "HH"),
        ("USER: hi ASSISTANT: hello", "Vicuna"),
        ("The human: a user of [brackets] and <tags>.\n# Instruction", ""),
        ("if a < b | c > d: print('<|')", ""),
    ],
)
def test_markup_is_known_by_its_signs(text: str, name: str) -> None:
    assert markup_in(text) == name


def test_special_token_in_the_words(tokenizer: Any) -> None:
    plain = with_template(tokenizer, CHATML)
    row = pair("What is <|pad|>?", "Yes.", "No.")
    finding = only(report(plain, row))
    assert finding.code == "mask-special-in-text"
    assert "trained as words" in finding.text
    shouting = CHATML.replace("{{ m.content }}", "{{ m.content | length }}{{ m.content }}")
    assert "read as the token" in only(report(with_template(tokenizer, shouting), row)).text


def test_what_was_dropped_and_cut_is_counted(tokenizer: Any) -> None:
    rows = (FINE, pair("a", "b " * 90, "c", 2), pair("a " * 90, "b", "c", 3))
    found = report(tokenizer, *rows, max_length=40)
    assert (found.dropped, found.cut, found.kept) == ({TOO_LONG: 1}, {PROMPT_CUT: 1}, 2)


def test_earlier_answers_that_are_only_read(tokenizer: Any) -> None:
    reasoning = with_template(tokenizer, REASONING)
    rows = (FINE, chat("Wet?", "Yes.", number=2), chat("Wet?", "Yes.", "Sure?", "No.", number=3))
    finding = only(report(reasoning, *rows))
    assert (finding.code, finding.examples) == ("mask-answers-read", ("row 3",))
    assert not report(reasoning, *rows, train_everything=True).findings


def test_answer_that_the_template_writes_in_part(tokenizer: Any) -> None:
    reasoning = with_template(tokenizer, REASONING)
    thought = "<think>Rain.</think>Yes."
    rows = (FINE, pair("Wet?", "No.", thought, 2), chat("Wet?", thought, number=3))
    finding = only(report(reasoning, *rows))
    assert (finding.code, finding.examples) == ("mask-answer-left-out", ("row 2", "row 3"))
    assert not report(tokenizer, *rows).findings


def test_token_with_a_control_character_is_named_without_it(tokenizer: Any) -> None:
    from tokenizers import AddedToken

    evil = with_template(tokenizer, CHATML.replace("<|im_end|>", "<\x1b[2J>"))
    evil.add_tokens([AddedToken("<\x1b[2J>", special=True)], special_tokens=True)
    text = only(report(evil, FINE)).text
    assert "\x1b" not in text
    assert "<\\u001b[2J>" in text
