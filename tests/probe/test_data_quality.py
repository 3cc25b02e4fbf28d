"""The quality report: each finding appears with its rows, and is silent just beside it."""

from __future__ import annotations

import random
import subprocess
import sys
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backprop_tui.core.quality import Finding, Quality
from backprop_tui.core.rows import Chat, Labelled, Message, Pair, Row
from backprop_tui.probe.data.quality import near as near_module
from backprop_tui.probe.data.quality import report
from backprop_tui.probe.data.quality.answers import placeholder, refuses
from backprop_tui.probe.data.quality.near import (
    THRESHOLD,
    jaccard,
    near_copies,
    near_copies_in,
    shingles,
)
from backprop_tui.probe.data.quality.scripts import letters, main_script

LONG = "The answer goes on for quite a few words, so that nobody calls it short: "


def user(text: str) -> tuple[Message, ...]:
    return (Message("user", text),)


def said(text: str) -> tuple[Message, ...]:
    return (Message("assistant", text),)


def pair(
    number: int,
    prompt: str = "",
    chosen: str = "",
    rejected: str = "",
    scores: tuple[float, float] | None = None,
) -> Pair:
    """A pair like no other, but for what is given."""
    return Pair(
        number,
        user(prompt or f"Question number {number}?"),
        said(chosen or f"{LONG}yes, {number} times."),
        said(rejected or f"{LONG}no, never {number}."),
        scores,
    )


def marked(number: int, label: bool, answer: str = "", prompt: str = "") -> Labelled:
    asked = user(prompt or f"Question number {number}?")
    return Labelled(number, asked, said(answer or f"{LONG}{number}"), label)


def pairs(n: int) -> list[Row]:
    return [pair(i) for i in range(1, n + 1)]


def find(rows: list[Row], code: str, **options: float) -> Finding | None:
    return report(rows, **options).find(code)  # type: ignore[arg-type]


def the(rows: list[Row], code: str, **options: float) -> Finding:
    found = find(rows, code, **options)
    assert found is not None, code
    return found


def test_clean_rows_leave_only_the_split_to_be_told() -> None:
    found = report(pairs(50))
    assert [one.code for one in found.findings] == ["data-leak"]
    assert (found.rows, found.noise, found.scripts) == (50, None, {"Latin": 1.0})


@pytest.mark.parametrize("rows", [[], pairs(1)], ids=["none", "one"])
def test_hardly_any_rows_are_no_error(rows: list[Row]) -> None:
    assert report(rows).findings == ()
    assert report(rows).rows == len(rows)


# Copies


def test_exact_repeats_name_the_row_they_repeat() -> None:
    again = Pair(41, *(getattr(pair(7), name) for name in ("prompt", "chosen", "rejected")))
    found = the([*pairs(40), again], "data-duplicates")
    assert (found.count, found.of, found.level) == (1, 41, "note")
    assert found.examples == ("row 41, as row 7: Question number 7?",)
    assert "1 row repeats an earlier one word for word (2 %)" in found.text
    three = [*pairs(40), again, again, again]
    assert the(three, "data-duplicates").level == "warning"


def test_marks_of_the_other_kind_do_not_repeat() -> None:
    assert find([marked(1, True, "Yes."), marked(1, False, "Yes.")], "data-duplicates") is None


WORDS = [f"word{i}" for i in range(400)]


def essay(seed: int, n: int = 120) -> list[str]:
    return random.Random(seed).choices(WORDS, k=n)


def test_near_copies_are_found_in_pairs_and_exact_repeats_are_not_among_them() -> None:
    base = essay(1)
    edited = [*base[:60], "edited", *base[61:]]
    other = pair(3, chosen=" ".join(essay(2)))
    rows: list[Row] = [
        pair(1, "Q?", " ".join(base), " ".join(essay(3))),
        pair(2, "Q?", " ".join(edited), " ".join(essay(3))),
        other,
        other,
    ]
    found = the(rows, "data-near-duplicates")
    assert found.count == 2
    assert found.examples[0].startswith("row 1, 9")
    assert "like row 2: Q?" in found.examples[0]
    assert "arXiv:2107.06499" in found.source


def test_two_answers_to_one_long_prompt_are_no_near_copies() -> None:
    prompt = " ".join(essay(4))
    rows: list[Row] = [marked(1, True, "green cupboard", prompt), marked(2, False, "no", prompt)]
    assert find(rows, "data-near-duplicates") is None


