"""The reward margin: by how much the model prefers the chosen answer."""

from __future__ import annotations

from backprop_tui.core.events import Evaluated, Step
from backprop_tui.tui.panels.chart import ChartPanel, Curve, signed


class MarginPanel(ChartPanel):
    """Chosen minus rejected reward, on the training rows and on the held-out ones."""

    TITLE = "Reward margin: chosen − rejected"
    CURVES = (
        Curve("train", "line", Step, "margin", signed),
        Curve("held-out", "marks", Evaluated, "margin", signed),
    )
    INCLUDE = GUIDES = (0.0,)
