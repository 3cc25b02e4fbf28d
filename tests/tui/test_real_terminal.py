"""The whole program in a real pseudo-terminal: keys in, picture out, terminal restored."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.nvml import Variant, build_stub
from tests.tui.terminal import ALTERNATE_SCREEN_OFF, SHOW_CURSOR, Terminal

NEXT, START, QUIT, INTERRUPT, STOP = "\x0e", "\x1b[20~", "\x11", "\x03", "\x1bOS"  # f4


def demo(tmp_path: Path, steps: int, size: tuple[int, int] = (24, 80)) -> Terminal:
    return Terminal(
        "backprop_tui", "demo", "--output", "out", "--set", f"training.max_steps={steps}",
        size=size, cwd=tmp_path, seconds=90,
    )  # fmt: skip


def restored(terminal: Terminal) -> None:
    """The alternate screen is left, the cursor is back, nothing of a library was drawn."""
    assert ALTERNATE_SCREEN_OFF in terminal.raw
    after = terminal.raw[terminal.raw.rindex(ALTERNATE_SCREEN_OFF) :]
    assert SHOW_CURSOR in after
    assert "Traceback" not in terminal.raw
    assert "FutureWarning" not in terminal.raw


def test_from_the_first_step_to_the_summary(tmp_path: Path) -> None:
    terminal = demo(tmp_path, 3, (24, 80))
    terminal.until("Machine")
    for words in (
        "architecture",
        "held out",
        "Why simpo",
        "learning rate",
        "What fits",
        "ready to start",
    ):
        terminal.send(NEXT)
        terminal.until(words)
    terminal.send(START)
    terminal.until("Reward margin")
    terminal.until("Held-out margin")  # the summary
    terminal.send("q")
    assert terminal.finish() == 0
    restored(terminal)
    assert (tmp_path / "out" / "adapter" / "adapter_model.safetensors").is_file()


@pytest.mark.parametrize(
    ("variant", "words"),
    [("two", ("RTX 4060 Ti", "RTX 2080 Ti")), ("busy9", ("9.0 GB",)), ("none", ("no card",))],
)
def test_machine_step_shows_what_nvml_says(
    variant: Variant, words: tuple[str, ...], tmp_path: Path
) -> None:
    environment = build_stub(tmp_path, variant)
    terminal = Terminal("backprop_tui", size=(36, 120), cwd=tmp_path, env=environment)
    for text in words:
        terminal.until(text)
    terminal.send(QUIT)
    assert terminal.finish() == 0
    restored(terminal)


def test_ctrl_c_in_the_wizard(tmp_path: Path) -> None:
    terminal = demo(tmp_path, 3)
    terminal.until("Machine")
    terminal.send(INTERRUPT)
    assert terminal.finish() == 130
    restored(terminal)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "words", [pytest.param("loading", marks=pytest.mark.slow), "held-out loss"]
)
def test_ctrl_c_while_loading_and_while_training_asks_then_stops(
    words: str, tmp_path: Path
) -> None:
    terminal = demo(tmp_path, 500, (36, 120))
    terminal.until("fits")  # model and data have been read
    terminal.send(START)
    terminal.until(words)
    terminal.send(INTERRUPT)
    terminal.until("(y)")  # asked
    terminal.send("y")
    status = terminal.finish()
    restored(terminal)
    assert status == (4 if (tmp_path / "out" / "adapter").exists() else 130)


def test_stop_and_save_leaves_an_adapter(tmp_path: Path) -> None:
    terminal = demo(tmp_path, 500, (36, 120))
    terminal.until("fits")  # model and data have been read
    terminal.send(START)
    terminal.until("held-out loss")
    terminal.send(STOP)
    terminal.until("(y)")  # asked
    terminal.send("y")
    terminal.until("Held-out margin")
    terminal.send("q")
    assert terminal.finish() == 4
    restored(terminal)
    assert (tmp_path / "out" / "adapter" / "adapter_model.safetensors").is_file()
