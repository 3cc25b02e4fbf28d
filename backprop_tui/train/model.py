"""Loading: tokenizer, frozen base, quantisation, and the adapter's shape."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path
from typing import Any

from backprop_tui.core.effective import Effective
from backprop_tui.core.errors import InputError, RunError
from backprop_tui.core.facts import ModelFacts
from backprop_tui.core.runfile import RunFile
from backprop_tui.train.distributed import asks_for_fsdp

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
PIECE = 2**20  # bytes of a file that are hashed at once
# Below this a step is so short that handing it to several threads costs more than it saves.
ONE_THREAD_BELOW = 20_000_000  # parameters, CPU runs only


def use_device(run: RunFile, plan: Effective, model: ModelFacts, *, launched: bool = False) -> None:
    """Point torch at the chosen card, or at the CPU with a thread count that replays.

    launched: this process is one of several, and was given its card by the launcher.
    """
    import torch

    if plan.device == "cuda":
        # Rows differ in length: without this, pieces between them stay reserved and unused.
        os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
        if not launched:
            _choose_card(str(run.machine.card))
        if not torch.cuda.is_available():
            raise RunError(
                "The driver shows a card but torch cannot use it.",
                hint="backprop-tui gpu shows the driver; torch must be a CUDA build for it",
                code="RUN_NO_CUDA",
            )
        torch.cuda.reset_peak_memory_stats()
    elif (model.parameters or 0) < ONE_THREAD_BELOW:
        torch.set_num_threads(1)


def _choose_card(card: str) -> None:
    """Let CUDA see this card alone."""
    import torch

    # Read once, at CUDA's first use in this process; a later change would be ignored.
    if torch.cuda.is_initialized() and os.environ.get("CUDA_VISIBLE_DEVICES") != card:  # type: ignore[no-untyped-call]
        raise RunError(
            f"This process already uses another card; card {card} cannot be chosen now.",
            hint="save the run file, quit, and start again with that card",
            code="RUN_CARD_TAKEN",
        )
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # counted as the driver counts them
    os.environ["CUDA_VISIBLE_DEVICES"] = card


def load_tokenizer(run: RunFile, model: ModelFacts, *, trust_remote_code: bool) -> Any:
    """A tokenizer with a chat template and a padding token that is not its EOS where possible."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            model.path or model.name,
            revision=model.commit if not model.path else None,
            trust_remote_code=trust_remote_code,
        )
    except Exception as error:  # of any kind: the Rust library raises Exception itself
        raise InputError(
            f"{model.name}: the tokenizer cannot be loaded: {_first_line(error)}",
            hint="the model folder needs tokenizer.json and tokenizer_config.json",
            code="MODEL_NO_TOKENIZER",
        ) from error
    if run.model.chat_template:
        path = Path(run.model.chat_template).expanduser()
        try:
            if path.exists() and not path.is_file():  # a folder, or a device without an end
                raise OSError(errno.EINVAL, "it is not a file")
            tokenizer.chat_template = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"model.chat_template: {path} cannot be read: {error}", code="TEMPLATE_UNREADABLE"
            ) from error
    tokenizer.chat_template = _one_template(tokenizer.chat_template, model.name)
    if tokenizer.eos_token is None:
        raise InputError(
            f"{model.name}: its tokenizer names no end-of-turn token (eos_token)",
            hint="add eos_token to tokenizer_config.json; without it no answer ever ends",
            code="MODEL_NO_EOS",
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _one_template(found: Any, name: str) -> str:
    """A model's chat template; of several with names, the one that transformers would take."""
    if isinstance(found, dict):
        if "default" not in found:
            raise InputError(
                f"{name} has chat templates named {', '.join(sorted(found))}, and none is default",
                hint="give one of them as a Jinja file in model.chat_template",
                code="model-no-chat-template",
            )
        found = found["default"]
    if not found or not isinstance(found, str):
        raise InputError(
            f"{name} has no chat template",
            hint="give a Jinja file in model.chat_template, or use an instruction-tuned model",
            code="model-no-chat-template",
        )
    return found


def load_model(run: RunFile, plan: Effective, model: ModelFacts, *, trust_remote_code: bool) -> Any:
    """The base model, frozen weights in the planned precision. Safetensors only."""
    import torch
    from transformers import AutoModelForCausalLM

    options: dict[str, Any] = {}
    half = torch.bfloat16
    if plan.device == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        half = torch.float16
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}.get(
        plan.precision, half
    )
    if run.lora is None:
        # Trained weights are float32: bf16 rounds away steps as small as the published rates.
        dtype = torch.float32
    if plan.precision in ("nf4", "int8"):
        options["quantization_config"] = quantisation(plan.precision, dtype)
    # FSDP moves each weight's part to its card itself; it leaves quantised ones whole.
    if plan.device == "cuda" and (options or not asks_for_fsdp()):
        options["device_map"] = {"": torch.cuda.current_device()}
    try:
        loaded, report = AutoModelForCausalLM.from_pretrained(
            model.path or model.name,
            revision=model.commit if not model.path else None,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
            **options,
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise InputError(
            f"{model.name}: the weights cannot be loaded: {_first_line(error)}",
            hint="backprop-tui check names what is wrong with a model folder",
            code="MODEL_UNLOADABLE",
        ) from error
    absent = sorted([*report["missing_keys"], *map(str, report["mismatched_keys"])])
    if absent:
        # transformers would fill these with random numbers and only mention it in a log.
        raise InputError(
            f"{model.name}: {len(absent)} weights are not in its files, among them {absent[0]}",
            hint="download or copy the model folder again",
            code="MODEL_BROKEN_WEIGHTS",
        )
    loaded.config.use_cache = False  # for generation; with checkpointing it only warns
    return loaded


def stay_as_loaded(model: Any) -> None:
    """Keep bitsandbytes from packing 4-bit weights anew for a CPU with AVX-512 bf16.

    It does so in the first forward of a model that is not training, for good; and the kernel for
    weights packed so has no gradient: layers below would learn nothing through it.
    """
    from bitsandbytes.nn import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def quantisation(precision: str, compute: Any) -> Any:
    """The bitsandbytes settings of a precision; compute: the dtype that products are made in."""
    from transformers import BitsAndBytesConfig

    if precision == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute,
    )


