"""What `eval` found of several runs, side by side where it is of the same rows. Pure."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from backprop_tui.core.metrics import METRICS
from backprop_tui.core.scores import Figure

OTHER_TOKENS = (
    "its rows were read as other tokens (another tokenizer, chat template, "
    "max_length or columns): compare the accuracy; losses and margins are of other tokens."
)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What `eval` found, as its summary.json has it.

    name: of the rows. heldout: those the run held out. kind: how they were read ("pairs", …).
    tokens_sha256: of every token that was read: the same is the same rows. max_new_tokens, regex:
    of the answers that were written.
    """

    name: str
    data: str
    data_sha256: str
    rows: int
    figures: tuple[Figure, ...]
    heldout: bool = False
    kind: str = ""
    tokens_sha256: str = ""
    max_new_tokens: int | None = None
    regex: str | None = None


@dataclass(frozen=True, slots=True)
class Evals:
    """An evaluation that several runs have of the same rows. figures: by metric, one a run."""

    name: str
    data: str
    rows: int
    figures: tuple[tuple[str, tuple[Figure | None, ...]], ...]


def side_by_side(
    paths: Sequence[str],
    evaluations: Sequence[Sequence[Evaluation]],
    *,
    same_heldout: bool | None,
) -> tuple[tuple[Evals, ...], tuple[str, ...]]:
    """Evaluations that two runs or more have of the same rows, and why others are left out.

    paths, evaluations: of each run, the newest evaluation first. same_heldout: whether the runs
    hold the same rows out, as far as their run files tell.
    """
    found: list[Evals] = []
    notes: list[str] = []
    kept = [one for mine in evaluations for one in mine]
    for key in dict.fromkeys(map(_of, kept)):
        every = [[one for one in mine if _of(one) == key] for mine in evaluations]
        chosen = _alike(every)
        here = [one for one in chosen if one]
        what = f"eval of {here[0].data}"
        # The same tokens are the same rows, whatever the run files say.
        alike = len({one.tokens_sha256 for one in here}) == 1 and bool(here[0].tokens_sha256)
        if len(here) < 2:
            without = [path for path, one in zip(paths, chosen, strict=True) if not one]
            rows = "" if here[0].heldout else f" --data {shlex.quote(here[0].data)}"
            notes.append(
                f"Of {', '.join(without)} there is no evaluation on "
                f"{'its held-out rows' if here[0].heldout else here[0].data}: "
                f"backprop-tui eval {shlex.quote(without[0])}{rows} makes one."
            )
        elif here[0].heldout and not (alike or same_heldout):
            notes.append(
                "eval of the held-out rows is left out: they are not known to be the same."
            )
        elif len({(one.rows, one.kind) for one in here}) > 1 or not (alike or here[0].data_sha256):
            notes.append(f"{what} is left out: not of the same rows everywhere.")
        else:
            table, uneven = _table(chosen)
            found.append(Evals(here[0].name, here[0].data, here[0].rows, table))
            if not alike and len({one.tokens_sha256 for one in here}) > 1:
                notes.append(f"{what}: {OTHER_TOKENS}")
            if uneven:
                notes.append(
                    f"{what}: {', '.join(uneven)} left out: of other rows, or written with "
                    "another --max-new-tokens or --regex."
                )
    return tuple(found), tuple(dict.fromkeys(notes))


def _of(one: Evaluation) -> tuple[str, ...]:
    """Of held-out rows the data may differ: what is said of it then is another sentence."""
    return (one.name, "" if one.heldout else one.data_sha256)


def _alike(every: Sequence[Sequence[Evaluation]]) -> list[Evaluation | None]:
    """One of each run: the tokens that most runs have, else the newest."""
    held = Counter(tokens for mine in every for tokens in {one.tokens_sha256 for one in mine})
    return [max(mine, key=lambda one: held[one.tokens_sha256], default=None) for mine in every]


def _table(
    chosen: Sequence[Evaluation | None],
) -> tuple[tuple[tuple[str, tuple[Figure | None, ...]], ...], list[str]]:
    """Each metric, a figure a run; and the metrics that were not measured alike."""
    table: list[tuple[str, tuple[Figure | None, ...]]] = []
    uneven: list[str] = []
    for metric in dict.fromkeys(f.name for one in chosen if one for f in one.figures):
        row = tuple(_figure(one, metric) for one in chosen)
        ways = {
            (figure.n, *_way(one, metric))
            for one, figure in zip(chosen, row, strict=True)
            if one and figure
        }
        if len(ways) > 1:
            uneven.append(metric)
        else:
            table.append((metric, row))
    return tuple(table), uneven


def _way(one: Evaluation, metric: str) -> tuple[object, ...]:
    """What a figure of written answers hangs on besides the rows."""
    if metric not in METRICS or METRICS[metric].needs != "text":
        return ()
    return (one.max_new_tokens, one.regex if metric == "regex" else None)


def _figure(one: Evaluation | None, metric: str) -> Figure | None:
    return next((f for f in one.figures if f.name == metric), None) if one else None
