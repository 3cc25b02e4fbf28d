"""`gpu`: what is there."""

from __future__ import annotations

import typer

from backprop_tui.cli.output import JSON_HELP, show_json, show_table
from backprop_tui.core.facts import Gpu, GpuFacts, to_json
from backprop_tui.core.text import NA, size


def gpu_command(as_json: bool = typer.Option(False, "--json", help=JSON_HELP)) -> None:
    """Show every card: memory, driver, bf16, temperature, and who holds its memory."""
    from backprop_tui.probe.gpu import probe_gpu

    facts = probe_gpu()
    if as_json:
        show_json(to_json(facts))
        return
    if facts.problem:
        typer.echo(facts.problem)
    for card in facts.cards:
        show_table(_card(card, facts))


def _card(card: Gpu, facts: GpuFacts) -> list[tuple[str, str]]:
    capability = (
        f"{card.compute_capability[0]}.{card.compute_capability[1]}"
        if card.compute_capability
        else NA
    )
    rows = [
        (f"card {card.index}", card.name),
        (
            "memory",
            f"{size(card.memory_free)} free of {size(card.memory_total)}, "
            f"{size(card.memory_used)} used",
        ),
        ("driver", f"{facts.driver or NA}, CUDA {facts.cuda or NA}"),
        ("capability", f"{capability}, bf16 {_yes(card.bf16)}"),
        ("temperature", NA if card.temperature is None else f"{card.temperature} °C"),
        ("power", f"{_watts(card.power)} of {_watts(card.power_limit)}"),
        ("utilisation", NA if card.utilisation is None else f"{card.utilisation} %"),
    ]
    if card.processes is None:
        rows.append(("processes", NA))
    elif not card.processes:
        rows.append(("processes", "none"))
    for i, process in enumerate(card.processes or ()):
        label = "processes" if i == 0 else ""
        rows.append((label, f"{process.name or NA} (pid {process.pid}) {size(process.memory)}"))
    return rows


def _yes(value: bool | None) -> str:
    return NA if value is None else ("yes" if value else "no")


def _watts(value: float | None) -> str:
    return NA if value is None else f"{value:.0f} W"
