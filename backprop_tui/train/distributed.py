"""This process among the others of one run: who it is, and how they keep in step.

`accelerate launch` and `torchrun` start a process for every card and tell each its place in
environment variables. Rank 0, the main process, alone writes and speaks. What all must agree on
goes through torch.distributed. Why a process failed goes through the store the processes met at,
because a process that waits for a card cannot be told in any other way. Without a launcher there
is one process, and nothing here has an effect.
"""

from __future__ import annotations

import atexit
import json
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, TypeVar

from backprop_tui.core.control import ASKED, PERSON, Control
from backprop_tui.core.errors import InputError, RunError
from backprop_tui.core.events import Failed, from_line, to_line
from backprop_tui.core.runfile import RunFile

FAILED, DONE, HEARD = "failed", "done", "heard"  # keys of the store
LOOK_EVERY = 0.5  # seconds between two looks at whether another process failed
GRACE = 2.0  # seconds this process has to notice by itself
LINGER = 10.0  # seconds the others stay for the main process's last word
PATIENCE = timedelta(hours=1)  # how long one process may wait for another
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Word:
    """Why a process could not go on. trace: the traceback of an error nobody foresaw."""

    rank: int
    ending: Failed
    trace: str = ""

    def encoded(self) -> str:
        """For the store."""
        return json.dumps([self.rank, to_line(self.ending), self.trace])

    def heard(self, t: float, log: str) -> Failed:
        """The last event of a process that this one's failure ends."""
        message = f"Rank {self.rank}: {self.ending.message}"
        return replace(self.ending, t=t, message=message, log=log)

    @classmethod
    def decoded(cls, text: str) -> Word:
        """Out of the store."""
        rank, event, trace = json.loads(text)
        ending = from_line(event)
        assert isinstance(ending, Failed)
        return cls(rank, ending, trace)


