"""Chat markup that does not belong into the words of a row: signs that a template was applied
before, here or elsewhere."""

from __future__ import annotations

import re

# What it is called -> what gives it away.
MARKUP = {
    "ChatML": r"<\|im_(?:start|end|sep)\|>",
    "Llama 2 / Mistral": r"\[/?INST\]|<</?SYS>>",
    "Llama 3": r"<\|(?:start|end)_header_id\|>|<\|eot_id\|>",
    "Llama 4": r"<\|header_(?:start|end)\|>|<\|eot\|>",
    "Gemma": r"<(?:start|end)_of_turn>",
    "Zephyr / Phi": r"<\|(?:user|assistant|system|end)\|>",
    "Harmony": r"<\|start\|>(?:system|developer|user|assistant)",
    "Cohere": r"<\|(?:START|END)_OF_TURN_TOKEN\|>",
    "DeepSeek": r"<｜(?:User|Assistant)｜>",
    "Alpaca": r"^### (?:Instruction|Response|Input):",
    "HH": r"\n\n(?:Human|Assistant): ",
    "Vicuna": r"^USER: [\s\S]* ASSISTANT:",
}
PATTERNS = {name: re.compile(pattern, re.MULTILINE) for name, pattern in MARKUP.items()}


def markup_in(text: str) -> str:
    """The name of the markup in a text, or ""."""
    for name, pattern in PATTERNS.items():
        if pattern.search(text):
            return name
    return ""
