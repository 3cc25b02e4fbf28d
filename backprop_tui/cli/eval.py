"""`eval`: a run against its base, or a model by itself, on held-out rows or any file."""

from __future__ import annotations

import shlex
import sys
import time
from typing import TYPE_CHECKING, Any

import typer

from backprop_tui.cli.data_options import COLUMN_HELP, LABEL_HELP, SHAPE_HELP, source
from backprop_tui.cli.eval_text import text
from backprop_tui.cli.export import ended_by_signals
from backprop_tui.cli.output import JSON_HELP, show_json
from backprop_tui.cli.run import TRUST_HELP
from backprop_tui.core.errors import EXIT_GATE, EXIT_INTERRUPTED, EXIT_OK
from backprop_tui.core.metrics import METRICS
from backprop_tui.core.paths import user_log
from backprop_tui.core.printable import printable
from backprop_tui.core.text import count, plural

if TYPE_CHECKING:
    from backprop_tui.probe.data import DataSource
    from backprop_tui.train.evals.evaluate import Result

GATED = ", ".join(name for name, metric in METRICS.items() if metric.better != "neither")
SAY_EVERY = 5.0  # seconds between two lines of progress in a log


def eval_command(
    target: str = typer.Argument(
        metavar="RUN|MODEL",
        help="A run folder, its name under ./runs, a model folder, a hub id, or 'pocket'.",
    ),
    data: str | None = typer.Option(
        None, "--data", "-d", help="Rows to measure on. Without it: those the run held out."
    ),
    limit: int | None = typer.Option(None, "--limit", min=1, help="Only the first N rows."),
    generate: int | None = typer.Option(
        None, "--generate", min=0, help="Also have the first N rows answered, greedily."
    ),
    max_new_tokens: int = typer.Option(
        256, "--max-new-tokens", min=1, help="Longest generated answer."
    ),
    regex: str | None = typer.Option(
        None, "--regex", help="Pattern looked for in every generated answer."
    ),
    gate: list[str] = typer.Option(
        [], "--gate", help=f"Fail where this metric got worse. Repeatable. One of {GATED}."
    ),
    max_regression: list[float] = typer.Option(
        [],
        "--max-regression",
        help="How much worse than the base a gate lets pass, in the metric's unit (0.02 of a share "
        "is two points); 0 by default. One for all gates, or one for each in their order.",
    ),
    columns: list[str] = typer.Option([], "--column", help=COLUMN_HELP),
    labels: list[str] = typer.Option([], "--label", help=LABEL_HELP),
    shape: str | None = typer.Option(None, "--shape", help=SHAPE_HELP),
    max_length: int | None = typer.Option(
        None, "--max-length", min=1, help="Longest prompt + answer in tokens; that of the run."
    ),
    batch_tokens: int | None = typer.Option(
        None, "--batch-tokens", min=1, help="Most tokens read at once; as many as in training."
    ),
    device: str | None = typer.Option(None, "--device", help="cpu or cuda; as the run says."),
    trust_remote_code: bool = typer.Option(False, "--trust-remote-code", help=TRUST_HELP),
    as_json: bool = typer.Option(False, "--json", help=JSON_HELP),
) -> None:
    """Measure a run against its base, or a model: accuracy, margin, perplexity, answers; gates."""
    if device not in (None, "cpu", "cuda"):
        raise typer.BadParameter("allowed: cpu, cuda", param_hint="--device")
    if max_regression and not gate:
        raise typer.BadParameter("it bounds a --gate, and there is none", param_hint=_BOUND)
    if len(max_regression) not in (0, 1, len(gate)):
        raise typer.BadParameter(
            f"{plural(len(gate), 'gate')} take one for all or one each, not {len(max_regression)}",
            param_hint=_BOUND,
        )
    if (columns or labels or shape) and data is None:
        raise typer.BadParameter("it says how --data is read, and there is none")
    bounds = max_regression if len(max_regression) == len(gate) else max_regression * len(gate)
    from backprop_tui.train.evals.evaluate import Asked, evaluate
    from backprop_tui.train.evals.passes import Stopped
    from backprop_tui.train.evals.subject import find_subject

    gates = tuple(zip(gate, bounds or [0.0] * len(gate), strict=True))
    asked = Asked(limit, generate, max_new_tokens, regex, gates)
    asked.check()
    subject = find_subject(
        target,
        device=device,
        batch_tokens=batch_tokens,
        max_length=max_length,
        trust_remote_code=trust_remote_code,
    )
    rows = None if data is None else _source(data, columns, labels, shape, subject.run.method)
    progress: Any = Bar() if sys.stderr.isatty() else Lines()
    try:
        with ended_by_signals():
            from backprop_tui.train.libraries import load_libraries
            from backprop_tui.train.logs import log_to

            _say("loading the libraries")
            load_libraries(("torch", "transformers", "datasets", "peft"))
            with log_to(user_log()):
                done = evaluate(
                    subject,
                    rows,
                    asked,
                    _say,
                    progress=progress,
                    trust_remote_code=trust_remote_code,
                )
    except (KeyboardInterrupt, Stopped):
        progress.end()
        _say("stopped; every row that was measured is kept")
        _say(f"  to go on: {shlex.join(['backprop-tui', *sys.argv[1:]])}")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if as_json:
        show_json({**done.summary, "folder": str(done.folder), "passed": done.passed})
    else:
        typer.echo(printable("\n".join(text(done, subject.name))))
    # The table has the gates already, where both go to one screen.
    raise typer.Exit(_ending(done, told=not as_json and sys.stdout.isatty()))


