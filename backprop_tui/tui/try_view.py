"""What the try screen shows: two answers, the votes so far, the prompt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.screen import Screen
from textual.widgets import Footer, Static

from backprop_tui.core.errors import BackpropError
from backprop_tui.core.text import percent, plural
from backprop_tui.core.votes import Answer, Sampling, Side, tally
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
        self.earlier: Prompt = ()  # turns before the one that is in the prompt's field
        self.drawn: list[Prompt] = []
        self.at = -1  # of drawn
        self.none_drawn = "the prompts are still being read"
        self.note = "loading"

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
        """On the line above the prompt, with the votes so far."""
        self.note = text
        put(self.query_one("#try-status", Static), f"{text}{self._votes()}")

    def _votes(self) -> str:
        try:
            found = tally(read_votes(self.found.folder)[0], self.found.weights_sha256)
        except BackpropError:
            return ""
        if not found.votes or self.secret:  # a running count would sway the next vote
            return ""
        if found.interval is None:
            return f"  {SIGNS.dot}  {plural(found.votes, 'vote')}, none for a side"
        low, high = map(percent, found.interval)
        return (
            f"  {SIGNS.dot}  tuned in {found.tuned} of {plural(found.decided, 'decided vote')} "
            f"({low} to {high})"
        )

    def _pane(self, side: Side) -> AnswerPane:
        return self.query_one("#left" if side == self.left else "#right", AnswerPane)

    def _show_all(self) -> None:
        run = self.found.run
        greedy = self.sampling.temperature == 0
        how = f"temperature {self.sampling.temperature:g}, seed {self.sampling.seed}"
        how = "greedy" if greedy else how
        parts = [
            *(["BLIND"] if self.blind else []),
            f"{self.found.folder.resolve().name}",
            f"{run.method} on {Path(run.model.id).name}, {self.found.where}",
            how,
            f"at most {self.sampling.max_new_tokens} tokens",
            *(["system prompt"] if self.sampling.system else []),
        ]
        put(self.query_one("#try-title", Static), f" {SIGNS.dot} ".join(parts))
        self.query_one(VoteBar).display &= self.secret
        self._show_answers()
        self._show_prompt()

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
        if self.earlier:
            title += f", after {plural(len(self.earlier), 'earlier turn')}"
        area.border_title = title
        area.border_subtitle = "enter asks, ctrl+j: new line"
