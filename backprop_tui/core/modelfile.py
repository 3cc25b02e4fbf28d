"""An Ollama Modelfile: the chat template in Go's language, the words that end an answer. Pure.

Ollama renders a chat with Go's text/template, the model was trained with Jinja. Nothing translates
one into the other, so the well-known layouts are written here as frames around each turn, and one
is used only where it writes the same text as the tokenizer's own template on CONVERSATIONS. Ollama
adds the BOS itself. Language of the file: https://docs.ollama.com/modelfile
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

Turn = tuple[str, str]  # role, words
Render = Callable[[tuple[Turn, ...]], str | None]  # without BOS; None: the template refuses them
CONVERSATIONS: tuple[tuple[Turn, ...], ...] = (
    (("user", "Why is it dark?"),),
    (("user", "Why is it dark?"), ("assistant", "It is night."), ("user", "And now?")),
    (("system", "Be brief."), ("user", "Why is it dark?")),
    (
        ("system", "Be brief."),
        ("user", "Why is it dark?"),
        ("assistant", "It is night."),
        ("user", "And now?"),
    ),
)
# Tokens that end a turn in published chat models.
ENDS = ("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<end_of_turn>", "<|end|>", "</s>")


@dataclass(frozen=True, slots=True)
class Frames:
    """What a chat layout writes before and after the words of each turn.

    markers: what must stand in the Jinja template. opening: what the model answers after.
    system_in: a turn of its own, or the front of the first or the last user turn, followed by
    `between`.
    """

    family: str
    markers: tuple[str, ...]
    user: tuple[str, str]
    assistant: tuple[str, str]
    opening: str
    system: tuple[str, str] = ("", "")
    system_in: Literal["own", "first", "last"] = "own"
    between: str = "\n\n"

    def render(self, turns: tuple[Turn, ...]) -> str:
        """The text of a conversation and what opens the answer, as `go_template` writes it."""
        own = {"user": self.user, "assistant": self.assistant, "system": self.system}
        system = "".join(words for role, words in turns if role == "system")
        users = [number for number, (role, _) in enumerate(turns) if role == "user"]
        text = ""
        for number, (role, words) in enumerate(turns):
            if role == "system" and self.system_in != "own":
                continue
            before, after = own[role]
            place = {"first": users[:1], "last": users[-1:], "own": []}[self.system_in]
            if system and number in place:
                words = f"{system}{self.between}{words}"
            text += f"{before}{words}{after}"
        return text + self.opening


def _by_role(family: str, markers: tuple[str, ...], before: str, after: str) -> Frames:
    """The same frame around every turn; {} in `before` is the role."""
    return Frames(
        family,
        markers,
        user=(before.format("user"), after),
        assistant=(before.format("assistant"), after),
        opening=before.format("assistant"),
        system=(before.format("system"), after),
    )


def _mistral(before: str, after: str, answer: str) -> tuple[Frames, ...]:
    return tuple(
        Frames(
            "mistral",
            ("[INST]", "[/INST]"),
            (before, after),
            (answer, "</s>"),
            "",
            system_in=place,
        )
        for place in ("first", "last")
    )


# Each layout in its published spellings, the narrower markers first.
FAMILIES: tuple[Frames, ...] = (
    _by_role(
        "phi-4",
        ("<|im_start|>", "<|im_sep|>", "<|im_end|>"),
        "<|im_start|>{}<|im_sep|>",
        "<|im_end|>",
    ),
    _by_role("chatml", ("<|im_start|>", "<|im_end|>"), "<|im_start|>{}\n", "<|im_end|>\n"),
    _by_role(
        "llama3",
        ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        "<|start_header_id|>{}<|end_header_id|>\n\n",
        "<|eot_id|>",
    ),
    Frames(
        "gemma",
        ("<start_of_turn>", "<end_of_turn>"),
        ("<start_of_turn>user\n", "<end_of_turn>\n"),
        ("<start_of_turn>model\n", "<end_of_turn>\n"),
        "<start_of_turn>model\n",
        system_in="first",
    ),
    _by_role("phi-3", ("<|assistant|>", "<|end|>"), "<|{}|>\n", "<|end|>\n"),
    _by_role("phi-4-mini", ("<|assistant|>", "<|end|>"), "<|{}|>", "<|end|>"),
    *_mistral("[INST] ", " [/INST]", " "),  # 7B v0.1 and v0.2
    *_mistral("[INST] ", "[/INST]", " "),  # v3
    *_mistral("[INST]", "[/INST]", ""),  # Tekken
)


@dataclass(frozen=True, slots=True)
class Chosen:
    """frames: None where none writes what the tokenizer writes; why: then, in words. system: what
    the tokenizer's template puts first where a chat brings no system message."""

    frames: Frames | None
    system: str = ""
    why: str = ""


