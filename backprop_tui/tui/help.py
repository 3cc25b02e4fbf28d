"""The help screen: keys, steps, and where things are written."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from backprop_tui.tui.facts_table import Cell, FactsTable

WIZARD_KEYS: tuple[Cell, ...] = (
    ("ctrl+n  ctrl+b", "next step, step before"),
    ("escape, 1 to 7", "leave the field, then open a step by its number"),
    ("tab  shift+tab", "next and previous field; in a path, tab completes it"),
    ("up  down  enter", "move in a list or between fields, choose"),
    ("f2", "use the bundled model or data"),
    ("f3  f4", "of the data: say which column is which; see what is trained"),
    ("f5", "read the machine, the model and the data again"),
    ("f6", "apply the fix shown beside a warning"),
    ("f9 or ctrl+r", "start the training here; if the terminal goes, it trains on without"),
    ("f8", "at the review: start it in the background, as a process of its own"),
    ("ctrl+s", "save the plan as a run file"),
    ("ctrl+p", "colours and other commands"),
    ("ctrl+q  ctrl+c", "quit; both ask first when something is not saved"),
)
MONITOR_KEYS: tuple[Cell, ...] = (
    ("f2 or ctrl+s", "write a checkpoint after this step and go on"),
    ("f3", "pause after this step, with everything kept in memory; again: go on"),
    ("f4 or ctrl+x", "stop after this step and keep what was learned; asks first"),
    ("tab", "into the log, to scroll it"),
    ("enter", "how the run ended, once it has"),
    ("b or ctrl+b", "once it has ended: back to the plan, to change it and start again"),
    ("ctrl+q", "quit; asks first while the training runs in this program"),
)
WATCHING_KEYS: tuple[Cell, ...] = (
    *(row for row in MONITOR_KEYS if not row[0].startswith(("b ", "ctrl+q"))),
    ("ctrl+q, d or f10", "leave; the run goes on, and backprop-tui watch RUN shows it again"),
)
PANELS: tuple[Cell, ...] = (
    ("margin", "how far the chosen answer leads the rejected one; it should widen"),
    ("held-out", "the same on rows kept aside; if it stays flat, the model memorises"),
    ("accuracy", "share of pairs where the chosen answer leads; it should leave 50 %"),
    ("loss", "should fall, and jump about less than it falls"),
    ("log-prob/token", "how likely the model finds an answer's words; of both kinds it may fall"),
    ("pairs/s", "pairs, or judged answers, trained each second; tokens/s counts what is read"),
    ("KL", "kto's measure of how far the model went from its base; 0 where noise outweighs it"),
)
STEPS: tuple[Cell, ...] = (
    ("1 Machine", "which card to use, and who else holds its memory"),
    ("2 Model", "the language model that is tuned"),
    ("3 Data", "the examples it learns from, and how many are held out to measure on"),
    ("4 Method", "sft imitates; kto learns from good and bad marks; the others from pairs"),
    ("5 Tuning", "rate, batch, adapter and where to write; every default is sound"),
    ("6 Memory", "whether it fits the card, what would make it fit, and what else would"),
    ("7 Review", "what will happen, and the run file"),
)
FILES: tuple[Cell, ...] = (
    ("run file", "the whole plan, saved with ctrl+s; backprop-tui run FILE repeats it"),
    ("run folder", "runs/METHOD-MODEL unless you say otherwise; never one that exists"),
    ("in it", "run.toml, events.jsonl, run.log, checkpoints/, and the result in adapter/"),
)


TRY_KEYS: tuple[Cell, ...] = (
    ("enter or f9", "have both answer the prompt; ctrl+j begins a new line"),
    ("f2", "draw the next prompt, held out or of --prompts, and ask it"),
    ("f3", "blind on or off, from the next prompt on"),
    ("f4", "temperature, length of answers, seed, system prompt"),
    ("f5", "an empty prompt"),
    ("tab", "from the prompt to the answers, to scroll them"),
    ("escape, ctrl+c", "stop the answers; where none is written, leave"),
)
VOTING: tuple[Cell, ...] = (
    ("blind", "the sides are shuffled for each prompt and called A and B"),
    ("f6", "from the prompt to the votes; after a vote enter goes back to the prompt"),
    (
        "again",
        "f2 begins after the prompts you voted on; of two votes on a prompt the newer counts",
    ),
    ("a b t x", "A is better, B is better, a tie, both bad; then it is told which was which"),
    ("votes", "in votes.jsonl of the run folder at once; --export-votes makes pairs of them"),
    ("how many", "under 30 decided votes say little; the interval says how little"),
)


class HelpScreen(ModalScreen[None]):
    """One page; escape closes it.

    training: the monitor's keys instead of the wizard's. watching: of another process's run.
    trying: of the try screen.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,f1,q", "dismiss", "Close", id="help.close"),
    ]

    def __init__(
        self, *, training: bool = False, watching: bool = False, trying: bool = False
    ) -> None:
        super().__init__()
        self.pages: tuple[tuple[str, tuple[Cell, ...]], ...] = (
            (
                ("Keys", WATCHING_KEYS if watching else MONITOR_KEYS),
                ("Panels", PANELS),
                ("Files", FILES),
            )
            if training or watching
            else (("Keys", WIZARD_KEYS), ("Steps", STEPS), ("Files", FILES))
        )
        if trying:
            self.pages = (("Keys", TRY_KEYS), ("Voting", VOTING))

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog", id="help"):
            for title, _ in self.pages:
                yield Static(title, classes="group")
                yield FactsTable(f"help-{title.lower()}")
            yield Static("escape closes this page, page up and down scroll it", classes="keys")

    def on_mount(self) -> None:
        for title, rows in self.pages:
            self.query_one(f"#help-{title.lower()}", FactsTable).show(rows)
