"""How often the chosen answer is ahead; for kto also the distance walked from the base."""

from __future__ import annotations

from collections.abc import Sequence

from backprop_tui.core.chart import Run
from backprop_tui.core.events import Evaluated, Event, Started, Step
from backprop_tui.core.reading import figure
from backprop_tui.core.text import percent
from backprop_tui.tui.panels.chart import ChartPanel, Curve
from backprop_tui.tui.panels.panel import LABEL, VALUE, Line, words


def _whole(value: float | None) -> str:
    return percent(None if value is None else value / 100)


KL = Curve("train", "line", Step, "kl")
KL_NAME = "KL term of kto, never below 0"


class AccuracyPanel(ChartPanel):
    """Accuracy in percent, with the KL estimate at the foot where a method has one.

    Where a run reports KL and no accuracy, KL is the chart.
    """

    TITLE = "Accuracy, % of pairs"
    UNPAIRED_TITLE = "Good ranked above bad, %"
    CURVES = (
        Curve("train", "line", Step, "accuracy", _whole, 100.0),
        Curve("held-out", "marks", Evaluated, "accuracy", _whole, 100.0),
        KL,
    )

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.accuracy_title = self.TITLE

    @property
    def shows_kl(self) -> bool:
        """Whether KL is all there is to show."""
        return self.traces[KL].last is not None and all(
            trace.last is None for curve, trace in self.traces.items() if curve is not KL
        )

    def take(self, event: Event) -> None:
        """Decide by what came in whether the chart is accuracy or KL."""
        super().take(event)
        if isinstance(event, Started) and event.method == "kto":
            self.accuracy_title = self.UNPAIRED_TITLE
        kl = self.shows_kl
        if (title := words(KL_NAME if kl else self.accuracy_title)) != self.border_title:
            self.border_title = title  # drawn anew even when it is the same
        self.INCLUDE = (0.0,) if kl else (0.0, 100.0)
        self.GUIDES = () if kl else (50.0,)

    def curves(self) -> Sequence[Curve]:
        """Accuracy of both kinds of rows, or KL."""
        if self.shows_kl:
            return [KL]
        return [curve for curve in super().curves() if curve is not KL]

    def foot(self, width: int) -> Line:
        """The newest KL estimate, where the chart is not of it already."""
        last = self.traces[KL].last
        if last is None or self.shows_kl:
            return []
        value = figure(last)
        fits = [label for label in (f"{KL_NAME} ", "KL ") if len(label + value) <= width]
        return [Run(fits[0], LABEL), Run(value, VALUE)] if fits else []
