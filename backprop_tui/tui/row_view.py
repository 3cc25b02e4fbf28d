"""What is trained: a row as the model sees it, token by token, and what is odd about the masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Label, Static

from backprop_tui.core.mask import MaskReport, RowView, Run, SideView, runs
from backprop_tui.core.quality import Finding
from backprop_tui.core.text import count, plural
from backprop_tui.tui.panels.advice import COLOURS
from backprop_tui.tui.put import put
from backprop_tui.tui.signs import SIGNS

if TYPE_CHECKING:
    from backprop_tui.core.rows import Row
    from backprop_tui.probe.data import Loaded
    from backprop_tui.train.batches import Encoder
    from backprop_tui.tui.view import View

STYLES = {"prompt": "$muted", "trained": "bold $text-success", "cut": "strike $text-error"}
AVOIDED = "italic $text-warning"  # trained, but as the worse answer
LOOKED_AT = 200  # rows whose masks are judged
SHOWN = 50  # rows one can page through


@dataclass(frozen=True, slots=True)
class Look:
    """The encoder of the plan, the rows it was tried on, and what was odd."""

    encoder: Encoder
    rows: Sequence[Row]
    report: MaskReport


class RowViewScreen(ModalScreen[None]):
    """One row at a time; left and right page through them."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right,n,space", "turn(1)", "Next row", id="row.next"),
        Binding("left,p", "turn(-1)", "Row before", id="row.before"),
        Binding("escape,f4,q", "close", "Close", id="row.close"),
    ]

    def __init__(self, view: View, loaded: Loaded) -> None:
        super().__init__()
        self.view = view
        self.data = loaded
        self.look: Look | None = None
        self.at = 0

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog", id="row-dialog"):
            yield Label("What is trained", classes="dialog--title", id="row-title")
            yield Static(legend(), id="row-legend", markup=False)
            with VerticalScroll(id="row-view"):
                yield Static(f"{SIGNS.more} loading the tokenizer", id="row-text", markup=False)
            yield Static(
                "left right another row   up down scroll   escape close", classes="dialog--keys"
            )

    def on_mount(self) -> None:
        self.query_one("#row-view").focus()
        self._load()

    @work(thread=True, exit_on_error=False)
    def _load(self) -> None:
        """The tokenizer takes a second or two, so it is loaded in a thread."""
        try:
            found = load(self.view, self.data)
        except Exception as error:  # noqa: BLE001 - the boundary: whatever it was is shown
            self.app.call_from_thread(self._failed, error)
        else:
            self.app.call_from_thread(self._loaded, found)

    def _failed(self, error: Exception) -> None:
        text = getattr(error, "message", "") or f"{type(error).__name__}: {error}"
        if not self.is_attached:
            return
        said = Content.styled(f"{SIGNS.problem} {text}", "$text-error")
        put(self.query_one("#row-text", Static), said)

    def _loaded(self, found: Look) -> None:
        self.look = found
        self._show()

    @work(thread=True, exclusive=True, group="row", exit_on_error=False)
    def _show(self) -> None:
        """Make the view of a row; a long conversation takes a while."""
        from backprop_tui.train.view import view_row

        look, at = self.look, self.at
        if look is not None and look.rows:
            row = view_row(look.encoder, look.rows[at])
            self.app.call_from_thread(self._draw, at, row)

    def _draw(self, at: int, row: RowView) -> None:
        """Draw it, unless another row was asked for or the screen was closed meanwhile."""
        if self.look is None or at != self.at or not self.is_attached:
            return
        place = self.data.table.place(row.number)
        about = "" if self.data.exact else "about "  # a sample's rows are placed by their size
        where = f"row {about}{place}  ({at + 1} of {len(self.look.rows[:SHOWN])} to look at)"
        put(self.query_one("#row-title", Label), Content(f"What is trained   {where}"))
        put(self.query_one("#row-text", Static), drawn(row, self.look.report))
        self.query_one("#row-view", VerticalScroll).scroll_home(animate=False)

    def action_turn(self, by: int) -> None:
        """To another row, round and round."""
        if self.look is not None and self.look.rows:
            self.at = (self.at + by) % len(self.look.rows[:SHOWN])
            self._show()

    def action_close(self) -> None:
        """Back to the data."""
        self.dismiss(None)


