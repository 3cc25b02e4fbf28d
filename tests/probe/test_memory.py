"""The child that answers memory questions: asked once, kept, and gone without harm."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from backprop_tui.core.memory import PARTS
from backprop_tui.core.memory_question import MemoryAnswer, MemoryQuestion, as_json, from_json
from backprop_tui.probe import memory
from backprop_tui.probe.memory import MemoryOracle

LLAMA = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 128,
}
ASKED = MemoryQuestion(
    config=json.dumps(LLAMA),
    method="orpo",
    engine="lean",
    precision="bf16",
    lora=(4, ("q_proj", "v_proj")),
    checkpoint_every=0,
    optimizer="adamw",
    rows=((8, 9, 10),),
    max_length=32,
    batch_tokens=None,
    accumulates=False,
    on_card=True,
)
NOTHING = MemoryAnswer()
# Stands in for the real child: each answer names how often it was asked before.
CHILD = """
import json, os, sys, time
for number, line in enumerate(sys.stdin):
    asked = json.loads(line)
    if asked["method"] == "sft":
        os._exit(3)
    if asked["method"] == "kto":
        time.sleep(60)
    if asked["method"] == "dpo":
        print("not json", flush=True)
        continue
    print(json.dumps({"parts": {part: number for part in PARTS}, "at": "loss", "why": ""}),
          flush=True)
"""


@pytest.fixture(autouse=True)
def _child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quick child, and a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "quick_child.py").write_text(f"PARTS = {PARTS[:-1]}\n{CHILD}")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(memory, "CHILD", "quick_child")


def number(answer: MemoryAnswer) -> int:
    """How many questions the child had answered before."""
    assert answer.parts is not None
    return answer.parts["loss"]


def test_a_question_survives_the_pipe() -> None:
    for asked in (ASKED, replace(ASKED, lora=None), replace(ASKED, lora=(4, "all-linear"))):
        assert from_json(as_json(asked)) == asked
        assert hash(from_json(as_json(asked))) == hash(asked)


def test_one_child_answers_all_and_each_question_once() -> None:
    other = replace(ASKED, max_length=64)
    with MemoryOracle() as oracle:
        assert oracle.known(ASKED) is None
        assert [number(oracle.ask(one)) for one in (ASKED, other, ASKED)] == [0, 1, 0]
        assert oracle.known(other) is not None
    with MemoryOracle() as oracle:  # as another process would
        assert number(oracle.known(other) or NOTHING) == 1


def test_another_version_of_a_library_answers_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    with MemoryOracle() as oracle:
        oracle.ask(ASKED)
    monkeypatch.setattr(memory, "_versions", lambda: ("torch 99",))
    with MemoryOracle() as oracle:
        assert oracle.known(ASKED) is None


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"parts": {"weights": 1}}',
        '{"parts": null, "at": "", "why": ""}',
        json.dumps({"parts": dict.fromkeys(PARTS[:-1], -1)}),
    ],
)
def test_what_is_no_answer_is_not_taken_from_the_cache(content: str) -> None:
    path = memory._path(ASKED)
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with MemoryOracle() as oracle:
        assert oracle.known(ASKED) is None
        assert number(oracle.ask(ASKED)) == 0
    assert json.loads(path.read_text())["at"] == "loss"


@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_a_child_that_dies_or_babbles_says_nothing_and_the_next_one_answers(method: str) -> None:
    with MemoryOracle() as oracle:
        assert oracle.ask(replace(ASKED, method=method)) == NOTHING
        assert number(oracle.ask(ASKED)) == 0
        assert oracle.known(replace(ASKED, method=method)) is None  # not kept


def test_a_child_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "PATIENCE", 0.5)
    with MemoryOracle() as oracle:
        assert oracle.ask(replace(ASKED, method="kto")) == NOTHING


def test_closing_frees_who_waits_and_starts_no_other_child() -> None:
    oracle = MemoryOracle()
    found: list[MemoryAnswer] = []
    waiting = threading.Thread(
        target=lambda: found.append(oracle.ask(replace(ASKED, method="kto")))
    )
    waiting.start()
    while oracle._child is None:
        time.sleep(0.01)
    oracle.close()
    waiting.join(timeout=10)
    assert found == [NOTHING]
    assert oracle.ask(ASKED) == NOTHING
    assert oracle._child is not None
    assert oracle._child.poll() is not None


def test_a_cache_that_cannot_be_written_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with MemoryOracle() as oracle:
        assert number(oracle.ask(ASKED)) == 0
        assert number(oracle.ask(ASKED)) == 0  # remembered here


def test_the_oldest_answers_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "KEPT", 2)
    with MemoryOracle() as oracle:
        for length in range(20, 25):
            oracle.ask(replace(ASKED, max_length=length))
    assert len(list(memory._path(ASKED).parent.iterdir())) == 2


def test_the_child_takes_nothing_from_the_folder_that_the_user_is_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = tmp_path / "a model from somewhere"
    bad.mkdir()
    for name in ("json.py", "random.py", "quick_child.py"):
        (bad / name).write_text(f"open({str(tmp_path / 'harm')!r}, 'w')")
    monkeypatch.chdir(bad)
    with MemoryOracle() as oracle:
        assert number(oracle.ask(ASKED)) == 0
    assert not (tmp_path / "harm").exists()


def test_the_real_child_ends_when_nobody_listens_any_more() -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "backprop_tui.train.memory"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert child.stdin is not None
    child.stdin.close()
    assert child.wait(timeout=60) == 0


def test_the_real_child_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(memory, "_keep", lambda *_: None)
    monkeypatch.setattr(memory, "_read", lambda _: None)
    with MemoryOracle() as oracle:
        answer = oracle.ask(ASKED)
        unknown = oracle.ask(replace(ASKED, config="{}"))
    assert answer.parts is not None
    # Embeddings, head, and what three layers of this llama have, in bf16; its angles in float32.
    layer = 2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 96 + 2 * 64
    assert answer.parts["weights"] == (2 * 128 * 64 + 3 * layer + 64) * 2 + 8 * 4 * 2
    assert answer.parts["adapter"] == 3 * 4 * (64 + 64 + 64 + 32) * 4
    assert unknown.parts is None
    assert "does not give num_hidden_layers" in unknown.why
