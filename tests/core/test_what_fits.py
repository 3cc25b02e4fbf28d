"""What fits: a change that is offered is enough and no more than that, and the table is right."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backprop_tui.core.effective import effective, smallest_batch
from backprop_tui.core.facts import Facts, Gpu, GpuFacts, GpuProcess
from backprop_tui.core.fit_words import in_words, words
from backprop_tui.core.fix import Fix
from backprop_tui.core.memory import Estimate, estimate_of
from backprop_tui.core.memory_ask import question
from backprop_tui.core.memory_between import best_estimate, between
from backprop_tui.core.memory_question import MemoryAnswer, MemoryQuestion
from backprop_tui.core.memory_rough import TILE
from backprop_tui.core.runfile import RunFile
from backprop_tui.core.smallest_change import (
    change_kinds,
    changed,
    largest_batch,
    smallest_change,
    together,
    with_batch,
)
from backprop_tui.core.what_fits import LARGEST_BATCH, Cell, table, wanted
from tests.core.exact import MODEL, answer, answered
from tests.core.worlds import (
    CARD,
    CHATS,
    GB,
    LLAMA_8B,
    MARKS,
    MB,
    NO_CARD,
    OLD_CARD,
    PAIRS,
    SMALL,
    facts,
    run_file,
)


def card_with(free: float | None, **known: Any) -> GpuFacts:
    """One card with so many gigabytes free."""
    of_memory = None if free is None else int(free * GB)
    return GpuFacts(cards=(replace(CARD, memory_free=of_memory, processes=(), **known),))


def world(free: float | None = 15.5, **known: Any) -> Facts:
    return facts(gpu=card_with(free), **{"model": MODEL, **known})


def fits(run: RunFile, there: Facts) -> bool:
    found = estimate_of(run, there)
    assert found is not None
    return found.fits is True


plans = st.builds(
    lambda method, engine, lora, changes: run_file(
        {"engine": engine, **({} if lora else {"lora": None}), **changes}, method
    ),
    st.sampled_from(["sft", "orpo", "simpo", "kto", "dpo"]),
    st.sampled_from(["lean", "trl"]),
    st.booleans(),
    st.fixed_dictionaries(
        {
            "training.batch_size": st.integers(1, 24),
            "training.accumulation": st.integers(1, 16),
            "training.checkpointing": st.booleans(),
            "training.checkpoint_every": st.integers(1, 6),
            "data.max_length": st.sampled_from([200, 512, 1000, 1024, 3000, 4096, 8192]),
            "model.precision": st.sampled_from(["auto", "nf4", "int8", "bf16", "fp32"]),
        }
    ),
)
frees = st.floats(1, 60)


# The smallest change


@given(plans, frees)
@settings(max_examples=60, deadline=None)
def test_a_change_that_is_offered_makes_it_fit(run: RunFile, free: float) -> None:
    there = world(free)
    change = smallest_change(run, there, None)
    if fits(run, there):
        assert change is None
    elif change is not None:
        assert fits(changed(run, change.changes), there)


@given(plans, frees)
@settings(max_examples=60, deadline=None)
def test_without_a_change_on_offer_all_of_them_together_are_not_enough(
    run: RunFile, free: float
) -> None:
    there = world(free)
    if fits(run, there) or smallest_change(run, there, None) is not None:
        return
    kinds = [kind for kind in change_kinds(run, effective(run, there)) if kind]
    assert not fits(changed(run, together([kind[-1] for kind in kinds])), there)


@given(plans, frees)
@settings(max_examples=60, deadline=None)
def test_the_order_is_kept_and_no_more_is_changed_than_has_to_be(run: RunFile, free: float) -> None:
    there = world(free)
    change = smallest_change(run, there, None)
    if change is None:
        return
    usual = [kind for kind in change_kinds(run, effective(run, there))[:4] if kind]
    alone = [fix for kind in usual for fix in kind if fits(changed(run, fix.changes), there)]
    if alone:  # the first that is enough by itself, the mildest of its kind
        assert change == alone[0]
        return
    kinds = change_kinds(run, effective(run, there))
    parts = [[fix for fix in kind if within(fix, change)] for kind in kinds]
    # "on" is a part of "on, every 4 layers".
    chosen = [max(kind, key=lambda fix: len(fix.changes)) if kind else None for kind in parts]
    assert dict(together([fix for fix in chosen if fix])) == dict(change.changes)
    for left_out in filter(None, chosen):
        rest = [fix for fix in chosen if fix and fix is not left_out]
        assert not fits(changed(run, together(rest)), there)
    last = max((place for place, fix in enumerate(chosen[:4]) if fix), default=0)
    before = [kind[-1] for kind in kinds[:last] if kind]
    assert not fits(changed(run, together(before)), there)


def within(fix: Fix, change: Fix) -> bool:
    """Whether a change is a part of another."""
    whole = dict(change.changes)
    return all(key in whole and whole[key] == value for key, value in fix.changes)


@given(plans, frees)
@settings(max_examples=60, deadline=None)
def test_the_effective_batch_stays(run: RunFile, free: float) -> None:
    change = smallest_change(run, world(free), None)
    if change and "training.batch_size" in dict(change.changes):
        plan = effective(run, world(free))
        after = effective(changed(run, change.changes), world(free))
        before = plan.batch_size * plan.accumulation
        rest = after.batch_size * after.accumulation - before
        assert 0 <= rest < smallest_batch(run)  # a smallest batch of 2 may not divide an odd one


def at(there: RunFile) -> Facts:
    """A card on which exactly this plan fits."""
    found = estimate_of(there, world())
    assert found is not None
    return facts(gpu=card_with(found.needed / GB), model=MODEL)


OFF = {"training.checkpointing": False}
EVERY = "training.checkpoint_every"
ONE_ROW = {"training.batch_size": 1, "training.accumulation": 16}


@pytest.mark.parametrize(
    ("changes", "enough", "label"),
    [
        (OFF, {"training.checkpointing": True, EVERY: 4}, "checkpointing every 4 layers"),
        (OFF, {"training.checkpointing": True, EVERY: 2}, "checkpointing every 2 layers"),
        (OFF, {"training.checkpointing": True}, "checkpointing on"),
        ({EVERY: 2}, {EVERY: 1}, "checkpointing every layer"),
        ({}, ONE_ROW, "batch 1 x 16"),
        ({"model.precision": "int8"}, {"model.precision": "nf4"}, "nf4 weights"),
        ({"data.max_length": 2048, **ONE_ROW}, {"data.max_length": 1024}, "max_length 1024"),
        (ONE_ROW, {"data.max_length": 256}, "max_length 256"),
        (
            {EVERY: 4, "training.batch_size": 8, "training.accumulation": 2},
            {EVERY: 1, "training.batch_size": 4, "training.accumulation": 4},
            "checkpointing every layer, batch 4 x 4",
        ),
        ({"lora": None}, {"lora": {}}, "an adapter (LoRA)"),
    ],
)
def test_what_is_enough_is_what_is_offered(
    changes: dict[str, Any], enough: dict[str, Any], label: str
) -> None:
    run = run_file(changes)
    change = smallest_change(run, at(changed(run, tuple(enough.items()))), None)
    assert change == Fix(label, tuple(enough.items()))


def test_trls_logits_are_given_up_last() -> None:
    run = run_file({"engine": "trl", **ONE_ROW, "data.max_length": 200})
    there = at(changed(run, (("engine", "lean"),)))
    assert smallest_change(run, there, None) == Fix("the lean engine", (("engine", "lean"),))
    longer = changed(run, (("data.max_length", 4096),))
    change = smallest_change(longer, at(changed(run, (("data.max_length", 512),))), None)
    assert change is not None
    assert change.label == "max_length 512"


def test_quantising_is_not_offered_where_it_cannot_be_done() -> None:
    full = run_file({"lora": None, "model.precision": "bf16"})
    on_cpu = run_file({"machine.device": "cpu"})
    for run in (full, on_cpu):
        kinds = change_kinds(run, effective(run, world()))
        assert not any("model.precision" in dict(fix.changes) for fix in kinds[2])


@pytest.mark.parametrize("free", [None, 100.0])
def test_nothing_is_offered_where_it_is_unknown_or_fits(free: float | None) -> None:
    assert smallest_change(run_file(), world(free), None) is None


def test_nothing_is_offered_for_what_was_not_modelled() -> None:
    run = run_file({"training.batch_size": 64})
    assert smallest_change(run, world(12), None) is not None
    assert smallest_change(run, world(12, model=replace(MODEL, remote_code=True)), None) is None


def test_a_cpu_run_is_changed_for_the_free_memory_of_the_machine() -> None:
    run = run_file({"training.batch_size": 64, "data.max_length": 512})
    there = facts(model=SMALL, gpu=NO_CARD)
    found = estimate_of(changed(run, (("training.batch_size", 16),)), there)
    assert found is not None
    change = smallest_change(run, there, None, found.needed)
    assert change is not None
    assert dict(change.changes) == {"training.batch_size": 16, "training.accumulation": 32}
    assert smallest_change(run, there, None) is None  # unknown


# The largest batch


@given(plans, frees)
@settings(max_examples=60, deadline=None)
def test_one_row_more_than_the_largest_batch_does_not_fit(run: RunFile, free: float) -> None:
    there = world(free)
    batch = largest_batch(run, there, None)
    assert batch is not None
    if batch:
        assert batch >= smallest_batch(run)
        assert fits(with_batch(run, batch), there)
    if batch < LARGEST_BATCH:
        assert not fits(with_batch(run, max(batch + 1, smallest_batch(run))), there)


def test_the_largest_batch_ends_somewhere() -> None:
    run = run_file()
    assert largest_batch(run, world(10**6), None) == LARGEST_BATCH
    few = effective_rows(run, 30)
    assert largest_batch(run, world(10**6), few) == 27  # of 30, 3 are held out
    assert largest_batch(run, world(None), None) is None
    assert largest_batch(run, world(model=None), None) is None


def effective_rows(run: RunFile, kept: int) -> Any:
    from backprop_tui.core.effective import estimated_rows

    return estimated_rows(run, world(data=replace(PAIRS, rows=kept, kept=kept)))


# The table


@given(plans, frees)
@settings(max_examples=15, deadline=None)
def test_the_table_agrees_with_the_estimate_of_each_of_its_plans(run: RunFile, free: float) -> None:
    there = world(free, data=None)
    for cell in table(run, there, None):
        plan = changed(run, cell.changes)
        decided = effective(plan, there)
        assert (plan.method, decided.precision, decided.max_length) == (
            (cell.method, cell.precision, cell.max_length)
        )
        found = estimate_of(plan, there)
        assert found is not None
        assert cell.rough
        if cell.verdict == "no":
            assert not found.fits
            strongest = [kind[-1] for kind in change_kinds(plan, decided)[:2] if kind]
            least = estimate_of(changed(plan, together(strongest)), there)
            assert least is not None
            assert (least.fits, least.needed) == (False, cell.needed)
        else:
            assert found.fits
            assert found.needed == cell.needed
        lower = {"training.checkpoint_every", "training.batch_size", "training.checkpointing"}
        assert bool(lower & dict(cell.changes).keys()) == (cell.verdict == "changes")


def columns(cells: tuple[Cell, ...], name: str) -> list[Any]:
    return list(dict.fromkeys(getattr(cell, name) for cell in cells))


@pytest.mark.parametrize(
    ("method", "data", "methods"),
    [
        ("orpo", PAIRS, ["sft", "orpo", "simpo", "kto"]),
        ("dpo", PAIRS, ["sft", "orpo", "simpo", "kto", "dpo"]),
        ("kto", MARKS, ["kto"]),
        ("sft", CHATS, ["sft"]),
        ("dpo", CHATS, ["sft"]),
        ("kto", None, ["sft", "orpo", "simpo", "kto"]),
    ],
)
def test_the_table_has_what_the_data_can_be_trained_with(
    method: str, data: Any, methods: list[str]
) -> None:
    assert columns(table(run_file(method=method), world(data=data), None), "method") == methods


@pytest.mark.parametrize(
    ("changes", "gpu", "precisions"),
    [
        ({}, card_with(9), ["bf16", "int8", "nf4"]),
        ({}, GpuFacts(cards=(OLD_CARD,)), ["fp16", "int8", "nf4"]),
        ({"model.precision": "fp32"}, card_with(9), ["fp32", "bf16", "int8", "nf4"]),
        ({"lora": None, "model.precision": "bf16"}, card_with(9), ["bf16"]),
        ({}, NO_CARD, ["fp32"]),
    ],
)
def test_the_table_has_the_precisions_that_make_sense_here(
    changes: dict[str, Any], gpu: GpuFacts, precisions: list[str]
) -> None:
    found = table(run_file(changes), facts(gpu=gpu, model=MODEL), None)
    assert columns(found, "precision") == precisions


@pytest.mark.parametrize(
    ("max_length", "context", "lengths"),
    [
        (1024, 131072, [512, 1024, 2048, 4096]),
        (700, 131072, [512, 700, 1024, 2048, 4096]),
        (8192, 131072, [512, 1024, 2048, 4096, 8192]),
        (1024, 2048, [512, 1024, 2048]),
        (4096, 300, [300]),
        (1024, None, [512, 1024, 2048, 4096]),
    ],
)
def test_the_table_goes_up_to_what_the_model_reads(
    max_length: int, context: int | None, lengths: list[int]
) -> None:
    there = world(model=replace(MODEL, context=context))
    found = table(run_file({"data.max_length": max_length}), there, None)
    assert columns(found, "max_length") == lengths


@pytest.mark.parametrize(
    "there",
    [world(None), world(model=None), world(model=replace(MODEL, quantisation="gptq"))],
)
def test_the_table_has_no_verdict_on_what_is_unknown(there: Facts) -> None:
    assert columns(table(run_file(), there, None), "verdict") == ["unknown"]


# Exact answers


def asked_of(changes: dict[str, Any] | None = None, method: str = "orpo") -> MemoryQuestion:
    run = run_file(changes, method)
    found = question(run, world(), effective(run, world()))
    assert found is not None
    return found


def of_length(length: int, **more: Any) -> MemoryQuestion:
    return asked_of({"data.max_length": length, **more})


def test_between_two_lengths_the_straight_line_is_never_too_low() -> None:
    short, long = of_length(512), of_length(4096)
    answers = {q: answer(q) for q in (short, long)}
    for length in (512, 700, 1024, 2048, 4095):
        found = between(of_length(length), answers)
        assert found is not None
        assert found.tensors >= answer(of_length(length)).tensors
    middle = between(of_length(2304), answers)  # half way
    assert middle is not None
    parts = {name: (answer(short).parts or {})[name] for name in middle.parts or {}}
    for name, low in parts.items():
        high = (answer(long).parts or {})[name]
        tile = 2 * TILE if name == "loss" else 0  # which grows to its size and no further
        assert (middle.parts or {})[name] == pytest.approx((low + high) / 2 + tile, abs=2)


def test_between_two_batches_the_straight_line_is_never_too_low() -> None:
    few, many = asked_of({"training.batch_size": 2}), asked_of({"training.batch_size": 8})
    answers = {q: answer(q) for q in (few, many)}
    for batch in range(2, 9):
        asked = asked_of({"training.batch_size": batch})
        found = between(asked, answers)
        assert found is not None
        assert answer(asked).tensors <= found.tensors < answer(asked).tensors + 600 * MB
    assert between(asked_of({"training.batch_size": 9}), answers) is None
    assert between(asked_of({"training.batch_size": 1}), answers) is None


@pytest.mark.parametrize(
    ("asked", "low", "high"),
    [
        (of_length(400), of_length(512), of_length(4096)),  # beyond, below
        (of_length(5000), of_length(512), of_length(4096)),  # beyond, above
        (of_length(1024), of_length(512), of_length(4096, **{"lora.rank": 8})),
        (of_length(1024), of_length(512), of_length(4096, **{"training.batch_size": 3})),
        (
            of_length(1024, **{"training.batch_tokens": 4096}),
            of_length(512, **{"training.batch_tokens": 4096}),
            of_length(4096, **{"training.batch_tokens": 4096}),
        ),
        (
            asked_of({"data.max_length": 1024}, "sft"),
            asked_of({"data.max_length": 512}, "sft"),
            asked_of({"data.max_length": 4096}, "sft"),
        ),
        (  # the answers reach their length at once: a line would have far too many tokens
            replace(of_length(1024), rows=((1, 1000, 1000),)),
            replace(of_length(512), rows=((1, 500, 500),)),
            replace(of_length(4096), rows=((3000, 1000, 1000),)),
        ),
    ],
)
def test_no_line_is_drawn_where_it_would_say_nothing(
    asked: MemoryQuestion, low: MemoryQuestion, high: MemoryQuestion
) -> None:
    assert between(asked, {q: answer(q) for q in (low, high)}) is None


def test_an_answer_that_could_not_be_had_bounds_nothing() -> None:
    answers = {of_length(512): answer(of_length(512)), of_length(4096): MemoryAnswer(why="it died")}
    assert between(of_length(1024), answers) is None


def test_a_bound_that_does_not_fit_is_still_rough() -> None:
    run = run_file()
    line = {of_length(512): answer(of_length(512)), of_length(4096): answer(of_length(4096))}
    for free, rough in ((40.0, False), (6.0, True)):
        there = world(free)
        there = replace(there, memory=replace(there.memory, answers=line))
        found = best_estimate(run, there)
        assert found is not None
        assert (found.fits, found.rough) == (not rough, rough)
        assert found.at == "backward"


@given(plans, frees)
@settings(max_examples=4, deadline=None)
def test_once_all_is_answered_what_is_said_to_fit_does(run: RunFile, free: float) -> None:
    """Of the plan, the change, the largest batch and every cell of the table."""
    there = answered(run, world(free))
    assert wanted(run, there, None) == ()
    truth = answered_anew(there)
    for cell in table(run, there, None):
        assert not cell.rough or cell.verdict == "no"
        really = truth(changed(run, cell.changes))
        assert really == (cell.verdict in ("fits", "changes"))
    change = smallest_change(run, there, None)
    if change:
        assert truth(changed(run, change.changes))
    batch = largest_batch(run, there, None)
    assert batch is not None
    assert not batch or truth(with_batch(run, batch))


def answered_anew(there: Facts) -> Any:
    """Whether a plan fits by the exact answer alone."""

    def fitting(run: RunFile) -> bool:
        asked = question(run, there, effective(run, there))
        assert asked is not None
        exact = replace(there, memory=replace(there.memory, answers={asked: answer(asked)}))
        return fits(run, exact)

    return fitting


def test_the_plan_is_asked_about_first_and_then_what_would_make_it_fit() -> None:
    run = run_file({"training.batch_size": 8})
    there = world(8)
    change = smallest_change(run, there, None)
    assert change is not None
    questions = wanted(run, there, None)
    assert questions[0] == asked_of({"training.batch_size": 8})
    assert questions[1] == asked_of({"training.batch_size": 8, **dict(change.changes)})
    assert len(set(questions)) == len(questions)
    known = answered(run, there, most=1)
    assert questions[0] not in wanted(run, known, None)


def test_the_largest_batch_is_found_with_few_questions() -> None:
    run, there = run_file(), world(20)
    there = answered(run, there, ask=answer, most=6)
    batch = largest_batch(run, there, None)
    assert batch is not None
    truth = answered_anew(there)
    assert truth(with_batch(run, batch))
    assert not truth(with_batch(run, batch + 2))


def test_nothing_is_asked_about_what_cannot_be_answered() -> None:
    assert wanted(run_file(), world(model=None), None) == ()
    assert wanted(run_file(), world(model=replace(MODEL, quantisation="awq")), None) == ()
    assert wanted(run_file(), world(model=LLAMA_8B), None) == ()  # no config at hand


def test_a_question_that_could_not_be_answered_is_not_asked_again() -> None:
    there = answered(run_file(), world(), most=1, ask=lambda _: MemoryAnswer(why="it died"))
    assert len(there.memory.answers) == 1
    assert asked_of() not in wanted(run_file(), there, None)


# In words

PLAN = {"weights": 5 * GB, "loss": 6 * GB, "overhead": 7 * GB}
SHORTER = Fix("max_length 1024", (("data.max_length", 1024),))


def estimated(available: int | None, *, rough: bool = False, largest: str = "loss") -> Estimate:
    parts = {**PLAN, "weights" if largest == "loss" else "loss": 5 * GB, largest: 6 * GB}
    return Estimate(parts, available, 24 * GB, rough=rough)


@pytest.mark.parametrize(
    ("memory", "change", "said"),
    [
        (estimated(20 * GB), None, "fits with 2.0 GB to spare"),
        (estimated(18 * GB), None, "fits with 0 B to spare"),
        (estimated(20 * GB, rough=True), None, "roughly: fits with 2.0 GB to spare"),
        (
            estimated(17 * GB),
            SHORTER,
            "does not fit: loss takes 6.0 GB; max_length 1024 would fit",
        ),
        (
            estimated(17 * GB, largest="weights"),
            None,
            "does not fit: weights take 6.0 GB; nothing this tool can change makes it fit",
        ),
        (
            estimated(17 * GB, rough=True),
            SHORTER,
            "roughly: does not fit: loss takes 6.0 GB; max_length 1024 would fit",
        ),
        (estimated(None), None, "how much is free is not known: needs 18.0 GB"),
    ],
)
def test_the_verdict_in_words(memory: Estimate, change: Fix | None, said: str) -> None:
    assert in_words(memory, change) == said


def holding(*held: tuple[str | None, int | None]) -> Gpu:
    return replace(
        CARD,
        processes=tuple(
            GpuProcess(pid=n, name=name, memory=memory) for n, (name, memory) in enumerate(held)
        ),
    )


@pytest.mark.parametrize(
    ("card", "said"),
    [
        (holding(("ollama", 3 * GB)), "ollama (3.0 GB)"),
        (holding(("ollama", 9 * GB), ("python", 4 * GB)), "python (4.0 GB)"),
        (holding((None, 3 * GB)), "process 0 (3.0 GB)"),
        (
            holding(("a", GB), ("b", 2 * GB), ("c", MB), ("d", None)),
            "b (2.0 GB) and a (1.0 GB)",
        ),
        (holding(("a", GB), ("d", None)), ""),
        (replace(CARD, processes=None), ""),
    ],
)
def test_who_is_in_the_way_is_named(card: Gpu, said: str) -> None:
    found = in_words(estimated(15 * GB), SHORTER, card)  # 3 GB are missing
    assert found.partition("; it would fit without ")[2] == said


def test_words_cover_all_that_may_be_known() -> None:
    run = run_file()
    assert words(run, world(model=None), None) is None
    assert words(run, world(model=replace(MODEL, layers=None)), None) == (
        "cannot be estimated: its config does not give its sizes"
    )
    assert words(run, world(model=replace(MODEL, remote_code=True)), None) == (
        "cannot be estimated: it brings code of its own; it is measured before training starts"
    )
    there = world(5.5)
    assert words(run, there, None) == (
        "roughly: does not fit: weights take 5.2 GB; nothing this tool can change makes it fit"
    )
    exact = answered(run, world(40), most=1)
    assert words(run, exact, None) == "fits with 31.5 GB to spare"
