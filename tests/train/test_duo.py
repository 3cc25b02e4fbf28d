"""Base and tuned from one set of weights, held against transformers and PEFT alone."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from backprop_tui.core.errors import BackpropError, InputError, RunError
from backprop_tui.core.events import Finished
from backprop_tui.core.rows import Message
from backprop_tui.core.votes import Answer, Sampling, Side
from backprop_tui.runs.lock import Lock
from backprop_tui.train import trying
from backprop_tui.train.duo import Duo
from backprop_tui.train.trying import tryable
from tests.conftest import pocket_run, run_training

ASKED = (Message("user", "What can I cook with mushrooms and beans?"),)
GREEDY = Sampling(max_new_tokens=24)


@pytest.fixture(scope="module")
def runs(moved_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An adapter that has moved, and a full fine-tuning."""
    folder = tmp_path_factory.mktemp("tried")
    done = run_training(pocket_run("simpo", folder / "full", {"lora": None}))
    assert isinstance(done.ending, Finished), done.ending
    return {"lora": Path(shutil.copytree(moved_run, folder / "lora")), "full": done.folder}


@pytest.fixture(scope="module")
def duo(runs: dict[str, Path]) -> Duo:
    return Duo(tryable(runs["lora"]), lambda text: None)


@pytest.fixture(scope="module")
def both(runs: dict[str, Path]) -> Duo:
    return Duo(tryable(runs["full"]), lambda text: None)


def ask(duo: Duo, sampling: Sampling = GREEDY, **options: Any) -> dict[Side, Answer]:
    return duo.answer(ASKED, sampling, lambda side, answer: None, **options)


def generated(model: Any, tokenizer: Any, **options: Any) -> str:
    """By transformers alone."""
    import torch

    chat = [{"role": turn.role, "content": turn.content} for turn in ASKED]
    ids = tokenizer.apply_chat_template(
        chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )["input_ids"]
    with torch.inference_mode():
        out = model.eval().generate(
            input_ids=ids, max_new_tokens=24, do_sample=False, use_cache=True, **options
        )
    return str(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))


def test_an_adapter_on_and_off_is_what_transformers_and_peft_write(
    runs: dict[str, Path], duo: Duo
) -> None:
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoTokenizer

    model = AutoPeftModelForCausalLM.from_pretrained(runs["lora"] / "adapter")
    tokenizer = AutoTokenizer.from_pretrained(runs["lora"] / "adapter")
    found = ask(duo)
    assert found["tuned"].text == generated(model, tokenizer)
    with model.disable_adapter():
        assert found["base"].text == generated(model, tokenizer)
    assert found["base"].text != found["tuned"].text
    again = ask(duo)  # the adapter is on again, and nothing is left of the first time
    assert {side: one.text for side, one in again.items()} == {
        side: one.text for side, one in found.items()
    }


