"""Which figures stand on the monitor: of every method, wide and small, with a card and without."""

from __future__ import annotations

import dataclasses

import pytest

from backprop_tui.core.events import Evaluated, GpuSampled, Probed, Step
from backprop_tui.core.methods import MethodName
from backprop_tui.tui.panels.memory_live import card_bar
from tests.tui import histories
from tests.tui.histories import GB
from tests.tui.test_monitor import BOTH, WIDE, reads, shows, text_of, until, watching


@BOTH
@pytest.mark.parametrize("method", ["simpo", "orpo"])
async def test_half_way_every_panel_says_its_latest_figures(
    size: tuple[int, int], method: MethodName
) -> None:
    events = list(histories.training(method, upto=120))
    last = next(event for event in reversed(events) if isinstance(event, Step))
    async with watching(events, method=method, size=size) as (app, _):
        shows(
            app,
            f"{method} · pocket",
            "step 120 of 240",
            "50 %",
            "0:36 left",
            "tokens/s",
            "Reward margin: chosen − rejected",
            f"train {last.margin:+.2f}",
            "● held-out +0.56",
            f"train {last.loss:.2f}",
            "● held-out 83 %",
            "1.3 GB",
            "no card: training on the CPU",
            "checkpoint-120",
        )
        reads(app, "The margin widens and the held-out rows follow: margin +")
        if size == WIDE:
            shows(app, f"chosen {last.reward_chosen:+.2f}", f"rejected {last.reward_rejected:+.2f}")


@BOTH
async def test_a_card_shows_its_memory_and_its_load(size: tuple[int, int]) -> None:
    async with watching(histories.training(upto=20, cuda=True), size=size, cuda=True) as (app, _):
        shows(app, "11.2 GB of 16.0 GB", "10.1 GB", "64 °C", "145 W")
        assert "no card" not in text_of(app)
        if size == WIDE:
            shows(
                app,
                "allocated 8.6 GB",
                "reserved 9.8 GB",
                "expected 10.4 GB",
                "others 1.1 GB",
                "whole card",
                "70 %",
                "Graphics card",
            )


@BOTH
async def test_sft_has_no_rewards_and_no_empty_panels(size: tuple[int, int]) -> None:
    async with watching(histories.training("sft", upto=120), method="sft", size=size) as (app, _):
        text = text_of(app)
        assert "eward" not in text
        assert "argin" not in text
        assert "ccuracy" not in text
        assert "after the first step" not in text
        shows(app, "Loss", "● held-out 1.56")
        reads(app, "Learning, and the held-out rows follow")
        if size == WIDE:
            shows(app, "Gradient norm")


@BOTH
async def test_kto_shows_how_often_good_ranks_above_bad(size: tuple[int, int]) -> None:
    events = list(histories.training("kto", upto=120))
    last = next(event for event in reversed(events) if isinstance(event, Step))
    assert last.kl is not None
    async with watching(events, method="kto", size=size) as (app, _):
        shows(app, "Good ranked above bad, %", "● held-out 83 %", "● held-out +0.56")
        assert "of pairs" not in text_of(app)
        if size == WIDE:
            shows(app, f"KL term of kto, never below 0 {last.kl:.2f}")


@BOTH
async def test_kto_shows_the_distance_where_there_is_no_accuracy(size: tuple[int, int]) -> None:
    events = [
        dataclasses.replace(event, accuracy=None) if isinstance(event, Step | Evaluated) else event
        for event in histories.training("kto", upto=120)
    ]
    async with watching(events, method="kto", size=size) as (app, _):
        shows(app, "KL term of kto, never below 0", "● held-out +0.56")
        assert "ranked" not in text_of(app)


