"""RunFile: the whole plan as one frozen value, and the TOML file it is read from.

Strict: an unknown key, a wrong type or a value out of range is refused, and every problem
is reported at once (`core/runfile_io.py`). A field's description is its help text in the
wizard, the docs and the error message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import ConfigDict, Field, create_model

from backprop_tui.core.facts import Shape
from backprop_tui.core.methods import METHODS
from backprop_tui.core.runfile_guards import GuardsSection
from backprop_tui.core.runfile_methods import (
    METHOD_SECTIONS,
    WRITTEN,
    KtoSection,
    MethodChoice,
    OrpoSection,
    Positive,
    Section,
    SftSection,
    SimpoSection,
)

__all__ = ["METHOD_SECTIONS", "RunFile", "Section"]

Precision = Literal["auto", "nf4", "int8", "bf16", "fp16", "fp32"]
Optimizer = Literal["auto", "adamw", "adamw_8bit", "paged_adamw_8bit"]
Engine = Literal["lean", "trl"]
Schedule = Literal["cosine", "linear", "constant"]
TargetsPreset = Literal["all-linear", "attention"]

WholePositive = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what numpy and torch accept


class ModelSection(Section):
    """The model to tune."""

    id: str = Field("", description="Folder, hub id, or 'pocket' for the bundled tiny model.")
    revision: str | None = Field(None, description="Commit, tag or branch of a hub model.")
    precision: Precision = Field(
        "auto",
        description="How the frozen weights are held: nf4 and int8 are quantised (CUDA only). "
        "auto: fp32 on a CPU, else bf16 up to 1 billion parameters and nf4 above.",
    )
    chat_template: str | None = Field(
        None, description="A Jinja file to use when the tokenizer brings no chat template."
    )


class DataSection(Section):
    """The examples to learn from."""

    path: str = Field("", description="File, folder, hub id, or 'pocket' for the bundled examples.")
    more_paths: list[str] | None = Field(
        None, description="Further files with rows of the same kind, read after path."
    )
    config: str | None = Field(None, description="Configuration (subset) of a hub data set.")
    split: str | None = Field(None, description="Split of a hub data set, 'train' by default.")
    revision: str | None = Field(None, description="Commit, tag or branch of a hub data set.")
    columns: dict[str, str] | None = Field(
        None, description="Our column name = the file's, where detection is wrong."
    )
    labels: dict[str, bool] | None = Field(
        None,
        description="What each text in the label column means: true is good, false is bad. "
        "Rows with any other text are dropped and counted.",
    )
    shape: Shape | None = Field(None, description="Overrides the detected shape.")
    max_length: WholePositive = Field(
        1024, description="Longest prompt + answer in tokens. Over it the prompt is cut first."
    )
    cut_answers: bool = Field(
        False, description="Also cut answers that are too long by themselves (else dropped)."
    )
    heldout: Annotated[float, Field(ge=0, le=0.5, allow_inf_nan=False)] = Field(
        0.1, description="Share of prompts kept aside to measure on. 0 means none."
    )
    heldout_seed: Seed = Field(0, description="Seed of the held-out split and of the order.")


class LoraSection(Section):
    """The adapter. Without this table every weight is trained (full fine-tuning)."""

    rank: WholePositive = Field(16, description="Rank of the adapter matrices.")
    alpha: Positive = Field(32.0, description="Scale: the update is multiplied by alpha / rank.")
    dropout: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] = Field(
        0.0, description="Share of adapter inputs dropped while training."
    )
    targets: TargetsPreset | Annotated[list[str], Field(min_length=1)] = Field(
        "all-linear", description="Layers that get an adapter: a preset or module names."
    )


class TrainingSection(Section):
    """How the training goes."""

    learning_rate: Positive | None = Field(
        None, description="Absent: chosen from the method and the number of rows."
    )
    lr_clamp: bool = Field(
        True, description="Lower a simpo or kto rate that is known to break the model."
    )
    epochs: Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)] = Field(
        1.0, description="Passes over the training rows."
    )
    max_steps: WholePositive | None = Field(None, description="Stop after this many steps.")
    batch_size: WholePositive = Field(2, description="Rows (or pairs) on the card at once.")
    accumulation: WholePositive = Field(8, description="Batches added up before each step.")
    schedule: Schedule = Field("cosine", description="How the rate falls after the warm-up.")
    warmup: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] = Field(
        0.1, description="Share of the steps over which the rate rises."
    )
    optimizer: Optimizer = Field("auto", description="auto: paged_adamw_8bit on CUDA, else adamw.")
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        0.0, description="Pull of the trained weights toward zero."
    )
    max_grad_norm: Positive = Field(1.0, description="Longer gradients are scaled down to this.")
    checkpointing: bool = Field(
        True, description="Recompute activations instead of keeping them: less memory, slower."
    )
    checkpoint_every: WholePositive = Field(
        1,
        description="With checkpointing: recompute only every n-th layer. A step takes 1.54x the "
        "time at 1, which saves the most memory, 1.26x at 2 and 1.06x at 4.",
    )
    batch_tokens: WholePositive | None = Field(
        None,
        description="Lean engine: most tokens on the card at once; a batch with more is computed "
        "in parts, with the same result. Absent: a batch is computed whole.",
    )
    eval_steps: WholePositive | None = Field(
        None,
        description="Measure the held-out rows every so many steps; absent: ten times a run, "
        "or less often when that would measure more rows than it trains.",
    )
    save_steps: WholePositive | None = Field(
        None, description="Save a checkpoint every so many steps; absent: twice a run."
    )
    save_minutes: Positive = Field(
        10.0, description="Also save a checkpoint when the newest one is so old."
    )
    keep_best: bool = Field(
        False,
        description="At the end save the weights that were best on the held-out rows (see "
        "guards.watch), not the last ones.",
    )
    seed: Seed = Field(0, description="Seed of adapter weights and dropout.")


class MachineSection(Section):
    """Where it runs."""

    device: Literal["auto", "cuda", "cpu"] = Field(
        "auto", description="auto: the card when there is one, else the CPU."
    )
    card: Annotated[int, Field(ge=0)] = Field(0, description="Which card, as nvidia-smi counts.")


class ProvenanceSection(Section):
    """What the run was made with. Written by the tool at the start of a run."""

    started: str = Field("", description="When the run began.")
    python: str = Field("", description="Version of Python.")
    platform: str = Field("", description="Operating system and processor.")
    device: str = Field("", description="The card by name, or the CPU.")
    driver: str = Field("", description="Version of the card's driver.")
    cuda: str = Field("", description="Version of CUDA that torch was built for.")
    threads: int = Field(0, description="CPU threads torch used.")
    precision: str = Field("", description="How the weights were really held.")
    engine: str = Field("", description="How the losses were computed.")
    reference_path: str = Field("", description="Log-probabilities of the frozen base, measured.")
    reference_sha256: str = Field("", description="Hash of that file.")
    packages: dict[str, str] = Field(
        default_factory=dict, description="Version of each library that decides the result."
    )
    model_path: str = Field("", description="Folder the model was read from.")
    model_commit: str = Field("", description="Commit of a hub model.")
    model_sha256: str = Field("", description="Hash of the model's weights.")
    data_path: str = Field("", description="File the rows were read from.")
    data_sha256: str = Field("", description="Hash of that file.")
    chat_template_sha256: str = Field("", description="Hash of the chat template.")
    learning_rate: str = Field("", description="The rate used and how it was chosen.")
    rows: int = Field(0, description="Rows in the file.")
    kept: int = Field(0, description="Rows that can be trained.")
    train_rows: int = Field(0, description="Rows trained on.")
    heldout_rows: int = Field(0, description="Rows measured on.")
    dropped: dict[str, int] = Field(default_factory=dict, description="Rows left out, by reason.")
    cut: dict[str, int] = Field(default_factory=dict, description="Rows shortened, by reason.")
    overrides: dict[str, str] = Field(
        default_factory=dict, description="Keys set on the command line or by the environment."
    )
    lowered: dict[str, str] = Field(
        default_factory=dict, description="Keys lowered before step 1, because it did not fit."
    )
    amended: dict[str, str] = Field(
        default_factory=dict, description="Keys changed while it ran, and after which step."
    )
    order_batch: int | None = Field(
        None,
        description="Rows of a batch when the order of the rows was drawn, where the batch was "
        "made smaller since: the order stays.",
    )


class _Plan(Section):
    """What a run file holds for any method."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, validate_by_name=True, serialize_by_alias=True
    )

    schema_version: Literal[1] = Field(1, alias="schema", description="Version of this format.")
    method: MethodChoice = Field("orpo", description="The objective to train with.")
    engine: Engine = Field(
        "lean",
        description="lean: our preference trainer; trl: TRL's own, for comparison. sft always "
        "uses TRL's.",
    )
    output: str = Field("", description="Run folder to create. Empty: runs/METHOD-MODEL, numbered.")
    model: ModelSection = ModelSection()
    data: DataSection = DataSection()
    lora: LoraSection | None = Field(None, description="Absent: full fine-tuning.")
    training: TrainingSection = TrainingSection()
    machine: MachineSection = MachineSection()
    guards: GuardsSection = GuardsSection()
    sft: SftSection | None = None
    orpo: OrpoSection | None = None
    simpo: SimpoSection | None = None
    kto: KtoSection | None = None


if TYPE_CHECKING:
    _Objectives = _Plan
else:  # the tables made from METHODS, each a field of its own
    _Objectives = create_model(
        "_Objectives",
        __base__=_Plan,
        **{
            name: (section | None, None)
            for name, section in METHOD_SECTIONS.items()
            if name not in WRITTEN
        },
    )


class RunFile(_Objectives):
    """One run: everything that decides its result, and nothing secret."""

    provenance: ProvenanceSection | None = None

    def model_post_init(self, _context: Any) -> None:
        """The chosen method's table is always there, with its defaults."""
        if getattr(self, self.method) is None:
            section = METHOD_SECTIONS[self.method]()
            object.__setattr__(self, self.method, section)
            self.model_fields_set.add(self.method)

    @property
    def knobs(self) -> dict[str, float]:
        """The numbers of the chosen objective, as written (kto's weights before balancing)."""
        section = getattr(self, self.method)
        return {knob.name: getattr(section, knob.name) for knob in METHODS[self.method].knobs}

    @property
    def effective_batch(self) -> int:
        """Rows that decide one optimizer step, as written (TRL's kto may raise the batch)."""
        return self.training.batch_size * self.training.accumulation
