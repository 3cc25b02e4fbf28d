"""Rules about the model and the machine: what must be there, and in which precision."""

from __future__ import annotations

from backprop_tui.core.rules.advice import Advice, Case, Fix, Rule
from backprop_tui.core.text import parameters

QLORA = "QLoRA, arXiv:2305.14314"
TINY = 100_000_000  # parameters a CPU can train in minutes
# Ends of architecture names, and the families whose ForConditionalGeneration is seq2seq.
NOT_CAUSAL = (
    *("ForMaskedLM", "ForSequenceClassification", "ForTokenClassification"),
    *("ForQuestionAnswering", "ForMultipleChoice", "MarianMTModel", "T5EncoderModel"),
)
ENCODER_DECODERS = (
    *("T5", "MT5", "UMT5", "LongT5", "T5Gemma", "SwitchTransformers", "Bart", "MBart", "PLBart"),
    *("Pegasus", "PegasusX", "BigBirdPegasus", "Blenderbot", "BlenderbotSmall", "LED"),
    *("M2M100", "NllbMoe", "FSMT", "ProphetNet"),
)


def model_missing(case: Case) -> Advice | None:
    """No model was named."""
    if case.run.model.id:
        return None
    return Advice(
        code="CONFIG_INVALID_SETTING",
        level="problem",
        field="model.id",
        message='model.id = "": name a folder, a hub id, or "pocket" for the bundled tiny model.',
        fix=Fix("use the bundled model", (("model.id", "pocket"),)),
    )


def tokenizer_missing(case: Case) -> Advice | None:
    """Text cannot become tokens."""
    model = case.facts.model
    if model is None or model.tokenizer:
        return None
    return Advice(
        code="model-no-tokenizer",
        level="problem",
        field="model.id",
        message=(
            f"{model.name} has no tokenizer. Allowed: a model folder with tokenizer.json "
            "(or its older files) beside config.json."
        ),
    )


def chat_template_missing(case: Case) -> Advice | None:
    """Prompts and answers are rendered through a chat template, never glued together."""
    model = case.facts.model
    if model is None or model.chat_template or case.run.model.chat_template:
        return None
    return Advice(
        code="model-no-chat-template",
        level="problem",
        field="model.chat_template",
        message=(
            f"{model.name} has no chat template, so prompts and answers cannot be told apart. "
            "Use an instruction-tuned model, or give a Jinja file in model.chat_template."
        ),
    )


def remote_code(case: Case) -> Advice | None:
    """The model wants to run code of its own."""
    model = case.facts.model
    if model is None or not model.remote_code:
        return None
    return Advice(
        code="model-remote-code",
        level="problem",
        field="model.id",
        message=(
            f"{model.name} needs code of its own to load, which is off: it would run on this "
            "machine with your rights. Read that code first, then start each run with "
            "--trust-remote-code."
        ),
    )


def model_not_causal(case: Case) -> Advice | None:
    """An encoder, a classifier or an encoder-decoder: it does not continue a text."""
    model = case.facts.model
    if model is None or model.architecture is None or not _is_not_causal(model.architecture):
        return None
    return Advice(
        code="model-not-causal",
        level="problem",
        field="model.id",
        message=(
            f"{model.name} is a {model.architecture}, which does not continue a text word by word. "
            "Allowed: a causal language model (its config.json names a …ForCausalLM)."
        ),
    )


def _is_not_causal(architecture: str) -> bool:
    family, sign, _ = architecture.partition("ForConditionalGeneration")
    # Vision-language models end so too, and they are causal: only these families are not.
    return (sign and family in ENCODER_DECODERS) or architecture.endswith(NOT_CAUSAL)


def quantised_full(case: Case) -> Advice | None:
    """Quantised weights cannot be trained themselves."""
    if case.run.lora is not None or case.plan.precision not in ("nf4", "int8"):
        return None
    return Advice(
        code="quantised-full-fine-tuning",
        level="problem",
        field="lora",
        message=(
            f"precision {case.plan.precision} without [lora]: quantised weights cannot be trained. "
            "Allowed: a [lora] table, or precision bf16, fp16 or fp32."
        ),
        fix=Fix("train an adapter", (("lora.rank", 16),)),
        source=QLORA,
    )


