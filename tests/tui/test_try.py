"""The try screen by keyboard, with the real model: asking, stopping, blind votes, settings."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from backprop_tui.core.errors import InputError, RunError
from backprop_tui.core.rows import Message
from backprop_tui.core.votes import Sampling, Vote
from backprop_tui.runs import vote_file
from backprop_tui.runs.vote_file import NAME, read_votes
from backprop_tui.train import duo as duo_module
from backprop_tui.train.duo import Duo
from backprop_tui.train.trying import Tryable, tryable
from backprop_tui.tui import try_app, try_screen
from backprop_tui.tui.help import HelpScreen
from backprop_tui.tui.try_app import TryApp
from backprop_tui.tui.try_screen import TryScreen
from backprop_tui.tui.try_widgets import AnswerPane, PromptArea, SettingsDialog, VoteBar
from backprop_tui.tui.try_worker import Writer
from tests.tui.wizard_pilot import NARROW, WIDE, clipped

SHORT = Sampling(max_new_tokens=16)


@pytest.fixture(scope="module")
def trained(moved_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(moved_run, tmp_path_factory.mktemp("tried") / "simpo-pocket"))


@pytest.fixture
def found(trained: Path) -> Tryable:
    (trained / NAME).unlink(missing_ok=True)
    return tryable(trained)


@pytest.fixture(scope="module")
def loaded(trained: Path) -> Duo:
    return Duo(tryable(trained), lambda text: None)


@pytest.fixture
def quick(found: Tryable, loaded: Duo, monkeypatch: pytest.MonkeyPatch) -> Tryable:
    """The run, its model loaded already: some tests load it anew, most need not."""
    monkeypatch.setattr(Writer, "_load", lambda self: loaded)
    return found


@dataclass
class Shown:
    """What a test does to the screen, and what it sees."""

    app: TryApp
    pilot: Pilot[int]

    @property
    def screen(self) -> TryScreen:
        return self.app.trying

    @property
    def text(self) -> str:
        return "\n".join(strip.text for strip in self.app.screen._compositor.render_strips())

    @property
    def prompt(self) -> PromptArea:
        return self.screen.query_one(PromptArea)

    def titles(self) -> list[str]:
        return [str(pane.border_title) for pane in self.screen.query(AnswerPane)]

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def until(self, condition: Callable[[], object], seconds: float = 20) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"waited in vain:\n{self.text}"
            await self.pilot.pause(0.02)
        await self.pilot.pause()

    async def shows(self, *words: str) -> None:
        await self.until(lambda: all(one in " ".join(self.text.split()) for one in words))

    async def answered(self) -> None:
        await self.until(lambda: not self.screen.writing and self.screen.answers)


@asynccontextmanager
async def trying(
    found: Tryable, size: tuple[int, int] = NARROW, *, ready: bool = True, **options: Any
) -> AsyncIterator[Shown]:
    app = TryApp(found, sampling=options.pop("sampling", SHORT), **options)
    async with app.run_test(size=size, notifications=True) as pilot:
        shown = Shown(app, pilot)
        if ready:
            await shown.until(lambda: shown.screen.ready)
        yield shown
    app.trying.writer.join(30)
    assert not app.trying.writer.is_alive()


@pytest.mark.parametrize("size", [NARROW, pytest.param(WIDE, marks=pytest.mark.slow)])
async def test_a_typed_prompt_is_answered_by_both(found: Tryable, size: tuple[int, int]) -> None:
    async with trying(found, size) as it:
        await it.shows("ready: type a prompt and press enter")
        assert it.titles() == ["base", "tuned"]
        await it.press(*"Why", "ctrl+j", *"so", "enter")
        await it.answered()
        assert it.screen.asked == (Message("user", "Why\nso"),)
        assert it.prompt.text == "Why\nso"  # to be changed and asked again
        for side in ("base", "tuned"):
            first = it.screen.answers[side].text.split()[0]
            assert first in it.text
        await it.shows("done: ", "tokens/s together", "simpo on pocket, CPU, fp32", "greedy")
        assert clipped(it.app) == []  # type: ignore[arg-type]
        assert not (found.folder / NAME).exists()


async def test_held_out_prompts_are_drawn_one_after_another(quick: Tryable) -> None:
    async with trying(quick) as it:
        await it.until(lambda: it.screen.drawn)
        for number in (1, 2):
            await it.press("f2")
            await it.answered()
            await it.shows(f"held-out prompt {number} of {len(it.screen.drawn)}")
            assert it.screen.asked == it.screen.drawn[number - 1]
        await it.press(*"x")
        await it.press("f5")
        assert it.prompt.text == ""
        await it.press("enter")
        await it.shows("the prompt is empty")


async def test_a_file_of_prompts_with_earlier_turns(quick: Tryable, tmp_path: Path) -> None:
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    (tmp_path / "p.jsonl").write_text(json.dumps({"prompt": turns}))
    async with trying(quick, prompts=tmp_path / "p.jsonl") as it:
        await it.until(lambda: it.screen.drawn)
        await it.press("f2")
        await it.answered()
        await it.shows("prompt 1 of 1, after 1 earlier turn")
        assert it.screen.asked == (Message("system", "Be brief."), Message("user", "Why?"))


async def cast(it: Shown, key: str) -> Vote:
    """Draw, answer, vote; the vote as it is on disk."""
    await it.press("f2")
    await it.answered()
    await it.until(lambda: it.app.focused is it.screen.query_one(VoteBar))
    before = len(read_votes(it.screen.found.folder)[0])
    await it.press(key)
    votes, unusable = read_votes(it.screen.found.folder)
    assert (len(votes), unusable) == (before + 1, 0)
    return votes[-1]


async def test_a_blind_vote_is_told_apart_only_after_it_was_cast(
    quick: Tryable, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = iter(["tuned", "base", "tuned", "base"])
    monkeypatch.setattr(secrets, "choice", lambda sides: next(places))
    async with trying(quick, blind=True) as it:
        await it.until(lambda: it.screen.drawn)
        await it.press("f2")
        seen: list[str] = []
        await it.until(lambda: seen.append(it.text) or not it.screen.writing)  # type: ignore[func-returns-value]
        await it.shows("Which is better?", "A (a)", "both bad (x)", "BLIND")
        seen.append(it.text)
        assert it.titles() == ["A", "B"]
        for text in seen[1:]:
            said = text.replace("simpo-pocket", "")
            assert "tuned" not in said
            assert "base" not in said
        left = it.screen.query_one("#left", AnswerPane)
        tuned = it.screen.answers["tuned"].text
        assert tuned.split()[0] in str(left.query_one(".answer--text").render())
        await it.press("enter", "enter")  # impatience is no vote
        assert read_votes(quick.folder) == ([], 0)
        await it.press("a")
        assert it.titles() == ["A was tuned", "B was base"]
        await it.shows(
            "saved: you took tuned", "f2: next prompt", "tuned in 1 of 1 (21 % to 100 %)"
        )
        assert not it.screen.query_one(VoteBar).display
        assert it.app.focused is not it.prompt
        (vote,), _ = read_votes(quick.folder)
        assert (vote.a, vote.choice, vote.preferred) == ("tuned", "A", "tuned")
        assert (vote.tuned, vote.prompt) == (tuned, it.screen.drawn[0])
        assert (vote.sampling, vote.weights_sha256) == (SHORT, quick.weights_sha256)
        again = [await cast(it, key) for key in ("a", "t", "x")]
        assert [(one.a, one.choice, one.preferred) for one in again] == [
            *(("base", "A", "base"), ("tuned", "tie", None), ("base", "both bad", None)),
        ]
        await it.shows("tuned in 1 of 2 (")


@pytest.mark.slow
async def test_both_sides_come_to_both_places(quick: Tryable) -> None:
    async with trying(quick, blind=True, sampling=replace(SHORT, max_new_tokens=1)) as it:
        await it.until(lambda: it.screen.drawn)
        places = {(await cast(it, "t")).a for _ in range(12)}
    assert places == {"base", "tuned"}  # missed once in 2048 times


async def test_a_vote_comes_before_the_next_prompt_or_is_let_go(quick: Tryable) -> None:
    async with trying(quick) as it:
        await it.until(lambda: it.screen.drawn)
        await it.press("f3")
        await it.shows("BLIND", "the sides are shuffled")
        await it.press("f2")
        await it.answered()
        await it.press("f2")
        await it.shows("vote first (f6), or let these go with f5")
        assert it.screen.at == 0
        await it.press("f5")
        assert not it.screen.query_one(VoteBar).display
        assert it.titles() == ["base", "tuned"]
        await it.press("f3", "f2")
        await it.answered()
        assert it.titles() == ["base", "tuned"]
        assert read_votes(quick.folder) == ([], 0)


async def test_who_comes_back_goes_on_after_the_prompts_voted_on(quick: Tryable) -> None:
    async with trying(quick, blind=True) as it:
        await it.until(lambda: it.screen.drawn)
        first = [(await cast(it, "a")).prompt for _ in range(2)]
        assert first == it.screen.drawn[:2]
    async with trying(quick, blind=True) as it:
        await it.until(lambda: it.screen.drawn)
        assert (await cast(it, "a")).prompt == it.screen.drawn[2]
        await it.shows(f"held-out prompt 3 of {len(it.screen.drawn)}, 2 voted on before")
    # Other settings make other answers.
    async with trying(quick, blind=True, sampling=replace(SHORT, max_new_tokens=15)) as it:
        await it.until(lambda: it.screen.drawn)
        assert (await cast(it, "a")).prompt == it.screen.drawn[0]
    other = replace(quick, weights_sha256="other")
    async with trying(other, blind=True) as it:
        await it.until(lambda: it.screen.drawn)
        await it.press("f2")
        assert it.screen.at == 0


async def test_a_second_vote_on_a_prompt_replaces_the_first(quick: Tryable, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("Why?\nHow?\n")
    async with trying(quick, blind=True, prompts=tmp_path / "p.txt") as it:
        await it.until(lambda: it.screen.drawn)
        order = [(await cast(it, "a")).prompt[0].content for _ in range(3)]
        assert order == ["Why?", "How?", "Why?"]
        await it.shows("prompt 1 of 2, 2 voted on before, this one too", " of 2 (")
    assert len(read_votes(quick.folder)[0]) == 3


async def test_identical_answers_are_not_put_to_the_vote(
    quick: Tryable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duo_module.Duo, "_text", lambda *_, **__: "The same.")
    async with trying(quick, blind=True) as it:
        await it.until(lambda: it.screen.drawn)
        await it.press("f2")
        await it.answered()
        await it.shows("both answers are the same: nothing to vote on; f2: next prompt")
        assert not it.screen.query_one(VoteBar).display
        before = it.prompt.text
        await it.press("a", "f6", "a")
        assert it.prompt.text == before
        assert read_votes(quick.folder) == ([], 0)
        await it.press("f2")
        await it.answered()
        assert it.screen.at == 1


async def test_after_a_vote_a_stray_letter_is_not_typed(quick: Tryable) -> None:
    async with trying(quick, blind=True) as it:
        await it.press(*"Why", "enter")
        await it.answered()
        await it.shows("f6 Vote", "f1 Help")
        await it.press("a", "a", "b")
        assert it.prompt.text == "Why"
        await it.shows("enter: to the prompt")
        await it.press("enter", *"?")
        assert it.prompt.text == "Why?"
        assert it.screen.number == 1
        await it.press("enter")
        await it.answered()
        await it.press("a", "tab", *"!")  # as near
        assert it.prompt.text == "Why?!"
    assert len(read_votes(quick.folder)[0]) == 2


async def test_a_vote_has_the_settings_its_answers_were_written_with(quick: Tryable) -> None:
    async with trying(quick, blind=True) as it:
        await it.press(*"Why", "enter")
        await it.answered()
        await it.press("f4")
        it.app.screen.query_one("#set-system", Input).value = "Be brief."
        await it.press("enter")
        await it.until(lambda: it.app.focused is it.screen.query_one(VoteBar))
        await it.press("a")
    (vote,), _ = read_votes(quick.folder)
    assert (vote.sampling, vote.prompt) == (SHORT, (Message("user", "Why"),))


@pytest.mark.parametrize("name", ["simpo-pocket", "a run whose name is as long as a name can be"])
async def test_the_settings_are_whole_in_a_narrow_window(quick: Tryable, name: str) -> None:
    named = replace(quick, folder=quick.folder.parent / name)
    warm = Sampling(temperature=0.75, max_new_tokens=1000, seed=123456, system="Be brief.")
    async with trying(named, blind=True, sampling=warm) as it:
        await it.shows(f"BLIND · {name[:12]}", "temp 0.75, seed 123456 · 1000 tokens · system")
        assert clipped(it.app) == []  # type: ignore[arg-type]
        await it.pilot.resize_terminal(160, 36)
        await it.shows(f"· {name} ·", "simpo on pocket", "at most 1000 tokens")


async def test_leaving_before_the_vote_is_asked_once(quick: Tryable) -> None:
    """The key may be meant for answers that ended a moment before."""
    async with trying(quick, blind=True) as it:
        await it.press(*"Why", "enter")
        await it.answered()
        await it.press("escape")
        await it.shows("not voted on yet")
        assert it.app.is_running
        await it.press("a")
        await it.shows("saved: you took")
        await it.press("enter", "enter")
        await it.answered()
        await it.press("escape")
        assert it.app.is_running
        await it.press("escape")
        assert it.app.return_code == 0
    assert len(read_votes(quick.folder)[0]) == 1


async def test_what_is_typed_meanwhile_is_no_vote(
    quick: Tryable, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()
    slow = duo_module._Writer.step

    def waits(self: Any, *arguments: Any) -> Any:
        go.wait(30)
        return slow(self, *arguments)

    monkeypatch.setattr(duo_module._Writer, "step", waits)
    async with trying(quick, blind=True) as it:
        await it.press(*"Why", "enter")
        await it.press(*" a b")
        go.set()
        await it.answered()
        await it.shows("then vote: f6, then a, b, t or x")
        await it.press("a")
        assert it.prompt.text == "Why a ba"
        assert read_votes(quick.folder) == ([], 0)
        await it.press("f6", "b")
        assert len(read_votes(quick.folder)[0]) == 1


async def test_a_vote_that_cannot_be_written_tells_nothing_and_can_be_cast_again(
    quick: Tryable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(folder: Path, vote: Vote) -> None:
        raise OSError(28, "No space left on device")

    async with trying(quick, blind=True) as it:
        await it.press(*"Why", "enter")
        await it.answered()
        with monkeypatch.context() as patch:
            patch.setattr(try_screen, "add_vote", full)
            await it.press("a")
            await it.shows("not saved: No space left on device; vote again")
        assert it.titles() == ["A", "B"]
        await it.press("a")
        assert len(vote_file.read_votes(quick.folder)[0]) == 1


@pytest.mark.parametrize("key", ["escape", pytest.param("ctrl+c", marks=pytest.mark.slow)])
async def test_a_key_stops_the_answers_and_again_leaves(
    quick: Tryable, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    step = duo_module._Writer.step

    def slow(self: Any, *arguments: Any) -> Any:
        time.sleep(0.01)
        step(self, *arguments)
        return "writing"  # whatever it is

    monkeypatch.setattr(duo_module._Writer, "step", slow)
    async with trying(quick, blind=True, sampling=Sampling(max_new_tokens=100_000)) as it:
        await it.press(*"Why", "enter")
        await it.until(lambda: len(it.screen.answers) == 2)
        await it.press(key)
        await it.until(lambda: not it.screen.writing)
        await it.shows("stopped: nothing to vote on; f2: next prompt")
        assert it.app.is_running
        assert sorted(it.titles()) == ["base", "tuned"]
        await it.press(key)
        assert it.app.return_code == 0


async def test_the_screen_answers_keys_while_the_model_is_loading(
    found: Tryable, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()
    real = duo_module.Duo.__init__

    def slow(self: Any, one: Tryable, say: Callable[[str], None]) -> None:
        say("loading pocket (CPU, fp32)")
        assert go.wait(30)
        real(self, one, say)

    monkeypatch.setattr(duo_module.Duo, "__init__", slow)
    async with trying(found, ready=False) as it:
        await it.shows("loading pocket (CPU, fp32)")
        await it.press(*"Why", "enter")
        await it.shows("will be asked when the model is ready: loading pocket (CPU, fp32)")
        await it.press(*" so")
        go.set()
        await it.answered()
        assert it.screen.asked == (Message("user", "Why"),)
        assert it.prompt.text == "Why so"
        assert it.screen.number == 1


async def test_a_prompt_drawn_while_the_model_is_loading_is_asked_when_it_is_ready(
    quick: Tryable, loaded: Duo, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()
    monkeypatch.setattr(Writer, "_load", lambda self: loaded if go.wait(30) else None)
    async with trying(quick, blind=True, ready=False) as it:
        await it.until(lambda: it.screen.drawn)
        await it.press("f2", "f2")  # impatience is not the prompt after it
        await it.shows("the prompt will be asked when the model is ready")
        assert it.screen.at == 0
        await it.press("f5")  # let go
        assert it.screen.queued == ()
        await it.press("f2")
        go.set()
        await it.shows("Which is better?")
        assert it.screen.asked == it.screen.drawn[1]


def test_who_leaves_is_not_kept_by_what_is_loading(
    found: Tryable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The terminal is the shell's again, and looks as if nothing were running."""
    app, waited, codes = TryApp(found), list[float](), list[int]()
    app.exit(return_code=3)
    monkeypatch.setattr(app.trying.writer, "join", waited.append)
    monkeypatch.setattr(app.trying.writer, "is_alive", lambda: True)
    monkeypatch.setattr(os, "_exit", codes.append)
    try_app._leave_behind(app)
    assert codes == [3]
    assert sum(waited) < 0.5


