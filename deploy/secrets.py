"""Keeps passwords and tokens out of what a process tells of itself. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"
# Up to the last @ before a space or a quote: a password may hold an @ that nobody escaped.
_IN_AN_ADDRESS = re.compile(r"(?P<before>\b[a-z][a-z0-9+.-]*://[^\s:/@'\"]*:)[^\s'\"]*(?P<after>@)", re.IGNORECASE)
_GIVEN = re.compile(
    r"(?P<before>\b\w*(?:password|passwd|secret|token)=)(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[^\s&,;'\"]+)",
    re.IGNORECASE,
)
_BEARER = re.compile(r"(?P<before>\bBearer )[\w.~+/=-]+", re.IGNORECASE)
_NAMES = re.compile(r"password|passwd|secret|token", re.IGNORECASE)


def without_secrets(text: str) -> str:
    """The text without what stands where passwords and tokens stand: in addresses, after `password=` and `Bearer`."""
    text = _IN_AN_ADDRESS.sub(rf"\g<before>{HIDDEN}\g<after>", text)
    text = _GIVEN.sub(rf"\g<before>{HIDDEN}", text)
    return _BEARER.sub(rf"\g<before>{HIDDEN}", text)


def without_secrets_in(value: Any, name: str = "") -> Any:
    """The same throughout mappings and lists; what has the name of a secret is replaced whole."""
    match value:
        case str():
            return HIDDEN if value and _NAMES.search(name) else without_secrets(value)
        case Mapping():
            return {key: without_secrets_in(item, str(key)) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [without_secrets_in(item, name) for item in value]
        case BaseException():
            return without_secrets(f"{type(value).__name__}: {value}")
        case _:
            return value
