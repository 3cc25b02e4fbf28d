"""Rebuild the pocket model and its sample preference data from a seed.

    python scripts/build_pocket.py [--seed 7] [--data-only] [--output backprop_tui/demo]

One CPU thread, no network, no accelerator. The data files are the same bytes on every machine;
the weights are the same on the same machine with the same versions of torch and transformers.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

# Before torch and tokenizers start their thread pools.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts import pocket_corpus as corpus

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

DEFAULT_SEED: Final = 7
DEFAULT_OUTPUT: Final = Path(__file__).resolve().parent.parent / "backprop_tui" / "demo"

VOCAB_SIZE: Final = 2048
END_OF_TEXT: Final = "<|endoftext|>"
START: Final = "<|im_start|>"
END: Final = "<|im_end|>"
PAD: Final = "<|pad|>"
SPECIAL_TOKENS: Final = (PAD, END_OF_TEXT, START, END)

HIDDEN_SIZE: Final = 256
INTERMEDIATE_SIZE: Final = 512
LAYERS: Final = 4
HEADS: Final = 8
KEY_VALUE_HEADS: Final = 2
MAX_POSITIONS: Final = 1024

DOCUMENTS: Final = 30_000
TOKENIZER_DOCUMENTS: Final = 12_000
BATCH_DOCUMENTS: Final = 12
BUCKET_BATCHES: Final = 64
LEARNING_RATE: Final = 3e-3
FINAL_RATE_SHARE: Final = 0.03
WARMUP_STEPS: Final = 120
WEIGHT_DECAY: Final = 0.05
GRADIENT_CLIP: Final = 1.0
REPORT_EVERY: Final = 200

MAX_FOLDER_BYTES: Final = 6_000_000

# ChatML. A message ends with its end token; the line break stands before the next message, so a
# rendered answer ends with the end-of-sequence token and trainers add no second one.
CHAT_TEMPLATE: Final = """\
{%- for message in messages -%}
{%- if not loop.first -%}{{ '\\n' }}{%- endif -%}
{{ '<|im_start|>' + message['role'] + '\\n' }}
{%- if message['role'] == 'assistant' -%}
{%- generation -%}{{ message['content'] + '<|im_end|>' }}{%- endgeneration -%}
{%- else -%}
{{ message['content'] + '<|im_end|>' }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '\\n<|im_start|>assistant\\n' }}{%- endif -%}
"""


def render(document: corpus.Document) -> str:
    """The text of one document: ChatML for a chat, an end-of-text mark after prose."""
    if not document.messages:
        return document.text + END_OF_TEXT
    return "\n".join(
        f"{START}{message['role']}\n{message['content']}{END}" for message in document.messages
    )


def write_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write JSON lines with ``\\n`` line ends on every system."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_bytes(text.encode("utf-8"))


def train_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """Train the byte-level BPE tokenizer and give it its chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=[START, END_OF_TEXT],
        model_max_length=MAX_POSITIONS,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )


def new_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A fresh model with seeded weights (the seed was set by the caller)."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN_SIZE,
        intermediate_size=INTERMEDIATE_SIZE,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KEY_VALUE_HEADS,
        max_position_embeddings=MAX_POSITIONS,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def batches(
    rows: Sequence[Sequence[int]], pad: int, rng: random.Random
) -> Iterator[tuple[Tensor, Tensor]]:
    """Token ids and labels, one pass over all rows, rows of like length together."""
    import torch

    order = list(range(len(rows)))
    rng.shuffle(order)
    span = BATCH_DOCUMENTS * BUCKET_BATCHES
    groups: list[list[int]] = []
    for start in range(0, len(order), span):
        bucket = sorted(order[start : start + span], key=lambda index: len(rows[index]))
        cut = [bucket[i : i + BATCH_DOCUMENTS] for i in range(0, len(bucket), BATCH_DOCUMENTS)]
        rng.shuffle(cut)
        groups += cut
    for group in groups:
        width = max(len(rows[index]) for index in group)
        ids = torch.full((len(group), width), pad)
        labels = torch.full((len(group), width), -100)
        for line, index in enumerate(group):
            row = torch.tensor(rows[index])
            ids[line, : len(row)] = row
            labels[line, : len(row)] = row
        yield ids, labels


