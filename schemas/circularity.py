"""Where material comes from and where waste goes, in the words of the directives."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field

_CODE = re.compile(r"^(0[1-9]|1[0-9]|20) ?(\d{2}) ?(\d{2}) ?(\*?)$")


class Origin(StrEnum):
    """Where a material flow comes from. `reused`: used before as it is; `returned`: taken back from customers."""

    VIRGIN = "virgin"
    RECYCLED = "recycled"
    REUSED = "reused"
    RETURNED = "returned"


def _as_listed(text: str) -> str:
    match = _CODE.match(text)
    if match is None:
        raise ValueError(
            f"{text!r} is no code of the List of Waste; write six digits, chapter 01 to 20, with * where hazardous, "
            "as in '12 01 01' or '13 02 05*' (in quotes)"
        )
    return f"{match[1]} {match[2]} {match[3]}{match[4]}"


WasteCode = Annotated[str, Field(max_length=12), AfterValidator(_as_listed)]
"""A six-digit code of the List of Waste (Decision 2000/532/EC), kept as `12 01 01`; `*` marks what is hazardous."""
Treatment = Annotated[
    str,
    Field(
        pattern=r"^(R([1-9]|1[0-3])|D([1-9]|1[0-5]))$",
        description="recovery R1–R13 or disposal D1–D15 (Directive 2008/98/EC, annexes II and I)",
    ),
]


def is_hazardous(code: str) -> bool:
    """Whether the list marks waste of this code as hazardous."""
    return code.endswith("*")
