"""The model card of an export: what was trained, on what, with what, and how it did. Pure.

Markdown with YAML front matter, the fields as the hub reads them
(https://huggingface.co/docs/hub/model-cards). Local paths are named by their last part alone, and
secrets are left out: a card is made to be shown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

from backprop_tui.core import runfile_io
from backprop_tui.core.events import Evaluated
from backprop_tui.core.history import History
from backprop_tui.core.methods import METHODS
from backprop_tui.core.reading import figure
from backprop_tui.core.redact import redact
from backprop_tui.core.runfile import ProvenanceSection, RunFile
from backprop_tui.core.text import count, percent, plural, rate

Kind = Literal["adapter", "merged", "model"]
LICENCE = re.compile(r"^license(_name|_link)?:[ \t]*([^\s#].*?)[ \t]*(?: #.*)?$", re.MULTILINE)
FILL_IN = "# to fill in: the base model's licence says what is allowed"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
WHAT = {
    "adapter": "A LoRA adapter, as it was trained; it needs its base model.",
    "merged": "The base model with the LoRA adapter merged into its weights.",
    "model": "Every weight of the model was trained.",
}
QUANTISED = ("nf4", "int8")


@dataclass(frozen=True, slots=True)
class Export:
    """What is exported. run: with its provenance. history: the run's events. licence: fields of the
    base model's own card. agreement: how well merged and adapter agree, in words; "" when nothing
    was merged. gguf: a file's name, "" without."""

    kind: Kind
    run: RunFile
    history: History
    run_sha256: str
    licence: Mapping[str, str]
    agreement: str = ""
    gguf: str = ""


def model_card(export: Export) -> str:
    """The text of README.md."""
    run = export.run
    made = run.provenance or ProvenanceSection()
    base, adapter = public_name(run.model.id), export.kind == "adapter"
    parts = [
        _front(export),
        f"# {f'{run.method} adapter for {base}' if adapter else f'{base}, tuned by {run.method}'}",
        f"{WHAT[export.kind]} Made with backprop-tui.",
        _loading(export),
        _method(export),
        _data(run, made),
        _heldout(export.history, run.method),
        *([_merged(export, made.precision)] if export.agreement else []),
        _provenance(export, made),
        _settings(run),
    ]
    return redact("\n\n".join(parts) + "\n")


def public_name(name: str) -> str:
    """A hub id as it is; of a local path the last part, which says nothing of whose it is."""
    if HUB_ID.fullmatch(name) and not name.startswith("."):
        return name
    return PurePath(name).name or name


def licence_of(card: str) -> dict[str, str]:
    """license, license_name and license_link from the front matter of a model's card."""
    if not card.startswith("---"):
        return {}
    front = card[3:].partition("\n---")[0]
    found = {f"license{m[1] or ''}": m[2].strip("'\"") for m in LICENCE.finditer(front)}
    return found if "license" in found else {}


def _front(export: Export) -> str:
    run = export.run
    base, data = public_name(run.model.id), public_name(run.data.path)
    lines = ["---"]
    if export.licence:
        lines.append("# the base model's, from its own card")
        lines += [f"{key}: {json.dumps(value)}" for key, value in export.licence.items()]
    else:
        lines.append(f"license: {FILL_IN}")
    local = "" if HUB_ID.fullmatch(run.model.id) else "  # a local folder: put its hub id here"
    lines.append(f"base_model: {json.dumps(base)}{local}")
    lines.append(f"base_model_relation: {'adapter' if export.kind == 'adapter' else 'finetune'}")
    if HUB_ID.fullmatch(run.data.path):
        lines += ["datasets:", f"- {json.dumps(data)}"]
    else:
        lines.append("datasets: []  # a local file: put the hub id here if it is published")
    tags = [run.method, "preference-tuning", *(["lora"] if run.lora else []), "backprop-tui"]
    library = "peft" if export.kind == "adapter" else "transformers"
    lines += [
        f"library_name: {library}",
        "pipeline_tag: text-generation",
        "tags:",
        *(f"- {tag}" for tag in tags if tag != "preference-tuning" or run.method != "sft"),
        "---",
    ]
    return "\n".join(lines)


def _loading(export: Export) -> str:
    package = "peft" if export.kind == "adapter" else "transformers"
    loader = "AutoPeftModelForCausalLM" if export.kind == "adapter" else "AutoModelForCausalLM"
    text = f"""```python
from {package} import {loader}
from transformers import AutoTokenizer

model = {loader}.from_pretrained("this folder")
tokenizer = AutoTokenizer.from_pretrained("this folder")
```

In Ollama: `ollama create NAME -f Modelfile`, here."""
    return text + (f" The weights it takes are in {export.gguf}." if export.gguf else "")