_BOUND = "--max-regression"


def _source(
    data: str, columns: list[str], labels: list[str], shape: str | None, method: str
) -> DataSource:
    from dataclasses import replace

    found = source(
        [data], config=None, split=None, revision=None, columns=columns, labels=labels, shape=shape
    )
    return replace(found, method=method)


def _ending(done: Result, *, told: bool) -> int:
    """0, or 5 where a gate was not passed; why and what to keep in mind on stderr. told: the
    reader has seen why."""
    for warning in done.warnings:
        _say(f"warning: {warning}")
    failed = [gate for gate in done.gates if not gate.passed]
    for gate in [] if told else failed:
        _say(f"gate not passed: {gate.reason}")
    return EXIT_GATE if failed else EXIT_OK


def _say(words: str) -> None:
    typer.echo(printable(words), err=True)


class Bar:
    """A pass as a bar on the terminal: rows done, rows a second, time left."""

    def __init__(self) -> None:
        self._bar: Any = None

    def begin(self, title: str, rows: int, there: int) -> None:
        """Of the rows that are left."""
        label = f"{title} ({count(there)} were there)" if there else title
        begun = time.monotonic()

        def pace(_item: Any) -> str:
            spent = time.monotonic() - begun
            return f"{self._bar.pos / spent:.1f} rows/s" if self._bar.pos and spent else ""

        self._bar = typer.progressbar(
            length=max(rows - there, 0),
            label=label,
            file=sys.stderr,
            show_pos=True,
            show_eta=True,
            item_show_func=pace,
            width=24,
        )
        self._bar.__enter__()

    def advance(self, rows: int) -> None:
        """So many more are done."""
        self._bar.update(rows)

    def end(self) -> None:
        """Leave the line."""
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None


class Lines:
    """A pass as plain lines, for a log: one now and then."""

    def __init__(self) -> None:
        self._said = self._begun = 0.0
        self._title, self._rows, self._done, self._new = "", 0, 0, 0

    def begin(self, title: str, rows: int, there: int) -> None:
        """Say what it is."""
        self._title, self._rows, self._done, self._new = title, rows, there, 0
        self._begun = self._said = time.monotonic()
        more = f", {count(there)} of them were there" if there else ""
        _say(f"{title}: {plural(rows, 'row')}{more}")

    def advance(self, rows: int) -> None:
        """So many more are done."""
        self._done += rows
        self._new += rows
        now = time.monotonic()
        if now - self._said >= SAY_EVERY:
            self._said = now
            pace = self._new / (now - self._begun)
            _say(f"{self._title}: {self._done:,} of {self._rows:,}, {pace:.1f} rows/s")

    def end(self) -> None:
        """Nothing more to say."""
