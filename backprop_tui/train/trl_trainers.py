"""The one file that knows TRL: its trainers on token ids of ours, a builder for each it has.

Imports TRL, so it is imported only when a trainer is built. What is mended in its trainers, in
`trl_pairs.py` and `trl_labels.py`, is watched by tests/train/test_trainers.py and
test_trl_methods.py against the installed TRL:
- ORPO and CPO add a BOS and a second EOS, and a prompt that fills max_length turns the
  adapter into NaN: `tokenize_row` leaves our ids alone.
- ORPO's imitation term reads the prompt too; the paper's does not (arXiv:2403.07691, eq. 6).
- CPO's imitation term is a mean over the tokens of a batch: here a row weighs the same in any.
- CPO with loss_type "simpo" adds an imitation term unless cpo_alpha is 0.
- KTO reads rows in file order: ours arrive shuffled, with both labels mixed.
- Figures are means of batches, whatever their size: here they are means of rows. Log-probabilities
  are per token in some and sums in others: here both, under names of their own.
"""

from __future__ import annotations

from typing import Any

from peft import get_peft_model
from transformers import set_seed
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, SFTConfig, SFTTrainer
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

from backprop_tui.train.columns import paired_dataset, preference_columns
from backprop_tui.train.model import lora_config
from backprop_tui.train.trainers import (
    TrainerInput,
    chat_columns,
    common_arguments,
    dataset,
    labelled_columns,
)
from backprop_tui.train.trl_labels import LabelledIds
from backprop_tui.train.trl_pairs import PairedIds, ReferencedIds, RowImitation


class OrpoOnIds(RowImitation, ORPOTrainer):  # type: ignore[misc]
    """ORPO, arXiv:2403.07691."""


class SimpoOnIds(PairedIds, CPOTrainer):  # type: ignore[misc]
    """SimPO, arXiv:2405.14734, through the CPO trainer."""


class CpoOnIds(RowImitation, CPOTrainer):  # type: ignore[misc]
    """CPO, arXiv:2401.08417."""

    _per_token = False


class DpoOnIds(ReferencedIds, DPOTrainer):  # type: ignore[misc]
    """DPO, arXiv:2305.18290, and IPO, arXiv:2310.12036."""


class KtoOnIds(LabelledIds, KTOTrainer):  # type: ignore[misc]
    """KTO, arXiv:2402.01306."""


def build_orpo(given: TrainerInput) -> Any:
    """ORPO, arXiv:2403.07691."""
    arguments = ORPOConfig(**_arguments(given), beta=given.run.knobs["beta"])
    return _paired(OrpoOnIds, given, arguments)


def build_simpo(given: TrainerInput) -> Any:
    """SimPO, arXiv:2405.14734: the CPO trainer without its imitation term."""
    knobs = given.run.knobs
    arguments = CPOConfig(
        **_arguments(given),
        loss_type="simpo",
        cpo_alpha=0.0,
        beta=knobs["beta"],
        simpo_gamma=knobs["gamma"],
    )
    return _paired(SimpoOnIds, given, arguments)


def build_cpo(given: TrainerInput) -> Any:
    """CPO, arXiv:2401.08417."""
    knobs = given.run.knobs
    arguments = CPOConfig(
        **_arguments(given),
        loss_type="sigmoid",
        cpo_alpha=knobs["imitation_weight"],
        beta=knobs["beta"],
    )
    return _paired(CpoOnIds, given, arguments)


def build_dpo(given: TrainerInput) -> Any:
    """DPO, arXiv:2305.18290."""
    return _against_base(given, "sigmoid", given.run.knobs["beta"])


def build_ipo(given: TrainerInput) -> Any:
    """IPO, arXiv:2310.12036; TRL calls its tau beta."""
    return _against_base(given, "ipo", given.run.knobs["tau"])


def build_kto(given: TrainerInput) -> Any:
    """KTO, arXiv:2402.01306, with the balanced weights of the plan."""
    knobs, balance = given.run.knobs, given.plan.balance
    if balance:
        knobs["desirable_weight"] = balance.desirable_weight
        knobs["undesirable_weight"] = balance.undesirable_weight
    return KtoOnIds(
        model=given.model,
        args=KTOConfig(**_arguments(given), **knobs),
        train_dataset=dataset(labelled_columns(given.train, given.run.data.heldout_seed)),
        eval_dataset=dataset(labelled_columns(given.heldout, given.run.data.heldout_seed)),
        processing_class=given.tokenizer,
        peft_config=_seeded_lora(given),
        callbacks=[given.callback],
    )


def build_sft(given: TrainerInput) -> Any:
    """Supervised fine-tuning on the labelled positions."""
    return SFTTrainer(
        model=given.model,
        args=SFTConfig(**common_arguments(given), packing=False),
        train_dataset=dataset([chat_columns(row) for row in given.train]),
        eval_dataset=dataset([chat_columns(row) for row in given.heldout]),
        processing_class=given.tokenizer,
        peft_config=lora_config(given.run),
        callbacks=[given.callback],
    )


BUILDERS = {
    "sft": build_sft,
    "orpo": build_orpo,
    "simpo": build_simpo,
    "kto": build_kto,
    "dpo": build_dpo,
    "ipo": build_ipo,
    "cpo": build_cpo,
}


def _arguments(given: TrainerInput) -> dict[str, Any]:
    """What every preference trainer is told. TRL would switch off all dropout, the adapter's own
    as well."""
    no_dropout = given.run.lora is None or given.run.lora.dropout == 0
    return common_arguments(given) | {"disable_dropout": no_dropout}


def _against_base(given: TrainerInput, loss: str, beta: float) -> Any:
    """The DPO trainer, its reference the base without the adapter."""
    return DpoOnIds(
        model=given.model,
        args=DPOConfig(**_arguments(given), loss_type=loss, beta=beta),
        train_dataset=dataset(preference_columns(given.train)),
        eval_dataset=dataset(preference_columns(given.heldout)),
        processing_class=given.tokenizer,
        peft_config=_seeded_lora(given),
        callbacks=[given.callback],
    )


def _seeded_lora(given: TrainerInput) -> Any:
    """The adapter's settings; its first values, which are random, follow from the run's seed."""
    set_seed(given.run.training.seed)
    return lora_config(given.run)


def _paired(trainer: Any, given: TrainerInput, arguments: Any) -> Any:
    model = given.model
    config = _seeded_lora(given)
    if config is not None:
        # Given a peft_config, these trainers would upcast embeddings and head of a quantised
        # model to float32; given an adapter, they leave the base alone.
        model = get_peft_model(model, config)
    if given.run.training.checkpointing:
        model.enable_input_require_grads()
    return trainer(
        model=model,
        args=arguments,
        train_dataset=paired_dataset(given.train),
        eval_dataset=paired_dataset(given.heldout),
        processing_class=given.tokenizer,
        callbacks=[given.callback],
    )
