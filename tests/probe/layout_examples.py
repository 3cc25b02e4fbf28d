"""Each layout: its name, a row as people write it, and the row it becomes."""

from __future__ import annotations

from typing import Any

from tests.probe.reading import HH, HH_PROMPT, PROMPT_AS_TURNS, A, B, Q, oai, sharegpt

EXAMPLES: list[tuple[str, dict[str, Any], tuple[Any, ...]]] = [
    # Unpaired
    ("prompt, completion, label", {"prompt": "q", "completion": "good", "label": 1}, (Q, A, True)),
    (
        "prompt, completion, label",
        {"prompt": oai(("user", "q")), "completion": oai(("assistant", "bad")), "label": False},
        (Q, B, False),
    ),
    (
        "prompt, completion, label",  # the conversation repeated
        {
            "prompt": "q",
            "completion": oai(("user", "q"), ("assistant", "good")),
            "label": True,
        },
        (Q, A, True),
    ),
    (
        "instruction, input, output, label",
        {"instruction": "q", "input": "", "output": "good", "label": True},
        (Q, A, True),
    ),
    (
        "messages, label",
        {"messages": oai(("system", "be kind"), ("user", "q"), ("assistant", "bad")), "label": 0},
        (PROMPT_AS_TURNS, B, False),
    ),
    (
        "query (prompt), response (completion), label",
        {"query": "q", "response": "good", "label": True},
        (Q, A, True),
    ),
    (
        "prompt, response (completion), label",
        {"prompt": "q", "response": "bad", "label": False},
        (Q, B, False),
    ),
    (
        "conversations, label",  # the last answer is judged
        {
            "conversations": sharegpt(*[("human", "hi"), ("gpt", "yo"), ("human", "q")])
            + sharegpt(("gpt", "bad")),
            "label": False,
        },
        (HH_PROMPT, B, False),
    ),
    # Paired
    ("prompt, chosen, rejected", {"prompt": "q", "chosen": "good", "rejected": "bad"}, (Q, A, B)),
    (
        "prompt, chosen, rejected",
        {
            "prompt": oai(("system", "be kind"), ("user", "q")),
            "chosen": {"role": "assistant", "content": "good"},
            "rejected": {"from": "gpt", "value": "bad"},
        },
        (PROMPT_AS_TURNS, A, B),
    ),
    (
        "prompt, chosen, rejected",  # UltraFeedback: a string and full conversations
        {
            "prompt": "q",
            "chosen": oai(("user", "q"), ("assistant", "good")),
            "rejected": oai(("user", "q"), ("assistant", "bad")),
        },
        (Q, A, B),
    ),
    (
        "prompt, chosen, rejected",  # only the conversations have the system turn
        {
            "prompt": "q",
            "chosen": oai(("system", "be kind"), ("user", "q"), ("assistant", "good")),
            "rejected": oai(("system", "be kind"), ("user", "q"), ("assistant", "bad")),
        },
        (PROMPT_AS_TURNS, A, B),
    ),
    (
        "prompt, chosen, rejected",  # the prompt is the first turn of several shared ones
        {
            "prompt": "hi",
            "chosen": oai(*[("user", "hi"), ("assistant", "yo"), ("user", "q")], ("gpt", "good")),
            "rejected": oai(*[("user", "hi"), ("assistant", "yo"), ("user", "q")], ("gpt", "bad")),
        },
        (HH_PROMPT, A, B),
    ),
    (
        "prompt, chosen, rejected",  # the prompt is the last of the shared turns
        {
            "prompt": "q",
            "chosen": oai(*[("user", "hi"), ("assistant", "yo"), ("user", "q")], ("gpt", "good")),
            "rejected": oai(*[("user", "hi"), ("assistant", "yo"), ("user", "q")], ("gpt", "bad")),
        },
        (HH_PROMPT, A, B),
    ),
    (
        "prompt, chosen, rejected",  # an HH transcript with the answers apart
        {"prompt": HH, "chosen": " good", "rejected": "bad"},
        (HH_PROMPT, (("a", " good"),), B),
    ),
    (
        "prompt, chosen, rejected",  # typed blocks
        {
            "prompt": [{"type": "text", "text": "q"}],
            "chosen": oai(
                ("assistant", [{"type": "text", "value": "go"}, {"type": "text", "text": "od"}])
            ),
            "rejected": "bad",
        },
        (Q, A, B),
    ),
    (
        "prompt, chosen, rejected",  # one starts like the prompt: not a repetition
        {"prompt": "Hi", "chosen": "Hi there", "rejected": "bad"},
        ((("u", "Hi"),), (("a", "Hi there"),), B),
    ),
    (
        "prompt, chosen, rejected (the prompt repeated in both)",
        {"prompt": "q?", "chosen": "q? good", "rejected": "q?\nbad"},
        ((("u", "q?"),), A, B),
    ),
    (
        "prompt, chosen, rejected (the prompt repeated in both)",
        {"prompt": HH, "chosen": HH + " good", "rejected": HH + " bad"},
        (HH_PROMPT, A, B),
    ),
    (
        "instruction, input, chosen, rejected",  # Alpaca with a preference
        {"instruction": "q", "input": "in", "output": "good", "chosen": "good", "rejected": "bad"},
        ((("u", "q\n\nin"),), A, B),
    ),
    (
        "question, chosen, rejected",
        {"system": "be kind", "question": "q", "chosen": "good", "rejected": "bad"},
        (PROMPT_AS_TURNS, A, B),
    ),
    (
        "query, chosen, rejected",
        {"query": "q", "history": [["hi", "yo"]], "chosen": "good", "rejected": "bad"},
        (HH_PROMPT, A, B),
    ),
    (
        "conversations, chosen, rejected",
        {
            "conversations": sharegpt(("system", "be kind"), ("human", "q")),
            "chosen": {"from": "gpt", "value": "good"},
            "rejected": {"from": "gpt", "value": "bad"},
        },
        (PROMPT_AS_TURNS, A, B),
    ),
    (
        "messages, chosen, rejected",
        {"messages": oai(("user", "q")), "chosen": "good", "rejected": "bad"},
        (Q, A, B),
    ),
    (
        "chosen, rejected",  # HH
        {"chosen": HH + " good", "rejected": HH + " bad"},
        (HH_PROMPT, A, B),
    ),
    (
        "chosen, rejected",
        {
            "chosen": oai(("user", "q"), ("assistant", "good")),
            "rejected": oai(("user", "q"), ("assistant", "bad")),
        },
        (Q, A, B),
    ),
    (
        "chosen, rejected",
        {"chosen": "Say: 2+2?\nIt is 4", "rejected": "Say: 2+2?\nIt is 5"},
        ((("u", "Say: 2+2?"),), (("a", "It is 4"),), (("a", "It is 5"),)),
    ),
    (
        "chosen, rejected",  # a shared word is no prompt
        {"chosen": "The cat", "rejected": "The dog"},
        ((), (("a", "The cat"),), (("a", "The dog"),)),
    ),
    (
        "input, chosen, rejected",
        {"input": "q", "chosen": "good", "rejected": "bad"},
        (Q, A, B),
    ),
    (
        "input, preferred_output, non_preferred_output (OpenAI)",
        {
            "input": {"messages": oai(("system", "be kind"), ("user", "q")), "tools": []},
            "preferred_output": oai(("assistant", "good")),
            "non_preferred_output": oai(("assistant", "bad")),
        },
        (PROMPT_AS_TURNS, A, B),
    ),
    # Chat and instruction
    (
        "conversations (ShareGPT)",
        {
            "conversations": sharegpt(
                ("human", "q"),
                ("function_call", "f()"),
                ("observation", "1"),
                ("GPT", "good"),
            )
        },
        ((*Q, ("a", "f()"), ("t", "1"), *A),),
    ),
    (
        "messages (OpenAI)",
        {"messages": oai(("system", ""), ("User", "q"), ("Assistant", "good"))},
        ((("s", ""), *Q, *A),),
    ),
    (
        "instruction, input, output (Alpaca)",
        {"instruction": "q", "input": "in", "output": "good"},
        ((("u", "q\n\nin"), *A),),
    ),
    (
        "instruction, input, output (Alpaca)",
        {"instruction": "q", "input": " ", "response": "good", "system": "be kind"},
        ((*PROMPT_AS_TURNS, *A),),
    ),
    (
        "text (ChatML)",
        {
            "text": "<|im_start|>system\nbe kind<|im_end|>\n<|im_start|>user\nq<|im_end|>\n"
            "<|im_start|>assistant\ngood<|im_end|>\n"
        },
        ((*PROMPT_AS_TURNS, *A),),
    ),
    (
        "conversation",  # ms-swift: a question and its answer in one entry
        {"system": "be kind", "conversation": [{"human": "q", "assistant": "good"}]},
        ((*PROMPT_AS_TURNS, *A),),
    ),
    (
        "instruction, context (input), response (output) (Alpaca)",  # Dolly
        {"instruction": "q", "context": "in", "response": "good", "category": "qa"},
        ((("u", "q\n\nin"), *A),),
    ),
    (
        "query (prompt), response (completion)",  # ms-swift
        {"query": "q", "response": "good", "history": [["hi", "yo"]]},
        ((*HH_PROMPT, *A),),
    ),
    ("prompt, response (completion)", {"prompt": "q", "response": "good"}, ((*Q, *A),)),
    ("prompt, completion", {"prompt": "q", "completion": "good"}, ((*Q, *A),)),
    (
        "prompt, completion",
        {"prompt": oai(("user", "q")), "completion": oai(("assistant", "good"))},
        ((*Q, *A),),
    ),
]
