"""Secrets never reach a file: every kind hidden, and nothing else touched."""

from __future__ import annotations

import io
import logging

import pytest

from backprop_tui.core.events import GpuSampled, Started, Warned
from backprop_tui.core.redact import RedactingFilter, redact, redacted

TOKEN = "hf_" + "a1B2c3D4" * 4
SECRETS = [
    (f"with {TOKEN} it works", "with *** it works"),
    ("Authorization: Bearer abc.def-123=", "Authorization: Bearer ***"),
    ("authorization: bearer abcdefgh", "authorization: bearer ***"),
    ("https://me:pass@host.example/x", "https://***@host.example/x"),
    ("https://token@host.example/x and more", "https://***@host.example/x and more"),
    ("https://h/x?X-Amz-Signature=0af3&y=1", "https://h/x?X-Amz-Signature=***&y=1"),
    ("https://h/x?a=1&Signature=Zm9v~", "https://h/x?a=1&Signature=***"),
    ("https://h/x?token=abcd and so on", "https://h/x?token=*** and so on"),
    ("https://h/x?X-Amz-Security-Token=Fwo%2F#top", "https://h/x?X-Amz-Security-Token=***#top"),
]
PLAIN = [
    "",
    "loading the model",
    "1,234 tokens/s, eos_token is </s>",
    "https://host.example/a@b?page=2",
    "mail me@host.example",
    "hf_hub is a word, and so is hf_xet",
    "the bearer",
    "tokenising 640 pairs",
]


@pytest.mark.parametrize(("text", "shown"), SECRETS)
def test_a_secret_is_hidden(text: str, shown: str) -> None:
    assert redact(text) == shown
    assert redact(shown) == shown


@pytest.mark.parametrize("text", PLAIN)
def test_other_text_stays_as_it_is(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    "name", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY", "Db_Password", "APP_SECRET"]
)
def test_a_secret_of_the_environment_is_hidden(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "swordfish-1")
    assert redact("it is swordfish-1!") == "it is ***!"


def test_other_and_short_values_of_the_environment_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAVOURITE_DISH", "swordfish-1")
    monkeypatch.setenv("SHORT_KEY", "simpo")
    monkeypatch.setenv("KEYBOARD", "swordfish-2")
    text = "simpo likes swordfish-1 and swordfish-2"
    assert redact(text) == text


def test_the_longer_of_two_secrets_is_hidden_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "swordfish")
    monkeypatch.setenv("B_KEY", "swordfish-and-chips")
    assert redact("swordfish-and-chips") == "***"


def test_the_text_of_an_event_is_cleaned_and_its_figures_kept() -> None:
    event = Warned(t=1.0, code="a", message=f"no {TOKEN}", source="https://u:p@h/x")
    assert redacted(event) == Warned(t=1.0, code="a", message="no ***", source="https://***@h/x")
    plain = GpuSampled(t=1.0, memory_used=7)
    assert redacted(plain) is plain


def test_the_tables_of_an_event_are_cleaned() -> None:
    started = Started(
        t=0.5,
        method="simpo",
        model="pocket",
        data="pocket",
        device="cpu",
        output="out",
        steps=1,
        train_rows=1,
        heldout_rows=0,
        dropped={TOKEN: 2},
        trainable=1,
        parameters=1,
        learning_rate=1e-6,
        seed=0,
    )
    assert redacted(started).dropped == {"***": 2}


@pytest.fixture
def logged() -> tuple[logging.Logger, io.StringIO]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(RedactingFilter())
    logger = logging.Logger("test of redaction")
    logger.addHandler(handler)
    return logger, stream


def test_a_log_record_is_cleaned_with_its_arguments(
    logged: tuple[logging.Logger, io.StringIO],
) -> None:
    logger, stream = logged
    logger.warning("token %s, %d times", TOKEN, 3)
    assert stream.getvalue() == "token ***, 3 times\n"


def test_a_traceback_is_cleaned(logged: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = logged
    try:
        raise ValueError(f"bad {TOKEN}")
    except ValueError:
        logger.exception("failed")
    assert "ValueError: bad ***" in stream.getvalue()
    assert TOKEN not in stream.getvalue()
