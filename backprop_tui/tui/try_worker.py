"""The thread that loads and writes. It touches no widget: all it has to say is posted."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from textual.message import Message as TuiMessage

from backprop_tui.core.errors import BackpropError
from backprop_tui.core.rows import Message
from backprop_tui.core.votes import Answer, Sampling, Side
from backprop_tui.probe.prompts import Prompt, heldout_prompts, read_prompts

if TYPE_CHECKING:
    from pathlib import Path

    from backprop_tui.train.duo import Duo
    from backprop_tui.train.trying import Tryable


@dataclass
class Stage(TuiMessage):
    """What is loaded now."""

    text: str


class Ready(TuiMessage):
    """The models are loaded."""


@dataclass
class Prompts(TuiMessage):
    """Prompts to draw from, or why there are none."""

    found: list[Prompt]
    why: str = ""


@dataclass
class Wrote(TuiMessage):
    """What a side has written so far. number: of the question it answers."""

    number: int
    side: Side
    answer: Answer


@dataclass
class Answered(TuiMessage):
    """Both sides are done with a question."""

    number: int
    answers: dict[Side, Answer]


@dataclass
class Broken(TuiMessage):
    """Something went wrong. lost: so that nothing can be asked any more."""

    text: str
    hint: str
    lost: bool


@dataclass(frozen=True, slots=True)
class Asked:
    """A question to both sides."""

    number: int
    prompt: tuple[Message, ...]
    sampling: Sampling
    first: Side  # that writes its token first, so that the order gives nothing away


class Writer(threading.Thread):
    """Loads the models, then answers what is asked, in order, until `end`.

    A daemon: a library that loads cannot be interrupted, and leaving must not wait for it.
    """

    def __init__(
        self, found: Tryable, prompts: Path | None, post: Callable[[TuiMessage], Any]
    ) -> None:
        super().__init__(name="writer", daemon=True)
        self._found, self._prompts, self._post = found, prompts, post
        self._asked: queue.SimpleQueue[Asked | None] = queue.SimpleQueue()
        self._halted, self._left = threading.Event(), threading.Event()

    def ask(self, asked: Asked) -> None:
        """Have a question answered after those before it."""
        self._halted.clear()
        self._asked.put(asked)

    def stop(self) -> None:
        """End the answer in progress after its token."""
        self._halted.set()

    def end(self) -> None:
        """No more: the thread ends after the token in progress."""
        self._left.set()
        self._halted.set()
        self._asked.put(None)

    def run(self) -> None:
        """The thread."""
        self._read_prompts()
        try:
            duo = self._load()
        except BackpropError as error:
            self._post(Broken(error.message, error.hint, lost=True))
            return
        except Exception as error:  # noqa: BLE001 - a thread's errors are shown, not lost
            self._post(Broken(f"Loading failed: {_words(error)}", "", lost=True))
            return
        self._post(Ready())
        while (asked := self._asked.get()) is not None and not self._left.is_set():
            self._answer(duo, asked)

    def _load(self) -> Duo:
        self._post(Stage("loading the libraries"))
        from backprop_tui.train.duo import Duo

        return Duo(self._found, lambda text: self._post(Stage(text)))

    def _read_prompts(self) -> None:
        try:
            if self._prompts is not None:
                found = read_prompts(self._prompts)
            else:
                found = heldout_prompts(self._found.run)
            self._post(Prompts(found))
        except BackpropError as error:
            self._post(Prompts([], f"{error.message} {error.hint}".strip()))
        except Exception as error:  # noqa: BLE001 - a prompt can still be typed
            self._post(Prompts([], f"The held-out rows cannot be read: {_words(error)}"))

    def _answer(self, duo: Duo, asked: Asked) -> None:
        def told(side: Side, answer: Answer) -> None:
            self._post(Wrote(asked.number, side, answer))

        try:
            answers = duo.answer(
                asked.prompt, asked.sampling, told, self._halted.is_set, asked.first
            )
        except BackpropError as error:
            self._post(Broken(error.message, error.hint, lost=False))
        except Exception as error:  # noqa: BLE001 - a thread's errors are shown, not lost
            self._post(Broken(f"Writing failed: {_words(error)}", "", lost=False))
        else:
            self._post(Answered(asked.number, answers))


def _words(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
