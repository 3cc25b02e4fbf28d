"""Step 5: how fast, how long, on which layers, and where it is written."""

from __future__ import annotations

from pathlib import Path

from textual.app import ComposeResult
from textual.widgets import Static

from backprop_tui.core.text import count, plural
from backprop_tui.tui import words
from backprop_tui.tui.field import ChoiceField, SwitchField, TextField, planner
from backprop_tui.tui.signs import SIGNS
from backprop_tui.tui.steps.base import Step
from backprop_tui.tui.view import View

TARGETS = {"all-linear": "all linear layers", "attention": "attention only"}
SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant"}
OPTIMIZERS = {
    "auto": "auto",
    "adamw": "AdamW",
    "adamw_8bit": "AdamW, 8 bits",
    "paged_adamw_8bit": "AdamW, 8 bits, paged",
}


class AdapterSwitch(SwitchField):
    """Whether there is a [lora] table at all."""

    def change(self, on: bool) -> None:
        planner(self).use_adapter(on)


class TuningStep(Step):
    """Everything here has a sound default."""

    name_ = "tuning"
    title = "Tuning"
    intro = "Every setting here has a sound default: change only what you know you want."

    def compose_body(self) -> ComposeResult:
        yield Static("Rate and length", classes="group")
        yield TextField("training.learning_rate", "learning rate", "number", empty="auto", help="")
        yield SwitchField("training.lr_clamp", "guard the rate")
        yield TextField("training.epochs", "epochs", "number", empty="1")
        yield TextField(
            "training.max_steps",
            "max steps",
            "whole",
            empty="no limit",
            help="Stop after this many steps, whatever the epochs.",
        )
        yield Static("Batch", classes="group")
        yield TextField("training.batch_size", "batch size", "whole", empty="2")
        yield TextField("training.accumulation", "accumulation", "whole", empty="8")
        yield SwitchField("training.checkpointing", "checkpointing")
        yield Static("Adapter", classes="group")
        yield AdapterSwitch(
            "lora",
            "train an adapter",
            help="Off: every weight is trained (full fine-tuning), which takes far more memory.",
        )
        yield TextField("lora.rank", "rank", "whole", empty="16")
        yield TextField("lora.alpha", "alpha", "number", empty="32")
        yield ChoiceField("lora.targets", "targets", dict(TARGETS))
        yield Static("Course and saving", classes="group")
        yield ChoiceField("training.schedule", "schedule", SCHEDULES)
        yield TextField("training.warmup", "warm-up", "number", empty="0.1")
        yield ChoiceField("training.optimizer", "optimizer", OPTIMIZERS)
        yield TextField("training.eval_steps", "measure every", "whole", empty="auto", help="")
        yield TextField("training.save_steps", "save every", "whole", empty="auto", help="")
        yield TextField("training.seed", "seed", "whole", empty="0")
        yield TextField("output", "write to", empty="auto", help="")

    def show_body(self, view: View) -> None:
        used, plan = view.effective, view.plan
        self._say("training.learning_rate", words.learning_rate(view))
        batch = used.batch_size * used.accumulation
        self._say(
            "training.accumulation",
            f"{used.batch_size} {SIGNS.times} {used.accumulation} = {plural(batch, 'row')} a step",
        )
        if used.steps:
            self._say("training.epochs", f"{plural(used.steps, 'step')} in all")
        self._say("training.eval_steps", f"steps; measures every {count(used.eval_steps)}")
        self._say("training.save_steps", f"steps; saves every {count(used.save_steps)}")
        self._say(
            "training.optimizer",
            ""
            if plan.training.optimizer != "auto"
            else f"auto means {OPTIMIZERS.get(used.optimizer, used.optimizer)} here",
        )
        self._say("output", shortened(words.output_path(plan)))
        for key in ("lora-rank", "lora-alpha", "lora-targets"):
            self.query_one(f"#field-{key}").display = plan.lora is not None

    def _say(self, key: str, text: str) -> None:
        field = self.query_one(f"#field-{key.replace('.', '-')}")
        assert isinstance(field, TextField | ChoiceField)
        field.say(text)


def shortened(path: Path) -> str:
    """A path with the home folder as ~."""
    try:
        return f"~/{path.relative_to(Path.home())}"
    except ValueError:
        return str(path)
