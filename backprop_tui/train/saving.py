"""Saver: puts checkpoints and results on the disk, whole, and waits where the disk is full."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from backprop_tui.core.control import Control
from backprop_tui.core.disk import AT_ONCE
from backprop_tui.core.errors import RunError
from backprop_tui.core.text import size
from backprop_tui.train.checkpoints import Checkpoints, RunState
from backprop_tui.train.distributed import Team
from backprop_tui.train.pausing import Pauses

DISK = "disk"  # who wants the pause
TRY_EVERY = 5.0  # seconds
BLOCK = 1 << 23  # bytes
BESIDE = 1 << 24  # bytes: tokenizer, states and texts of a checkpoint
FULL = (errno.ENOSPC, errno.EDQUOT)
# What the writers of safetensors and torch say of it, in words of their own.
FULL_WORDS = ("No space left", "os error 28", "quota exceeded", "failed writing file")


class Saver:
    """Writes for one run. state: what it knows, asked at every checkpoint. still_there: raises
    when the run folder is gone."""

    def __init__(
        self,
        store: Checkpoints,
        team: Team,
        pauses: Pauses,
        control: Control,
        state: Callable[[int], RunState],
        still_there: Callable[[], None] = lambda: None,
    ) -> None:
        self.store, self.team, self.pauses = store, team, pauses
        self.control, self.state, self.still_there = control, state, still_there
        self.trainer: Any = None
        self._write: Callable[..., None] | None = None

    def attach(self, trainer: Any) -> None:
        """Let this trainer's checkpoints appear whole or not at all."""
        self.trainer, self._write = trainer, trainer._save_checkpoint
        trainer._save_checkpoint = self._save_checkpoint
        trainer._get_output_dir = lambda trial=None: str(self.store.writing)

    def detach(self) -> None:
        """Let go of the trainer, so that its memory can be freed."""
        self.trainer = self._write = None

    def save_now(self) -> None:
        """A checkpoint of the step the trainer is at, outside of its own cadence."""
        trainer = self.trainer
        trainer._save_checkpoint(trainer.model, None)
        trainer.control = trainer.callback_handler.on_save(
            trainer.args, trainer.state, trainer.control
        )

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        state = self.state(self.trainer.state.global_step)
        if self.team.share(self.team.main and self.store.at(state.step) is not None):
            return  # nothing has changed since

        def write() -> None:
            if self.team.main:
                self.still_there()
                self.store.clear()
            self.team.gather(None)
            assert self._write is not None
            self._write(model, trial)
            self.team.gather(None)
            if self.team.main:
                self.store.commit(state)

        self.durably(write, f"the checkpoint of step {state.step}")
        if self.team.main:
            self.store.rotate()
        self.team.gather(None)

    def durably(self, write: Callable[[], object], what: str) -> None:
        """Do it; where the disk is full, wait for room and do it again.

        RunError: the run was stopped while it waited; or no room, with several processes.
        """
        while True:
            try:
                write()
            except Exception as error:
                if not is_full(error):
                    raise
                self.store.clear()
                self._wait_for_room(what, error)
            else:
                self.pauses.over(DISK)
                return

    def _wait_for_room(self, what: str, error: Exception) -> None:
        folder = self.store.folder
        room = f"there is no room for {what} in {folder}: {size(free(folder))} are free"
        if not self.team.alone or self.control.stopping:  # asking takes all processes
            raise RunError(
                f"{room[0].upper()}{room[1:]}.",
                hint="free some room; the checkpoints before it are whole, and "
                f"backprop-tui resume {folder.parent} goes on from the newest",
                code="RUN_DISK_FULL",
            ) from error
        # Said once: what is free changes while it waits.
        why = f"there is no room for {what} in {folder}; free some, and the run goes on by itself"
        self.pauses.wait_for(DISK, why, TRY_EVERY)

    def check_room(self, trainer: Any) -> None:
        """Write as much as a checkpoint takes, and take it away again; before step 1.

        RunError: it does not fit, or what the run needs in all is not there.
        """
        if not self.team.main:
            return
        folder = self.store.folder
        folder.mkdir(mode=0o700, exist_ok=True)
        needed = checkpoint_size(trainer)
        in_all = needed * AT_ONCE - sum(tree_size(one.path) for one in self.store.whole())
        try:
            if free(folder) < in_all:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            _fill(folder / "room", needed)
        except OSError as error:
            if not is_full(error):
                raise
            raise RunError(
                f"The disk has no room for the checkpoints of this run: {folder} has "
                f"{size(free(folder))} free, one takes up to {size(needed)}, and up to {AT_ONCE} "
                "are there at once.",
                hint="free some room, or choose another folder with --output",
                code="RUN_DISK_FULL",
            ) from error


def checkpoint_size(trainer: Any) -> int:
    """Bytes of one checkpoint, at most: what is trained, two states of an optimizer, the rest."""
    trained = [one for one in trainer.model.parameters() if one.requires_grad]
    return int(sum(one.numel() * one.element_size() for one in trained)) * 3 + BESIDE


def _fill(path: Path, size: int) -> None:
    """Write so many bytes that cannot be compressed, durably, and remove them."""
    block = os.urandom(min(BLOCK, size))
    path.unlink(missing_ok=True)
    try:
        with path.open("xb") as file:
            for start in range(0, size, BLOCK):
                file.write(block[: size - start])
            file.flush()
            os.fsync(file.fileno())
    finally:
        path.unlink(missing_ok=True)


def free(folder: Path) -> int:
    """Bytes that this user may still write there."""
    return shutil.disk_usage(folder).free


def tree_size(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def is_full(error: BaseException) -> bool:
    """Whether it is, somewhere in its causes, a full disk or a used-up quota."""
    return any(
        getattr(one, "errno", None) in FULL or any(words in str(one) for words in FULL_WORDS)
        for one in _causes(error)
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen = 0
    while error is not None and seen < 10:
        yield error
        error, seen = error.__cause__ or error.__context__, seen + 1
