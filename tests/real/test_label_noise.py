"""Clean labels against turned ones: what `benchmarks/labelflip.py` reports hangs together."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.labelflip import DATA, METRICS, compared, words

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the shared data is not here")


def test_the_difference_is_reported_with_its_interval(tmp_path: Path) -> None:
    """A few rows and steps: nothing is learned, but every figure is there and fits the others."""
    found = compared(tmp_path, steps=2, rate=1e-3, rows=16)
    assert tuple(one.name for one in found) == METRICS
    for one in found:
        assert one.difference == pytest.approx(one.clean - one.flipped, abs=1e-9)
        assert one.low <= one.difference <= one.high
        assert one.n == 16
    margin = found[METRICS.index("margin")]
    assert margin.clean != margin.base
    assert margin.clean != margin.flipped
    assert margin.low < margin.high
    assert "points of accuracy per token on 16 pairs" in words(found[0])
    flipped = (tmp_path / "ultrafeedback_str_labelflip30" / "run.toml").read_text()
    assert "labelflip30" in flipped
