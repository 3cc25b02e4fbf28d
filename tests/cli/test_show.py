"""`data --show`: a person who never saw a mask can say from it what is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from backprop_tui.cli.show import show, spread
from backprop_tui.core.errors import InputError
from backprop_tui.core.rows import Chat, Message
from backprop_tui.probe.data import DataSource, Loaded, load

PAIR = {"prompt": "Is it wet?", "chosen": "Yes, very.", "rejected": "Yes, not."}
LONG = {"prompt": "The rain falls. " * 30 + "Wet?", "chosen": "Yes.", "rejected": "No."}


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "100")


def rows(folder: Path, *records: dict[str, Any]) -> Loaded:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return load(DataSource(path=str(path)))


def shown(capsys: pytest.CaptureFixture[str], loaded: Loaded, **options: Any) -> str:
    show(loaded, "pocket", **{"numbers": 1, **options})
    return capsys.readouterr().out


def test_without_colour_every_line_says_what_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shown(capsys, rows(tmp_path, PAIR))
    assert "\x1b" not in out
    lines = out.splitlines()
    assert "chosen    ▶| the model is trained to write it" in lines
    assert "prompt     | the model reads it and learns nothing from it" in lines
    assert "prompt     | Is it wet?‹<|im_end|>›⏎" in lines
    assert "chosen    ▶| Yes, very.‹<|im_end|>›" in lines
    assert "rejected  ▶| Yes, not.‹<|im_end|>›" in lines
    assert "1 trained EOS" in out
    assert "first 2 trained the same in both" in out
    assert f"prompt     | the same {out.split(' prompt,')[0].split()[-1]} tokens" in lines
    assert "Nothing odd" in out


def test_cut_tokens_are_counted_where_they_stood(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shown(capsys, rows(tmp_path, LONG), max_length=40)
    assert "cut off at max_length (40 tokens): never seen" in out
    assert "row 1  prompt cut to fit" in out
    line = next(line for line in out.splitlines() if "[cut:" in line)
    assert line.startswith("cut       ✂| [cut: ")
    assert "1 prompt cut to fit" in out


def test_colour_says_it_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    out = shown(capsys, rows(tmp_path, LONG), max_length=40)
    assert "\x1b[1;32mYes." in out  # trained: bold green
    assert "\x1b[1;7;32m<|im_end|>" in out  # special: reversed
    assert "\x1b[9;31m" in out  # cut: struck red
    assert "\x1b[2m" in out  # prompt: dim
    monkeypatch.setenv("NO_COLOR", "1")
    out = shown(capsys, rows(tmp_path, LONG), max_length=40)
    assert "32m" not in out
    assert "‹<|im_end|>›" in out


def test_json_has_every_token_and_the_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = json.loads(shown(capsys, rows(tmp_path, PAIR, LONG), numbers=2, as_json=True))
    assert [row["number"] for row in found["rows"]] == [1, 2]
    chosen = found["rows"][0]["sides"][0]
    assert "".join(t["text"] for t in chosen["tokens"] if t["kind"] == "trained") == (
        "Yes, very.<|im_end|>"
    )
    assert chosen["length"] == chosen["prompt"] + chosen["trained"] == len(chosen["tokens"])
    assert chosen["shared"] == 2
    assert found["report"]["rows"] == 2


def test_rows_can_be_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loaded = rows(tmp_path, PAIR, LONG, {**PAIR, "prompt": "Third?"})
    out = shown(capsys, loaded, numbers=(3,))
    assert "Third?" in out
    assert "Is it wet?" not in out
    with pytest.raises(InputError, match="row 4"):
        show(loaded, "pocket", numbers=(1, 4))


@pytest.mark.parametrize(
    ("method", "line"),
    [
        ("sft", "chat      ▶| Yes, very.‹<|im_end|>›"),
        ("kto", "completion▶| Yes, very.‹<|im_end|>›"),
        ("orpo", "chosen    ▶| Yes, very.‹<|im_end|>›"),
    ],
)
def test_pairs_are_shown_as_the_method_reads_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], method: str, line: str
) -> None:
    assert line in shown(capsys, rows(tmp_path, PAIR), method=method).splitlines()


def test_findings_say_where_and_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    marked = {**PAIR, "prompt": "<s>[INST] Wet? [/INST]"}
    out = shown(capsys, rows(tmp_path, PAIR, marked))
    assert "1 of 2 rows: chat markup in the words (Llama 2 / Mistral)" in out
    assert "(row 2)" in out
    assert "[mask-foreign-markup]" in out
    assert "Take the markup out of the file" in out


def test_dropped_row_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = shown(capsys, rows(tmp_path, {**PAIR, "chosen": "Yes. " * 200}), max_length=40)
    assert "row 1  will not be trained: answer longer than max_length" in out
    assert "Nothing odd" not in out


def test_nothing_to_show_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No row"):
        show(rows(tmp_path, {"a": 1}), "pocket", numbers=1)


def test_rows_are_the_first_and_others_from_everywhere() -> None:
    chats = [Chat(i, (Message("user", "a"),)) for i in range(100)]
    drawn = [row.number for row in spread(chats, 5, seed=0)]
    assert drawn[0] == 0
    assert len(set(drawn)) == 5
    assert drawn == sorted(drawn) == [row.number for row in spread(chats, 5, seed=0)]
    assert drawn[-1] > 10
    assert len(spread(chats, 500, seed=0)) == 100
    assert spread(chats, 0, seed=0) == []


def test_what_a_row_says_cannot_steer_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = "a\x1b[2J\x1b]0;t\x07\x9b31m\u202e\r\x00 [bold]b[/bold] [/]"
    loaded = rows(tmp_path, {"prompt": evil, "chosen": "Yes.", "rejected": evil})
    out = shown(capsys, loaded)
    assert all(character.isprintable() or character == "\n" for character in out)
    assert "[bold]b[/bold] [/]" in out
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[2J" not in shown(capsys, loaded)
