"""Whether a dial can show that, after what was entered before. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from itertools import pairwise

from edge.drivers.manual.entry import Entry, EntryRefusedError
from edge.drivers.quantity import Quantity
from schemas.resources import MeterKind

_TIMES = 10
"""So many times faster than ever before is more likely a digit too many."""
_ROLLED = 0.1
"""Of a register's width: what a counter may have gone on by, past its end, between two entries."""
_HOUR = timedelta(hours=1)


def refuse_odd(entry: Entry, others: Iterable[Entry], quantity: Quantity) -> None:
    """Raises EntryRefusedError where the entry can't be, or is unlikely; `is_forced` lets the unlikely pass."""
    ordered = sorted((other for other in others if other.meter == entry.meter), key=lambda other: other.at)
    same = next((other for other in ordered if other.at == entry.at), None)
    if same is not None:
        raise EntryRefusedError(
            f"{entry.meter}: {same.words()} was entered already, and nothing stands twice for one instant. Give "
            "another time with --at, or correct it where it is stored: afkobling reading"
        )
    if quantity.kind is not MeterKind.COUNTER:
        return
    if quantity.register_width is not None and not 0 <= entry.value < quantity.register_width:
        raise EntryRefusedError(
            f"{entry.meter}: its register goes from 0 to {quantity.register_width:g} {entry.unit}, and "
            f"{entry.value:.15g} is outside; look at the dial again"
        )
    if entry.is_forced:
        return
    before = [other for other in ordered if other.at < entry.at]
    after = [other for other in ordered if other.at > entry.at]
    if before and not entry.is_exchange:
        _refuse_lower(before[-1], entry, quantity)
        _refuse_faster(before, entry, quantity)
    if after and not after[0].is_exchange:
        _refuse_lower(entry, after[0], quantity)


def _refuse_lower(before: Entry, after: Entry, quantity: Quantity) -> None:
    width = quantity.register_width
    if after.value >= before.value or (width is not None and _increase(before, after, quantity) < _ROLLED * width):
        return
    raise EntryRefusedError(
        f"{after.meter}: {after.words()} is below {before.words()}, and a counter does not run backwards; look at the "
        "dial again. If the meter was exchanged say --exchange; if it is right all the same, --force"
    )


def _refuse_faster(before: Sequence[Entry], entry: Entry, quantity: Quantity) -> None:
    last = before[-1]
    grown, hours = _increase(last, entry, quantity), (entry.at - last.at) / _HOUR
    if quantity.rated_maximum is not None and grown > quantity.rated_maximum * hours:
        raise EntryRefusedError(
            f"{entry.meter}: {grown:.6g} {entry.unit} since {last.words()} is more than it can count in that time "
            f"({quantity.rated_maximum:g} an hour); a digit too many? If it is right all the same, --force"
        )
    rates = [
        _increase(one, other, quantity) / ((other.at - one.at) / _HOUR)
        for one, other in pairwise(before)
        if not other.is_exchange and not other.is_forced
    ]
    # Over some minutes a dial that shows whole units says nothing of how fast it is.
    if rates and max(rates) > 0 and hours >= 1 and grown / hours > _TIMES * max(rates):
        raise EntryRefusedError(
            f"{entry.meter}: {grown:.6g} {entry.unit} since {last.words()} is {grown / hours / max(rates):.0f} times "
            "faster than ever before; a digit too many? If it is right all the same, --force"
        )


def _increase(before: Entry, after: Entry, quantity: Quantity) -> float:
    grown = after.value - before.value
    return grown + (quantity.register_width or 0) if grown < 0 else grown
