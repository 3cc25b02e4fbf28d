"""The lean engine computes what TRL's trainers compute, where those are right."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.train.engine.parity import COMPARED, difference, rows_of, small_model, trained


@pytest.mark.parametrize("method", COMPARED)
def test_same_loss_rewards_gradients_and_adapter_as_trl(method: str, tmp_path: Path) -> None:
    """20 steps in float32 on the same batches, kto with the same mismatched answers. The measures
    are described in parity.py, and the table they make in docs/engine.md."""
    lean, trl = (
        trained(method, engine, tmp_path, 20, rows_of(method), small_model())
        for engine in ("lean", "trl")
    )
    assert len(lean.logs) == len(trl.logs) == 20
    # Every adapted layer of the model, and nothing that does not move.
    assert len(lean.gradients) == 2 * 2 * 7
    assert all(gradient.norm() > 0 for gradient in lean.gradients.values())
    off = difference(lean, trl)
    assert off.loss < 1e-5
    assert off.rewards < 1e-5
    assert off.gradient < 1e-5
    assert off.adapter < 1e-4
