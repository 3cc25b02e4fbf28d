"""Lines broken at spaces to fit the screen."""

from __future__ import annotations

import pytest

from backprop_tui.core.wrap import cells, folded


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")


def test_a_line_that_fits_is_left_as_it_is() -> None:
    line = "  two  spaces   stay " + "x" * 19
    assert list(folded(line)) == [line]


@pytest.mark.parametrize("start", [0, 2, 5])
def test_what_follows_stands_two_cells_further_in(start: int) -> None:
    line = " " * start + " ".join(["held-out"] * 12)
    first, *rest = folded(line)
    assert first.startswith(" " * start + "held")
    assert all(piece.startswith(" " * (start + 2) + "held") for piece in rest)
    assert all(cells(piece) <= 40 for piece in (first, *rest))
    assert " ".join(" ".join((first, *rest)).split()) == line.strip()


def test_a_table_s_value_goes_on_under_itself() -> None:
    line = "Held-out margin  -0.026 to +13.26, as measured on the held-out rows"
    assert list(folded(line, hanging=17)) == [
        "Held-out margin  -0.026 to +13.26, as",
        "                 measured on the",
        "                 held-out rows",
    ]


def test_a_path_is_not_broken() -> None:
    path = "/a/folder" * 6
    assert list(folded(f"Adapter  {path}", hanging=9)) == [f"Adapter  {path}"]
