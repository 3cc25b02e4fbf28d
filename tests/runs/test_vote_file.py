"""votes.jsonl survives what happens to files; votes become pairs that `data` reads."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from backprop_tui.core.errors import InputError
from backprop_tui.core.votes import preferences
from backprop_tui.probe.data import DataSource, describe, load
from backprop_tui.runs.vote_file import NAME, add_vote, read_votes, write_preferences
from tests.core.test_votes import VOTE, votes

OTHER = replace(VOTE, choice="B")


def test_a_vote_is_there_at_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    assert read_votes(tmp_path) == ([], 0)
    add_vote(tmp_path, VOTE)
    add_vote(tmp_path, OTHER)
    assert read_votes(tmp_path) == ([VOTE, OTHER], 0)
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o600


def test_a_torn_line_costs_that_vote_alone(tmp_path: Path) -> None:
    add_vote(tmp_path, VOTE)
    path = tmp_path / NAME
    text = path.read_text()
    path.write_text(text + text[:40])  # the machine went down here
    add_vote(tmp_path, OTHER)
    assert read_votes(tmp_path) == ([VOTE, OTHER], 1)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"\xff\xfe\x00\n")
    assert read_votes(tmp_path) == ([], 1)
    (tmp_path / NAME).unlink()
    (tmp_path / NAME).mkdir()
    with pytest.raises(InputError) as caught:
        read_votes(tmp_path)
    assert caught.value.code == "RUN_UNREADABLE"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        add_vote(tmp_path, VOTE)
    assert not (tmp_path / "elsewhere").exists()


def test_a_vote_that_was_not_written_whole_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:10]))
    with pytest.raises(OSError, match="No space left"):
        add_vote(tmp_path, VOTE)


@pytest.mark.parametrize("system", [False, True])
def test_votes_come_back_as_pairs(tmp_path: Path, system: bool) -> None:
    from backprop_tui.core.rows import Message, Pair, text_of

    cast = [
        replace(
            one,
            prompt=(
                *([Message("system", "Be brief.")] if system and i % 2 else []),
                Message("user", f"What is {i}?"),
            ),
            tuned=f"{i} is a number, ★",
            base=f"{i}, so what?\nGo away.",
        )
        for i, one in enumerate(votes(5, 3, a=4, ties=2, bad=1))
    ]
    out = tmp_path / "pairs.jsonl"
    write_preferences(preferences(cast), out)
    loaded = load(DataSource(path=str(out)))
    assert (loaded.shape, loaded.kept, loaded.dropped) == ("paired", 8, {})
    assert describe(loaded).shape == "paired"
    for row, vote in zip(loaded.rows, cast, strict=False):
        assert isinstance(row, Pair)
        assert text_of(row.prompt) == text_of(vote.prompt)
        better, worse = (vote.tuned, vote.base)[:: 1 if vote.preferred == "tuned" else -1]
        assert (text_of(row.chosen), text_of(row.rejected)) == (better, worse)
        assert row.prompt == vote.prompt


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "pairs.jsonl"
    out.write_text("mine")
    for path, code in (
        (out, "OUTPUT_EXISTS"),
        (tmp_path / "absent" / "pairs.jsonl", "WRITE_REFUSED"),
    ):
        with pytest.raises(InputError) as caught:
            write_preferences(preferences([VOTE]), path)
        assert caught.value.code == code
    assert out.read_text() == "mine"


def test_votes_without_a_side_make_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="1 tie") as caught:
        write_preferences(preferences([replace(VOTE, choice="tie")]), tmp_path / "x.jsonl")
    assert caught.value.code == "VOTES_NONE"
    assert not (tmp_path / "x.jsonl").exists()


def test_a_vote_has_all_that_decided_it(tmp_path: Path) -> None:
    add_vote(tmp_path, VOTE)
    plain = json.loads((tmp_path / NAME).read_text())
    assert set(plain) >= {"prompt", "base", "tuned", "a", "choice", "preferred", "temperature"}
    assert plain["weights_sha256"] == "ab"
