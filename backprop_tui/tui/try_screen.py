"""TryScreen: a prompt, and what base and tuned make of it, side by side while they write.

Keys and messages; what they change is shown by try_view.py.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.events import DescendantFocus, Resize

from backprop_tui.core.rows import Message
from backprop_tui.core.text import plural
from backprop_tui.core.votes import SIDES, Sampling, Vote, as_read, identical
from backprop_tui.probe.prompts import Prompt
from backprop_tui.runs.vote_file import add_vote
from backprop_tui.tui.signs import SIGNS
from backprop_tui.tui.too_small import watch_size
from backprop_tui.tui.try_view import TryView
from backprop_tui.tui.try_widgets import PromptArea, SettingsDialog, VoteBar
from backprop_tui.tui.try_worker import (
    Answered,
    Asked,
    Broken,
    Prompts,
    Ready,
    Stage,
    Writer,
    Wrote,
)

if TYPE_CHECKING:
    from backprop_tui.train.trying import Tryable


class TryScreen(TryView):
    """One run to try. blind: answers are A and B until a vote is cast."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f9,ctrl+r", "ask", "Ask", id="try.ask", tooltip="Have both answer (enter)"),
        Binding("f2", "draw", "Next", id="try.next", tooltip="Draw a prompt and ask it"),
        Binding("f3", "blind", "Blind", id="try.blind", tooltip="Vote without knowing whose"),
        Binding("f4", "settings", "Settings", id="try.settings", tooltip="Temperature, length"),
        Binding("f5", "clear", "Clear", id="try.clear", tooltip="An empty prompt"),
        Binding(
            "escape",
            "halt",
            "Leave",
            id="try.halt",
            priority=True,
            tooltip="Stop the answers; where none is written, leave",
        ),
        Binding("ctrl+c", "halt", "Stop, leave", id="try.interrupt", priority=True, show=False),
        # Before the prompt, which would select a line.
        Binding("f6", "to_vote", "Vote", id="try.vote", priority=True, tooltip="To the votes"),
        Binding("enter", "to_prompt", "To the prompt", id="try.prompt", show=False),
        Binding("ctrl+q", "leave", "Leave", id="try.leave", priority=True, show=False),
    ]

    def __init__(
        self,
        found: Tryable,
        *,
        sampling: Sampling,
        blind: bool = False,
        prompts: Path | None = None,
    ) -> None:
        super().__init__(found, sampling=sampling, blind=blind, prompts=prompts)
        self.writer = Writer(found, prompts, self.post_message)

    def on_mount(self) -> None:
        self.query_one("#votes").display = False
        self.query_one("#right").display = len(self.found.sides) > 1
        self.left = self.found.sides[0]
        self.query_one(PromptArea).focus()
        self._show_all()
        self.writer.start()

    def on_unmount(self) -> None:
        """The thread ends after its token; leaving does not wait for it."""
        self.writer.end()

    def on_resize(self, event: Resize) -> None:
        watch_size(self, event.size)
        self._show_title()

    def on_descendant_focus(self, event: DescendantFocus) -> None:
        """What enter does now."""
        self._show_prompt()

    # What the thread says

    @on(Stage)
    def staged(self, event: Stage) -> None:
        """It is loading."""
        self.stage = event.text
        self._say_loading()

    @on(Ready)
    def loaded(self) -> None:
        """It can be asked."""
        self.ready = True
        self.say("ready: type a prompt and press enter")
        self._show_answers()
        if self.found.no_base:
            self.notify(self.found.no_base, title="No base", timeout=15)
        if self.blind:
            self._refuse_blind()
        if self.queued:
            queued, self.queued = self.queued, ()
            self._ask(queued)

    @on(Prompts)
    def prompts_read(self, event: Prompts) -> None:
        """There are prompts to draw, or why not."""
        self.drawn, self.none_drawn = event.found, event.why
        self._show_prompt()

    @on(Wrote)
    def wrote(self, event: Wrote) -> None:
        """A token more."""
        if event.number == self.number:
            self.answers[event.side] = event.answer
            self._pane(event.side).show(event.answer)

    @on(Answered)
    def answered(self, event: Answered) -> None:
        """Both are done."""
        if event.number != self.number:
            return
        self.writing, self.answers = False, dict(event.answers)
        self._show_answers()
        stopped = any(answer.how == "stopped" for answer in event.answers.values())
        typing = self.query_one(PromptArea).text != self.asked[-1].content
        if self.secret and (stopped or identical(*(event.answers[side].text for side in SIDES))):
            self.secret = False
            self._show_all()
            why = "stopped" if stopped else "both answers are the same"
            self.say(f"{why}: nothing to vote on{self._what_next()}")
            if not typing:
                self._leave_prompt()
        elif stopped:
            self.say("stopped")
        elif self.secret:
            self.query_one(VoteBar).display = True
            self.say(f"read both, then vote: {'f6, then ' if typing else ''}a, b, t or x")
            if not typing:  # else the next letter would be a vote
                self.action_to_vote()
        else:
            seconds = max(answer.seconds for answer in event.answers.values())
            tokens = sum(answer.tokens for answer in event.answers.values())
            pace = f", {tokens / seconds:.0f} tokens/s together" if seconds > 0 else ""
            self.say(f"done: {plural(tokens, 'token')}{pace}")
        self.refresh_bindings()

    @on(Broken)
    def broken(self, event: Broken) -> None:
        """It went wrong; what is on the screen stays."""
        self.writing, self.lost = False, self.lost or event.lost
        self.secret, self.queued = False, ()
        self.say(f"{SIGNS.problem} {event.text}")
        self.notify(f"{event.text} {event.hint}".strip(), severity="error", timeout=20)
        self._show_all()

    # What the user does

    @on(PromptArea.Asked)
    def entered(self) -> None:
        """enter in the prompt."""
        self.action_ask()

    def action_ask(self) -> None:
        """Have both answer what stands in the prompt."""
        text = self.query_one(PromptArea).text
        if self.lost or self.writing:
            return
        if not text.strip():
            self.say("the prompt is empty: type one, or f2 for the next " + self.source)
        elif not self.ready:
            self.queued = (*self.earlier, Message("user", text))
            self._say_loading()
        elif self.secret and self.query_one(VoteBar).display:
            self.say("vote first (f6), or let these go with f5")
        else:
            self._ask((*self.earlier, Message("user", text)))

    def _ask(self, prompt: Prompt) -> None:
        self.number += 1
        self.asked, self.answers, self.writing = prompt, {}, True
        self.asked_with = self.sampling
        self.revealed = self.warned = False
        self.secret = self.blind and len(self.found.sides) > 1
        self.left = secrets.choice(SIDES) if self.secret else self.found.sides[0]
        self.say(f"writing{SIGNS.more} escape stops it")
        self._show_all()
        self.writer.ask(Asked(self.number, prompt, self.sampling, self.left))

    def action_draw(self) -> None:
        """The next prompt that is held out, or of the file, and ask it."""
        if self.writing or self.lost:
            return
        if self.secret and self.query_one(VoteBar).display:
            self.say("vote first (f6), or let these go with f5")
            return
        if self.queued:
            self._say_loading()
            return
        if not self.drawn:
            self.notify(self.none_drawn, title=f"No {self.source}s", timeout=10)
            return
        self._move_on()
        *earlier, last = self.drawn[self.at]
        self.earlier = tuple(earlier)
        self.query_one(PromptArea).text = last.content
        self._show_prompt()
        self.action_ask()

    def action_blind(self) -> None:
        """On or off, from the next prompt on."""
        self.blind = not self.blind
        if self.blind and not self._refuse_blind():
            self.say("blind from the next prompt on: the sides are shuffled each time")
        elif not self.blind:
            self.say("sides are named from the next prompt on")
        self._show_all()

    def _refuse_blind(self) -> bool:
        """Whether there is nothing to vote between."""
        if len(self.found.sides) > 1:
            return False
        self.blind = False
        self.notify("One side alone cannot be voted on.", title="Not blind", severity="warning")
        return True

    def action_settings(self) -> None:
        """Temperature, length, seed, system prompt."""

        def taken(sampling: Sampling | None) -> None:
            if sampling is not None:
                self.sampling = sampling
                self._show_all()

        if not self.writing:
            self.app.push_screen(SettingsDialog(self.sampling), taken)

    def action_clear(self) -> None:
        """An empty prompt; answers that were not voted on are let go."""
        if self.writing:
            return
        self.number += 1
        self.earlier, self.answers, self.secret, self.revealed = (), {}, False, False
        self.left, self.queued = self.found.sides[0], ()
        self.query_one(PromptArea).text = ""
        self.query_one(PromptArea).focus()
        self._show_all()
        if self.ready:
            self.say("ready: type a prompt and press enter")
        elif not self.lost:
            self._say_loading()

    def action_to_vote(self) -> None:
        """From the prompt to the votes."""
        if self.query_one(VoteBar).display:
            self.query_one(VoteBar).focus()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """There is not always something to vote on."""
        if action == "to_vote" and self.is_mounted:
            return self.query_one(VoteBar).display or None
        return True

    def action_to_prompt(self) -> None:
        """From the answers to the prompt; impatience before a vote goes nowhere."""
        if not self.query_one(VoteBar).display:
            self.query_one(PromptArea).focus()

    def action_halt(self) -> None:
        """Stop the answers; where none is written, leave."""
        if self.writing:
            self.writer.stop()
            self.say(f"stopping{SIGNS.more}")
        elif self.secret and not self.warned:  # the answers may have ended under the key
            self.warned = True
            self.say("not voted on yet: a, b, t or x; again leaves without a vote")
        else:
            self.action_leave()

    def action_leave(self) -> None:
        """Leave the program; every vote is on disk."""
        self.app.exit(return_code=0)

    @on(VoteBar.Voted)
    def voted(self, event: VoteBar.Voted) -> None:
        """Keep the vote; only then is it told whose answers these are."""
        if not self.secret or len(self.answers) < len(SIDES):
            return
        vote = Vote(
            when=datetime.now(UTC).isoformat(timespec="seconds"),
            prompt=as_read(self.asked, self.asked_with),
            base=self.answers["base"].text,
            tuned=self.answers["tuned"].text,
            a=self.left,
            choice=event.choice,
            sampling=self.asked_with,
            whole=tuple(side for side in SIDES if self.answers[side].how == "ended"),
            weights_sha256=self.found.weights_sha256,
        )
        try:
            add_vote(self.found.folder, vote)
        except OSError as error:
            why = error.strerror or error
            self.say(f"{SIGNS.problem} not saved: {why}; vote again")
            return
        self.secret, self.revealed = False, True
        taken = vote.preferred
        saved = f"saved: you took {taken}" if taken else f"saved: {event.choice}"
        self.say(f"{saved}{self._what_next()}")
        self._show_all()
        self._leave_prompt()
        self.refresh_bindings()
