"""What lies beside exported weights, and the order in which all of it is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backprop_tui.core.errors import InputError
from backprop_tui.core.model_card import Export, licence_of, model_card
from backprop_tui.core.modelfile import Chosen, Turn, choose, modelfile, stop_words
from backprop_tui.core.redact import redact
from backprop_tui.train import gguf
from backprop_tui.train.exporting import Judged, copy_weights, run_file_sha256, written
from backprop_tui.train.merging import Agreement, merge, rows_to_compare

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Exported:
    """bytes: of all files. gguf_command: to type, where GGUF was asked for and is not there;
    gguf_said: then the last words of the converter, "" where there is none."""

    output: Path
    kind: str
    bytes: int
    files: tuple[str, ...]
    agreement: Agreement | None
    template: str  # the family of the Modelfile's template; "" for none
    stops: tuple[str, ...]
    gguf_command: str = ""
    gguf_said: str = ""


def export(judged: Judged, say: Say, *, trust_remote_code: bool = False) -> Exported:
    """Write what was judged. InputError, RunError: nothing is left of it."""
    found: dict[str, Any] = {}

    def fill(made: Path) -> None:
        found.update(_fill(judged, made, say, trust_remote_code=trust_remote_code))

    room = written(judged, fill)
    files = tuple(sorted(file.name for file in judged.output.iterdir()))
    return Exported(judged.output, judged.kind, room, files, **found)


def _fill(judged: Judged, made: Path, say: Say, *, trust_remote_code: bool) -> dict[str, Any]:
    agreement = None
    tokenizer = _tokenizer(judged.weights, trust_remote_code=trust_remote_code)
    if judged.kind == "merged":
        assert judged.base is not None
        agreement = merge(
            judged.run,
            judged.base,
            judged.weights,
            made,
            rows_to_compare(judged.run, tokenizer),
            say,
            trust_remote_code=trust_remote_code,
        )
    else:
        say("copying")
    copy_weights(judged, made, adapter=judged.kind != "merged")
    command, said = "", ""
    if judged.gguf:
        if start := gguf.converter():
            say("converting to GGUF")
            said = gguf.convert(start, made, judged.precision)
        if not (made / gguf.FILE).is_file():
            command = gguf.command(judged.output, judged.precision)
    chosen, stops = _template(tokenizer, made)
    (made / "Modelfile").write_text(_modelfile(judged, made, chosen, stops), encoding="utf-8")
    card = Export(
        kind=judged.kind,
        run=judged.run,
        history=judged.history,
        run_sha256=run_file_sha256(judged.folder),
        licence=_licence(judged),
        agreement=str(agreement) if agreement else "",
        gguf=gguf.FILE if (made / gguf.FILE).is_file() else "",
    )
    (made / "README.md").write_text(model_card(card), encoding="utf-8")
    return {
        "agreement": agreement,
        "template": chosen.frames.family if chosen.frames else "",
        "stops": stops,
        "gguf_command": command,
        "gguf_said": said,
    }


def _tokenizer(folder: Path, *, trust_remote_code: bool) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(str(folder), trust_remote_code=trust_remote_code)
    except Exception as error:  # of any kind: the Rust library raises Exception itself
        raise InputError(
            f"{folder}: the tokenizer cannot be loaded: {str(error).strip().splitlines()[:1]}",
            hint="the folder needs tokenizer.json and tokenizer_config.json",
            code="MODEL_NO_TOKENIZER",
        ) from error


def _template(tokenizer: Any, made: Path) -> tuple[Chosen, tuple[str, ...]]:
    """The layout of the chat template, and the words that end an answer."""
    import jinja2

    jinja = tokenizer.chat_template
    jinja = jinja if isinstance(jinja, str) else ""

    def render(turns: tuple[Turn, ...]) -> str | None:
        chat = [{"role": role, "content": words} for role, words in turns]
        try:
            text: str = tokenizer.apply_chat_template(
                chat, tokenize=False, add_generation_prompt=True
            )
        except (jinja2.TemplateError, ValueError, TypeError, LookupError):
            return None  # it refuses such a chat, as some do with system messages
        return text.removeprefix(tokenizer.bos_token or "")

    ends = [tokenizer.eos_token or "", *_generation_ends(tokenizer, made)]
    stops = stop_words(ends, tokenizer.all_special_tokens, jinja)
    return choose(jinja, render), stops


def _generation_ends(tokenizer: Any, made: Path) -> list[str]:
    """The tokens at which generation_config.json ends an answer."""
    try:
        plain = json.loads((made / "generation_config.json").read_text(encoding="utf-8"))
        ids = plain.get("eos_token_id")
    except (OSError, ValueError, AttributeError):  # an adapter has none
        return []
    listed = ids if isinstance(ids, list) else [ids]
    known = [number for number in listed if isinstance(number, int)]
    return [str(token) for token in tokenizer.convert_ids_to_tokens(known) if token]


def _modelfile(judged: Judged, made: Path, chosen: Chosen, stops: tuple[str, ...]) -> str:
    if judged.kind == "adapter":
        provenance = judged.run.provenance
        base = (provenance.model_path if provenance else "") or judged.run.model.id
        notes = (
            "FROM is the base model on the machine it was trained on; change it elsewhere.\n"
            "Ollama takes adapters of Llama, Mistral and Gemma models; for others export --merged."
        )
        return modelfile(redact(base), chosen, stops, adapter=".", notes=notes)
    source = f"./{gguf.FILE}" if (made / gguf.FILE).is_file() else "."
    return modelfile(source, chosen, stops, notes="ollama create NAME -f Modelfile")


def _licence(judged: Judged) -> dict[str, str]:
    """What the base model's own card says, where that lies beside its weights."""
    made = judged.run.provenance
    path = (judged.base.path if judged.base else None) or (made.model_path if made else "")
    try:
        return licence_of(Path(path, "README.md").read_text(encoding="utf-8")) if path else {}
    except (OSError, UnicodeDecodeError):
        return {}