def rate_at(step: int, steps: int) -> float:
    """Learning rate: a straight warm-up, then half a cosine to a small share of the peak."""
    if step < WARMUP_STEPS:
        return LEARNING_RATE * (step + 1) / WARMUP_STEPS
    progress = (step - WARMUP_STEPS) / max(1, steps - WARMUP_STEPS)
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    return LEARNING_RATE * (FINAL_RATE_SHARE + (1 - FINAL_RATE_SHARE) * cosine)


def pretrain(
    model: LlamaForCausalLM, rows: Sequence[Sequence[int]], pad: int, rng: random.Random
) -> None:
    """One pass of plain next-token training over all rows, loss on every token.

    Rows are padded on the right, so no attention mask is needed: no real token sees padding.
    """
    import torch

    decay = [weight for weight in model.parameters() if weight.dim() > 1]
    plain = [weight for weight in model.parameters() if weight.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [
            {"params": decay, "weight_decay": WEIGHT_DECAY},
            {"params": plain, "weight_decay": 0.0},
        ],
        lr=LEARNING_RATE,
        betas=(0.9, 0.98),
    )
    steps = math.ceil(len(rows) / BATCH_DOCUMENTS)
    total, counted, tokens, began = 0.0, 0, 0, time.perf_counter()
    model.train()
    for step, (ids, labels) in enumerate(batches(rows, pad, rng)):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, steps)
        logits = model(input_ids=ids).logits
        loss = torch.nn.functional.cross_entropy(
            logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
        )
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        total, counted, tokens = total + loss.item(), counted + 1, tokens + ids.numel()
        if (step + 1) % REPORT_EVERY == 0 or step + 1 == steps:
            spent = time.perf_counter() - began
            print(
                f"step {step + 1}/{steps}  loss {total / counted:.4f}  "
                f"{tokens / spent:.0f} tokens/s  {spent:.0f} s",
                flush=True,
            )
            total, counted = 0.0, 0


def build_model(seed: int, held_out: set[str], folder: Path) -> None:
    """Train tokenizer and model and write the model folder."""
    import torch
    from transformers import GenerationConfig

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)

    documents = corpus.pretraining_documents(seed, DOCUMENTS, held_out)
    texts = [render(document) for document in documents]
    tokenizer = train_tokenizer(texts[:TOKENIZER_DOCUMENTS])
    rows: list[list[int]] = [tokenizer.encode(text) for text in texts]
    print(
        f"{len(rows)} documents, {sum(map(len, rows))} tokens, longest {max(map(len, rows))}, "
        f"vocabulary {len(tokenizer)}",
        flush=True,
    )

    model = new_model(tokenizer)
    pad: Any = tokenizer.pad_token_id
    pretrain(model, rows, pad, random.Random(f"order-{seed}"))

    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        max_new_tokens=80,
    )
    folder.mkdir(parents=True, exist_ok=True)
    parameters = sum(weight.numel() for weight in model.parameters())
    model.to(torch.bfloat16)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{parameters} parameters, {size} bytes in the folder")
    if size > MAX_FOLDER_BYTES:
        raise SystemExit(f"the folder is over {MAX_FOLDER_BYTES} bytes")


def main() -> None:
    """Read the arguments and write the demo folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED)
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT)
    parser.add_argument("--data-only", action="store_true", help="write the data, keep the model")
    arguments = parser.parse_args()

    output: Path = arguments.output
    output.mkdir(parents=True, exist_ok=True)
    pairs, feedback = corpus.preference_data(arguments.seed)
    write_rows(output / "pairs.jsonl", pairs)
    write_rows(output / "feedback.jsonl", feedback)
    shorter = sum(
        corpus.word_count(row["chosen"]) < corpus.word_count(row["rejected"]) for row in pairs
    )
    print(f"{len(pairs)} pairs (chosen shorter in {shorter}), {len(feedback)} feedback rows")
    if arguments.data_only:
        return
    held_out = {row["prompt"] for row in pairs} | {row["prompt"] for row in feedback}
    build_model(arguments.seed, held_out, output / "pocket")


if __name__ == "__main__":
    main()
