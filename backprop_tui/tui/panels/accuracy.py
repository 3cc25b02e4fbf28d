"""The share of pairs in the right order; for kto, which has no pairs, the distance walked."""

from __future__ import annotations

from collections.abc import Sequence

from backprop_tui.core.events import Evaluated, Event, Started, Step
from backprop_tui.core.text import percent
from backprop_tui.tui.panels.chart import ChartPanel, Curve
from backprop_tui.tui.panels.panel import words


def _whole(value: float | None) -> str:
    return percent(None if value is None else value / 100)


KL = Curve("train", "line", Step, "kl")


class AccuracyPanel(ChartPanel):
    """Accuracy in percent; the KL estimate where a run reports that and no accuracy."""

    TITLE = "Accuracy, % of pairs"
    KL_TITLE = "Distance from the base (KL)"
    CURVES = (
        Curve("train", "line", Step, "accuracy", _whole, 100.0),
        Curve("held-out", "marks", Evaluated, "accuracy", _whole, 100.0),
        KL,
    )

    @property
    def shows_kl(self) -> bool:
        """Whether KL is all there is to show."""
        return self.traces[KL].last is not None and all(
            trace.last is None for curve, trace in self.traces.items() if curve is not KL
        )

    def take(self, event: Event) -> None:
        """Decide by what came in whether this is accuracy or KL."""
        super().take(event)
        kto = isinstance(event, Started) and event.method == "kto"
        if kto or isinstance(event, Step | Evaluated):
            title = self.KL_TITLE if kto or self.shows_kl else self.TITLE
            if not (isinstance(event, Evaluated) and event.accuracy is None):
                self.border_title = words(title)
            self.INCLUDE = (0.0,) if self.shows_kl else (0.0, 100.0)
            self.GUIDES = () if self.shows_kl else (50.0,)

    def curves(self) -> Sequence[Curve]:
        """Accuracy of both kinds of rows, or KL."""
        if self.shows_kl:
            return [KL]
        return [curve for curve in super().curves() if curve is not KL]
