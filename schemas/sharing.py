"""How what serves several lines is shared out among them: shares, and the utilities that they stand for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date
from enum import StrEnum
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from schemas.configuration import Location, Problem
from schemas.parts import Part
from schemas.topics import Key


class ShareBy(StrEnum):
    """How a utility that serves several lines is shared out among them."""

    MEASURED = "measured"
    RUN_TIME = "run_time"
    MASS = "mass"
    AREA = "area"
    FIXED = "fixed"


class Share(BaseModel):
    """One rule. `keys` names a key meter for each line or utility, `weights` a number for each; `from` is the first
    local day on which it holds.

    A key meter that is a part of the shared one (its `parent`) only divides it. Any other key meter also counts for
    itself, as a line's own electricity does when lighting is shared by it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    by: ShareBy
    keys: dict[Key, Key] = Field(default_factory=dict)
    weights: dict[Key, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(default_factory=dict)
    start: Annotated[date | None, Field(alias="from")] = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.by is ShareBy.MEASURED and not self.keys:
            raise ValueError("sharing by measured needs `keys`: one key meter for each line")
        if self.by in {ShareBy.AREA, ShareBy.FIXED} and not sum(self.weights.values()) > 0:
            raise ValueError(f"sharing by {self.by} needs `weights`: one number for each line")
        return self

    @property
    def targets(self) -> frozenset[str]:
        """The lines and utilities that it names."""
        return frozenset(self.keys if self.by is ShareBy.MEASURED else self.weights)


def _in_order(shares: Share | list[Share]) -> Share | list[Share]:
    rules = shares if isinstance(shares, list) else [shares]
    if not rules:
        raise ValueError("an empty list shares nothing; remove it, or name a rule")
    days = [rule.start for rule in rules]
    if None in days[1:]:
        raise ValueError("every rule but the first needs `from`: the first day on which it holds")
    known = [day for day in days if day is not None]
    if known != sorted(set(known)):
        raise ValueError("write the rules in the order of their `from`, each day once")
    return shares


Shares = Annotated[Share | list[Share], AfterValidator(_in_order)]
"""One rule, or several, each from its day on. Before the first `from` nothing is shared out."""


def rules_of(shares: Share | Sequence[Share] | None) -> tuple[Share, ...]:
    """The rules in order of time; none where nothing is shared."""
    if shares is None:
        return ()
    return (shares,) if isinstance(shares, Share) else tuple(shares)


class Utility(Part):
    """What several lines are served by, as compressed air, steam or cooling: a place for meters that are no line's.

    All that its meters count is shared out by its rule. Lines and other utilities may be named in it, so that
    electricity of the cooling goes to the compressors, and theirs to the lines.
    """

    share: Shares


def share_problems(
    location: Location,
    shares: Share | list[Share] | None,
    *,
    owner: str,
    places: Collection[str],
    meters: Collection[str],
) -> Iterator[Problem]:
    """What does not hold in the rules of `owner`: lines and utilities (`places`) and meters that are not there."""
    for i, rule in enumerate(rules_of(shares)):
        at = (*location, i) if isinstance(shares, list) else location
        for place, key in rule.keys.items():
            yield from _unknown((*at, "keys", place), place, places, "line or utility")
            yield from _unknown((*at, "keys", place), key, meters, "meter")
            if key == owner:
                message = f"{key} can't be shared by itself; name a part of it"
                yield Problem(location=(*at, "keys", place), message=message)
        for place in rule.weights:
            yield from _unknown((*at, "weights", place), place, places, "line or utility")


def utility_problems(
    utilities: Sequence[Utility], *, lines: Collection[str], meters: Collection[str]
) -> Iterator[Problem]:
    """What does not hold between utilities: names that a line has, and utilities that serve each other in a loop."""
    places = {*lines, *(utility.id for utility in utilities)}
    for i, utility in enumerate(utilities):
        if utility.id in lines:
            message = f"{utility.id!r} is a line; give the utility an id of its own"
            yield Problem(location=("utilities", i, "id"), message=message)
        yield from share_problems(
            ("utilities", i, "share"), utility.share, owner=utility.id, places=places, meters=meters
        )
    if loop := _loop({u.id: {t for rule in rules_of(u.share) for t in rule.targets} for u in utilities}):
        message = f"utilities serve each other in a loop: {' → '.join(loop)}; let one of them serve lines only"
        yield Problem(location=("utilities",), message=message)


def _loop(serves: Mapping[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(serves).prepare()
    except CycleError as error:
        # graphlib tells a loop against the arrows.
        return [str(key) for key in reversed(error.args[1])]
    return []


def _unknown(location: Location, key: str, known: Collection[str], what: str) -> Iterator[Problem]:
    if key not in known:
        listed = ", ".join(sorted(known)) or "none is defined"
        yield Problem(location=location, message=f"there is no {what} {key!r}; known: {listed}")
