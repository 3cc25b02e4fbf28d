"""Secrets kept out of what is written: tokens, keys in the environment, credentials in URLs."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, cast

HIDDEN = "***"
SHORTEST = 8  # characters of an environment value that can be a secret
SECRET_NAME = re.compile(
    r"(^|_)(TOKEN|API_?KEY|KEY|SECRET|PASSWORD|PASSWD|PASS|PWD|PAT|CREDENTIALS?)(_?\d+)?$",
    re.IGNORECASE,
)
# What one of the patterns needs to be there; most text has none of it.
SIGNS = ("hf_", "_pat_", "sk-", "earer", "asic ", "EARER", "://", "=")
PATTERNS = (
    (re.compile(r"\b(hf_|github_pat_|sk-)[A-Za-z0-9_-]{16,}"), HIDDEN),
    (re.compile(r"\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]+", re.IGNORECASE), rf"\1 {HIDDEN}"),
    (re.compile(r"(://)[^\s/@'\"]+@"), rf"\1{HIDDEN}@"),
    (
        re.compile(
            r"([\w-]*(?:signature|token|api_?key|credential)=)[^\s&#'\",;)\]}]+", re.IGNORECASE
        ),
        rf"\1{HIDDEN}",
    ),
)
Value = TypeVar("Value")


def redact(text: str) -> str:
    """The text with every secret in it replaced by ***."""
    if not text:
        return text
    for secret in _secrets():
        if secret in text:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", HIDDEN, text)
    if any(sign in text for sign in SIGNS):
        for pattern, shown in PATTERNS:
            text = pattern.sub(shown, text)
    return text


def redacted(value: Value) -> Value:
    """A dataclass with its text fields redacted, and the text in its dicts; itself if none has
    a secret."""
    assert is_dataclass(value)
    changed: dict[str, Any] = {}
    for item in fields(value):
        before = getattr(value, item.name)
        if isinstance(before, str):
            after: Any = redact(before)
        elif isinstance(before, dict):
            after = {_plain(key): _plain(cell) for key, cell in before.items()}
        else:
            continue
        if after != before:
            changed[item.name] = after
    return cast(Value, replace(cast(Any, value), **changed)) if changed else value


class RedactingFilter(logging.Filter):
    """Hides secrets in every record of the handler it is added to, tracebacks included."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always true: a record is cleaned, never dropped."""
        try:
            record.msg, record.args = redact(record.getMessage()), None
        except Exception:  # noqa: BLE001 - a record nobody can format: the handler reports it
            return True
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = redact(record.exc_text)
        if record.stack_info:
            record.stack_info = redact(record.stack_info)
        return True


def _plain(value: Any) -> Any:
    return redact(value) if isinstance(value, str) else value


def _secrets() -> list[str]:
    """Values of the environment that are secret, the longest first: one may hold another."""
    found = {
        value
        for name, value in os.environ.items()
        if len(value) >= SHORTEST and SECRET_NAME.search(name) and not _is_common(value)
    }
    return sorted(found, key=len, reverse=True)


def _is_common(value: str) -> bool:
    """A word, or a path: hidden, it would take the sense out of what is written."""
    return value.isalpha() or (value[0] == "/" and os.path.exists(value))
