"""A utility of the whole site divided over its lines, quarter by quarter."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

import numpy as np

from api.indicators.lines import LineTime, Phase
from api.indicators.splitting import MAX_WEIGHT_SUM, Bools, Ints, fit, split, split_at
from schemas.sharing import Share, ShareBy


class Rule(StrEnum):
    """By which rule a quantity went where it is. `share:a/b`: the site chose a, and in these quarters b had to do."""

    LINE_METER = "line_meter"
    UTILITY_METER = "utility_meter"
    NO_SHARE = "no_share"
    SHARE_MEASURED = "share:measured"
    SHARE_RUN_TIME = "share:run_time"
    SHARE_MASS = "share:mass"
    SHARE_AREA = "share:area"
    SHARE_FIXED = "share:fixed"
    MEASURED_RUN_TIME = "share:measured/run_time"
    MEASURED_NONE = "share:measured/none"
    RUN_TIME_NONE = "share:run_time/none"
    MASS_RUN_TIME = "share:mass/run_time"
    MASS_NONE = "share:mass/none"


MEASURED_RULES = frozenset({Rule.LINE_METER, Rule.UTILITY_METER, Rule.SHARE_MEASURED})
"""Rules by which a meter says where a quantity went, and no assumption does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Quantities by quarter that are shared out alike, by the names of the fields of Amount and Carbon."""

    columns: Mapping[str, Ints]

    @property
    def total(self) -> Ints:
        return self.columns["measured"] + self.columns["estimated"]

    def each(self, work: Callable[[Ints], Ints]) -> Load:
        """The same work done to every column."""
        return Load(columns={name: work(column) for name, column in self.columns.items()})

    def __add__(self, other: Load) -> Load:
        names = self.columns.keys() | other.columns.keys()
        zero = np.zeros_like(self.columns["measured"])
        return Load(columns={n: self.columns.get(n, zero) + other.columns.get(n, zero) for n in names})


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetShare:
    """What one rule gave to one line or utility (None: to none), by quarter.

    `otherwise` is what run time, or mass where the rule is run time, would have given it; a measured key leaves no
    doubt.
    """

    target: str | None
    rule: Rule
    load: Load
    otherwise: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Good:
    """Good output of a line by quarter, in billionths of `unit` (pcs, kg): of `product`, else of what its runs made."""

    line: str
    unit: str
    product: str | None
    quantity: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """What shares may rest on: the lines, consumption of key meters and where they have any, and good output by line,
    unit and the meter's own product; `mass_kg` by product.
    """

    lined: Mapping[str, LineTime]
    meters: Mapping[str, tuple[Ints, Bools]]
    good: Sequence[Good]
    mass_kg: Mapping[str, float]


def share_out(
    share: Share, load: Load, *, keys: Keys, utilities: Collection[str] = ()
) -> tuple[list[TargetShare], Bools]:
    """Divide a load by the share's key, and the quarters in which a measured key was silent.

    In a quarter without a key (a key meter silent, or all at zero; nothing produced) run time does; without run time
    too, or on a site without lines, the quarter is given to no line.
    """
    lines = tuple(keys.lined)
    total = load.total
    quarters = len(total)
    incomplete = np.zeros(quarters, np.bool_)
    targets = (*lines, *(utility for utility in utilities if utility in share.targets))
    run_time = _run_time(keys.lined, quarters)
    other = _mass(keys, quarters) if share.by is ShareBy.RUN_TIME else run_time
    match share.by:
        case ShareBy.MEASURED:
            weights, incomplete = _measured(share, targets, keys.meters, quarters)
        case ShareBy.MASS:
            weights = _mass(keys, quarters)
        case ShareBy.RUN_TIME:
            weights = run_time
        case ShareBy.AREA | ShareBy.FIXED:
            whole = _whole_numbers([share.weights.get(target, 0.0) for target in targets])
            weights = np.tile(np.array(whole, np.int64).reshape(1, len(targets)), (quarters, 1))
            # Another rule would still serve these lines only.
            other = other * (np.array(whole[: len(lines)], np.int64) > 0)
    found: list[TargetShare] = []
    left = np.ones(quarters, np.bool_)
    attempts = [(Rule(f"share:{share.by}"), weights, other)]
    if share.by in {ShareBy.MEASURED, ShareBy.MASS}:
        attempts.append((Rule(f"share:{share.by}/run_time"), run_time, _mass(keys, quarters)))
    for rule, tried, instead in attempts:
        usable = left & (tried.sum(axis=1) > 0)
        left &= ~usable
        if not usable.any():
            continue
        upto = np.cumsum(fit(tried[usable]), axis=1)
        divided = {name: split_at(column[usable], upto) for name, column in load.columns.items()}
        sums = divided["measured"] + divided["estimated"]
        if rule is not Rule.SHARE_MEASURED:
            sums = _by_the_other(sums, instead[usable])
        found += [
            TargetShare(
                target=target,
                rule=rule,
                load=Load(columns={name: _spread(parts[:, i], usable) for name, parts in divided.items()}),
                otherwise=_spread(sums[:, i], usable),
            )
            for i, target in enumerate(targets[: tried.shape[1]])
            if tried[usable][:, i].any() or sums[:, i].any()
        ]
    if left.any():
        rest = load.each(lambda column: np.where(left, column, 0))
        if any(column.any() for column in rest.columns.values()):
            found.append(TargetShare(target=None, rule=_nothing(share.by), load=rest, otherwise=rest.total))
    return found, incomplete & (total != 0)


def _by_the_other(sums: Ints, weights: Ints) -> Ints:
    """What lines got, shape (quarters, targets), divided anew by other weights of lines where there are any."""
    lines = weights.shape[1]
    usable = weights.sum(axis=1) > 0
    found = sums.copy()
    if usable.any():
        given = sums[usable][:, :lines].sum(axis=1)
        found[np.flatnonzero(usable)[:, None], np.arange(lines)] = split(given, weights[usable])
    return found


def _nothing(by: ShareBy) -> Rule:
    # Weights are checked to sum to more than zero, but may name only lines that the site no longer has.
    return Rule.NO_SHARE if by in {ShareBy.AREA, ShareBy.FIXED} else Rule(f"share:{by}/none")


def _spread(values: Ints, where: Bools) -> Ints:
    full = np.zeros(len(where), np.int64)
    full[where] = values
    return full


def _run_time(lined: Mapping[str, LineTime], quarters: int) -> Ints:
    weights = np.zeros((quarters, len(lined)), np.int64)
    for i, time in enumerate(lined.values()):
        weights[:, i] = time.running_ms()
    return weights


def _measured(
    share: Share, targets: Sequence[str], keys: Mapping[str, tuple[Ints, Bools]], quarters: int
) -> tuple[Ints, Bools]:
    weights = np.zeros((quarters, len(targets)), np.int64)
    incomplete = np.zeros(quarters, np.bool_)
    for i, target in enumerate(targets):
        if target not in share.keys:
            continue
        quantity, present = keys.get(share.keys[target], (weights[:, i], np.zeros(quarters, np.bool_)))
        weights[:, i] = quantity.clip(min=0)
        incomplete |= ~present
    weights[incomplete] = 0
    return weights, incomplete


def _mass(keys: Keys, quarters: int) -> Ints:
    """Good mass made by line and quarter. Products without a mass weigh nothing here."""
    weights = np.zeros((quarters, len(keys.lined)), np.float64)
    for i, (line, time) in enumerate(keys.lined.items()):
        made = [good for good in keys.good if good.line == line]
        if not made:
            continue
        running = time.while_running()
        per_piece = np.array([keys.mass_kg.get(slot.product or "", 0.0) for slot in running.slots])
        processing = np.array([slot.phase is Phase.PROCESSING for slot in running.slots])
        by_piece = np.where(processing, per_piece, 0.0)[running.slot] * running.weight / running.of
        mean_mass = np.bincount(running.quarter, weights=by_piece, minlength=quarters)
        for good in made:
            own_mass = mean_mass if good.product is None else keys.mass_kg.get(good.product, 0.0)
            weights[:, i] += good.quantity.clip(min=0) * (own_mass if good.unit == "pcs" else 1.0)
    whole: Ints = np.rint(weights.clip(max=2.0**62 / max(len(keys.lined), 1))).astype(np.int64)
    return whole


def _whole_numbers(weights: Sequence[float]) -> list[int]:
    """The same proportions in whole numbers: exact for numbers as people write them, such as 0.3 and 0.7."""
    fractions = [Fraction(repr(weight)) for weight in weights]
    scale = math.lcm(*(fraction.denominator for fraction in fractions)) if fractions else 1
    whole = [int(fraction * scale) for fraction in fractions]
    common = math.gcd(*whole) or 1
    if sum(whole) // common <= MAX_WEIGHT_SUM:
        return [number // common for number in whole]
    largest = max(whole)
    return [number * 2**30 // (largest * len(whole)) for number in whole]
