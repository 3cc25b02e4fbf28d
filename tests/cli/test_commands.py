"""The commands as a shell runs them: exit codes, streams, JSON, refusals. No traceback, ever."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

from backprop_tui.core import runfile_io
from tests.conftest import pocket_run
from tests.nvml import build_stub


def backprop(
    *arguments: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command without a terminal; a traceback on any stream fails the test."""
    done = subprocess.run(
        [sys.executable, "-m", "backprop_tui", *map(str, arguments)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        timeout=180,
    )
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return done


def write_rows(path: Path, rows: list[Any]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def pairs(path: Path, n: int = 40) -> Path:
    return write_rows(
        path,
        [
            {"prompt": f"Is {i} small?", "chosen": f"Yes, {i} is small.", "rejected": "Who knows."}
            for i in range(n)
        ],
    )


def marks(path: Path, good: int, bad: int) -> Path:
    return write_rows(
        path,
        [
            {"prompt": f"Is {i} small?", "completion": f"Yes, {i}.", "label": i < good}
            for i in range(good + bad)
        ],
    )


def run_file(path: Path, method: str = "simpo", **changes: Any) -> Path:
    run = pocket_run(
        method, path.parent / "out", {k.replace("__", "."): v for k, v in changes.items()}
    )
    runfile_io.write(run, path)
    return path


def check(path: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """Quickly: the exact memory is asked for in test_check.py."""
    done = backprop("check", path, "--json", "--rough", *options)
    return done.returncode, json.loads(done.stdout)


def codes(items: list[dict[str, str]]) -> list[str]:
    return [item["code"] for item in items]


# Facts


def test_gpu_without_a_card_says_what_still_works(tmp_path: Path) -> None:
    done = backprop("gpu", env=build_stub(tmp_path, "none"))
    assert done.returncode == 0
    assert "CPU" in done.stdout


def test_gpu_json_names_the_card_and_who_holds_its_memory(tmp_path: Path) -> None:
    done = backprop("gpu", "--json", env=build_stub(tmp_path, "busy9"))
    card = json.loads(done.stdout)["cards"][0]
    assert card["processes"][0]["memory"] == 9 * 2**30
    assert card["processes"][0]["name"]


def test_data_json_has_shape_counts_and_recommendation(tmp_path: Path) -> None:
    path = pairs(tmp_path / "pairs.jsonl")
    with path.open("a") as file:
        file.write('\n{"prompt": "x", "chosen": "same", "rejected": "same"}\nnot json\n')
    facts = json.loads(backprop("data", path, "--json").stdout)
    assert facts["shape"] == "paired"
    assert facts["format"] == "jsonl"
    assert (facts["rows"], facts["kept"]) == (42, 40)
    assert facts["dropped"] == {"identical sides": 1, "unparseable line": 1}
    assert facts["recommendation"]["method"] in ("orpo", "simpo")
    assert facts["recommendation"]["reasons"]
    assert facts["recommendation"]["runner_up"]


def test_data_counts_tokens_once_a_model_is_known(tmp_path: Path) -> None:
    path = pairs(tmp_path / "pairs.jsonl")
    facts = json.loads(backprop("data", path, "--json", "--model", "pocket").stdout)
    assert facts["tokens"]["chosen"]["max"] >= facts["words"]["chosen"]["max"]
    assert facts["tokens"]["row"]["max"] > facts["tokens"]["chosen"]["max"]
    assert "whole row tokens" in backprop("data", path, "--model", "pocket").stdout


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda path: None, "DATA_NOT_FOUND"),
        (lambda path: path.write_text(""), "DATA_EMPTY"),
        (lambda path: path.mkdir(), "DATA_IS_FOLDER"),
        (lambda path: path.write_bytes(bytes(range(256)) * 40), "DATA_NOT_TEXT"),
    ],
    ids=["absent", "empty", "folder", "binary"],
)
def test_data_that_cannot_be_read_is_named(make: Any, code: str, tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    make(path)
    done = backprop("data", path)
    assert done.returncode == 1
    assert code in done.stderr
    assert "data.jsonl" in done.stderr
    assert done.stdout == ""


# Plans


def test_init_check_and_run_as_the_readme_says(tmp_path: Path) -> None:
    made = backprop(
        "init", "--model", "pocket", "--data", "pocket", "-o", "run.toml",
        "--set", "training.max_steps=2", "--set", "data.max_length=128",
        cwd=tmp_path,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert tomllib.loads((tmp_path / "run.toml").read_text())["training"]["max_steps"] == 2
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    judged = backprop("check", "run.toml", cwd=tmp_path, env=cache)
    assert judged.returncode == 0
    assert "memory           fits with" in judged.stdout
    done = backprop("run", "run.toml", "--output", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "finished at step 2" in done.stdout
    assert "\r" not in done.stdout
    assert "\x1b" not in done.stdout
    assert (tmp_path / "out" / "adapter" / "adapter_model.safetensors").exists()
    replay = next(line for line in done.stdout.splitlines() if "--output" in line)
    assert f"{tmp_path / 'out' / 'run.toml'}" in replay


def test_init_never_overwrites(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("mine")
    done = backprop("init", "-m", "pocket", "-d", "pocket", cwd=tmp_path)
    assert done.returncode == 1
    assert "RUNFILE_EXISTS" in done.stderr
    assert (tmp_path / "run.toml").read_text() == "mine"


def test_init_writes_nothing_that_could_not_run(tmp_path: Path) -> None:
    data = marks(tmp_path / "marks.jsonl", good=20, bad=20)
    done = backprop("init", "-m", "pocket", "-d", data, "--method", "orpo", cwd=tmp_path)
    assert done.returncode == 1
    assert "data-shape-mismatch" in done.stderr
    assert not (tmp_path / "run.toml").exists()


def test_init_for_kto_takes_the_bundled_marks(tmp_path: Path) -> None:
    done = backprop("init", "-m", "pocket", "-d", "pocket", "--method", "kto", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    code, judged = check(tmp_path / "run.toml")
    assert code == 0
    assert judged["effective"]["train_rows"] > 300


def renamed(path: Path, n: int = 40) -> Path:
    """Pairs whose columns nobody guesses."""
    return write_rows(
        path, [{"q": f"Is {i} so?", "good": f"Yes, {i}.", "bad": "Who knows."} for i in range(n)]
    )


def init(path: Path, data: Path | str, *options: str) -> subprocess.CompletedProcess[str]:
    return backprop("init", "-m", "pocket", "-d", data, "-o", path, *options)


def test_init_reads_the_data_as_the_sets_say(tmp_path: Path) -> None:
    data, path = renamed(tmp_path / "pairs.jsonl"), tmp_path / "run.toml"
    columns = {"prompt": "q", "chosen": "good", "rejected": "bad"}
    sets = [f"--set=data.columns.{ours}={theirs}" for ours, theirs in columns.items()]
    done = init(path, data, *sets)
    assert done.returncode == 0, done.stderr
    made = tomllib.loads(path.read_text())
    assert made["method"] in ("orpo", "simpo")
    assert made["data"]["columns"] == columns


@pytest.mark.parametrize("options", [("--method", "kto"), ("--set", "method=kto")])
def test_a_method_may_be_set_as_well(options: tuple[str, ...], tmp_path: Path) -> None:
    done = init(tmp_path / "run.toml", "pocket", *options)
    assert done.returncode == 0, done.stderr
    made = tomllib.loads((tmp_path / "run.toml").read_text())
    assert made["method"] == "kto"
    assert "kto" in made
    assert not {"orpo", "simpo"} & set(made)
    assert "ORPO" not in done.stderr
    assert "SimPO" not in done.stderr
    assert check(tmp_path / "run.toml")[1]["effective"]["method"] == "kto"


def test_a_set_of_the_recommended_method_is_taken(tmp_path: Path) -> None:
    data = marks(tmp_path / "marks.jsonl", good=40, bad=40)
    done = init(tmp_path / "run.toml", data, "--set", "kto.beta=0.3")
    assert done.returncode == 0, done.stderr
    assert tomllib.loads((tmp_path / "run.toml").read_text())["kto"]["beta"] == 0.3


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("training.batch_size=0", "training.batch_size = 0: must be 1 or more (from --set)"),
        ("data.max_lenght=5", "data.max_lenght = 5: no such key (from --set)"),
        ("method=ppo", "(from --set)"),
        ("sft.beta=1", "(from --set)"),
        ("nonsense", "--set nonsense: expected section.key=value"),
    ],
)
def test_a_bad_set_of_init_says_where_it_comes_from(bad: str, said: str, tmp_path: Path) -> None:
    done = init(tmp_path / "run.toml", "pocket", "--set", bad)
    assert done.returncode == 1
    assert said in done.stderr
    assert not (tmp_path / "run.toml").exists()


def test_init_weighs_the_memory_as_the_wizard_does(tmp_path: Path) -> None:
    """A plan that leaves the card no room speaks for simpo."""
    data = pairs(tmp_path / "pairs.jsonl")
    card = build_stub(tmp_path, "busy9")
    options = ("init", "-m", "pocket", "-d", data, "--set=data.heldout=0.2")
    roomy = backprop(*options, "-o", tmp_path / "a.toml", env=card)
    assert "Memory is tight" not in roomy.stderr
    full = backprop(*options, "--set=training.batch_size=4096", "-o", tmp_path / "b.toml", env=card)
    assert "Memory is tight" in full.stderr
    assert tomllib.loads((tmp_path / "b.toml").read_text())["method"] == "simpo"


def test_check_warns_of_rows_over_max_length(tmp_path: Path) -> None:
    path = run_file(tmp_path / "run.toml", data__max_length=16)
    warning = next(w for w in check(path)[1]["warnings"] if w["code"] == "data-over-long")
    assert "longer than 16 tokens" in warning["message"]
    assert "data-over-long" not in codes(check(path, "--set=data.max_length=128")[1]["warnings"])


@pytest.mark.parametrize("options", [("--rough",), ("--rough", "--json")])
def test_a_reader_that_has_seen_enough_gets_no_traceback(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    read, write = os.pipe()
    os.close(read)  # as head does after its lines
    done = subprocess.run(
        [sys.executable, "-m", "backprop_tui", "check", run_file(tmp_path / "run.toml"), *options],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    os.close(write)
    assert done.stderr == ""


def test_check_reports_every_problem_of_the_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(
        'method = "simpo"\n[model]\nid = "pocket"\n[data]\npath = "pocket"\nmax_lenght = 5\n'
        '[simpo]\nbeta = -1\ngamma = nan\n[training]\nepochs = "two"\n'
    )
    code, judged = check(path)
    assert code == 1
    assert {item["field"] for item in judged["problems"]} == {
        "data.max_lenght", "simpo.beta", "simpo.gamma", "training.epochs",
    }  # fmt: skip
    assert set(codes(judged["problems"])) == {"CONFIG_INVALID_SETTING"}
    shown = backprop("check", path).stderr
    assert "did you mean data.max_length?" in shown
    assert "simpo.beta = -1: must be a number above 0" in shown


def test_gamma_ratio_warns_and_may_run(tmp_path: Path) -> None:
    path = run_file(tmp_path / "run.toml", simpo__gamma=2.4, simpo__beta=2.0)
    code, judged = check(path)
    assert code == 0
    warning = next(w for w in judged["warnings"] if w["code"] == "simpo-gamma-ratio")
    assert warning["field"] == "simpo.gamma"
    assert "1.20" in warning["message"]
    assert "2405.14734" in warning["source"]
    code, judged = check(path, "--set", "simpo.gamma=2.0")
    assert "simpo-gamma-ratio" not in codes(judged["warnings"])


@pytest.mark.parametrize(
    ("asked", "used", "clamped"), [(1e-5, 1e-6, True), (9.9e-6, 9.9e-6, False)]
)
def test_simpo_rate_guard(asked: float, used: float, clamped: bool, tmp_path: Path) -> None:
    path = run_file(tmp_path / "run.toml", training__learning_rate=asked, training__lr_clamp=True)
    code, judged = check(path)
    assert code == 0
    assert judged["effective"]["learning_rate"] == used
    assert ("simpo-lr-clamped" in codes(judged["warnings"])) is clamped


def test_kto_balance_is_what_training_will_use(tmp_path: Path) -> None:
    data = marks(tmp_path / "marks.jsonl", good=48, bad=16)
    path = run_file(
        tmp_path / "run.toml", "kto", data__path=str(data), data__heldout=0.0,
        training__batch_size=1, engine="trl",
    )  # fmt: skip
    code, judged = check(path)
    assert code == 0
    assert judged["effective"]["desirable_weight"] == 1.0
    assert judged["effective"]["undesirable_weight"] == pytest.approx(2.25)
    assert judged["effective"]["batch_size"] == 2
    assert {"kto-rebalanced", "kto-batch-raised"} <= set(codes(judged["warnings"]))


def test_kto_with_one_label_is_refused(tmp_path: Path) -> None:
    data = marks(tmp_path / "marks.jsonl", good=30, bad=0)
    code, judged = check(run_file(tmp_path / "run.toml", "kto", data__path=str(data)))
    assert code == 1
    assert "kto-one-label" in codes(judged["problems"])


def test_init_takes_the_options_that_data_offers(tmp_path: Path) -> None:
    data = write_rows(
        tmp_path / "verdicts.jsonl",
        [
            {"ask": f"Is {i} small?", "reply": f"Yes, {i}.", "verdict": ("fine", "poor")[i % 2]}
            for i in range(40)
        ],
    )
    mapping = [f"--column={each}" for each in ("prompt=ask", "completion=reply", "label=verdict")]
    labels = ["--label=fine=good", "--label=poor=bad"]
    done = backprop("init", "-m", "pocket", "-d", data, *mapping, *labels, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    written = tomllib.loads((tmp_path / "run.toml").read_text())
    assert written["method"] == "kto"
    assert written["data"]["columns"] == {
        "prompt": "ask",
        "completion": "reply",
        "label": "verdict",
    }
    assert written["data"]["labels"] == {"fine": True, "poor": False}


def test_an_error_does_not_steer_the_terminal(tmp_path: Path) -> None:
    done = backprop("data", str(tmp_path / "x\x1b[31mred.jsonl"))
    assert done.returncode == 1
    assert "\x1b" not in done.stderr
    assert "red.jsonl" in done.stderr


def test_what_is_too_little_is_said_by_check_too(tmp_path: Path) -> None:
    path = run_file(tmp_path / "run.toml", "orpo", data__path=str(pairs(tmp_path / "p.jsonl", 5)))
    code, judged = check(path)
    assert code == 0
    said = {item["code"]: item for item in judged["warnings"]}
    assert "Do not train yet" in said["data-not-yet"]["message"]
    assert "few-steps" not in said


def test_marks_under_orpo_are_refused_with_what_fits(tmp_path: Path) -> None:
    data = marks(tmp_path / "marks.jsonl", good=20, bad=20)
    path = run_file(tmp_path / "run.toml", "orpo", data__path=str(data))
    code, judged = check(path)
    assert code == 1
    problem = next(p for p in judged["problems"] if p["code"] == "data-shape-mismatch")
    assert "Methods that fit: kto." in problem["message"]
    done = backprop("run", path)
    assert done.returncode == 1
    assert not (tmp_path / "out").exists()


def test_label_of_one_point_zero_is_dropped_and_counted(tmp_path: Path) -> None:
    data = marks(tmp_path / "marks.jsonl", good=20, bad=20)
    with data.open("a") as file:
        file.write('\n{"prompt": "p", "completion": "c", "label": 1.0}\n')
    facts = json.loads(backprop("data", data, "--json").stdout)
    assert facts["dropped"] == {"label unusable": 1}


@pytest.mark.parametrize(
    ("missing", "code"),
    [("tokenizer.json", "model-no-tokenizer"), ("chat_template.jinja", "model-no-chat-template")],
)
def test_model_folder_that_lacks_a_part_is_refused(missing: str, code: str, tmp_path: Path) -> None:
    import shutil

    from backprop_tui.probe.model import probe_model

    source = probe_model("pocket").path
    assert source is not None
    model = tmp_path / "model"
    shutil.copytree(source, model)
    (model / missing).unlink()
    status, judged = check(run_file(tmp_path / "run.toml", model__id=str(model)))
    assert status == 1
    assert code in codes(judged["problems"])


def test_set_and_environment_win_over_the_file_and_are_recorded(tmp_path: Path) -> None:
    path = run_file(tmp_path / "run.toml")
    done = backprop(
        "check", path, "--json", "--rough", "--set", "training.batch_size=3",
        env={"BACKPROP_TUI__TRAINING__ACCUMULATION": "5"},
    )  # fmt: skip
    judged = json.loads(done.stdout)
    assert judged["effective"]["batch_size"] == 3
    assert judged["effective"]["accumulation"] == 5
    assert judged["overrides"] == {
        "training.accumulation": "environment BACKPROP_TUI__TRAINING__ACCUMULATION",
        "training.batch_size": "--set",
    }


def test_bad_environment_value_never_breaks_help() -> None:
    done = backprop("--help", env={"BACKPROP_TUI__TRAINING__EPOCHS": "-3"})
    assert done.returncode == 0
    assert "check" in done.stdout


# Runs


def test_existing_output_folder_is_refused(tmp_path: Path) -> None:
    path = run_file(tmp_path / "run.toml")
    (tmp_path / "out").mkdir()
    done = backprop("run", path)
    assert done.returncode == 1
    assert "OUTPUT_EXISTS" in done.stderr
    assert "out-2" in done.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_no_write_permission_is_named(tmp_path: Path) -> None:
    path = run_file(tmp_path / "run.toml")
    done = backprop("run", path, "--output", "/proc/backprop-tui")  # not even root may
    assert done.returncode == 1
    assert "WRITE_REFUSED" in done.stderr
    assert "--output" in done.stderr


def test_output_below_a_file_is_named(tmp_path: Path) -> None:
    path = run_file(tmp_path / "run.toml")
    done = backprop("run", path, "--output", path / "deeper")
    assert done.returncode == 1
    assert "WRITE_REFUSED" in done.stderr


def test_wizard_without_a_terminal_says_what_to_type() -> None:
    done = backprop()
    assert done.returncode == 2
    assert "init" in done.stderr


def start(path: Path, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "backprop_tui", "run", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_while_training_saves_and_exits_with_four(
    number: signal.Signals, tmp_path: Path
) -> None:
    path = run_file(tmp_path / "run.toml", training__max_steps=500)
    process = start(path, tmp_path)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("step") and "train" in line:
            break
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 4, err
    assert "stopped and saved" in out
    assert "Traceback" not in out + err
    assert (tmp_path / "out" / "adapter" / "adapter_model.safetensors").exists()


def test_interrupt_while_loading_leaves_at_once(tmp_path: Path) -> None:
    path = run_file(tmp_path / "run.toml", training__max_steps=500)
    process = start(path, tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline()  # the first stage is announced
    process.send_signal(signal.SIGINT)
    begun = time.monotonic()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, (out, err)
    assert "Traceback" not in out + err
    assert not (tmp_path / "out" / "adapter").exists()
    assert time.monotonic() - begun < 30


def test_training_goes_on_when_nobody_reads_its_lines(tmp_path: Path) -> None:
    path = run_file(tmp_path / "run.toml")
    process = start(path, tmp_path)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()  # as `| head -1` does
    assert process.wait(timeout=120) == 0
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert (tmp_path / "out" / "adapter" / "adapter_model.safetensors").exists()


def test_interrupt_while_starting_up_is_quiet(tmp_path: Path) -> None:
    for delay in (0.05, 0.1, 0.15):
        process = subprocess.Popen(
            [sys.executable, "-m", "backprop_tui", "data", "pocket"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        time.sleep(delay)  # somewhere in the imports
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        if "Traceback" in err and "backprop_tui/" not in err:
            continue  # Python itself was still starting up; nothing of ours had run
        # Before Python has installed its handler the signal just ends the process.
        assert process.returncode in (0, 130, -signal.SIGINT)
        assert "backprop_tui/cli" not in err
