"""What is trained, token by token: the same tokens the training gets, told apart on the screen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from textual.content import Content
from textual.widgets import Static

from backprop_tui.cli.run import DEMO
from backprop_tui.core import runfile_io
from backprop_tui.tui.row_view import AVOIDED, STYLES, RowViewScreen
from tests.tui.wizard_pilot import NARROW, WIDE, Wizard, clipped, wizard

PROMPT = "What can I cook with leftover rice and lentils?"


def demo(**changes: Any) -> Any:
    run, _ = runfile_io.read(DEMO, env={})
    return runfile_io.change(run, {key.replace("__", "."): v for key, v in changes.items()})


async def opened(it: Wizard) -> RowViewScreen:
    await it.go("data")
    await it.settled()
    await it.press("f4")
    screen = it.app.screen
    assert isinstance(screen, RowViewScreen)
    await it.until(lambda: screen.look is not None)
    return screen


def styled(screen: RowViewScreen, style: str) -> str:
    """The text that is drawn in a style."""
    content = screen.query_one("#row-text", Static).content
    assert isinstance(content, Content)
    return " | ".join(
        content.plain[span.start : span.end] for span in content.spans if str(span.style) == style
    )


@pytest.mark.parametrize("size", [WIDE, NARROW])
async def test_the_prompt_is_read_and_both_answers_are_trained(size: tuple[int, int]) -> None:
    async with wizard(size, run=demo()) as it:
        screen = await opened(it)
        assert PROMPT in styled(screen, STYLES["prompt"])
        trained, avoided = styled(screen, STYLES["trained"]), styled(screen, AVOIDED)
        assert trained.startswith("Make a pie")
        assert "talked about in many lands" in " ".join(avoided.split())
        assert PROMPT not in trained + avoided
        assert "<|im_end|>" in styled(screen, f"{STYLES['trained']} reverse")
        await it.shows("only read", "trained to write", "trained away from", "EOS 1")
        assert clipped(it.app) == []


async def test_keys_page_through_the_rows_round_and_round() -> None:
    async with wizard(run=demo()) as it:
        await opened(it)
        await it.shows("row 1 (1 of 50")
        await it.press("right")
        await it.shows("(2 of 50")
        await it.press("left", "left")
        await it.shows("(50 of 50")
        await it.press("escape")
        assert it.screen.step == "data"


async def test_what_is_cut_off_is_struck_and_said(tmp_path: Path) -> None:
    long = " ".join(f"word{i}" for i in range(200))
    rows = [{"prompt": long, "chosen": f"yes {i}", "rejected": f"no {i}"} for i in range(20)]
    path = tmp_path / "long.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    async with wizard(run=demo(data__path=str(path), data__max_length=64)) as it:
        screen = await opened(it)
        assert "word3 word4" in styled(screen, STYLES["cut"])
        assert styled(screen, STYLES["trained"]).startswith("yes 0")
        await it.shows("over 64 tokens")


async def test_a_tokenizer_that_cannot_be_loaded_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from backprop_tui.core.errors import InputError
    from backprop_tui.train import model

    def refuse(*_: Any, **__: Any) -> None:
        raise InputError("pocket: its tokenizer is broken", code="MODEL_NO_TOKENIZER")

    monkeypatch.setattr(model, "load_tokenizer", refuse)
    async with wizard(run=demo()) as it:
        await it.go("data")
        await it.settled()
        await it.press("f4")
        await it.shows("pocket: its tokenizer is broken")
        await it.press("escape")
        assert it.screen.step == "data"


async def test_the_key_does_nothing_before_model_and_data_are_known() -> None:
    async with wizard() as it:
        assert it.screen.check_action("rows", ()) is False  # another step
        await it.go("data")
        assert it.screen.check_action("rows", ()) is None
        assert it.screen.check_action("columns", ()) is None
        await it.press("f4", "f3")
        assert it.screen.step == "data"
