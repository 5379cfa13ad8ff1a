"""A utility of the whole site divided over its lines, quarter by quarter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

import numpy as np

from api.indicators.lines import LineTime, Phase
from api.indicators.splitting import MAX_WEIGHT_SUM, Bools, Ints, split
from schemas.site import Share, ShareBy


class Rule(StrEnum):
    """By which rule a quantity went where it is. `share:a/b`: the site chose a, and in these quarters b had to do."""

    LINE_METER = "line_meter"
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


@dataclass(frozen=True, slots=True, kw_only=True)
class LineShare:
    """What one rule gave to one line (None: to none), (measured, estimated) by quarter."""

    line: str | None
    rule: Rule
    amount: tuple[Ints, Ints]


def share_out(
    share: Share,
    amount: tuple[Ints, Ints],
    *,
    lined: Mapping[str, LineTime],
    keys: Mapping[str, tuple[Ints, Bools]],
    good: Sequence[tuple[str, str, Ints]],
    mass_kg: Mapping[str, float],
) -> tuple[list[LineShare], Bools]:
    """Divide `amount` by the share's key, and the quarters in which a measured key was silent.

    `keys`: consumption of the key meters and where they have any; `good`: (line, unit, pieces or kg in billionths) of
    the production meters. In a quarter without a key (a key meter silent, or all at zero; nothing produced) run time
    does; without run time too, or on a site without lines, the quarter is given to no line.
    """
    lines = tuple(lined)
    quarters = len(amount[0])
    incomplete = np.zeros(quarters, np.bool_)
    match share.by:
        case ShareBy.MEASURED:
            weights, incomplete = _measured(share, lines, keys, quarters)
        case ShareBy.MASS:
            weights = _mass(lined, good, mass_kg, quarters)
        case ShareBy.RUN_TIME:
            weights = _run_time(lined, quarters)
        case ShareBy.AREA | ShareBy.FIXED:
            whole = _whole_numbers([share.weights.get(line, 0.0) for line in lines])
            weights = np.tile(np.array(whole, np.int64).reshape(1, len(lines)), (quarters, 1))
    found: list[LineShare] = []
    left = np.ones(quarters, np.bool_)
    attempts = [(Rule(f"share:{share.by}"), weights)]
    if share.by in {ShareBy.MEASURED, ShareBy.MASS}:
        attempts.append((Rule(f"share:{share.by}/run_time"), _run_time(lined, quarters)))
    for rule, tried in attempts:
        usable = left & (tried.sum(axis=1) > 0)
        left &= ~usable
        if not usable.any():
            continue
        measured, estimated = split(amount[0][usable], tried[usable]), split(amount[1][usable], tried[usable])
        for i, line in enumerate(lines):
            parts = (_spread(measured[:, i], usable), _spread(estimated[:, i], usable))
            found.append(LineShare(line=line, rule=rule, amount=parts))
    if left.any():
        rest = (np.where(left, amount[0], 0), np.where(left, amount[1], 0))
        if rest[0].any() or rest[1].any():
            found.append(LineShare(line=None, rule=_nothing(share.by), amount=rest))
    return found, incomplete & ((amount[0] != 0) | (amount[1] != 0))


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
    share: Share, lines: Sequence[str], keys: Mapping[str, tuple[Ints, Bools]], quarters: int
) -> tuple[Ints, Bools]:
    weights = np.zeros((quarters, len(lines)), np.int64)
    incomplete = np.zeros(quarters, np.bool_)
    for i, line in enumerate(lines):
        if line not in share.keys:
            continue
        quantity, present = keys.get(share.keys[line], (weights[:, i], np.zeros(quarters, np.bool_)))
        weights[:, i] = quantity.clip(min=0)
        incomplete |= ~present
    weights[incomplete] = 0
    return weights, incomplete


def _mass(
    lined: Mapping[str, LineTime],
    good: Sequence[tuple[str, str, Ints]],
    mass_kg: Mapping[str, float],
    quarters: int,
) -> Ints:
    """Good mass made by line and quarter. Products without a mass weigh nothing here."""
    weights = np.zeros((quarters, len(lined)), np.float64)
    for i, (line, time) in enumerate(lined.items()):
        running = time.while_running()
        per_piece = np.array([mass_kg.get(slot.product or "", 0.0) for slot in running.slots])
        processing = np.array([slot.phase is Phase.PROCESSING for slot in running.slots])
        by_piece = np.where(processing, per_piece, 0.0)[running.slot] * running.weight / running.of
        mean_mass = np.bincount(running.quarter, weights=by_piece, minlength=quarters)
        for at, unit, quantity in good:
            if at == line:
                weights[:, i] += quantity.clip(min=0) * (mean_mass if unit == "pcs" else 1.0)
    whole: Ints = np.rint(weights.clip(max=2.0**62 / max(len(lined), 1))).astype(np.int64)
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
