"""Modelfiles: published chat layouts, rendered by Jinja and by what was made of them for Go."""

from __future__ import annotations

import re
from typing import Any

import jinja2
import pytest

from backprop_tui.core.modelfile import (
    CONVERSATIONS,
    FAMILIES,
    Chosen,
    Frames,
    Turn,
    choose,
    go_template,
    modelfile,
    stop_words,
)

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QWEN = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nYou help.<|im_end|>\n{% endif %}"
) + CHATML
LLAMA3 = (
    "{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    "{{ m.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
DATED = (
    "<|start_header_id|>system<|end_header_id|>\n\nToday: 26 Jul\n\n"
    "{% if messages[0].role == 'system' %}{{ messages[0].content }}"
    "{% set messages = messages[1:] %}{% endif %}<|eot_id|>"
) + LLAMA3
GEMMA = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ m.content }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
GEMMA_3 = (
    "{% if messages[0].role == 'system' %}{% set first = messages[0].content + '\n\n' %}"
    "{% set messages = messages[1:] %}{% else %}{% set first = '' %}{% endif %}"
    "{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ first if loop.first }}{{ m.content }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
PHI_3 = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
MISTRAL_3 = (
    "{% if messages[0].role == 'system' %}{% set system = messages[0].content + '\n\n' %}"
    "{% set messages = messages[1:] %}{% else %}{% set system = '' %}{% endif %}"
    "{% for m in messages %}{% if m.role == 'user' %}"
    "[INST] {{ system if loop.last }}{{ m.content }}[/INST]"
    "{% else %} {{ m.content }}</s>{% endif %}{% endfor %}"
)
MISTRAL_1 = (
    "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% elif m.role == 'assistant' %} {{ m.content }}</s>"
    "{% else %}{{ raise_exception('only user and assistant') }}{% endif %}{% endfor %}"
)


PHI_4 = (
    "{% for m in messages %}<|im_start|>{{ m.role }}<|im_sep|>{{ m.content }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant<|im_sep|>{% endif %}"
)
TEKKEN = MISTRAL_3.replace("[INST] ", "[INST]").replace(" {{ m.content }}<", "{{ m.content }}<")


def rendered(jinja: str, turns: tuple[Turn, ...]) -> str | None:
    """The text that the Jinja template writes; None where it refuses."""

    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    messages = [{"role": role, "content": words} for role, words in turns]
    try:
        template = jinja2.Template(jinja, keep_trailing_newline=True)
        return str(
            template.render(messages=messages, add_generation_prompt=True, raise_exception=refuse)
        )
    except jinja2.TemplateError:
        return None


def in_go(template: str, turns: tuple[Turn, ...]) -> str:
    """What Go's text/template would write: the few actions that are used here. As Ollama does,
    system messages are among the messages and in .System as well."""
    parts = re.split(r"(\{\{.*?\}\})", template)
    system = "\n\n".join(words for role, words in turns if role == "system")
    known: dict[str, Any] = {"$system": ""}

    def block(at: int, turn: tuple[int, Turn] | None, write: list[str] | None) -> int:
        """Execute from `at` to the end, else or close of this block; where that is."""
        while at < len(parts):
            action = parts[at][2:-2].strip() if parts[at].startswith("{{") else None
            if action is None:
                if write is not None:
                    write.append(parts[at])
            elif action == "end" or action.startswith("else"):
                return at
            elif action.startswith("range"):
                for number, one in enumerate(turns):
                    last = block(at + 1, (number, one), write)
                at = last
            elif action.startswith("if"):
                at = branches(at, turn, write)
            elif write is not None:
                write.append(value(action, turn))
            at += 1
        return at

    def branches(at: int, turn: tuple[int, Turn] | None, write: list[str] | None) -> int:
        done = False
        while (action := parts[at][2:-2].strip()) != "end":
            taken = not done and true(action.removeprefix("else ").removeprefix("if "), turn)
            at = block(at + 1, turn, write if taken else None)
            done = done or taken
        return at

    def true(condition: str, turn: tuple[int, Turn] | None) -> bool:
        if condition.startswith("eq .Role"):
            assert turn is not None
            return turn[1][0] == condition.split('"')[1]
        if condition == "$system":
            return bool(known["$system"])
        assert condition == "and $.System (eq (len (slice $.Messages $i)) 1)", condition
        assert turn is not None
        return bool(system) and len(turns[turn[0] :]) == 1

    def value(action: str, turn: tuple[int, Turn] | None) -> str:
        if action == "$system := .System":
            known["$system"] = system
        elif action == '$system = ""':
            known["$system"] = ""
        elif action == ".Content":
            assert turn is not None
            return turn[1][1]
        else:
            return str({"$system": known["$system"], "$.System": system}[action])
        return ""

    written: list[str] = []
    assert block(0, None, written) == len(parts)
    return "".join(written)


@pytest.mark.parametrize(
    ("jinja", "family", "system"),
    [
        (CHATML, "chatml", ""),
        (QWEN, "chatml", "You help."),
        (LLAMA3, "llama3", ""),
        (GEMMA, "gemma", ""),
        (GEMMA_3, "gemma", ""),
        (PHI_3, "phi-3", ""),
        (PHI_3.replace("|>\n", "|>"), "phi-4-mini", ""),
        (PHI_4, "phi-4", ""),
        (MISTRAL_1, "mistral", ""),
        (MISTRAL_3, "mistral", ""),
        (TEKKEN, "mistral", ""),
    ],
)
def test_a_known_layout_is_written_for_go_as_jinja_writes_it(
    jinja: str, family: str, system: str
) -> None:
    chosen = choose(jinja, lambda turns: rendered(jinja, turns))
    assert chosen.frames is not None, chosen.why
    assert (chosen.frames.family, chosen.system) == (family, system)
    template = go_template(chosen.frames)
    compared = 0
    for turns in CONVERSATIONS:
        wanted = rendered(jinja, turns)
        if wanted is None:
            continue
        asked = turns if turns[0][0] == "system" or not system else (("system", system), *turns)
        assert in_go(template, asked) == wanted
        compared += 1
    assert compared >= 2


@pytest.mark.parametrize("frames", FAMILIES)
def test_the_go_template_writes_what_render_writes(frames: Frames) -> None:
    for turns in CONVERSATIONS:
        assert in_go(go_template(frames), turns) == frames.render(turns)


@pytest.mark.parametrize(
    ("jinja", "why"),
    [
        (DATED, "it looks like llama3 and writes a chat differently"),
        (CHATML.replace("\n{{ m.content }}", ": {{ m.content }}"), "it looks like chatml and"),
        ("{% for m in messages %}### {{ m.content }}{% endfor %}", "none of those known"),
        ("", "none of those known"),
        # Nothing can be compared, so nothing is believed.
        ("<|im_start|><|im_end|>{{ raise_exception('no') }}", "it looks like chatml and"),
    ],
)
def test_a_layout_that_writes_another_text_is_left_out_and_says_why(jinja: str, why: str) -> None:
    chosen = choose(jinja, lambda turns: rendered(jinja, turns))
    assert chosen.frames is None
    assert why in chosen.why
    text = modelfile(".", chosen, ["</s>"])
    assert "\nTEMPLATE" not in text
    assert f"# No TEMPLATE is written: of the tokenizer's template, {chosen.why}." in text


def test_stop_words_are_what_ends_an_answer() -> None:
    special = ["<|im_start|>", "<|im_end|>", "</s>", "<|endoftext|>"]
    assert stop_words(["<|endoftext|>", "<|im_end|>", ""], special, CHATML) == (
        "<|endoftext|>",
        "<|im_end|>",
    )
    assert stop_words(["<|endoftext|>"], special, CHATML) == ("<|endoftext|>", "<|im_end|>")
    assert stop_words(["<|endoftext|>"], ["<|im_start|>"], CHATML) == ("<|endoftext|>",)


def test_the_file() -> None:
    frames = FAMILIES[1]
    text = modelfile("base", Chosen(frames, "Be kind."), ["<|im_end|>", 'a"b'], adapter=".")
    lines = text.splitlines()
    assert lines[:2] == ["FROM base", "ADAPTER ."]
    assert f'TEMPLATE """{go_template(frames)}"""' in text
    assert lines[-3:] == [
        'SYSTEM """Be kind."""',
        'PARAMETER stop "<|im_end|>"',
        'PARAMETER stop """a"b"""',
    ]
