"""Files damaged at random, for fuzz.py: run files, event files, and small JSON files.

Every function draws from the `Random` it is given, so a seed repeats a case.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

DEEP = 4000  # more than the interpreter's recursion limit
LONG = 1 << 20
# Values as a run file may spell them: none is what any key asks for, but by chance.
LITERALS = (
    *("0", "-1", "1", "2", "1_000", "0x10", "9" * 30, "9" * 400, "9" * 5000, "0x" + "f" * 5000),
    *("0.0", "-0.0", "0.5", "1e-320", "1e308", "1e400", "inf", "-inf", "nan", "true", "false"),
    *('""', '" "', '"orpo"', '"pocket"', '"../../x"', '"/dev/zero"', '"/etc/passwd"', '"~root"'),
    *('"a/../../b"', '"\\u0000"', '"a\\u0000b"', '"\\u001b[2J"', '"\\u202e"', '"\\U0001F600"'),
    *("'{self}'", "'%s%n'", "'$(touch x)'", '"' + "x" * 300 + '"', '"' + "x" * 100_000 + '"'),
    *("1979-05-27T07:32:00Z", "07:32:00", "1979-05-27", "[]", "{}", "[[]]", "[1, 'x', {}]"),
    *("{a = {b = {c = 1}}}", "[" * 50 + "]" * 50, "[" * DEEP + "]" * DEEP, "{a=" * DEEP + "1"),
    *("[" * DEEP, "'''", '"""', '"\\ud800"', "", "#", "=", "[x]", "\x00", "\ufeff"),
)
LINES = (
    *("schema = 2", "[x]", "[[data]]", "[data.columns]", "[model]", "[training]", "[provenance]"),
    *("method = 'kto'", "[sft]", "[dpo]", "x = 1", "'\\u001b[31m' = 1", '"\\u001b[31m" = 1'),
    *('"" = 1', "a.b.c = 1", ".".join("a" * DEEP) + " = 1", "[" + ".".join("a" * DEEP) + "]"),
    *('"' + "k" * 100_000 + '" = 1', "model.id = 'x'", "output = '/dev/full'", "[data.labels]"),
    *("é = 1", "\x07", "\r", "[lora]", "[guards]", "max_hours = 1e-300", "patience = 1"),
)
# Values that JSON can spell, and Python's reader takes.
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63 - 1, 2**63, -(2**63), 10**400, 0.5, -1.5, 1e308),
    *(5e-324, float("nan"), float("inf"), float("-inf"), "", "x", "nan", "\x1b[2J\x07", "\u202e"),
    *("é" * 50, "\ud800", "\x00", "../../x", "{at}{0}%s", [], [1], {}, {"a": 1}, {"a": {"b": []}}),
    *({"\x1b": "x"}, "x" * 900, [[[[[[]]]]]], "[b]bold[/b]", "a\nb"),
)
KINDS = ("Resumed", "Saved", "Paused", "Finished", "Failed", "Step", "Started", "Exploded", "")
RESUMED = '{"event": "Resumed", "t": %s, "step": %d, "checkpoint": "%s"}'


def run_file(random: Random, sources: Sequence[str]) -> bytes:
    """A run file with one to four things wrong."""
    lines = random.choice(sources).split("\n")
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        random.choice(_OF_LINES)(random, lines)
    whole = "\n".join(lines).encode("utf-8", "surrogatepass")
    return _bytes(random, whole) if random.random() < 0.2 else whole


def setting(random: Random, keys: Sequence[str]) -> str:
    """What stands behind --set: a key and a value."""
    key = random.choice((*keys, "", ".", "x", "method", "a.b.c.d", "data.columns.x", "model"))
    return random.choice((key, f"{key}={random.choice(LITERALS)}", f"{key}=\ud800", f" {key} = 1"))


def events(random: Random, source: Sequence[str]) -> bytes:
    """Some lines of an event file, in their order but for what is done to them."""
    many = random.choice((3, 10, 25, 25, len(source)))
    start = random.choice((0, random.randrange(len(source))))
    lines = list(source[start : start + many]) or [source[0]]
    for _ in range(random.choice((1, 1, 2, 4, 8))):
        random.choice(_OF_EVENTS)(random, lines)
    whole = "\n".join(lines).encode("utf-8", "surrogatepass")
    if random.random() < 0.7:
        whole += b"\n"
    if random.random() < 0.003:
        whole += b'{"event": "Warned", "t": 1.0, "code": "' + b"x" * LONG + b'"}\n'
    return _bytes(random, whole) if random.random() < 0.3 else whole


