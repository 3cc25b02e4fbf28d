"""A plan, its token ids and its model -> a trainer that is ready for step 1; as often as asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backprop_tui.probe.survey import Survey
from backprop_tui.train.model import check_targets, load_model
from backprop_tui.train.trainers import TrainerInput, build_trainer

if TYPE_CHECKING:
    from backprop_tui.train.session import Session


@dataclass(frozen=True, slots=True)
class Built:
    """A trainer that is ready for step 1, and its encoded rows."""

    trainer: Any
    train: list[Any]
    heldout: list[Any]


Build = Callable[[Survey], Built]


def builder(
    session: Session, tokenizer: Any, train: list[Any], heldout: list[Any], callback: Any
) -> Build:
    """What builds the trainer of session.run. The model is read anew each time, so that nothing
    of a trainer before is left in it."""

    def build(found: Survey) -> Built:
        facts = found.facts.model
        assert facts is not None
        assert session.folder is not None
        session.stage(f"loading {facts.name}")
        model = load_model(
            session.run, found.plan, facts, trust_remote_code=session.trust_remote_code
        )
        check_targets(session.run, model)
        session.stage("building the trainer")
        trainer = build_trainer(
            TrainerInput(
                run=session.run,
                plan=found.plan,
                model=model,
                tokenizer=tokenizer,
                train=train,
                heldout=heldout,
                checkpoints=session.folder.checkpoints,
                callback=callback,
            )
        )
        session.ready(trainer)
        return Built(trainer, train, heldout)

    return build
