"""Step 2: the model to tune."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.content import Content

from backprop_tui.core.facts import ModelFacts
from backprop_tui.core.text import NA, count, parameters, size
from backprop_tui.tui import words
from backprop_tui.tui.facts_table import FactsTable, Line
from backprop_tui.tui.field import ChoiceField, TextField, planner
from backprop_tui.tui.paths import Offer, is_model
from backprop_tui.tui.picker import PathField
from backprop_tui.tui.signs import SIGNS
from backprop_tui.tui.steps.base import Step
from backprop_tui.tui.trainable import trainable
from backprop_tui.tui.view import View

POCKET = Offer("pocket", "bundled: a tiny model that trains on any machine in a minute")


class ModelStep(Step):
    """Name it, see what it is, choose how its weights are held."""

    name_ = "model"
    title = "Model"
    intro = (
        "Which model to tune: a folder, a Hugging Face id, or the bundled one (f2). "
        "tab completes a path."
    )

    def compose_body(self) -> ComposeResult:
        yield PathField(
            "model.id",
            "model",
            wanted=is_model,
            known=self.known,
            empty="folder, owner/name, or pocket",
        )
        yield FactsTable("model-facts")
        yield ChoiceField("model.precision", "precision", words.PRECISIONS, help="")
        yield TextField("model.chat_template", "chat template", empty="from the model")
        yield TextField("model.revision", "revision", empty="newest")

    def known(self) -> tuple[Offer, ...]:
        """The bundled model, and those in the local cache, with whether they can be trained."""
        keeper = planner(self)
        found = [POCKET]
        for model in keeper.cached or ():
            note = f"{size(model.bytes)}, on this machine"
            if (facts := keeper.cached_facts.get(model.name)) is not None:
                note += trainable(keeper.view, facts)
            found.append(Offer(model.name, note))
        return tuple(found)

    def show_body(self, view: View) -> None:
        facts = view.facts.model
        table = self.query_one("#model-facts", FactsTable)
        looking = [Content(f"looking it up {SIGNS.more}")] if "model" in view.reading else []
        table.show(model_table(facts) if facts else looking)
        self.query_one("#field-model-precision", ChoiceField).say(words.precision(view))
        # Only asked for when they can matter.
        template = self.query_one("#field-model-chat_template")
        template.display = bool(
            view.plan.model.chat_template or (facts and not facts.chat_template)
        )
        revision = self.query_one("#field-model-revision")
        on_hub = facts is not None and facts.source in ("hub", "cache")
        revision.display = bool(view.plan.model.revision or on_hub)


def model_table(facts: ModelFacts) -> list[Line]:
    """What its config and weight headers say."""
    where = {
        "pocket": "bundled with this tool",
        "folder": facts.path or "a folder on this machine",
        "cache": "in the local Hugging Face cache",
        "hub": "on the Hugging Face hub, not yet on this machine",
    }[facts.source]
    stored = f"{size(facts.weight_bytes)}, {facts.dtype or NA}"
    if facts.quantisation:
        stored += f", quantised ({facts.quantisation})"
    return [
        (("architecture", facts.architecture or NA), ("parameters", parameters(facts.parameters))),
        (("weights", stored), ("layers", f"{count(facts.layers)}, {count(facts.hidden)} wide")),
        (("context", f"{count(facts.context)} tokens"), ("vocabulary", count(facts.vocabulary))),
        (
            ("tokenizer", "yes" if facts.tokenizer else "missing"),
            ("chat template", "yes" if facts.chat_template else "missing"),
        ),
        ("found", where),
    ]
