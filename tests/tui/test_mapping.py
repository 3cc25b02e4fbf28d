"""Saying which column is which: three rows follow at once, and the plan gets the mapping."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from backprop_tui.core.runfile_io import change
from backprop_tui.tui.keeper import new_plan
from backprop_tui.tui.mapping import MappingScreen
from backprop_tui.tui.readings import READINGS, reading_of
from tests.tui.wizard_pilot import NARROW, WIDE, Wizard, clipped, wizard

AB = [{"topic": f"q{i}?", "one": f"first {i}", "two": f"second {i}"} for i in range(30)]
STARS = [
    {"ask": f"q{i}?", "reply": f"a{i}", "verdict": ("yes", "no", "eh")[i % 3]} for i in range(30)
]


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def written(rows: list[dict[str, Any]], name: str = "rows.jsonl") -> str:
        path = tmp_path / name
        path.write_text("\n".join(map(json.dumps, rows)))
        return str(path)

    return written


async def choose(it: Wizard, id: str, text: str) -> None:
    """In the list with this id, the entry that begins with these letters, by keyboard."""
    it.app.screen.query_one(f"#{id}").focus()
    await it.press("enter")
    await it.type(text)
    await it.press("enter")
    await it.pilot.pause(0.1)


async def opened(it: Wizard) -> None:
    await it.go("data")
    await it.settled()
    await it.press("f3")
    await it.until(lambda: isinstance(it.app.screen, MappingScreen))


@pytest.mark.parametrize("size", [WIDE, NARROW])
async def test_columns_are_mapped_by_keyboard_and_the_rows_follow(
    write: Any, size: tuple[int, int]
) -> None:
    plan = change(new_plan(), {"data.path": write(AB)})
    async with wizard(size, run=plan) as it:
        await opened(it)
        await it.shows("no row can be trained")
        await choose(it, "reading", "pairs")
        await it.shows("choose a column for chosen and rejected")
        await it.press("f10")  # half a mapping is not taken
        assert isinstance(it.app.screen, MappingScreen)
        await choose(it, "column-prompt", "topic")
        await choose(it, "column-chosen", "one")
        await choose(it, "column-rejected", "two")
        await it.shows(
            "30 of 30 rows", "prompt q0?", "chosen first 0", "rejected second 0", "row 16"
        )
        await choose(it, "column-chosen", "two")
        await choose(it, "column-rejected", "one")
        await it.shows("chosen second 0", "rejected first 0")
        assert clipped(it.app) == []
        await it.press("f10")
        await it.settled()
        assert it.app.plan.data.columns == {"prompt": "topic", "chosen": "two", "rejected": "one"}
        assert it.app.plan.data.shape == "paired"
        assert it.app.facts.data is not None
        assert it.app.facts.data.kept == 30
        await it.shows("chosen ← two")


async def test_texts_of_a_label_column_get_their_meaning(write: Any) -> None:
    async with wizard(run=change(new_plan(), {"data.path": write(STARS)})) as it:
        await opened(it)
        await choose(it, "reading", "answers marked")
        await choose(it, "column-prompt", "ask")
        await choose(it, "column-completion", "reply")
        await choose(it, "column-label", "verdict")
        await it.shows("yes", "no", "eh", "no row can be trained")
        await choose(it, "meaning-0", "means good")
        await choose(it, "meaning-1", "means bad")
        await it.shows("20 of 30 rows", "label good")
        await it.press("f10")
        await it.settled()
        assert it.app.plan.data.labels == {"yes": True, "no": False}
        assert it.app.facts.data is not None
        assert it.app.facts.data.labels == {True: 10, False: 10}
        assert it.app.facts.data.dropped.popitem()[1] == 10


async def test_escape_changes_nothing_and_as_recognised_takes_a_mapping_back(write: Any) -> None:
    columns = {"prompt": "topic", "chosen": "one", "rejected": "two"}
    plan = change(new_plan(), {"data.path": write(AB), "data.columns": columns})
    async with wizard(run=plan) as it:
        await opened(it)
        await choose(it, "reading", "as it")
        await it.press("escape")
        assert it.app.plan.data.columns == columns
        await opened(it)
        await choose(it, "reading", "as it")
        await it.press("f10")
        assert it.app.plan.data.columns is None


async def test_a_mapping_that_names_no_column_can_be_mended(write: Any) -> None:
    plan = change(new_plan(), {"data.path": write(AB), "data.columns": {"chosen": "gone"}})
    async with wizard(run=plan) as it:
        await it.go("data")
        await it.settled()
        assert "no column 'gone'" in it.notes("data.path")
        await opened(it)
        await choose(it, "reading", "pairs")
        await it.shows("choose a column for chosen and rejected")


async def test_another_file_begins_without_the_mapping_and_gets_it_back(write: Any) -> None:
    first, second = write(AB), write(STARS, "other.jsonl")
    columns = {"prompt": "topic", "chosen": "one", "rejected": "two"}
    plan = change(new_plan(), {"data.path": first, "data.columns": columns})
    async with wizard(run=plan) as it:
        it.app.apply({"data.path": second})
        assert it.app.plan.data.columns is None
        it.app.apply({"data.path": first})
        assert it.app.plan.data.columns == columns


async def test_every_reading_opens_with_its_columns(write: Any) -> None:
    async with wizard(run=change(new_plan(), {"data.path": write(AB)})) as it:
        await opened(it)
        for key, (title, _, names) in READINGS.items():
            await choose(it, "reading", title)
            assert isinstance(it.app.screen, MappingScreen)
            assert it.app.screen.reading == key
            shown = {row.id for row in it.app.screen.query(".mapping--row") if row.display}
            assert {f"row-{name}" for name in names} <= shown


async def test_what_reading_offered_is_listed_and_taken_with_its_labels(write: Any) -> None:
    rows = [
        {"prompt": f"q{i}", "completion": f"a{i}", "final_label": "ab"[i % 2]} for i in range(8)
    ]
    async with wizard(run=change(new_plan(), {"data.path": write(rows)})) as it:
        await it.go("data")
        await it.settled()
        await it.shows("ways that f3 lists")
        await it.press("f3")
        await choose(it, "reading", "If 'b'")
        await it.shows("8 of 8 rows", "label bad")
        await it.press("f10")
        await it.settled()
        assert it.app.plan.data.labels == {"a": False, "b": True}
        assert it.app.facts.data is not None
        assert it.app.facts.data.labels == {True: 4, False: 4}


async def test_a_numbered_winner_gets_its_meaning(write: Any) -> None:
    rows = [{"ask": f"q{i}", "r0": f"a{i}", "r1": f"b{i}", "won": i % 2} for i in range(8)]
    async with wizard(run=change(new_plan(), {"data.path": write(rows)})) as it:
        await opened(it)
        await choose(it, "reading", "two answers")
        for name, column in {
            "prompt": "ask",
            "first": "r0",
            "second": "r1",
            "winner": "won",
        }.items():
            await choose(it, f"column-{name}", column)
        await choose(it, "meaning-0", "the first")
        await choose(it, "meaning-1", "the second")
        await it.shows("8 of 8 rows", "chosen a0", "rejected b0")
        await it.press("f10")
        await it.settled()
        assert it.app.plan.data.labels == {"0": True, "1": False}


@pytest.mark.parametrize(
    ("changes", "reading"),
    [
        ({}, "found"),
        ({"data.shape": "paired", "data.columns": {"chosen": "a", "rejected": "b"}}, "pairs"),
        ({"data.shape": "paired", "data.columns": {"answers": "a"}}, "ranked"),
        ({"data.shape": "paired", "data.columns": {"winner": "w"}}, "winner"),
        ({"data.shape": "unpaired"}, "marks"),
        ({"data.columns": {"label": "tag"}}, "marks"),
        ({"data.shape": "sft", "data.columns": {"completion": "text"}}, "answers"),
        ({"data.columns": {"messages": "dialogue"}}, "chats"),
    ],
)
def test_a_plan_opens_with_the_reading_it_stands_for(changes: Any, reading: str) -> None:
    assert reading_of(change(new_plan(), changes).data) == reading


async def test_until_it_is_clear_the_columns_are_shown_as_they_stand(write: Any) -> None:
    async with wizard(run=change(new_plan(), {"data.path": write(AB)})) as it:
        await opened(it)
        await it.shows("as they stand in the file", "topic q0?", "one first 0")
        await choose(it, "reading", "pairs")
        await it.shows("as they stand in the file", "two second 0")
        for name, column in {"prompt": "topic", "chosen": "one", "rejected": "two"}.items():
            await choose(it, f"column-{name}", column)
        await it.shows("as they will be read", "chosen first 0")


async def test_a_winner_in_words_gets_its_meaning(write: Any) -> None:
    won = ("model_a", "model_b", "tie")
    rows = [
        {"ask": f"q{i}", "left": f"a{i}", "right": f"b{i}", "won": won[i % 3]} for i in range(9)
    ]
    async with wizard(run=change(new_plan(), {"data.path": write(rows)})) as it:
        await opened(it)
        await choose(it, "reading", "two answers")
        for name, column in {
            "prompt": "ask",
            "first": "left",
            "second": "right",
            "winner": "won",
        }.items():
            await choose(it, f"column-{name}", column)
        await choose(it, "meaning-0", "the first")
        await choose(it, "meaning-1", "the second")
        await it.shows("6 of 9 rows", "chosen a0")


async def test_a_mapping_that_cannot_be_stays_refused_when_the_split_changes(write: Any) -> None:
    plan = change(new_plan(), {"data.path": write(AB), "data.columns": {"prompt": "nope"}})
    async with wizard(run=plan) as it:
        await it.go("data")
        await it.settled()
        assert "DATA_COLUMN" in it.codes()
        it.app.apply({"data.heldout": 0.2})
        await it.until(lambda: it.app.reading)
        await it.settled()
        assert "DATA_COLUMN" in it.codes()
        assert it.app.facts.data is None


async def test_the_old_file_cannot_be_mapped_under_a_new_name(write: Any) -> None:
    first, second = write(AB), write(STARS, "other.jsonl")
    async with wizard(run=change(new_plan(), {"data.path": first})) as it:
        await it.go("data")
        await it.settled()
        assert it.app.loaded is not None
        it.app.apply({"data.path": second})
        assert it.app.loaded is None
        await it.settled()
        assert it.app.loaded is not None
        assert it.app.loaded.columns == ("ask", "reply", "verdict")


async def test_columns_called_like_markup_or_like_commands_to_the_terminal(write: Any) -> None:
    rows = [{"[/nope]": f"q{i}", "a\x1b[31mb": f"a{i}", "\u202eend": "z"} for i in range(8)]
    async with wizard(run=change(new_plan(), {"data.path": write(rows)})) as it:
        await opened(it)
        await choose(it, "reading", "answers to")
        it.app.screen.query_one("#column-prompt").focus()
        await it.press("enter")
        await it.shows("[/nope]")
        assert not {"\x1b", "\u202e"} & set(it.text)
        await it.press("escape", "escape")
        await it.settled()
        assert not {"\x1b", "\u202e"} & set(it.text)
