"""The cells of an ablation: the decisive 2x2, grids over run-file keys, the published grids."""

from __future__ import annotations

from typing import Any

import pytest

from backprop_tui.core import runfile_io
from backprop_tui.core.errors import ConfigError, InputError
from backprop_tui.core.grid import Ablation, plan_ablation
from backprop_tui.core.methods import METHODS, MethodName
from backprop_tui.core.runfile import RunFile
from backprop_tui.core.search_grids import SEARCH_GRIDS


def plan(method: MethodName = "simpo", **more: Any) -> RunFile:
    return runfile_io.parse(
        {
            "method": method,
            "model": {"id": "pocket"},
            "data": {"path": "pocket"},
            "lora": {"rank": 16, "alpha": 32.0},
            **more,
        }
    )


def names(found: Ablation) -> list[str]:
    return [cell.name for cell in found.cells]


def refused(run: RunFile, **options: Any) -> tuple[str, str]:
    """Field and message of the one problem."""
    with pytest.raises(ConfigError) as caught:
        plan_ablation(run, "run.toml", **options)
    (problem,) = caught.value.problems
    assert problem.code == "CONFIG_INVALID_SETTING"
    return problem.field, problem.message


# --- the 2x2


@pytest.mark.parametrize(
    ("method", "other"),
    [
        ("orpo", "simpo"),
        ("simpo", "orpo"),
        ("sft", "orpo"),
        ("kto", "orpo"),
        *((name, "simpo") for name in ("dpo", "ipo", "cpo", "slic", "rrhf", "rdpo")),
    ],
)
def test_the_default_is_the_objective_by_rank(method: MethodName, other: str) -> None:
    found = plan_ablation(plan(method))
    assert names(found) == [f"{method}-r8", f"{method}-r16", f"{other}-r8", f"{other}-r16"]
    assert found.grid == "2x2: objective x LoRA rank"
    assert [cell.run.method for cell in found.cells] == [method, method, other, other]


def test_the_scale_goes_with_the_rank_and_the_rest_stays() -> None:
    run = plan("simpo", simpo={"beta": 3.0, "gamma": 1.5}, training={"max_steps": 7})
    found = plan_ablation(run)
    loras = [cell.run.lora for cell in found.cells]
    assert [(lora.rank, lora.alpha) for lora in loras if lora] == [(8, 16.0), (16, 32.0)] * 2
    assert {cell.run.training.max_steps for cell in found.cells} == {7}
    assert found.cells[0].run.knobs == {"beta": 3.0, "gamma": 1.5}  # the file's own
    assert found.cells[2].run.knobs == {"beta": 0.1}  # of the other objective the default
    assert {cell.run.data for cell in found.cells} == {run.data}
    assert "alpha / rank stays 2" in found.notes[0]


def test_unpaired_answers_turn_the_beta_and_say_that_nothing_can_be_decided() -> None:
    found = plan_ablation(plan("kto"), shape="unpaired")
    assert names(found) == [
        "kto-beta0.1-r8",
        "kto-beta0.1-r16",
        "kto-beta0.05-r8",
        "kto-beta0.05-r16",
    ]
    assert "the rule cannot decide" in found.notes[0]


def test_conversations_turn_the_rate_that_rows_decide() -> None:
    found = plan_ablation(plan("sft"), shape="sft", rows=2_000)
    assert [cell.run.training.learning_rate for cell in found.cells] == [2e-4, 2e-4, 1e-4, 1e-4]
    assert "cannot decide" in found.notes[0]


def test_without_an_adapter_no_rank_varies() -> None:
    run = runfile_io.change(plan(), {"lora": None})
    found = plan_ablation(run)
    assert names(found) == ["simpo", "orpo"]
    assert "no rank varies" in found.notes[0]


def test_seeds_repeat_every_setting() -> None:
    found = plan_ablation(plan(training={"seed": 5}), seeds=3)
    assert len(found.cells) == 12
    assert names(found)[:3] == ["simpo-r8-s5", "simpo-r8-s6", "simpo-r8-s7"]
    assert [cell.run.training.seed for cell in found.cells[:3]] == [5, 6, 7]
    assert found.settings == ("simpo-r8", "simpo-r16", "orpo-r8", "orpo-r16")
    assert {cell.run.data.heldout_seed for cell in found.cells} == {0}


