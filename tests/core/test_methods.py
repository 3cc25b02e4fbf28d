"""METHODS holds the published numbers, and the run file's defaults are the same ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from backprop_tui.core import runfile_io
from backprop_tui.core.errors import ConfigError
from backprop_tui.core.facts import Shape
from backprop_tui.core.methods import METHODS, Knob, Method, MethodName, Preset, methods_for
from backprop_tui.core.runfile import METHOD_SECTIONS

KNOBS: dict[MethodName, dict[str, float]] = {
    "sft": {},
    "orpo": {"beta": 0.1},
    "simpo": {"beta": 2.0, "gamma": 1.0},
    "kto": {"beta": 0.1, "desirable_weight": 1.0, "undesirable_weight": 1.0},
    "dpo": {"beta": 0.1},
    "ipo": {"tau": 0.1},
    "cpo": {"beta": 0.1, "imitation_weight": 1.0},
    "slic": {"delta": 1.0, "imitation_weight": 0.1},
    "rrhf": {"imitation_weight": 1.0},
    "rdpo": {"beta": 0.1, "alpha": 0.05},
}
ARXIV = {
    "orpo": "2403.07691",
    "simpo": "2405.14734",
    "kto": "2402.01306",
    "dpo": "2305.18290",
    "ipo": "2310.12036",
    "cpo": "2401.08417",
    "slic": "2305.10425",
    "rrhf": "2304.05302",
    "rdpo": "2403.19159",
}
PAIRED = ("sft", "orpo", "simpo", "kto", "dpo", "ipo", "cpo", "slic", "rrhf", "rdpo")
# SimPO repository README: model, beta, gamma/beta, gamma, learning rate.
SIMPO = [
    ("Mistral-7B-Base-SFT", 2.0, 0.8, 1.6, 3e-7),
    ("Mistral-7B-Instruct", 2.5, 0.1, 0.25, 5e-7),
    ("Llama-3-8B-Base-SFT", 2.0, 0.5, 1.0, 6e-7),
    ("Llama-3-8B-Instruct", 2.5, 0.55, 1.375, 1e-6),
    ("Llama-3-8B-Instruct v0.2", 10.0, 0.3, 3.0, 1e-6),
    ("Gemma-2-9b-it", 10.0, 0.5, 5.0, 8e-7),
]


def test_the_methods_and_what_they_need() -> None:
    assert {name: (method.shapes[0], method.reference) for name, method in METHODS.items()} == {
        "sft": ("sft", False),
        "orpo": ("paired", False),
        "simpo": ("paired", False),
        "kto": ("unpaired", True),
        "dpo": ("paired", True),
        "ipo": ("paired", True),
        "cpo": ("paired", False),
        "slic": ("paired", False),
        "rrhf": ("paired", False),
        "rdpo": ("paired", True),
    }
    assert all(method.name == name for name, method in METHODS.items())
    assert all(number in METHODS[name].source for name, number in ARXIV.items())


def test_the_first_four_may_be_recommended_and_the_rest_never() -> None:
    assert [name for name, method in METHODS.items() if not method.other] == [
        *("sft", "orpo", "simpo", "kto")
    ]
    assert list(METHODS)[:4] == ["sft", "orpo", "simpo", "kto"]  # the wizard lists them so


@pytest.mark.parametrize(
    ("shape", "fitting"),
    [
        ("sft", ("sft",)),
        ("paired", PAIRED),
        ("unpaired", ("kto",)),
        ("other", ()),
    ],
)
def test_which_methods_fit_a_shape(shape: Shape, fitting: tuple[MethodName, ...]) -> None:
    assert methods_for(shape) == fitting


@pytest.mark.parametrize("method", METHODS)
def test_the_knobs_and_their_defaults(method: MethodName) -> None:
    assert {knob.name: knob.default for knob in METHODS[method].knobs} == KNOBS[method]
    section = METHOD_SECTIONS[method]
    assert {name: section.model_fields[name].default for name in KNOBS[method]} == KNOBS[method]


@pytest.mark.parametrize("method", METHODS)
def test_the_run_file_helps_with_the_same_words(method: MethodName) -> None:
    fields = METHOD_SECTIONS[method].model_fields
    for knob in METHODS[method].knobs:
        assert knob.help
        assert fields[knob.name].description == knob.help


def test_the_simpo_presets() -> None:
    presets = [(p.name, dict(p.knobs), p.learning_rate) for p in METHODS["simpo"].presets]
    assert presets == [
        (name, {"beta": beta, "gamma": gamma}, rate) for name, beta, _, gamma, rate in SIMPO
    ]


@pytest.mark.parametrize(("name", "beta", "ratio", "gamma", "_rate"), SIMPO)
def test_gamma_is_the_published_ratio_times_beta(
    name: str, beta: float, ratio: float, gamma: float, _rate: float
) -> None:
    knobs = next(dict(p.knobs) for p in METHODS["simpo"].presets if p.name == name)
    assert knobs["gamma"] == pytest.approx(ratio * knobs["beta"])
    assert knobs["gamma"] / knobs["beta"] <= 0.8  # what the warning calls the published range


def test_the_orpo_and_kto_presets() -> None:
    assert [(dict(p.knobs), p.learning_rate) for p in METHODS["orpo"].presets] == [
        ({"beta": 0.1}, 5e-6),
        ({"beta": 0.05}, 5e-6),
    ]
    assert [(dict(p.knobs), p.learning_rate) for p in METHODS["kto"].presets] == [
        ({"beta": 0.1, "desirable_weight": 1.0, "undesirable_weight": 1.0}, 5e-6)
    ]


# The grids of the SimPO paper's comparison that turn one knob alone.
GRIDS: dict[MethodName, tuple[str, list[float]]] = {
    "dpo": ("beta", [0.01, 0.05, 0.1]),
    "ipo": ("tau", [0.01, 0.1, 0.5, 1.0]),
    "cpo": ("beta", [0.01, 0.05, 0.1]),
    "rrhf": ("imitation_weight", [0.1, 0.5, 1.0, 10.0]),
}


@pytest.mark.parametrize("method", GRIDS)
def test_the_searched_values_are_presets_without_a_rate(method: MethodName) -> None:
    knob, values = GRIDS[method]
    presets = METHODS[method].presets
    assert [dict(preset.knobs)[knob] for preset in presets] == values
    assert {preset.learning_rate for preset in presets} == {None}
    assert {value for preset in presets for name, value in preset.knobs if name != knob} <= {1.0}


def items(method: Method) -> list[Knob | Preset]:
    return [*method.knobs, *method.presets]


def test_every_number_has_a_source() -> None:
    numbers = [(item.name, item.source) for method in METHODS.values() for item in items(method)]
    assert [name for name, source in numbers if not source] == []


def test_a_preset_sets_every_knob_its_method_has() -> None:
    for method in METHODS.values():
        for preset in method.presets:
            assert [name for name, _ in preset.knobs] == [knob.name for knob in method.knobs]


@pytest.mark.parametrize("method", METHODS)
def test_a_table_made_from_the_entry_reads_like_one_written_by_hand(method: MethodName) -> None:
    asked = {knob.name: 3.5 for knob in METHODS[method].knobs}
    run = runfile_io.parse({"method": method, method: asked})
    assert run.knobs == asked
    assert runfile_io.parse({"method": method}).knobs == KNOBS[method]
    assert list(runfile_io.dump(run))[-1] == method  # after the tables every method has


@pytest.mark.parametrize("method", METHODS)
def test_every_knob_is_refused_at_zero_with_its_source(method: MethodName) -> None:
    for knob in METHODS[method].knobs:
        with pytest.raises(ConfigError) as caught:
            runfile_io.parse({"method": method, method: {knob.name: 0.0}})
        (problem,) = caught.value.problems
        assert problem.field == f"{method}.{knob.name}"
        assert "a number above 0" in problem.message
        assert (problem.fix, problem.source) == (knob.help, knob.source)


def test_a_knob_is_set_from_outside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('method = "rdpo"\n[rdpo]\nbeta = 0.2\n')
    env = {"BACKPROP_TUI__RDPO__ALPHA": "0.5"}
    run, overrides = runfile_io.read(path, ["rdpo.beta=0.3"], env)
    assert run.knobs == {"beta": 0.3, "alpha": 0.5}
    assert overrides.keys() == {"rdpo.beta", "rdpo.alpha"}


@pytest.mark.parametrize("loss_at_start", [method.loss_at_start for method in METHODS.values()])
def test_what_a_run_starts_at_fits_its_sentence(loss_at_start: str) -> None:
    assert loss_at_start
    assert not loss_at_start.endswith(".")


# What a new objective needs: its entry (its loss is held against METHODS by its own test).
ADDED = """
from dataclasses import replace
from backprop_tui.core.methods import METHODS
METHODS["new"] = replace(METHODS["slic"], name="new", source="NEW, arXiv:0000.00000")
from backprop_tui.core import runfile_io
from backprop_tui.core.errors import ConfigError
from backprop_tui.core.rules import judge
from backprop_tui.core.runfile_keys import help_for, valid_keys
from tests.core.worlds import PLAN, facts
run = runfile_io.parse({**PLAN, "method": "new", "new": {"delta": 2.5}})
print(run.knobs, runfile_io.to_toml(run).partition("[new]")[2].split())
print("new.delta" in valid_keys(), help_for("new.delta"))
print([item.code for item in judge(runfile_io.change(run, {"engine": "trl"}), facts())])
try:
    runfile_io.parse({"method": "new", "new": {"delta": -1.0}})
except ConfigError as error:
    print(error.problems[0].message)
"""


def test_an_entry_is_all_that_a_new_objective_needs_here() -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", ADDED]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "{'delta': 2.5, 'imitation_weight': 0.1} "
        "['delta', '=', '2.5', 'imitation_weight', '=', '0.1']",
        "True Lead asked of the summed log-probability.",
        "['engine-no-trainer']",
        "new.delta = -1.0: must be a number above 0",
    ]
