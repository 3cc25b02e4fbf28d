"""Exact memory answers from a child process, which alone loads torch; kept in the user's cache."""

from __future__ import annotations

from typing import Self

from backprop_tui.core.memory_question import MemoryAnswer, MemoryQuestion


class MemoryOracle:
    """Answers questions one at a time. Threads may share one.

    with MemoryOracle() as oracle:
        answer = oracle.ask(question)
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def known(self, asked: MemoryQuestion) -> MemoryAnswer | None:
        """What was answered before, by this or an earlier process; quick."""
        raise NotImplementedError

    def ask(self, asked: MemoryQuestion) -> MemoryAnswer:
        """The answer; starts the child where it is not known. Blocks for seconds. Never raises:
        a child that dies or hangs is an answer without parts."""
        raise NotImplementedError

    def close(self) -> None:
        """End the child, at once; an `ask` that is waiting comes back without parts."""
        raise NotImplementedError