@dataclass(slots=True)
class Team:
    """rank: 0 is the main process. world: how many there are. local_rank: which card here."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    _store: Any = None
    _claimed: threading.Lock = field(default_factory=threading.Lock)
    _over: threading.Event = field(default_factory=threading.Event)
    _watching: threading.Thread | None = None

    @classmethod
    def here(cls) -> Team:
        """As the launcher says; alone without one."""
        if int(os.environ.get("WORLD_SIZE", "1")) < 2 or "RANK" not in os.environ:
            return cls()
        local_rank = int(os.environ.get("LOCAL_RANK", "0"))
        return cls(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), local_rank)

    @property
    def main(self) -> bool:
        """Whether this process writes and speaks."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether there is no other."""
        return self.world == 1

    def join(self, run: RunFile, lost: Callable[[Word], None]) -> None:
        """Meet the others; waits until all are there.

        lost: called in a thread when another process failed and this one did not notice within
        GRACE seconds, as when it waits for a card that will not answer. The process ends after.
        """
        if self.alone:
            return
        if asks_for_fsdp() and os.environ.get("FSDP_VERSION") != "2":
            raise InputError(
                "FSDP version 1 is not supported.",
                hint="accelerate launch --use_fsdp --fsdp_version 2",
                code="RUN_FSDP_VERSION",
            )
        import torch
        import torch.distributed as dist
        from torch.distributed.distributed_c10d import PrefixStore
        from torch.distributed.rendezvous import rendezvous

        backend = "gloo"
        if run.machine.device != "cpu" and torch.cuda.is_available():
            backend = "cpu:gloo,cuda:nccl"
            if self.local_rank >= (cards := torch.cuda.device_count()):
                raise RunError(
                    f"More processes than cards on this machine: {cards} to be seen.",
                    hint=f"start {cards} processes a machine",
                    code="RUN_NO_CARD",
                )
            torch.cuda.set_device(self.local_rank)
        store, _, _ = next(rendezvous("env://"))
        self._store = PrefixStore("backprop-tui", store)
        dist.init_process_group(
            backend,
            store=PrefixStore("group", store),
            rank=self.rank,
            world_size=self.world,
            timeout=PATIENCE,
        )
        self._watching = threading.Thread(target=self._watch, args=(lost,), daemon=True)
        self._watching.start()
        atexit.register(self._leave)

    def gather(self, mine: T) -> list[T]:
        """What each process gives, in the order of their ranks; waits for all."""
        if self.alone:
            return [mine]
        import torch.distributed as dist

        found: list[Any] = [None] * self.world
        dist.all_gather_object(found, mine)
        return found

    def share(self, value: T) -> T:
        """What the main process gives; the others' value is not looked at."""
        if self.alone:
            return value
        import torch.distributed as dist

        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def any(self, mine: bool) -> bool:
        """Whether it is so for any process. Each must ask, in the same place."""
        if self.alone:
            return mine
        import torch
        import torch.distributed as dist

        flag = torch.tensor(int(mine))
        dist.all_reduce(flag, dist.ReduceOp.MAX)
        return bool(flag)

    def tell(self, word: Word) -> Word:
        """Say why this process ends; the word of the one that failed first."""
        if self._store is None:
            return word
        with suppress(Exception):  # the store went with the process that kept it
            first = self._store.compare_set(FAILED, "", word.encoded())
            return Word.decoded(first.decode())
        return word

    def claim_the_end(self) -> None:
        """Called when the work here is over, before the last event: that is written once."""
        if not self._claimed.acquire(blocking=False):
            time.sleep(LINGER)  # the watching thread is ending this process
        self._over.set()

    def part(self, *, well: bool) -> None:
        """The end of a run; well: not by a failure. The others leave after the main process: a
        launcher that sees one leave ends the rest, and it may still have something to say."""
        if self._store is None:
            return
        if well:
            import torch.distributed as dist

            dist.destroy_process_group()
        if self.main:
            return
        with suppress(Exception):  # the store went with the main process
            _until(lambda: self._store.check([DONE]), LINGER)
            self._store.add(HEARD, 1)

    def _leave(self) -> None:
        """This process is going; a thread inside the store would abort it."""
        self._over.set()
        if self._watching:
            self._watching.join()
        if self.main:
            with suppress(Exception):
                self._store.set(DONE, "1")
                # Where no launcher keeps the store, it goes with this process.
                _until(lambda: self._store.add(HEARD, 0) == self.world - 1, GRACE)

    def _watch(self, lost: Callable[[Word], None]) -> None:
        with suppress(Exception):  # the store went with the process that kept it
            while not self._store.check([FAILED]):
                if self._over.wait(LOOK_EVERY):
                    return
            word = Word.decoded(self._store.get(FAILED).decode())
            own = word.rank == self.rank
            if own or self._over.wait(GRACE) or not self._claimed.acquire(blocking=False):
                return
            try:
                lost(word)
                self._store.set(DONE, "1")
            finally:
                os._exit(word.ending.exit_code)


def _until(true: Callable[[], bool], seconds: float) -> None:
    """Wait for it, but not longer than that."""
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(LOOK_EVERY / 10)


def asks_for_fsdp() -> bool:
    """Whether the launcher was told to divide the weights among the processes."""
    return os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true"


class Agreed(Control):
    """The requests to a run of several processes: one asking is enough, and all hear of it in the
    same place. Each process must ask in the same places."""

    def __init__(self, mine: Control, team: Team) -> None:
        super().__init__()
        self.mine, self.team = mine, team

    @property
    def stopping(self) -> bool:
        """Whether any process was asked to stop."""
        return self.team.any(self.mine.stopping)

    @property
    def paused(self) -> str:
        """Why the main process wants to wait; all wait with it."""
        return self.team.share(self.mine.paused)

    def take_save(self) -> bool:
        """Whether any process was asked to save since the last call."""
        return self.team.any(self.mine.take_save())

    def wait(self, seconds: float) -> None:
        """Until something is asked here, or as long as that."""
        self.mine.wait(seconds)

    def pause(self, who: str = PERSON, why: str = ASKED) -> None:
        self.mine.pause(who, why)

    def go_on(self, who: str = PERSON) -> None:
        self.mine.go_on(who)
