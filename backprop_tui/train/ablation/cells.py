"""One cell from its plan to its scores: an ordinary run by the ordinary trainer, then measured.

Training and scoring are processes of their own, one after the other: two cells share nothing on
the card. What is finished is not done again; what was killed or failed is resumed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from backprop_tui.core import runfile_io
from backprop_tui.core.cells import BASE
from backprop_tui.core.errors import EXIT_OK, EXIT_STOPPED, BackpropError, InputError
from backprop_tui.core.grid import Cell
from backprop_tui.probe.survey import resolved
from backprop_tui.runs.ablation import AblationFolder, read_scores
from backprop_tui.runs.ablation_table import finished
from backprop_tui.runs.launch import last_said, launch, said_so_far
from backprop_tui.runs.lock import owner
from backprop_tui.runs.requests import ask
from backprop_tui.runs.state import read_state
from backprop_tui.train.ablation.score import refuse
from backprop_tui.train.folder import RunFolder

LOOK = 0.2  # seconds between two looks
SCORE = (sys.executable, "-P", "-m", "backprop_tui.train.ablation.score")
SCORE_LOG = "score.log"  # in the cell's folder
Stopping = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Doing:
    """How cells are done. paired: the held-out rows are pairs, so a cell can be scored.
    with_parent: a cell stops when the process that started it is gone. card: instead of the
    plan's, as the driver counts. tick: called at every look. scoring: called before a model's
    held-out pairs are scored."""

    folder: AblationFolder
    stopping: Stopping
    paired: bool = True
    trust_remote_code: bool = False
    with_parent: bool = False
    card: int | None = None
    tick: Callable[[], None] = lambda: None
    scoring: Callable[[], None] = lambda: None


def do_cell(doing: Doing, cell: Cell) -> None:
    """Train it to its end and score it, as far as that is still to do. Never raises what one cell
    alone is to blame for: that is kept where the table finds it."""
    if not doing.stopping() and not finished(doing.folder, cell.name):
        try:
            _train(doing, cell)
        except BackpropError as error:
            refuse(doing.folder.scores(cell.name), error.message)
    if doing.paired and finished(doing.folder, cell.name):
        _score(doing, cell.name, doing.folder.cell(cell.name))


def do_base(doing: Doing, cell: Cell) -> None:
    """Score the frozen base on the held-out pairs of a finished cell."""
    if doing.paired and finished(doing.folder, cell.name):
        _score(doing, BASE, doing.folder.cell(cell.name))


def prepare(path: Path, cell: Cell) -> None:
    """The cell's run folder with its run file, as far as they are not there yet.

    Raises InputError WRITE_REFUSED, OUTPUT_EXISTS.
    """
    with suppress(OSError):  # made, and killed before anything was in it
        path.rmdir()
    if not os.path.lexists(path):
        RunFolder.create(path)
    if not (path / "run.toml").exists():
        run = resolved(cell.run).model_copy(update={"output": str(path.resolve())})
        runfile_io.write(run, path / "run.toml")


def _train(doing: Doing, cell: Cell) -> None:
    path = doing.folder.cell(cell.name)
    _wait_for_owner(doing, path)
    if doing.stopping() or finished(doing.folder, cell.name):
        return
    doing.folder.scores(cell.name).unlink(missing_ok=True)
    prepare(path, cell)
    _move_to(path, doing.card)
    before = said_so_far(path)
    process = launch(path, trust_remote_code=doing.trust_remote_code, with_parent=doing.with_parent)
    code = _attend(doing, process)
    if code in (EXIT_OK, EXIT_STOPPED) or read_state(path).state == "failed" or doing.stopping():
        return
    said = last_said(path, before).strip().splitlines()
    words = [line for line in said if line.startswith("error: ")][:1] or said[-1:]
    ended = f"its process was ended by signal {-code}" if code < 0 else f"exit code {code}"
    told = words[0].removeprefix("error: ") if words and code > 0 else ended
    refuse(doing.folder.scores(cell.name), told)


def _wait_for_owner(doing: Doing, path: Path) -> None:
    """An earlier process may still be at this cell: it is let finish."""
    asked = False
    while owner(path) is not None:
        if doing.stopping() and not asked:
            with suppress(InputError):  # it has just ended
                ask(path, "stop")
            asked = True
        doing.tick()
        time.sleep(LOOK)


def _move_to(path: Path, card: int | None) -> None:
    """The card that was given to this cell; it decides no figure."""
    if card is None:
        return
    run, _ = runfile_io.read(path / "run.toml", (), {})
    if run.machine.card != card:
        moved = runfile_io.change(run, {"machine.card": card})
        runfile_io.write(moved, path / "run.toml", overwrite=True)


def _score(doing: Doing, name: str, run: Path) -> None:
    out = doing.folder.scores(name)
    if doing.stopping() or read_scores(out) is not None:
        return
    doing.scoring()
    out.unlink(missing_ok=True)
    command = [*SCORE, *(["--base"] if name == BASE else []), str(run), str(out)]
    command += ["--trust-remote-code"] if doing.trust_remote_code else []
    command += ["--with-parent", str(os.getpid())] if doing.with_parent else []
    with _log(run) as log:
        process = subprocess.Popen(
            command,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        code = _attend(doing, process)
    if code not in (EXIT_OK, EXIT_STOPPED) and not out.exists() and not doing.stopping():
        refuse(out, f"scoring ended with exit code {code}; see {run / SCORE_LOG}")


def _log(run: Path) -> IO[bytes]:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(run / SCORE_LOG, flags, 0o600), "wb")


def _attend(doing: Doing, process: subprocess.Popen[bytes]) -> int:
    """Wait for it; ask it once to stop when that is asked for. An interrupt of this very process
    ends it at once: what it had saved is gone on from."""
    asked = False
    try:
        while (code := process.poll()) is None:
            if doing.stopping() and not asked:
                process.send_signal(signal.SIGTERM)
                asked = True
            doing.tick()
            time.sleep(LOOK)
    except BaseException:
        process.kill()
        process.wait()
        raise
    return code
