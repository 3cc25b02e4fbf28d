"""train(run, emit, control): the whole trainer interface.

The wizard's worker thread, the headless command and the tests call this one function. It
emits events; it never prints, never touches a widget and never raises.
"""

from __future__ import annotations

import traceback
from pathlib import Path

from backprop_tui.core.control import Control
from backprop_tui.core.errors import BackpropError, ConfigError
from backprop_tui.core.events import Failed, Finished
from backprop_tui.core.paths import user_log
from backprop_tui.core.runfile import RunFile
from backprop_tui.train.distributed import Word
from backprop_tui.train.logs import append_traceback
from backprop_tui.train.resuming import NotResumed
from backprop_tui.train.session import Emit, Session, StoppedEarly


def train(
    run: RunFile,
    emit: Emit,
    control: Control,
    *,
    overrides: dict[str, str] | None = None,
    trust_remote_code: bool = False,
    strict: bool = False,
    resume: Path | None = None,
) -> Finished | Failed:
    """Train one run to its end, its stop or its failure; never raises.

    emit gets every event in order, from this thread (GpuSampled from another). The last is
    Finished or Failed, which is also returned. strict: refuse when a replay would differ
    from the provenance in the run file. resume: the folder of an earlier run, whose run file `run`
    is; it goes on from its newest whole checkpoint, or begins where there is none.
    """
    session = Session(run, emit, control, overrides or {}, trust_remote_code, strict, resume)
    ending: Finished | Failed
    trace = ""
    try:
        ending = session.run_to_end()
    except StoppedEarly:
        ending = session.finished(stopped=True, path="")
    except NotResumed as error:
        session.let_go()
        ending = refused(session, error)
    except BackpropError as error:
        ending = refused(session, error)
    except Exception as error:  # noqa: BLE001 - the boundary: logged, shown as a sentence
        ending = broken(session, error)
        trace = "".join(traceback.format_exception(error))
    session.team.claim_the_end()
    if isinstance(ending, Failed):
        ending = _why(session, ending, trace)
    session.emit(ending)
    session.close()
    session.team.part(well=isinstance(ending, Finished))
    return ending


def _why(session: Session, ending: Failed, trace: str) -> Failed:
    """Of several processes the first to fail knows why; the others only lost it."""
    word = session.team.tell(Word(session.team.rank, ending, trace))
    if word.rank == session.team.rank or (session.team.main and not trace):
        return ending
    return session.heard(word)


def refused(session: Session, error: BackpropError) -> Failed:
    """The last event of a run that a known reason ends; the sentence says all there is."""
    problems = error.problems if isinstance(error, ConfigError) else ()
    return Failed(
        t=session.clock(),
        code=problems[0].code if len(problems) == 1 else error.code,
        message="\n".join(problem.message for problem in problems) or error.message,
        hint=error.hint or next((problem.fix for problem in problems), ""),
        log=str(session.folder.log) if session.folder else "",
        exit_code=error.exit_code,
    )


def broken(session: Session, error: Exception) -> Failed:
    """The last event of a run that ended in an error nobody foresaw."""
    log = session.folder.log if session.folder and session.team.main else user_log()
    try:
        append_traceback(log, error)
    except OSError:  # the folder is what failed
        log = user_log()
        append_traceback(log, error)
    code, message, hint = _explain(error)
    return Failed(t=session.clock(), code=code, message=message, hint=hint, log=str(log))


def _explain(error: Exception) -> tuple[str, str, str]:
    """Code, sentence and hint for an error nobody foresaw."""
    name = type(error).__name__
    if name in ("OutOfMemoryError", "MemoryError"):
        return (
            "RUN_OUT_OF_MEMORY",
            "The card ran out of memory." if name[0] == "O" else "The machine ran out of memory.",
            "lower training.batch_size (and raise accumulation), data.max_length, or use nf4",
        )
    if name == "UnpicklingError":  # whose own words advise to load it all the same
        return (
            "RUN_CHECKPOINT_DAMAGED",
            "A checkpoint's file is damaged, or somebody else put it there; it was not loaded.",
            "remove the newest folder under checkpoints/ and resume: the one before it is next",
        )
    if "by peer" in str(error):
        return (
            "RUN_PROCESS_LOST",
            "Another process of this run ended without a word.",
            "what the launcher says of it may help: signal 9 is often a machine out of memory",
        )
    if isinstance(error, OSError):
        return (
            "RUN_IO",
            f"A file could not be read or written: {error.strerror or error}"
            + (f": {error.filename}." if error.filename else "."),
            "check free disk space and permissions of the run folder",
        )
    first = (str(error).strip() or name).splitlines()[0]
    return ("RUN_FAILED", f"Training stopped with {name}: {first}", "the log has the details")
