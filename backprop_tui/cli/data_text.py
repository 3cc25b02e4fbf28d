"""How `data` prints: facts, findings, offers and the recommendation, aligned and wrapped."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence

from backprop_tui.core.facts import DataFacts, Fit, Offer, Quantiles
from backprop_tui.core.quality import Finding
from backprop_tui.core.recommend import Recommendation
from backprop_tui.core.text import count, percent, plural, size
from backprop_tui.core.wrap import LABEL, Line, clipped, room, wrapped

EXCERPT = 160  # characters of one field of a row to look at


def facts_lines(facts: DataFacts) -> Iterator[str]:
    """What the data set is, and what of it cannot be trained."""
    named = facts.path or facts.name
    on_disk = f", {size(facts.size)}" if facts.size else ""
    files = f", {plural(len(facts.files), 'file')}" if len(facts.files) > 1 else ""
    about = "" if facts.exact else "about "
    rows = [
        ("data", named),
        ("format", f"{facts.format}{on_disk}{files}"),
        ("shape", f"{facts.shape} ({facts.layout})" if facts.layout else facts.shape),
        ("rows", f"{about}{count(facts.rows)}, {about}{count(facts.kept)} can be trained"),
        *_dropped(facts, about),
    ]
    if facts.left_out:
        rows.insert(2, ("not read", f"{', '.join(facts.left_out)} (other splits)"))
    if not facts.exact:
        rows.append(("", f"from a sample of {count(facts.sampled)}; --exact counts every row"))
    if facts.labels:
        good, bad = facts.labels.get(True, 0), facts.labels.get(False, 0)
        share = good / (good + bad) if good + bad else None
        rows.append(("labels", f"{count(good)} good, {count(bad)} bad ({percent(share)} good)"))
    if facts.duplicate_prompts:
        again = plural(facts.duplicate_prompts, "row repeats", "rows repeat")
        rows.append(("prompts", f"{again} an earlier prompt"))
    yield from wrapped(rows)


def _dropped(facts: DataFacts, about: str) -> Iterator[Line]:
    name = "dropped"
    for reason, n in facts.dropped.items():
        first = [row.place or str(row.row) for row in facts.dropped_rows if row.reason == reason]
        more = ", …" if n > len(first) else ""
        where = f" (row {', '.join(first)}{more})" if first else ""
        yield name, f"{about}{count(n)} {reason}{where}"
        name = ""


def length_lines(facts: DataFacts) -> Iterator[str]:
    """Lengths of each part, in words and, once a model is known, in tokens."""
    rows = [(f"{name} words", value) for name, value in facts.words.items()]
    for name, value in (facts.tokens or {}).items():
        rows.append((f"{'whole row' if name == 'row' else name} tokens", value))
    if not rows:
        return
    wide = max(len(name) for name, _ in rows)
    yield f"{'':<{wide}}{'half':>9}{'90 %':>9}{'99 %':>9}{'longest':>10}   (up to)"
    yield from (f"{name:<{wide}}{_lengths(value)}" for name, value in rows)


def _lengths(value: Quantiles) -> str:
    cells = ((value.p50, 9), (value.p90, 9), (value.p99, 9), (value.max, 10))
    return "".join(f"{count(n):>{wide}}" for n, wide in cells)


def fit_lines(
    fits: Sequence[Fit], max_length: int | None, memory: Mapping[int, int] | None = None
) -> Iterator[str]:
    """What each max_length would do to the rows measured; the asked one is marked.

    memory: bytes a run would need at each length, where that is known.
    """
    if not fits:
        return
    memory = memory or {}
    last = f"{'memory':>10}" if memory else ""
    yield f"max_length{'whole':>9}{'prompt cut':>13}{'too long':>11}{last}   (rows measured)"
    for fit in fits:
        mark = "  <" if fit.max_length == max_length else ""
        needed = f"{size(memory[fit.max_length]):>10}" if fit.max_length in memory else ""
        yield (
            f"{count(fit.max_length):>10}{count(fit.whole):>9}{count(fit.prompt_cut):>13}"
            f"{count(fit.too_long):>11}{needed}{mark}"
        )


def offer_lines(offers: Sequence[Offer]) -> Iterator[str]:
    """Ways to read the file otherwise, each with the options that do it."""
    for offer in offers:
        yield from wrapped([("offer", offer.text), *(("", line) for line in _options(offer))])


def _options(offer: Offer) -> Iterator[str]:
    """The run-file keys of an offer as options of this command."""
    for key, value in offer.changes:
        if key == "data.columns":
            yield from (f"--column {shlex.quote(f'{a}={b}')}" for a, b in value.items())
        elif key == "data.labels":
            for text, good in value.items():
                yield f"--label {shlex.quote(text + ('=good' if good else '=bad'))}"
        elif key == "data.shape":
            yield f"--shape {value}"


def finding_lines(found: Sequence[Finding]) -> Iterator[str]:
    """Each finding, what to do about it, and rows to look at: of a note, the first."""
    for one in found:
        yield from wrapped([(one.level, f"{one.text} {one.do}".rstrip() + f" [{one.code}]")])
        shown = one.examples if one.level != "note" else one.examples[:1]
        yield from (" " * LABEL + clipped(example, room()) for example in shown)


def recommendation_lines(advice: Recommendation, offers: Sequence[Offer]) -> Iterator[str]:
    """The method, how sure that is, why, and what would change it.

    offers: told already, so a reason that repeats them ends before the first.
    """
    rows: list[Line] = [("method", advice.method or "none fits")]
    if advice.confidence:
        rows.append(("confidence", advice.confidence))
    name = "why"
    for why in advice.reasons:
        text = why.text.partition(offers[0].text)[0].rstrip() if offers else why.text
        rows.append((name, text + (f" [{why.source}]" if why.source else "")))
        name = ""
    if advice.runner_up:
        rows.append(("runner-up", f"{advice.runner_up}, if {advice.runner_up_when}"))
    yield from wrapped(rows)


def example_lines(facts: DataFacts) -> Iterator[str]:
    """Three rows to look at."""
    for i, example in enumerate(facts.examples, 1):
        yield f"row {i} of {len(facts.examples)} to look at"
        wide = max((len(name) for name in example), default=0) + 4
        yield from wrapped(
            [(f"  {name}", _excerpt(text)) for name, text in example.items()], label=wide
        )
        if i < len(facts.examples):
            yield ""


def _excerpt(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= EXCERPT else flat[: EXCERPT - 1] + "…"
