"""One file: what it is, and its bytes as UTF-8, unpacked, never more than were there at first."""

from __future__ import annotations

import codecs
import io
import os
import stat
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from backprop_tui.core.errors import InputError

BLOCK = 1 << 20  # bytes read at a time
PACKED_BLOCK = 16 << 10  # the same, of what is packed: as much text, more or less
GZIP = b"\x1f\x8b"
UTF16 = (b"\xff\xfe", b"\xfe\xff")
# What gzip may expand to: text packs 3 to 20 times, a log that repeats itself 100 times; a
# bomb a thousand times. Below the floor nothing is refused.
MOST_RATIO, FLOOR = 200, 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFile:
    """A file as it was when it was opened. size: bytes on disk. name: for errors and places."""

    path: Path
    name: str
    size: int
    format: str  # "jsonl" | "json" | "csv" | "tsv" | "parquet"
    gzip: bool = False
    utf16: bool = False
    separator: str = ","  # between cells, where there are cells

    @property
    def seekable(self) -> bool:
        """Whether the bytes on disk are the text, so that reading may begin anywhere."""
        return not self.gzip and not self.utf16


@dataclass(slots=True)
class Meter:
    """Bytes of the file on disk that were read so far. seen: called with each block of them."""

    read: int = 0
    seen: list[Callable[[bytes], None]] = field(default_factory=list)

    def count(self, block: bytes) -> None:
        self.read += len(block)
        for call in self.seen:
            call(block)


def size_of(path: Path, name: str) -> int:
    """Bytes on disk. Raises InputError for what is no file that can be read."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise InputError(f"{name}: not a regular file", code="DATA_UNREADABLE")
        with path.open("rb"):
            return found.st_size
    except OSError as error:
        raise unreadable(name, error) from None


def unreadable(name: str, error: OSError) -> InputError:
    return InputError(
        f"{name}: cannot be read ({error.strerror})",
        code="DATA_UNREADABLE",
        hint="check the file's permissions" if isinstance(error, PermissionError) else "",
    )


def raw_blocks(
    path: Path, name: str, size: int, meter: Meter, step: int = BLOCK
) -> Iterator[bytes]:
    """The first `size` bytes. What was added since is left; a file that lost some is refused."""
    left = size
    try:
        with path.open("rb", buffering=0) as file:
            while left:
                block = file.read(min(step, left))
                if not block:
                    raise changed(name)
                left -= len(block)
                meter.count(block)
                yield block
    except OSError as error:
        raise unreadable(name, error) from None


def changed(name: str) -> InputError:
    return InputError(
        f"{name}: became shorter while it was read",
        code="DATA_CHANGED",
        hint="wait until nothing writes to it any more, then try again",
    )


def blocks(file: DataFile, meter: Meter | None = None, most: int | None = None) -> Iterator[bytes]:
    """The file's text in UTF-8 without a byte order mark, or the bytes of a binary format.

    most: bytes it may expand to, where it is packed, besides the limit on any file.
    """
    step = PACKED_BLOCK if file.gzip else BLOCK
    found = raw_blocks(file.path, file.name, file.size, meter or Meter(), step)
    if file.gzip:
        found = gunzip(found, file.name, file.size, most)
    if file.utf16:
        return _from_utf16(found)
    return found if file.format == "parquet" else _without_mark(found)


def gunzip(packed: Iterator[bytes], name: str, size: int, most: int | None) -> Iterator[bytes]:
    """Unpacked block by block, so that a bomb is met before it has grown."""
    allowed = max(FLOOR, MOST_RATIO * size)
    limit = allowed if most is None else min(allowed, max(FLOOR, most))
    grown, unpack, done = 0, zlib.decompressobj(31), False
    for data in packed:
        while data:
            if done:
                if not data.strip(b"\0"):
                    break  # padding after the last member
                unpack, done = zlib.decompressobj(31), False
            try:
                block = unpack.decompress(data, BLOCK)
            except zlib.error as error:
                raise _broken_gzip(name, str(error)) from None
            grown += len(block)
            if grown > limit:
                raise InputError(
                    f"{name}: {size:,} bytes of gzip expand to more than {limit:,}",
                    code="DATA_TOO_LARGE",
                    hint="unpack it and look at what is in it, then give the unpacked file",
                )
            if block:
                yield block
            done = unpack.eof
            data = unpack.unused_data if done else unpack.unconsumed_tail
    if not done:
        if rest := unpack.flush():  # a few kilobytes at most: all its input was taken
            yield rest
        if not unpack.eof:
            raise _broken_gzip(name, "it ends too early")


def _broken_gzip(name: str, reason: str) -> InputError:
    return InputError(
        f"{name}: broken gzip: {reason}",
        code="DATA_UNREADABLE",
        hint="it may be cut short: copy or download it again",
    )


def _from_utf16(found: Iterator[bytes]) -> Iterator[bytes]:
    """Half a surrogate pair stays one, as bytes that are no UTF-8: it breaks its row only."""
    decoder = codecs.getincrementaldecoder("utf-16")("surrogatepass")
    for block in found:
        yield decoder.decode(block).encode("utf-8", "surrogatepass")
    if decoder.getstate()[0]:  # half a character is left
        yield "\ufffd".encode()


def _without_mark(found: Iterator[bytes]) -> Iterator[bytes]:
    first = next(found, b"")
    while len(first) < len(codecs.BOM_UTF8) and (more := next(found, b"")):
        first += more
    yield first.removeprefix(codecs.BOM_UTF8)
    yield from found


class _Reader(io.RawIOBase):
    """Blocks as a file, for what wants one."""

    def __init__(self, found: Iterator[bytes]) -> None:
        self._found, self._rest = found, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        while not self._rest:
            block = next(self._found, None)
            if block is None:
                return 0
            self._rest = memoryview(block)
        into = memoryview(buffer)  # type: ignore[arg-type]
        n = min(len(into), len(self._rest))
        into[:n], self._rest = self._rest[:n], self._rest[n:]
        return n


def text_lines(found: Iterator[bytes]) -> Iterator[str]:
    """Lines, with their ends as they are; bytes that are no UTF-8 as lone surrogates."""
    return io.TextIOWrapper(
        io.BufferedReader(_Reader(found), BLOCK),
        encoding="utf-8",
        errors="surrogateescape",
        newline="",
    )


def free_memory() -> int:
    """Bytes this process could still take."""
    import psutil

    return int(psutil.virtual_memory().available)


def pread(fd: int, size: int, offset: int, name: str) -> bytes:
    """`size` bytes at `offset`; a file that has lost them is refused."""
    parts = []
    while size:
        part = os.pread(fd, size, offset)
        if not part:
            raise changed(name)
        parts.append(part)
        size -= len(part)
        offset += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
