"""What every part of a site model has: a key, a name that can be shown, and no setting that is not known."""

from __future__ import annotations

from typing import Annotated
from unicodedata import category

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from schemas.topics import Key


def _printable(text: str) -> str:
    for character in text:
        if category(character) in {"Cc", "Zl", "Zp"}:
            raise ValueError(f"holds a character that can't be shown, U+{ord(character):04X}; remove it")
    return text


Label = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Part(BaseModel):
    """Whatever has a key and a name. Unknown settings are refused: a misspelt one would be silently ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Key
    name: Label | None = None
