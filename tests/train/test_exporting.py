"""Exports of real runs: what is written loads without this tool and says the same."""

from __future__ import annotations

import json
import os
import shutil
from collections import namedtuple
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from backprop_tui.core.errors import BackpropError, InputError, RunError
from backprop_tui.core.events import Finished
from backprop_tui.core.facts import ModelFacts
from backprop_tui.core.model_card import Kind
from backprop_tui.probe.model import probe_model
from backprop_tui.runs.lock import Lock
from backprop_tui.train import exporting, gguf, merging
from backprop_tui.train.export_files import Exported, export
from backprop_tui.train.exporting import judge
from tests.conftest import pocket_run, run_training

WEIGHTS = "adapter/adapter_model.safetensors"
FULL = "Error while serializing: No space left on device (os error 28)"
IDS = [5, 90, 17, 301, 44, 8, 1200, 77, 3, 61]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished run in float32, one on nf4 weights, one in bf16, a full fine-tuning; by name."""
    folder = tmp_path_factory.mktemp("exported")
    changes: dict[str, dict[str, Any]] = {
        "fp32": {},
        "nf4": {"model.precision": "nf4"},
        "bf16": {"model.precision": "bf16"},
        "full": {"lora": None},
    }
    made = {}
    for name, change in changes.items():
        done = run_training(pocket_run("simpo", folder / name, change))
        assert isinstance(done.ending, Finished), done.ending
        made[name] = done.folder
    return made


def exported(run: Path, output: Path, kind: Kind | None = None, **options: Any) -> Exported:
    return export(judge(run, output, kind, **options), lambda text: None)


def logits(model: Any) -> Any:
    import torch

    model.eval()
    with torch.inference_mode():
        return model(input_ids=torch.tensor([IDS])).logits[0].float()


def base_and_adapter(run: Path, dtype: str) -> Any:
    """What the run learned on the base model in full, made by PEFT alone."""
    import torch
    from peft import AutoPeftModelForCausalLM

    return AutoPeftModelForCausalLM.from_pretrained(run / "adapter", dtype=getattr(torch, dtype))


def apart(a: Any, b: Any) -> float:
    return float((a - b).abs().max())


def nothing_left(folder: Path) -> bool:
    return list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "precision", "dtype"),
    [("fp32", "fp32", "float32"), ("nf4", "fp32", "float32"), ("bf16", "bf16", "bfloat16")],
)
def test_a_merged_model_is_base_and_adapter_for_transformers_alone(
    runs: dict[str, Path], tmp_path: Path, name: str, precision: str, dtype: str
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    done = exported(runs[name], tmp_path / "out", "merged")
    agreement = done.agreement
    assert agreement is not None
    assert (agreement.precision, agreement.rows, agreement.whose) == (precision, 3, "held out")
    assert 0 < agreement.largest <= agreement.tolerance
    assert agreement.moved > agreement.largest
    assert 0 < agreement.rounding <= merging.ROUNDINGS
    assert agreement.reread == 0
    loaded = AutoModelForCausalLM.from_pretrained(done.output, dtype="auto", use_safetensors=True)
    assert str(loaded.dtype) == f"torch.{dtype}"
    assert loaded.config.use_cache is True
    wanted = logits(base_and_adapter(runs[name], dtype))
    found = logits(loaded)
    scale = float(wanted.abs().max())
    assert apart(found, wanted) <= merging.TOLERANCE[precision] * scale
    assert apart(found, logits(AutoModelForCausalLM.from_pretrained(base_of(runs[name])))) > 0.05
    tokenizer = AutoTokenizer.from_pretrained(done.output)
    chat = [{"role": "user", "content": "Hello"}]
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert text == "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"


def base_of(run: Path) -> str:
    config = json.loads((run / "adapter" / "adapter_config.json").read_text())
    return str(config["base_model_name_or_path"])


def test_the_files_of_a_merge(runs: dict[str, Path], tmp_path: Path) -> None:
    done = exported(runs["nf4"], tmp_path / "out", "merged")
    assert done.files == (
        "Modelfile",
        "README.md",
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    )
    assert "quantization_config" not in json.loads((done.output / "config.json").read_text())
    text = (done.output / "Modelfile").read_text()
    assert "\nFROM .\n" in text
    assert 'TEMPLATE """{{ range .Messages }}' in text
    assert text.endswith('PARAMETER stop "<|im_end|>"\n')
    assert (done.template, done.stops) == ("chatml", ("<|im_end|>",))
    card = (done.output / "README.md").read_text()
    assert str(done.agreement) in card
    assert "It was trained on nf4 weights" in card
    assert "| held out | 20 |" in card
    assert str(Path(base_of(runs["nf4"])).parent) not in card
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_adapter_is_copied_as_it_is(runs: dict[str, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs["fp32"], run)
    (run / "adapter" / "adapter_model.bin").write_bytes(b"a pickle")
    (run / "adapter" / "elsewhere.json").symlink_to("/etc/passwd")
    done = exported(run, tmp_path / "deep" / "out")
    assert (done.kind, done.agreement) == ("adapter", None)
    before = {path.name: path.read_bytes() for path in (runs["fp32"] / "adapter").iterdir()}
    after = {path.name: path.read_bytes() for path in done.output.iterdir()}
    assert set(after) == {*before, "Modelfile"}
    assert {name for name in before if before[name] != after[name]} == {"README.md"}
    lines = (done.output / "Modelfile").read_text().splitlines()
    assert f"FROM {base_of(run)}" in lines
    assert "ADAPTER ." in lines


def test_an_adapter_of_a_hub_model_names_it(runs: dict[str, Path], tmp_path: Path) -> None:
    judged = judge(runs["fp32"], tmp_path / "out")
    run = judged.run
    assert run.provenance is not None
    made = run.provenance.model_copy(update={"model_commit": "c" * 40})
    model = run.model.model_copy(update={"id": "owner/tiny"})
    run = run.model_copy(update={"model": model, "provenance": made})
    done = export(replace(judged, run=run), lambda text: None)
    config = json.loads((done.output / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("owner/tiny", "c" * 40)
    assert 'base_model: "owner/tiny"\n' in (done.output / "README.md").read_text()


def test_a_full_fine_tuning_is_exported_as_it_is(runs: dict[str, Path], tmp_path: Path) -> None:
    done = exported(runs["full"], tmp_path / "out", "merged")
    assert done.kind == "model"
    weights = "model.safetensors"
    assert (done.output / weights).read_bytes() == (runs["full"] / "model" / weights).read_bytes()
    with pytest.raises(InputError, match="so it has no adapter"):
        judge(runs["full"], tmp_path / "other", "adapter")


def test_a_merge_that_differs_is_refused_and_removed(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    merged = merging._merged

    def wrong(model: Any) -> Any:
        found = merged(model)
        found.model.layers[0].mlp.down_proj.weight.data *= 1.05
        return found

    monkeypatch.setattr(merging, "_merged", wrong)
    folder = tmp_path / "there"
    with pytest.raises(RunError, match="is not what base and adapter are") as caught:
        exported(runs["fp32"], folder / "out", "merged")
    assert caught.value.code == "EXPORT_DIFFERS"
    assert nothing_left(folder)


def test_a_layer_that_was_not_merged_is_seen_in_bf16_too(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its logits are within what rounding may do, so the weights have to tell."""
    from peft.tuners.lora import Linear

    monkeypatch.setattr(Linear, "merge", lambda self, *args, **options: None)
    with pytest.raises(RunError) as caught:
        exported(runs["bf16"], tmp_path / "there" / "out", "merged")
    assert caught.value.code == "EXPORT_DIFFERS"
    assert nothing_left(tmp_path / "there")


def test_a_number_that_is_none_is_no_agreement() -> None:
    import torch

    rows = [torch.tensor([[1.0, 2.0]]), torch.tensor([[float("nan"), 2.0]])]
    largest = merging._apart(rows, [torch.zeros(1, 2), torch.zeros(1, 2)])
    found = merging.Agreement("fp32", 2, "held out", 2, 2, largest, 10.0, 1.0)
    assert not found.holds


def test_rounding_that_drowns_what_was_learned_is_told() -> None:
    def found(largest: float) -> merging.Agreement:
        return merging.Agreement("bf16", 3, "held out", 9, 9, largest, 20.0, 0.3)

    assert found(0.2).holds
    assert found(0.2).drowned
    assert not found(0.1).drowned
    assert found(3.0).holds
    assert not found(3.1).holds
    assert not replace(found(0.1), rounding=2.1).holds
    assert not replace(found(0.1), reread=0.1).holds


def test_rows_of_our_own_where_the_data_is_gone(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs["fp32"], run)
    text = (run / "run.toml").read_text()
    (run / "run.toml").write_text(text.replace('path = "pocket"', 'path = "gone.jsonl"'))
    done = exported(run, tmp_path / "out", "merged")
    assert done.agreement is not None
    assert (done.agreement.rows, done.agreement.whose[:10]) == (2, "of our own")


Memory = namedtuple("Memory", "available")
Swap = namedtuple("Swap", "free")
Spoil = Callable[[Path, pytest.MonkeyPatch], object]


def _replace(name: str, old: str, new: str) -> Spoil:
    def spoil(run: Path, _: pytest.MonkeyPatch) -> None:
        text = (run / name).read_text()
        assert old in text
        (run / name).write_text(text.replace(old, new))

    return spoil


def _unfinished(run: Path, _: pytest.MonkeyPatch) -> None:
    lines = (run / "events.jsonl").read_text().splitlines(keepends=True)
    (run / "events.jsonl").write_text("".join(lines[:-1]))


def _full_disk(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "free", lambda folder: 20_000_000)


def _full_memory(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: Memory(5_000_000))
    monkeypatch.setattr(psutil, "swap_memory", lambda: Swap(1_000_000))


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (_unfinished, "RUN_NOTHING_LEARNED"),
        (lambda run, _: shutil.rmtree(run / "adapter"), "RUN_NOTHING_LEARNED"),
        (lambda run, _: (run / WEIGHTS).unlink(), "RUN_NOTHING_LEARNED"),
        (_replace("run.toml", 'id = "pocket"', 'id = "/gone/model"'), "MODEL_NOT_FOUND"),
        (_replace("run.toml", 'model_sha256 = "', 'model_sha256 = "0'), "EXPORT_BASE_CHANGED"),
        (_full_disk, "EXPORT_NO_ROOM"),
        (_full_memory, "EXPORT_NO_ROOM"),
        (lambda run, _: (run.parent / "out").mkdir(), "OUTPUT_EXISTS"),
        (lambda run, _: (run.parent / "out").symlink_to("nowhere"), "OUTPUT_EXISTS"),
        (lambda run, _: (run / "run.toml").unlink(), "RUNFILE_NOT_FOUND"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_written(
    runs: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Spoil,
    code: str,
) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs["fp32"], run)
    spoil(run, monkeypatch)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(BackpropError) as caught:
        judge(run, tmp_path / "out", "merged")
    assert caught.value.code == code
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_run_that_is_running_is_left_alone(runs: dict[str, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs["fp32"], run)
    lock = Lock.take(run)
    try:
        with pytest.raises(InputError) as caught:
            judge(run, tmp_path / "out")
    finally:
        lock.release()
    assert caught.value.code == "RUN_OWNED"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"remote_code": True}, "model-remote-code"),
        ({"quantisation": "gptq"}, "EXPORT_QUANTISED_BASE"),
    ],
)
def test_a_base_that_cannot_be_merged_into(
    runs: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    code: str,
) -> None:
    from dataclasses import replace

    def changed(*args: Any, **options: Any) -> ModelFacts:
        return replace(probe_model(*args, **options), **changes)

    monkeypatch.setattr(exporting, "probe_model", changed)
    with pytest.raises(InputError) as caught:
        judge(runs["fp32"], tmp_path / "out", "merged")
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (OSError(28, "No space left on device"), "WRITE_REFUSED"),
        (RuntimeError(FULL), "WRITE_REFUSED"),
        (ZeroDivisionError("a fault of ours"), None),
        (KeyboardInterrupt(), None),
    ],
)
def test_whatever_ends_it_nothing_is_left(
    runs: dict[str, Path], tmp_path: Path, error: BaseException, raised: str | None
) -> None:
    judged = judge(runs["fp32"], tmp_path / "there" / "out")

    def fill(made: Path) -> None:
        (made / "model.safetensors").write_bytes(b"half of it")
        raise error

    with pytest.raises(BaseException) as caught:  # noqa: PT011 - of each kind
        exporting.written(judged, fill)
    assert getattr(caught.value, "code", None) == raised
    if raised is None:
        assert caught.value is error
    assert nothing_left(tmp_path / "there")


def test_an_output_that_appears_meanwhile_is_not_touched(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    judged = judge(runs["fp32"], tmp_path / "there" / "out")

    def fill(made: Path) -> None:
        (made / "new").touch()
        judged.output.mkdir()

    with pytest.raises(InputError) as caught:
        exporting.written(judged, fill)
    assert caught.value.code == "OUTPUT_EXISTS"
    assert nothing_left(judged.output)
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["out"]


CONVERTER = """#!/usr/bin/env python3
import pathlib, sys
folder, _, outfile, _, outtype = sys.argv[1:]
assert pathlib.Path(folder, "model.safetensors").is_file()
pathlib.Path(outfile).write_text(outtype)
{end}
"""


def converter(folder: Path, end: str = "") -> Path:
    folder.mkdir()
    script = folder / gguf.CONVERTER
    script.write_text(CONVERTER.format(end=end))
    script.chmod(0o755)
    return folder


@pytest.mark.parametrize("where", ["LLAMA_CPP", "PATH"])
def test_gguf_where_the_converter_is(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.delenv("LLAMA_CPP", raising=False)
    place = str(converter(tmp_path / "llama.cpp"))
    before = os.environ["PATH"]
    monkeypatch.setenv(where, f"{place}:{before}" if where == "PATH" else place)
    # A full fine-tuning needs no merge, so this is about the converter alone.
    done = exported(runs["full"], tmp_path / "out", gguf=True)
    assert (done.output / "model.gguf").read_text() == "f32"
    assert (done.gguf_command, done.gguf_said) == ("", "")
    assert "\nFROM ./model.gguf\n" in (done.output / "Modelfile").read_text()
    assert "in model.gguf" in (done.output / "README.md").read_text()


def test_gguf_that_fails_leaves_the_rest_and_the_command(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = converter(tmp_path / "llama.cpp", "sys.exit('unknown pre-tokenizer')")
    monkeypatch.setenv("LLAMA_CPP", str(place))
    done = exported(runs["full"], tmp_path / "out", gguf=True)
    assert done.gguf_said == "unknown pre-tokenizer"
    assert done.gguf_command.endswith(
        f"{place / gguf.CONVERTER} {done.output} "
        f"--outfile {done.output / 'model.gguf'} --outtype f32"
    )
    assert "model.gguf" not in done.files
    assert "\nFROM .\n" in (done.output / "Modelfile").read_text()


def test_gguf_asks_for_a_merge(runs: dict[str, Path], tmp_path: Path) -> None:
    judged = judge(runs["bf16"], tmp_path / "out", gguf=True)
    assert (judged.kind, judged.precision) == ("merged", "bf16")
    assert judged.room > 2 * 2 * 2_700_000
