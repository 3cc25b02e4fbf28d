"""Which script (Latin, Han, Cyrillic, ...) texts are written in, by their letters."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from backprop_tui.core.quality import Finding
from backprop_tui.core.rows import Row
from backprop_tui.core.text import percent, plural

from .parts import asked, bad_answer, excerpt, finding, good_answer, without_code

LOOKED_AT = 500  # characters of each part: a language shows early
FEW_LETTERS = 10  # a part with fewer has no script worth a verdict
OTHER = "other"
RARE = 0.01  # share of rows under which a script is not named

# First code point -> script, up to the next one; from the Unicode blocks. Japanese mixes
# Han with its own letters, so the two count as one wherever prompt and answer are compared.
_BLOCKS = (
    (0x0000, "Latin"), (0x0370, "Greek"), (0x0400, "Cyrillic"), (0x0530, "Armenian"),
    (0x0590, "Hebrew"), (0x0600, "Arabic"), (0x0700, OTHER), (0x0750, "Arabic"), (0x0780, OTHER),
    (0x08A0, "Arabic"), (0x0900, "Devanagari"), (0x0980, "Bengali"), (0x0A00, "Gurmukhi"),
    (0x0A80, "Gujarati"), (0x0B00, OTHER), (0x0B80, "Tamil"), (0x0C00, "Telugu"),
    (0x0C80, "Kannada"), (0x0D00, "Malayalam"), (0x0D80, "Sinhala"), (0x0E00, "Thai"),
    (0x0E80, "Lao"), (0x0F00, "Tibetan"), (0x1000, "Burmese"), (0x10A0, "Georgian"),
    (0x1100, "Hangul"), (0x1200, "Ethiopic"), (0x13A0, OTHER), (0x1780, "Khmer"),
    (0x1800, OTHER), (0x1C90, "Georgian"), (0x1CC0, OTHER), (0x1D00, "Latin"), (0x1D2B, OTHER),
    (0x1E00, "Latin"), (0x1F00, "Greek"), (0x2000, OTHER), (0x2C60, "Latin"), (0x2C80, OTHER),
    (0x2DE0, "Cyrillic"), (0x2E00, OTHER), (0x2E80, "Han"), (0x3040, "Kana"), (0x3100, "Han"),
    (0x3130, "Hangul"), (0x3190, "Han"), (0x31F0, "Kana"), (0x3200, OTHER), (0x3400, "Han"),
    (0xA000, OTHER), (0xA640, "Cyrillic"), (0xA6A0, OTHER), (0xA720, "Latin"), (0xA800, OTHER),
    (0xAC00, "Hangul"), (0xD7FC, OTHER), (0xF900, "Han"), (0xFB00, "Latin"), (0xFB13, "Armenian"),
    (0xFB1D, "Hebrew"), (0xFB50, "Arabic"), (0xFE00, OTHER), (0xFE70, "Arabic"), (0xFF00, "Latin"),
    (0xFF66, "Kana"), (0xFFA0, "Hangul"), (0xFFE0, OTHER), (0x20000, "Han"), (0x33480, OTHER),
)  # fmt: skip
# One sign of these writes what takes several letters elsewhere.
_WEIGHT = {"Han": 3, "Kana": 2, "Hangul": 2}
_STARTS = [start for start, _ in _BLOCKS]
_NO_LETTERS = {n: None for n in range(128) if not chr(n).isalpha()}


@lru_cache(maxsize=8192)
def script_of(letter: str) -> str:
    return _BLOCKS[bisect_right(_STARTS, ord(letter)) - 1][1]


def letters(text: str) -> Counter[str]:
    """Letters by script, over the start of the text; code is in Latin everywhere."""
    text = without_code(text[:LOOKED_AT])
    if text.isascii():
        return Counter(Latin=len(text.translate(_NO_LETTERS)))
    found: Counter[str] = Counter()
    for character, n in Counter(text).items():
        if character.isalpha():
            script = script_of(character)
            found[script] += n * _WEIGHT.get(script, 1)
    return found


def main_script(found: Counter[str]) -> str | None:
    """The script most letters are in; None where there are too few to tell."""
    if found.total() < FEW_LETTERS:
        return None
    return max(found, key=lambda name: (found[name], name))


def scripts(rows: Sequence[Row]) -> tuple[dict[str, float], list[Finding]]:
    """Share of rows by main script, commonest first, and what is worth saying of them."""
    counts: Counter[str] = Counter()
    crossed: list[tuple[Row, str, str]] = []
    for row in rows:
        question = letters(asked(row))
        answers = [letters(text) for text in (good_answer(row), bad_answer(row)) if text]
        first = main_script(question)
        whole = main_script(sum(answers, question))
        if whole is not None:
            counts[whole] += 1
        second = main_script(answers[0]) if answers else None
        if first and second and _family(first) != _family(second):
            crossed.append((row, first, second))
    shares = {name: n / counts.total() for name, n in counts.most_common()}
    return shares, [*_mix(shares, counts), *_crossed(crossed, len(rows))]


def _family(script: str) -> str:
    return "Han" if script == "Kana" else script


def _mix(shares: dict[str, float], counts: Counter[str]) -> list[Finding]:
    named = {name: share for name, share in shares.items() if share >= RARE}
    if len(named) < 2:
        return []
    main = next(iter(named))
    told = ", ".join(f"{name} {percent(share)}" for name, share in named.items())
    return [
        finding(
            code="data-scripts",
            count=counts.total() - counts[main],
            of=counts.total(),
            text=f"Rows by the script most of their letters are in: {told}.",
        )
    ]


def _crossed(crossed: list[tuple[Row, str, str]], of: int) -> list[Finding]:
    if not crossed:
        return []
    return [
        finding(
            code="data-script-mismatch",
            count=len(crossed),
            of=of,
            text=(
                f"{plural(len(crossed), 'row is', 'rows are')} answered in another script than "
                f"asked in ({percent(len(crossed) / of)})."
            ),
            examples=(
                f"row {row.number}, {first} to {second}: {excerpt(asked(row))}"
                for row, first, second in crossed
            ),
            do="Right for translation and code; otherwise remove these rows: the model will "
            "switch language too.",
        )
    ]