async def test_log_probs_per_token_stand_under_the_rewards() -> None:
    events = list(histories.training(upto=120))
    last = next(event for event in reversed(events) if isinstance(event, Step))
    words = f"log-prob/token ━━ {last.logp_chosen:+.2f}  ╍╍ {last.logp_rejected:+.2f}"
    one_side = dataclasses.replace(last, step=121, logp_chosen=None, logp_rejected=-3.5)
    async with watching(events) as (app, pilot):
        shows(app, words)
        app.post([one_side])
        await until(pilot, lambda: "╍╍ -3.50" in text_of(app), "the newer side")
        shows(app, f"log-prob/token ━━ {last.logp_chosen:+.2f}  ╍╍ -3.50")


@pytest.mark.parametrize(
    ("width", "shown", "hidden"),
    [
        (80, "tokens/s", "pairs/s"),
        (100, "13.3 pairs/s", "of peak"),
        (120, "tokens/s · 13.3 pairs/s · 41 % of peak", "answers/s"),
    ],
)
async def test_the_header_tells_the_speeds_that_leave_the_bar_its_room(
    width: int, shown: str, hidden: str
) -> None:
    events = histories.training(upto=120, cuda=True)
    async with watching(events, size=(width, 36), cuda=True) as (app, _):
        header = text_of(app).splitlines()[1]
        assert shown in header
        assert hidden not in header
        assert header.count("━") + header.count("─") >= 24


async def test_the_share_of_the_peak_stands_with_the_card_where_it_is_known() -> None:
    events = list(histories.training(upto=20, cuda=True))
    unknown = [
        dataclasses.replace(event, mfu=None) if isinstance(event, Step) else event
        for event in events
    ]
    async with watching(events, cuda=True) as (app, _):
        shows(app, "of its peak    41 %")
    async with watching(unknown, cuda=True) as (app, _):
        shows(app, "power")
        assert "peak" not in text_of(app).replace("peak 10.1 GB", "")


async def test_nothing_held_out_leaves_no_empty_legend() -> None:
    started = dataclasses.replace(histories.started(), heldout_rows=0)
    steps = [event for event in histories.training(upto=30) if isinstance(event, Step)]
    async with watching([started, *steps]) as (app, _):
        shows(app, "none held out")
        reads(app, "Nothing is held out.")
        assert "● held-out" not in text_of(app)


def tight(event: GpuSampled, left: int) -> GpuSampled:
    """The same card with so many bytes left."""
    assert event.memory_total is not None
    return dataclasses.replace(event, memory_used=event.memory_total - left)


@BOTH
async def test_a_card_that_is_nearly_full_is_warned_about(size: tuple[int, int]) -> None:
    card = histories.gpu(20)
    events = list(histories.training(upto=20, cuda=True))
    async with watching([*events, tight(card, GB)], size=size, cuda=True) as (app, pilot):
        assert "tight" not in text_of(app)  # 6 % are left
        app.post([tight(card, GB // 2)])
        await until(pilot, lambda: "tight: 512 MB left" in text_of(app), "the warning")


def test_the_bar_of_the_card_tells_others_from_the_run_and_marks_the_estimate() -> None:
    card = GpuSampled(t=0, memory_used=10 * GB, memory_total=16 * GB, others=4 * GB)
    line = "".join(run.text for run in card_bar(card, 8 * GB, 32 + len(" 62 %")))
    assert line == "╍" * 8 + "━" * 12 + "─" * 4 + "┃" + "─" * 7 + " 62 %"
    beyond = "".join(run.text for run in card_bar(card, 20 * GB, 32 + len(" 62 %")))
    assert beyond.endswith("─┃ 62 %")  # an estimate above the card stands at its end


async def test_without_a_trial_and_without_others_neither_is_shown() -> None:
    events = [
        dataclasses.replace(event, others=None) if isinstance(event, GpuSampled) else event
        for event in histories.training(upto=20, cuda=True)
        if not isinstance(event, Probed)
    ]
    async with watching(events, cuda=True) as (app, _):
        shows(app, "whole card     11.2 GB of 16.0 GB")
        assert "expected" not in text_of(app)
        assert "others" not in text_of(app)
