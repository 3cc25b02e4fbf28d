"""Before anything slow: the card that was judged, with room for CUDA itself; what others hold."""

from __future__ import annotations

import os
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from backprop_tui.core.calibration import Calibration
from backprop_tui.core.effective import TrainRows, effective
from backprop_tui.core.errors import RunError
from backprop_tui.core.facts import Facts, Gpu, GpuFacts, GpuProcess, ModelFacts
from backprop_tui.core.runfile_io import parse
from backprop_tui.probe.survey import Survey
from backprop_tui.train import meter
from backprop_tui.train.card_checks import different, room_for_cuda, same_card
from backprop_tui.train.meter import CardMeter, context, in_words
from backprop_tui.train.model import use_device

GIB, MIB = 2**30, 2**20
CARD = Gpu(
    index=1,
    name="NVIDIA GeForce RTX 4060 Ti",
    uuid="GPU-00000000-aaaa",
    memory_total=16 * GIB,
    memory_used=GIB,
    memory_free=15 * GIB,
)
SAME = SimpleNamespace(name=CARD.name, uuid="00000000-aaaa", total_memory=int(15.6 * GIB))
OTHER = GpuProcess(pid=4242, name="python3", memory=9 * GIB)


def found(card: Gpu | None, device: str = "cuda") -> Survey:
    run = parse({"machine": {"device": device, "card": 1}})
    facts = Facts(gpu=GpuFacts(cards=(card,) if card else ()), card=1)
    rows = TrainRows(10, 0)
    return Survey(facts, [], [], rows, effective(run, facts, rows), ())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ""),
        ({"uuid": "00000000-bbbb"}, "RTX 4060 Ti, 00000000-bbbb instead of 00000000-aaaa"),
        ({"uuid": None, "name": "NVIDIA GeForce RTX 2080 Ti"}, "NVIDIA GeForce RTX 2080 Ti"),
        ({"uuid": None, "total_memory": 11 * GIB}, "one with 11.0 GB instead of 16.0 GB"),
        ({"uuid": None}, ""),
        ({"name": f"{CARD.name} MIG 1g.5gb", "uuid": "else", "total_memory": 5 * GIB}, ""),
    ],
)
def test_the_driver_and_torch_mean_the_same_card(changes: dict[str, Any], words: str) -> None:
    theirs = SimpleNamespace(**{**vars(SAME), **changes})
    said = different(CARD, theirs)
    assert said.endswith(words) if words else said == ""


def test_a_run_on_another_card_than_judged_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    theirs = SimpleNamespace(name="NVIDIA GeForce RTX 2080 Ti", uuid="b", total_memory=11 * GIB)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _index: theirs)
    same_card(found(CARD, "cpu"))
    same_card(found(None))
    with pytest.raises(RunError) as refused:
        same_card(found(CARD))
    assert refused.value.code == "RUN_CARD_DIFFERS"
    assert "Card 1 is NVIDIA GeForce RTX 4060 Ti" in refused.value.message
    assert "NVIDIA GeForce RTX 2080 Ti" in refused.value.message
    assert "CUDA_DEVICE_ORDER=PCI_BUS_ID" in refused.value.hint
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _index: SAME)
    same_card(found(CARD))


def test_a_card_with_less_free_than_cuda_takes_is_refused_and_says_who_has_it() -> None:
    full = replace(CARD, memory_free=599 * MIB, processes=(OTHER,))
    with pytest.raises(RunError) as refused:
        room_for_cuda(found(full))
    assert refused.value.code == "RUN_DOES_NOT_FIT"
    assert refused.value.message == (
        "NVIDIA GeForce RTX 4060 Ti has 599 MB of its 16.0 GB free, and CUDA alone takes about "
        "600 MB in a process: python3 (pid 4242) holds 9.0 GB."
    )
    room_for_cuda(found(full, "cpu"))
    room_for_cuda(found(replace(CARD, memory_free=600 * MIB)))
    room_for_cuda(found(replace(CARD, memory_free=None)))


MINE = GpuProcess(pid=os.getpid(), name="python3", memory=3 * GIB)


@pytest.mark.parametrize(
    ("listed", "used", "before", "bytes_"),
    [
        ((MINE, OTHER), 13 * GIB, 10 * GIB, GIB),
        ((OTHER,), 13 * GIB, 10 * GIB, GIB),  # a container's pids are not the driver's
        (None, 13 * GIB, 10 * GIB, GIB),
        ((replace(MINE, memory=None),), 13 * GIB, 10 * GIB, GIB),
        (None, 13 * GIB, None, None),
        (None, 20 * GIB, 10 * GIB, None),  # more than any CUDA takes: another process grew
        (None, 10 * GIB, 10 * GIB, None),
    ],
)
def test_the_context_is_what_the_allocator_did_not_reserve(
    listed: Any, used: int, before: int | None, bytes_: int | None
) -> None:
    assert context(listed, used, 2 * GIB, before) == bytes_


def test_the_others_that_hold_most_are_named_and_we_are_not() -> None:
    small = GpuProcess(pid=7, name=None, memory=2 * GIB)
    tiny = GpuProcess(pid=8, name="Xorg", memory=MIB)
    unknown = GpuProcess(pid=9, name="hidden", memory=None)
    assert in_words((OTHER, MINE, small, tiny, unknown)) == (
        "python3 (pid 4242) holds 9.0 GB and a process (pid 7) holds 2.0 GB"
    )
    assert in_words((MINE,)) == ""
    assert in_words(None) == ""


def test_a_card_is_measured_as_the_whole_process(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def on_card(**figures: int) -> None:
        for name, value in figures.items():
            monkeypatch.setattr(torch.cuda, name, lambda value=value: value)

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (4 * GIB, 16 * GIB))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: None)
    on_card(memory_reserved=2 * GIB, max_memory_reserved=6 * GIB)
    monkeypatch.setattr(meter, "processes_of", lambda _card: (OTHER, MINE))
    one = CardMeter(CARD, Calibration())
    room = one.room()
    # 12 used: 9 by the other, 3 by us, one of which the allocator does not know.
    assert (room.free, room.held) == (7 * GIB, 9 * GIB)
    assert room.others == "python3 (pid 4242) holds 9.0 GB"
    with one.watching(None):
        pass
    assert (one.peak, one.reserved, one.context) == (7 * GIB, 6 * GIB, GIB)

    monkeypatch.setattr(meter, "processes_of", lambda _card: (OTHER,))
    assert one.room().others == ""  # it may be this very process, seen from outside a container

    monkeypatch.setattr(meter, "processes_of", lambda _card: None)
    blind = CardMeter(replace(CARD, memory_used=None), Calibration(context=500 * MIB))
    assert blind.room().free == 6 * GIB + 500 * MIB
    with blind.watching(None):
        pass
    assert (blind.peak, blind.context) == (6 * GIB + 500 * MIB, None)


def test_the_chosen_card_is_counted_as_the_driver_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: None)
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "of the user")
    judged = found(CARD)
    use_device(parse({"machine": {"card": 1}}), judged.plan, ModelFacts(name="m", source="folder"))
    assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"
    assert os.environ["PYTORCH_CUDA_ALLOC_CONF"] == "of the user"  # it stands
