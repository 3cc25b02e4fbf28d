"""Exact memory figures: asked for in the background, one after another, and never in the way."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

from backprop_tui.core.facts import Facts, GpuFacts
from backprop_tui.core.memory_question import MemoryAnswer, MemoryQuestion
from backprop_tui.core.runfile_io import change
from backprop_tui.tui.keeper import new_plan
from backprop_tui.tui.memory_asker import questions
from tests.core.worlds import LLAMA_8B, PAIRS
from tests.tui.wizard_pilot import GB, StillOracle, Wizard, card, wizard

FACTS = Facts(
    gpu=GpuFacts(cards=(card(total=12),)),
    model=replace(LLAMA_8B, config='{"model_type": "llama"}'),
    data=PAIRS,
)
PLAN = change(
    new_plan(),
    {
        "method": "orpo",
        "model.id": "some/model",
        "data.path": "some.jsonl",
        "data.max_length": 4096,
    },
)


def answer(asked: MemoryQuestion) -> MemoryAnswer:
    """Six GB and two more a row, whatever else is asked."""
    parts = {"weights": 6 * GB, "activations": 2 * GB * len(asked.rows)}
    return MemoryAnswer(parts=parts, at="the backward pass")


class Answering(StillOracle):
    """Answers at once."""

    answer = staticmethod(answer)


class Remembering(Answering):
    """Has answered everything before."""

    def known(self, asked: MemoryQuestion) -> MemoryAnswer | None:
        return answer(asked)

    def ask(self, asked: MemoryQuestion) -> MemoryAnswer:
        raise AssertionError("it is known")


class Waiting(Answering):
    """Answers when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Semaphore(0)

    def ask(self, asked: MemoryQuestion) -> MemoryAnswer:
        self.asked.append(asked)
        while not self.go.acquire(timeout=0.02):
            if self.closed.is_set():
                return MemoryAnswer(why="it was closed")
        return answer(asked)


async def asked_once(it: Wizard) -> Waiting:
    """The oracle of this app, once it was asked."""
    await it.until(lambda: it.app._asked_memory is not None)
    oracle = it.app._oracle
    assert isinstance(oracle, Waiting)
    return oracle


async def test_the_rough_figure_is_replaced_by_the_exact_one() -> None:
    async with wizard(run=PLAN, facts=FACTS, oracle=Waiting) as it:
        await it.press("6")
        await it.shows("roughly: does not fit", "computing the exact figure …")
        (await asked_once(it)).go.release()
        await it.until(lambda: it.app.view.memory and not it.app.view.memory.rough)
        await it.shows("✔ fits with", "w weights 6.0 GB")
        await it.shows("peak: the backward pass")
        assert "roughly: " not in it.text.split("What fits")[0]
        assert "computing" not in it.text


async def test_what_is_known_from_before_is_shown_without_asking() -> None:
    async with wizard(run=PLAN, facts=FACTS, oracle=Remembering) as it:
        await it.go("memory")
        await it.until(lambda: "~" not in it.text.split("roughly")[-1])
        await it.shows("✔ fits with")


async def test_the_table_is_asked_about_only_while_it_is_looked_at() -> None:
    async with wizard(run=PLAN, facts=FACTS, oracle=Answering) as it:
        await it.until(lambda: it.app.view.memory and not it.app.view.memory.rough)
        await it.until(lambda: it.app._asked_memory is None)
        before = len(it.app.facts.memory.answers)
        assert before <= 2  # the plan, and what would make it fit
        await it.press("6")
        await it.until(lambda: not questions(it.app.view, table=True))
        assert len(it.app.facts.memory.answers) > 10
        await it.shows("✔ fits")
        assert "~" not in it.text.split("roughly")[-1]


async def test_after_a_change_the_new_plan_is_asked_about_and_not_the_old_one() -> None:
    async with wizard(run=PLAN, facts=FACTS, oracle=Waiting) as it:
        oracle = await asked_once(it)
        it.app.choose_method("simpo")
        it.app.apply({"lora.rank": 8})
        await it.pilot.pause(0.5)
        assert len(oracle.asked) == 1  # one at a time
        oracle.go.release()
        await it.until(lambda: len(oracle.asked) == 2)
        assert (oracle.asked[0].method, oracle.asked[1].method) == ("orpo", "simpo")
        assert oracle.asked[1].lora is not None
        assert oracle.asked[1].lora[0] == 8


async def test_typing_is_let_come_to_rest() -> None:
    async with wizard(run=PLAN, facts=FACTS, oracle=Answering) as it:
        await it.until(lambda: it.app._oracle is not None and it.app._asked_memory is None)
        oracle = it.app._oracle
        assert isinstance(oracle, Answering)
        before = len(oracle.asked)
        for rank in (17, 18, 19, 20):
            it.app.apply({"lora.rank": rank})
        await it.until(lambda: len(oracle.asked) > before)
        ranks = {asked.lora[0] for asked in oracle.asked[before:] if asked.lora}
        assert ranks == {20}


async def test_leaving_waits_for_no_answer_and_keeps_none_that_is_late() -> None:
    async with wizard(run=PLAN, facts=FACTS) as it:
        await it.until(lambda: it.app._asked_memory is not None)
        oracle, app = it.app._oracle, it.app
        assert isinstance(oracle, StillOracle)
        start = time.monotonic()
    assert time.monotonic() - start < 3
    assert oracle.closed.is_set()
    assert app.facts.memory.answers == {}


async def test_a_training_ends_the_asking_and_the_plan_after_it_asks_again() -> None:
    async with wizard(run=PLAN, facts=FACTS) as it:
        await it.until(lambda: it.app._asked_memory is not None)
        first = it.app._oracle
        it.app.stop_asking()
        it.app.apply({"lora.rank": 8})
        await it.pilot.pause(0.5)
        assert it.app._oracle is None
        it.app.ask_again()
        await it.until(lambda: it.app._asked_memory is not None)
        assert it.app._oracle is not first


async def test_what_cannot_be_told_says_why() -> None:
    class Refusing(StillOracle):
        answer = staticmethod(lambda asked: MemoryAnswer(why="it has layers of another kind"))

    async with wizard(run=PLAN, facts=FACTS, oracle=Refusing) as it:
        await it.shows("cannot be estimated: it has layers of another kind; it is measured when")
