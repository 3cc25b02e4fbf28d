"""One hierarchy of errors a user may meet, and the exit codes they become."""

from __future__ import annotations

from dataclasses import dataclass

EXIT_OK = 0
EXIT_INPUT = 1  # something the user gave: a file, a key, a value
EXIT_USAGE = 2  # the command line itself
EXIT_RUN = 3  # the run started and failed
EXIT_STOPPED = 4  # stopped on request, saved, can be used
EXIT_GATE = 5  # measured, and a gate was not passed
EXIT_INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with the user's input.

    code: stable identifier, documented in docs/codes.md.
    field: run-file key ("simpo.beta"), column, or "" when it is the whole file.
    message: what is wrong, with the user's own value and what is allowed.
    fix: what to do about it, or "".
    source: where the rule comes from (paper, README), or "".
    """

    code: str
    field: str
    message: str
    fix: str = ""
    source: str = ""


class BackpropError(Exception):
    """Base of every error shown to a user as a sentence, never as a traceback."""

    exit_code = EXIT_INPUT

    def __init__(self, message: str, *, hint: str = "", code: str = "ERROR") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code


class InputError(BackpropError):
    """A file, model or data set cannot be used as it is."""


class ConfigError(BackpropError):
    """A run file that cannot be accepted; carries every problem found, not the first."""

    def __init__(self, path: str, problems: tuple[Problem, ...]) -> None:
        count = len(problems)
        super().__init__(
            f"{path}: {count} problem{'s' if count != 1 else ''}", code="CONFIG_INVALID_SETTING"
        )
        self.path = path
        self.problems = problems


class RunError(BackpropError):
    """The run started and could not finish."""

    exit_code = EXIT_RUN