async def test_a_model_that_does_not_load_is_told(
    found: Tryable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Any, one: Tryable, say: Callable[[str], None]) -> None:
        raise InputError("pocket: the weights cannot be loaded", hint="copy them", code="X")

    monkeypatch.setattr(duo_module.Duo, "__init__", broken)
    async with trying(found, ready=False) as it:
        await it.shows("the weights cannot be loaded", "copy them")
        await it.press(*"Why", "enter", "f5")
        assert "the weights cannot be loaded" in it.screen.note
        await it.press("f2", "f3", "f4", "escape", "escape")
    assert it.app.return_code == 0


async def test_a_prompt_that_cannot_be_answered_is_told_and_another_can_be_asked(
    quick: Tryable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(self: Any, *arguments: Any) -> Any:
        raise RunError("The model's figures are no numbers.", hint="look", code="TRY_FAILED")

    async with trying(quick, blind=True) as it:
        with monkeypatch.context() as patch:
            patch.setattr(duo_module._Writer, "step", refuses)
            await it.press(*"Why", "enter")
            await it.shows("The model's figures are no numbers.")
        assert not it.screen.writing
        await it.press("enter")
        await it.answered()
        assert it.titles() == ["A", "B"]


async def test_settings_are_taken_or_refused_in_words(quick: Tryable) -> None:
    async with trying(quick, WIDE) as it:
        await it.press("f4")
        dialog = it.app.screen
        assert isinstance(dialog, SettingsDialog)
        values = {"temperature": "x", "max-tokens": "7", "seed": "5", "system": "Be brief."}
        for name, value in values.items():
            dialog.query_one(f"#set-{name}", Input).value = value
        await it.press("enter")
        await it.shows("temperature 'x': 0 to 10 is allowed")
        dialog.query_one("#set-temperature", Input).value = "0.7"
        dialog.query_one("#set-max-tokens", Input).value = "0"
        await it.press("enter")
        await it.shows("max tokens '0': a whole number from 1 to 100000 is allowed")
        dialog.query_one("#set-max-tokens", Input).value = "7"
        await it.press("enter")
        assert it.screen.sampling == Sampling(0.7, 7, 5, "Be brief.")
        await it.shows("temperature 0.7, seed 5", "at most 7 tokens")
        await it.press("f4", "escape")
        assert it.app.is_running
        assert it.screen.sampling == Sampling(0.7, 7, 5, "Be brief.")
        await it.press(*"Why", "enter")
        await it.answered()
        assert all(answer.tokens <= 7 for answer in it.screen.answers.values())


async def test_one_side_alone_is_said_and_not_voted_on(trained: Path) -> None:
    alone = replace(tryable(trained), sides=("tuned",), no_base="There is no room for the base.")
    async with trying(alone, blind=True) as it:
        await it.shows("There is no room for the base.", "One side alone cannot be voted on.")
        assert not it.screen.query_one("#right").display
        await it.press(*"Why", "enter")
        await it.answered()
        assert it.titles()[0] == "tuned"
        assert set(it.screen.answers) == {"tuned"}


async def test_help_and_a_window_that_is_too_small(quick: Tryable) -> None:
    async with trying(quick, ready=False) as it:
        await it.press("f1")
        assert isinstance(it.app.screen, HelpScreen)
        await it.shows("have both answer the prompt", "Voting")
        await it.press("escape")
        await it.pilot.resize_terminal(60, 20)
        await it.shows("backprop-tui needs 80x24")
        await it.until(lambda: it.screen.ready)


async def test_words_of_a_model_do_not_steer_the_terminal(
    quick: Tryable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duo_module.Duo, "_text", lambda *_, **__: "\x1b[2J[bold]not markup[/]")
    async with trying(quick) as it:
        await it.press(*"Why", "enter")
        await it.answered()
        await it.shows("[bold]not markup[/]")
        assert "\x1b" not in it.text
