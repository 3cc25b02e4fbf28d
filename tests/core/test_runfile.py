"""The run file: strict, every problem at once, one value with the TOML it is written as."""

from __future__ import annotations

import os
import shutil
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backprop_tui.core import runfile_io, runfile_keys
from backprop_tui.core.errors import ConfigError, InputError, Problem
from backprop_tui.core.runfile import METHOD_SECTIONS, RunFile
from tests.core.worlds import PLAN, run_file

NOBODY = 65534

SIMPO = """
schema = 1
method = "simpo"
[model]
id = "some/model"
[data]
path = "pairs.jsonl"
[lora]
rank = 8
[training]
learning_rate = 1e-6
[simpo]
beta = 2.5
gamma = 1.0
"""


@pytest.fixture
def simpo_file(tmp_path: Path) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(SIMPO)
    return path


def problems(raw: dict[str, Any]) -> dict[str, Problem]:
    """The problems of a refused file by key; one for each key."""
    with pytest.raises(ConfigError) as caught:
        runfile_io.parse(raw, "my.toml")
    found = {problem.field: problem for problem in caught.value.problems}
    assert len(found) == len(caught.value.problems)
    assert {problem.code for problem in found.values()} == {"CONFIG_INVALID_SETTING"}
    return found


# --- Round trip

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
POSITIVE = st.floats(1e-12, 1e6)
SHARE = st.floats(0, 0.5)
WHOLE = st.integers(1, 10**9)
SEED = st.integers(0, 2**32 - 1)
PLANS = st.fixed_dictionaries(
    {
        "method": st.sampled_from(list(METHOD_SECTIONS)),
        "model": st.fixed_dictionaries(
            {"id": TEXT},
            optional={"revision": TEXT, "precision": st.sampled_from(["nf4", "bf16", "auto"])},
        ),
        "data": st.fixed_dictionaries(
            {"path": TEXT},
            optional={
                "columns": st.dictionaries(st.sampled_from(["prompt", "chosen"]), TEXT),
                "shape": st.sampled_from(["sft", "paired", "unpaired"]),
                "heldout": SHARE,
                "heldout_seed": SEED,
                "cut_answers": st.booleans(),
            },
        ),
    },
    optional={
        "output": TEXT,
        "lora": st.fixed_dictionaries(
            {"alpha": POSITIVE},
            optional={
                "rank": WHOLE,
                "targets": st.one_of(st.just("attention"), st.lists(TEXT, min_size=1, max_size=3)),
            },
        ),
        "training": st.fixed_dictionaries(
            {"epochs": POSITIVE},
            optional={"learning_rate": POSITIVE, "max_steps": WHOLE, "warmup": SHARE, "seed": SEED},
        ),
    },
)


@given(PLANS)
def test_what_is_written_reads_back_the_same(plan: dict[str, Any]) -> None:
    run = runfile_io.parse(plan)
    assert runfile_io.parse(tomllib.loads(runfile_io.to_toml(run))) == run


@given(PLANS)
def test_every_given_value_arrives(plan: dict[str, Any]) -> None:
    written = runfile_io.dump(runfile_io.parse(plan))
    for section, given_values in plan.items():
        if isinstance(given_values, dict):
            assert given_values.items() <= written[section].items()
        else:
            assert written[section] == given_values


@given(st.sampled_from(list(METHOD_SECTIONS)), st.sampled_from(list(METHOD_SECTIONS)))
def test_only_the_chosen_methods_table_is_written(first: str, second: str) -> None:
    run = runfile_io.change(runfile_io.parse({"method": first}), {"method": second})
    assert METHOD_SECTIONS.keys() & runfile_io.dump(run).keys() == {second}


def test_a_file_on_disk_reads_back_with_its_header(tmp_path: Path) -> None:
    columns = {"prompt": "a\tb\r\n\\ é \x1b"}  # as a data file may name them
    run = run_file({"data.columns": columns, "training.learning_rate": 9.9e-6})
    path = tmp_path / "made" / "run.toml"
    runfile_io.write(run, path, header="made by a test\nsecond line")
    assert path.read_text().startswith("# made by a test\n# second line\n")
    assert runfile_io.read(path, env={}) == (run, {})


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(b"\xef\xbb\xbf" + SIMPO.encode())
    assert runfile_io.read(path, env={})[0].method == "simpo"


# --- Refusals

