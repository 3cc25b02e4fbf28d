"""One evaluation: its folder, and a pass over its rows for each side and each kind of measuring."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from backprop_tui.core.errors import EXIT_INTERRUPTED, BackpropError
from backprop_tui.core.text import plural
from backprop_tui.train.evals.generate import Text, askable, stops_of, write, write_all
from backprop_tui.train.evals.material import Item, Material
from backprop_tui.train.evals.score import Score, Scorer, score_all
from backprop_tui.train.evals.store import Folder, Record, RowFile, place
from backprop_tui.train.evals.subject import Side, Subject
from backprop_tui.train.evals.weights import Weights, computes_in


class Stopped(BackpropError):
    """Somebody asked to stop; what was measured is kept."""

    exit_code = EXIT_INTERRUPTED


class Progress(Protocol):
    """Told of a pass: what it is and its rows, then how many more are done."""

    def begin(self, title: str, rows: int, there: int) -> None:
        """A pass begins; `there` of its rows were measured before."""

    def advance(self, rows: int) -> None:
        """So many more are done."""

    def end(self) -> None:
        """The pass is over."""


class NoProgress:
    """Nobody is told."""

    def begin(self, title: str, rows: int, there: int) -> None:
        """Not shown."""

    def advance(self, rows: int) -> None:
        """Not shown."""

    def end(self) -> None:
        """Not shown."""


UNASKED = "it has no prompt, or the prompt leaves no room in the model's context"


def quiet(_text: str) -> None:
    """Words that nobody is told."""


def never() -> bool:
    """Nobody asks to stop."""
    return False


class Evaluation:
    """Measures the material, and keeps every row.

    The folder is the process's own while it is open. stopping: asked between batches. Raises
    InputError where weights or folder cannot be used.
    """

    def __init__(
        self,
        subject: Subject,
        material: Material,
        tokenizer: Any,
        say: Callable[[str], None] = quiet,
        *,
        progress: Progress | None = None,
        stopping: Callable[[], bool] = never,
        trust_remote_code: bool = False,
    ) -> None:
        self.subject, self.material, self.tokenizer = subject, material, tokenizer
        self.say, self.progress, self.stopping = say, progress or NoProgress(), stopping
        self.weights = Weights(subject, say, trust_remote_code=trust_remote_code)
        self.warnings: list[str] = []
        self.unanswered = ""  # why some rows got no answer, in words
        identity = {
            **subject.identity(),
            "data_sha256": material.sha256,
            "tokens_sha256": material.tokens_sha256(),
            "kind": material.kind,
        }
        path = place(subject.home, material.name, identity)
        say(f"results: {path}")
        self.folder = Folder(path, identity)

    def __enter__(self) -> Evaluation:
        return self

    def __exit__(self, *_error: object) -> None:
        self.folder.close()
        self.weights.close()

    def scores(self, side: Side) -> dict[int, Score]:
        """Scores of every row by one side, by number, in the order of the rows; those that are
        no finite number are left out."""
        kept = self.folder.rows(f"scores-{side}", _is_score, data=self.material.path)
        numbers = [item.number for item in self.material.items]
        if not kept.rows.keys() >= set(numbers):
            self._score(side, kept)
        kept.close()
        found = {number: _score(kept.rows[number]) for number in numbers}
        return {number: score for number, score in found.items() if score is not None}

    def _score(self, side: Side, kept: RowFile) -> None:
        from backprop_tui.train.engine.build import recorded_variant

        items, there = self.material.items, kept.rows
        with self.weights.of(side) as model:
            check(model, self.tokenizer, self.material)
            scorer = Scorer(
                model,
                self.tokenizer,
                items,
                most=self.subject.tokens,
                half=computes_in(self.subject) is not None,
                variant=recorded_variant(self.subject.run),
            )
            try:
                if scorer.why and side == "tuned":
                    self.warnings.append(f"The quick way to compute is not used: {scorer.why}.")
                self.progress.begin(f"scoring, {side}", len(items), len(there))
                score_all(
                    scorer,
                    lambda number: number in there,
                    lambda scores: kept.append(map(_record, scores)),
                    self._advance,
                )
                self.progress.end()
            finally:
                scorer.close()

    def texts(self, side: Side, rows: int, max_new: int) -> dict[int, Text]:
        """What one side writes to the first `rows` rows, by number. max_new: tokens at most."""
        context = self.subject.facts.context
        items, left = askable(self.material.items, context, max_new)
        self.unanswered = f"{plural(left, 'row')} got no answer: {UNASKED}." if left else ""
        items = items[:rows]
        if not items:
            return {}
        about = {"greedy": True, "max_new_tokens": max_new}
        kept = self.folder.rows(f"texts-{side}-{max_new}", _is_text, **about)
        if not kept.rows.keys() >= {item.number for item in items}:
            self._write(side, kept, items, max_new)
        kept.close()
        return {item.number: _text(kept.rows[item.number]) for item in items}

    def _write(self, side: Side, kept: RowFile, items: Sequence[Item], max_new: int) -> None:
        from backprop_tui.train.engine.forward import causal_model

        there = kept.rows
        with self.weights.of(side) as model:
            check(model, self.tokenizer, self.material)
            writer = causal_model(model)
            stops = stops_of(writer, self.tokenizer, self.material.items)
            self.progress.begin(f"writing, {side}", len(items), len(there))
            write_all(
                items,
                self.subject.text_tokens,
                max_new,
                lambda number: number in there,
                lambda batch: write(writer, self.tokenizer, batch, stops, max_new),
                lambda texts: kept.append(map(_text_record, texts)),
                self._advance,
            )
            self.progress.end()

    def _advance(self, rows: int) -> None:
        if rows:
            self.progress.advance(rows)
        elif self.stopping():
            raise Stopped("stopped; what was measured is kept", code="EVAL_STOPPED")


def check(model: Any, tokenizer: Any, material: Material) -> None:
    """Refuse rows with a token the model has no embedding for. InputError."""
    from backprop_tui.train.encoded import EncodedLabelled
    from backprop_tui.train.trainers import check_tokens

    rows = [
        EncodedLabelled(item.number, item.group.prompt, answer, label=True)
        for item in material.items
        for answer in item.group.answers
    ]
    check_tokens(model, tokenizer, rows)


def _record(score: Score) -> Record:
    return {"row": score.number, "logps": list(score.logps), "tokens": list(score.tokens)}


def _is_score(record: Record) -> bool:
    """Whether a line is a score: an answer without a finite one has None."""
    logps, tokens = record.get("logps"), record.get("tokens")
    return (
        isinstance(logps, list)
        and isinstance(tokens, list)
        and len(logps) == len(tokens) > 0
        and all(one is None or isinstance(one, float) for one in logps)
        and all(isinstance(one, int) and one > 0 for one in tokens)
    )


def _score(record: Record) -> Score | None:
    logps = [one for one in record["logps"] if one is not None and math.isfinite(one)]
    if len(logps) < len(record["logps"]):
        return None
    return Score(record["row"], tuple(logps), tuple(record["tokens"]))


def _text_record(text: Text) -> Record:
    return {"row": text.number, "text": text.text, "tokens": text.tokens, "ended": text.ended}


def _is_text(record: Record) -> bool:
    return (
        isinstance(record.get("text"), str)
        and isinstance(record.get("tokens"), int)
        and isinstance(record.get("ended"), bool)
    )


def _text(record: Record) -> Text:
    return Text(record["row"], record["text"], record["tokens"], record["ended"])
