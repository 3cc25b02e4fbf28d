"""Files in, files out: wrong paths, completion, bad data, and a run file that is never lost."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from textual.message import Message

from backprop_tui.core.runfile_io import change, read, write
from backprop_tui.tui.keeper import new_plan
from backprop_tui.tui.paths import Offer, completed, is_data, is_model, offers
from tests.tui.wizard_pilot import Wizard, wizard


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder the user stands in, with a data file of each kind."""
    monkeypatch.chdir(tmp_path)
    pairs = [{"prompt": f"q{i}", "chosen": f"a{i}", "rejected": f"b{i}"} for i in range(120)]
    Path("preference_pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))
    Path("preference_other.json").write_text(json.dumps([{"text": "plain"}] * 3))
    Path("notes.txt").write_text("not data")
    Path("empty.jsonl").touch()
    Path("models").mkdir()
    return tmp_path


def test_offers_are_folders_and_data_files(folder: Path) -> None:
    names = [offer.text for offer in offers("", is_data)]
    assert names == ["empty.jsonl", "preference_other.json", "preference_pairs.jsonl", "models/"]
    assert [offer.text for offer in offers("pre", is_data)] == names[1:3]
    assert [offer.text for offer in offers("", is_model)] == ["models/"]
    assert [offer.text for offer in offers(f"{folder}/mo", is_model)] == [f"{folder}/models/"]
    assert offers("nowhere/", is_data) == ()


def test_a_text_grows_as_far_as_the_offers_agree() -> None:
    found = [Offer("preference_a"), Offer("preference_b")]
    assert completed("p", found) == "preference_"
    assert completed("preference_", found) == "preference_"
    assert completed("x", found) == "x"


async def named(it: Wizard, text: str) -> None:
    """The data step with a name typed in, and read."""
    await it.go("data")
    await it.type(text)
    await it.settled()


async def test_tab_completes_a_path_and_then_moves_on(folder: Path) -> None:
    async with wizard() as it:
        await it.go("data")
        await it.shows("pocket", "empty.jsonl", "models/")
        await it.type("pref")
        await it.press("tab")
        assert it.input("data.path").value == "preference_"
        await it.type("p")
        await it.press("tab")
        assert it.app.plan.data.path == "preference_pairs.jsonl"
        await it.until(lambda: it.app.facts.data)
        await it.settled()
        await it.shows("rows kept 120 of 120", "108 rows train, 12 are held out")
        await it.press("tab")
        assert it.app.focused is it.input("data.heldout")


async def test_a_wrong_path_says_so_and_names_the_nearest(folder: Path) -> None:
    async with wizard() as it:
        await named(it, "preference_pears.jsonl")
        assert "no such file" in it.notes("data.path")
        assert "preference_pairs.jsonl" in it.notes("data.path")
        assert it.app.facts.data is None
        assert it.app.view.problems[0].field == "data.path" or "data.path" in {
            item.field for item in it.app.view.problems
        }


async def test_a_name_being_typed_is_no_mistake_yet(folder: Path) -> None:
    async with wizard() as it:
        await named(it, "prefer")
        assert "tab completes it" in it.notes("data.path")


async def test_an_empty_file_is_refused_in_words(folder: Path) -> None:
    async with wizard() as it:
        await named(it, "empty.jsonl")
        assert "✖ problem" in it.notes("data.path")
        assert "empty" in it.notes("data.path").replace("empty.jsonl", "")


async def test_a_missing_model_is_refused_in_words(folder: Path) -> None:
    async with wizard() as it:
        await it.go("model")
        await it.type("./modles")
        await it.settled()
        assert "There is no folder" in it.notes("model.id")
        assert "pocket" in it.notes("model.id")


async def test_pairs_under_kto_are_refused_before_anything_starts(folder: Path) -> None:
    plan = change(
        new_plan(),
        {"method": "orpo", "model.id": "pocket", "data.path": "marks.jsonl"},
    )
    marks = [{"prompt": f"q{i}", "completion": f"a{i}", "label": i % 2 == 0} for i in range(120)]
    Path("marks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in marks))
    async with wizard(run=plan) as it:
        await it.until(lambda: it.app.facts.data and it.app.facts.model)
        assert "data-shape-mismatch" in {item.code for item in it.app.view.problems}
        await it.press("ctrl+r")
        await it.until(lambda: it.screen.step == "method")
        assert it.app.control is None
        await it.shows("Cannot start yet", "Methods that fit: kto.", "f6 use kto")
        await it.press("f6")
        assert it.app.plan.method == "kto"
        assert it.app.view.problems == ()


async def test_an_answer_that_comes_too_late_is_dropped(folder: Path) -> None:
    from backprop_tui.tui.probing import data_question, read_data

    async with wizard() as it:
        it.app.apply({"data.path": "preference_other.json"})
        late: list[Message] = []
        question = data_question(it.app.plan, it.app.facts)
        read_data(question, None, None, late.append, lambda: False)
        it.app.apply({"data.path": "preference_pairs.jsonl"})
        for message in late:
            it.app.post_message(message)
        assert len(late) == 2
        await it.until(lambda: it.app.facts.data)
        await it.settled()
        assert it.app.facts.data is not None
        assert it.app.facts.data.name == "preference_pairs.jsonl"


async def test_the_report_is_made_again_only_when_the_split_changes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backprop_tui.probe import survey

    made: list[float] = []
    judged = survey.judged

    def counted(facts: Any, loaded: Any, seed: int, heldout: float) -> Any:
        made.append(heldout)
        return judged(facts, loaded, seed, heldout)

    monkeypatch.setattr(survey, "judged", counted)
    async with wizard(run=change(new_plan(), {"data.path": "preference_pairs.jsonl"})) as it:
        await it.until(lambda: it.app.facts.data)
        await it.settled()
        before = it.app.facts.data
        it.app.apply({"model.id": "pocket"})  # the rows are counted in its tokens
        await it.until(lambda: it.app.facts.data and it.app.facts.data.tokens)
        await it.settled()
        assert before is not None
        assert it.app.facts.data is not None
        assert it.app.facts.data.quality is before.quality is not None
        it.app.apply({"data.heldout": 0.25})
        await it.until(lambda: made == [0.1, 0.25])


async def test_saving_asks_for_a_name_and_writes_the_plan(folder: Path) -> None:
    async with wizard(save_to=Path("mine.toml")) as it:
        it.app.apply({"model.id": "pocket"})
        await it.press("ctrl+s")
        await it.shows("Save the run file", "mine.toml")
        await it.press("enter")
        await it.until(lambda: Path("mine.toml").exists())
        assert read(Path("mine.toml"), env={})[0] == it.app.plan
        await it.shows("Saved mine.toml")


async def test_saving_never_overwrites_without_asking(folder: Path) -> None:
    taken = Path("mine.toml")
    write(new_plan(), taken)
    before = taken.read_bytes()
    async with wizard(save_to=taken) as it:
        it.app.apply({"training.seed": 7})
        await it.press("ctrl+s", "enter")
        await it.shows("Replace mine.toml?")
        assert taken.read_bytes() == before
        await it.press("escape")
        assert taken.read_bytes() == before
        await it.press("ctrl+s", "enter", "enter")
        await it.until(lambda: taken.read_bytes() != before)
        assert tomllib.loads(taken.read_text())["training"]["seed"] == 7


async def test_an_output_folder_that_exists_is_refused_before_the_start(folder: Path) -> None:
    async with wizard() as it:
        await it.go("tuning")
        it.input("output").focus()
        await it.pilot.pause()
        await it.type("models")
        assert "exists and is not overwritten" in it.notes("output")
        assert "for example models-2" in it.notes("output")
        await it.type("-2")
        assert it.notes("output") == ""


async def test_dropped_rows_are_counted_and_shown(folder: Path) -> None:
    rows = [
        json.dumps({"prompt": f"q{i}", "completion": "a", "label": i % 2 == 0}) for i in range(150)
    ]
    rows[7] = json.dumps({"prompt": "odd one", "completion": "a", "label": 1.0})
    Path("feedback.jsonl").write_text("\n".join(rows))
    async with wizard((120, 50)) as it:
        await named(it, "feedback.jsonl")
        await it.until(lambda: it.app.facts.data)
        await it.settled()
        assert it.app.plan.method == "kto"
        assert "data-rows-dropped" in it.codes()
        await it.shows("149 of 150", "rows dropped", "75 good, 74 bad")
        await it.pilot.press("pagedown")
        assert "row 8" in str(it.screen.query_one("#example-rows").content)  # type: ignore[attr-defined]


async def test_a_folder_that_refuses_writing_is_said(folder: Path) -> None:
    Path("file").touch()
    async with wizard(save_to=Path("file/run.toml")) as it:
        await it.press("ctrl+s", "enter")
        await it.shows("Not saved")


async def test_ctrl_c_asks_when_something_was_typed(folder: Path) -> None:
    async with wizard() as it:
        it.app.apply({"model.id": "pocket"})
        await it.press("ctrl+c")
        await it.shows("Quit without saving?")
        await it.press("escape")
        assert it.screen.step == "machine"
        await it.press("ctrl+c", "ctrl+c")
    assert it.app.exit_code == 130


async def test_ctrl_c_leaves_at_once_when_nothing_would_be_lost() -> None:
    async with wizard() as it:
        await it.press("ctrl+n", "ctrl+c")
    assert it.app.exit_code == 130


async def test_a_step_that_is_built_while_the_app_leaves_is_let_be() -> None:
    async with wizard() as it:
        it.app.exit()
        await it.screen._build_next()
        await it.screen.open("tuning")
        assert it.screen.step == "machine"


async def test_ctrl_q_leaves_from_a_field_with_code_0() -> None:
    async with wizard() as it:
        await it.go("tuning")
        await it.press("ctrl+q")
    assert it.app.exit_code == 0
