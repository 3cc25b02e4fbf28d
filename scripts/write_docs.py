"""Write docs/run-file.md, and the tables of docs/methods.md and docs/data.md, from the code.

python scripts/write_docs.py           write them
python scripts/write_docs.py --check   exit 1 when one of them is stale, change nothing
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from backprop_tui.core import rates, runfile_io
from backprop_tui.core.methods import METHODS, MethodName
from backprop_tui.core.runfile import METHOD_SECTIONS, RunFile, Section
from backprop_tui.core.search_grids import SEARCH_GRIDS
from backprop_tui.core.text import count, rate
from backprop_tui.probe.data.layouts.columns import VERDICTS
from backprop_tui.probe.data.layouts.shapes import COLUMNS, LAYOUTS

DOCS = Path(__file__).resolve().parent.parent / "docs"
RUN_FILE, METHODS_PAGE, DATA_PAGE = "run-file.md", "methods.md", "data.md"
REMAKE = "python scripts/write_docs.py"

TYPES = {str: "text", int: "whole number", float: "number", bool: "true or false"}
EXAMPLES: dict[MethodName, dict[str, Any]] = {
    "sft": {"data": {"path": "chats.jsonl"}},
    "simpo": {"training": {"learning_rate": 5e-6}},
    "kto": {"data": {"path": "marks.jsonl"}},
}
PAIRS: dict[str, Any] = {"data": {"path": "pairs.jsonl"}}
# KTO paper's band: good rows, bad rows, the weights asked for.
BALANCES = [(60, 50, 1, 1), (48, 16, 1, 1), (90, 10, 1, 1), (10, 90, 1, 1), (1000, 1, 1, 1)]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; a pipe inside a cell is escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines
    )


# --- docs/run-file.md


def run_file_page() -> str:
    """The whole page."""
    top = {
        info.alias or name: info
        for name, info in RunFile.model_fields.items()
        if section_of(info) is None
    }
    parts = [
        "# The run file",
        f"Made by `{REMAKE}` from `backprop_tui/core/runfile.py`: change it there.",
        "A run file holds everything that decides the result of a run, in "
        "[TOML](https://toml.io). The wizard writes one, `backprop-tui init` writes one, and you "
        "can write one yourself: every key has a default except the model and the data.",
        "```\n"
        "backprop-tui init --model pocket --data pocket -o run.toml\n"
        "backprop-tui check run.toml      what is wrong, what to know, what training will use\n"
        "backprop-tui run run.toml        train\n"
        "```",
        "The file is strict. An unknown key, a wrong type or a value out of range is refused "
        "before anything is loaded, and all of it is reported at once. No key holds a secret: log "
        "in to the hub with `hf auth login`.",
        "A value can be set for one run without touching the file. `--set` wins over the "
        "environment, the environment over the file, the file over the defaults; what was set "
        "that way is recorded in the run folder.",
        "```\n"
        "backprop-tui run run.toml --set training.learning_rate=1e-6\n"
        f"{runfile_io.ENV_PREFIX}TRAINING__LEARNING_RATE=1e-6 backprop-tui run run.toml\n"
        "```",
        'Only the table of the chosen method may be present: `[simpo]` with `method = "simpo"`. '
        "A default of *absent* means that the line is left out.",
        "## Top of the file",
        keys_table(top),
    ]
    for name, info in RunFile.model_fields.items():
        section = section_of(info)
        if section is None:
            continue
        parts += [f"## [{name}]", (section.__doc__ or "").strip()]
        if name == "provenance":
            parts.append("You never write it. A replay compares it and names what differs.")
            parts.append(
                table(
                    ("key", "type", "what it holds"),
                    [
                        (f"`{key}`", type_words(field), field.description or "")
                        for key, field in section.model_fields.items()
                    ],
                )
            )
        else:
            parts.append(keys_table(section.model_fields))
    parts.append("## A complete file for each method")
    for method in METHODS:
        parts += [f"### {method}", f"```toml\n{example(method)}```"]
    return "\n\n".join(parts) + "\n"


def keys_table(fields: dict[str, FieldInfo]) -> str:
    """Key, type, default, allowed and help of each field."""
    return table(
        ("key", "type", "default", "allowed", "what it does"),
        [
            (
                f"`{key}`",
                type_words(info),
                default_words(info),
                allowed_words(info),
                info.description or "",
            )
            for key, info in fields.items()
        ],
    )


def section_of(info: FieldInfo) -> type[Section] | None:
    """The table a field of the run file is, if it is one."""
    for candidate in (info.annotation, *get_args(info.annotation)):
        if isinstance(candidate, type) and issubclass(candidate, Section):
            return candidate
    return None


def members(info: FieldInfo) -> list[tuple[Any, list[Any]]]:
    """Each type the field may have, with its limits; None is left out."""
    found = []
    union = get_origin(info.annotation) not in (None, Literal, list, dict)
    for part in get_args(info.annotation) if union else (info.annotation,):
        limits = list(info.metadata)
        if get_origin(part) is Annotated:
            part, *extra = get_args(part)
            limits += [limit for item in extra for limit in getattr(item, "metadata", [item])]
        if part is not type(None):
            found.append((part, limits))
    return found


def type_words(info: FieldInfo) -> str:
    """The type as a newcomer would say it."""
    words = []
    for part, _ in members(info):
        origin = get_origin(part)
        if origin is Literal:
            words.append(" or ".join(sorted({TYPES[type(choice)] for choice in get_args(part)})))
        elif origin is list:
            words.append("list of texts")
        elif origin is dict:
            inner = get_args(part)[1]
            words.append(f"table of {TYPES[inner]}{'' if inner is bool else 's'}")
        else:
            words.append(TYPES[part])
    return " or ".join(words)


def allowed_words(info: FieldInfo) -> str:
    """Choices or range, in words."""
    words = []
    for part, limits in members(info):
        if get_origin(part) is Literal:
            words.append(", ".join(f"`{choice}`" for choice in get_args(part)))
            continue
        bounds = [
            f"{sign.format(f'{value:,}' if isinstance(value, int) else f'{value:g}')}"
            for limit in limits
            for name, sign in (
                ("gt", "above {}"),
                ("ge", "{} or more"),
                ("lt", "below {}"),
                ("le", "up to {}"),
                ("min_length", "at least {} entry"),
            )
            if (value := getattr(limit, name, None)) is not None
        ]
        if bounds or get_origin(part) is list:
            words.append(", ".join(bounds))
    return "; ".join(words) or "any"


def default_words(info: FieldInfo) -> str:
    """The default as it stands in TOML."""
    value = info.get_default(call_default_factory=True)
    if value is None:
        return "absent"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


def example(method: MethodName) -> str:
    """A complete run file."""
    plan = {
        "method": method,
        "output": f"runs/{method}-first",
        "model": {"id": "Qwen/Qwen2.5-1.5B-Instruct"},
        "lora": {},
        **PAIRS,
        **EXAMPLES.get(method, {}),
    }
    return runfile_io.to_toml(runfile_io.parse(plan))


# --- docs/methods.md: the tables between its markers


def methods_table(*, other: bool = False) -> str:
    """What each method is: the recommended ones, or the other objectives."""
    return table(
        (
            "method",
            "name",
            "what it does",
            "data",
            "reference model",
            "loss at the start",
            "source",
        ),
        [
            (
                f"`{method.name}`",
                method.title,
                method.summary,
                " or ".join(method.shapes),
                "the frozen base" if method.reference else "none",
                method.loss_at_start,
                method.source or "–",
            )
            for method in METHODS.values()
            if method.other == other
        ],
    )


def others_table() -> str:
    """The other objectives."""
    return methods_table(other=True)


def knobs_table() -> str:
    """The numbers of each objective and what they start from."""
    return table(
        ("key", "default", "allowed", "what it does", "source"),
        [
            (
                f"`{method.name}.{knob.name}`",
                f"{knob.default:g}",
                allowed_words(METHOD_SECTIONS[method.name].model_fields[knob.name]),
                knob.help,
                knob.source,
            )
            for method in METHODS.values()
            for knob in method.knobs
        ],
    )


def rates_table() -> str:
    """The rate ladders of the recommended methods, one row for each range of training rows."""
    names = [name for name, method in METHODS.items() if not method.other]
    bounds = sorted({bound for name in names for bound, _ in METHODS[name].rates})
    rows = []
    low = 0
    for bound in bounds:
        if low == 0:
            words = f"under {count(int(bound))}"
        elif bound == float("inf"):
            words = f"{count(low)} and more"
        else:
            words = f"{count(low)} to {count(int(bound) - 1)}"
        found = [rates.learning_rate(name, None, low, clamp=True).value for name in names]
        rows.append([words, *(rate(value) for value in found)])
        low = int(bound) if bound != float("inf") else low
    return table(("rows kept for training", *names), rows)


def other_rates_table() -> str:
    """The rates of the other objectives, however many rows there are."""
    return table(
        ("method", "an adapter", "from", "full fine-tuning"),
        [
            (
                f"`{name}`",
                rate(rates.learning_rate(name, None, 1, clamp=True).value),
                method.rates_source,
                "refused: it needs the frozen base"
                if method.reference
                else rate(rates.learning_rate(name, None, 1, clamp=True, lora=False).value),
            )
            for name, method in METHODS.items()
            if method.other
        ],
    )


def guards_table() -> str:
    """Which explicit rates are lowered."""
    clamped = rate(rates.CLAMPED_RATE)
    return table(
        ("method", "a rate of", "becomes", "code"),
        [
            ("`simpo`", f"{rate(rates.SIMPO_RATE_LIMIT)} or more", clamped, "`simpo-lr-clamped`"),
            ("`kto`", f"above {rate(rates.KTO_RATE_LIMIT)}", clamped, "`kto-lr-clamped`"),
        ],
    )


def balance_table() -> str:
    """What the KTO balance makes of some counts."""
    rows = []
    for good, bad, *weights in BALANCES:
        found = rates.kto_balance(good, bad, *weights)
        rows.append(
            (
                count(good),
                count(bad),
                f"{found.desirable_weight:g}",
                f"{found.undesirable_weight:g}",
                f"{found.ratio:.2f}" + (" (raised tenfold, the most)" if found.capped else ""),
            )
        )
    return table(
        ("good rows", "bad rows", "desirable weight", "undesirable weight", "good : bad reached"),
        rows,
    )


def presets_table() -> str:
    """Published settings."""
    return table(
        ("method", "published for", "settings", "gamma/beta", "learning rate", "source"),
        [
            (
                f"`{method.name}`",
                preset.name,
                ", ".join(f"{name} {value:g}" for name, value in preset.knobs),
                f"{knobs['gamma'] / knobs['beta']:g}" if "gamma" in knobs else "–",
                rate(preset.learning_rate) if preset.learning_rate else "–",
                preset.source,
            )
            for method in METHODS.values()
            for preset in method.presets
            for knobs in [dict(preset.knobs)]
        ],
    )


def search_grids_table() -> str:
    """The values searched over, for `ablate --preset paper`."""
    return table(
        ("method", "searched", "held fixed", "cells", "source"),
        [
            (
                f"`{name}`",
                "; ".join(
                    f"{knob} {', '.join(f'{value:g}' for value in values)}"
                    for knob, values in grid.axes
                ),
                ", ".join(f"{knob} {value:g}" for knob, value in grid.fixed) or "–",
                str(prod(len(values) for _, values in grid.axes)),
                grid.source,
            )
            for name, grid in SEARCH_GRIDS.items()
        ],
    )


# --- docs/data.md: the tables between its markers


def layouts_table() -> str:
    """What is recognised, in order of precedence; of layouts that differ only in what the prompt
    or the label is called, the first."""
    shown: dict[tuple[str, str], tuple[str, str, str]] = {}
    for layout in LAYOUTS:
        first, _, rest = layout.name.partition(", ")
        if any(f" {name} (label)" in layout.name for name in VERDICTS[1:]):
            continue
        key = (rest or first, layout.shape) if layout.shape == "paired" else (layout.name, "")
        needs = f"only when you map {', '.join(layout.mapped)}" if layout.mapped else "by itself"
        shown.setdefault(key, (layout.name, layout.shape, needs))
    return table(("layout", "read as", "recognised"), list(shown.values()))


def verdicts_list() -> str:
    """Columns read as labels when they hold true and false."""
    return ", ".join(f"`{name}`" for name in VERDICTS) + "."


def columns_list() -> str:
    """Our names for columns."""
    return ", ".join(f"`{name}`" for name in COLUMNS) + "."


Tables = dict[str, Callable[[], str]]
METHODS_TABLES: Tables = {
    "methods": methods_table,
    "others": others_table,
    "knobs": knobs_table,
    "rates": rates_table,
    "other-rates": other_rates_table,
    "guards": guards_table,
    "balance": balance_table,
    "presets": presets_table,
    "search-grids": search_grids_table,
}
DATA_TABLES: Tables = {
    "layouts": layouts_table,
    "verdicts": verdicts_list,
    "columns": columns_list,
}


def filled(path: Path, tables: Tables) -> str:
    """The page with every table between <!-- table: NAME --> and <!-- end --> made anew."""
    text = path.read_text(encoding="utf-8")
    for name, make in tables.items():
        marked = re.compile(rf"(<!-- table: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        if len(marked.findall(text)) != 1:
            raise SystemExit(f"{path.name} needs <!-- table: {name} --> … <!-- end --> once")
        made = make()
        text = marked.sub(lambda found, made=made: f"{found[1]}{made}\n{found[2]}", text)  # type: ignore[misc]
    return text


def pages(folder: Path) -> dict[Path, str]:
    """What each file of the folder should hold."""
    methods, data = folder / METHODS_PAGE, folder / DATA_PAGE
    return {
        folder / RUN_FILE: run_file_page(),
        methods: filled(methods, METHODS_TABLES),
        data: filled(data, DATA_TABLES),
    }


def stale(folder: Path = DOCS) -> list[str]:
    """The names of the files that do not hold what they should."""
    return [
        path.name
        for path, text in pages(folder).items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]


def main(arguments: Sequence[str] | None = None, folder: Path = DOCS) -> int:
    """The exit code: 1 when --check finds a stale file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when stale")
    if parser.parse_args(arguments).check:
        names = stale(folder)
        for name in names:
            print(f"docs/{name} is stale: {REMAKE}", file=sys.stderr)
        return 1 if names else 0
    for path, text in pages(folder).items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