def _trains_on_cpu(case: Case) -> bool:
    """Whether it is certain: the card may not have been looked for yet."""
    known = case.facts.gpu is not None or case.run.machine.device != "auto"
    return case.plan.device == "cpu" and known


def quantised_on_cpu(case: Case) -> Advice | None:
    """nf4 and int8 kernels are for CUDA; a CPU run would crawl."""
    if not _trains_on_cpu(case) or case.run.model.precision not in ("nf4", "int8"):
        return None
    return Advice(
        code="quantised-on-cpu",
        level="warning",
        field="model.precision",
        message=(
            f"{case.run.model.precision} on a CPU works but is slow: there are no fast kernels "
            "for it. fp32 is the CPU's own."
        ),
        fix=Fix("use fp32", (("model.precision", "fp32"),)),
        source="bitsandbytes documentation",
    )


def cuda_missing(case: Case) -> Advice | None:
    """The file asks for a card that is not there."""
    gpu, machine = case.facts.gpu, case.run.machine
    if machine.device == "cpu" or gpu is None or case.facts.gpu_card:
        return None
    if machine.device == "auto" and not gpu.cards:
        return None  # a CPU is what "auto" means here
    if gpu.cards or not gpu.problem:
        found = f" (cards found: {len(gpu.cards)})." if gpu.cards else " (no card found)."
    else:  # sentences of their own
        found = f". {gpu.problem.removesuffix('.')}."
    first = gpu.cards[0].index if gpu.cards else None
    return Advice(
        code="no-such-card",
        level="problem",
        field="machine.card",
        message=f"device {machine.device}, card {machine.card}: not on this machine{found}",
        fix=Fix("train on the CPU", (("machine.device", "cpu"),))
        if first is None
        else Fix(f"use card {first}", (("machine.card", first),)),
    )


def no_card(case: Case) -> Advice | None:
    """Nothing but a CPU, and a model that is too large for one."""
    model = case.facts.model
    if not _trains_on_cpu(case) or model is None or (model.parameters or 0) <= TINY:
        return None
    chosen = case.facts.gpu_card is not None or case.facts.gpu is None
    return Advice(
        code="large-model-on-cpu",
        level="warning",
        field="model.id",
        message=(
            f"{model.name} has {parameters(model.parameters)} parameters and "
            f"{'machine.device is cpu' if chosen else 'there is no card'}: "
            "each step takes minutes. Only models up to about 100M are worth training on a CPU."
        ),
        fix=Fix("train on the card", (("machine.device", "auto"),))
        if case.facts.gpu_card
        else Fix("use the bundled model", (("model.id", "pocket"),)),
    )


def bf16_support(case: Case) -> Advice | None:
    """bf16 on a card without it, fp16 on a card with it."""
    card = case.facts.gpu_card
    if case.plan.device != "cuda" or card is None or card.bf16 is None:
        return None
    if case.plan.precision == "bf16" and not card.bf16:
        return Advice(
            code="bf16-unsupported",
            level="warning",
            field="model.precision",
            message=f"{card.name} has no bf16 units: it would be emulated, slowly. Use fp16.",
            fix=Fix("use fp16", (("model.precision", "fp16"),)),
        )
    if case.plan.precision == "fp16" and card.bf16:
        return Advice(
            code="fp16-on-bf16-card",
            level="warning",
            field="model.precision",
            message=f"{card.name} has bf16, which does not overflow as fp16 does.",
            fix=Fix("use bf16", (("model.precision", "bf16"),)),
        )
    return None


MACHINE_RULES: tuple[Rule, ...] = (
    model_missing,
    tokenizer_missing,
    chat_template_missing,
    remote_code,
    model_not_causal,
    quantised_full,
    cuda_missing,
    quantised_on_cpu,
    no_card,
    bf16_support,
)