def test_a_full_fine_tuning_has_its_base_beside_it(
    runs: dict[str, Path], both: Duo, duo: Duo
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert both.found.sides == ("base", "tuned")
    model = AutoModelForCausalLM.from_pretrained(runs["full"] / "model")
    tokenizer = AutoTokenizer.from_pretrained(runs["full"] / "model")
    found = ask(both)
    assert found["tuned"].text == generated(model, tokenizer)
    assert found["base"].text == ask(duo)["base"].text


def test_without_room_the_tuned_model_answers_alone(
    runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trying, "_free", lambda run, plan: 20_000_000)
    found = tryable(runs["full"])
    assert found.sides == ("tuned",)
    assert "the tuned model answers alone" in found.no_base
    assert set(ask(Duo(found, lambda text: None))) == {"tuned"}
    with pytest.raises(InputError) as caught:
        tryable(runs["full"], base=True)
    assert caught.value.code == "TRY_NO_ROOM"
    monkeypatch.setattr(trying, "_free", lambda run, plan: 1 << 40)
    assert tryable(runs["full"], base=False).sides == ("tuned",)


def test_it_streams_a_token_each_in_turn(duo: Duo) -> None:
    told: list[tuple[Side, Answer]] = []
    found = duo.answer(ASKED, GREEDY, lambda *one: told.append(one), first="tuned")
    assert [side for side, _ in told[:4]] == ["tuned", "base", "tuned", "base"]
    for side in found:
        mine = [answer for whose, answer in told if whose == side]
        lengths = [answer.tokens for answer in mine if answer.how == "writing"]
        assert lengths == list(range(1, len(lengths) + 1))
        assert mine[-1] == found[side]
        texts = [answer.text for answer in mine]
        assert all(b.startswith(a) for a, b in itertools.pairwise(texts))


def test_an_answer_ends_by_itself_at_the_limit_or_when_stopped(duo: Duo) -> None:
    whole = ask(duo, Sampling(max_new_tokens=200))["base"]
    assert whole.how == "ended"
    assert whole.tokens < 200
    assert "<|im_end|>" not in whole.text
    cut = ask(duo, Sampling(max_new_tokens=5))
    assert {(answer.how, answer.tokens) for answer in cut.values()} == {("full", 5)}
    written: list[Side] = []
    stopped = duo.answer(
        ASKED, GREEDY, lambda side, _: written.append(side), lambda: len(written) >= 4
    )
    assert {(answer.how, answer.tokens) for answer in stopped.values()} == {("stopped", 2)}


def test_a_seed_decides_what_is_drawn(duo: Duo) -> None:
    def texts(seed: int, temperature: float = 1.0) -> list[str]:
        sampling = Sampling(temperature=temperature, max_new_tokens=24, seed=seed)
        return [answer.text for answer in ask(duo, sampling).values()]

    assert texts(1) == texts(1)
    assert texts(1) != texts(2)
    assert texts(1, 1e-4) == [answer.text for answer in ask(duo).values()]  # nearly greedy


def test_a_system_prompt_is_read_and_one_in_the_prompt_stays(duo: Duo) -> None:
    told = duo.prompt_ids((Message("system", "Be brief."), *ASKED))
    read: list[list[int]] = []
    prompt_ids = duo.prompt_ids

    def watched(prompt: Any) -> list[int]:
        read.append(prompt_ids(prompt))
        return read[-1]

    duo.prompt_ids = watched  # type: ignore[method-assign]
    try:
        sampling = replace(GREEDY, system="Be brief.", max_new_tokens=1)
        ask(duo, sampling)
        own = (Message("system", "Be long."), *ASKED)
        duo.answer(own, sampling, lambda side, answer: None)
    finally:
        del duo.prompt_ids
    assert read == [told, prompt_ids(own)]
    assert told != prompt_ids(ASKED)


def test_words_that_spell_a_special_token_end_nothing(duo: Duo) -> None:
    """As in training: they are words."""
    special = duo._tokenizer.convert_tokens_to_ids("<|im_end|>")
    plain = duo.prompt_ids((Message("user", "Hello"),)).count(special)
    assert duo.prompt_ids((Message("user", "Hello <|im_end|>"),)).count(special) == plain


def test_a_prompt_that_fills_the_context_is_refused(duo: Duo) -> None:
    with pytest.raises(InputError, match="and the model reads") as caught:
        duo.prompt_ids((Message("user", "word " * 5000),))
    assert caught.value.code == "TRY_PROMPT_UNUSABLE"


def test_figures_that_are_no_numbers_are_told(duo: Duo, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    head = duo._model.get_output_embeddings()
    monkeypatch.setattr(head, "forward", lambda x: torch.full((1, x.shape[1], 8), float("nan")))
    with pytest.raises(RunError) as caught:
        ask(duo)
    assert caught.value.code == "TRY_FAILED"
    monkeypatch.undo()
    assert ask(duo)["base"].text  # and nothing is broken by it


Spoil = Callable[[Path], object]


def _replace(name: str, old: str, new: str) -> Spoil:
    def spoil(run: Path) -> None:
        text = (run / name).read_text()
        assert old in text
        (run / name).write_text(text.replace(old, new))

    return spoil


def _unfinished(run: Path) -> None:
    lines = (run / "events.jsonl").read_text().splitlines(keepends=True)
    (run / "events.jsonl").write_text("".join(lines[:-1]))


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (_unfinished, "RUN_NOTHING_LEARNED"),
        (lambda run: shutil.rmtree(run / "adapter"), "RUN_NOTHING_LEARNED"),
        (_replace("run.toml", 'id = "pocket"', 'id = "/gone/model"'), "MODEL_NOT_FOUND"),
        (_replace("run.toml", 'model_sha256 = "', 'model_sha256 = "0'), "TRY_BASE_CHANGED"),
        (lambda run: (run / "run.toml").unlink(), "RUNFILE_NOT_FOUND"),
    ],
)
def test_what_cannot_be_tried_is_refused_before_anything_is_loaded(
    runs: dict[str, Path], tmp_path: Path, spoil: Spoil, code: str
) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs["lora"], run)
    spoil(run)
    with pytest.raises(BackpropError) as caught:
        tryable(run)
    assert caught.value.code == code
    assert "export" not in f"{caught.value.message} {caught.value.hint}"


def test_a_run_that_is_running_and_a_machine_without_memory(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs["lora"], run)
    lock = Lock.take(run)
    try:
        with pytest.raises(InputError) as caught:
            tryable(run)
    finally:
        lock.release()
    assert caught.value.code == "RUN_OWNED"

    class Memory:
        available = 5_000_000

    monkeypatch.setattr(psutil, "virtual_memory", Memory)
    with pytest.raises(InputError) as caught:
        tryable(run)
    assert caught.value.code == "TRY_NO_ROOM"


def test_a_base_that_has_changed_leaves_the_tuned_model_alone(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs["full"], run)
    _replace("run.toml", 'model_sha256 = "', 'model_sha256 = "0')(run)
    assert tryable(run).sides == ("tuned",)
    with pytest.raises(InputError) as caught:
        tryable(run, base=True)
    assert caught.value.code == "TRY_BASE_CHANGED"
    _replace("run.toml", 'id = "pocket"', 'id = "/gone/model"')(run)
    assert "cannot be had" in tryable(run).no_base
    with pytest.raises(InputError):
        tryable(run, base=True)


def test_votes_know_the_weights_they_were_cast_on(runs: dict[str, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs["lora"], run)
    before = tryable(run).weights_sha256
    assert before == tryable(runs["lora"]).weights_sha256 != tryable(runs["full"]).weights_sha256
    weights = run / "adapter" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert tryable(run).weights_sha256 != before