def json_file(random: Random, source: str) -> bytes:
    """A small JSON file with something wrong."""
    lines = [source]
    for _ in range(random.randint(1, 3)):
        random.choice((_odd_value, _odd_value, _odd_value, _cut))(random, lines)
    whole = lines[0].encode("utf-8", "surrogatepass")
    return _bytes(random, whole) if random.random() < 0.3 else whole


def _bytes(random: Random, whole: bytes) -> bytes:
    """Bytes flipped, lost, put in or cut off."""
    torn = bytearray(whole)
    for _ in range(random.randint(1, 5)):
        at = random.randrange(len(torn) + 1)
        match random.randrange(5):
            case 0 if at < len(torn):
                torn[at] ^= 1 << random.randrange(8)
            case 1:
                del torn[at : at + random.randint(1, 20)]
            case 2:
                torn[at:at] = random.randbytes(random.choice((1, 3, 40)))
            case 3:
                torn[at:at] = random.choice((b"\n", b"\0", b"\r\n", b"\xff\xfe", b"\x1b[2J"))
            case _ if random.random() < 0.3:
                del torn[at:]
    return bytes(torn)


def _place(random: Random, lines: list[str]) -> int:
    lines[:] = lines or [""]
    return random.randrange(len(lines))


def _value(random: Random, lines: list[str]) -> None:
    at = _place(random, lines)
    key, sign, _ = lines[at].partition(" = ")
    if sign:
        lines[at] = f"{key} = {random.choice(LITERALS)}"


def _line(random: Random, lines: list[str]) -> None:
    lines.insert(_place(random, lines), random.choice(LINES))


def _key(random: Random, lines: list[str]) -> None:
    """A key misspelt by one letter."""
    at = _place(random, lines)
    here = random.randrange(len(lines[at]) + 1)
    lines[at] = lines[at][:here] + random.choice("xé. =[\"'#\\\t") + lines[at][here + 1 :]


def _again(random: Random, lines: list[str]) -> None:
    lines.insert(_place(random, lines), lines[_place(random, lines)])


def _lost(random: Random, lines: list[str]) -> None:
    del lines[_place(random, lines)]


def _swapped(random: Random, lines: list[str]) -> None:
    one, other = _place(random, lines), _place(random, lines)
    lines[one], lines[other] = lines[other], lines[one]


def _cut(random: Random, lines: list[str]) -> None:
    at = _place(random, lines)
    lines[at] = lines[at][: random.randrange(len(lines[at]) + 1)]


def _odd_value(random: Random, lines: list[str]) -> None:
    """Another value for a key of a JSON line, or for one inside of it."""
    at = _place(random, lines)
    try:
        plain = json.loads(lines[at])
    except (ValueError, RecursionError):
        return
    if isinstance(plain, dict) and plain:
        key = random.choice(sorted(plain))
        if isinstance(plain[key], dict) and random.random() < 0.5:
            plain[key][random.choice(("x", *plain[key]))] = random.choice(ODD)
        else:
            plain[key] = random.choice(KINDS) if key == "event" else random.choice(ODD)
        lines[at] = json.dumps(plain, ensure_ascii=random.random() < 0.5)


def _number(random: Random, lines: list[str]) -> None:
    """Another number, in its place."""
    at = _place(random, lines)
    places = list(re.finditer(r"-?\d+(\.\d+)?(e-?\d+)?", lines[at]))
    if places:
        place = random.choice(places)
        new = random.choice(("0", "-1", "1e999", "NaN", "-Infinity", "9" * 400, "1e-320", "7"))
        lines[at] = lines[at][: place.start()] + new + lines[at][place.end() :]


def _resumed(random: Random, lines: list[str]) -> None:
    step = random.choice((0, 1, 5, 40, 10**6, -3, 2**70))
    t = random.choice(("0", "7.5", "NaN", "1e308", '"x"'))
    lines.insert(_place(random, lines), RESUMED % (t, step, random.choice(("", "c", "\x1b"))))


def _foreign(random: Random, lines: list[str]) -> None:
    deep = '{"event": ' + "[" * DEEP + "]" * DEEP + "}"
    other = ("", "null", "[]", "7", "{}", "\x00" * 9, '{"event": {}}', deep, '{"event": []}')
    lines.insert(_place(random, lines), random.choice(other))


_OF_LINES: tuple[Callable[[Random, list[str]], None], ...] = (
    *(_value, _value, _value, _value, _line, _line, _key, _key),
    *(_again, _lost, _swapped, _cut),
)
_OF_EVENTS: tuple[Callable[[Random, list[str]], None], ...] = (
    *(_odd_value, _odd_value, _odd_value, _odd_value, _number, _number, _resumed, _resumed),
    *(_again, _lost, _swapped, _cut, _foreign),
)
