"""Every rule: fires at its edge with the user's own figures, silent just beside it, and its
fix silences it."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pytest

import backprop_tui.core.rules
from backprop_tui.core import runfile_io, runfile_keys
from backprop_tui.core.effective import TrainRows, effective, estimated_rows
from backprop_tui.core.facts import DataFacts, Facts, GpuFacts, GpuProcess, ModelFacts, Offer
from backprop_tui.core.memory import estimate
from backprop_tui.core.quality import Finding, Quality
from backprop_tui.core.rules import LEVELS, RULES, Advice, Case, judge
from backprop_tui.core.runfile import RunFile
from tests.core.worlds import (
    CARD,
    CHATS,
    GB,
    LLAMA_8B,
    MARKS,
    MB,
    NO_CARD,
    OLD_CARD,
    ONE_CARD,
    PAIRS,
    SMALL,
    UNKNOWN,
    bias,
    facts,
    lengths,
    run_file,
)


@dataclass(frozen=True)
class World:
    """A run file and what is there; by default nothing to say about either."""

    method: str = "orpo"
    changes: Mapping[str, Any] = field(default_factory=dict)
    data: DataFacts | None = PAIRS
    model: ModelFacts | None = LLAMA_8B
    gpu: GpuFacts | None = ONE_CARD
    rows: TrainRows | None = None
    free_ram: int | None = None

    @property
    def run(self) -> RunFile:
        return run_file(self.changes, self.method)

    @property
    def facts(self) -> Facts:
        return facts(self.data, self.model, self.gpu, self.run.machine.card)

    def judged(self) -> tuple[Advice, ...]:
        return judge(self.run, self.facts, self.rows, free_ram=self.free_ram)

    def find(self, code: str, key: str) -> Advice | None:
        found = [item for item in self.judged() if (item.code, item.field) == (code, key)]
        assert len(found) <= 1
        return found[0] if found else None

    def fixed(self, changes: Mapping[str, Any]) -> World:
        """This world once a fix is applied; what the run file newly names is there."""
        return replace(
            self,
            changes={**self.changes, **changes},
            model=replace(SMALL, name="pocket") if "model.id" in changes else self.model,
            data=PAIRS if "data.path" in changes else self.data,
        )


@dataclass(frozen=True)
class Example:
    """A world in which an advice fires, and the nearest one in which it does not."""

    code: str
    level: str
    field: str
    fires: World
    silent: World
    says: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.code}-{self.field}"


def simpo(**knobs: float) -> World:
    return World("simpo", {f"simpo.{name}": value for name, value in knobs.items()})


def rate(method: str, value: float, *, clamp: bool = True) -> World:
    changes = {"training.learning_rate": value, "training.lr_clamp": clamp}
    return World(method, changes, data=MARKS if method == "kto" else PAIRS)


def kto(
    changes: Mapping[str, Any] | None = None,
    data: DataFacts = MARKS,
    rows: TrainRows | None = None,
) -> World:
    return World("kto", changes or {}, data=data, rows=rows)


def batch(size: int, accumulation: int, **changed: Any) -> World:
    # Small, so that the batch fits and nothing but its size is judged.
    changes = {"training.batch_size": size, "training.accumulation": accumulation, **changed}
    return replace(kto(changes), model=SMALL, changes={**changes, "data.max_length": 256})


def marked(good: int, bad: int, **changes: Any) -> World:
    rows = TrainRows(good + bad, 10, desirable=good, undesirable=bad)
    return kto({f"kto.{name}": value for name, value in changes.items()}, rows=rows)


def dropped(kept: int, reasons: dict[str, int]) -> World:
    rows = kept + sum(reasons.values())
    return World(data=replace(PAIRS, rows=rows, kept=kept, dropped=reasons))


def sides(ratio: float, p_value: float, method: str = "orpo") -> World:
    return World(method, data=replace(PAIRS, length_bias=bias(1, 1, ratio=ratio, p_value=p_value)))


# The warnings of the quality report, and the key each stands under.
QUALITY_CODES = {
    "data-label-noise": "data.path",
    "data-contradictions": "data.path",
    "data-cycles": "data.path",
    "data-near-leak": "data.heldout",
    "data-duplicates": "data.path",
    "data-near-duplicates": "data.path",
    "data-placeholders": "data.path",
    "data-refusals": "data.path",
    "data-script-mismatch": "data.path",
    "data-short-answers": "data.path",
}


def reported(code: str, n: int, level: Literal["note", "warning"], method: str = "orpo") -> World:
    """Pairs of which the quality report says one thing."""
    finding = Finding(
        code=code,
        level=level,
        count=n,
        of=600,
        text=f"{n} of 600 rows are odd.",
        examples=("row 7: odd",),
        do="Mend them.",
    )
    return World(method, data=replace(PAIRS, quality=Quality(rows=600, findings=(finding,))))


def tokens(p90: int, **changes: Any) -> World:
    # The parts alone would mislead: their long prompts and long answers need not meet in one row.
    found = {
        "prompt": lengths(900, 9999),
        "chosen": lengths(900, 9999),
        "row": lengths(10, p90),
    }
    return World(
        changes={f"data.{key}": value for key, value in changes.items()},
        data=replace(PAIRS, tokens=found),
    )


def architecture(name: str) -> World:
    return World(model=replace(LLAMA_8B, architecture=name))


def guarded(method: str = "orpo", *, heldout: float = 0.1, **guards: Any) -> World:
    changes = {f"guards.{key}": value for key, value in guards.items()}
    data = CHATS if method == "sft" else PAIRS
    return World(method, {**changes, "data.heldout": heldout}, data=data)


def held(used: int, *processes: GpuProcess) -> World:
    card = replace(CARD, memory_used=used, processes=processes)
    return World(gpu=GpuFacts(cards=(card,)))


def free(byte: int, changes: Mapping[str, Any] | None = None, **known: Any) -> World:
    """A card whose free memory is what the plan needs, and so many bytes more."""
    world = World(changes=changes or {}, **known)
    need = estimate(world.run, world.facts, effective(world.run, world.facts))
    assert need is not None
    return replace(
        world, gpu=GpuFacts(cards=(replace(CARD, memory_free=need.needed + byte, memory_used=0),))
    )


def total(size: int) -> World:
    """A card with so little memory, all of it free."""
    card = replace(CARD, memory_total=size, memory_free=size, memory_used=0)
    return World(model=SMALL, gpu=GpuFacts(cards=(card,)))


INVALID = "CONFIG_INVALID_SETTING"
NAMELESS = replace(PAIRS, name="mine.jsonl")
BF16_FULL = {"lora": None, "model.precision": "bf16"}
TWO_CARDS = GpuFacts(cards=(CARD, replace(CARD, index=1)))
OLD = GpuFacts(cards=(OLD_CARD,))
CPU = {"machine.device": "cpu"}

EXAMPLES = [
    # --- The method's own numbers
    Example(
        "simpo-gamma-ratio",
        "warning",
        "simpo.gamma",
        simpo(gamma=2.4),
        simpo(gamma=2.0),
        ("gamma/beta is 1.20, above 1.0", "0.1 to 0.8"),
    ),
    Example(
        "simpo-gamma-ratio",
        "warning",
        "simpo.gamma",
        simpo(beta=10.0, gamma=50.0),
        simpo(beta=10.0, gamma=10.0),
        ("5.00", "A ratio of 5 is a default several tools ship; it is not from the paper"),
    ),
    Example(
        "simpo-lr-clamped",
        "warning",
        "training.learning_rate",
        rate("simpo", 1e-5),
        rate("simpo", 9.9e-6),
        ("1e-05 is lowered to 1e-06", "lr_clamp = false", "LoRA"),
    ),
    Example(
        "simpo-lr-kept",
        "warning",
        "training.learning_rate",
        rate("simpo", 2e-3, clamp=False),
        rate("simpo", 9.9e-6, clamp=False),
        ("0.002 is kept because training.lr_clamp is false", "LoRA"),
    ),
    Example(
        "kto-lr-clamped",
        "warning",
        "training.learning_rate",
        rate("kto", 5.0001e-6),
        rate("kto", 5e-6),
        ("5.0001e-06 is lowered to 1e-06", "LoRA"),
    ),
    Example(
        "kto-lr-kept",
        "warning",
        "training.learning_rate",
        rate("kto", 1e-4, clamp=False),
        rate("orpo", 1e-4, clamp=False),
        ("0.0001 is kept",),
    ),
    Example(
        INVALID,
        "problem",
        "lora",
        kto(BF16_FULL),
        World(changes=BF16_FULL),
        ("kto without [lora]",),
    ),
    Example(
        INVALID,
        "problem",
        "lora",
        World("dpo", BF16_FULL),
        World("cpo", BF16_FULL),  # no reference
        ("dpo without [lora]",),
    ),
    Example(
        "engine-no-trainer",
        "problem",
        "engine",
        World("rrhf", {"engine": "trl"}),
        World("ipo", {"engine": "trl"}),
        ('engine = "trl"', "TRL has no trainer for rrhf", "sft, orpo, simpo, kto, dpo, ipo, cpo."),
    ),
    Example(
        "kto-one-label",
        "problem",
        "data.path",
        kto(data=replace(MARKS, labels={True: 640})),
        kto(data=replace(MARKS, labels={True: 639, False: 1})),
        ("All 576 training rows of marks.jsonl are marked good",),
    ),
    Example(
        "kto-one-label",
        "problem",
        "data.path",
        marked(0, 90),
        marked(1, 89),
        ("All 90 training rows of marks.jsonl are marked bad",),
    ),
    Example(
        "kto-rebalanced",
        "warning",
        "kto.undesirable_weight",
        marked(401, 300),
        marked(400, 300),
        ("401 good and 300 bad", "weights become 1 good, 1 bad"),
    ),
    Example(
        "kto-rebalanced",
        "warning",
        "kto.desirable_weight",
        marked(299, 300),
        marked(300, 300),
        ("299 good and 300 bad",),
    ),
    Example(
        "kto-rebalanced",
        "warning",
        "kto.undesirable_weight",
        marked(90, 10, undesirable_weight=5.0),
        marked(90, 10, undesirable_weight=6.75),
        ("1 good, 6.75 bad", "Your own weights were overridden"),
    ),
    Example(
        "kto-rebalanced",
        "warning",
        "kto.undesirable_weight",
        marked(1000, 1),
        marked(1000, 1, rebalance=False),
        ("1 good, 10 bad", "Raised tenfold, the most allowed, the ratio is still 100.00"),
    ),
    Example(
        "kto-batch-raised",
        "warning",
        "training.batch_size",
        batch(1, 16, engine="trl"),
        batch(2, 8, engine="trl"),
        ("batch_size 1 is raised to 2",),
    ),
    Example(
        "kto-batch-raised",
        "warning",
        "training.batch_size",
        batch(1, 16, engine="trl"),
        batch(1, 16),  # mismatched answers come from all the data
        ("TRL's KL term",),
    ),
    Example(
        "learning-rate-high",
        "warning",
        "training.learning_rate",
        rate("orpo", 0.011),
        rate("orpo", 0.01),
        ("0.011",),
    ),
    *(
        Example(
            "objective-rate-high",
            "warning",
            "training.learning_rate",
            rate(method, usual * 11),
            rate(method, usual * 10),
            ("11 times", f"the rate {method} is trained with"),
        )
        for method, usual in {
            "dpo": 5e-6,
            "ipo": 5e-6,
            "cpo": 1e-4,
            "slic": 5e-6,
            "rrhf": 5e-6,
            "rdpo": 5e-6,
        }.items()
    ),
    Example(
        "objective-rate-high",
        "warning",
        "training.learning_rate",
        World("cpo", {**BF16_FULL, "training.learning_rate": 6e-6}),
        World("cpo", {**BF16_FULL, "training.learning_rate": 5e-6}),
        ("5e-07: as published, full fine-tuning",),
    ),
    Example(
        "ipo-gap-wide",
        "warning",
        "ipo.tau",
        World("ipo", {"ipo.tau": 0.01}),
        World("ipo", {"ipo.tau": 0.1}),
        ("a gap of 1 / (2 tau) = 50", "per token"),
    ),
    *(
        Example(
            "knob-unpublished",
            "warning",
            key,
            World(key.partition(".")[0], {key: value}),
            World(key.partition(".")[0], {key: edge}),
            (f"{key} = {value:g} lies outside", words),
        )
        for key, value, edge, words in (
            ("dpo.beta", 0.009, 0.01, "may go far from the base"),
            ("dpo.beta", 0.6, 0.5, "hardly learns"),
            ("rdpo.beta", 0.6, 0.5, "hardly learns"),
            ("rdpo.alpha", 0.009, 0.01, "this is dpo"),
            ("rdpo.alpha", 1.1, 1.0, "the difference in length outweighs"),
            ("ipo.tau", 1.1, 1.0, "stays the base"),
            ("cpo.beta", 0.6, 0.5, "summed log-probabilities are large"),
            ("cpo.beta", 0.009, 0.01, "imitation alone"),
            ("cpo.imitation_weight", 0.09, 0.1, "no reference model"),
            ("slic.delta", 11.0, 10.0, "go on pulling"),
            ("slic.delta", 0.09, 0.1, "leads at all"),
            ("slic.imitation_weight", 11.0, 10.0, "sft does for less"),
            ("rrhf.imitation_weight", 0.09, 0.1, "no reference model"),
        )
    ),
    Example(
        "lora-rate-low",
        "note",
        "training.learning_rate",
        rate("simpo", 4e-6),
        rate("simpo", 4.6e-6),
        ("4e-06", "ten times"),
    ),
    Example(
        "lora-rate-low",
        "note",
        "training.learning_rate",
        rate("kto", 1e-6),
        rate("kto", 2.5e-6),
        ("1e-06",),
    ),
    Example(
        "few-steps",
        "warning",
        "training.epochs",
        World(rows=TrainRows(144, 16)),
        World(rows=TrainRows(145, 16)),
        ("9 steps in all",),
    ),
    Example(
        "kto-effective-batch",
        "warning",
        "training.accumulation",
        batch(3, 5),
        batch(4, 4),
        ("Effective batch 15", "16 to 128"),
    ),
    Example(
        "kto-effective-batch",
        "warning",
        "training.accumulation",
        batch(3, 43),
        batch(2, 64),
        ("Effective batch 129",),
    ),
    Example(
        "kto-effective-batch",
        "warning",
        "training.accumulation",
        batch(130, 1),
        batch(128, 1),
        ("Effective batch 130",),
    ),
    # --- The data
    Example(
        INVALID,
        "problem",
        "data.path",
        World(changes={"data.path": ""}, data=None),
        World(data=None),
        ('data.path = ""', "pocket"),
    ),
    Example(
        "data-shape-mismatch",
        "problem",
        "method",
        kto(data=CHATS),
        kto(),
        ("chats.jsonl is sft", "kto needs unpaired or paired", "Methods that fit: sft."),
    ),
    Example(
        "data-shape-mismatch",
        "problem",
        "method",
        World(data=MARKS),
        World(data=None),
        ("marks.jsonl is unpaired", "orpo needs paired", "Methods that fit: kto."),
    ),
    Example(
        "data-shape-mismatch",
        "problem",
        "data.path",
        World(data=UNKNOWN),
        World(data=replace(UNKNOWN, rows=0, kept=0)),
        ("table.csv cannot be trained as it is: Columns a, b",),
    ),
    Example(
        "data-nothing-to-train",
        "problem",
        "data.path",
        dropped(0, {"identical sides": 7}),
        dropped(1, {"identical sides": 7}),
        ("none of 7 rows", "7 identical sides"),
    ),
    Example(
        "data-rows-dropped",
        "warning",
        "data.path",
        dropped(1200, {"empty text": 3, "one side missing": 1}),
        dropped(1200, {}),
        ("4 of 1,204 rows", "3 empty text, 1 one side missing"),
    ),
    Example(
        "sft-rejected-unused",
        "warning",
        "method",
        World("sft"),
        World("sft", data=CHATS),
        ("640 rejected answers of pairs.jsonl",),
    ),
    Example(
        "data-few-rows", "warning", "data.path", dropped(99, {}), dropped(100, {}), ("99 rows",)
    ),
    Example(
        "no-heldout",
        "warning",
        "data.heldout",
        World(changes={"data.heldout": 0.0}),
        World(changes={"data.heldout": 0.001}),
        ("No rows are held out",),
    ),
    Example(
        "no-heldout",
        "warning",
        "data.heldout",
        World(data=replace(PAIRS, rows=1, kept=1)),
        World(data=replace(PAIRS, rows=2, kept=2)),
        ("No rows are held out",),
    ),
    Example(
        "data-length-bias",
        "warning",
        "data.path",
        sides(1.3, 0.0099),
        sides(1.299, 0.0099),
        ("Rejected answers are 1.3x longer",),
    ),
    Example(
        "data-length-bias",
        "warning",
        "data.path",
        sides(0.5, 0.0099),
        sides(0.5, 0.01),
        ("Rejected answers are 2.0x shorter",),
    ),
    Example(
        "data-length-bias",
        "note",
        "data.path",
        sides(2.0, 0.0, "simpo"),
        sides(2.0, 0.0, "sft"),  # sft never looks at the rejected side
        ("2.0x longer", "SimPO divides by length"),
    ),
    Example(
        "data-over-long",
        "warning",
        "data.max_length",
        tokens(1025),
        tokens(1024),
        ("longer than 1,024 tokens", "nine in ten have up to 1,025", "dropped and counted"),
    ),
    Example(
        "data-over-long",
        "note",
        "data.max_length",
        tokens(1025, cut_answers=True),
        tokens(1025, max_length=1025),
        ("longer than 1,024 tokens", "nine in ten have up to 1,025", "cut at the end"),
    ),
    Example(
        "max-length-over-context",
        "warning",
        "data.max_length",
        World(model=replace(LLAMA_8B, context=1023)),
        World(model=replace(LLAMA_8B, context=1024)),
        ("1,024", "1,023"),
    ),
    Example(
        "data-duplicate-prompts",
        "note",
        "data.path",
        World(data=replace(PAIRS, duplicate_prompts=1)),
        kto(data=replace(MARKS, duplicate_prompts=1)),
        ("1 of 640 rows",),
    ),
    Example(
        "kto-could-pair",
        "note",
        "method",
        kto(data=replace(MARKS, duplicate_prompts=288)),
        kto(data=replace(MARKS, duplicate_prompts=287)),
        ("45 % of the rows",),
    ),
    Example(
        "data-not-yet",
        "warning",
        "data.path",
        World(data=replace(PAIRS, rows=9, kept=9)),
        World(data=replace(PAIRS, rows=10, kept=10)),
        ("Do not train yet, because", "9 rows"),
    ),
    Example(
        "kto-splits-pairs",
        "note",
        "method",
        World("kto"),
        World("orpo"),
        ("one good and one bad answer", "rows"),
    ),
    # --- The model and the machine
    Example(
        INVALID,
        "problem",
        "model.id",
        World(changes={"model.id": ""}, model=None),
        World(model=None),
        ('model.id = ""', "pocket"),
    ),
    Example(
        "model-no-tokenizer",
        "problem",
        "model.id",
        World(model=replace(LLAMA_8B, tokenizer=False)),
        World(),
        (LLAMA_8B.name, "tokenizer.json"),
    ),
    Example(
        "model-no-chat-template",
        "problem",
        "model.chat_template",
        World(model=replace(LLAMA_8B, chat_template=False)),
        World(
            changes={"model.chat_template": "my.jinja"},
            model=replace(LLAMA_8B, chat_template=False),
        ),
        (LLAMA_8B.name, "chat template"),
    ),
    Example(
        "model-remote-code",
        "problem",
        "model.id",
        World(model=replace(LLAMA_8B, remote_code=True)),
        World(),
        (LLAMA_8B.name, "--trust-remote-code"),
    ),
    Example(
        "model-not-causal",
        "problem",
        "model.id",
        architecture("BertForMaskedLM"),
        architecture("BertLMHeadModel"),
        (LLAMA_8B.name, "BertForMaskedLM"),
    ),
    Example(
        "quantised-full-fine-tuning",
        "problem",
        "lora",
        World(changes={"lora": None, "model.precision": "int8"}),
        World(changes=BF16_FULL),
        ("precision int8 without [lora]",),
    ),
    Example(
        "quantised-on-cpu",
        "warning",
        "model.precision",
        World(changes={"model.precision": "nf4"}, model=SMALL, gpu=NO_CARD),
        World(changes={"model.precision": "nf4"}, model=SMALL, gpu=None),  # not yet known
        ("nf4 on a CPU",),
    ),
    Example(
        "no-such-card",
        "problem",
        "machine.card",
        World(changes={"machine.device": "cuda"}, gpu=NO_CARD),
        World(changes={"machine.device": "cuda"}, gpu=None),
        ("card 0", "no NVIDIA driver"),
    ),
    Example(
        "no-such-card",
        "problem",
        "machine.card",
        World(changes={"machine.card": 2}, gpu=TWO_CARDS),
        World(changes={"machine.card": 1}, gpu=TWO_CARDS),
        ("card 2", "cards found: 2"),
    ),
    Example(
        "large-model-on-cpu",
        "warning",
        "model.id",
        World(model=replace(SMALL, parameters=100_000_001), gpu=NO_CARD),
        World(model=replace(SMALL, parameters=100_000_000), gpu=NO_CARD),
        ("tiny has 100M parameters", "there is no card"),
    ),
    Example(
        "large-model-on-cpu",
        "warning",
        "model.id",
        World(changes=CPU),
        World(),
        ("8.0B parameters", "machine.device is cpu"),
    ),
    *(
        Example(
            code,
            "warning",
            key,
            reported(code, 60, "warning"),
            reported(code, 2, "note"),
            ("60 of 600 rows are odd.", "Mend them."),
        )
        for code, key in QUALITY_CODES.items()
    ),
    Example(
        "bf16-unsupported",
        "warning",
        "model.precision",
        World(changes={"model.precision": "bf16"}, model=SMALL, gpu=OLD),
        World(changes={"model.precision": "bf16"}, model=SMALL),
        ("Tesla P100",),
    ),
    Example(
        "fp16-on-bf16-card",
        "warning",
        "model.precision",
        World(changes={"model.precision": "fp16"}, model=SMALL),
        World(changes={"model.precision": "fp16"}, model=SMALL, gpu=OLD),
        ("RTX 4060 Ti",),
    ),
    Example(
        "memory-held",
        "warning",
        "machine.card",
        held(2 * GB, GpuProcess(pid=7, name="ollama", memory=GB), GpuProcess(pid=8)),
        held(GB),
        ("2.0 GB of RTX 4060 Ti's 16.0 GB", "ollama 1.0 GB, pid 8 n/a"),
    ),
    Example(
        "memory-does-not-fit",
        "warning",
        "training.batch_size",
        free(-1),
        free(0),
        ("Roughly: does not fit: weights take 5.2 GB; batch 1 x 16 would fit", "without Xorg"),
    ),
    Example(
        "memory-card-too-small",
        "warning",
        "machine.card",
        total(600 * MB),
        total(600 * MB + 1),
        ("RTX 4060 Ti has 600 MB of memory", "CUDA itself takes about 600 MB"),
    ),
    Example(
        "memory-free-unknown",
        "note",
        "machine.card",
        World(model=SMALL, gpu=GpuFacts(cards=(replace(CARD, memory_free=None),))),
        World(model=SMALL),
        ("RTX 4060 Ti: roughly: how much is free is not known: needs",),
    ),
    Example(
        "memory-not-estimated",
        "note",
        "model.id",
        World(model=replace(LLAMA_8B, quantisation="gptq")),
        World(model=replace(LLAMA_8B, quantisation="bitsandbytes")),
        ("Its memory cannot be estimated: its weights are quantised with gptq;",),
    ),
    # --- What watches over the run
    Example(
        INVALID,
        "problem",
        "guards.resume_temperature",
        guarded(max_temperature=80, resume_temperature=80),
        guarded(max_temperature=80, resume_temperature=79),
        ("guards.resume_temperature = 80", "under guards.max_temperature = 80"),
    ),
    Example(
        "guards-no-pause",
        "note",
        "guards.resume_temperature",
        guarded(resume_temperature=70),
        guarded(resume_temperature=70, max_temperature=80),
        ("guards.resume_temperature = 70 does nothing",),
    ),
    Example(
        "guards-nothing-measured",
        "problem",
        "guards.patience",
        guarded(patience=3, heldout=0.0),
        guarded(patience=3, heldout=0.001),
        ("guards.patience looks at held-out rows, and none are held out",),
    ),
    Example(
        "guards-nothing-measured",
        "problem",
        "training.keep_best",
        World(
            changes={"training.keep_best": True, "guards.stop_on_inflation": True},
            data=replace(PAIRS, rows=1, kept=1),
        ),
        World(
            changes={"training.keep_best": True, "guards.stop_on_inflation": True},
            data=replace(PAIRS, rows=2, kept=2),
        ),
        ("training.keep_best and guards.stop_on_inflation look at held-out rows",),
    ),
    Example(
        "guards-nothing-measured",
        "problem",
        "guards.stop_on_inflation",
        guarded(stop_on_inflation=True, heldout=0.0),
        guarded(stop_on_explosion=True, heldout=0.0),
        ("guards.stop_on_inflation looks at",),
    ),
    Example(
        "guards-sft-has-no-pairs",
        "warning",
        "guards.watch",
        guarded("sft", watch="accuracy"),
        guarded("sft", watch="loss"),
        ('guards.watch = "accuracy"', "held-out loss is watched instead"),
    ),
    Example(
        "guards-sft-has-no-pairs",
        "warning",
        "guards.watch",
        guarded("sft", watch="margin"),
        guarded("orpo", watch="margin"),
        ('guards.watch = "margin"',),
    ),
    Example(
        "guards-sft-has-no-pairs",
        "warning",
        "guards.stop_on_inflation",
        guarded("sft", stop_on_inflation=True),
        guarded("orpo", stop_on_inflation=True),
        ("never stops sft",),
    ),
    Example(
        "guards-no-card",
        "note",
        "guards.max_temperature",
        replace(guarded(max_temperature=80), model=SMALL, gpu=NO_CARD),
        replace(guarded(max_temperature=80), model=SMALL, gpu=None),  # not yet known
        ("guards.max_temperature = 80 is of the card", "on the CPU"),
    ),
]
each_example = pytest.mark.parametrize("example", EXAMPLES, ids=str)


@each_example
def test_it_fires_at_its_edge_with_the_figures(example: Example) -> None:
    advice = example.fires.find(example.code, example.field)
    assert advice is not None
    assert advice.level == example.level
    for words in example.says:
        assert words in advice.message


@each_example
def test_it_is_silent_just_beside_it(example: Example) -> None:
    assert example.silent.find(example.code, example.field) is None


@each_example
def test_its_fix_silences_it(example: Example) -> None:
    advice = example.fires.find(example.code, example.field)
    assert advice is not None
    if advice.fix is None:
        return
    assert 0 < len(advice.fix.label) <= 32  # it stands beside a key
    after = example.fires.fixed(dict(advice.fix.changes)).find(example.code, example.field)
    # A note may stay, where the fix softens what it cannot undo; it asks for nothing more.
    assert after is None or (after.level, after.fix) == ("note", None)


@each_example
def test_it_stands_under_a_key_of_the_run_file(example: Example) -> None:
    advice = example.fires.find(example.code, example.field)
    assert advice is not None
    changes = advice.fix.changes if advice.fix else ()
    for key in (advice.field, *(key for key, _ in changes)):
        assert key in (*runfile_keys.valid_keys(), "lora")


def test_every_rule_has_an_example() -> None:
    silent = [
        rule.__name__ for rule in RULES if all(rule(case_of(e.fires)) is None for e in EXAMPLES)
    ]
    assert silent == []


def test_every_code_has_an_example() -> None:
    folder = Path(backprop_tui.core.rules.__file__).parent
    codes = {
        keyword.value.value
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "code" and isinstance(keyword.value, ast.Constant)
    }
    assert codes == {example.code for example in EXAMPLES}


def case_of(world: World) -> Case:
    counts = world.rows or estimated_rows(world.run, world.facts)
    plan = effective(world.run, world.facts, counts)
    memory = estimate(world.run, world.facts, plan, world.free_ram)
    return Case(world.run, world.facts, counts, plan, memory)


@pytest.mark.parametrize(
    "world",
    [World("orpo"), World("simpo"), World("kto", data=MARKS), World("sft", data=CHATS)],
    ids=lambda world: world.method,
)
def test_a_sound_plan_has_no_advice(world: World) -> None:
    """But for the rates of simpo and kto, which were published for full fine-tuning."""
    expected = {"lora-rate-low"} if world.method in ("simpo", "kto") else set()
    assert {advice.code for advice in world.judged()} == expected


def test_problems_come_first_and_notes_last() -> None:
    world = World(
        changes={"training.batch_size": 1, "data.heldout": 0.0, "model.precision": "fp16"},
        data=replace(PAIRS, kept=50, duplicate_prompts=3),
        model=replace(SMALL, tokenizer=False),
    )
    levels = [LEVELS.index(advice.level) for advice in world.judged()]
    assert levels == sorted(levels)
    assert set(levels) == {0, 1, 2}


@pytest.mark.parametrize(("gamma", "fires"), [(2.0, False), (2.0001, True), (1.6, False)])
def test_a_ratio_of_one_is_silent_and_anything_above_is_not(gamma: float, fires: bool) -> None:
    assert (simpo(gamma=gamma).find("simpo-gamma-ratio", "simpo.gamma") is not None) == fires


def test_only_a_ratio_of_five_is_called_copied() -> None:
    advice = simpo(gamma=9.9).find("simpo-gamma-ratio", "simpo.gamma")
    assert advice is not None
    assert "default several tools ship" not in advice.message


def test_a_capped_balance_is_not_said_to_be_in_the_band() -> None:
    advice = marked(1000, 1).find("kto-rebalanced", "kto.undesirable_weight")
    assert advice is not None
    assert "so that weighted good : bad is between" not in advice.message


@pytest.mark.parametrize(
    ("name", "fires"),
    [
        ("BertForMaskedLM", True),
        ("LlamaForSequenceClassification", True),
        ("DebertaV2ForTokenClassification", True),
        ("RobertaForQuestionAnswering", True),
        ("T5ForConditionalGeneration", True),
        ("MT5ForConditionalGeneration", True),
        ("BartForConditionalGeneration", True),
        ("PegasusForConditionalGeneration", True),
        ("MarianMTModel", True),
        ("LlamaForCausalLM", False),
        ("GPT2LMHeadModel", False),
        ("BartForCausalLM", False),
        ("Gemma3ForConditionalGeneration", False),
        ("Qwen2VLForConditionalGeneration", False),
        ("Mistral3ForConditionalGeneration", False),
    ],
)
def test_which_architectures_are_plainly_not_causal(name: str, fires: bool) -> None:
    assert (architecture(name).find("model-not-causal", "model.id") is not None) == fires


def test_a_model_whose_architecture_is_unknown_is_not_refused() -> None:
    world = World(model=replace(LLAMA_8B, architecture=None))
    assert world.find("model-not-causal", "model.id") is None


@pytest.mark.parametrize("device", ["auto", "cuda", "cpu"])
def test_the_machine_is_not_judged_before_it_is_known(device: str) -> None:
    world = World(changes={"machine.device": device}, gpu=None)
    large = world.find("large-model-on-cpu", "model.id")
    assert (large is not None) == (device == "cpu")  # that much is known


@pytest.mark.parametrize(
    "world",
    [
        free(-1, {"training.checkpointing": False, "training.batch_size": 8}),
        free(-(30 * GB), {"training.batch_size": 64, "data.max_length": 8192}),
        free(-1, {"data.max_length": 4096}, model=replace(LLAMA_8B, context=2048)),
        free(-(4 * GB), {"lora": None, "model.precision": "bf16"}),
        World(
            "kto",
            {**CPU, "data.max_length": 4096, "training.batch_size": 5},
            data=MARKS,
            model=replace(SMALL, context=2048),
            free_ram=800 * MB,
        ),
    ],
)
def test_one_fix_for_too_little_memory_is_enough(world: World) -> None:
    advice = world.find("memory-does-not-fit", "training.batch_size")
    assert advice is not None
    assert advice.fix is not None
    memory = case_of(world.fixed(dict(advice.fix.changes))).memory
    assert memory is not None
    assert memory.fits


def test_what_nothing_makes_fit_has_no_fix() -> None:
    world = World(model=replace(LLAMA_8B, parameters=70_000_000_000))
    advice = world.find("memory-does-not-fit", "training.batch_size")
    assert advice is not None
    assert advice.fix is None
    assert "nothing this tool can change makes it fit" in advice.message


def test_the_fix_for_a_missing_card_is_one_that_is_there() -> None:
    gpu = GpuFacts(cards=(replace(CARD, index=1), replace(CARD, index=3)))
    advice = World(gpu=gpu).find("no-such-card", "machine.card")
    assert advice is not None
    assert advice.fix is not None
    assert advice.fix.changes == (("machine.card", 1),)


@pytest.mark.parametrize(
    ("gpu", "message"),
    [
        (
            GpuFacts(problem="No driver. What still works: tiny models only (such as pocket)."),
            "device cuda, card 5: not on this machine. No driver. What still works: tiny models "
            "only (such as pocket).",
        ),
        (GpuFacts(), "device cuda, card 5: not on this machine (no card found)."),
        (ONE_CARD, "device cuda, card 5: not on this machine (cards found: 1)."),
    ],
)
def test_a_missing_card_is_said_in_whole_sentences(gpu: GpuFacts, message: str) -> None:
    world = World(changes={"machine.device": "cuda", "machine.card": 5}, gpu=gpu)
    advice = world.find("no-such-card", "machine.card")
    assert advice is not None
    assert advice.message == message


@pytest.mark.parametrize(("engine", "smallest"), [("trl", 2), ("lean", 1)])
def test_trls_kto_is_never_told_to_take_one_row_at_a_time(engine: str, smallest: int) -> None:
    kto_of = {"method": "kto", "data": MARKS}
    changes = {"training.batch_size": 8, "training.accumulation": 3, "engine": engine}
    least = {"training.batch_size": smallest, "training.accumulation": 24 // smallest}
    world = free(0, {**changes, **least, "lora.rank": 8}, **kto_of)
    advice = replace(world, changes={**changes, "lora.rank": 8}).find(
        "memory-does-not-fit", "training.batch_size"
    )
    assert advice is not None
    assert advice.fix is not None
    assert dict(advice.fix.changes) == least


def test_an_only_offer_is_the_fix_and_one_of_several_is_not() -> None:
    offer = Offer(text="read tag as the label", changes=(("data.columns", {"label": "tag"}),))
    found = judge(run_file(), facts(data=replace(UNKNOWN, offers=(offer,))))
    item = next(item for item in found if item.code == "data-shape-mismatch")
    assert item.fix is not None
    assert item.fix.label == "read tag as the label"
    assert runfile_io.change(run_file(), dict(item.fix.changes)).data.columns == {"label": "tag"}
    several = judge(run_file(), facts(data=replace(UNKNOWN, offers=(offer, offer))))
    assert [item.fix for item in several if item.code == "data-shape-mismatch"] == [None]
