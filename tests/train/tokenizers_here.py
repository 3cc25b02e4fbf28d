"""Tokenizers for tests: the pocket model's, and variants of it with the habits of others."""

from __future__ import annotations

import copy
from typing import Any

from backprop_tui.core.rows import Chat, Message, Pair
from backprop_tui.probe.model import probe_model

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# After a system turn user and assistant must alternate, as in Llama 2, Mistral and Gemma.
STRICT = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{% set system = messages[0].content %}"
    "{% set turns = messages[1:] %}{% else %}{% set system = '' %}{% set turns = messages %}"
    "{% endif %}{% for m in turns %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{% if m.role == 'user' %}"
    "[INST] {% if loop.first and system %}{{ system }}\n\n{% endif %}{{ m.content | trim }} [/INST]"
    "{% else %}{{ m.content | trim }}<|im_end|>{% endif %}{% endfor %}"
)
# Closes the whole conversation with an EOS after the end of its last turn, as Phi 3 does.
CLOSING = CHATML + "{% if not add_generation_prompt %}<|endoftext|>{% endif %}"
# Writes reasoning in the last answer alone, as Qwen 3 does.
REASONING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}"
    "{% if loop.last %}<think>\n\n</think>\n\n{% endif %}{{ m.content.split('</think>')[-1] }}"
    "{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Counts the turns, so that a shorter conversation is another text from its start on.
COUNTING = "{{ messages | length }} turns\n" + CHATML


def pocket() -> Any:
    """The pocket model's own."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(probe_model("pocket").path)


def with_template(tokenizer: Any, template: str, *, bos: bool = False) -> Any:
    """The same tokenizer with another template; bos: and a BOS it adds by itself, too."""
    changed = copy.deepcopy(tokenizer)
    changed.chat_template = template
    if bos:
        from tokenizers.processors import TemplateProcessing

        changed.bos_token = "<|endoftext|>"
        changed.backend_tokenizer.post_processor = TemplateProcessing(
            single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", changed.bos_token_id)]
        )
    return changed


def metaspace(kind: str) -> Any:
    """A SentencePiece-like tokenizer. kind: where it puts a space of its own, "first", "always"
    or "never"; "legacy" does so in a normaliser, as Llama 2 does."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    if kind == "legacy":
        inner.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
    else:
        inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=kind, split=False)
    inner.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    special = ["<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=[*special, *(f"<0x{i:02X}>" for i in range(256))]
    )
    words = ["the rain in the garden: user assistant Yes. No. [INST] [/INST]\n"] * 5
    inner.train_from_iterator(words, trainer)
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    made.chat_template = (
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} "
        "[/INST]{% elif m.role == 'system' %}{{ m.content }}{% else %} {{ m.content }}</s>"
        "{% endif %}{% endfor %}"
    )
    return made


def user(text: str) -> Message:
    return Message("user", text)


def assistant(text: str) -> Message:
    return Message("assistant", text)


def system(text: str) -> Message:
    return Message("system", text)


def pair(prompt: str, chosen: str, rejected: str, number: int = 1) -> Pair:
    return Pair(number, (user(prompt),), (assistant(chosen),), (assistant(rejected),))


def chat(*texts: str, number: int = 1) -> Chat:
    """User and assistant in turn."""
    return Chat(number, tuple((user, assistant)[i % 2](text) for i, text in enumerate(texts)))
