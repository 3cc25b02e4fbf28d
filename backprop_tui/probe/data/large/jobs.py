"""What a scan counts at once, and the counting of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from ..layouts.decision import Decision
from ..layouts.shapes import LAYOUTS
from ..read.files import DataFile, Meter, blocks
from ..read.json_files import line_blocks
from ..read.table import Item
from .look import stream
from .ranges import lines_in
from .tally import Counting, Draw, Tally

PART = 16 << 20  # bytes of JSONL counted at once; not by cores, so the sample is the same
TOLD_EVERY = 4 << 20  # bytes read between two words on how far it is
TOGETHER = 500  # rows counted at once, where they are short


@dataclass(frozen=True, slots=True)
class Job:
    """Part of a file to count. end: of a range of JSONL; None for a whole file of any format."""

    index: int
    file: DataFile
    start: int = 0
    end: int | None = None

    @property
    def size(self) -> int:
        return self.file.size if self.end is None else self.end - self.start


@dataclass(frozen=True, slots=True)
class Setup:
    """A decision that can be sent: its layout, which holds functions, by its place in LAYOUTS."""

    bare: Decision
    layout: int | None

    @classmethod
    def of(cls, how: Decision) -> Setup:
        place = next((i for i, one in enumerate(LAYOUTS) if one is how.layout), None)
        assert (place is None) == (how.layout is None)
        return cls(replace(how, layout=None, advice="", offers=()), place)

    def decision(self) -> Decision:
        return replace(self.bare, layout=None if self.layout is None else LAYOUTS[self.layout])


def count(job: Job, how: Decision, draw: Draw, tell: Callable[[int], None]) -> Tally:
    """Count one job's rows. tell: called with bytes read since the last call."""
    counting = Counting(how, job.index, draw)
    if job.end is not None:
        for _, text in lines_in(job.file, job.start, job.end):
            counting.text(text)
        tell(job.size)
        return counting.tally
    meter, told = Meter(), 0
    for _ in _whole_file(job.file, counting, meter):
        if meter.read - told >= TOLD_EVERY:
            tell(meter.read - told)
            told = meter.read
    tell(job.size - told)
    return counting.tally


def _whole_file(file: DataFile, counting: Counting, meter: Meter) -> Iterator[None]:
    """Count the rows of a file of any format, some at a time."""
    if file.format == "jsonl":
        for text in line_blocks(blocks(file, meter)):
            counting.text(text)
            yield
        return
    items: list[Item] = []
    counted = 0
    for item in stream(file, meter):
        items.append(item)
        # Few where they are huge: no more than were read with this block.
        if len(items) >= TOGETHER or meter.read > counted:
            counted = meter.read
            counting.items(items)
            items = []
            yield
    counting.items(items)


def jobs_of(files: Sequence[DataFile]) -> list[Job]:
    """The files in parts, in order. Only plain JSONL can be parted."""
    jobs: list[Job] = []
    for file in files:
        if file.format == "jsonl" and file.seekable:
            for start in range(0, file.size, PART):
                jobs.append(Job(len(jobs), file, start, min(file.size, start + PART)))
        else:
            jobs.append(Job(len(jobs), file))
    return jobs
