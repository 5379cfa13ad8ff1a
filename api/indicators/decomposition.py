"""Why a sum of products changed: LMDI-I, V = Σ_i Π_k x_ik for any number of factors k [METHODS §5].

L(a, b) = (a − b) / ln(a / b), L(a, a) = a. Additive: ΔV_k = Σ_i L(v_i^T, v_i^0) · ln(x_ik^T / x_ik^0). Multiplicative:
D_k = exp(ΔV_k / L(V^T, V^0)). Zeros by their analytical limits (Ang, Zhang & Choi 1998). Effects sum to ΔV and multiply
to V^T / V^0, exactly: logarithms are floats, and what their rounding leaves is put to the largest effect and told.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from api.errors import ApiError
from schemas.errors import PermanentError

Category = tuple[str, ...]
"""What a sum is over: a product, or a product and a carrier."""
Values = Sequence[Fraction | None]
"""The factors of a category in a period; None where one is undefined, as use per unit is where no unit was made."""

UNATTRIBUTED = "unattributed"
"""The effect of what is given as a quantity alone, without factors."""
_DIGITS = 15
"""A float holds this many; effects are told to the power of ten below."""
_LARGEST_EXPONENT = 700.0


class NegativeValueError(ApiError, PermanentError):
    """A value below zero, of which there is no logarithm."""


class NoMultiplier(StrEnum):
    """Why effects can't be told as multipliers."""

    NO_BASE = "no_base"
    NOTHING_LEFT = "nothing_left"
    NEGATIVE = "negative"
    TOO_FAR = "too_far"


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One category: its value before and after, and what each factor gave to the change; they sum to it.

    `is_beside`: it is a quantity without factors.
    """

    category: Category
    before: Fraction
    after: Fraction
    effects: Mapping[str, Fraction]
    is_beside: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Decomposition:
    """A change taken apart, in the unit of V. `effects` sum to `change`, `multipliers` multiply to after / before.

    `multipliers` is None where `no_multiplier` says why. `residual` is what rounding had left of the change, all
    categories' sizes together, and `multiplier_residual` what it had left of the product (less 1), before both were
    closed.
    """

    before: Fraction
    after: Fraction
    effects: Mapping[str, Fraction]
    terms: tuple[Term, ...]
    residual: Fraction
    multipliers: Mapping[str, Fraction] | None = None
    no_multiplier: NoMultiplier | None = None
    multiplier_residual: float | None = None

    @property
    def change(self) -> Fraction:
        return self.after - self.before


def decompose(
    names: Sequence[str],
    before: Mapping[Category, Values],
    after: Mapping[Category, Values],
    *,
    beside: Mapping[Category, tuple[Fraction, Fraction]] | None = None,
    quantum: Fraction | None = None,
) -> Decomposition:
    """The effect of each named factor on Σ_i Π_k x_ik, from one period to another.

    A category that a period lacks has nothing there. `beside` are quantities without factors, before and after, whose
    change is an effect of its own (UNATTRIBUTED); they may be negative. Effects are multiples of `quantum` where the
    values are (else: 15 digits of the largest value). Raises NegativeValueError for a factor below zero.
    """
    categories = sorted({*before, *after})
    values = {
        category: (_value(names, category, before.get(category)), _value(names, category, after.get(category)))
        for category in categories
    }
    aside = dict(sorted((beside or {}).items()))
    quantum = quantum or _quantum(abs(value) for pair in (*values.values(), *aside.values()) for value in pair)
    terms: list[Term] = []
    residual = Fraction(0)
    for category, (start, end) in values.items():
        factors = before.get(category, (None,) * len(names)), after.get(category, (None,) * len(names))
        raw = list(_effects(start, end, *factors))
        closed = close(raw, end - start, quantum)
        residual += abs(end - start - sum(raw, Fraction(0)))
        terms.append(_term(category, start, end, dict(zip(names, closed, strict=True)), has_beside=beside is not None))
    for category, (start, end) in aside.items():
        nothing = dict.fromkeys(names, Fraction(0))
        whole = {**nothing, UNATTRIBUTED: end - start}
        terms.append(Term(category=category, before=start, after=end, effects=whole, is_beside=True))
    effects = _add_up((*names, *((UNATTRIBUTED,) if beside is not None else ())), [term.effects for term in terms])
    total = (sum((term.before for term in terms), Fraction(0)), sum((term.after for term in terms), Fraction(0)))
    multipliers, reason, left = _multipliers(effects, *total)
    return Decomposition(
        before=total[0],
        after=total[1],
        effects=effects,
        terms=tuple(terms),
        residual=residual,
        multipliers=multipliers,
        no_multiplier=reason,
        multiplier_residual=left,
    )


def chain(steps: Sequence[Decomposition]) -> Decomposition:
    """Steps that follow each other as one: effects add up and multipliers multiply. There is one step at least."""
    names = list(dict.fromkeys(name for step in steps for name in step.effects))
    undefined = next((step.no_multiplier for step in steps if step.multipliers is None), None)
    return Decomposition(
        before=steps[0].before,
        after=steps[-1].after,
        effects=_add_up(names, [step.effects for step in steps]),
        terms=tuple(_chain_terms(names, steps)),
        residual=sum((step.residual for step in steps), Fraction(0)),
        multipliers=_multiply(names, [step.multipliers or {} for step in steps]) if undefined is None else None,
        no_multiplier=undefined,
        multiplier_residual=sum(step.multiplier_residual or 0.0 for step in steps) if undefined is None else None,
    )


def _chain_terms(names: Sequence[str], steps: Sequence[Decomposition]) -> Iterator[Term]:
    terms: dict[tuple[bool, Category], list[Term]] = {}
    for step in steps:
        for term in step.terms:
            terms.setdefault((term.is_beside, term.category), []).append(term)
    first = {(term.is_beside, term.category): term.before for term in steps[0].terms}
    last = {(term.is_beside, term.category): term.after for term in steps[-1].terms}
    for key, its in sorted(terms.items()):
        yield Term(
            category=key[1],
            before=first.get(key, Fraction(0)),
            after=last.get(key, Fraction(0)),
            effects=_add_up(names, [term.effects for term in its]),
            is_beside=key[0],
        )


def _add_up(names: Sequence[str], found: Sequence[Mapping[str, Fraction]]) -> dict[str, Fraction]:
    return {name: sum((effects.get(name, Fraction(0)) for effects in found), Fraction(0)) for name in names}


def _multiply(names: Sequence[str], found: Sequence[Mapping[str, Fraction]]) -> dict[str, Fraction]:
    return {name: math.prod((one.get(name, Fraction(1)) for one in found), start=Fraction(1)) for name in names}


def logarithmic_mean(a: Fraction, b: Fraction) -> Fraction:
    """L(a, b) of two positive numbers, to a float's precision also where they are nearly alike; symmetric."""
    low, high = min(a, b), max(a, b)
    growth = _float(high / low - 1)
    # So near that a float can't tell them apart.
    if not growth:
        return low
    return (high - low) / Fraction(_log_ratio(high, low))