def load(view: View, loaded: Loaded) -> Look:
    """Encode a sample just as the training would. Raises what the tokenizer raises."""
    from backprop_tui.probe.data.clean import sample
    from backprop_tui.probe.survey import rows_for
    from backprop_tui.train.batches import Encoder
    from backprop_tui.train.findings import findings
    from backprop_tui.train.libraries import load_libraries
    from backprop_tui.train.model import load_tokenizer

    model = view.facts.model
    assert model is not None
    load_libraries(("transformers",))
    plan = view.plan
    encoder = Encoder(
        tokenizer=load_tokenizer(plan, model, trust_remote_code=False),
        max_length=view.effective.max_length,
        cut_answers=plan.data.cut_answers,
        train_everything=bool(plan.sft and plan.sft.train_on == "everything"),
    )
    rows = sample(rows_for(plan, loaded.rows), plan.data.heldout_seed, LOOKED_AT)
    return Look(encoder, rows, findings(encoder, rows))


def legend() -> Content:
    """What the styles mean, in them."""
    return Content("   ").join(
        [
            Content.styled("only read", STYLES["prompt"]),
            Content.styled("trained to write", STYLES["trained"]),
            Content.styled("trained away from", AVOIDED),
            Content.styled("cut off", STYLES["cut"]),
            Content.styled("special token", "reverse"),
        ]
    )


def drawn(row: RowView, report: MaskReport) -> Content:
    """What is odd about the sample, then the row, side by side of the pair."""
    blocks = [_finding(item) for item in report.findings]
    if row.dropped:
        text = f"{SIGNS.warning} this row is not trained: {row.dropped}"
        blocks.append(Content.styled(text, "$text-warning"))
    if row.changes:
        text = f"{SIGNS.warning} over {count(row.max_length)} tokens: {', '.join(row.changes)}"
        blocks.append(Content.styled(text, "$text-warning"))
    if not row.sides:
        blocks.append(
            Content("The chat template refused these turns, so there is nothing to show.")
        )
    return Content("\n\n").join([*blocks, *map(partial(_side, row), row.sides)])


def _finding(item: Finding) -> Content:
    sign = Content.styled(f"{SIGNS.level(item.level)} ", COLOURS[item.level])
    more = [f" {SIGNS.arrow} {item.do}"] if item.do else []
    more += [f"\n    {example}" for example in item.examples[:1]]
    return Content.assemble(sign, item.text, Content.styled("".join(more), "$muted"))


def _side(row: RowView, side: SideView) -> Content:
    label = "" if row.label is None else f", marked {'good' if row.label else 'bad'}"
    parts = [f"{count(side.prompt)} read", f"{count(side.trained)} trained"]
    if side.cut:
        parts.append(f"{count(side.cut)} cut off")
    ends = "ends with its end-of-turn token" if side.ended else "has no end-of-turn token"
    if side.shared:
        ends += f", begins like the other side for {plural(side.shared, 'token')}"
    figures = (
        f"   {plural(side.length, 'token')}: {', '.join(parts)}; "
        f"BOS {side.bos}, EOS {side.eos}; {ends}"
    )
    name = Content.styled(f"{side.name}{label}", "bold $text-primary")
    head = Content.assemble(name, Content.styled(figures, "$muted"))
    worse = side.name == "rejected" or row.label is False
    return Content("\n").join([head, Content.assemble(*(_piece(run, worse) for run in runs(side)))])


def _piece(run: Run, worse: bool) -> Content:
    style = AVOIDED if worse and run.kind == "trained" else STYLES[run.kind]
    if run.special:
        style += " reverse"
    elif run.shared:
        style += " underline"
    return Content.styled(run.text, style)
