"""Parquet. pyarrow takes 0.3 s to import, so only where such a file is read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from backprop_tui.core.errors import InputError

from .files import BLOCK, DataFile, Meter, blocks, changed
from .formats import check_names
from .table import Items

BATCH = 2000  # rows made Python values at once, where they are short
BATCH_BYTES = 8 << 20


def parquet_rows(
    file: DataFile, meter: Meter, most: int | None = None, groups: list[int] | None = None
) -> Items:
    """Rows numbered from 1. groups: only these row groups, numbered as in the whole file."""
    with opened(file, most) as parquet:
        number = 0
        for group in range(parquet.metadata.num_row_groups):
            about = parquet.metadata.row_group(group)
            if groups is None or group in groups:
                # The sizes are before decompression; a few huge rows must not come at once.
                each = max(1, about.total_byte_size // max(1, about.num_rows))
                size = max(1, min(BATCH, BATCH_BYTES // each))
                inside = number
                for batch in parquet.iter_batches(batch_size=size, row_groups=[group]):
                    yield from enumerate(_rows(batch), inside + 1)
                    inside += batch.num_rows
                    meter.read = min(file.size, int(file.size * inside / max(1, rows_in(parquet))))
            number += about.num_rows


UNREADABLE = b""  # in place of a cell that is no Python value: no text, so its row is dropped


def _rows(batch: Any) -> list[dict[str, Any]]:
    """The rows; a cell out of range (a date in the year 90,000) or not in UTF-8 spoils no other."""
    try:
        return batch.to_pylist()  # type: ignore[no-any-return]
    except (ValueError, OverflowError):
        cells = [[_cell(one) for one in column] for column in batch.columns]
        return [dict(zip(batch.schema.names, row, strict=True)) for row in zip(*cells, strict=True)]


def _cell(one: Any) -> Any:
    try:
        return one.as_py()
    except (ValueError, OverflowError):
        return UNREADABLE


def rows_in(parquet: Any) -> int:
    """Rows in the file, from its footer."""
    return int(parquet.metadata.num_rows)


@contextmanager
def opened(file: DataFile, most: int | None = None) -> Iterator[Any]:
    """The file as pyarrow sees it; whatever pyarrow says against it becomes an InputError."""
    import pyarrow
    import pyarrow.parquet

    try:
        if os.stat(file.path).st_size < file.size:
            raise changed(file.name)
        source = (
            pyarrow.BufferReader(b"".join(blocks(file, None, most))) if file.gzip else file.path
        )
        # By default a whole row group is read at once, which may be the whole file.
        with pyarrow.parquet.ParquetFile(source, pre_buffer=False, buffer_size=BLOCK) as parquet:
            check_names(file.name, parquet.schema_arrow.names)
            yield parquet
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise InputError(
            f"{file.name}: broken Parquet file: {reason}",
            code="DATA_UNREADABLE",
            hint="it may be cut short: copy or download it again",
        ) from None
