"""A figure of a decomposition found again: what one effect gave to a change, and of which products."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from api.database import Connection
from api.decomposition.answers import TOTAL, DecompositionAnswer, EffectAnswer, answer_decomposition
from api.decomposition.loader import AskedDecomposition, Chain
from api.explain.answers import TermAnswer
from api.explain.asking import days_of, one_of, owner_of
from api.explain.found import Found, Span, plain
from api.figures import Figure, FigureError, parse_figure
from api.indicators.drivers import Driver
from api.indicators.pressures import Indicator
from api.indicators.takings import Whose
from api.problems import not_found
from api.site_store import SiteRow

_FORMULA = (
    "sum over the {by}s of L(V1, V0) * ln(x1 / x0), V being what each took and x its {effect}; "
    "L(a, b) = (a - b) / ln(a / b)"
)


async def find_decomposition(connection: Connection, site: SiteRow, figure: Figure) -> Found:
    """The effect as it is now. Raises FigureError, and a 404 or 422 problem."""
    base, period = days_of(figure)
    by = one_of(Whose, figure.options.get("by", Whose.PRODUCT), "changes are taken apart by")
    asked = AskedDecomposition(
        base=base,
        period=period,
        indicator=one_of(Indicator, figure.resource, "there are"),
        by=by,
        chain=one_of(Chain, figure.options.get("chain", Chain.NONE), "a chain is by"),
        activity=one_of(Driver, figure.options.get("activity", Driver.PRODUCTION_VOLUME), "activity is told in"),
        price_index=figure.options.get("price_index"),
    )
    if by not in {Whose.PRODUCT, Whose.FAMILY, Whose.LINE}:
        raise FigureError(f"a change can't be taken apart by {by}; write by=product, by=family or by=line")
    answer = await answer_decomposition(connection, site, asked)
    # `by` and `chain` may have been left out of a name that a person wrote.
    options = {**figure.options, "by": by.value, "chain": asked.chain.value}
    named = str(replace(figure, options=options, version=None))
    for item in answer.items:
        if str(replace(parse_figure(item.figure), version=None)) == named:
            return _found(site, asked, answer, item)
    if not answer.items:
        raise not_found(answer.sentence)
    effects = ", ".join(item.effect for item in answer.items)
    raise not_found(f"this change has no effect {figure.measure!r}; it has {effects}")


def _found(site: SiteRow, asked: AskedDecomposition, answer: DecompositionAnswer, item: EffectAnswer) -> Found:
    is_total = item.effect == TOTAL
    effects = " + ".join(f"{one.effect} {plain(one.quantity)}" for one in answer.items if one.effect != TOTAL)
    total = f"{plain(answer.change)} {answer.unit}"
    whose, owner = owner_of("site", None)
    return Found(
        today=item.figure,
        value=item.quantity,
        unit=item.unit,
        told=answer.sentence,
        formula=_FORMULA.format(by=asked.by, effect=item.effect) if not is_total else "quantity - quantity of the base",
        numbers=f"{effects} = {total}"
        if not is_total
        else f"{plain(answer.period.quantity.total)} - {plain(answer.base.quantity.total)} = {total}",
        terms=list(_terms(answer, item)),
        indicator=asked.indicator,
        quantity_unit=answer.unit,
        spans=[
            Span(title=title, period=days.within(site.zone), whose=whose, owner=owner)
            for title, days in (("base", asked.base), ("period", asked.period))
        ],
        coverage=answer.period.coverage,
        estimated_share=answer.period.estimated_share,
        factors=[(one.key, one.version) for one in (*answer.base.factors, *answer.period.factors)],
    )


def _terms(answer: DecompositionAnswer, item: EffectAnswer) -> Iterator[TermAnswer]:
    for title, window in (("base", answer.base), ("period", answer.period)):
        for name, value, unit in (
            ("quantity", window.quantity.total, answer.unit),
            ("activity", window.activity, answer.activity_unit or ""),
        ):
            yield TermAnswer(
                name=f"{name}, {title}", value=value, unit=unit, source=None, start=window.start, end=window.end
            )
    for category in answer.categories:
        name = " ".join(part for part in (category.category, category.carrier, category.beside) if part)
        value = category.change if item.effect == TOTAL else getattr(category, item.effect, None)
        yield TermAnswer(
            name=f"{item.effect} of {name}",
            value=value,
            unit=answer.unit,
            source=f"{plain(category.base)} became {plain(category.period)}",
        )
