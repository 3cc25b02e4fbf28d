"""A long stretch of events.jsonl, of which what matters is parsed.

Steps and readings of the card, which are nearly all of a million lines, are known by the bytes
they begin with, and only some are parsed: the newest, and an even choice of what is older. Every
other event is parsed. Of the steps that a later Resumed made void none is chosen, so that the
newest ones are those that count.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from backprop_tui.core.events import Event, GpuSampled, Resumed, Step, from_line

CHUNK = 1 << 21  # bytes read at once
BLOCK = 1 << 12  # bytes read to find one line
LONGEST = 1 << 20  # bytes of a line; a longer one is no event
NEWEST = 2_000  # of the steps, and of the readings
OLDER = 2_000  # of each
EVALUATIONS = 10_000  # of more, as many are chosen evenly
STEP = b'\n{"event": "Step"'
READING = b'\n{"event": "GpuSampled"'
EVALUATION = b'\n{"event": "Evaluated"'
# The end of a line that something else than a step or a reading comes after.
RARE = re.compile(rb'\n(?!\{"event": "(?:Step|GpuSampled)")')

Placed = tuple[int, Event]  # where the line begins, and what it says
Stretch = tuple[int, int]  # from this byte, up to this one


def parsed(file: int, begin: int, end: int) -> list[Event]:
    """Every event of a short stretch of whole lines."""
    lines = os.pread(file, end - begin, begin).split(b"\n")
    return [event for line in lines if (event := _event(line)) is not None]


def chosen(file: int, begin: int, end: int) -> list[Event]:
    """The rare events of a long stretch and a choice of the others, in the order of the file."""
    found = _rare(file, begin, end)
    found.update(_some(file, STEP, _valid(file, begin, end, found)))
    found.update(_some(file, READING, [(begin, end)]))
    return [found[at] for at in sorted(found)]


def _rare(file: int, begin: int, end: int) -> dict[int, Event]:
    """Everything that is neither a step nor a reading."""
    places: list[int] = [begin]
    evaluations: list[int] = []
    buffer = bytearray(CHUNK)
    at = max(begin - 1, 0)  # where the end of the line before stands
    while end - at > 1:
        n = os.preadv(file, [memoryview(buffer)[: end - at]], at)
        last = buffer.rfind(b"\n", 0, n)
        if last <= 0:  # a line longer than the buffer, or a file that was cut meanwhile
            if n == 0:
                break
            at += n
            continue
        for match in RARE.finditer(buffer, 0, last):
            place = match.start()
            kind = evaluations if buffer.startswith(EVALUATION, place) else places
            kind.append(at + place + 1)
        at += last  # its line is in the next piece
    if (many := len(evaluations)) > EVALUATIONS:
        evaluations = [evaluations[-1 - i * many // EVALUATIONS] for i in range(EVALUATIONS)]
    lines = ((place, _event(_line(file, place, end))) for place in places + evaluations)
    return {
        place: event
        for place, event in lines
        if event is not None and not isinstance(event, Step | GpuSampled)  # as the first may be
    }


def _valid(file: int, begin: int, end: int, rare: dict[int, Event]) -> list[Stretch]:
    """Where the steps stand that no later Resumed made void.

    From one Resumed to the next the number of the step only rises, so the void ones come last.
    """
    resumed = [(at, event.step) for at, event in rare.items() if isinstance(event, Resumed)]
    found: list[Stretch] = []
    most: int | None = None
    for at, step in sorted([(begin - 1, 0), *resumed], reverse=True):
        last = end if most is None else _first_above(file, at + 1, end, most)
        found.append((at + 1, last))
        end, most = max(at, begin), step if most is None else min(most, step)
    return found[::-1]


def _first_above(file: int, begin: int, end: int, most: int) -> int:
    """A place that every step up to `most` begins before, and no other."""
    while begin < end:
        middle = (begin + end) // 2
        at, step = next(_lines(file, STEP, middle, end), (end, None))
        if isinstance(step, Step) and step.step <= most:
            begin = at + 1
        else:
            end = middle
    return begin


def _some(file: int, kind: bytes, stretches: list[Stretch]) -> dict[int, Event]:
    """The newest lines of a kind, and older ones at places that are evenly far apart."""
    found: dict[int, Event] = {}
    older = list(stretches)
    while older and len(found) < NEWEST:
        begin, end = older.pop()
        middle = max(begin, end - CHUNK // 4)
        found.update(_lines(file, kind, middle, end))
        if begin < middle:
            older.append((begin, middle))
    apart = sum(end - begin for begin, end in older) / OLDER
    skip = 0.0
    for begin, end in older:
        place = begin + skip
        while place < end:
            line = next(_lines(file, kind, int(place), end), None)
            if line is None:
                break
            found.update([line])
            place += apart
        skip = max(place - end, 0.0)
    return found


def _lines(file: int, kind: bytes, begin: int, end: int) -> Iterator[Placed]:
    """The whole lines of a kind that begin in a stretch."""
    at, size = begin - 1, BLOCK  # a line begins after the end of the one before
    while at + 1 < end:
        block = os.pread(file, size, at) if at >= 0 else b"\n" + os.pread(file, size, 0)
        last = block.rfind(b"\n")
        if last <= 0:  # no line is whole in it
            if len(block) < size:
                return
            at += len(block) if size > LONGEST else 0
            size *= 4 if size <= LONGEST else 1
            continue
        place = block.find(kind)
        while 0 <= place < last and at + place + 1 < end:
            close = block.index(b"\n", place + 1)
            if (event := _event(block[place + 1 : close])) is not None:
                yield at + place + 1, event
            place = block.find(kind, close)
        at += last
        size = BLOCK * 16


def _line(file: int, place: int, end: int) -> bytes:
    """The line that begins here, without its end."""
    size = BLOCK
    while True:
        line, newline, _ = os.pread(file, min(size, end - place), place).partition(b"\n")
        if newline or size > LONGEST:
            return line
        size *= 16


def _event(line: bytes) -> Event | None:
    if not line or len(line) > LONGEST:
        return None
    return from_line(line.decode("utf-8", "replace"))