def test_a_shared_system_turn_makes_no_near_copies() -> None:
    system = Message("system", " ".join(essay(5)))
    rows: list[Row] = [
        Chat(i, (system, *user(f"Question {i} is about {WORDS[i]}."), *said(f"Answer {i}.")))
        for i in range(40)
    ]
    assert find(rows, "data-near-duplicates") is None
    assert find(rows, "data-near-leak") is None


@pytest.mark.parametrize(
    "text",
    [
        "我们在公园里看到了三只猫和两只狗。",  # no spaces: characters are the words
        "เราเห็นแมวสามตัวในสวนสาธารณะ",
    ],
)
def test_scripts_without_spaces_have_shingles_too(text: str) -> None:
    assert len(shingles(text)) > 8
    assert jaccard(shingles(text), shingles(text[:-2] + "了。")) > 0.6


def test_four_in_five_is_near_and_case_and_signs_do_not_count() -> None:
    assert THRESHOLD == 0.8
    words = essay(6, 32)  # 30 triples
    for kept, near in ((27, True), (26, False)):  # 27 triples of 33, 26 of 34
        other = [*words[: kept + 2], *(f"new{i}" for i in range(30 - kept))]
        assert bool(near_copies_in([" ".join(other)], [" ".join(words)], seed=0)) is near
    assert shingles("One, two; THREE four!") == shingles("one two three four")


def test_minhash_agrees_with_exact_jaccard() -> None:
    """Every pair at or over the threshold is found and no other, over many degrees of likeness."""
    rng = random.Random(0)
    texts = []
    for seed in range(150):
        base = essay(seed)
        texts.append(" ".join(base))
        share = seed / 150 * 0.12  # up to one word in eight replaced
        texts.append(" ".join(w if rng.random() > share else f"new{rng.random()}" for w in base))
    sets = [shingles(text) for text in texts]
    expected = {
        i
        for first, second in combinations(range(len(texts)), 2)
        if jaccard(sets[first], sets[second]) >= THRESHOLD
        for i in (first, second)
    }
    assert 60 < len(expected) < 200  # both sides of the edge are there
    found = near_copies(texts, texts, seed=0)
    assert set(found) == expected
    for i, copy in found.items():
        assert copy.similarity == jaccard(sets[i], sets[copy.other]) >= THRESHOLD


def test_rensa_s_own_estimate_is_within_its_standard_error() -> None:
    from rensa import RMinHash

    sets = [shingles(" ".join(essay(0)[: 40 + 2 * i])) for i in range(40)]
    prints = RMinHash.from_token_sets(sets, 128, 0)
    errors = [
        prints[i].jaccard(prints[j]) - jaccard(sets[i], sets[j])
        for i, j in combinations(range(40), 2)
    ]
    assert sum(error**2 for error in errors) / len(errors) < 0.25 / 128  # its largest variance
    assert abs(sum(errors) / len(errors)) < 0.02


# The split


def test_no_prompt_stands_on_both_sides_and_that_is_said_as_checked() -> None:
    rows = [*pairs(50), *(pair(i + 50, f"Question number {i}?") for i in range(1, 51))]
    found = the(rows, "data-leak")
    assert (found.count, found.of, found.level) == (0, 5, "note")
    assert found.text.startswith("0 of 5 held-out prompts are also trained on")


def test_rows_without_prompts_have_none_to_leak() -> None:
    rows: list[Row] = [Chat(i, said(f"{LONG}{i}")) for i in range(20)]
    assert find(rows, "data-leak") is None


def near_prompts(n: int) -> list[Row]:
    """n pairs of prompts that differ in one sign, among 60 that are like no other."""
    rows: list[Row] = []
    for i in range(60):
        prompt = " ".join(essay(i, 30))
        rows.append(pair(2 * i + 1, prompt))
        if i < n:
            rows.append(pair(2 * i + 2, prompt.capitalize() + " Please?"))
    return rows


def test_near_copies_of_held_out_prompts_are_counted_after_the_split() -> None:
    rows = near_prompts(60)
    found = the(rows, "data-near-leak", heldout=0.2)
    assert found.level == "warning"
    assert 15 <= found.count <= found.of == 24
    assert "like row" in found.examples[0]
    assert "held-out figures will look better" in found.text
    assert find(near_prompts(0), "data-near-leak", heldout=0.2) is None
    assert find(rows, "data-near-leak", heldout=0.0) is None


