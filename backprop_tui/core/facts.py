"""What is there: the GPU, the model and the data, as frozen values.

`probe/` reads the outside world and returns these; everything else only reads them.
A reading that could not be had is None and is shown as "n/a".
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from backprop_tui.core.memory_question import MemoryFacts
from backprop_tui.core.quality import Quality

Shape = Literal["sft", "paired", "unpaired", "other"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuProcess:
    """A process that holds memory on a card. memory: bytes."""

    pid: int
    name: str | None = None
    memory: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One card. Memory in bytes, temperature in degrees Celsius, power in watts."""

    index: int
    name: str
    uuid: str | None = None
    memory_total: int | None = None
    memory_used: int | None = None
    memory_free: int | None = None
    compute_capability: tuple[int, int] | None = None
    bf16: bool | None = None  # native bfloat16: compute capability 8.0 or newer
    temperature: int | None = None
    power: float | None = None
    power_limit: float | None = None
    utilisation: int | None = None  # percent
    processes: tuple[GpuProcess, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuFacts:
    """Every card NVML reports, or the reason there is none."""

    cards: tuple[Gpu, ...] = ()
    driver: str | None = None
    cuda: str | None = None  # newest CUDA version the driver supports, "12.4"
    problem: str | None = None  # why no card can be used, in words


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """A causal language model, read from its config and safetensors headers; no weights loaded."""

    name: str  # as the user gave it: folder, hub id, or "pocket"
    source: Literal["folder", "cache", "hub", "pocket"]
    path: str | None = None  # resolved local folder, absolute
    commit: str | None = None
    architecture: str | None = None  # "LlamaForCausalLM"
    parameters: int | None = None
    weight_bytes: int | None = None
    dtype: str | None = None  # "bfloat16"
    layers: int | None = None
    hidden: int | None = None
    intermediate: int | None = None
    heads: int | None = None
    kv_heads: int | None = None
    vocabulary: int | None = None
    context: int | None = None  # longest sequence the config allows, tokens
    tied_embeddings: bool = False
    quantisation: str | None = None  # method named in the config, when already quantised
    tokenizer: bool = True
    chat_template: bool = True
    config: str = field(default="", repr=False)  # config.json, as JSON with sorted keys
    # It needs code of its own that transformers does not have and nobody has trusted.
    remote_code: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantiles:
    """Lengths over the sample, in words or tokens."""

    p50: int
    p90: int
    p99: int
    max: int
    mean: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthBias:
    """How often the chosen side is longer or shorter, over the sampled pairs.

    ratio: mean words of rejected over mean words of chosen.
    p_value: two-sided sign test over pairs of unequal length.
    """

    pairs: int
    chosen_longer: int
    chosen_shorter: int
    equal: int
    ratio: float
    p_value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DroppedRow:
    """One row that cannot be trained. row counts from 1 (the line, for JSONL).

    place: where to look, for a person: "12", or "b.jsonl 12" where there are several files.
    """

    row: int
    reason: str
    excerpt: str
    place: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One way to make a data set usable: what it would mean, and the run-file keys to set."""

    text: str
    changes: tuple[tuple[str, Any], ...]  # ("data.columns", {"label": "tag"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What one max_length would do to the sampled rows, in rows.

    whole + prompt_cut + too_long == the rows measured. too_long: the answer alone fills it,
    so the row is dropped, or its answer cut when the run file asks.
    """

    max_length: int
    whole: int
    prompt_cut: int
    too_long: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFacts:
    """A data set: what it is, how much of it can be trained, and what it looks like.

    kept + sum(dropped.values()) == rows, always. exact: those are counts; else they are
    estimated from a sample, because the file is too large to read whole at once.
    """

    name: str  # as the user gave it
    path: str | None  # resolved file, absolute; None for a hub data set
    format: str  # "jsonl" | "json" | "csv" | "tsv" | "parquet" | "hub"
    shape: Shape
    layout: str  # the columns that decided, in words: "prompt, chosen, rejected"
    columns: tuple[str, ...]
    rows: int
    kept: int
    exact: bool = True
    files: tuple[str, ...] = ()  # where there are several, absolute
    left_out: tuple[str, ...] = ()  # files of other splits in the same folder, not read
    size: int | None = None  # bytes on disk
    dropped: dict[str, int] = field(default_factory=dict)
    dropped_rows: tuple[DroppedRow, ...] = ()  # the first few of each reason
    sampled: int = 0
    words: dict[str, Quantiles] = field(
        default_factory=dict
    )  # by prompt/chosen/rejected/completion
    # The same once a model is known, and "row": prompt and longest answer together.
    tokens: dict[str, Quantiles] | None = None
    fits: tuple[Fit, ...] = ()  # once a model is known: what each max_length would do
    length_bias: LengthBias | None = None
    labels: dict[bool, int] | None = None  # kept rows by label, over the whole file
    duplicate_rows: int = 0
    duplicate_prompts: int = 0
    examples: tuple[dict[str, str], ...] = ()  # three rows to look at, as text
    sha256: str | None = None
    advice: str = ""  # for "other": what it looks like and what would make it usable
    offers: tuple[Offer, ...] = ()  # ways to make it usable, or to read it otherwise
    quality: Quality | None = None  # None until it was looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that is known when a run file is judged; what is not yet known is None."""

    gpu: GpuFacts | None = None
    model: ModelFacts | None = None
    data: DataFacts | None = None
    card: int = 0  # index of the chosen card
    memory: MemoryFacts = field(default_factory=MemoryFacts, repr=False)

    @property
    def gpu_card(self) -> Gpu | None:
        """The chosen card, or None on a machine without one."""
        cards = self.gpu.cards if self.gpu else ()
        return next((card for card in cards if card.index == self.card), None)


def to_json(facts: Any) -> dict[str, Any]:
    """Facts as plain JSON values; label counts get the keys "true" and "false"."""
    plain: dict[str, Any] = asdict(facts)
    if plain.get("labels"):
        plain["labels"] = {str(key).lower(): n for key, n in plain["labels"].items()}
    return plain