def lora_config(run: RunFile) -> Any:
    """The PEFT configuration of [lora], or None for full fine-tuning."""
    if run.lora is None:
        return None
    from peft import LoraConfig

    targets = run.lora.targets
    return LoraConfig(
        r=run.lora.rank,
        lora_alpha=run.lora.alpha,
        lora_dropout=run.lora.dropout,
        target_modules=ATTENTION if targets == "attention" else targets,
        task_type="CAUSAL_LM",
    )


def check_targets(run: RunFile, model: Any) -> None:
    """Refuse adapter targets that name no module, with the names there are."""
    if run.lora is None or run.lora.targets == "all-linear":
        return
    targets = ATTENTION if run.lora.targets == "attention" else list(run.lora.targets)
    names = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    absent = [target for target in targets if target.rpartition(".")[2] not in names]
    if absent:
        import torch

        linear = sorted(
            {
                name.rpartition(".")[2]
                for name, module in model.named_modules()
                if isinstance(module, torch.nn.Linear)
            }
        )
        raise InputError(
            f"lora.targets = {absent!r}: no such module in this model",
            hint=f"its linear layers are {', '.join(linear)}; or 'all-linear'",
            code="CONFIG_INVALID_SETTING",
        )


def weights_sha256(model: ModelFacts) -> str:
    """One hash over the weights and the configuration of a local folder; "" for a hub model (its
    commit names both). Of a file over 1 GB a piece of every 64 MB is read: a change of training
    or merging is all over it."""
    if not model.path or model.commit:
        return ""
    digest = hashlib.sha256()
    folder = Path(model.path)
    for file in (*sorted(folder.glob("*.safetensors")), folder / "config.json"):
        if not file.is_file():
            continue
        size = file.stat().st_size
        digest.update(f"{file.name}:{size}".encode())
        with file.open("rb") as stream:
            for start in range(0, size, PIECE if size <= 2**30 else 64 * PIECE):
                stream.seek(start)
                digest.update(stream.read(PIECE))
            stream.seek(max(size - PIECE, 0))
            digest.update(stream.read())
    return digest.hexdigest()


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