def test_what_a_run_left_behind_is_no_part_of_the_plan() -> None:
    run = plan(output="runs/a", provenance={"data_sha256": "ab"})
    cell = plan_ablation(run).cells[0].run
    assert (cell.output, cell.provenance) == ("", None)


# --- grids


def test_every_combination_in_the_order_given() -> None:
    found = plan_ablation(plan(), grid=["simpo.beta=2,2.5", "simpo.gamma=0.5,1.0"])
    assert [cell.run.knobs for cell in found.cells] == [
        {"beta": beta, "gamma": gamma} for beta in (2, 2.5) for gamma in (0.5, 1.0)
    ]
    assert names(found)[0] == "simpo-beta2-gamma0.5"
    assert found.grid == "simpo.beta x simpo.gamma"


def test_a_knob_turns_only_in_the_cells_of_its_method() -> None:
    found = plan_ablation(plan(), grid=["method=orpo,simpo,dpo", "simpo.beta=2,2.5"])
    assert names(found) == ["orpo", "simpo-beta2", "simpo-beta2.5", "dpo"]


def test_a_list_is_a_value_in_brackets() -> None:
    found = plan_ablation(plan(), grid=['lora.targets=[["q_proj"], ["q_proj", "v_proj"]]'])
    targets = [cell.run.lora.targets for cell in found.cells if cell.run.lora]
    assert targets == [["q_proj"], ["q_proj", "v_proj"]]
    assert len(set(names(found))) == 2


def test_a_grid_and_a_preset_are_multiplied() -> None:
    found = plan_ablation(plan("dpo"), preset="paper", grid=["lora.rank=8,16"])
    assert len(found.cells) == 6
    assert found.cells[0].name == "dpo-beta0.01-r8"


@pytest.mark.parametrize(
    ("grid", "field", "words"),
    [
        ("simpo.bta=1,2", "simpo.bta", "no such key"),
        ("simpo.beta=-1,2", "simpo.beta", "-1: must be a number above 0"),
        ("lora.rank=8.5,16", "lora.rank", "8.5: must be a whole number"),
        ("method=orpo,smpo", "method", "'smpo': must be one of"),
        ("data.path=a,b", "data.path", "all cells share it"),
        ("data.heldout_seed=0,1", "data.heldout_seed", "all cells share it"),
        ("model.id=a,b", "model.id", "all cells share it"),
        ("machine.card=0,1", "machine.card", "all cells share it"),
        ("output=a,b", "output", "all cells share it"),
        ("dpo.beta=0.1,0.2", "dpo.beta", "no cell has method = 'dpo'"),
    ],
)
def test_a_bad_key_or_value_is_refused_in_the_words_of_the_run_file(
    grid: str, field: str, words: str
) -> None:
    found, message = refused(plan(), grid=[grid])
    assert found == field
    assert words in message
    assert "(from --grid)" in message


@pytest.mark.parametrize(
    "grid",
    [
        ["simpo.beta"],
        ["=1"],
        ["simpo.beta="],
        ["simpo.beta=2,2"],
        ["simpo.beta=2,2.0"],
        ["a.b=1", "a.b=2"],
    ],
)
def test_what_is_no_grid_is_refused(grid: list[str]) -> None:
    with pytest.raises(InputError, match="--grid") as caught:
        plan_ablation(plan(), grid=grid)
    assert caught.value.code == "CONFIG_INVALID_SETTING"


def test_seeds_and_a_grid_of_seeds_exclude_each_other() -> None:
    assert "--seeds repeats" in refused(plan(), grid=["training.seed=0,1"], seeds=2)[1]


