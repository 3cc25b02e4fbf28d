"""Rows token by token on a terminal: colour where there is one, and marks that say the same."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from backprop_tui.core.mask import MaskReport, RowView, Run, SideView, runs
from backprop_tui.core.text import count, plural

LONG = 2400  # characters of one piece; of a longer one the two ends are shown
ENDS = 800
WIDTH = 11  # cells of the name before each line
STYLES = {"prompt": "dim", "trained": "bold green", "cut": "strike red"}
MARKS = {"prompt": " ", "trained": "▶", "cut": "✂"}


def draw(views: list[RowView], report: MaskReport) -> None:
    """What the colours and marks mean, each row, and what is odd about the sample."""
    console = Console(highlight=False)
    _legend(console, views)
    for view in views:
        _row(console, view)
    _report(console, report)


def _legend(console: Console, views: list[RowView]) -> None:
    names = {side.name for view in views for side in view.sides}
    lines = [("prompt", "prompt", "the model reads it and learns nothing from it")]
    if "chosen" in names:
        lines.append(("chosen", "trained", "the model is trained to write it"))
        lines.append(("rejected", "trained", "the model is trained to rank it below the chosen"))
    elif "completion" in names:
        lines.append(("completion", "trained", "trained to be likelier if good, unlikelier if bad"))
    else:
        lines.append(("chat", "trained", "the model is trained to write it"))
    longest = count(views[0].max_length)
    lines.append(("cut", "cut", f"cut off at max_length ({longest} tokens): never seen"))
    for name, kind, meaning in lines:
        styled = Text(meaning, STYLES[kind])
        console.print(Text.assemble(_prefix(name, kind), styled))
    token = "reversed" if _colour(console) else "‹special›"
    console.print(
        f"{token}: one token that stands for no text.  ⏎ line break, · space", style="dim"
    )


def _row(console: Console, view: RowView) -> None:
    label = {True: ", good", False: ", bad", None: ""}[view.label]
    title = f"row {view.number:,}{label}"
    if view.dropped:
        title += f"  will not be trained: {view.dropped}"
    elif view.changes:
        title += f"  {', '.join(view.changes)}"
    console.print()
    console.rule(Text(title), align="left", style="dim")
    before: list[Run] = []
    for side in view.sides:
        pieces = runs(side)
        context = [piece for piece in pieces if piece.kind != "trained"]
        if before and context == before:
            same = f"the same {plural(side.prompt, 'token')}"
            console.print(Text.assemble(_prefix("prompt", "prompt"), (same, "dim italic")))
            pieces = [piece for piece in pieces if piece.kind == "trained"]
        before = context
        _side(console, side, pieces)
        console.print(Text(f"{'':{WIDTH + 2}}{counts(side)}"), soft_wrap=True)
    for finding in view.findings:
        console.print(Text(f"{finding.level}  {finding.text}  [{finding.code}]"), soft_wrap=True)


def counts(side: SideView) -> str:
    """One line: what of the side is read, trained and cut."""
    parts = [
        plural(side.length, "token"),
        f"{side.prompt:,} prompt",
        f"{side.trained:,} trained",
        f"{side.cut:,} cut",
        f"{side.bos} BOS",
        f"{side.eos} trained EOS",
    ]
    if side.shared:
        parts.append(f"first {side.shared:,} trained the same in both")
    return ", ".join(parts)


def _prefix(name: str, kind: str) -> Text:
    return Text(f"{name:<{WIDTH - 1}}{MARKS[kind]}| ", STYLES[kind] if kind != "cut" else "red")


def _side(console: Console, side: SideView, pieces: list[Run]) -> None:
    """The pieces in lines, each line of one kind and with its name before it."""
    for kind, lines in _stretches(pieces, _colour(console)):
        name = side.name if kind == "trained" else kind
        for line in lines.split(allow_blank=False):
            for part in line.wrap(console, max(20, console.width - WIDTH - 3)):
                console.print(Text.assemble(_prefix(name, kind), part), soft_wrap=True)


def _stretches(pieces: list[Run], colour: bool) -> Iterator[tuple[str, Text]]:
    """Neighbouring pieces of one kind as one text."""
    kind, text, tokens = "", Text(), 0
    for piece in [*pieces, None]:
        if piece is None or piece.kind != kind:
            if tokens:
                yield kind, _counted(kind, text, tokens)
            if piece is None:
                return
            kind, text, tokens = piece.kind, Text(), 0
        tokens += piece.tokens
        text.append_text(_piece(piece, colour))


def _counted(kind: str, text: Text, tokens: int) -> Text:
    if kind != "cut":
        return text
    return Text.assemble((f"[cut: {plural(tokens, 'token')}] ", "red"), text)


def _piece(piece: Run, colour: bool) -> Text:
    style = STYLES[piece.kind]
    if piece.special:
        return Text(piece.text if colour else f"‹{piece.text}›", f"{style} reverse")
    text = piece.text
    if len(text) > LONG:
        left_out = len(text) - 2 * ENDS
        text = f"{text[:ENDS]} [… {left_out:,} characters …] {text[-ENDS:]}"
    return Text(text, f"{style} underline" if piece.shared else style)


def _colour(console: Console) -> bool:
    return console.is_terminal and not console.no_color


def _report(console: Console, report: MaskReport) -> None:
    console.print()
    console.print(
        Text(f"Of {plural(report.rows, 'row')} looked at, {report.kept:,} will be trained.")
    )
    for reason, n in (*report.dropped.items(), *report.cut.items()):
        console.print(Text(f"  {n:,} {reason}"))
    for finding in report.findings:
        where = f" ({', '.join(finding.examples)})" if finding.examples else ""
        console.print(
            Text(f"{finding.level}  {finding.text}{where}  [{finding.code}]"), soft_wrap=True
        )
        console.print(Text(f"    {finding.do}"), soft_wrap=True)
    if report.kept and not report.findings:
        console.print("Nothing odd: each of their answers is trained whole and ends with its EOS.")
