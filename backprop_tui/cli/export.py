"""`export`: the result of a run as a folder that needs neither the run nor this tool."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import typer

from backprop_tui.cli.output import JSON_HELP, show_json, show_table
from backprop_tui.cli.requests import RUN
from backprop_tui.cli.run import TRUST_HELP
from backprop_tui.core.errors import EXIT_OK, EXIT_RUN
from backprop_tui.core.paths import user_log
from backprop_tui.core.printable import printable
from backprop_tui.core.text import size
from backprop_tui.runs.state import find_run

if TYPE_CHECKING:
    from backprop_tui.train.export_files import Exported

MERGED_HELP = "The base model with the adapter merged in, at full precision."
ADAPTER_HELP = "The adapter as it is. What you get without either, unless --gguf asks for a merge."
GGUF_HELP = "Also one GGUF file, where llama.cpp's converter is on the PATH or in $LLAMA_CPP."
DROWNED = "rounds away much of what the adapter learned; --adapter keeps it"
ENDING = (signal.SIGTERM, signal.SIGHUP)


def export_command(
    run: Path = RUN,
    output: Path = typer.Option(..., "--output", "-o", help="Folder to create."),
    merged: bool = typer.Option(False, "--merged", help=MERGED_HELP),
    adapter: bool = typer.Option(False, "--adapter", help=ADAPTER_HELP),
    gguf: bool = typer.Option(False, "--gguf", help=GGUF_HELP),
    trust_remote_code: bool = typer.Option(False, "--trust-remote-code", help=TRUST_HELP),
    as_json: bool = typer.Option(False, "--json", help=JSON_HELP),
) -> None:
    """Take a finished run away: weights, tokenizer, model card, Ollama Modelfile, GGUF."""
    if adapter and (merged or gguf):
        other = "--merged" if merged else "--gguf"
        raise typer.BadParameter(f"an adapter alone is not {other}", param_hint="--adapter")
    folder = find_run(run)
    from backprop_tui.train.exporting import judge

    judged = judge(
        folder,
        output,
        "adapter" if adapter else "merged" if merged else None,
        gguf=gguf,
        trust_remote_code=trust_remote_code,
    )
    with ended_by_signals():
        from backprop_tui.train.libraries import load_libraries
        from backprop_tui.train.logs import log_to

        _say(f"writing {judged.output}, at most {size(judged.room)}")
        load_libraries(("torch", "transformers", "datasets", "peft"))
        from backprop_tui.train.export_files import export

        with log_to(user_log()):
            done = export(judged, _say, trust_remote_code=trust_remote_code)
    if as_json:
        show_json(_plain(done))
    else:
        show_table(_lines(done))
    if done.gguf_command:
        _say_gguf(done)
    raise typer.Exit(EXIT_RUN if done.gguf_said else EXIT_OK)


def _lines(done: Exported) -> list[tuple[str, str]]:
    rows = [
        (done.kind, f"{printable(str(done.output))}, {size(done.bytes)}"),
        ("files", ", ".join(map(printable, done.files))),
        ("Ollama", f"template {done.template or 'left to Ollama'}, stop {' '.join(done.stops)}"),
        ("card", "README.md; look at license, base_model and datasets before you publish it"),
    ]
    if (agreement := done.agreement) is not None:
        rows.append(("checked", str(agreement)))
        if agreement.drowned:
            rows.append(("", f"{agreement.precision} {DROWNED}"))
    return rows


def _plain(done: Exported) -> dict[str, Any]:
    plain = asdict(done)
    plain["output"] = str(done.output)
    if done.agreement is not None:
        plain["agreement"] |= {
            "tolerance": done.agreement.tolerance,
            "drowned": done.agreement.drowned,
        }
    return plain


def _say_gguf(done: Exported) -> None:
    """What would make the GGUF, on stderr; the rest of the export is whole without it."""
    if done.gguf_said:
        typer.echo("error: the converter made no GGUF; the rest is there. It said:", err=True)
        for line in done.gguf_said.splitlines():
            typer.echo(printable(f"  {line}"), err=True)
        typer.echo("  to try it again:", err=True)
    else:
        typer.echo(
            "No GGUF: convert_hf_to_gguf.py is neither on the PATH nor in $LLAMA_CPP "
            "(git clone https://github.com/ggml-org/llama.cpp). With it:",
            err=True,
        )
    typer.echo(f"  {done.gguf_command}", err=True)


def _say(text: str) -> None:
    typer.echo(printable(text), err=True)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end it as ctrl+c does, so that nothing half-written stays."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
