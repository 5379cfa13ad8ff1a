"""What the status byte of a telegram means for its values (EN 13757-3, status field): pure.

- Application busy or in error: the meter itself says that this telegram is not to be used. No values.
- Permanent or temporary error: values are taken and marked as suspect, so that what is computed of them counts as
  estimated.
- Power low (battery), and an abnormal condition (a leak, an alarm): the values are right. They are taken as good, and
  the log tells.

The three highest bits are each maker's own and are left aside.
"""

from __future__ import annotations

from dataclasses import dataclass

from schemas.resources import Quality

_APPLICATION = 0x03
_BUSY, _FAILED, _ABNORMAL = 1, 2, 3
_POWER_LOW, _PERMANENT, _TEMPORARY = 0x04, 0x08, 0x10


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Whether values hold, how good they are, and what a person should know."""

    values_hold: bool
    quality: Quality
    remarks: tuple[str, ...]


def condition_of(status: int) -> Condition:
    """Of a telegram with this status byte."""
    application = status & _APPLICATION
    remarks = {
        "application busy: no values": application == _BUSY,
        "application error: no values": application == _FAILED,
        "abnormal condition, such as a leak or an alarm: look at the meter's display": application == _ABNORMAL,
        "power low: its battery may have to be changed": bool(status & _POWER_LOW),
        "permanent error: its values are marked as suspect": bool(status & _PERMANENT),
        "temporary error: its values are marked as suspect": bool(status & _TEMPORARY),
    }
    return Condition(
        values_hold=application not in {_BUSY, _FAILED},
        quality=Quality.SUSPECT if status & (_PERMANENT | _TEMPORARY) else Quality.GOOD,
        remarks=tuple(remark for remark, holds in remarks.items() if holds),
    )
