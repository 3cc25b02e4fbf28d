"""The wizard: title, step rail, the step, and below it what always matters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Footer, Static

from backprop_tui.core.errors import BackpropError
from backprop_tui.core.rules import Advice
from backprop_tui.core.runfile_io import write
from backprop_tui.tui import words
from backprop_tui.tui.panels.advice import AdviceBar
from backprop_tui.tui.panels.memory import MemoryBar
from backprop_tui.tui.put import put
from backprop_tui.tui.rail import Rail
from backprop_tui.tui.steps.base import Step
from backprop_tui.tui.steps.data import DataStep
from backprop_tui.tui.steps.machine import MachineStep
from backprop_tui.tui.steps.memory import MemoryStep
from backprop_tui.tui.steps.method import MethodStep
from backprop_tui.tui.steps.model import ModelStep
from backprop_tui.tui.steps.review import ReviewStep
from backprop_tui.tui.steps.tuning import TuningStep
from backprop_tui.tui.too_small import TooSmall, watch_size
from backprop_tui.tui.view import STEPS, View, places

if TYPE_CHECKING:
    from pathlib import Path

    from backprop_tui.tui.app import BackpropApp

STEP_CLASSES: tuple[type[Step], ...] = (
    MachineStep,
    ModelStep,
    DataStep,
    MethodStep,
    TuningStep,
    MemoryStep,
    ReviewStep,
)
DIGITS = range(1, len(STEPS) + 1)
BUILD_AHEAD = 0.2  # seconds after a step has opened
POCKET = {"model": "model.id", "data": "data.path"}


class WizardScreen(Screen[None]):
    """Seven steps over one plan. A step is built shortly before it can be opened, and kept."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+n", "next", "Next", id="wizard.next", tooltip="To the next step"),
        Binding("ctrl+b", "back", "Back", id="wizard.back", tooltip="To the step before"),
        Binding("f2", "pocket", "Pocket", id="wizard.pocket", tooltip="Use the bundled one"),
        Binding("f3", "columns", "Map", id="wizard.columns", tooltip="Say which column is which"),
        Binding(
            "f4", "rows", "Rows", id="wizard.rows", tooltip="See what is trained, token by token"
        ),
        Binding("f5", "reread", "Reread", id="wizard.reread", show=False),
        Binding("f6", "fix", "Fix", id="wizard.fix", tooltip="Apply the fix that is shown"),
        Binding("ctrl+s", "save", "Save", id="wizard.save", tooltip="Save the run file"),
        Binding(
            "f8",
            "background",
            "Background",
            id="wizard.background",
            tooltip="Start the training as a process of its own, and watch it",
        ),
        Binding("f9,ctrl+r", "start", "Start", id="wizard.start", tooltip="Start the training"),
        Binding("escape", "leave_field", "Leave the field", show=False),
        *(Binding(str(n), f"go({n - 1})", f"Step {n}", show=False) for n in DIGITS),
        # What a terminal makes of escape and a digit typed in one breath; never a text.
        *(
            Binding(f"alt+{n}", f"go({n - 1})", f"Step {n}", show=False, priority=True)
            for n in DIGITS
        ),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.step = STEPS[0]
        self._visited = {self.step}
        self._usable: tuple[bool | None, ...] = ()
        self._building = asyncio.Lock()

    @property
    def planner(self) -> BackpropApp:
        """The app, which keeps the plan."""
        from backprop_tui.tui.app import BackpropApp

        assert isinstance(self.app, BackpropApp)
        return self.app

    def compose(self) -> ComposeResult:
        yield Static("", id="title")
        with Container(id="body"):
            yield Rail()
            with Vertical(id="steps"):
                yield STEP_CLASSES[0]()
        with Vertical(id="below"):
            yield MemoryBar()
            yield AdviceBar()
        yield Footer(show_command_palette=False)
        yield TooSmall()

    def on_mount(self) -> None:
        if self.planner.method_chosen:  # a run file was given: everything is filled in
            self._visited = set(STEPS)
        self.watch(self.app, "view", self.show, init=False)
        self.call_after_refresh(self._opened)

    def on_resize(self) -> None:
        self.query_one(Footer).compact = self.size.width < 100
        watch_size(self, self.size)

    def show(self, view: View) -> None:
        """Redraw what depends on the plan."""
        name = Content.styled("backprop-tui", "bold $text-primary")
        title = Content.assemble(name, "   ", words.title(view))
        put(self.query_one("#title", Static), title, layout=False)
        self.query_one(Rail).show(view, self.step, self._visited)
        self._show_memory(view)
        self.query_one(AdviceBar).show(view, self.step)
        if self.current.is_mounted:
            self.current.show(view)
        self._refresh_keys()

    def _show_memory(self, view: View) -> None:
        """The bar; the memory step has one of its own."""
        bar = self.query_one(MemoryBar)
        bar.display = self.step != "memory"
        bar.show(view)

    @property
    def current(self) -> Step:
        """The open step."""
        return self.query_one(f"#{self.step}", Step)

    async def open(self, step: str) -> None:
        """Show a step, building it the first time."""
        if step == self.step:
            return
        await self._build(step)
        if not self.is_attached:
            return
        self.current.display = False
        self.step = step
        self._visited.add(step)
        self.current.display = True
        self._opened()

    async def _build(self, step: str) -> None:
        """Make the widgets of a step, once."""
        async with self._building:
            # A timer still fires while the app leaves; nothing can be mounted then.
            if self.is_attached and not self.query(f"#{step}"):
                built = STEP_CLASSES[STEPS.index(step)]()
                built.display = False
                await self.query_one("#steps").mount(built)

    async def _build_next(self) -> None:
        """Build ahead, so that the next step opens at once."""
        for step in STEPS[STEPS.index(self.step) + 1 :][:1]:
            await self._build(step)

    def _opened(self) -> None:
        self.planner.look_at_memory(closely=self.step == "memory")
        self.show(self.planner.view)
        self.current.focus_first()
        self.set_timer(BUILD_AHEAD, self._build_next)

    def _refresh_keys(self) -> None:
        """The footer is rebuilt only when a key became usable or unusable."""
        usable = tuple(
            self.check_action(action, ())
            for action in ("next", "back", "pocket", "columns", "rows", "fix", "background")
        )
        if usable != self._usable:
            self._usable = usable
            self.refresh_bindings()

    async def on_rail_go_to(self, message: Rail.GoTo) -> None:
        await self.open(message.step)

    async def on_review_step_go_to(self, message: ReviewStep.GoTo) -> None:
        await self.go_to(message.item)

    async def go_to(self, item: Advice) -> None:
        """Open the step of an advice and focus its field."""
        await self.open(places(item)[0])
        key = item.field
        for widget in self.current.query(f"#field-{key.replace('.', '-')} Input, #methods"):
            if widget.display:
                widget.focus()
                break

    # Keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """None greys a key that would do nothing now; False hides one of another step."""
        if action in ("columns", "rows") and self.step != "data":
            return False
        if action == "background":
            return self.step == "review"
        match action:
            case "next":
                usable = self.step != STEPS[-1]
            case "back":
                usable = self.step != STEPS[0]
            case "pocket":
                usable = self.step in POCKET
            case "columns":
                usable = self.planner.loaded is not None
            case "rows":
                facts = self.planner.facts
                usable = bool(facts.model and facts.data and facts.data.kept)
            case "fix":
                usable = self.is_mounted and self.current.fixable(self.planner.view) is not None
            case _:
                return True
        return True if usable else None

    async def action_next(self) -> None:
        """To the next step."""
        await self.open(STEPS[STEPS.index(self.step) + 1])

    async def action_back(self) -> None:
        """To the step before."""
        await self.open(STEPS[STEPS.index(self.step) - 1])

    async def action_go(self, index: int) -> None:
        """To any step."""
        await self.open(STEPS[index])

    def action_leave_field(self) -> None:
        """Take the focus away, so that digits open steps."""
        self.set_focus(None)

    def action_pocket(self) -> None:
        """Take the bundled model or data."""
        self.planner.apply({POCKET[self.step]: "pocket"})

    def action_columns(self) -> None:
        """Say which column is which."""
        from backprop_tui.tui.mapping import Changes, MappingScreen

        def taken(changes: Changes | None) -> None:
            if changes is not None:
                self.planner.apply(changes)

        if (loaded := self.planner.loaded) is not None:
            self.app.push_screen(MappingScreen(loaded, self.planner.plan.data), taken)

    def action_rows(self) -> None:
        """See what is trained, token by token."""
        from backprop_tui.tui.row_view import RowViewScreen

        if (loaded := self.planner.loaded) is not None:
            self.app.push_screen(RowViewScreen(self.planner.view, loaded))

    def action_reread(self) -> None:
        """Read the machine, the model and the data again."""
        self.planner.reread()

    def action_fix(self) -> None:
        """Apply the fix that is marked with this key."""
        item = self.current.fixable(self.planner.view)
        if item is not None and item.fix is not None:
            self.planner.apply(dict(item.fix.changes))

    def action_save(self) -> None:
        """Ask for a name and write the run file."""
        from backprop_tui.tui.dialogs import SaveDialog

        self.app.push_screen(SaveDialog(self.planner.proposed_name()), self._save)

    def _save(self, path: Path | None) -> None:
        if path is None:
            return
        try:
            write(self.planner.plan, path, overwrite=True)
        except BackpropError as error:
            self.notify(f"{error.message}. {error.hint}", severity="error", title="Not saved")
        else:
            self.planner.saved(path)
            self.notify(f"backprop-tui run {path}", title=f"Saved {path}")

    _start_waits = False  # the key came while something was being read

    def action_start(self) -> None:
        """Start the training here."""
        self.call_next(self._start, self.planner.start_training)

    def action_background(self) -> None:
        """Start it as a process of its own."""
        self.call_next(self._start, self.planner.start_in_background)

    async def _start(self, begin: Callable[[], None]) -> None:
        """Begin, or say what stands in the way and go there."""
        self.planner.ask_hub()
        view = self.planner.view
        missing = [item for item in view.problems if view.is_todo(item)]
        if view.reading & {"machine", "model", "data"}:
            if not self._start_waits:
                self.notify("Still reading: it starts when that is done.")
            self._start_waits = True
            self.set_timer(0.1, partial(self._start, begin))
            return
        self._start_waits = False
        if missing:
            first = min(missing, key=lambda item: STEPS.index(places(item)[0]))
            what = "a model" if places(first)[0] == "model" else "the data"
            self.notify(f"Choose {what} first.", severity="warning", title="Cannot start yet")
            await self.go_to(first)
        elif view.problems:
            first = view.problems[0]
            self.notify(first.message, severity="error", title="Cannot start yet")
            await self.go_to(first)
        else:
            begin()
