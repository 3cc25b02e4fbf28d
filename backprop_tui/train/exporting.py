"""A finished run -> a folder that needs neither the run nor this tool.

`judge` refuses before anything slow. `written` has a sibling of the output filled and renames it:
the output is there whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from backprop_tui.core import runfile_io
from backprop_tui.core.errors import InputError
from backprop_tui.core.events import Finished
from backprop_tui.core.facts import ModelFacts
from backprop_tui.core.history import History
from backprop_tui.core.model_card import HUB_ID, Kind
from backprop_tui.core.runfile import RunFile
from backprop_tui.core.runfile_problems import INVALID
from backprop_tui.core.text import size
from backprop_tui.probe.model import probe_model
from backprop_tui.runs.lock import owned, owner
from backprop_tui.runs.state import as_typed
from backprop_tui.runs.stream import Follower
from backprop_tui.train.checkpoints import sync, sync_folder
from backprop_tui.train.folder import free_name
from backprop_tui.train.merging import BYTES, merged_precision
from backprop_tui.train.model import weights_sha256
from backprop_tui.train.saving import free, is_full, tree_size

NOT_COPIED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")  # they can run code when loaded
BESIDE = 1 << 24  # bytes: card, Modelfile, tokenizer
HEADROOM = 1.1  # of the merged weights, in memory


@dataclass(frozen=True, slots=True)
class Judged:
    """What will be exported. weights: the run's adapter or model folder. base: of a merge. room:
    bytes on the disk at most."""

    folder: Path
    output: Path
    kind: Kind
    gguf: bool
    run: RunFile
    history: History
    weights: Path
    base: ModelFacts | None
    precision: str
    room: int


def judge(
    folder: Path,
    output: Path,
    kind: Kind | None = None,
    *,
    gguf: bool = False,
    trust_remote_code: bool = False,
) -> Judged:
    """See that it can be done. kind: None for what the run made, merged where GGUF is asked for.

    InputError: OUTPUT_EXISTS, RUN_OWNED, RUN_NOTHING_LEARNED, EXPORT_BASE_CHANGED,
    EXPORT_QUANTISED_BASE, EXPORT_NO_ROOM, model-remote-code, what probe_model raises.
    """
    output = output.expanduser().absolute()
    refuse_existing(output)
    run, history, weights = with_result(folder)
    kind = _kind(run, kind, gguf)
    precision, base, needed = merged_precision(run), None, tree_size(weights)
    if kind == "merged":
        base = _base(run, trust_remote_code=trust_remote_code)
        needed = (base.parameters or 0) * BYTES[precision]
        _refuse_memory(needed)
    elif kind == "model":
        precision = "fp32"  # what full fine-tuning trains and saves
    room = needed * (2 if gguf else 1) + BESIDE
    _refuse_disk(output, room)
    return Judged(folder, output, kind, gguf, run, history, weights, base, precision, room)


def refuse_existing(output: Path) -> None:
    """InputError OUTPUT_EXISTS: nothing is ever overwritten."""
    if os.path.lexists(output):
        raise InputError(
            f"--output: {output} exists and is not overwritten",
            hint=f"choose another, for example {free_name(output)}",
            code="OUTPUT_EXISTS",
        )


def written(judged: Judged, fill: Callable[[Path], None]) -> int:
    """Have `fill` write into a sibling of the output, then put it in its place; bytes.

    Whatever `fill` raises, what it wrote is removed. InputError: WRITE_REFUSED, OUTPUT_EXISTS.
    """
    output = judged.output
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(".writing", f".{output.name}.", output.parent))
    except OSError as error:
        raise _refused(output, error) from error
    try:
        fill(made)
        sync(made)
        bytes_ = tree_size(made)
        refuse_existing(output)  # somebody may have made it in the meantime
        made.rename(output)
        sync_folder(output.parent)
    except Exception as error:
        # The writers of weights have exceptions of their own for a full disk.
        if isinstance(error, OSError) or is_full(error):
            raise _refused(output, error) from error
        raise
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return bytes_


def copy_weights(judged: Judged, into: Path, *, adapter: bool) -> None:
    """The files of the run's result; without `adapter` those of the tokenizer alone. No pickles,
    and no links, which would lead elsewhere."""
    for file in sorted(judged.weights.iterdir()):
        ours = file.name == "README.md" or file.suffix in NOT_COPIED
        if file.is_symlink() or not file.is_file() or ours:
            continue
        if adapter or not file.name.startswith("adapter_"):
            shutil.copyfile(file, into / file.name)
    config = into / "adapter_config.json"
    if config.is_file() and HUB_ID.fullmatch(judged.run.model.id):
        # PEFT recorded the folder of this machine's cache.
        made = judged.run.provenance
        plain = json.loads(config.read_text(encoding="utf-8"))
        plain["base_model_name_or_path"] = judged.run.model.id
        plain["revision"] = (made.model_commit if made else "") or judged.run.model.revision
        config.write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")


def run_file_sha256(folder: Path) -> str:
    """Of the run.toml as it stands."""
    return hashlib.sha256((folder / "run.toml").read_bytes()).hexdigest()


def with_result(folder: Path) -> tuple[RunFile, History, Path]:
    """A run nobody works on any more: its run file, what happened, and the folder of its result.

    InputError: RUN_OWNED, RUN_NOTHING_LEARNED, what reading the run file raises.
    """
    if (who := owner(folder)) is not None:
        raise owned(folder, who)
    run, _ = runfile_io.read(folder / "run.toml", (), {})
    history = History()
    for event in Follower(folder / "events.jsonl", whole=True).read():
        history.add(event)
    weights = learned_weights(folder, run, history)
    return run, history, weights


def learned_weights(folder: Path, run: RunFile, history: History) -> Path:
    """The folder of a run's result. InputError RUN_NOTHING_LEARNED: there is none."""
    weights = folder / ("adapter" if run.lora else "model")
    ended = history.ended
    config = weights / ("adapter_config.json" if run.lora else "config.json")
    there = config.is_file() and any(weights.glob("*.safetensors"))
    if there and isinstance(ended, Finished) and ended.path:
        return weights
    why = (
        f"{weights} has no safetensors weights"
        if isinstance(ended, Finished) and ended.path
        else "it did not come to its end, nor was it stopped and saved"
    )
    raise InputError(
        f"{folder}: this run has no result yet: {why}.",
        hint=f"go on with it: backprop-tui resume {as_typed(folder)}",
        code="RUN_NOTHING_LEARNED",
    )


