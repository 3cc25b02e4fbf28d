"""Prompts to try: those a run was not trained on, or a file's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backprop_tui.core import runfile_io
from backprop_tui.core.errors import InputError
from backprop_tui.core.rows import Message
from backprop_tui.core.runfile import ProvenanceSection
from backprop_tui.probe.prompts import heldout_prompts, read_prompts
from backprop_tui.probe.survey import survey
from tests.cli.test_commands import pairs
from tests.conftest import pocket_run

ASKED = (Message("user", "Why?"),)


@pytest.mark.parametrize("method", ["simpo", "sft", "kto"])
def test_the_held_out_prompts_are_those_of_the_training(tmp_path: Path, method: str) -> None:
    run = pocket_run(method, tmp_path / "out", {"data.path": str(pairs(tmp_path / "d.jsonl"))})
    run = runfile_io.change(run, {"data.heldout": 0.25})
    found = heldout_prompts(run)
    heldout = survey(run, to_train=True).heldout
    assert len(found) == len(set(found)) == 10
    asked = {row.messages[:1] if method == "sft" else row.prompt for row in heldout}  # type: ignore[union-attr]
    assert set(found) == asked


def test_changed_data_and_none_held_out_are_refused(tmp_path: Path) -> None:
    run = pocket_run("simpo", tmp_path / "out", {"data.path": str(pairs(tmp_path / "d.jsonl"))})
    changed = run.model_copy(update={"provenance": ProvenanceSection(data_sha256="0" * 64)})
    for one, words in (
        (changed, "is not the data this run was trained on"),
        (runfile_io.change(run, {"data.heldout": 0.0}), "holds no rows out"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            heldout_prompts(one)
        assert caught.value.code == "TRY_PROMPTS_UNUSABLE"


def test_a_text_file_has_a_prompt_a_line(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    path.write_text("Why?\n\n  What for? \n")
    assert read_prompts(path) == [ASKED, (Message("user", "What for?"),)]


def test_jsonl_has_texts_prompts_and_turns(tmp_path: Path) -> None:
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": "Because."},
    ]
    lines = ["Why?", {"prompt": "Why?"}, {"prompt": turns[1:2]}, {"messages": turns}]
    path = tmp_path / "p.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    system = Message("system", "Be brief.")
    assert read_prompts(path) == [ASKED, ASKED, ASKED, (system, *ASKED)]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("p.jsonl", '"Why?"\n{"question": "x"}', "line 2 of"),
        ("p.jsonl", '{"prompt": 5}', "line 1 of"),
        ("p.jsonl", '{"prompt": [{"role": "assistant", "content": "x"}]}', "line 1 of"),
        ("p.jsonl", '{"prompt": [{"role": "user", "content": 5}]}', "line 1 of"),
        ("p.jsonl", '" "', "line 1 of"),
        ("p.txt", "\n \n", "no prompt in it"),
    ],
)
def test_a_file_without_prompts_is_refused(
    tmp_path: Path, name: str, text: str, words: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        read_prompts(path)
    assert caught.value.code == "TRY_PROMPTS_UNUSABLE"


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xff")
    for path in (tmp_path, tmp_path / "absent.txt", tmp_path / "bytes.txt", Path("/dev/zero")):
        with pytest.raises(InputError, match="cannot be read"):
            read_prompts(path)