def close(parts: Sequence[Fraction], total: Fraction, quantum: Fraction) -> list[Fraction]:
    """The parts to multiples of `quantum`, with what they lack of the total given to the largest of them."""
    if not parts:
        return []
    rounded = [round(part / quantum) * quantum for part in parts]
    largest = max(range(len(parts)), key=lambda i: abs(parts[i]))
    rounded[largest] += total - sum(rounded, Fraction(0))
    return rounded


def _term(
    category: Category, start: Fraction, end: Fraction, effects: dict[str, Fraction], *, has_beside: bool
) -> Term:
    if has_beside:
        effects[UNATTRIBUTED] = Fraction(0)
    return Term(category=category, before=start, after=end, effects=effects)


def _value(names: Sequence[str], category: Category, values: Values | None) -> Fraction:
    """Π_k x_k; nothing where one is undefined."""
    if values is None:
        return Fraction(0)
    if len(values) != len(names):
        raise ValueError(f"{len(values)} factors of {category}, and {len(names)} names")
    for name, value in zip(names, values, strict=True):
        if value is not None and value < 0:
            raise NegativeValueError(
                f"{name} of {' · '.join(category)} is below zero ({_float(value):g}); a decomposition takes "
                "logarithms, so all values must be zero or more: give what is handed back apart"
            )
    if None not in values:
        return math.prod((value for value in values if value is not None), start=Fraction(1))
    return Fraction(0)


def _effects(start: Fraction, end: Fraction, before: Values, after: Values) -> Iterator[Fraction]:
    """One effect a factor. What begins or ends is given once, to the first factor that vanishes there."""
    if not start or not end:
        cause = _vanishing(before if not start else after) if start != end else None
        for i in range(len(before)):
            yield end - start if i == cause else Fraction(0)
        return
    weight = logarithmic_mean(start, end)
    for old, new in zip(before, after, strict=True):
        # Neither is zero or undefined, as their products are not.
        yield weight * Fraction(_log_ratio(new or Fraction(1), old or Fraction(1)))


def _vanishing(values: Values) -> int:
    """Which factor makes it nothing: the first zero, as what is undefined follows from it; else the first undefined."""
    if Fraction(0) in values:
        return list(values).index(Fraction(0))
    return list(values).index(None)


def _multipliers(
    effects: Mapping[str, Fraction], before: Fraction, after: Fraction
) -> tuple[dict[str, Fraction] | None, NoMultiplier | None, float | None]:
    if before < 0 or after < 0:
        return None, NoMultiplier.NEGATIVE, None
    if not before:
        return None, NoMultiplier.NO_BASE, None
    if not after:
        return None, NoMultiplier.NOTHING_LEFT, None
    mean = logarithmic_mean(after, before)
    exponents = {name: _float(effect / mean) for name, effect in effects.items()}
    if any(abs(exponent) > _LARGEST_EXPONENT for exponent in exponents.values()):
        return None, NoMultiplier.TOO_FAR, None
    found = {name: Fraction(math.exp(exponent)) for name, exponent in exponents.items()}
    largest = max(found, key=lambda name: abs(exponents[name]))
    others = math.prod((value for name, value in found.items() if name != largest), start=Fraction(1))
    left = found[largest] * others * before / after - 1
    found[largest] = after / before / others
    return found, None, float(left)


def _log_ratio(a: Fraction, b: Fraction) -> float:
    """ln(a / b) of positive numbers, accurate near 1 and beyond what a float holds; ln(b / a) is its negative."""
    if a < b:
        return -_log_ratio(b, a)
    ratio = a / b
    if ratio < 2:
        return math.log1p(_float(ratio - 1))
    number = _float(ratio)
    return math.log(number) if math.isfinite(number) else math.log(ratio.numerator) - math.log(ratio.denominator)


def _float(value: Fraction) -> float:
    """The nearest float; infinity beyond the largest."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _quantum(sizes: Iterable[Fraction]) -> Fraction:
    """The power of ten that is fifteen digits below the largest."""
    largest = max(sizes, default=Fraction(0))
    if not largest:
        return Fraction(1)
    digits = len(str(largest.numerator)) - len(str(largest.denominator))
    return Fraction(10) ** (digits - _DIGITS)
