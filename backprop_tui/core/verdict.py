"""What a run came to: History -> a verdict in words, with its evidence and what to try next. Pure.

What is wrong with a run is decided by `symptoms`, which the monitor and the guards ask as well, so
the three never disagree. docs/review.md has the rules in the order in which they are tried.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from backprop_tui.core.events import Evaluated, Failed
from backprop_tui.core.findings import LENGTH_SHARE
from backprop_tui.core.history import History
from backprop_tui.core.interval import wilson
from backprop_tui.core.runfile import RunFile
from backprop_tui.core.symptoms import (
    ENOUGH,
    FOLLOWS,
    HIGH_ACCURACY,
    MEMORISING,
    NOISE,
    ends_of,
    falling,
    figure,
    heldout_words,
    inflation,
    train_words,
    trouble,
)
from backprop_tui.core.text import percent, plural
from backprop_tui.core.verdict_evidence import evidence
from backprop_tui.core.verdict_next import what_next
from backprop_tui.core.verdict_seen import (
    PER_TOKEN,
    Evidence,
    Kind,
    Seen,
    Try,
    base_accuracy,
    clear,
    interval_words,
    length_share,
    mean_lengths,
    seen,
)

__all__ = ["Evidence", "Kind", "Try", "Verdict", "decide", "verdict"]

DISPLACED = 2.0  # times less likely a token of a good answer; from here on it is worth a look
MOST = 0.5  # share of the summed margin that length explains: from here on it is the larger part


@dataclass(frozen=True, slots=True)
class Verdict:
    """kind, one sentence with the figures that decided, all the evidence, what to try."""

    kind: Kind
    sentence: str
    evidence: tuple[Evidence, ...]
    next: tuple[Try, ...]


def verdict(history: History, plan: RunFile | None = None) -> Verdict:
    """The verdict on a run as far as it has come. plan: its run file, for rank and length."""
    run = seen(history)
    kind, sentence = decide(run)
    return Verdict(kind, sentence, evidence(run, plan), what_next(kind, run, plan))


def decide(run: Seen) -> tuple[Kind, str]:
    """The kind and its sentence; the first rule that holds."""
    diverged = _diverged(run.history)
    if diverged:
        return "diverged", diverged
    if run.method == "sft":
        return _sft(run)
    if run.margin.found < ENOUGH:
        return "too-short", _too_short(run.margin.found)
    inflated = _inflated(run)
    if inflated:
        return "margin-inflation", inflated
    alarm = falling(run.history, run.margin)
    if alarm:
        alarm = alarm.removesuffix(" Lower the rate.")
        return "chosen-collapsing", f"Chosen is collapsing: {alarm[0].lower()}{alarm[1:]}"
    return _by_heldout(run)


def _diverged(history: History) -> str:
    if isinstance(history.ended, Failed) and history.ended.code == "RUN_NOT_FINITE":
        return f"The run diverged: {history.ended.message}"
    return trouble(history)


def _too_short(found: int) -> str:
    return (
        f"Too short to say: {plural(found, 'step')} with figures. The first ten are held against "
        f"the last ten, so at least {ENOUGH} are needed."
    )


def _inflated(run: Seen) -> str:
    if run.start is None or run.now is None:
        return ""
    if run.start.step > 0 and clear(run):  # flat since a measurement that was no longer the base's
        return ""
    return inflation(run.margin, run.measured, run.start, run.now)


def _by_heldout(run: Seen) -> tuple[Kind, str]:
    start, now, margin = run.start, run.now, run.margin
    widens = margin.last - margin.first > NOISE * margin.error
    train = train_words(margin)
    if start is None or now is None or (start.step == now.step == 0):
        nothing = run.history.started is not None and not run.history.started.heldout_rows
        why = "nothing is held out" if nothing else "no held-out rows were measured after it"
        if widens:
            return "unproven", f"Train {train}, but {why}: learning and memorising look alike."
        return "not-learned", f"Not learned: train {train}, within its noise, and {why}."
    held, gain = heldout_words(start, now), (now.margin or 0.0) - (start.margin or 0.0)
    follows = gain > 0 or (start.step > 0 and clear(run))
    if not follows:
        word = "widens" if widens else "does not widen"
        return "not-learned", f"Not learned: train {train} {word}, and {held} does not follow."
    long = length_artefact(run)
    if long:
        return long
    if now.accuracy is None:
        return "unproven", f"Not proven: train {train}, {held}, but the log has no accuracy."
    told = f"{held}{interval_words(run)}"
    if widens and 0 < gain < FOLLOWS * (margin.last - margin.first) and start.step == 0:
        return "unproven", (
            f"Not proven: train {train}, {told}: the held-out margin gained under a tenth of what "
            "the train margin did."
        )
    if clear(run) or (widens and now.accuracy >= HIGH_ACCURACY):
        sentence = f"Learned: train {train}, and the held-out rows follow: {told}."
        return "learned", f"{sentence}{_displaced(start, now)}"
    if run.interval is None:
        return "unproven", f"Not proven: train {train}, {held}; of how many rows is not known."
    return "unproven", (
        f"Not proven: train {train}, {told} does not clear {percent(base_accuracy(run))}: "
        "too few held-out rows, or too little learned."
    )


def _displaced(start: Evaluated, now: Evaluated) -> str:
    """That both sides fall is usual; a model that fell far may write neither of them.

    Source: Razin et al., arXiv:2410.08847.
    """
    if start.logp_chosen is None or now.logp_chosen is None:
        return ""
    times = math.exp(min(start.logp_chosen - now.logp_chosen, 50.0))
    if times < DISPLACED:
        return ""
    return (
        f" But a token of the good answers became {times:.1f} times less likely: what it writes "
        "now may be neither of the two."
    )


def length_artefact(run: Seen) -> tuple[Kind, str] | None:
    """Whether length alone would do as well as what was learned.

    Where the log knows how often the shorter answer is the chosen one, the accuracy must be above
    that of always taking the shorter (or longer) one, with its whole interval. Else, for losses of
    summed log-probabilities: whether most of the margin's gain would be gone at equal lengths.
    Source: R-DPO, arXiv:2403.19159; Singhal et al., arXiv:2310.03716.
    """
    started = run.history.started
    share = started.chosen_shorter if started else None
    if share is not None and 0 <= share <= 1 and run.now is not None and run.tests:
        kind: Kind = "brevity" if share > 0.5 else "verbosity"
        rule = max(share, 1 - share)
        separates = rule >= LENGTH_SHARE and wilson(rule, run.tests)[0] > 0.5
        if not separates or run.interval is None or run.interval[0] > rule:
            return None
        word, learned = ("shorter", "brevity") if kind == "brevity" else ("longer", "verbosity")
        right = f"right on {percent(rule)} of the held-out rows, the model on "
        right += f"{percent(run.now.accuracy)}{interval_words(run)}"
        if (run.now.accuracy or 0.0) > rule:
            return "unproven", (
                f"Not proven: what was learned cannot be told from always taking the {word} "
                f"answer, which is {right}: hold out more rows."
            )
        return kind, (
            f"{learned.capitalize()} artefact: taking the {word} answer is {right}: nothing shows "
            f"that more than {learned} was learned."
        )
    explained, lengths = length_share(run), mean_lengths(run.now)
    if explained is None or lengths is None or run.method in PER_TOKEN or explained < MOST:
        return None
    shorter = lengths[0] < lengths[1]
    word = "Brevity" if shorter else "Verbosity"
    return "brevity" if shorter else "verbosity", (
        f"{word} artefact: chosen answers have {lengths[0]:.0f} tokens, rejected ones "
        f"{lengths[1]:.0f}, and length explains {percent(min(1.0, explained))} of what the summed "
        "log-probability margin gained."
    )


def _sft(run: Seen) -> tuple[Kind, str]:
    loss = ends_of(run.history.steps, lambda step: step.loss)
    if loss.found < ENOUGH:
        return "too-short", _too_short(loss.found)
    train = f"train loss {figure(loss.first)} → {figure(loss.last)} (averages)"
    held = [item.loss for item in run.history.evaluations]
    if len(held) < 2:
        if loss.last < loss.first:
            return "unproven", f"Not proven: {train}, and no held-out rows were measured after it."
        return "not-learned", f"Not learned: {train}."
    told = f"held-out {figure(held[0])} → {figure(held[-1])}"
    if held[-1] > min(held) * MEMORISING and loss.last < loss.first:
        return "memorising", f"Memorising: {train}, but {told}, over its best {figure(min(held))}."
    if loss.last < loss.first and held[-1] < held[0]:
        return "learned", f"Learned: {train}, {told}."
    return "not-learned", f"Not learned: {train}, {told}."
