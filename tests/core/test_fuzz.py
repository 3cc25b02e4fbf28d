"""Files damaged at random are read or refused in words; what the fuzzer found stays mended.

The long form is `python -m benchmarks.fuzz --cases 50000`, part of `make soak`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backprop_tui.core import runfile_io
from backprop_tui.core.errors import ConfigError, InputError
from backprop_tui.core.events import Evaluated, Preparing, Resumed, Step, from_line, to_line
from backprop_tui.core.guards import Guards
from backprop_tui.core.runfile_guards import GuardsSection
from benchmarks import fuzz_cases, fuzz_room
from benchmarks.fuzz import fuzz


def test_damaged_files_are_read_or_refused() -> None:
    report = fuzz(500, 1)
    assert report.failures == []
    assert set(report.outcomes) >= {
        *("run_file: accepted", "run_file: refused", "event_file: some events"),
        *("checkpoint: one whole", "checkpoint: both whole", "lock: unnamed"),
    }


def breaks(*_: Any) -> Any:
    raise ZeroDivisionError("broken on purpose")


def writes_elsewhere(*_: Any) -> Any:
    Path("../../../elsewhere").write_text("no")
    return ()


def hangs(*_: Any) -> Any:
    while True:
        pass


@pytest.mark.parametrize(
    ("broken", "word"),
    [(breaks, "ZeroDivisionError"), (writes_elsewhere, "elsewhere"), (hangs, "SIGPROF")],
)
def test_the_fuzzer_sees(
    broken: Callable[..., Any], word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzz_room, "LONGEST", 0.05)
    monkeypatch.setattr(fuzz_cases, "summary", broken)
    report = fuzz(4, 1)
    assert len([failure for failure in report.failures if word in failure]) >= 2


def refused(path: Path, text: str) -> str:
    """What a person reads of a run file that is not accepted."""
    path.write_text(text)
    with pytest.raises((InputError, ConfigError)) as caught:
        runfile_io.read(path, env={})
    problems = caught.value.problems if isinstance(caught.value, ConfigError) else ()
    return "\n".join(problem.message for problem in problems) or caught.value.message


REFUSED = {
    "deep": ("x = " + "[" * 5000, "not valid TOML: it is nested too deeply"),
    "deep value": ("[data]\nx = " + "[" * 200 + "]" * 200, "data.x = [[["),
    "digits": ("x = " + "9" * 5000, "not valid TOML: a number has too many digits"),
    "hex digits": (
        "[lora]\nrank = 0x" + "f" * 5000,
        "lora.rank = a number with too many digits: must be a smaller number",
    ),
    "over 64 bits": (
        "[training]\nmax_steps = 9223372036854775808",
        "training.max_steps = 9223372036854775808: must be a smaller number",
    ),
    "endless": (
        "[training]\nepochs = 1e308",
        "training.epochs = 1e+308: must be 1000000 or less",
    ),
    "parts": (".".join("a" * 40) + " = 1", "a key in it has more than 32 parts"),
    "large": ("#" + "x" * (1 << 20), "not valid TOML: it is larger than 1.0 MB"),
    "long key": ("k" * 100_000 + " = 1", "k" * 200 + "… = 1: no such key"),
    "long value": ("method = '" + "x" * 100_000 + "'", "x" * 199 + "…: must be one of"),
    "command in a key": ('"\\u001b[2J" = 1', "\u241b[2J = 1: no such key"),
    "command in a table": ('["\\u001b[2J"]', "[\u241b[2J]: no such table"),
    "command in a name": (
        '[model]\nid = "a\\u001b[2J"',
        "model.id = 'a\\x1b[2J': must be text without control characters",
    ),
    "nul in a path": (
        'output = "a\\u0000b"',
        "output = 'a\\x00b': must be text without control characters",
    ),
    "nul in one of several": (
        '[data]\nmore_paths = ["a", "\\u0000"]',
        "must be text without control characters",
    ),
}


@pytest.mark.parametrize(("text", "words"), REFUSED.values(), ids=REFUSED)
def test_a_hostile_run_file_is_refused_in_words(text: str, words: str, tmp_path: Path) -> None:
    said = refused(tmp_path / "run.toml", text)
    assert words in said
    assert len(said) < 700


def test_a_device_is_no_run_file() -> None:
    with pytest.raises(InputError, match=r"larger than 1\.0 MB"):
        runfile_io.read(Path("/dev/zero"), env={})


@pytest.mark.parametrize("text", ["9" * 5000, "[" * 5000])
def test_what_toml_cannot_hold_is_text_behind_set(text: str) -> None:
    assert runfile_io.parse_value(text) == text


def test_half_a_character_is_not_written(tmp_path: Path) -> None:
    run = runfile_io.parse({"data": {"labels": {"\ud800": True}}})
    with pytest.raises(InputError, match="half a character") as caught:
        runfile_io.write(run, tmp_path / "run.toml")
    assert caught.value.code == "WRITE_REFUSED"
    assert list(tmp_path.iterdir()) == []


def test_a_terminal_obeys_no_event_of_a_file() -> None:
    event = from_line(to_line(Preparing(t=1.0, stage="a\x1b[2J\x9b2Jb\tc")))
    assert event == Preparing(t=1.0, stage="a\u241b[2J\ufffd2Jb\tc")


def test_a_run_resumed_before_its_beginning_is_judged_on() -> None:
    guards = Guards(GuardsSection(watch="loss", patience=1), "simpo")
    for step, loss in ((1, 1.0), (2, 0.5)):
        guards.judge(Step(t=1.0, step=step, steps=9, epoch=0.1, loss=loss, learning_rate=1e-6))
        guards.judge(Evaluated(t=1.0, step=step, rows=1, loss=loss))
    assert guards.judge(Resumed(t=1.0, step=-3, checkpoint="")) == []
    assert guards.best is None
    guards.judge(Evaluated(t=1.0, step=1, rows=1, loss=2.0))
    (verdict,) = guards.judge(Evaluated(t=1.0, step=2, rows=1, loss=3.0))
    assert verdict.kind == "stop"