def test_a_near_copy_says_which_it_is_like() -> None:
    texts = [" ".join(essay(i)) for i in range(5)]
    found = near_copies_in([texts[3] + " more"], texts, seed=0)
    assert found[0].other == 3


# Preferences


def test_the_same_two_answers_ranked_both_ways() -> None:
    rows = [*pairs(40), pair(41, "Q?", "A.", "B."), pair(42, "Q?", " B. ", "A.")]
    found = the(rows, "data-contradictions")
    assert (found.count, found.of, found.level) == (2, 42, "warning")
    assert found.examples == ("row 41 against row 42: Q?",)
    assert "ranked both ways" in found.text
    apart = [*pairs(40), pair(41, "Q?", "A.", "B."), pair(42, "R?", "B.", "A.")]
    assert find(apart, "data-contradictions") is None


def test_one_answer_marked_good_and_bad() -> None:
    rows: list[Row] = [marked(1, True, "Yes.", "Q?"), marked(2, False, "Yes.", "Q?")]
    found = the(rows, "data-contradictions")
    assert found.count == 2
    assert "marked both good and bad" in found.text
    assert find([rows[0], marked(2, False, "No.", "Q?")], "data-contradictions") is None


RING = [("A.", "B."), ("B.", "C."), ("C.", "A.")]


def ranked(*sides: tuple[str, str]) -> list[Row]:
    return [pair(i, "Q?", *both) for i, both in enumerate(sides, 1)]


def test_a_ring_is_told_with_its_rows() -> None:
    found = the(ranked(*RING, ("A.", "D.")), "data-cycles")
    assert (found.count, found.of) == (3, 4)
    assert found.examples == ("rows 1, 2, 3: Q?",)


@pytest.mark.parametrize(
    "sides",
    [
        (*RING[:2], ("A.", "C.")),  # an order
        (("A.", "B."), ("B.", "A."), ("A.", "C.")),  # a contradiction, no ring
    ],
)
def test_what_is_no_ring(sides: tuple[tuple[str, str], ...]) -> None:
    assert find(ranked(*sides), "data-cycles") is None


def test_a_ring_over_two_prompts_is_none() -> None:
    rows = [pair(i, f"Q{i}?", *sides) for i, sides in enumerate(RING)]
    assert find(list(rows), "data-cycles") is None


def scored(against: int, agree: int, ties: int) -> list[Row]:
    scores = [(1.0, 9.5)] * against + [(9.0, 1.0)] * agree + [(5.0, 5.0)] * ties
    return [pair(i, scores=both) for i, both in enumerate(scores, 1)]


def test_noise_is_the_share_of_untied_scores_that_disagree() -> None:
    quality = report(scored(against=3, agree=9, ties=5))
    found = quality.find("data-label-noise")
    assert found is not None
    assert quality.noise == found.share == 0.25
    assert (found.count, found.of, found.level) == (3, 12, "warning")
    assert "in 3 of 12 scored pairs (25 %)" in found.text
    assert "5 pairs with equal scores left out" in found.text
    assert found.examples[0] == "row 1, 1 against 9.5: Question number 1?"


def test_scores_that_agree_are_a_note_and_swapped_sides_are_suspected() -> None:
    found = the(scored(0, 9, 0), "data-label-noise")
    assert (found.count, found.level) == (0, "note")
    assert "agree with the choice in all 9 pairs" in found.text
    assert "swapped" in the(scored(6, 4, 0), "data-label-noise").do
    assert "swapped" not in the(scored(5, 5, 0), "data-label-noise").do


@pytest.mark.parametrize("rows", [pairs(9), scored(0, 0, 9)], ids=["none", "all tied"])
def test_without_scores_that_differ_nothing_is_claimed(rows: list[Row]) -> None:
    assert report(rows).noise is None
    assert find(rows, "data-label-noise") is None


