"""Before step 1 the heaviest batch is tried: without a trace, and lowered in words if need be."""

from __future__ import annotations

import gc
import tomllib
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from backprop_tui.core.calibration import Observation
from backprop_tui.core.events import (
    Event,
    Failed,
    Finished,
    Preparing,
    Probed,
    Started,
    Step,
    Warned,
)
from backprop_tui.core.facts import Gpu, GpuFacts
from backprop_tui.core.memory_question import MemoryAnswer, MemoryQuestion
from backprop_tui.core.rules.advice import Fix
from backprop_tui.probe.calibration import observations
from backprop_tui.probe.memory import MemoryOracle
from backprop_tui.train import preflight
from backprop_tui.train.meter import Room, TensorMeter
from tests.conftest import DoneRun, pocket_run, run_training
from tests.train.test_runner import figures

GIB = 2**30


@dataclass
class StandIn:
    """The card's meter on a machine without one: it says what it is told to."""

    slow: bool = False
    peak: int = 0
    reserved: int | None = None
    context: int | None = None
    rooms: list[Room] = field(default_factory=lambda: [Room(8 * GIB)])
    peaks: list[int] = field(default_factory=lambda: [2 * GIB])

    def room(self) -> Room:
        return self.rooms.pop(0) if len(self.rooms) > 1 else self.rooms[0]

    @contextmanager
    def watching(self, _trainer: Any) -> Iterator[None]:
        yield
        self.peak = self.peaks.pop(0) if len(self.peaks) > 1 else self.peaks[0]

    def stop(self) -> None: ...


@pytest.fixture(autouse=True)
def _no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exact figures are computed elsewhere."""
    monkeypatch.setattr(MemoryOracle, "ask", lambda *_arguments: MemoryAnswer())


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Any], None]:
    """Try before every run from here on, with this meter."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def do(meter: Any) -> None:
        monkeypatch.setattr(preflight, "meter_for", lambda *_args, **_named: meter)

    return do


@pytest.fixture
def most_tokens(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """A card that runs out of memory when a batch to learn from has more tokens."""
    import torch

    right = torch.nn.Embedding.forward

    def do(most: int) -> None:
        def forward(self: Any, ids: Any) -> Any:
            if torch.is_grad_enabled() and ids.numel() > most:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return right(self, ids)

        monkeypatch.setattr(torch.nn.Embedding, "forward", forward)

    return do


def with_card(monkeypatch: pytest.MonkeyPatch, card: Gpu) -> None:
    """Runs find this card on the machine."""
    from backprop_tui.probe.survey import survey

    def found(*arguments: Any, **named: Any) -> Any:
        right = survey(*arguments, **named)
        return replace(right, facts=replace(right.facts, gpu=GpuFacts(cards=(card,))))

    monkeypatch.setattr("backprop_tui.train.session.survey", found)


def said(done: DoneRun, kind: type[Event] = Warned, code: str = "") -> list[Any]:
    found = [event for event in done.events if isinstance(event, kind)]
    return [event for event in found if not code or getattr(event, "code", "") == code]


def adapter(done: DoneRun) -> bytes:
    return (done.folder / "adapter" / "adapter_model.safetensors").read_bytes()


HARD = {"training.accumulation": 2, "training.checkpointing": True, "lora.dropout": 0.3}


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("kto", HARD),
        pytest.param("dpo", HARD, marks=pytest.mark.slow),
        pytest.param("sft", HARD, marks=pytest.mark.slow),
        pytest.param("simpo", {"engine": "trl", **HARD}, marks=pytest.mark.slow),
    ],
)
def test_a_run_that_was_tried_before_is_the_same_digit_for_digit(
    method: str, changes: dict[str, Any], tmp_path: Path, use: Callable[[Any], None]
) -> None:
    plain = run_training(pocket_run(method, tmp_path / "plain", changes))
    use(TensorMeter())
    tried = run_training(pocket_run(method, tmp_path / "tried", changes))
    assert isinstance(tried.ending, Finished)
    assert len(said(tried, Probed)) == 1
    assert said(plain, Probed) == []
    assert figures(tried.folder) == figures(plain.folder)
    assert len(figures(plain.folder)) == 7
    assert adapter(tried) == adapter(plain)
    events = [type(event) for event in tried.events]
    assert events.index(Probed) < events.index(Started)


