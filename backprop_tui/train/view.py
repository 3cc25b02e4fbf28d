"""A row as the model will see it, from the very encoder that trains: same ids, same mask."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from backprop_tui.core.mask import Kind, RowView, SideView, Token
from backprop_tui.core.rows import Chat, Labelled, Pair, Row
from backprop_tui.train.batches import Encoder, Outcome
from backprop_tui.train.draft import AnswersScript, shared_length
from backprop_tui.train.encoded import IGNORE, Masked, Untrainable, masked, sequences
from backprop_tui.train.findings import findings
from backprop_tui.train.guard import Draft
from backprop_tui.train.template import Rendered
from backprop_tui.train.tokens import Span, Words


def view_row(encoder: Encoder, row: Row) -> RowView:
    """The row, token by token. Of a row that is dropped every token is "cut"; one that has
    nothing to train on is shown as all "prompt"; one the template refuses has no sides."""
    label = row.label if isinstance(row, Labelled) else None
    seen = RowView(number=row.number, sides=(), max_length=encoder.max_length, label=label)
    try:
        draft = encoder.draft(row)
    except Untrainable as reason:
        return replace(seen, sides=_untrained(encoder, row), dropped=str(reason))
    outcome = encoder.guarded(row, draft)
    return replace(
        seen,
        sides=tuple(_side(encoder, row, i, draft, outcome) for i in range(len(draft.answers))),
        dropped=outcome.dropped,
        changes=outcome.cut,
        findings=findings(encoder, [row], [outcome]).findings,
    )


def names(row: Row) -> tuple[str, ...]:
    """What its sides are called."""
    if isinstance(row, Pair):
        return ("chosen", "rejected")
    return ("completion",) if isinstance(row, Labelled) else ("chat",)


def _drafted(row: Row, draft: Draft, i: int) -> Masked:
    """One side at the draft's length."""
    if isinstance(row, Chat):
        labels = draft.labels[0] + draft.labels[1]
        ids = draft.context + draft.answers[0]
        return [(token, label != IGNORE) for token, label in zip(ids, labels, strict=True)]
    return masked(draft.context, draft.answers[i])


def _side(encoder: Encoder, row: Row, i: int, draft: Draft, outcome: Outcome) -> SideView:
    words = encoder.words
    full = _drafted(row, draft, i)
    texts = pieces(words, draft.texts[i])
    final = sequences(outcome.encoded)[i] if outcome.encoded else []
    left = kept(full, final)
    shared = range(0)
    if len(draft.answers) > 1:
        start = len(draft.context)
        shared = range(start, start + shared_length(*draft.answers))
    tokens = _tokens(words, full, texts, left or [False] * len(full), shared)
    if left is None and outcome.draft:
        # The template writes the shorter conversation differently: the old text is all cut, and
        # the new one follows it.
        again = outcome.draft.texts[i]
        texts = pieces(words, again)
        whole = [*zip(words.ids([again])[again], [False] * len(texts), strict=True)]
        left = kept([(token, False) for token, _ in whole], [(token, False) for token, _ in final])
        assert left is not None
        trained = iter(final)
        full = [next(trained) if stays else token for token, stays in zip(whole, left, strict=True)]
        tokens += _tokens(words, full, texts, left, range(0))
    return _side_view(words, names(row)[i], tuple(tokens))


def _side_view(words: Words, name: str, tokens: tuple[Token, ...]) -> SideView:
    left = [token for token in tokens if token.kind != "cut"]
    trained = [token for token in left if token.kind == "trained"]
    starts = [
        token.kind == "trained" and (not i or left[i - 1].kind != "trained")
        for i, token in enumerate(left)
    ]
    return SideView(
        name=name,
        tokens=tokens,
        bos=_bos([token.id for token in left], words.tokenizer),
        eos=sum(token.id == words.tokenizer.eos_token_id for token in trained),
        answers=sum(starts),
        ended=bool(trained) and trained[-1].special,
    )


def _bos(ids: list[int], tokenizer: Any) -> int:
    """BOS tokens; where the same token also ends turns, those that open the text."""
    bos = tokenizer.bos_token_id
    if bos == tokenizer.eos_token_id:
        return next((i for i, token in enumerate(ids) if token != bos), len(ids))
    return ids.count(bos)


def _tokens(
    words: Words, masked: Masked, texts: list[str], left: list[bool], shared: range
) -> list[Token]:
    tokens = []
    for i, ((token, trained), stays) in enumerate(zip(masked, left, strict=True)):
        kind: Kind = "cut" if not stays else "trained" if trained else "prompt"
        tokens.append(Token(token, texts[i], kind, token in words.special_ids, i in shared))
    return tokens


def _untrained(encoder: Encoder, row: Row) -> tuple[SideView, ...]:
    """A row with nothing to train on, as text that is only read."""
    script = encoder.script(row)
    if isinstance(script, Untrainable):
        return ()
    texts = script.wholes if isinstance(script, AnswersScript) else (script.text,)
    sides = []
    for name, text in zip(names(row), texts, strict=True):
        ids = encoder.words.ids([text])[text]
        parts = pieces(encoder.words, text)
        tokens = _tokens(
            encoder.words, [(i, False) for i in ids], parts, [True] * len(ids), range(0)
        )
        sides.append(_side_view(encoder.words, name, tuple(tokens)))
    return tuple(sides)


def pieces(words: Words, text: Rendered) -> list[str]:
    """The characters each token completes; joined they are the text.

    A character that takes several tokens stands at the last of them.
    """
    tokens = words.tokens([text])[text]
    if tokens.spans is None:
        return [str(words.tokenizer.decode([i])) for i in tokens.ids]
    return _completed(text.text, tokens.spans)


def _completed(text: str, spans: list[Span]) -> list[str]:
    found, shown = [], 0
    for i, (_, stop) in enumerate(spans):
        following = spans[i + 1][0] if i + 1 < len(spans) else len(text)
        complete = max(shown, min(stop, following) if i + 1 < len(spans) else len(text))
        found.append(text[shown:complete])
        shown = complete
    return found


def kept(full: list[Any], final: list[Any]) -> list[bool] | None:
    """Which items of `full` are left in `final`: a start of it and one later stretch; None when
    `final` is no such thing."""
    shared = shared_length(full, final)
    ending = shared_length(full[::-1], final[::-1])
    # Neighbouring turns look alike where they meet, so the cut may stand in several places:
    # best before a token like the first one or two, which open a turn.
    fewest = len(final) - ending
    opens = [i for i in range(fewest, shared + 1) if i < len(final) and final[i] in full[:2]]
    for first in (
        start for start in (*opens, fewest, shared, min(shared, 1), 0) if start <= shared
    ):
        rest = final[first:]
        for at in range(len(full) - len(rest), first - 1, -1):
            if full[at : at + len(rest)] == rest:
                stretch = range(at, at + len(rest))
                return [i < first or i in stretch for i in range(len(full))]
    return None
