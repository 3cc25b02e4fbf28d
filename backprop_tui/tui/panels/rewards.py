"""The two rewards whose difference is the margin."""

from __future__ import annotations

from backprop_tui.core.events import Step
from backprop_tui.tui.panels.chart import ChartPanel, Curve, signed


class RewardsPanel(ChartPanel):
    """Rewards of chosen and rejected training answers, in the method's own unit."""

    TITLE = "Rewards, training rows"
    CURVES = (
        Curve("chosen", "line", Step, "reward_chosen", signed),
        Curve("rejected", "dashed", Step, "reward_rejected", signed),
    )
