"""The two rewards whose difference is the margin, and the log-probabilities behind them."""

from __future__ import annotations

from backprop_tui.core.chart import Run, key
from backprop_tui.core.events import Event, Step
from backprop_tui.tui.panels.chart import ChartPanel, Curve, signed
from backprop_tui.tui.panels.panel import LABEL, VALUE, Line
from backprop_tui.tui.signs import is_plain

LABELS = ("log-prob/token ", "per token ", "")  # the longest one that fits


class RewardsPanel(ChartPanel):
    """Rewards of chosen and rejected training answers, in the method's own unit.

    The foot has their log-probabilities per token: a margin can widen while both fall.
    """

    TITLE = "Rewards, training rows"
    CURVES = (
        Curve("chosen", "line", Step, "reward_chosen", signed),
        Curve("rejected", "dashed", Step, "reward_rejected", signed),
    )

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.logps: list[float | None] = [None, None]  # newest of each side

    def restart(self) -> None:
        """Without figures."""
        super().restart()
        self.logps = [None, None]

    def take(self, event: Event) -> None:
        """Keep the log-probabilities as well; a step of kto may have one side only."""
        super().take(event)
        if isinstance(event, Step):
            newest = (event.logp_chosen, event.logp_rejected)
            self.logps = [
                old if new is None else new for old, new in zip(self.logps, newest, strict=True)
            ]

    def foot(self, width: int) -> Line:
        """Per token, by the signs of the curves."""
        line: Line = []
        for i, (curve, value) in enumerate(zip(self.CURVES, self.logps, strict=True)):
            if value is not None:
                gap = "  " if line else ""
                line += [
                    Run(gap + key(curve.style, is_plain()), i),
                    Run(f" {signed(value)}", VALUE),
                ]
        room = width - sum(len(run.text) for run in line)
        fits = [label for label in LABELS if len(label) <= room]
        return [Run(fits[0], LABEL), *line] if line and fits else []
