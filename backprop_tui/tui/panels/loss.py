"""What the training makes smaller."""

from __future__ import annotations

from backprop_tui.core.events import Evaluated, Step
from backprop_tui.tui.panels.chart import ChartPanel, Curve


class LossPanel(ChartPanel):
    """Loss on the training rows and on the held-out ones."""

    TITLE = "Loss"
    CURVES = (
        Curve("train", "line", Step, "loss"),
        Curve("held-out", "marks", Evaluated, "loss"),
    )


class GradientPanel(ChartPanel):
    """How hard each step pulls; shown for sft, which has no rewards."""

    TITLE = "Gradient norm: how hard a step pulls"
    CURVES = (Curve("train", "line", Step, "grad_norm"),)
    INCLUDE = (0.0,)
