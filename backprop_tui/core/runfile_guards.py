"""The [guards] table of a run file: what may stop, pause or shorten a run while nobody looks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from backprop_tui.core.runfile_methods import Positive, Section

Watch = Literal["accuracy", "margin", "loss"]
Celsius = Annotated[int, Field(ge=30, le=110)]


class GuardsSection(Section):
    """What watches over the run. Without a key it warns and goes on."""

    watch: Watch | None = Field(
        None,
        description="The held-out figure that tells better from worse. Absent: accuracy, equal "
        "ones told apart by margin; loss for sft.",
    )
    patience: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Stop after so many measurements in a row without a better one."
    )
    stop_on_explosion: bool = Field(
        False, description="Stop when the gradient norm stays over 100; without, only warn."
    )
    stop_on_inflation: bool = Field(
        False,
        description="Stop when the train margin rises and the held-out figures stay flat; "
        "without, only warn.",
    )
    max_temperature: Celsius | None = Field(
        None, description="Pause when the card is hotter, in degrees Celsius."
    )
    resume_temperature: Celsius | None = Field(
        None, description="Go on when it has cooled to this. Absent: 10 below max_temperature."
    )
    max_hours: Positive | None = Field(None, description="Stop and save after so many hours.")
    shorten_rows: bool = Field(
        False,
        description="When the card runs out of memory and a smaller batch is not enough: cut "
        "long rows shorter than data.max_length rather than give up.",
    )
