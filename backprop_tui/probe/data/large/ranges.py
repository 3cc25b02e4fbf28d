"""Lines out of the middle of a file: each belongs to the range of bytes it starts in."""

from __future__ import annotations

import os
from collections.abc import Iterator

from ..read.files import DataFile, pread, unreadable

STEP = 128 << 10  # bytes read at once: what is made of them stays in the cache


def lines_in(file: DataFile, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """(where it starts, lines as one text without the last one's end), in turn, of all the
    lines that start in [start, end).

    Ranges that meet share no line and lose none. The last line is read to its end, wherever
    that is, but never past what the file held when it was opened.
    """
    try:
        fd = os.open(file.path, os.O_RDONLY)
    except OSError as error:
        raise unreadable(file.name, error) from None
    try:
        yield from _lines(fd, file, start, end)
    finally:
        os.close(fd)


def _lines(fd: int, file: DataFile, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    at = begin = _line_start(fd, file, start)
    rest = b""
    while begin < end:
        # A line longer than what is held doubles it, so that it is put together in few steps.
        block = pread(fd, min(max(STEP, len(rest)), file.size - at), at, file.name)
        at += len(block)
        text = rest + block if rest else block
        past = at >= end
        cut = text.find(b"\n", max(0, end - 1 - begin)) if past else text.rfind(b"\n")
        if cut < 0 and at < file.size:
            rest = text
            continue
        if cut < 0:
            if text:
                yield begin, text
            return
        yield begin, text[:cut]
        rest = text[cut + 1 :]
        begin += cut + 1
        if at >= file.size and not rest:
            return


def _line_start(fd: int, file: DataFile, start: int) -> int:
    """Where the first line at or after `start` starts; the size where there is none."""
    at = start - 1
    while 0 <= at < file.size:
        block = pread(fd, min(STEP, file.size - at), at, file.name)
        found = block.find(b"\n")
        if found >= 0:
            return at + found + 1
        at += len(block)
    return max(0, at)
