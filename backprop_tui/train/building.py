"""A plan, its token ids and its model -> a trainer that is ready for step 1; as often as asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backprop_tui.probe.survey import Survey
from backprop_tui.train.model import check_targets, load_model
from backprop_tui.train.trainers import TrainerInput, build_trainer

if TYPE_CHECKING:
    from backprop_tui.train.session import Session


@dataclass(frozen=True, slots=True)
class Builder:
    """Builds the trainer of session.run. train, heldout: encoded rows. order_batch: rows of a batch
    when their order was drawn; None: as many as there are now."""

    session: Session
    tokenizer: Any
    train: list[Any]
    heldout: list[Any]
    callback: Any
    order_batch: int | None = None

    def load(self, found: Survey) -> Any:
        """The model; read anew for every trainer, so that nothing of one before is left in it."""
        session, facts = self.session, found.facts.model
        assert facts is not None
        session.stage(f"loading {facts.name}")
        model = load_model(
            session.run, found.plan, facts, trust_remote_code=session.trust_remote_code
        )
        check_targets(session.run, model)
        return model

    def build(self, found: Survey, model: Any) -> Any:
        """The trainer, ready for step 1."""
        session = self.session
        assert session.folder is not None
        session.stage("building the trainer")
        trainer = build_trainer(
            TrainerInput(
                run=session.run,
                plan=found.plan,
                model=model,
                tokenizer=self.tokenizer,
                train=self.train,
                heldout=self.heldout,
                checkpoints=session.folder.checkpoints,
                callback=self.callback,
                order_batch=self.order_batch,
            )
        )
        session.ready(trainer)
        return trainer
