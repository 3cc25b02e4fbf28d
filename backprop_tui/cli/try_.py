"""`try`: ask a run's model and its base the same, and vote on what they say."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from backprop_tui.cli.output import JSON_HELP, show_json
from backprop_tui.cli.requests import RUN
from backprop_tui.cli.run import TRUST_HELP
from backprop_tui.core.errors import EXIT_OK
from backprop_tui.core.paths import user_log
from backprop_tui.core.printable import printable
from backprop_tui.core.rows import Message
from backprop_tui.core.text import plural
from backprop_tui.core.votes import Sampling, Side, preferences, tally, told
from backprop_tui.runs.state import as_typed, find_run
from backprop_tui.runs.vote_file import read_votes, write_preferences

if TYPE_CHECKING:
    from backprop_tui.core.votes import Answer
    from backprop_tui.probe.prompts import Prompt
    from backprop_tui.train.trying import Tryable

PROMPT_HELP = "Answer this and print both answers, without the screen. May be given again."
PROMPTS_HELP = "Prompts to draw from instead of the held-out rows: one a line, or JSONL."
BLIND_HELP = "Name the sides A and B, shuffled for each prompt, until you have voted."
BASE_HELP = "Of a full fine-tuning: load the base beside it. Without either: where there is room."
EXPORT_HELP = "Write the votes as preference data, JSONL with prompt, chosen, rejected; and end."
NO_SCREEN = (
    "The screen needs a terminal. Without one: --prompt TEXT, --prompts FILE, --votes or "
    "--export-votes FILE."
)


def try_command(
    run: Path = RUN,
    prompt: list[str] = typer.Option([], "--prompt", "-p", help=PROMPT_HELP),
    prompts: Path | None = typer.Option(None, "--prompts", help=PROMPTS_HELP),
    blind: bool = typer.Option(False, "--blind", help=BLIND_HELP),
    system: str = typer.Option("", "--system", help="A system prompt."),
    temperature: float = typer.Option(
        0.0, "--temperature", min=0.0, max=10.0, help="0: the likeliest token each time."
    ),
    max_new_tokens: int = typer.Option(
        200, "--max-new-tokens", min=1, max=100_000, help="Most tokens of an answer."
    ),
    seed: int = typer.Option(0, "--seed", min=0, max=2**32 - 1, help="Of the draws."),
    base: bool | None = typer.Option(None, "--base/--no-base", help=BASE_HELP),
    votes: bool = typer.Option(False, "--votes", help="Say what the votes come to, and end."),
    export_votes: Path | None = typer.Option(None, "--export-votes", help=EXPORT_HELP),
    as_json: bool = typer.Option(False, "--json", help=JSON_HELP),
    trust_remote_code: bool = typer.Option(False, "--trust-remote-code", help=TRUST_HELP),
) -> None:
    """Ask a run's model and its base the same, side by side; vote blind; export the votes."""
    folder = find_run(run)
    if export_votes is not None:
        _export(folder, export_votes, as_json=as_json)
        return
    if votes:
        _tell_votes(folder, as_json=as_json)
        return
    screen = not prompt and not as_json and sys.stdin.isatty() and sys.stdout.isatty()
    if not (screen or prompt or prompts):
        typer.echo(NO_SCREEN, err=True)
        raise typer.Exit(2)
    if blind and not screen:
        raise typer.BadParameter("votes are cast on the screen", param_hint="--blind")
    from backprop_tui.probe.prompts import read_prompts

    # Read before anything slow, so that a wrong file is refused at once.
    asked: list[Prompt] = [(Message("user", text),) for text in prompt]
    asked += read_prompts(prompts.expanduser()) if prompts else []
    if any(not one[-1].content.strip() for one in asked):
        raise typer.BadParameter("a prompt without text", param_hint="--prompt")
    from backprop_tui.train.trying import tryable

    found = tryable(folder, base=base, trust_remote_code=trust_remote_code)
    sampling = Sampling(temperature, max_new_tokens, seed, system.strip())
    if screen:
        from backprop_tui.tui.try_app import try_run

        raise typer.Exit(try_run(found, sampling=sampling, blind=blind, prompts=prompts))
    _answer(found, asked, sampling, as_json=as_json)


def _answer(found: Tryable, asked: list[Prompt], sampling: Sampling, *, as_json: bool) -> None:
    """Every prompt to both sides, in plain text."""
    from backprop_tui.train.duo import LIBRARIES, Duo
    from backprop_tui.train.libraries import load_libraries
    from backprop_tui.train.logs import log_to

    if found.no_base:
        _say(found.no_base)
    _say("loading the libraries")
    load_libraries(LIBRARIES)
    rows: list[dict[str, Any]] = []
    with log_to(user_log()):
        duo = Duo(found, lambda text: None if text.endswith("libraries") else _say(text))
        for number, prompt in enumerate(asked):
            answers = duo.answer(prompt, sampling, lambda side, answer: None)
            if as_json:
                turns = [asdict(turn) for turn in prompt]
                written: dict[str, Any] = {side: asdict(answer) for side, answer in answers.items()}
                rows.append({"prompt": turns, **written})
                continue
            text = "\n".join(_lines(prompt, answers))
            typer.echo(printable(f"{'' if number == 0 else chr(10)}{text}"))
    if as_json:
        settings = asdict(sampling)
        show_json({"run": str(found.folder), "settings": settings, "answers": rows})


def _lines(prompt: Prompt, answers: dict[Side, Answer]) -> list[str]:
    lines = ["prompt", *(f"  {line}" for line in prompt[-1].content.splitlines())]
    for side in sorted(answers):
        answer = answers[side]
        cut = ", cut at the limit" if answer.how == "full" else ""
        lines.append(f"{side} ({plural(answer.tokens, 'token')}{cut})")
        lines += [f"  {line}" for line in (answer.text or "(it wrote nothing)").splitlines()]
    return lines


def _tell_votes(folder: Path, *, as_json: bool) -> None:
    """What the votes of a run come to, over all its weights."""
    found, unusable = read_votes(folder)
    counted = tally(found)
    if as_json:
        show_json({"run": str(folder), **asdict(counted), "unusable_lines": unusable})
        return
    typer.echo("\n".join(told(counted)))
    if len({vote.weights_sha256 for vote in found}) > 1:
        typer.echo("They are on different weights of this run.")
    _say_unusable(unusable)


def _export(folder: Path, path: Path, *, as_json: bool) -> None:
    found, unusable = read_votes(folder)
    made = preferences(found)
    path = path.expanduser()
    write_preferences(made, path)
    left_out = ", ".join(f"{n:,} {reason}" for reason, n in made.left_out.items())
    if as_json:
        show_json(
            {"path": str(path), "rows": len(made.rows), "left_out": made.left_out, "cut": made.cut}
        )
        raise typer.Exit(EXIT_OK)
    typer.echo(f"{plural(len(made.rows), 'pair')} written to {printable(str(path))}")
    typer.echo(f"left out: {left_out or 'none'}")
    if made.cut:
        typer.echo(f"with an answer that did not come to its own end: {made.cut:,}")
    typer.echo(f"see what it is: backprop-tui data {as_typed(path)}")
    _say_unusable(unusable)


def _say_unusable(lines: int) -> None:
    if lines:
        _say(f"{plural(lines, 'line')} of votes.jsonl could not be read as a vote")


def _say(text: str) -> None:
    typer.echo(printable(text), err=True)
