"""What the wizard says in words: the title line, what "auto" means, what will happen. Pure."""

from __future__ import annotations

from pathlib import Path

from backprop_tui.core.effective import decide_precision
from backprop_tui.core.facts import Fit
from backprop_tui.core.runfile import RunFile
from backprop_tui.core.text import count, parameters, percent, plural, rate, size
from backprop_tui.tui.signs import SIGNS
from backprop_tui.tui.view import View

PRECISIONS = {
    "auto": "auto",
    "nf4": "nf4 (4 bits)",
    "int8": "int8 (8 bits)",
    "bf16": "bf16 (16 bits)",
    "fp16": "fp16 (16 bits)",
    "fp32": "fp32 (32 bits)",
}


def title(view: View) -> str:
    """Method, model, precision and card, as far as they are known."""
    parts: list[str] = [view.plan.method] if view.facts.data or view.method_chosen else []
    if view.plan.model.id:
        parts.append(Path(view.plan.model.id.rstrip("/")).name)
    if view.facts.model:
        parts.append(view.effective.precision)
    card = view.facts.gpu_card
    if view.facts.gpu is not None:
        on_card = card is not None and view.effective.device == "cuda"
        parts.append(f"{short(card.name)} {size(card.memory_total)}" if on_card and card else "CPU")
    return f" {SIGNS.dot} ".join(parts)


def short(card_name: str) -> str:
    """A card's name without the maker's."""
    return card_name.removeprefix("NVIDIA ").removeprefix("GeForce ")


def precision(view: View) -> str:
    """What the chosen precision means for this model on this machine."""
    chosen = view.plan.model.precision
    used = view.effective.precision
    if chosen != "auto":
        auto = decide_precision(_auto(view.plan), view.facts, view.effective.device)
        return f"auto would take {auto} here"
    if view.facts.gpu is None:
        return "auto waits for the machine to be read"
    if view.effective.device == "cpu":
        return f"auto means {used} here: the CPU's own"
    if view.facts.model is None:
        return "auto decides once the model is known"
    if used == "nf4":
        return "auto means nf4 here: over a billion parameters, so 4 bits each"
    return f"auto means {used} here: up to a billion parameters fit at 16 bits"


def _auto(plan: RunFile) -> RunFile:
    return plan.model_copy(update={"model": plan.model.model_copy(update={"precision": "auto"})})


def learning_rate(view: View) -> str:
    """Which rate training will use, and why."""
    used = view.effective.rate
    if used.clamped:
        return f"training uses {rate(used.value)}, not {rate(used.asked)}"
    if used.asked is None:
        rows = plural(view.rows.train, "training row")
        why = f"{view.plan.method}, {rows}" if view.rows.train else view.plan.method
        return f"auto: {rate(used.value)} ({why})"
    return f"training uses {rate(used.value)}"


def output_path(run: RunFile) -> Path:
    """Where the run writes, absolute."""
    from backprop_tui.train.folder import default_output

    return (Path(run.output).expanduser() if run.output else default_output(run)).absolute()


def what_will_happen(view: View) -> list[str]:
    """The run in sentences."""
    plan, used, facts = view.plan, view.effective, view.facts
    model = facts.model
    what = (
        f"trains an adapter of rank {plan.lora.rank} on" if plan.lora else "trains every weight of"
    )
    name = plan.model.id or "the model (none chosen yet)"
    sized = f" ({parameters(model.parameters)} parameters, {used.precision})" if model else ""
    lines = [f"{plan.method} {what} {name}{sized}."]
    if facts.data is None:
        lines.append("On which rows is open until data is chosen.")
    else:
        held = (
            f"{plural(view.rows.heldout, 'row')} ({percent(plan.data.heldout)}) held out to "
            f"measure on every {plural(used.eval_steps, 'step')}"
            if view.rows.heldout
            else "none held out"
        )
        lines.append(f"{plural(view.rows.train, 'row')} to train on, {held}.")
        fit = fit_of(view)
        if fit is not None and fit.too_long and not plan.data.cut_answers:
            share = percent(fit.too_long / (fit.whole + fit.prompt_cut + fit.too_long))
            lines.append(f"Of those, about {share} are too long and will be dropped.")
        batch = used.batch_size * used.accumulation
        lines.append(
            f"{plural(used.steps, 'step')} of {plural(batch, 'row')} each "
            f"({used.batch_size} at once {SIGNS.times} {used.accumulation}), "
            f"learning rate {rate(used.learning_rate)}, on the "
            f"{'card' if used.device == 'cuda' else 'CPU'}."
        )
    if view.memory is not None:
        lines.append(f"About {size(view.memory.needed)} of memory (a rough estimate).")
    lines.append(f"Everything is written to {output_path(plan)}.")
    return lines


def two_ways(ssh: bool) -> str:
    """Where the training may run: in this program, or in one of its own."""
    if not ssh:
        return "f9 starts the training here, f8 in the background."
    return (
        "f9: here; it goes on when the connection drops, and ends when you quit.\n"
        "f8, best over SSH: in the background; leaving ends nothing, watch finds it."
    )


def rows_line(view: View) -> str:
    """How many rows train and are held out."""
    if view.facts.data is None:
        return ""
    found = f"{count(view.rows.train)} rows train, {count(view.rows.heldout)} are held out"
    fit = fit_of(view)
    if fit is not None and fit.too_long and not view.plan.data.cut_answers:
        found += ", less those too long"
    return found


def fit_of(view: View) -> Fit | None:
    """What the chosen max_length does to the rows, once they are counted in tokens."""
    fits = view.facts.data.fits if view.facts.data else ()
    return next((fit for fit in fits if fit.max_length == view.effective.max_length), None)
