"""The documents say what the code does: generated pages are fresh, every code is explained."""

from __future__ import annotations

import ast
import re
import shutil
import tomllib
from pathlib import Path

import pytest

import backprop_tui
from backprop_tui.core import runfile_io, runfile_keys
from backprop_tui.core.methods import METHODS
from backprop_tui.core.rules import judge
from scripts import write_docs
from tests.core.test_rules import EXAMPLES, Example
from tests.core.worlds import facts

PACKAGE = Path(backprop_tui.__file__).parent
DOCS = write_docs.DOCS
PAGES = (write_docs.RUN_FILE, write_docs.METHODS_PAGE, write_docs.DATA_PAGE)
ERRORS = ("InputError", "RunError", "BackpropError")
# An error code that no keyword names: an argument, a returned tuple, a constant.
ERROR_CODE = re.compile(
    r"(CONFIG|DATA|MODEL|OUTPUT|READ|REPLAY|RUN|RUNFILE|TEMPLATE|TOKENIZER|TRAINER|WRITE)_[A-Z_]+"
)
NOT_CODES = {"MODEL_FOR_CAUSAL_LM_MAPPING_NAMES"}  # a table of transformers


def nodes() -> list[tuple[Path, ast.AST]]:
    """Every node of every module of the package."""
    return [
        (path, node)
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    ]


def codes_in_package() -> set[str]:
    """Every code a user may meet, read from the source."""
    found = set()
    for _, node in nodes():
        value = node.value if isinstance(node, ast.keyword) and node.arg == "code" else node
        if not (isinstance(value, ast.Constant) and isinstance(value.value, str)):
            continue
        if value is not node or ERROR_CODE.fullmatch(value.value):
            found.add(value.value)
    return found - NOT_CODES


def code_rows() -> dict[str, list[str]]:
    """The table of docs/codes.md: the other cells by code."""
    rows: dict[str, list[str]] = {}
    for line in (DOCS / "codes.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| `"):
            code = cells[0].strip(" `")
            assert code not in rows, f"{code} stands twice"
            rows[code] = cells[1:]
    return rows


def test_every_code_is_explained_and_every_explained_code_exists() -> None:
    assert sorted(code_rows()) == sorted(codes_in_package())


def test_the_codes_that_were_promised_are_among_them() -> None:
    assert {
        "CONFIG_INVALID_SETTING",
        "simpo-gamma-ratio",
        "simpo-lr-clamped",
        "kto-lr-clamped",
        "kto-rebalanced",
        "kto-one-label",
        "kto-batch-raised",
        "data-shape-mismatch",
        "MODEL_UNREADABLE",
        "MODEL_GATED",
    } <= codes_in_package()


def test_every_code_has_level_meaning_remedy_and_source() -> None:
    levels = {"problem", "warning", "note", "error", "failure"}
    for code, cells in code_rows().items():
        assert len(cells) == 4, code
        assert all(cells), code
        assert set(cells[0].split(" or ")) <= levels, code


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_the_level_of_advice_is_the_one_explained(example: Example) -> None:
    assert example.level in code_rows()[example.code][0].split(" or ")


def test_every_error_has_a_code_of_its_own() -> None:
    without = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path, node in nodes()
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ERRORS
        and not any(keyword.arg == "code" for keyword in node.keywords)
    ]
    assert without == []


def test_the_generated_pages_are_fresh() -> None:
    assert write_docs.stale() == []
    assert write_docs.main(["--check"]) == 0


@pytest.mark.parametrize(
    ("name", "made"),
    zip(PAGES, ("2405.14734", "2405.14734", "| messages (OpenAI) |"), strict=True),
)
def test_a_stale_page_is_noticed_and_made_anew(
    tmp_path: Path, name: str, made: str, capsys: pytest.CaptureFixture[str]
) -> None:
    docs = tmp_path / "docs"
    shutil.copytree(DOCS, docs)
    page = docs / name
    fresh = page.read_text(encoding="utf-8")
    page.write_text(fresh.replace(made, "0000.00000"), encoding="utf-8")
    assert write_docs.main(["--check"], docs) == 1
    assert f"docs/{name} is stale" in capsys.readouterr().err
    assert page.read_text(encoding="utf-8") != fresh  # --check changes nothing
    assert write_docs.main([], docs) == 0
    assert page.read_text(encoding="utf-8") == fresh


def test_a_page_without_its_markers_is_an_error(tmp_path: Path) -> None:
    (tmp_path / write_docs.METHODS_PAGE).write_text("no tables", encoding="utf-8")
    with pytest.raises(SystemExit, match="needs <!-- table: methods -->"):
        write_docs.main([], tmp_path)


def test_every_key_is_documented_with_its_help() -> None:
    page = (DOCS / write_docs.RUN_FILE).read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## \[(\w+)\]\n(.*?)(?=^## )", page, re.MULTILINE | re.DOTALL))
    sections[""] = page.partition("## Top of the file")[2].partition("\n## ")[0]
    for key in runfile_keys.valid_keys():
        section, _, name = key.rpartition(".")
        row = next(line for line in sections[section].splitlines() if f"| `{name}` |" in line)
        assert row.endswith(f"| {runfile_keys.help_for(key)} |")
        assert runfile_keys.help_for(key)


def test_the_complete_files_are_complete_and_sound() -> None:
    page = (DOCS / write_docs.RUN_FILE).read_text(encoding="utf-8")
    runs = [
        runfile_io.parse(tomllib.loads(text))
        for text in re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    ]
    assert [run.method for run in runs] == list(METHODS)
    for run in runs:
        found = judge(run, facts(data=None))
        assert [advice for advice in found if advice.level != "note"] == []
        assert run.model.id
        assert run.data.path


@pytest.mark.parametrize("name", ["codes.md", *PAGES])
def test_no_page_names_a_folder_of_one_machine(name: str) -> None:
    page = (DOCS / name).read_text(encoding="utf-8")
    assert re.findall(r"(?<![\w.])/(?:work|home|root|tmp|Users|usr|mnt)\b", page) == []
