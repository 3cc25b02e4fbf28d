"""The entries of a JSON array one by one, for an array too large to hold."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import Any

from backprop_tui.core.errors import InputError

from .files import BLOCK, DataFile, Meter, blocks
from .json_files import BAD_JSON, broken_json, not_utf8, words
from .table import Items

LONGEST = 256 << 20  # characters of one entry
NEAR_END = 64  # an error this close to the end of what was read may be for want of the rest
_SPACE = " \t\r\n"


def array_rows(file: DataFile, meter: Meter) -> Items:
    """(number, entry) of a file that holds one array. Raises InputError where it breaks."""
    window = _Window(file, blocks(file, meter))
    window.take("[")
    number = 0
    if window.peek() != "]":
        while True:
            number += 1
            yield number, window.value(number)
            if window.peek() != ",":
                break
            window.take(",")
    window.take("]")
    if window.peek():
        raise broken_json(file.name, "something stands after the end of the array")


class _Window:
    """The part of the text that is being read."""

    def __init__(self, file: DataFile, found: Iterator[bytes]) -> None:
        self._name, self._found = file.name, found
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._json = json.JSONDecoder()
        self._text, self._at, self._ended = "", 0, False

    def _more(self) -> None:
        """At least as much again as is held, so that a long entry is tried only a few times."""
        parts, wanted = [self._text[self._at :]], max(BLOCK, len(self._text) - self._at)
        while wanted > 0 and not self._ended:
            block = next(self._found, None)
            self._ended = block is None
            try:
                parts.append(self._decoder.decode(block or b"", self._ended))
            except UnicodeDecodeError as error:
                raise not_utf8(self._name, error.start, error.object[error.start]) from None
            wanted -= len(parts[-1])
        self._text, self._at = "".join(parts), 0

    def peek(self) -> str:
        """The next character that is not space; "" at the end of the file."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _SPACE:
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if self._ended:
                return ""
            self._more()

    def take(self, sign: str) -> None:
        if (found := self.peek()) != sign:
            said = repr(found) if found else "the file ends"
            raise broken_json(self._name, f"expected {sign!r}, but {said}")
        self._at += 1

    def value(self, number: int) -> Any:
        """The entry that begins here."""
        self.peek()
        while True:
            try:
                value, end = self._json.raw_decode(self._text, self._at)
            except BAD_JSON as error:
                if not self._may_go_on(error):
                    raise self._broken(number, error) from None
            else:
                # "12" at the end of what was read may be the start of "123".
                if end < len(self._text) or self._ended:
                    self._at = end
                    return value
            self._more()

    def _may_go_on(self, error: Exception) -> bool:
        if self._ended or not isinstance(error, json.JSONDecodeError):
            return False
        near = error.pos >= len(self._text) - NEAR_END or error.msg.startswith("Unterminated")
        return near and len(self._text) - self._at < LONGEST

    def _broken(self, number: int, error: Exception) -> InputError:
        said = error.msg if isinstance(error, json.JSONDecodeError) else words(error)
        return broken_json(self._name, f"{said}, in entry {number:,}")