def _method(export: Export) -> str:
    run, started = export.run, export.history.started
    method = METHODS[run.method]
    rows = [("method", f"{method.title} ({method.source})")]
    rows += [(name, f"{value:g}") for name, value in run.knobs.items()]
    if run.lora:
        lora = run.lora
        targets = lora.targets if isinstance(lora.targets, str) else ", ".join(lora.targets)
        rows.append(("LoRA", f"rank {lora.rank}, alpha {lora.alpha:g}, targets {targets}"))
    else:
        rows.append(("LoRA", "none: full fine-tuning"))
    rows.append(("batch", f"{run.effective_batch} rows a step"))
    made = run.provenance
    if started:
        how = f" ({made.learning_rate})" if made and made.learning_rate else ""
        rows += [
            ("learning rate", f"{rate(started.learning_rate)}{how}"),
            ("steps", _steps(export.history, started.steps)),
        ]
    if made and made.precision:
        rows.append(("base weights while training", made.precision))
    return "## Method\n\n" + _table(("", ""), rows)


def _steps(history: History, planned: int) -> str:
    last = history.last
    return f"{count(last.step if last else 0)} of {count(planned)}"


def _merged(export: Export, precision: str) -> str:
    text = f"## Merged\n\n{export.agreement}"
    if precision in QUANTISED:
        text += (
            f"\n\nIt was trained on {precision} weights, and the held-out figures were measured on "
            "those; it is merged into the full weights they were made from."
        )
    return text


def _data(run: RunFile, made: ProvenanceSection) -> str:
    rows = [("in the file", made.rows), ("can be trained", made.kept)]
    rows += [("trained on", made.train_rows), ("held out", made.heldout_rows)]
    rows += [(f"dropped: {reason}", n) for reason, n in made.dropped.items() if n]
    rows += [(f"cut: {reason}", n) for reason, n in made.cut.items() if n]
    names = [public_name(path) for path in (run.data.path, *(run.data.more_paths or ()))]
    table = _table((", ".join(names), "rows"), [(label, count(n)) for label, n in rows])
    none = "" if any(made.dropped.values()) else "\n\nNo row was dropped."
    return f"## Data\n\n{table}{none}"


def _heldout(history: History, method: str) -> str:
    """First and last measurement, the last one of the weights that were saved."""
    found = history.evaluations
    if not found:
        return "## Held-out figures\n\nNo rows were held out, so nothing says how well it does."
    kept = next((one.step for one in reversed(history.saved) if one.kind != "checkpoint"), None)
    first, last = found[0], next((one for one in found if one.step == kept), found[-1])
    rows = [("loss", figure(first.loss), figure(last.loss))]
    if method != "sft":
        rows += [
            (label, _shown(label, first), _shown(label, last))
            for label in ("margin", "accuracy", "reward chosen", "reward rejected")
        ]
    table = _table(("", f"step {count(first.step)}", f"step {count(last.step)}"), rows)
    what = "loss" if method == "sft" else "preference"
    return (
        f"## Held-out figures\n\n{table}\n\nOver {plural(last.rows, 'row')} held out of training. "
        f"They measure {what} on rows like those trained on, not the quality of what is written."
    )


def _shown(label: str, measured: Evaluated) -> str:
    value: float | None = getattr(measured, label.replace(" ", "_"))
    return percent(value) if label == "accuracy" else figure(value, signed=True)


def _provenance(export: Export, made: ProvenanceSection) -> str:
    run = export.run
    rows = [
        ("trained", made.started),
        ("device", made.device),
        ("driver, CUDA", ", ".join(filter(None, (made.driver, made.cuda)))),
        ("python", made.python),
        ("platform", made.platform),
        *made.packages.items(),
        ("engine", made.engine),
        ("base model commit", made.model_commit),
        ("base model sha256", made.model_sha256),
        ("data sha256", made.data_sha256),
        ("chat template sha256", made.chat_template_sha256),
        ("run file sha256", export.run_sha256),
        ("seeds", f"{run.training.seed}; held-out split {run.data.heldout_seed}"),
        *((f"changed: {key}", value) for key, value in {**made.lowered, **made.amended}.items()),
    ]
    return "## Provenance\n\n" + _table(("", ""), [row for row in rows if row[1]])


def _settings(run: RunFile) -> str:
    """The run file without what was recorded, its paths by their last part."""
    data, model = run.data, run.model
    more = [public_name(path) for path in data.more_paths] if data.more_paths else None
    template = public_name(model.chat_template) if model.chat_template else None
    shown = run.model_copy(
        update={
            "output": "",
            "provenance": None,
            "model": model.model_copy(
                update={"id": public_name(model.id), "chat_template": template}
            ),
            "data": data.model_copy(update={"path": public_name(data.path), "more_paths": more}),
        }
    )
    return (
        "## Run file\n\n`backprop-tui run` repeats it once `model.id` and `data.path` name where "
        f"they lie.\n\n```toml\n{runfile_io.to_toml(shown).strip()}\n```"
    )


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
