"""MemoryAsker: exact memory figures for the plan, one after another, while the user goes on.

The rough estimate is shown until they are there. One question is out at a time; what is asked next
is decided when it is answered, so a plan that has changed is asked about at once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from textual.timer import Timer

from backprop_tui.core.effective import effective
from backprop_tui.core.facts import Facts
from backprop_tui.core.memory_ask import question
from backprop_tui.core.memory_question import MemoryAnswer, MemoryQuestion
from backprop_tui.core.runfile import RunFile
from backprop_tui.core.runfile_io import change
from backprop_tui.core.what_fits import wanted
from backprop_tui.tui.keeper import DEBOUNCE
from backprop_tui.tui.messages import MemoryAnswered
from backprop_tui.tui.planner import Planner
from backprop_tui.tui.view import View

if TYPE_CHECKING:
    from backprop_tui.probe.memory import MemoryOracle

ASKING = "asking"
FIRST_READ = frozenset({"machine", "model", "data"})  # the answer depends on them


class MemoryAsker(Planner):
    """The plan, its facts and its view; asks for the memory whenever the view has changed."""

    def __init__(self, run: RunFile | None = None, facts: Facts | None = None) -> None:
        super().__init__(run, facts)
        self._oracle: MemoryOracle | None = None
        self._asked_memory: MemoryQuestion | None = None  # the question that is out
        self._rest: Timer | None = None
        self._silent = False  # while a training runs, and at the end
        self._closely = False  # whether the table of what fits is looked at

    def look_at_memory(self, *, closely: bool) -> None:
        """The memory step was opened, or another. closely: all that fits is of interest."""
        opened = closely and not self._closely
        self._closely = closely
        if opened:
            self.look_at_card()
            self._ask_soon()

    def watch_view(self) -> None:
        """Something has changed."""
        self._ask_soon()

    def stop_asking(self) -> None:
        """End what computes, at once."""
        self._silent = True
        oracle, self._oracle, self._asked_memory = self._oracle, None, None
        if self._rest is not None:
            self._rest.stop()
        if oracle is not None:
            oracle.close()

    def ask_again(self) -> None:
        """After a training."""
        self._silent = False
        self._ask_soon()

    def _ask_soon(self) -> None:
        if self._rest is not None:
            self._rest.stop()
        if self.is_running:
            self._rest = self.set_timer(DEBOUNCE, self._ask_next)

    def _ask_next(self) -> None:
        """Take the answer that is wanted most, where one is kept; else ask for it."""
        view = self.view
        if (
            self._silent
            or self._asked_memory
            or view.facts.model is None
            or view.reading & FIRST_READ
        ):
            return
        asked = questions(view, table=self._closely)
        if self._oracle is None and asked:
            from backprop_tui.probe.memory import MemoryOracle

            self._oracle = MemoryOracle()
        if self._oracle is None:
            return
        if not asked:
            return
        if (kept := self._oracle.known(asked[0])) is None:
            self._ask(self._oracle, asked[0])
        else:
            self._take(asked[0], kept)
            self.call_next(self._ask_next)  # a hundred of them must not hold up the keyboard

    def _ask(self, oracle: MemoryOracle, asked: MemoryQuestion) -> None:
        self._asked_memory = asked

        def work() -> None:
            self.post_message(MemoryAnswered(asked, oracle.ask(asked)))

        self.run_worker(work, name=ASKING, group=ASKING, thread=True, exit_on_error=False)

    def on_memory_answered(self, message: MemoryAnswered) -> None:
        """A figure is there. One that comes after the end of asking is none."""
        if message.asked != self._asked_memory:
            return
        self._asked_memory = None
        self._take(message.asked, message.answer)
        self._ask_next()

    def _take(self, asked: MemoryQuestion, answer: MemoryAnswer) -> None:
        memory = self.facts.memory
        memory = replace(memory, answers={**memory.answers, asked: answer})
        self.facts = replace(self.facts, memory=memory)
        self.refresh_view()


def questions(view: View, *, table: bool) -> tuple[MemoryQuestion, ...]:
    """What to ask, most wanted first; without the table only of the plan and of its change."""
    asked = wanted(view.plan, view.facts, view.rows, view.free_ram)
    if table:
        return asked
    plans = [view.plan]
    if view.change is not None:
        plans.append(change(view.plan, dict(view.change.changes)))
    own = {question(plan, view.facts, effective(plan, view.facts, view.rows)) for plan in plans}
    return tuple(each for each in asked if each in own)