def _kind(run: RunFile, asked: Kind | None, gguf: bool) -> Kind:
    if run.lora is None:
        if asked == "adapter":
            raise InputError(
                "--adapter: this run trained every weight, so it has no adapter.",
                hint="leave --adapter out; its model is exported as it is",
                code=INVALID,
            )
        return "model"
    return asked or ("merged" if gguf else "adapter")


def _base(run: RunFile, *, trust_remote_code: bool) -> ModelFacts:
    """The run's base model at the very weights it was trained on."""
    facts = base_facts(run, "export", trust_remote_code=trust_remote_code)
    if facts.quantisation:
        raise InputError(
            f"{facts.name} is stored quantised ({facts.quantisation}), so there are no full "
            "weights to merge into.",
            hint="export the adapter as it is with --adapter",
            code="EXPORT_QUANTISED_BASE",
        )
    if base_changed(run, facts):
        raise InputError(
            f"{facts.path}: its weights are not those the run was trained on.",
            hint="put them back, or export the adapter as it is with --adapter",
            code="EXPORT_BASE_CHANGED",
        )
    return facts


def base_facts(run: RunFile, command: str, *, trust_remote_code: bool) -> ModelFacts:
    """The run's base model, at the commit it had. InputError: model-remote-code, what probe_model
    raises. command: that loads it."""
    commit = run.provenance.model_commit if run.provenance else ""
    facts = probe_model(
        run.model.id,
        revision=commit or run.model.revision,
        trust_remote_code=trust_remote_code,
    )
    if facts.remote_code and not trust_remote_code:
        raise InputError(
            f"{facts.name} needs code of its own, which would run with your rights.",
            hint=f"read that code; then {command} with --trust-remote-code",
            code="model-remote-code",
        )
    return facts


def base_changed(run: RunFile, facts: ModelFacts) -> bool:
    """Whether the weights are known to be others than the run was trained on."""
    made = run.provenance
    return bool(made and made.model_sha256 and weights_sha256(facts) != made.model_sha256)


def _refuse_memory(needed: int) -> None:
    free_ram = psutil.virtual_memory().available + psutil.swap_memory().free
    if needed * HEADROOM > free_ram:
        raise InputError(
            f"Merging takes {size(needed * HEADROOM)} of memory, and {size(free_ram)} are free.",
            hint="close something, or export the adapter as it is with --adapter",
            code="EXPORT_NO_ROOM",
        )


def _refuse_disk(output: Path, needed: int) -> None:
    place = next(path for path in output.parents if path.is_dir())
    if free(place) < needed:
        raise InputError(
            f"The export takes {size(needed)}, and {place} has {size(free(place))} free.",
            hint="free some room, or choose another folder with --output",
            code="EXPORT_NO_ROOM",
        )


def _refused(output: Path, error: Exception) -> InputError:
    why = getattr(error, "strerror", None) or error
    return InputError(
        f"--output: {output} cannot be written: {why}",
        hint="choose a folder you may write to, with space left",
        code="WRITE_REFUSED",
    )
