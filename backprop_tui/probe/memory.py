"""Exact memory answers from a child process, which alone loads torch; kept in the user's cache."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Self

import backprop_tui
from backprop_tui.core.memory import PARTS
from backprop_tui.core.memory_question import MemoryAnswer, MemoryQuestion, as_json
from backprop_tui.core.paths import user_cache, user_log

# What an answer depends on beside the question.
LIBRARIES = ("backprop-tui", "torch", "transformers", "peft", "trl", "accelerate", "bitsandbytes")
CHILD = "backprop_tui.train.memory"
PATIENCE = 120.0  # seconds for one answer, the child's start included
KEPT = 2000  # answers in the cache; the oldest go first
logger = logging.getLogger(__name__)


class MemoryOracle:
    """Answers questions one at a time. Threads may share one.

    with MemoryOracle() as oracle:
        answer = oracle.ask(question)
    """

    def __init__(self) -> None:
        self._answers: dict[MemoryQuestion, MemoryAnswer] = {}
        self._child: subprocess.Popen[str] | None = None
        self._turn = threading.Lock()
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def known(self, asked: MemoryQuestion) -> MemoryAnswer | None:
        """What was answered before, by this or an earlier process; quick."""
        if asked not in self._answers and (found := _read(asked)) is not None:
            self._answers[asked] = found
        return self._answers.get(asked)

    def ask(self, asked: MemoryQuestion) -> MemoryAnswer:
        """The answer; starts the child where it is not known. Blocks for seconds. Never raises:
        from a child that dies or hangs comes an answer that says nothing, and the rough estimate
        stands."""
        with self._turn:
            if (found := self.known(asked)) is not None:
                return found
            if self._closed:
                return MemoryAnswer()
            found = self._from_child(asked)
            if found is None:
                return MemoryAnswer()  # not kept: another time it may work
            self._answers[asked] = found
            _keep(asked, found)
            return found

    def _from_child(self, asked: MemoryQuestion) -> MemoryAnswer | None:
        """None: the child died, was ended, or took too long."""
        if self._child is None or self._child.poll() is not None:
            try:
                self._child = _start()
            except OSError as error:
                logger.warning("the memory child does not start: %s", error)
                return None
            if self._closed:  # meanwhile
                self._child.kill()
        child = self._child
        timer = threading.Timer(PATIENCE, child.kill)
        timer.daemon = True
        timer.start()
        try:
            assert child.stdin is not None
            assert child.stdout is not None
            print(as_json(asked), file=child.stdin, flush=True)
            return _answer(json.loads(child.stdout.readline()))
        except (OSError, ValueError, RecursionError) as error:  # a broken pipe, an empty line
            logger.warning("the memory child gave no answer: %s", error)
            child.kill()
            child.wait()  # the next question sees that it is gone
            return None
        finally:
            timer.cancel()

    def close(self) -> None:
        """End the child, at once; an `ask` that is waiting comes back with an answer that says
        nothing."""
        self._closed = True
        if (child := self._child) is not None:
            child.kill()
            child.wait()


def child_log() -> Path:
    """What the last child said, a traceback among it."""
    return user_log().with_name("memory.log")


def _start() -> subprocess.Popen[str]:
    # Our own package from where it is, and nothing from the folder that the user is in.
    paths = (str(Path(backprop_tui.__file__).parents[1]), os.environ.get("PYTHONPATH", ""))
    try:
        log: IO[str] | int = child_log().open("w")
    except OSError:
        log = subprocess.DEVNULL
    try:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            # Fake tensors need no threads, and the child none of the user's interrupts.
            env=os.environ
            | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))},
            start_new_session=True,
        )
    finally:
        if not isinstance(log, int):
            log.close()


def _answer(raw: object) -> MemoryAnswer:
    """ValueError: not an answer."""
    if not isinstance(raw, dict):
        raise ValueError("not an object")
    parts, at, why = raw.get("parts"), raw.get("at"), raw.get("why")
    if parts is not None and not (
        isinstance(parts, dict)
        and set(parts) == set(PARTS[:-1])
        and all(isinstance(size, int) and size >= 0 for size in parts.values())
    ):
        raise ValueError("other parts than those of a plan")
    if parts is None and not why:
        raise ValueError("neither parts nor a reason")
    return MemoryAnswer(parts=parts, at=str(at or ""), why=str(why or ""))


def _path(asked: MemoryQuestion) -> Path:
    """The file of an answer: another version of a library may answer otherwise."""
    told = "\n".join((as_json(asked), *_versions()))
    return user_cache() / "memory" / f"{hashlib.sha256(told.encode()).hexdigest()[:32]}.json"


@cache
def _versions() -> tuple[str, ...]:
    found = []
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}")
    return tuple(found)


def _read(asked: MemoryQuestion) -> MemoryAnswer | None:
    """The kept answer; None where there is none, or none that can be read."""
    try:
        return _answer(json.loads(_path(asked).read_text("utf-8")))
    except (OSError, ValueError, RecursionError):
        return None


def _keep(asked: MemoryQuestion, found: MemoryAnswer) -> None:
    """A file appears whole or not at all. Without room or rights the answer is not kept."""
    try:
        path = _path(asked)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            json.dump(asdict(found), file)
        os.replace(file.name, path)
        _forget_oldest(path.parent)
    except OSError as error:
        logger.warning("a memory answer was not kept: %s", error)


def _forget_oldest(folder: Path) -> None:
    files = sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime)
    for file in files[:-KEPT]:
        file.unlink(missing_ok=True)