def test_full_fine_tuning_leaves_no_trace_either(
    tmp_path: Path, use: Callable[[Any], None]
) -> None:
    changes = {"lora": None, "training.weight_decay": 0.1, "training.max_steps": 2}
    plain = run_training(pocket_run("orpo", tmp_path / "plain", changes))
    use(TensorMeter())
    tried = run_training(pocket_run("orpo", tmp_path / "tried", changes))
    assert figures(tried.folder) == figures(plain.folder)
    weights = [one.folder / "model" / "model.safetensors" for one in (plain, tried)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_what_is_measured_grows_with_the_batch(tmp_path: Path, use: Callable[[Any], None]) -> None:
    use(TensorMeter())
    peaks = []
    for batch in (1, 4):
        changes = {"training.batch_size": batch, "training.max_steps": 1}
        done = run_training(pocket_run("orpo", tmp_path / f"{batch}", changes))
        (probed,) = said(done, Probed)
        assert probed.seconds > 0
        assert probed.free > probed.peak
        peaks.append(probed.peak)
    weights = 2_800_000 * 4
    assert weights < peaks[0] < 0.8 * peaks[1]


def test_a_plan_that_runs_out_of_memory_is_lowered_in_order_and_in_words(
    tmp_path: Path, use: Callable[[Any], None], most_tokens: Callable[[int], None]
) -> None:
    use(StandIn(rooms=[Room(8 * GIB, "python3 (pid 4242) holds 3.0 GB", 3 * GIB)]))
    most_tokens(300)  # four pairs have more
    done = run_training(pocket_run("orpo", tmp_path / "run"))
    assert isinstance(done.ending, Finished)
    first, *others = [event.message for event in said(done, Warned, "plan-lowered")]
    assert first == (
        "The heaviest batch does not fit into the 8.0 GB that are free (python3 (pid 4242) holds "
        "3.0 GB): activations are recomputed in every layer, which takes longer "
        "(training.checkpointing = true, training.checkpoint_every = 1)."
    )
    assert [words.rpartition("(")[2] for words in others] == [
        "training.batch_size = 2, training.accumulation = 2).",
        "training.batch_size = 1, training.accumulation = 4).",
    ][: len(others)]
    assert others
    kept = tomllib.loads((done.folder / "run.toml").read_text())
    batch = kept["training"]["batch_size"]
    assert batch in (1, 2)
    assert kept["training"]["accumulation"] * batch == 4
    assert kept["training"]["checkpointing"] is True
    assert kept["provenance"]["lowered"] == {
        "training.checkpointing": "true",
        "training.checkpoint_every": "1",
        "training.batch_size": str(batch),
        "training.accumulation": str(4 // batch),
    }


@pytest.mark.parametrize("method", ["dpo"])
def test_a_lowered_run_is_the_one_that_was_planned_so(
    method: str, tmp_path: Path, use: Callable[[Any], None], most_tokens: Callable[[int], None]
) -> None:
    planned = {
        "training.batch_size": 2,
        "training.accumulation": 2,
        "training.checkpointing": True,
        "lora.dropout": 0.1,
    }
    plain = run_training(pocket_run(method, tmp_path / "plain", planned))
    meter = StandIn(peaks=[9 * GIB, 9 * GIB, 2 * GIB])
    use(meter)
    lowered = run_training(pocket_run(method, tmp_path / "lowered", {"lora.dropout": 0.1}))
    assert len(said(lowered, Warned, "plan-lowered")) == 2
    assert figures(lowered.folder) == figures(plain.folder)
    assert adapter(lowered) == adapter(plain)


def test_a_peak_above_what_is_free_lowers_too(tmp_path: Path, use: Callable[[Any], None]) -> None:
    use(StandIn(peaks=[9 * GIB, 7 * GIB]))
    done = run_training(pocket_run("orpo", tmp_path / "run", {"training.max_steps": 1}))
    (warned,) = said(done, Warned, "plan-lowered")
    assert warned.message.startswith("The heaviest batch takes 9.0 GB and 8.0 GB are free: activ")
    assert [(one.peak, one.free) for one in said(done, Probed)] == [
        (9 * GIB, 8 * GIB),
        (7 * GIB, 8 * GIB),
    ]


def test_where_nothing_fits_the_run_ends_before_step_1_with_what_would(
    tmp_path: Path,
    use: Callable[[Any], None],
    most_tokens: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use(StandIn())
    most_tokens(3)
    change = Fix("max_length 64 would fit", (("data.max_length", 64),))
    monkeypatch.setattr(preflight, "smallest_change", lambda *_arguments: change)
    done = run_training(pocket_run("orpo", tmp_path / "run"))
    assert isinstance(done.ending, Failed)
    assert (done.ending.code, done.ending.exit_code) == ("RUN_DOES_NOT_FIT", 3)
    assert done.ending.message == (
        "The heaviest batch does not fit into the 8.0 GB that are free, and no smaller plan that "
        "trains the same is left: a batch has 1 row of up to 128 tokens already."
    )
    assert done.ending.hint == "max_length 64 would fit"
    assert len(said(done, Warned, "plan-lowered")) == 3
    assert said(done, Started) == []


def test_a_model_that_does_not_fit_by_itself_ends_the_run_at_once(
    tmp_path: Path, use: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def full(*_arguments: Any, **_named: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("backprop_tui.train.building.load_model", full)
    change = Fix("nf4 weights", (("model.precision", "nf4"),))
    monkeypatch.setattr(preflight, "smallest_change", lambda *_arguments: change)
    use(StandIn())
    done = run_training(pocket_run("orpo", tmp_path / "run"))
    assert isinstance(done.ending, Failed)
    assert done.ending.message == "The model alone does not fit into the 8.0 GB that are free."
    assert (done.ending.code, done.ending.hint) == ("RUN_DOES_NOT_FIT", "nf4 weights")
    assert said(done, Warned, "plan-lowered") == []


def test_what_a_card_took_is_learnt_against_the_estimate_of_the_rows_that_were_tried(
    tmp_path: Path, use: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    card = Gpu(index=0, name="card", memory_total=16 * GIB, memory_used=GIB, memory_free=15 * GIB)
    with_card(monkeypatch, card)
    seen: list[MemoryQuestion] = []

    def ask(_oracle: Any, asked: MemoryQuestion) -> MemoryAnswer:
        seen.append(asked)
        return MemoryAnswer(parts={"weights": GIB, "activations": GIB})

    monkeypatch.setattr(MemoryOracle, "ask", ask)
    use(StandIn(reserved=3 * GIB, context=500))
    run = pocket_run("orpo", tmp_path / "run", {"machine.device": "cpu", "training.max_steps": 1})
    done = run_training(run)
    assert isinstance(done.ending, Finished)
    assert said(done, Probed)[0].estimate == 2 * GIB
    assert observations(card) == (Observation(predicted=2 * GIB, reserved=3 * GIB, context=500),)
    first = next(event for event in done.events if isinstance(event, Step))
    tokens = sum(sum(row) for row in seen[-1].rows)
    assert (len(seen[-1].rows), tokens) == (4, first.tokens)  # the heaviest batch comes first


def test_several_processes_are_not_tried_and_that_is_said() -> None:
    from types import SimpleNamespace

    warned: list[str] = []
    session: Any = SimpleNamespace(
        team=SimpleNamespace(alone=False),
        warn=lambda _message, code: warned.append(code),
        probing=False,
    )
    builder: Any = SimpleNamespace(load=lambda _found: "model", build=lambda _f, model: [model])
    for device, codes in (("cpu", []), ("cuda", ["preflight-skipped"])):
        found: Any = SimpleNamespace(plan=SimpleNamespace(device=device))
        result = preflight.fitted(session, found, builder)
        assert (result.trainer, result.tried, warned) == (["model"], None, codes)


def test_no_more_than_four_times(
    tmp_path: Path, use: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "smallest_change", lambda *_arguments: None)
    use(StandIn(peaks=[9 * GIB]))
    changes = {"training.batch_size": 16, "training.max_steps": 1}
    done = run_training(pocket_run("orpo", tmp_path / "run", changes))
    assert isinstance(done.ending, Failed)
    assert done.ending.code == "RUN_DOES_NOT_FIT"
    assert done.ending.hint == "lower data.max_length, or take a smaller model"
    batches = [event.message for event in said(done, Warned, "plan-lowered")]
    assert [words.rpartition("(")[2].split(",")[0] for words in batches] == [
        "training.checkpointing = true",
        "training.batch_size = 8",
        "training.batch_size = 4",
        "training.batch_size = 2",
    ]


@pytest.mark.parametrize("changes", [{}, {"engine": "trl"}])
def test_the_trainer_that_did_not_fit_is_gone_before_the_next_is_built(
    changes: dict[str, Any],
    tmp_path: Path,
    use: Callable[[Any], None],
    most_tokens: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from backprop_tui.train.model import load_model as right

    models: list[weakref.ref[Any]] = []
    alive: list[int] = []

    def load_model(*arguments: Any, **named: Any) -> Any:
        alive.append(sum(one() is not None for one in models))
        model = right(*arguments, **named)
        models.append(weakref.ref(model))
        return model

    monkeypatch.setattr("backprop_tui.train.building.load_model", load_model)
    use(StandIn())
    most_tokens(300)
    gc.disable()  # what waits for the collector by itself would still fill the card
    try:
        done = run_training(pocket_run("orpo", tmp_path / "run", changes))
    finally:
        gc.enable()
    assert isinstance(done.ending, Finished)
    assert len(alive) > 1
    assert alive == [0] * len(alive)


def test_others_that_took_a_part_meanwhile_are_named(
    tmp_path: Path, use: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    card = Gpu(index=0, name="card", memory_total=16 * GIB, memory_used=GIB, memory_free=15 * GIB)
    with_card(monkeypatch, card)
    use(StandIn(rooms=[Room(7 * GIB, "python3 (pid 4242) holds 9.0 GB", 9 * GIB)]))
    plan = pocket_run("orpo", tmp_path / "run", {"machine.device": "cpu", "training.max_steps": 1})
    done = run_training(plan)
    (warned,) = said(done, Warned, "memory-held")
    assert warned.message == (
        "Other processes took 8.0 GB of the card since the plan was judged: 7.0 GB are free "
        "(python3 (pid 4242) holds 9.0 GB)."
    )
    use(StandIn(rooms=[Room(15 * GIB, "", GIB)]))
    quiet = run_training(plan.model_copy(update={"output": str(tmp_path / "quiet")}))
    assert said(quiet, Warned, "memory-held") == []


def test_a_stop_before_the_try_is_heeded(tmp_path: Path, use: Callable[[Any], None]) -> None:
    from backprop_tui.core.control import Control
    from backprop_tui.train.runner import train

    use(StandIn())
    control, events = Control(), list[Event]()

    def emit(event: Event) -> None:
        events.append(event)
        if isinstance(event, Preparing) and event.stage == "building the trainer":
            control.stop()

    ending = train(pocket_run("orpo", tmp_path / "run"), emit, control)
    assert isinstance(ending, Finished)
    assert ending.stopped
    assert [event for event in events if isinstance(event, Probed)] == []
