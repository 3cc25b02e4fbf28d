"""The command line. Every heavy import is inside the command that needs it."""

from __future__ import annotations

import sys

import typer

from backprop_tui import __version__
from backprop_tui.cli.ablate import ablate_command
from backprop_tui.cli.background import resume_command
from backprop_tui.cli.check import check_command
from backprop_tui.cli.compare import compare_command
from backprop_tui.cli.data import data_command
from backprop_tui.cli.doctor import doctor_command
from backprop_tui.cli.eval import eval_command
from backprop_tui.cli.export import export_command
from backprop_tui.cli.gpu import gpu_command
from backprop_tui.cli.output import show_error
from backprop_tui.cli.plan import init_command
from backprop_tui.cli.requests import pause_command, save_command, stop_command
from backprop_tui.cli.review import review_command
from backprop_tui.cli.run import demo_command, run_command, wizard_command
from backprop_tui.cli.runs import runs_command
from backprop_tui.cli.split import split_command
from backprop_tui.cli.try_ import try_command
from backprop_tui.cli.watch import watch_command
from backprop_tui.core.errors import EXIT_INTERRUPTED, EXIT_RUN, BackpropError

app = typer.Typer(
    name="backprop-tui",
    help="Preference-tune a language model on one GPU. Without a command: the wizard.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("gpu")(gpu_command)
app.command("data")(data_command)
app.command("split")(split_command)
app.command("init")(init_command)
app.command("check")(check_command)
app.command("run")(run_command)
app.command("resume")(resume_command)
app.command("runs")(runs_command)
app.command("stop")(stop_command)
app.command("save")(save_command)
app.command("pause")(pause_command)
app.command("demo")(demo_command)
app.command("watch")(watch_command)
app.command("review")(review_command)
app.command("compare")(compare_command)
app.command("try")(try_command)
app.command("ablate")(ablate_command)
app.command("eval")(eval_command)
app.command("export")(export_command)
app.command("doctor")(doctor_command)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"backprop-tui {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: bool = typer.Option(
        False, "--version", help="Show the version and exit.", callback=_version, is_eager=True
    ),
) -> None:
    """Preference-tune a language model on one GPU. Without a command: the wizard."""
    if context.invoked_subcommand is None:
        wizard_command()


def main() -> None:
    """Run a command; errors become a sentence on stderr and an exit code, never a traceback."""
    try:
        app()
    except BackpropError as error:
        show_error(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - the boundary: logged, shown as a sentence
        from backprop_tui.core.paths import user_log
        from backprop_tui.train.logs import append_traceback

        log = user_log()
        append_traceback(log, error)
        typer.echo(f"error: {type(error).__name__}: {error}", err=True)
        typer.echo(f"  This is a fault of backprop-tui. Log: {log}", err=True)
        sys.exit(EXIT_RUN)