REFUSED: list[tuple[str, Any, str]] = [
    ("orpo.beta", -0.1, "a number above 0"),
    ("orpo.beta", 0, "a number above 0"),
    ("orpo.beta", float("nan"), "a finite number (not nan, not inf)"),
    ("orpo.beta", float("inf"), "a finite number (not nan, not inf)"),
    ("orpo.beta", "0.1", "a number"),
    ("orpo.beta", True, "a number"),
    ("simpo.beta", -2.0, "a number above 0"),
    ("simpo.beta", float("-inf"), "a finite number (not nan, not inf)"),
    ("simpo.gamma", 0.0, "a number above 0"),
    ("simpo.gamma", float("nan"), "a finite number (not nan, not inf)"),
    ("kto.beta", -1.0, "a number above 0"),
    ("kto.desirable_weight", 0.0, "a number above 0"),
    ("kto.undesirable_weight", float("inf"), "a finite number (not nan, not inf)"),
    ("kto.rebalance", 1, "true or false"),
    ("sft.train_on", "prompts", "one of 'answers' or 'everything'"),
    ("training.learning_rate", -1e-6, "a number above 0"),
    ("training.batch_size", 0, "1 or more"),
    ("training.batch_size", 2.5, "a whole number"),
    ("training.batch_size", "2", "a whole number"),
    ("training.warmup", 1.0, "a number below 1"),
    ("training.seed", -1, "0 or more"),
    ("training.seed", 2**32, "a number below 4294967296"),
    ("training.optimizer", "sgd", "one of 'auto', 'adamw', 'adamw_8bit' or 'paged_adamw_8bit'"),
    ("data.heldout", 0.7, "0.5 or less"),
    ("data.heldout", -0.1, "0 or more"),
    ("data.heldout_seed", -1, "0 or more"),
    ("data.columns", "prompt", "a table of key = value lines"),
    ("data.columns.prompt", 3, "text in quotes"),
    ("lora.targets", "mlp", "one of 'all-linear' or 'attention' or a list of names in quotes"),
    ("lora.targets", 3, "one of 'all-linear' or 'attention' or a list of names in quotes"),
    ("lora.targets", ["q_proj", 3], "one of 'all-linear' or 'attention' or a list of names"),
    ("lora.targets", [], "one of 'all-linear' or 'attention' or a list of names in quotes"),
    ("model.precision", "fp8", "one of 'auto', 'nf4', 'int8', 'bf16', 'fp16' or 'fp32'"),
    ("machine.card", -1, "0 or more"),
    ("model", "some/model", "a table of key = value lines"),
    ("method", "ppo", "one of 'sft', 'orpo', 'simpo', 'kto', 'dpo',"),
    ("engine", "ours", "one of 'lean' or 'trl'"),
    ("training.checkpoint_every", 0, "1 or more"),
    ("training.batch_tokens", 0, "1 or more"),
    ("rdpo.alpha", -0.5, "a number above 0"),
    ("schema", 2, "one of 1"),
]


@pytest.mark.parametrize(("key", "value", "allowed"), REFUSED)
def test_a_refusal_names_the_key_the_value_and_what_is_allowed(
    key: str, value: Any, allowed: str
) -> None:
    table = key.partition(".")[0]
    raw: dict[str, Any] = {"method": table} if table in METHOD_SECTIONS else {}
    *parents, last = key.split(".")
    inner = raw
    for parent in parents:
        inner = inner.setdefault(parent, {})
    inner[last] = value
    found = problems(raw)
    assert list(found) == [key]
    assert found[key].message.startswith(f"{key} = {value!r}: must be {allowed}")
    if key in runfile_keys.valid_keys():
        assert found[key].fix == runfile_keys.help_for(key)


def test_a_refused_knob_has_its_source() -> None:
    assert problems({"method": "kto", "kto": {"beta": -1.0}})["kto.beta"].source.startswith("KTO")


