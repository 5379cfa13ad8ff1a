"""Decompositions of a plain table: periods, categories and factors, or what each category made and used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from itertools import pairwise

from api.decomposition.columns import NUMBERS, check_columns, check_product, with_usual_names
from api.exact_json import Answer, Ratio, exact, ratio
from api.indicators.activity import Account, Accounts, Beside, explain
from api.indicators.change_sentences import names_of, tell_change
from api.indicators.decomposition import Decomposition, NoMultiplier, chain, decompose
from api.indicators.takings import Whose
from api.indicators.wording import Text
from api.tables.names import in_time
from api.tables.plain import PlainRow, PlainTable, PlainTableError

MOST_PERIODS = 1_000
_WHAT = Text("the quantity", "mængden")

Cells = Mapping[str, Mapping[str, PlainRow]]
"""The row of each category, by period, in the order of time."""


class Method(StrEnum):
    """One step to the next period; all steps added up; or first and last period alone."""

    STEP = "step"
    CHAIN = "chain"
    DIRECT = "direct"


class TableEffect(Answer):
    """What one effect gave to a change; those of one change sum and multiply to it."""

    method: Method
    base: str
    period: str
    effect: str
    quantity: Ratio
    share_of_base: Ratio | None
    multiplier: Ratio | None


class TableTerm(Answer):
    """What one effect gave to the change of one category; `category` is null in a table without them.

    Of a quantity that can't be taken apart, `beside` says why, and the change is all unattributed.
    """

    method: Method
    base: str
    period: str
    category: str | None
    beside: Beside | None
    effect: str
    quantity: Ratio


class TableChange(Answer):
    """A change of the whole. The residuals are what rounding had left before it was given to the largest effects."""

    method: Method
    base: str
    period: str
    before: Ratio
    after: Ratio
    change: Ratio
    growth: Ratio | None
    multiplier: Ratio | None
    residual: Ratio | None
    multiplier_residual: Ratio | None
    no_multiplier: NoMultiplier | None
    sentence: str
    sentence_da: str


class TableDecomposition(Answer):
    """Every period against the one before it, then all steps as one chain, and first against last alone."""

    items: list[TableEffect]
    changes: list[TableChange]
    categories: list[TableTerm]
    next: None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """A decomposition and what it is of."""

    method: Method
    base: str
    period: str
    found: Decomposition


def decompose_table(table: PlainTable) -> TableDecomposition:
    """Take apart what changed from each period to the next.

    With the two columns `activity` and `quantity`, be they called `output` and `energy` or alike, effects are activity,
    mix and intensity; else each column of numbers is a factor, two at least, and the quantity is their product. A
    category that a period lacks is nothing there. Raises PlainTableError with everything that is wrong.
    """
    check_columns(table)
    table = with_usual_names(table)
    is_derived = set(table.numbers) == set(NUMBERS)
    cells = _sort(table)
    check_product(table)
    if is_derived:
        accounts = {period: _accounts(rows) for period, rows in cells.items()}

        def between(base: str, period: str) -> Decomposition:
            return explain(accounts[base], accounts[period])
    else:
        values = _values(table.numbers, cells)

        def between(base: str, period: str) -> Decomposition:
            return decompose(table.numbers, values[base], values[period])

    periods = list(cells)
    told = [
        _Told(method=Method.STEP, base=base, period=period, found=between(base, period))
        for base, period in pairwise(periods)
    ]
    if len(told) > 1:
        first, last = periods[0], periods[-1]
        whole = chain([step.found for step in told])
        told.append(_Told(method=Method.CHAIN, base=first, period=last, found=whole))
        told.append(_Told(method=Method.DIRECT, base=first, period=last, found=between(first, last)))
    names: Mapping[str, Text] = names_of("quantity", Whose.PRODUCT) if is_derived else {}
    return TableDecomposition(
        items=[row for one in told for row in _effects(one)],
        changes=[_change(one, names) for one in told],
        categories=[row for one in told for row in _terms(one)],
    )


def _sort(table: PlainTable) -> dict[str, dict[str, PlainRow]]:
    """Rows by period and category: periods by time where their names tell it, else in the order of the file."""
    found: dict[str, dict[str, PlainRow]] = {}
    problems: list[str] = []
    for row in table.rows:
        period, category = row.texts["period"], row.texts.get("category", "")
        if not period:
            problems.append(f"{row.place}: period is empty; write it in each row")
        if not category and "category" in table.texts:
            problems.append(f"{row.place}: category is empty; write it in each row")
        problems += [f"{row.place}: {problem}" for problem in _row_problems(row, table.numbers)]
        other = found.setdefault(period, {}).setdefault(category, row)
        if other is not row:
            named = f"{period}, {category}" if category else period
            problems.append(f"{row.place}: {named} stands at {other.place} already; keep one of them")
    if problems:
        raise PlainTableError(problems)
    if len(found) < 2:
        raise PlainTableError([f"{table.name} has one period; a change needs two or more"])
    if len(found) > MOST_PERIODS:
        raise PlainTableError([f"{table.name} has {len(found)} periods; give {MOST_PERIODS} at most"])
    return {period: found[period] for period in in_time(found)}


def _row_problems(row: PlainRow, names: Sequence[str]) -> Iterator[str]:
    is_nothing = any(value == 0 for value in row.numbers.values())
    for name in names:
        value = row.numbers[name]
        if value is None and (set(names) == set(NUMBERS) or not is_nothing):
            yield f"{name} is empty; write its number, 0 where it was measured as 0"
        elif value is not None and value < 0:
            yield (
                f"{name} is {value}; a decomposition takes logarithms, so all values must be zero or more: give what "
                "is handed back apart"
            )


def _accounts(rows: Mapping[str, PlainRow]) -> Accounts:
    return Accounts(
        by_category={
            category: Account(made=Fraction(row.number("activity")), used={"": (Fraction(row.number("quantity")),)})
            for category, row in rows.items()
        }
    )


def _values(names: Sequence[str], cells: Cells) -> dict[str, dict[tuple[str, ...], list[Fraction | None]]]:
    """The factors by period. A category that a period lacks has those that all categories have in common there."""
    common = _common(names, cells)
    everybody = {category for rows in cells.values() for category in rows}
    found: dict[str, dict[tuple[str, ...], list[Fraction | None]]] = {}
    for period, rows in cells.items():
        absent = [_fraction(next(iter(rows.values())).numbers[name]) if name in common else None for name in names]
        found[period] = {
            (category,): [_fraction(rows[category].numbers[name]) for name in names] if category in rows else absent
            for category in sorted(everybody)
        }
    return found


def _common(names: Sequence[str], cells: Cells) -> set[str]:
    """The factors that are the same for all categories in every period, as the activity is; never all of them."""
    if not any(len(rows) > 1 for rows in cells.values()):
        return set()
    common = {
        name for name in names if all(len({row.numbers[name] for row in rows.values()}) == 1 for rows in cells.values())
    }
    return common if len(common) < len(names) else set()


def _fraction(value: Decimal | None) -> Fraction | None:
    return None if value is None else Fraction(value)


def _effects(told: _Told) -> Iterator[TableEffect]:
    found = told.found
    for name, effect in found.effects.items():
        yield TableEffect(
            method=told.method,
            base=told.base,
            period=told.period,
            effect=str(name),
            quantity=exact(effect),
            share_of_base=ratio(effect / found.before) if found.before > 0 else None,
            multiplier=ratio(found.multipliers[name]) if found.multipliers else None,
        )


def _terms(told: _Told) -> Iterator[TableTerm]:
    for term in told.found.terms:
        for name, effect in term.effects.items():
            yield TableTerm(
                method=told.method,
                base=told.base,
                period=told.period,
                category=None if term.is_beside else term.category[0] or None,
                beside=Beside(term.category[0]) if term.is_beside else None,
                effect=str(name),
                quantity=exact(effect),
            )


def _change(told: _Told, names: Mapping[str, Text]) -> TableChange:
    found = told.found
    sentence = tell_change(found, _WHAT, names)
    return TableChange(
        method=told.method,
        base=told.base,
        period=told.period,
        before=exact(found.before),
        after=exact(found.after),
        change=exact(found.change),
        growth=ratio(found.change / found.before) if found.before > 0 else None,
        multiplier=ratio(found.after / found.before) if found.multipliers and found.before > 0 else None,
        residual=ratio(found.residual),
        multiplier_residual=ratio(found.multiplier_residual),
        no_multiplier=found.no_multiplier,
        sentence=sentence.en,
        sentence_da=sentence.da,
    )
