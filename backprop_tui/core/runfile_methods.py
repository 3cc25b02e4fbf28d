"""A method's own table in the run file: its knobs, and whatever else it lets you decide.

A method of METHODS without a class here gets a table made from its knobs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model, field_validator
from pydantic_core import PydanticCustomError

from backprop_tui.core.methods import METHODS, Method
from backprop_tui.core.printable import printable

if TYPE_CHECKING:
    MethodChoice = str
else:
    MethodChoice = Literal[tuple(METHODS)]
LARGEST = 1 << 63
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Section(BaseModel):
    """A table of the run file: strict types, no unknown keys, never changed in place."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @field_validator("*")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        """Names and paths hold nothing that a terminal obeys and no file system takes; whole
        numbers are those of TOML, of 64 bits."""
        inner = value if isinstance(value, list) else [value]
        if any(isinstance(text, str) and printable(text) != text for text in inner):
            raise PydanticCustomError("control", "text without control characters")
        cells = list(value.values()) if isinstance(value, dict) else inner
        if any(isinstance(number, int) and abs(number) >= LARGEST for number in cells):
            raise PydanticCustomError("too_large", "a smaller number")
        return value


class SftSection(Section):
    """Supervised fine-tuning."""

    train_on: Literal["answers", "everything"] = Field(
        "answers", description="Only the assistant's turns, or every token."
    )


class OrpoSection(Section):
    """ORPO, arXiv:2403.07691."""

    beta: Positive = Field(0.1, description=METHODS["orpo"].knobs[0].help)


class SimpoSection(Section):
    """SimPO, arXiv:2405.14734."""

    beta: Positive = Field(2.0, description=METHODS["simpo"].knobs[0].help)
    gamma: Positive = Field(1.0, description=METHODS["simpo"].knobs[1].help)


class KtoSection(Section):
    """KTO, arXiv:2402.01306."""

    beta: Positive = Field(0.1, description=METHODS["kto"].knobs[0].help)
    desirable_weight: Positive = Field(1.0, description=METHODS["kto"].knobs[1].help)
    undesirable_weight: Positive = Field(1.0, description=METHODS["kto"].knobs[2].help)
    rebalance: bool = Field(
        True, description="Raise the weight of the rarer label into the paper's band."
    )


WRITTEN: dict[str, type[Section]] = {
    "sft": SftSection,
    "orpo": OrpoSection,
    "simpo": SimpoSection,
    "kto": KtoSection,
}


def _table(method: Method) -> type[Section]:
    """The knobs of a method as a table."""
    fields: dict[str, Any] = {
        knob.name: (Positive, Field(knob.default, description=knob.help)) for knob in method.knobs
    }
    return create_model(
        f"{method.name.title()}Section", __base__=Section, __doc__=f"{method.source}.", **fields
    )


METHOD_SECTIONS: dict[str, type[Section]] = {
    name: WRITTEN.get(name) or _table(method) for name, method in METHODS.items()
}
