"""What is odd about the masks of a sample, each with its count, first rows, and what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise

from backprop_tui.core.mask import MaskReport, visible
from backprop_tui.core.quality import Finding
from backprop_tui.core.rows import NO_TRAINED_TOKEN, Chat, Message, Row, prompt_of
from backprop_tui.core.text import plural
from backprop_tui.train.batches import Encoder, Outcome
from backprop_tui.train.draft import answers_of
from backprop_tui.train.encoded import ANSWER_CUT, PROMPT_CUT, Masked, sequences
from backprop_tui.train.guard import INSTRUCTIONS
from backprop_tui.train.markup import markup_in

FIRST = 3  # rows named of each finding


@dataclass(slots=True)
class _Rows:
    """The rows of one finding, and what it was in each: token or markup names, say."""

    numbers: list[int] = field(default_factory=list)
    names: Counter[str] = field(default_factory=Counter)


def findings(
    encoder: Encoder, rows: Sequence[Row], outcomes: Iterable[Outcome] | None = None
) -> MaskReport:
    """Encode the rows and say what is odd. outcomes: of the rows, when they are known."""
    found: dict[str, _Rows] = {}
    dropped: Counter[str] = Counter()
    cut: Counter[str] = Counter()
    kept = 0
    for row, outcome in zip(rows, outcomes or encoder.outcomes(rows), strict=True):
        kept += outcome.encoded is not None
        cut.update(outcome.cut)
        if outcome.encoded is None:
            dropped[outcome.dropped] += 1
        for kind, name in _odd(encoder, row, outcome):
            this = found.setdefault(kind, _Rows())
            if this.numbers[-1:] != [row.number]:
                this.numbers.append(row.number)
            this.names[name] += 1
    return MaskReport(
        rows=len(rows),
        kept=kept,
        dropped=dict(dropped),
        cut=dict(cut),
        findings=tuple(
            _finding(kind, found[kind], len(rows)) for kind in SENTENCES if kind in found
        ),
    )


def _odd(encoder: Encoder, row: Row, outcome: Outcome) -> Iterator[tuple[str, str]]:
    """What is odd about one row: a key of SENTENCES and what it was, "" where that says all."""
    messages = _messages(row)
    if outcome.dropped == NO_TRAINED_TOKEN:
        yield "untrained", ""
    if not any(message.content.strip() for message in prompt_of(row)):
        yield "no-prompt", ""
    for markup in {markup_in(message.content) for message in messages} - {""}:
        yield "markup", markup
    spelled = set(encoder.template.spelled(messages))
    if spelled:
        words = _kept_as_words(encoder, row, outcome)
        for token in spelled:
            yield "special" if words else "special-read", token
    if outcome.draft:
        systems = [message for message in messages if message.role in INSTRUCTIONS]
        if _left_out(systems, outcome.draft.texts[0].text):
            yield "system", ""
        answers = answers_of(row) or [_answers(outcome.draft.messages)[-1:]]
        if any(map(_left_out, answers, [text.text for text in outcome.draft.texts])):
            yield "answer", ""
    if outcome.encoded:
        if isinstance(row, Chat) and _answers_read(encoder, outcome):
            yield "read", ""
        users = sum(message.role == "user" for message in messages)
        for sequence in sequences(outcome.encoded):
            if _two_bos(encoder, [token for token, _ in sequence], users):
                yield "two-bos", ""
            for end in _ends(encoder, sequence):
                if end not in encoder.words.special_ids:
                    yield "no-end", ANSWER_CUT if ANSWER_CUT in outcome.cut else ""
                elif end != encoder.tokenizer.eos_token_id:
                    yield "other-end", encoder.tokenizer.decode([end])


def _messages(row: Row) -> tuple[Message, ...]:
    if isinstance(row, Chat):
        return row.messages
    return row.prompt + sum(answers_of(row), ())


def _kept_as_words(encoder: Encoder, row: Row, outcome: Outcome) -> bool:
    """Whether special tokens that the words spell are trained as words."""
    if outcome.draft is None:
        return encoder.template.keep_words
    left = outcome.draft.messages + sum(answers_of(row), ())
    return outcome.plain or not encoder.template.spelled(left)


def _answers(messages: Sequence[Message]) -> list[Message]:
    return [message for message in messages if message.role == "assistant"]


def _left_out(messages: Sequence[Message], text: str) -> bool:
    """Whether some of these words are not in the text, however it is laid out."""
    flat = " ".join(text.split())
    return any(" ".join(message.content.split()) not in flat for message in messages)


def _answers_read(encoder: Encoder, outcome: Outcome) -> bool:
    """Whether an answer of a chat is read and not trained, though it was not cut."""
    assert outcome.draft
    assert outcome.encoded
    if encoder.train_everything or PROMPT_CUT in outcome.cut:
        return False
    # Neighbouring answers may be trained as one stretch.
    roles = [role for role, _ in groupby(message.role for message in outcome.draft.messages)]
    (sequence,) = sequences(outcome.encoded)
    return len(_ends(encoder, sequence)) < roles.count("assistant")


def _two_bos(encoder: Encoder, ids: list[int], users: int) -> bool:
    """A template may write a BOS for every question (Llama 2 does), and never two in a row."""
    bos = encoder.tokenizer.bos_token_id
    if bos is None:
        return False
    if bos == encoder.tokenizer.eos_token_id:  # it also ends turns
        return ids[:2] == [bos, bos]
    in_a_row = any(a == b == bos for a, b in pairwise(ids))
    return in_a_row or ids.count(bos) > max(1, users)


def _ends(encoder: Encoder, sequence: Masked) -> list[int]:
    """The last token of each trained stretch."""
    if encoder.train_everything:  # what the template writes after the last turn is trained too
        eos = encoder.tokenizer.eos_token_id
        return [eos] if any(token == eos for token, _ in sequence) else [sequence[-1][0]]
    return [
        token
        for i, (token, trained) in enumerate(sequence)
        if trained and (i + 1 == len(sequence) or not sequence[i + 1][1])
    ]


@dataclass(frozen=True, slots=True)
class _Sentence:
    """How a finding is told: what is odd, the same for one row and for many, and what to do."""

    code: str
    odd: str | Callable[[_Rows], str]
    do: str
    note: bool = False


def _names(rows: _Rows) -> str:
    return ", ".join(visible(name) for name, _ in rows.names.most_common(FIRST))


def _no_end(rows: _Rows) -> str:
    cut = rows.names[ANSWER_CUT]
    return "no end-of-turn token after an answer, so the model does not learn where to stop" + (
        f" ({plural(cut, 'answer was', 'answers were')} cut to fit)" if cut else ""
    )


SENTENCES = {
    "untrained": _Sentence(
        code="mask-no-trained-token",
        odd="no token to train on, so it is left out",
        do="Look at one: its answer is empty once rendered, or the template leaves it out.",
    ),
    "no-end": _Sentence(
        code="mask-no-eos",
        odd=_no_end,
        do="Give a template that ends the assistant's turn with the EOS in model.chat_template; "
        "or raise data.max_length where answers are cut.",
    ),
    "other-end": _Sentence(
        code="mask-no-eos",
        odd=lambda rows: f"an answer ends with {_names(rows)}, which is not the tokenizer's EOS",
        do="Nothing, where the model's generation_config.json stops at that token.",
        note=True,
    ),
    "two-bos": _Sentence(
        code="mask-two-bos",
        odd="more than one BOS, a start the model has never seen",
        do="Take one out of the chat template.",
    ),
    "system": _Sentence(
        code="mask-system-dropped",
        odd="a system message that the chat template leaves out",
        do="Move its words into the first user turn, or give a template with a system turn in "
        "model.chat_template.",
    ),
    "answer": _Sentence(
        code="mask-answer-left-out",
        odd="words of an answer that the chat template leaves out, its reasoning perhaps",
        do="Give a template that writes the whole answer in model.chat_template, if those words "
        "are to be learned.",
    ),
    "read": _Sentence(
        code="mask-answers-read",
        odd="earlier answers that are only read, since the chat template writes them differently "
        "once more turns follow",
        do="Nothing, where the last answer is what counts; else give a template that writes every "
        "answer alike in model.chat_template.",
    ),
    "markup": _Sentence(
        code="mask-foreign-markup",
        odd=lambda rows: (
            f"chat markup in the words ({_names(rows)}), as if a template was applied before"
        ),
        do="Take the markup out of the file: the model's own template is applied to plain words.",
    ),
    "special": _Sentence(
        code="mask-special-in-text",
        odd=lambda rows: (
            f"the words spell a special token of this model ({_names(rows)}); they are "
            "trained as words, not as the token"
        ),
        do="Nothing, where the words are about such tokens; else take them out of the file.",
    ),
    "special-read": _Sentence(
        code="mask-special-in-text",
        odd=lambda rows: (
            f"the words spell a special token of this model ({_names(rows)}), and are "
            "read as the token"
        ),
        do="Take it out of the file: it can end a turn early, or open a false one.",
    ),
    "no-prompt": _Sentence(
        code="mask-empty-prompt",
        odd="no prompt, so the answer follows the template's frame alone",
        do="Map the prompt's column in [data.columns], if there is one.",
    ),
}


def _finding(kind: str, rows: _Rows, of: int) -> Finding:
    sentence = SENTENCES[kind]
    n = len(rows.numbers)
    everywhere = n == of and kind == "untrained"
    subject = f"{n:,} of {plural(of, 'row')}" if of > 1 else "this row"
    odd = sentence.odd if isinstance(sentence.odd, str) else sentence.odd(rows)
    return Finding(
        code=sentence.code,
        level="note" if sentence.note else "problem" if everywhere else "warning",
        count=n,
        of=of,
        text=f"{subject[0].upper()}{subject[1:]}: {odd}.",
        examples=tuple(f"row {number}" for number in rows.numbers[:FIRST]),
        do=sentence.do,
    )
