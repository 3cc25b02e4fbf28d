"""What the try screen shows: two answers, the votes so far, the prompt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.screen import Screen
from textual.widgets import Footer, Static

from backprop_tui.core.errors import BackpropError
from backprop_tui.core.text import percent, plural
from backprop_tui.core.votes import Answer, Sampling, Side, Vote, as_read, asked, tally
from backprop_tui.probe.prompts import Prompt
from backprop_tui.runs.vote_file import read_votes
from backprop_tui.tui.put import put
from backprop_tui.tui.signs import SIGNS
from backprop_tui.tui.too_small import TooSmall
from backprop_tui.tui.try_widgets import AnswerPane, PromptArea, VoteBar

if TYPE_CHECKING:
    from backprop_tui.train.trying import Tryable


class TryView(Screen[None]):
    """The state of a try screen, and how it looks."""

    CSS_PATH = "try.tcss"

    def __init__(
        self,
        found: Tryable,
        *,
        sampling: Sampling,
        blind: bool = False,
        prompts: Path | None = None,
    ) -> None:
        super().__init__()
        self.found, self.sampling, self.blind = found, sampling, blind
        self.source = "prompt" if prompts else "held-out prompt"
        self.ready = self.writing = self.lost = False
        self.number = 0  # of the newest question
        self.left: Side = "base"  # whose answer stands on the left
        self.secret = False  # whose answers these are is not told yet
        self.revealed = False  # it was told after a vote
        self.warned = False  # that leaving now costs the vote
        self.answers: dict[Side, Answer] = {}
        self.asked: Prompt = ()
        self.asked_with = sampling
        self.queued: Prompt = ()  # to be asked when the model is loaded
        self.earlier: Prompt = ()  # turns before the one that is in the prompt's field
        self.drawn: list[Prompt] = []
        self.at = -1  # of drawn
        self.voted_note = ""  # how many of drawn have a vote
        self.none_drawn = "the prompts are still being read"
        self.note = self.stage = "loading"

    def compose(self) -> ComposeResult:
        yield Static("", id="try-title")
        with Horizontal(id="answers"):
            yield AnswerPane(id="left")
            yield AnswerPane(id="right")
        yield VoteBar(id="votes")
        yield Static("", id="try-status")
        yield PromptArea(id="prompt")
        yield Footer(show_command_palette=False)
        yield TooSmall()

    def say(self, text: str) -> None:
        """On the line above the prompt, with the votes so far where there is room."""
        self.note = text
        votes = self._votes()
        fits = cell_len(text + votes) <= self.app.size.width - 2
        put(self.query_one("#try-status", Static), text + votes if fits else text)

    def _say_loading(self) -> None:
        ahead = "the prompt will be asked when the model is ready: " if self.queued else ""
        self.say(f"{ahead}{self.stage}{SIGNS.more}")

    def _what_next(self) -> str:
        return "; f2: next prompt" if self.drawn else ""

    def _leave_prompt(self) -> None:
        """A late letter that was meant as a vote is not to be typed."""
        self.query_one("#right", AnswerPane).focus()

    def _cast(self) -> list[Vote]:
        """The votes on disk."""
        try:
            return read_votes(self.found.folder)[0]
        except BackpropError:
            return []

    def _move_on(self) -> None:
        """To the next of drawn; at first, and while votes are cast, to one that has no vote of
        these weights and settings yet, where there is one."""
        votes, of = {vote.asked for vote in self._cast()}, self.sampling
        has = [
            asked(as_read(prompt, of), of, self.found.weights_sha256) in votes
            for prompt in self.drawn
        ]
        begun, total = self.at >= 0, len(has)
        ahead = [(self.at + step) % total for step in range(1, total + (not begun))]
        free = [at for at in ahead if not has[at]] if self.blind or not begun else []
        self.at = (free or ahead or [0])[0]
        self.voted_note = f", {sum(has)} voted on before" if any(has) else ""
        self.voted_note += ", this one too" if has[self.at] else ""

    def _votes(self) -> str:
        found = tally(self._cast(), self.found.weights_sha256)
        if not found.votes or self.secret:  # a running count would sway the next vote
            return ""
        if found.interval is None:
            return f"  {SIGNS.dot}  {plural(found.votes, 'vote')}, none for a side"
        low, high = map(percent, found.interval)
        return f"  {SIGNS.dot}  tuned in {found.tuned} of {found.decided} ({low} to {high})"

    def _pane(self, side: Side) -> AnswerPane:
        return self.query_one("#left" if side == self.left else "#right", AnswerPane)

    def _show_all(self) -> None:
        self._show_title()
        self.query_one(VoteBar).display &= self.secret
        self._show_answers()
        self._show_prompt()

    def _show_title(self) -> None:
        """What is tried and how; in a narrow window the name gives way to the settings."""
        run = self.found.run
        now, room = self.sampling, self.app.size.width - 2
        blind = ["BLIND"] if self.blind else []
        name, model = self.found.folder.resolve().name, Path(run.model.id).name
        how = f"temperature {now.temperature:g}, seed {now.seed}" if now.temperature else "greedy"
        most, system = f"{now.max_new_tokens} tokens", ["system prompt"] if now.system else []
        short = [how.replace("erature", ""), most, *(["system"] if system else [])]
        for parts in (
            [f"{run.method} on {model}, {self.found.where}", how, f"at most {most}", *system],
            [self.found.where, how, most, *system],
            short,
        ):
            title = f" {SIGNS.dot} ".join([*blind, name, *parts])
            if (over := cell_len(title) - room) <= 0:
                break
        else:
            kept = max(0, cell_len(name) - over - cell_len(SIGNS.more))
            name = set_cell_size(name, kept).rstrip() + SIGNS.more
            title = f" {SIGNS.dot} ".join([*blind, name, *short])
        put(self.query_one("#try-title", Static), title)

    def _show_answers(self) -> None:
        right: Side = "tuned" if self.left == "base" else "base"
        waiting = "" if self.ready and not self.writing else self.note if not self.ready else ""
        for name, place, side in (("A", "#left", self.left), ("B", "#right", right)):
            pane = self.query_one(place, AnswerPane)
            told = f"{name} was {side}" if self.revealed else side
            pane.name_it(name if self.secret else told)
            pane.show(self.answers.get(side), waiting=waiting)

    def _show_prompt(self) -> None:
        area = self.query_one(PromptArea)
        drawn = self.at >= 0 and area.text == (self.drawn[self.at][-1].content)
        title = f"{self.source} {self.at + 1} of {len(self.drawn)}" if drawn else "prompt"
        title += self.voted_note if drawn else ""
        if self.earlier:
            title += f", after {plural(len(self.earlier), 'earlier turn')}"
        area.border_title = title
        voting = self.query_one(VoteBar).display
        away = "" if voting else "enter: to the prompt"
        area.border_subtitle = "enter asks, ctrl+j: new line" if area.has_focus else away