@pytest.mark.parametrize(
    ("raw", "key", "suggestion"),
    [
        ({"method": "simpo", "simpo": {"betta": 2.0}}, "simpo.betta", "did you mean simpo.beta?"),
        (
            {"training": {"learning-rate": 1e-5}},
            "training.learning-rate",
            "did you mean training.learning_rate?",
        ),
        ({"learning_rate": 1e-5}, "learning_rate", "did you mean training.learning_rate?"),
        ({"method": "simpo", "beta": 2.0}, "beta", "did you mean simpo.beta?"),
        ({"outptu": "x"}, "outptu", "did you mean output?"),
        ({"trainning": {"seed": 1}}, "trainning", "did you mean [training]?"),
        ({"data": {"file": "x"}}, "data.file", "allowed here: data.path, data.more_paths,"),
        (
            {"wandb": {"key": "x"}},
            "wandb",
            "allowed here: [model], [data], [lora], [training], [machine], [guards], [orpo]",
        ),
    ],
)
def test_an_unknown_key_comes_with_the_nearest_valid_one(
    raw: dict[str, Any], key: str, suggestion: str
) -> None:
    problem = problems(raw)[key]
    assert key in problem.message
    assert "no such" in problem.message
    assert problem.fix.startswith(suggestion)


def test_all_problems_come_at_once() -> None:
    found = problems(
        {
            "method": "simpo",
            "simpo": {"beta": -2.0, "gama": 1.0},
            "kto": {"beta": 0.1},
            "training": {"batch_size": "two"},
            "data": {"heldout": 0.9},
        }
    )
    assert set(found) == {"simpo.beta", "simpo.gama", "kto", "training.batch_size", "data.heldout"}


def test_the_error_names_the_file_and_the_number_of_problems() -> None:
    with pytest.raises(ConfigError, match=r"^my\.toml: 2 problems$") as caught:
        runfile_io.parse({"output": 1, "schema": 2}, "my.toml")
    assert caught.value.exit_code == 1


def test_another_methods_table_is_refused() -> None:
    problem = problems({"method": "simpo", "kto": {"beta": 0.1}})["kto"]
    assert problem.message == "[kto] is present but method = 'simpo'; only [simpo] is allowed"
    assert problem.fix == "remove [kto], or set method = 'kto'"


def test_under_an_unknown_method_no_table_is_called_wrong() -> None:
    assert list(problems({"method": "ppo", "kto": {"beta": 0.1}})) == ["method"]


def test_a_whole_number_is_a_number() -> None:
    run = runfile_io.parse({"method": "simpo", "simpo": {"beta": 2}, "training": {"epochs": 3}})
    assert run.simpo is not None
    assert (run.simpo.beta, run.training.epochs) == (2.0, 3.0)


# --- Overrides


def test_set_wins_over_the_environment_over_the_file_over_the_default(simpo_file: Path) -> None:
    env = {"BACKPROP_TUI__SIMPO__BETA": "3", "BACKPROP_TUI__SIMPO__GAMMA": "0.5", "PATH": "/bin"}
    run, overrides = runfile_io.read(simpo_file, ["simpo.beta=4", "output=runs/a=b"], env)
    assert run.simpo is not None
    assert (run.simpo.beta, run.simpo.gamma) == (4.0, 0.5)  # --set, environment
    assert run.lora is not None
    assert (run.lora.rank, run.lora.alpha) == (8, 32.0)  # file, default
    assert run.output == "runs/a=b"
    assert overrides == {
        "simpo.beta": "--set",
        "simpo.gamma": "environment BACKPROP_TUI__SIMPO__GAMMA",
        "output": "--set",
    }


