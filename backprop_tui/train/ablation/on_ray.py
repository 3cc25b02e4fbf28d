"""The cells of an ablation as Ray tasks, one card each: `ablate --ray ADDRESS`.

The ablation's folder must be seen by every worker under the same path (a shared file system), and
this package be installed there. A cell whose worker dies is given to another, which resumes it
from its own folder.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from backprop_tui.core.cells import BASE, Field
from backprop_tui.core.decision import Decision
from backprop_tui.core.errors import InputError
from backprop_tui.core.grid import Ablation, Cell
from backprop_tui.core.text import plural
from backprop_tui.runs.ablation import AblationFolder, is_ablation, read_plan, read_scores
from backprop_tui.runs.ablation_table import Table, finished
from backprop_tui.train.ablation.cells import LOOK, Doing, do_base, do_cell
from backprop_tui.train.ablation.runner import Say, conclude, words
from backprop_tui.train.ablation.score import refuse

RETRIES = 3  # workers that may die under one cell
LOCAL = "local"
CONNECT = 60.0  # seconds for a cluster to answer
# Ray itself tries an address that does not answer for a quarter of an hour, deaf to ctrl+c.
TRY = (
    "import logging, sys, ray; "
    "ray.init(address=sys.argv[1], log_to_driver=False, logging_level=logging.ERROR)"
)
# No report of use to anybody, and no lines of Ray between ours.
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
}


def need_ray() -> None:
    """Raises InputError ABLATION_NO_RAY where it is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise InputError(
            "--ray: Ray is not installed",
            hint="pip install 'backprop-tui[ray]'",
            code="ABLATION_NO_RAY",
        )


def run_on_ray(
    doing: Doing, plan: Ablation, say: Say, address: str
) -> tuple[Field, Decision] | None:
    """Every cell that is not finished, as many at once as the cluster has cards; None when it was
    stopped. On a cluster without cards, or with machine.device = "cpu", each takes one CPU.

    Raises InputError: ABLATION_RAY_UNREACHABLE; ABLATION_RAY_NO_CARD when the plan asks for cards
    and there are none.
    """
    need_ray()
    os.environ.update(QUIET)
    if address != LOCAL:
        _reach(doing, address)
    if doing.stopping():
        return None
    doing.folder.stop.unlink(missing_ok=True)
    try:
        with _cluster(address) as ray:
            share = _share(ray, plan)
            unit = "card" if "num_gpus" in share else "CPU"
            workers = int(ray.cluster_resources().get("CPU" if unit == "CPU" else "GPU", 0))
            say(f"Ray: one {unit} a cell, {plural(workers, unit)} in the cluster")
            _all_cells(ray, share, doing, plan, say)
    finally:
        doing.folder.stop.unlink(missing_ok=True)
    return None if doing.stopping() else conclude(doing, plan)


def _all_cells(ray: Any, share: dict[str, int], doing: Doing, plan: Ablation, say: Say) -> None:
    """Hand out the cells, then the base; a stop is passed on through the folder."""
    table = Table(doing.folder, plan)
    path = str(doing.folder.path.resolve())
    task = ray.remote(max_retries=RETRIES, **share)(_cell_task)
    waiting: dict[Any, Cell | None] = {
        task.options(name=cell.name).remote(path, cell.name, doing.paired, doing.trust_remote_code):
        cell
        for cell in plan.cells
    }  # fmt: skip
    base: Any = None
    while waiting:
        if doing.stopping():
            doing.folder.stop.touch()
        done, _ = ray.wait(list(waiting), num_returns=1, timeout=LOOK)
        for ref in done:
            cell = waiting.pop(ref)
            if (why := _failure(ray, ref)) is not None:
                refuse(doing.folder.scores(cell.name if cell else BASE), why)
            if cell is None:
                continue
            say(f"{cell.name}  {words(table.row(cell))}")
            wanted = doing.paired and read_scores(doing.folder.scores(BASE)) is None
            if base is None and wanted and finished(doing.folder, cell.name):
                base = task.options(name=BASE).remote(
                    path, cell.name, doing.paired, doing.trust_remote_code, BASE
                )
                waiting[base] = None


def _failure(ray: Any, ref: Any) -> str | None:
    try:
        ray.get(ref)
    except ray.exceptions.WorkerCrashedError:
        return f"its worker died {RETRIES + 1} times"
    except ray.exceptions.RayError as error:
        said = str(error).strip().splitlines()
        return said[-1] if said else type(error).__name__
    return None


def _cell_task(path: str, name: str, paired: bool, trust: bool, what: str = "") -> None:
    """What a worker does: one cell, or the base on a finished one."""
    import ray

    folder = AblationFolder(Path(path))
    if not is_ablation(folder.path):
        raise FileNotFoundError(f"{path} is not seen by this worker: a shared folder is needed")
    cards = ray.get_gpu_ids()
    card = int(cards[0]) if cards and str(cards[0]).isdigit() else None
    doing = Doing(folder, folder.stop.exists, paired, trust, with_parent=True, card=card)
    cell = next(cell for cell in read_plan(folder).cells if cell.name == name)
    (do_base if what == BASE else do_cell)(doing, cell)


def _share(ray: Any, plan: Ablation) -> dict[str, int]:
    """What a cell asks of the cluster."""
    device = plan.base.machine.device
    cards = ray.cluster_resources().get("GPU", 0)
    if device == "cuda" and cards < 1:
        raise InputError(
            'machine.device = "cuda", and the Ray cluster has no card',
            hint="start its workers on machines with cards, or set machine.device to auto or cpu",
            code="ABLATION_RAY_NO_CARD",
        )
    if device == "cpu" or cards < 1:
        return {"num_cpus": 1}
    return {"num_gpus": 1, "num_cpus": 1}


def _reach(doing: Doing, address: str) -> None:
    """Connect once in another process, which can be ended where no cluster answers; a stop ends
    it too. Raises InputError ABLATION_RAY_UNREACHABLE."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", TRY, address],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
        )
        until = time.monotonic() + CONNECT
        try:
            while process.poll() is None and time.monotonic() < until:
                if doing.stopping():
                    return
                time.sleep(LOOK)
            code = process.poll()
        finally:
            process.kill()
            process.wait()
        if code is None:
            raise _unreachable(address, f"nothing answered within {CONNECT:g} seconds")
        if code:
            said.seek(0)
            raise _unreachable(address, said.read().decode("utf-8", "replace"))


def _unreachable(address: str, why: str) -> InputError:
    last = (why.strip().splitlines() or ["no reason was given"])[-1]
    return InputError(
        f"--ray {address}: no Ray cluster is reached there: {last}",
        hint="ray status shows a running cluster's address; --ray local starts one here",
        code="ABLATION_RAY_UNREACHABLE",
    )


@contextmanager
def _cluster(address: str) -> Iterator[Any]:
    """Ray, connected; a local one is ended and its files are removed."""
    import ray

    folder = tempfile.mkdtemp(prefix="ray-") if address == LOCAL else None  # short: it has sockets
    options: dict[str, Any] = {"address": address}
    if folder is not None:
        options |= {"include_dashboard": False, "_temp_dir": folder}
    asked = signal.getsignal(signal.SIGTERM)
    try:
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
        except (OSError, ValueError, RuntimeError) as error:
            raise _unreachable(address, str(error)) from error
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, asked)  # Ray's own would leave the cells behind
        yield ray
    finally:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