def choose(jinja: str, render: Render) -> Chosen:
    """The frames that write what the template writes, found by its markers and then compared.

    A template may refuse a conversation with a system message; then the others decide.
    """
    marked = [one for one in FAMILIES if all(marker in jinja for marker in one.markers)]
    if not marked:
        return Chosen(None, why="its layout is none of those known here")
    wanted = {turns: render(turns) for turns in CONVERSATIONS}
    for frames in marked:
        system = _default_system(frames, wanted[CONVERSATIONS[0]] or "")
        if '"""' in system or wanted[CONVERSATIONS[0]] is None:
            continue
        if all(
            text is None or text == frames.render(_with_system(turns, system))
            for turns, text in wanted.items()
        ):
            return Chosen(frames, system)
    names = " or ".join(dict.fromkeys(one.family for one in marked))
    return Chosen(None, why=f"it looks like {names} and writes a chat differently")


def _default_system(frames: Frames, text: str) -> str:
    """The system message at the front of a chat that brought none."""
    before, after = frames.system
    if frames.system_in != "own" or not text.startswith(before) or not after:
        return ""
    return text[len(before) :].partition(after)[0]


def _with_system(turns: tuple[Turn, ...], system: str) -> tuple[Turn, ...]:
    """Ollama's SYSTEM is a message at the front, unless the chat brings one."""
    return turns if not system or turns[0][0] == "system" else (("system", system), *turns)


def go_template(frames: Frames) -> str:
    """The frames in Go's text/template, on one line apart from their own line ends."""
    user, assistant = (f"{before}%s{after}" for before, after in (frames.user, frames.assistant))
    words, head, start = "{{ .Content }}", "", "{{ range .Messages }}"
    system = ""
    if frames.system_in == "own":
        before, after = frames.system
        system = f'{{{{ if eq .Role "system" }}}}{before}{words}{after}{{{{ else if '
    elif frames.system_in == "first":
        head = "{{ $system := .System }}"
        put = f"{{{{ if $system }}}}{{{{ $system }}}}{frames.between}"
        user = user.replace("%s", f'{put}{{{{ $system = "" }}}}{{{{ end }}}}%s')
    else:
        # Ollama asks for an answer to a user, so the last message is the last user's.
        start = "{{ range $i, $_ := .Messages }}"
        last = "{{ if and $.System (eq (len (slice $.Messages $i)) 1) }}"
        user = user.replace("%s", f"{last}{{{{ $.System }}}}{frames.between}{{{{ end }}}}%s")
    return (
        f"{head}{start}{system or '{{ if '}"
        f'eq .Role "user" }}}}{user.replace("%s", words)}'
        f'{{{{ else if eq .Role "assistant" }}}}{assistant.replace("%s", words)}'
        f"{{{{ end }}}}{{{{ end }}}}{frames.opening}"
    )


def stop_words(ends: Iterable[str], special: Iterable[str], jinja: str) -> tuple[str, ...]:
    """What ends an answer. ends: the tokenizer's EOS and those of generation_config.json; special:
    the tokenizer's special tokens; an end of turn among them counts where the template has it."""
    known = set(special)
    turns = (end for end in ENDS if end in known and end in jinja)
    return tuple(dict.fromkeys(word for word in (*ends, *turns) if word))


def modelfile(
    source: str, chosen: Chosen, stops: Iterable[str], *, adapter: str = "", notes: str = ""
) -> str:
    """The text of a Modelfile. source: what FROM names; adapter: a folder, "" for none."""
    lines = [f"# {line}" for line in notes.splitlines()]
    lines.append(f"FROM {source}")
    if adapter:
        lines.append(f"ADAPTER {adapter}")
    if chosen.frames:
        lines += [
            f"# {chosen.frames.family}: compared with the tokenizer's template on "
            f"{len(CONVERSATIONS)} chats.",
            f'TEMPLATE """{go_template(chosen.frames)}"""',
        ]
        if chosen.system:
            lines.append(f'SYSTEM """{chosen.system}"""')
    else:
        lines += [
            f"# No TEMPLATE is written: of the tokenizer's template, {chosen.why}.",
            "# Ollama takes it from the model (GGUF, tokenizer_config.json or chat_template.jinja)",
            "# where it knows it; see what it took with: ollama show NAME --template",
        ]
    lines += [f"PARAMETER stop {_quoted(stop)}" for stop in stops]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    mark = '"""' if '"' in text or "\n" in text else '"'
    return f"{mark}{text}{mark}"
