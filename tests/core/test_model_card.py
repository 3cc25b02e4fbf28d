"""Model cards: front matter as the hub reads it, figures from the events, nothing private."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from huggingface_hub import ModelCard

from backprop_tui.core import runfile_io
from backprop_tui.core.events import Evaluated, Saved
from backprop_tui.core.history import History
from backprop_tui.core.model_card import Export, licence_of, model_card, public_name
from backprop_tui.core.runfile import ProvenanceSection, RunFile

MADE = ProvenanceSection(
    started="2026-01-02T03:04:05+00:00",
    device="CPU (x86_64)",
    precision="nf4",
    packages={"torch": "2.13.0"},
    model_path="/home/ann/models/tiny",
    model_sha256="a" * 64,
    data_sha256="b" * 64,
    rows=1200,
    kept=1000,
    train_rows=900,
    heldout_rows=100,
    dropped={"both sides are the same": 150, "no answer": 50, "nothing": 0},
    cut={"prompt cut to fit": 7},
)
PLAN: dict[str, Any] = {
    "method": "simpo",
    "output": "/home/ann/runs/a",
    "model": {"id": "/home/ann/models/tiny"},
    "data": {"path": "/home/ann/secret/pairs.jsonl"},
    "lora": {"rank": 4},
    "training": {"seed": 11},
}


def measured(step: int, loss: float, margin: float, accuracy: float) -> Evaluated:
    return Evaluated(t=1.0, step=step, rows=100, loss=loss, margin=margin, accuracy=accuracy)


def export(plan: dict[str, Any] | None = None, made: ProvenanceSection = MADE) -> Export:
    history = History()
    for event in (
        measured(0, 1.31, -0.02, 0.49),
        measured(5, 1.01, 0.75, 0.81),
        Saved(t=2.0, step=5, path="x", kind="adapter"),
        measured(10, 1.5, 0.7, 0.6),  # not of the weights that were saved
    ):
        history.add(event)
    run: RunFile = runfile_io.parse({**PLAN, **(plan or {})}).model_copy(
        update={"provenance": made}
    )
    return Export("adapter", run, history, "c" * 64, {})


def front(card: str) -> dict[str, Any]:
    """The metadata as the hub's own library reads it."""
    data: Any = ModelCard(card).data
    found: dict[str, Any] = data.to_dict()
    return found


def test_the_front_matter_is_what_the_hub_reads() -> None:
    plan = {"model": {"id": "owner/tiny"}, "data": {"path": "owner/pairs"}}
    licence = {"license": "other", "license_name": "tiny", "license_link": "https://example.org"}
    assert front(model_card(replace(export(plan), licence=licence))) == {
        **licence,
        "base_model": "owner/tiny",
        "base_model_relation": "adapter",
        "datasets": ["owner/pairs"],
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": ["simpo", "preference-tuning", "lora", "backprop-tui"],
    }


def test_what_is_not_known_is_left_to_fill_in() -> None:
    text = model_card(export())
    found = front(text)
    assert "license" not in found  # null
    assert "\nlicense: # to fill in" in text
    assert found["base_model"] == "tiny"
    assert 'base_model: "tiny"  # a local folder: put its hub id here' in text
    assert found["datasets"] == []


def test_counts_figures_and_provenance() -> None:
    text = model_card(export())
    for line in (
        "| in the file | 1,200 |",
        "| can be trained | 1,000 |",
        "| trained on | 900 |",
        "| held out | 100 |",
        "| dropped: both sides are the same | 150 |",
        "| dropped: no answer | 50 |",
        "| cut: prompt cut to fit | 7 |",
        "|  | step 0 | step 5 |",
        "| loss | 1.31 | 1.01 |",
        "| margin | -0.02 | +0.75 |",
        "| accuracy | 49 % | 81 % |",
        "| torch | 2.13.0 |",
        f"| base model sha256 | {'a' * 64} |",
        f"| data sha256 | {'b' * 64} |",
        f"| run file sha256 | {'c' * 64} |",
        "| seeds | 11; held-out split 0 |",
        "| method | Simple preference optimisation (SimPO, arXiv:2405.14734) |",
    ):
        assert line in text.splitlines(), line
    assert "Over 100 rows held out of training." in text
    assert "dropped: nothing" not in text


def test_nothing_private_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_TOKEN", "s3cr3t-v4lue-123")
    data = {"path": "https://ann:password@example.org/s3cr3t-v4lue-123/pairs.jsonl"}
    made = MADE.model_copy(update={"engine": "hf_" + "a" * 20})
    for text in (model_card(export()), model_card(export({"data": data}, made))):
        for private in ("/home", "ann", "secret/", "s3cr3t", "hf_a", "password"):
            assert private not in text, private
    assert "pairs.jsonl" in model_card(export())


def test_the_run_file_in_it_can_be_read() -> None:
    import tomllib

    text = model_card(export()).partition("```toml\n")[2].partition("```")[0]
    run = runfile_io.parse(tomllib.loads(text))
    assert (run.method, run.training.seed, run.provenance) == ("simpo", 11, None)
    assert (run.model.id, run.data.path) == ("tiny", "pairs.jsonl")


def test_no_held_out_rows_is_said() -> None:
    text = model_card(replace(export(), history=History()))
    assert "No rows were held out, so nothing says how well it does." in text


def test_a_quantised_merge_says_what_the_figures_are_of() -> None:
    text = model_card(replace(export(), kind="merged", agreement="They agree."))
    assert "They agree." in text
    assert "It was trained on nf4 weights, and the held-out figures were measured on" in text
    made = MADE.model_copy(update={"precision": "bf16"})
    plain = model_card(replace(export(made=made), kind="merged", agreement="They agree."))
    assert "It was trained on" not in plain


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: apache-2.0\ntags:\n- a\n---\n# X\n", {"license": "apache-2.0"}),
        ("---\nlicense: 'mit' # free\n---\n", {"license": "mit"}),
        (
            "---\nlicense: other\nlicense_name: qwen\nlicense_link: LICENSE\n---\n",
            {"license": "other", "license_name": "qwen", "license_link": "LICENSE"},
        ),
        ("---\nlicense:\n- mit\n---\n", {}),
        ("---\ntags: []\n---\nlicense: mit\n", {}),
        ("license: mit\n", {}),
    ],
)
def test_the_base_models_licence(card: str, licence: dict[str, str]) -> None:
    assert licence_of(card) == licence


def test_names_that_may_be_shown() -> None:
    assert public_name("owner/name") == "owner/name"
    assert public_name("/home/ann/models/tiny") == "tiny"
    assert public_name("../models") == "models"
    assert public_name("./tiny") == "tiny"
    assert public_name("pocket") == "pocket"
