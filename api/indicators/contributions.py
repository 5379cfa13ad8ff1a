"""What a figure is made of: the parts of an attribution that went to one product, run, order, line or the whole site.

They are the same that `takings` gathers by meter, told apart by rule, utility, line and phase. So they sum to the
figure, to the last billionth.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum

from api.indicators.carbon import Carbon
from api.indicators.flows import Amount
from api.indicators.outputs import Batch
from api.indicators.parts import NO_CARBON, LineHours, Part
from api.indicators.products import ProductUnit
from api.indicators.takings import Owner, Takings, Whose, gather
from api.indicators.tallies import Tally

_CARBON = tuple(item.name for item in fields(Carbon))


class Role(StrEnum):
    """How a part came to its owner: its own, as a share of the line's idle, or as nobody's (of lines and sites)."""

    MARGINAL = "marginal"
    IDLE = "idle"
    UNATTRIBUTED = "unattributed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contribution:
    """A part of a figure; its amounts are what of the attribution's part went to the owner."""

    role: Role
    part: Part


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """What decides on shares beside time; `takings.gather` tells of each."""

    products: Mapping[str, ProductUnit] = field(default_factory=dict)
    found: Sequence[Batch] = ()
    beside: Mapping[str, str | None] = field(default_factory=dict)


def contributions(
    parts: Sequence[Part], hours: Sequence[LineHours], *, whose: Whose, sharing: Sharing
) -> dict[Owner, list[Contribution]]:
    """Every part of every owner, the largest first."""
    merged = merge_parts(parts)

    def taken(of: Iterable[Part]) -> Takings:
        return gather(of, hours, whose=whose, found=sharing.found, products=sharing.products, beside=sharing.beside)

    # Whatever is told apart by `meter` is told apart by part.
    by_part = taken(replace(part, meter=str(number)) for number, part in enumerate(merged))
    by_meter = taken(merged)
    found: dict[Owner, list[Contribution]] = {}
    for owner, whole in by_meter.items():
        of_owner = found.setdefault(owner, [])
        for role in Role:
            told = [
                Contribution(role=role, part=_given(merged[int(number)], tally))
                for number, tally in getattr(by_part[owner], role).items()
            ]
            of_owner += _reconciled(told, getattr(whole, role))
        of_owner.sort(key=lambda one: -abs(one.part.amount.total))
    return found


def merge_parts(parts: Iterable[Part]) -> list[Part]:
    """Parts that differ by their quantities alone, as those of several days, as one."""
    found: dict[tuple[object, ...], Part] = {}
    for part in parts:
        key = (part.meter, part.line, part.slot, part.rule, part.via, part.hops, part.run, part.order)
        there = found.get(key)
        found[key] = part if there is None else _sum(there, part)
    return list(found.values())


def _sum(one: Part, two: Part) -> Part:
    carbon = Carbon(**{name: getattr(one.carbon, name) + getattr(two.carbon, name) for name in _CARBON})
    return replace(
        one,
        amount=one.amount + two.amount,
        otherwise=one.otherwise + two.otherwise,
        carbon=carbon,
        factors=tuple(sorted({*one.factors, *two.factors})),
    )


def _given(part: Part, tally: Tally) -> Part:
    carbon = NO_CARBON if part.carbon is NO_CARBON else Carbon(**{name: tally[name] for name in _CARBON})
    return replace(part, amount=tally.amount, otherwise=tally["otherwise"], carbon=carbon)


def _reconciled(told: Sequence[Contribution], whole: Mapping[str, Tally]) -> list[Contribution]:
    """What is divided in finer parts is rounded in finer parts: the last billionths go to the largest of a meter."""
    found: list[Contribution] = []
    for meter, tally in whole.items():
        of_meter = sorted((one for one in told if one.part.meter == meter), key=lambda one: -abs(one.part.amount.total))
        if not of_meter:
            continue
        summed = Tally()
        for one in of_meter:
            summed.take(one.part)
        largest, *others = of_meter
        found += [replace(largest, part=_corrected(largest.part, tally, summed)), *others]
    return found


def _corrected(part: Part, wanted: Tally, summed: Tally) -> Part:
    def off(name: str) -> int:
        return wanted[name] - summed[name]

    carbon = part.carbon
    if carbon is not NO_CARBON:
        carbon = Carbon(**{name: getattr(carbon, name) + off(name) for name in _CARBON})
    return replace(
        part,
        amount=part.amount + Amount(off("measured"), off("estimated")),
        otherwise=part.otherwise + off("otherwise"),
        carbon=carbon,
    )