def test_the_real_environment_is_read(simpo_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKPROP_TUI__TRAINING__MAX_STEPS", "7")
    assert runfile_io.read(simpo_file)[0].training.max_steps == 7


def test_without_overrides_nothing_is_recorded(simpo_file: Path) -> None:
    env = {"HOME": "/home/me", "BACKPROP_TUI_ASCII": "1", "HF_TOKEN": "hf_secret"}
    run, overrides = runfile_io.read(simpo_file, env=env)
    assert overrides == {}
    assert "hf_secret" not in runfile_io.to_toml(run)


@pytest.mark.parametrize(
    ("name", "text", "key"),
    [
        ("BACKPROP_TUI__TRAINING__EPOCHS", "many", "training.epochs"),
        ("BACKPROP_TUI__TRAINING__EPOCS", "1", "training.epocs"),
        ("BACKPROP_TUI__METHOD__NAME", "kto", "method.name"),
        ("BACKPROP_TUI__KTO__BETA", "0.1", "kto"),
        ("BACKPROP_TUI__LORA__TARGETS", "mlp", "lora.targets"),
    ],
)
def test_a_bad_environment_value_names_the_variable(
    simpo_file: Path, name: str, text: str, key: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        runfile_io.read(simpo_file, env={name: text})
    (problem,) = caught.value.problems
    assert problem.field == key
    assert f"(from environment {name})" in problem.message


def test_a_bad_value_of_the_file_does_not_blame_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("[training]\nbatch_size = 0\n")
    with pytest.raises(ConfigError) as caught:
        runfile_io.read(path, env={"BACKPROP_TUI__TRAINING__EPOCHS": "2"})
    assert "environment" not in caught.value.problems[0].message


def test_a_bad_set_names_itself(simpo_file: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        runfile_io.read(simpo_file, ["training.batch_size=0"], {})
    assert "(from --set)" in caught.value.problems[0].message


@pytest.mark.parametrize("item", ["simpo.beta", "=3", " = 3", ""])
def test_a_set_without_key_or_value_says_what_is_expected(simpo_file: Path, item: str) -> None:
    with pytest.raises(InputError, match=r"expected section\.key=value") as caught:
        runfile_io.read(simpo_file, [item], {})
    assert "--set training.learning_rate=1e-6" in caught.value.hint


@pytest.mark.parametrize(
    ("sets", "env"),
    [(["method=kto"], {}), ([], {"BACKPROP_TUI__METHOD": "kto"}), (["method=kto"], None)],
)
def test_another_method_drops_the_old_table(
    simpo_file: Path, sets: list[str], env: dict[str, str] | None
) -> None:
    run, _ = runfile_io.read(simpo_file, sets, env)
    assert (run.method, run.simpo) == ("kto", None)
    assert run.kto is not None
    assert run.kto.beta == 0.1


def test_another_method_keeps_what_was_set_for_the_old_one_and_says_so(simpo_file: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        runfile_io.read(simpo_file, ["method=kto", "simpo.beta=3"], {})
    assert [problem.field for problem in caught.value.problems] == ["simpo"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("1e-6", 1e-6),
        ("false", False),
        ('"a b"', "a b"),
        ('["q_proj"]', ["q_proj"]),
        ("Qwen/Qwen2.5-0.5B", "Qwen/Qwen2.5-0.5B"),
        ("", ""),
        ("1\nx = 2", "1\nx = 2"),
    ],
)
def test_values_are_toml_or_else_text(text: str, value: Any) -> None:
    found = runfile_io.parse_value(text)
    assert (found, type(found)) == (value, type(value))


# --- Changing


def test_a_change_is_a_new_value() -> None:
    run = run_file(method="simpo")
    changed = runfile_io.change(run, {"simpo.gamma": 1.5, "lora.rank": 4})
    assert run == run_file(method="simpo")
    assert changed.simpo is not None
    assert changed.lora is not None
    assert (changed.simpo.gamma, changed.lora.rank) == (1.5, 4)


def test_none_removes_a_key_or_a_table() -> None:
    run = run_file({"training.learning_rate": 1e-6})
    changed = runfile_io.change(
        run, {"training.learning_rate": None, "lora": None, "data.columns.prompt": None}
    )
    assert (changed.training.learning_rate, changed.lora) == (None, None)


def test_a_refused_change_names_its_key() -> None:
    with pytest.raises(ConfigError) as caught:
        runfile_io.change(run_file(), {"orpo.beta": -1.0})
    assert [problem.field for problem in caught.value.problems] == ["orpo.beta"]


# --- Reading files


def test_a_missing_file_comes_with_a_near_name(simpo_file: Path) -> None:
    with pytest.raises(InputError, match="no such file") as caught:
        runfile_io.read(simpo_file.with_name("rnu.toml"), env={})
    assert (caught.value.code, caught.value.hint) == ("RUNFILE_NOT_FOUND", "did you mean run.toml?")


@pytest.mark.parametrize("name", ["zzz", "no/such/folder.toml"])
def test_a_missing_file_without_one_says_how_to_write_it(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="no such file") as caught:
        runfile_io.read(tmp_path / name, env={})
    assert caught.value.hint == "backprop-tui init writes one"


def test_a_folder_points_at_the_run_file_in_it(simpo_file: Path) -> None:
    with pytest.raises(InputError, match="is a folder") as caught:
        runfile_io.read(simpo_file.parent, env={})
    assert caught.value.hint == f"did you mean {simpo_file}?"


@pytest.mark.parametrize("content", [b"method = orpo", b"[model\n", b"\xff\xfe\x00", b"\x00"])
def test_what_is_not_toml_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(content)
    with pytest.raises(InputError, match="not valid TOML") as caught:
        runfile_io.read(path, env={})
    assert caught.value.code == "RUNFILE_NOT_TOML"


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("")
    assert runfile_io.read(path, env={})[0] == RunFile()


# --- Writing files


def test_an_existing_file_is_kept_unless_told_otherwise(simpo_file: Path) -> None:
    with pytest.raises(InputError, match="not overwritten") as caught:
        runfile_io.write(run_file(), simpo_file)
    assert caught.value.code == "RUNFILE_EXISTS"
    assert simpo_file.read_text() == SIMPO
    runfile_io.write(run_file(), simpo_file, overwrite=True)
    assert runfile_io.read(simpo_file, env={})[0] == run_file()


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_is_never_replaced(tmp_path: Path, overwrite: bool) -> None:
    with pytest.raises(InputError, match="is a folder"):
        runfile_io.write(run_file(), tmp_path, overwrite=overwrite)
    assert tmp_path.is_dir()


@pytest.mark.parametrize(
    ("step", "failure", "raised"),
    [
        ("replace", OSError(28, "No space left on device"), InputError),
        ("fsync", OSError(28, "No space left on device"), InputError),
        ("fsync", KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    simpo_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    failure: BaseException,
    raised: type[BaseException],
) -> None:
    def fail(*_: Any) -> None:
        raise failure

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(raised) as caught:
        runfile_io.write(run_file(), simpo_file, overwrite=True)
    assert simpo_file.read_text() == SIMPO
    assert list(simpo_file.parent.iterdir()) == [simpo_file]
    if isinstance(caught.value, InputError):
        assert caught.value.code == "WRITE_REFUSED"
        assert "No space left on device" in caught.value.message


@pytest.fixture
def read_only() -> Iterator[Path]:
    """A folder this process may read and not write, even when the tests run as root."""
    folder = Path(tempfile.mkdtemp())
    (folder / "old.toml").write_text(SIMPO)
    (folder / "closed").mkdir()
    (folder / "closed").chmod(0)
    folder.chmod(0o555)
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    yield folder
    if root:
        os.seteuid(0)
    folder.chmod(0o755)
    (folder / "closed").chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.parametrize("name", ["new.toml", "old.toml", "new/run.toml", "closed/run.toml"])
def test_no_permission_to_write_is_said(read_only: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot be written: Permission denied") as caught:
        runfile_io.write(run_file(), read_only / name, overwrite=True)
    assert caught.value.code == "WRITE_REFUSED"
    assert sorted(entry.name for entry in read_only.iterdir()) == ["closed", "old.toml"]
    assert (read_only / "old.toml").read_text() == SIMPO


def test_no_permission_to_read_is_said(read_only: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: Permission denied"):
        runfile_io.read(read_only / "closed" / "run.toml", env={})


def test_a_file_in_place_of_the_folder_is_said(simpo_file: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        runfile_io.write(run_file(), simpo_file / "inner.toml")
    assert simpo_file.read_text() == SIMPO


def test_a_name_too_long_for_the_disk_is_said(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 300)
    with pytest.raises(InputError, match="cannot be written: File name too long"):
        runfile_io.write(run_file(), path)
    with pytest.raises(InputError, match="cannot be read: File name too long"):
        runfile_io.read(path, env={})


# --- Help and secrets


def test_every_key_a_person_writes_has_help() -> None:
    without = [
        key
        for key in runfile_keys.valid_keys()
        if not key.startswith("provenance.") and not runfile_keys.help_for(key)
    ]
    assert without == []


@pytest.mark.parametrize("key", ["no.such", "data.columns.prompt", "training.no", "no", ""])
def test_what_is_no_key_has_no_help(key: str) -> None:
    assert runfile_keys.help_for(key) == ""


def test_the_keys_are_those_of_a_complete_file() -> None:
    written = runfile_io.dump(runfile_io.parse({**PLAN, "orpo": {}}))
    dotted = {
        f"{name}.{inner}" if isinstance(value, dict) else name
        for name, value in written.items()
        for inner in (value if isinstance(value, dict) else ("",))
    }
    assert dotted <= set(runfile_keys.valid_keys())


def test_no_key_could_hold_a_secret() -> None:
    secrets = ("token", "secret", "password", "passwd", "credential", "api", "auth", "login")
    assert [
        key
        for key in runfile_keys.valid_keys()
        if any(word in key.lower().replace("batch_tokens", "") for word in secrets)
    ] == []