# Answers


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("I'm sorry, but I can't help with that.", True),
        ("I’m sorry, but I cannot share that.", True),
        ("I apologize, but I am unable to do so.", True),
        ("As an AI language model, I do not have feelings.", True),
        ("I cannot provide a program that does this.", True),
        ("I'm unable to open links.", True),
        ("Sorry, I won't write that.", True),
        ("对不起，我无法回答那个请求。", True),
        ("作为一个AI语言模型，我无法访问您的计算机。", True),
        ("Es tut mir leid, dabei kann ich nicht helfen.", True),
        ("Lo siento, no puedo ayudarte.", True),
        ("Je suis désolé, je ne peux pas le faire.", True),
        ("Извините, но я не могу этого сделать.", True),
        ("申し訳ありませんが、お答えできません。", True),
        ("As an AI assistant, I'd be happy to plan your trip.", False),
        ("I'm sorry to hear about your loss. Here is what helps.", False),
        ("You cannot divide by zero.", False),
        ("Certainly! Here is the code.", False),
        (f"{LONG * 5} As an AI, I cannot say more.", False),  # not in its opening
        ("", False),
    ],
)
def test_refusals_are_known_by_their_opening(text: str, refused: bool) -> None:
    assert refuses(text) is refused


def test_refusals_are_counted_by_side() -> None:
    no = "I'm sorry, but I can't help with that."
    rows = [*pairs(37), pair(38, chosen=no), pair(39, rejected=no), pair(40, rejected=no)]
    found = the(rows, "data-refusals")
    assert (found.count, found.of, found.level) == (1, 40, "note")
    assert "1 of 40 answers to be learned (2 %) opens" in found.text
    assert "and 2 of 40 to be avoided" in found.text
    assert "mostly English" in found.text
    assert found.examples == (f"row 38: {no}",)
    assert the([*rows, pair(41, chosen=no)], "data-refusals").level == "note"
    assert the([*rows[1:], pair(41, chosen=no)], "data-refusals").level == "warning"


def test_a_bad_mark_on_a_refusal_is_none_to_be_learned() -> None:
    no = "I'm sorry, but I can't help with that."
    found = the([marked(1, False, no), *(marked(i, True) for i in range(2, 9))], "data-refusals")
    assert (found.count, found.level, found.do) == (0, "note", "")


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("I am {{name}}, made by {{author}}.", "{{name}}"),
        ("Dear {user}, hello.", "{user}"),
        ("Write about [INSERT TOPIC HERE] now.", "[INSERT TOPIC HERE]"),
        ("The set {a, b} and \\frac{name}{2}", ""),
        ("```python\nf'{name}'\n```", ""),
        ("Use `{name}` here.", ""),
        ("${name} in a shell", ""),
        ("Please insert the coin {here}.", ""),
        ("plain", ""),
    ],
)
def test_placeholders(text: str, mark: str) -> None:
    assert placeholder(text) == mark


def test_rows_with_placeholders_are_told_by_what_stands_there() -> None:
    rows = [*pairs(99), pair(100, "Who made you, {{name}}?")]
    found = the(rows, "data-placeholders")
    assert (found.count, found.of, found.level) == (1, 100, "warning")
    assert found.examples == ("row 100: {{name}}",)


def test_short_answers_stand_out_among_long_ones_only() -> None:
    rows = [*pairs(8), pair(9, chosen="Yes."), pair(10, chosen="Not so")]
    found = the(rows, "data-short-answers")
    assert (found.count, found.of, found.level) == (2, 10, "warning")
    assert found.examples[0] == "row 9: Yes. (to: Question number 9?)"
    assert find([pair(i, chosen="Yes.") for i in range(9)], "data-short-answers") is None
    assert find([*pairs(8), pair(9, chosen="Not so fast.")], "data-short-answers") is None


# Scripts


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("plain English text", "Latin"),
        ("Straße, Éclair, żółw, Tiếng Việt", "Latin"),
        ("Привет, как дела?", "Cyrillic"),
        ("Γειά σου Κόσμε μου", "Greek"),
        ("שלום עולם מה שלומך", "Hebrew"),
        ("مرحبا بالعالم كيف", "Arabic"),
        ("नमस्ते दुनिया कैसे हो", "Devanagari"),
        ("স্বাগতম পৃথিবী কেমন", "Bengali"),
        ("வணக்கம் உலகம் எப்படி", "Tamil"),
        ("สวัสดีชาวโลกเป็นอย่างไร", "Thai"),
        ("我们在公园里看到了三只猫", "Han"),
        ("これはとてもおもしろいです", "Kana"),
        ("안녕하세요 세계 여러분", "Hangul"),
        ("გამარჯობა მსოფლიო", "Georgian"),
        ("PowerShell，如何知道BIOS中的虚拟化是否已禁用", "Han"),  # a sign is worth three letters
        ("```python\nprint('hello world')\n``` 这就是全部代码", "Han"),  # code does not count
        ("12 + 34 = 46", None),
        ("ok", None),
        ("", None),
    ],
)
def test_scripts_by_their_letters(text: str, script: str | None) -> None:
    assert main_script(letters(text)) == script


