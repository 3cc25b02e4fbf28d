"""run.log: what the libraries say, and tracebacks."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from backprop_tui.core.redact import RedactingFilter, redact


class _LogFile(logging.FileHandler):
    """A log that is silent where it cannot write: the terminal is not the place for that, and the
    run has said by then that the disk is full."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Leave the record out."""


@contextmanager
def log_to(path: Path) -> Iterator[None]:
    """Send every logger's records and Python's warnings to a file, and nowhere else.

    Libraries that write to a terminal (transformers sets its own handler) lose that handler
    while the run lasts; the root logger's handlers and level are put back afterwards.
    """
    handler = _LogFile(path, encoding="utf-8")
    handler.addFilter(RedactingFilter())
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    before_handlers, before_level = list(root.handlers), root.level
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    _quiet_libraries()
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.handlers, root.level = before_handlers, before_level
        handler.close()


def append_traceback(path: Path, error: BaseException) -> None:
    """Write an error's traceback to a log file, whatever the loggers are set to."""
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} ERROR\n")
        file.write(redact("".join(traceback.format_exception(error))))


def _quiet_libraries() -> None:
    """Route the libraries' own loggers to the root and switch their progress bars off."""
    import datasets
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_default_handler()
    transformers_logging.enable_propagation()
    transformers_logging.disable_progress_bar()
    datasets.disable_progress_bars()