def test_a_grid_has_a_largest_size() -> None:
    with pytest.raises(InputError, match="65 cells; at most 64") as caught:
        plan_ablation(plan(), grid=[f"training.seed={','.join(map(str, range(65)))}"])
    assert caught.value.code == "ABLATION_TOO_LARGE"
    many = ",".join(map(str, range(1, 4000)))
    with pytest.raises(InputError, match="15,992,001 cells"):  # before any of them is made
        plan_ablation(plan(), grid=[f"training.seed={many}", f"lora.rank={many}"])
    assert len(plan_ablation(plan(), grid=["training.seed=1,2,3"], most=3).cells) == 3


def test_the_learning_rate_is_said_to_be_a_confounder() -> None:
    assert "own default" in plan_ablation(plan()).notes[-1]
    given = plan(training={"learning_rate": 1e-6})
    assert "the file's learning rate 1e-06" in plan_ablation(given).notes[-1]
    alone = plan_ablation(given, grid=["simpo.beta=2,2.5"])
    assert alone.notes == ()


def test_names_are_folders_and_each_stands_once() -> None:
    grid = ['model.precision="fp32","bf16"', "training.learning_rate=1e-5,2.5e-5"]
    found = names(plan_ablation(plan(), grid=grid))
    assert len(set(found)) == 4
    assert all("/" not in name and not name.startswith(".") for name in found)
    assert found[1] == "simpo-precisionfp32-learning_rate2.5e-05"


# --- published grids: shared/methods.md, the comparison of arXiv:2405.14734

SEARCHED: dict[MethodName, tuple[dict[str, list[float]], dict[str, float]]] = {
    "orpo": ({"beta": [0.1, 0.5, 1, 2]}, {}),
    "simpo": ({"beta": [2, 2.5], "gamma": [0.3, 0.5, 1, 1.2, 1.4, 1.6]}, {}),
    "kto": ({"beta": [0.01, 0.05, 0.1]}, {"desirable_weight": 1, "undesirable_weight": 1}),
    "dpo": ({"beta": [0.01, 0.05, 0.1]}, {}),
    "ipo": ({"tau": [0.01, 0.1, 0.5, 1]}, {}),
    "cpo": ({"beta": [0.01, 0.05, 0.1]}, {"imitation_weight": 1}),
    "slic": ({"delta": [0.5, 1, 2], "imitation_weight": [0.1, 0.5, 1, 10]}, {}),
    "rrhf": ({"imitation_weight": [0.1, 0.5, 1, 10]}, {}),
    "rdpo": ({"alpha": [0.05, 0.1, 0.5, 1], "beta": [0.01, 0.05, 0.1]}, {}),
}


@pytest.mark.parametrize("method", SEARCHED)
def test_the_search_grid_of_the_paper(method: MethodName) -> None:
    axes, fixed = SEARCHED[method]
    found = plan_ablation(plan(method), preset="paper")
    assert len(found.cells) == len({cell.name for cell in found.cells})
    knobs = [cell.run.knobs for cell in found.cells]
    for knob, values in axes.items():
        assert sorted({each[knob] for each in knobs}) == values
    product = 1
    for values in axes.values():
        product *= len(values)
    assert len(knobs) == product
    assert all(each[knob] == value for each in knobs for knob, value in fixed.items())
    assert "2405.14734" in found.grid


def test_every_preference_method_has_one_with_its_source() -> None:
    assert SEARCH_GRIDS.keys() == METHODS.keys() - {"sft"}
    assert all("arXiv" in grid.source for grid in SEARCH_GRIDS.values())


def test_the_published_settings_are_cells_without_their_rates() -> None:
    found = plan_ablation(plan(), preset="published")
    assert len(found.cells) == 6
    assert found.cells[3].run.knobs == {"beta": 2.5, "gamma": 1.375}
    assert {cell.run.training.learning_rate for cell in found.cells} == {None}


@pytest.mark.parametrize(
    ("method", "preset"), [("sft", "paper"), ("sft", "published"), ("orpo", "x")]
)
def test_a_preset_that_is_not_there_is_refused(method: MethodName, preset: str) -> None:
    with pytest.raises(InputError, match=f"--preset {preset}") as caught:
        plan_ablation(plan(method), preset=preset)
    assert caught.value.hint