RUSSIAN = "Это довольно длинный ответ на русском языке, в нём много слов."
JAPANESE = "これはとてもおもしろいです"


def test_the_mix_of_scripts_is_a_share_of_rows() -> None:
    rows = [*pairs(8), *(pair(i, RUSSIAN + str(i), RUSSIAN, RUSSIAN + "!") for i in (9, 10))]
    assert report(rows).scripts == {"Latin": 0.8, "Cyrillic": 0.2}
    found = the(rows, "data-scripts")
    assert (found.count, found.of, found.level) == (2, 10, "note")
    assert "Latin 80 %, Cyrillic 20 %" in found.text


def test_answers_in_another_script_than_their_prompt() -> None:
    rows = [*pairs(19), pair(20, "What is that in Russian, please?", RUSSIAN)]
    found = the(rows, "data-script-mismatch")
    assert (found.count, found.of, found.level) == (1, 20, "warning")
    assert found.examples[0].startswith("row 20, Latin to Cyrillic: What is that")
    # Japanese mixes Han with its own letters, and a number has no script.
    both = [pair(1, "这是中文的一个问题，请回答", JAPANESE), pair(2, RUSSIAN, "42")]
    assert find(list(both), "data-script-mismatch") is None


# The report


def test_the_same_seed_gives_the_same_report_in_any_process() -> None:
    """Also under another hash seed, which orders sets of strings otherwise."""
    code = (
        "from tests.probe.test_data_quality import near_prompts, pairs\n"
        "from backprop_tui.probe.data.quality import report\n"
        "print(report([*near_prompts(60), *pairs(60)], 3))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": "."},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1
    assert "data-near-leak" in said.pop()


def test_a_large_file_is_sampled_for_its_texts_and_compared_whole() -> None:
    rows = pairs(300)
    quality: Quality = report([*rows, rows[0]], most=50)
    assert quality.rows == 50
    found = quality.find("data-duplicates")
    assert found is not None
    assert found.of == 301


def test_rensa_is_loaded_only_for_a_report() -> None:
    code = "import sys, backprop_tui.probe.data.quality as q; print('rensa' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


texts = st.text(max_size=80).filter(lambda text: bool(text.strip()))
any_rows = st.lists(
    st.one_of(
        st.builds(
            Pair,
            st.integers(1, 9),
            texts.map(user),
            texts.map(said),
            texts.map(said),
            st.none() | st.tuples(st.floats(allow_nan=False), st.floats(allow_nan=False)),
        ),
        st.builds(Labelled, st.integers(1, 9), texts.map(user), texts.map(said), st.booleans()),
        st.builds(Chat, st.integers(1, 9), texts.map(lambda text: (*user(text), *said(text)))),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(any_rows)
def test_no_rows_raise_and_no_count_exceeds_what_was_looked_at(rows: list[Row]) -> None:
    for found in report(rows).findings:
        assert 0 <= found.count <= found.of
        assert len(found.examples) <= 3
        assert found.text.endswith(".")


def test_near_copies_of_long_texts_are_compared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    long = " ".join(f"w{i}" for i in range(3000))
    made: list[int] = []

    def counted(text: str) -> set[str]:
        made.append(len(text))
        return shingles(text)

    monkeypatch.setattr(near_module, "shingles", counted)
    found = report([pair(i, f"hello {i}", f"{long} yes {i}", f"{long} no {i}") for i in range(300)])
    copies = found.find("data-near-duplicates")
    assert copies is not None
    assert copies.count == 300
    assert f"the first {near_module.LOOKED_AT:,} characters" in copies.text
    assert max(made) <= near_module.LOOKED_AT
    assert len(made) < 4 * 300 + 2 * 300  # rows and prompts for the index, and for candidates
