"""The counter of live storages: what it counts, and by part and moment."""

from __future__ import annotations

import torch

from backprop_tui.train.memory.peak import PeakBytes

KB = 256  # float32 numbers


def test_the_peak_is_of_what_lives_at_once() -> None:
    with PeakBytes() as memory:
        one = torch.ones(KB)
        del one
        two = torch.ones(2 * KB)
        view = two[:5]
        three = two + 1
    assert (memory.peak, memory.now) == (4096, 4096)
    del two, three
    assert memory.now == 2048  # the view still has the storage
    del view
    assert memory.now == 0


def test_what_was_there_before_is_counted_when_it_is_held() -> None:
    there = torch.ones(KB)
    with PeakBytes() as memory:
        made = there * 2
    assert memory.peak == 1024
    with PeakBytes() as memory:
        memory.hold(there, there[1:], part="weights")
        made = there * 2
    assert memory.peak == 2048
    assert memory.peaks["all"].parts == {"weights": 1024, "all": 1024}
    del made


def test_parts_and_moments_are_apart() -> None:
    with PeakBytes() as memory:
        memory.part, memory.moment = "a", "first"
        a = torch.ones(KB)
        memory.part, memory.moment = "b", "second"
        b = torch.ones(KB)
        memory.move(a, "c")
        c = b.clone()
    assert memory.peaks["first"].parts == {"a": 1024}
    assert memory.peaks["second"].parts == {"c": 1024, "b": 2048}
    assert memory.peaks["second"].total == memory.peak == 3072
    assert memory.at == memory.peaks["second"].at == "aten.clone.default"
    del c
