"""What runs took is kept in the user's cache: a card each, the newest, whole or not at all."""

from __future__ import annotations

import json
import stat
from importlib import metadata
from pathlib import Path

import pytest

from backprop_tui.core.calibration import Calibration, Observation
from backprop_tui.core.facts import Gpu
from backprop_tui.probe.calibration import KEPT, calibration_of, learn, observations

CARD = Gpu(index=0, name="NVIDIA GeForce RTX 4060 Ti")
SEEN = Observation(predicted=1000, reserved=1200, context=300)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "backprop-tui" / "calibration.json"


def test_what_was_learnt_is_found_again(store: Path) -> None:
    assert calibration_of(CARD, "550") == Calibration()
    learn(CARD, "550", SEEN)
    assert observations(CARD, "550") == (SEEN,)
    found = calibration_of(CARD, "550")
    assert (found.runs, found.context) == (1, 300)
    assert 200 <= found.overhead(1000) - 300 <= 202
    assert stat.S_IMODE(store.parent.stat().st_mode) == 0o700


def test_another_card_driver_or_torch_has_its_own(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn(CARD, "550", SEEN)
    assert calibration_of(CARD, "560").runs == 0
    assert calibration_of(CARD).runs == 1  # whatever its driver
    assert calibration_of(Gpu(index=0, name="another"), "550").runs == 0
    monkeypatch.setattr(metadata, "version", lambda _name: "99.0")
    assert calibration_of(CARD, "550").runs == 0
    assert calibration_of(None).runs == 0


def test_the_newest_are_kept(store: Path) -> None:
    for number in range(KEPT + 3):
        learn(CARD, None, Observation(predicted=number + 1, reserved=number + 1))
    kept = observations(CARD)
    assert len(kept) == KEPT
    assert [kept[0].predicted, kept[-1].predicted] == [4, KEPT + 3]


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"a": [{"predicted": 1, "rese',
        "[1]",
        '{"a": 1}',
        '{"a": [{"predicted": 1}]}',
        '{"a": [{"predicted": "1", "reserved": 1, "context": 1}]}',
        '{"a": [{"predicted": 1, "reserved": -1, "context": 1}]}',
        '{"a": [{"predicted": 1, "reserved": null, "context": 1}]}',
        "[" * 100_000,
        "\xff",
    ],
)
def test_a_torn_or_foreign_file_is_set_aside(store: Path, text: str) -> None:
    store.parent.mkdir(parents=True)
    store.write_text(text, encoding="latin-1")
    assert calibration_of(CARD) == Calibration()
    assert store.with_suffix(".json.broken").read_text(encoding="latin-1") == text
    learn(CARD, None, SEEN)
    assert observations(CARD) == (SEEN,)


def test_a_write_that_fails_half_way_leaves_the_file_as_it_was(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn(CARD, None, SEEN)

    def full(_plain: object, file: object, **_options: object) -> None:
        file.write('{"half')  # type: ignore[attr-defined]
        raise OSError("No space left on device")

    monkeypatch.setattr(json, "dump", full)
    learn(CARD, None, SEEN)
    assert observations(CARD) == (SEEN,)
    assert [path.name for path in store.parent.iterdir()] == [store.name]


def test_a_cache_that_cannot_be_written_to_is_let_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    learn(CARD, None, SEEN)
    assert calibration_of(CARD).runs == 0
    assert (tmp_path / "file").read_text() == "no folder"
