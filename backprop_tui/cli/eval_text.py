"""An evaluation as text: a table of two lines a metric, at most 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from backprop_tui.core.metrics import METRICS, Metric
from backprop_tui.core.scores import Figure
from backprop_tui.core.text import plural

if TYPE_CHECKING:
    from backprop_tui.train.evals.evaluate import Result

COLUMNS = 80
WIDTHS = (13, 18, 18, 18)
KINDS = {"pairs": "pair", "marked": "marked answer", "chats": "conversation"}


def text(done: Result, name: str) -> list[str]:
    """Lines: what was measured, the table, what could not be, the gates."""
    used = done.summary["rows"]
    where = "its held-out rows" if done.material.heldout else done.material.path
    lines = [f"{name} on {where}: {plural(used, KINDS[done.material.kind])}", ""]
    lines += table(done.figures)
    lines += ["", "Under each figure: its 95 % bootstrap interval over the same examples."]
    lines += _wrapped(" ".join(_legend({one.name for one in done.figures})))
    if done.unused:
        lines += _wrapped(f"Not measured: {_counted(done.unused)}.")
    if done.material.cut:
        lines += _wrapped(f"Shortened: {_counted(done.material.cut)}.")
    lines += _absent(done.absent)
    if done.gates:
        lines += ["", "Gates"]
        for one in done.gates:
            verdict = f"  {'passed' if one.passed else 'FAILED'}  {one.reason}"
            lines += textwrap.wrap(verdict, COLUMNS, subsequent_indent=" " * 10)
    return lines


def _legend(names: set[str]) -> Iterator[str]:
    """What cannot be guessed of the figures that are shown."""
    if "margin" in names:
        yield (
            "accuracy: how often the chosen answer is the likelier, per token; margin: by how "
            "much, in nats; *_sum: of whole answers. The margins of a run's log are its method's "
            "rewards, on another scale (simpo: beta times these)."
        )
    if "loss" in names:
        yield "loss: of the good answers, nats a token."
    if "length" in names:
        yield "Answers the model wrote are compared with the good ones; length: in tokens."
    yield "docs/eval.md explains each."


def table(figures: tuple[Figure, ...]) -> list[str]:
    """Base, tuned, their difference and the examples; of a model by itself one column."""
    compared = any(one.base is not None for one in figures)
    heads = ("base", "tuned", "difference") if compared else ("value",)
    lines = [_row(("metric", *heads), "examples")]
    for one in figures:
        metric = METRICS[one.name]
        ours = (one.tuned, one.tuned_low, one.tuned_high)
        theirs = (one.base, one.base_low, one.base_high)
        columns = [(theirs, False), (ours, False), ((one.difference, one.low, one.high), True)]
        cells = [
            (value(metric, at, signed=signed), _between(metric, low, high, signed))
            for (at, low, high), signed in (columns if compared else columns[1:2])
        ]
        lines.append(_row((one.name, *(at for at, _ in cells)), f"{one.n:,}"))
        lines.append(_row(("", *(between for _, between in cells)), ""))
    return [line.rstrip() for line in lines]


def value(metric: Metric, number: float | None, *, signed: bool) -> str:
    """A share in percent, a difference of shares in points, another number to four digits."""
    if number is None:
        return "n/a"
    sign = "+" if signed else ""
    if metric.unit == "share":
        return f"{100 * number:{sign}.1f} {'points' if signed else '%'}"
    return _plain(number, sign)


def _between(metric: Metric, low: float | None, high: float | None, signed: bool) -> str:
    if low is None or high is None:
        return ""
    sign = "+" if signed else ""
    if metric.unit == "share":
        return f"{100 * low:{sign}.1f} to {100 * high:{sign}.1f}"
    return f"{_plain(low, sign)} to {_plain(high, sign)}"


def _plain(number: float, sign: str) -> str:
    size = abs(number)
    if size and not 1e-3 <= size < 1e5:
        return f"{number:{sign}.1e}"
    digits = 3 if size < 10 else 2 if size < 100 else 1 if size < 1000 else 0
    return f"{number:{sign}.{digits}f}"


def _row(cells: tuple[str, ...], last: str) -> str:
    padded = (f"{cell:<{width - 1}} " for cell, width in zip(cells, WIDTHS, strict=False))
    return "".join(padded) + f"{last:>9}"


def _absent(absent: dict[str, str]) -> list[str]:
    """Metrics without a figure, those with one reason together."""
    by_reason: dict[str, list[str]] = {}
    for name, why in absent.items():
        by_reason.setdefault(why, []).append(name)
    lines = []
    for why, names in by_reason.items():
        lines += _wrapped(f"Not computed: {', '.join(names)}: {why}.")
    return lines


def _counted(reasons: dict[str, int]) -> str:
    return ", ".join(f"{n:,} {why}" for why, n in reasons.items())


def _wrapped(line: str) -> list[str]:
    return textwrap.wrap(line, COLUMNS, subsequent_indent="  ")
