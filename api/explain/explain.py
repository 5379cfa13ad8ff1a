"""A figure explained: found again, taken apart, and one of its parts followed down to readings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from api.database import Connection
from api.explain.answers import Depth, Explanation, FactorSource
from api.explain.circularity import find_circularity
from api.explain.decomposition import find_decomposition
from api.explain.decoupling import find_decoupling
from api.explain.found import Found, part_answers, trace
from api.explain.intensity import find_intensity
from api.explain.walk import Asked, walk
from api.factors import store as factor_store
from api.figures import Figure, FigureError, FigureKind, parse_figure
from api.problems import bad_value
from api.site_store import SiteRow

Finder = Callable[[Connection, SiteRow, Figure], Awaitable[Found]]

FINDERS: dict[FigureKind, Finder] = {
    FigureKind.INTENSITY: find_intensity,
    FigureKind.DECOUPLING: find_decoupling,
    FigureKind.DECOMPOSITION: find_decomposition,
    FigureKind.CIRCULARITY: find_circularity,
}


async def explain(connection: Connection, site: SiteRow, text: str, asked: Asked) -> Explanation:
    """What is behind the figure of this name. Raises a 404 or 422 problem."""
    try:
        figure = parse_figure(text)
        found = await FINDERS[figure.kind](connection, site, figure)
    except FigureError as error:
        raise bad_value("figure", str(error)) from error
    wants_parts = asked.depth.reaches(Depth.PARTS)
    traced = await trace(connection, site, found) if wants_parts else []
    period = figure.period(site.zone)
    today = parse_figure(found.today)
    return Explanation(
        figure=text,
        today=found.today,
        has_changed=None if figure.version is None else figure.version != today.version,
        kind=figure.kind,
        subject=figure.by if figure.of is None else f"{figure.by} {figure.of}",
        resource=figure.resource,
        measure=figure.measure,
        start=period.start,
        end=period.end,
        value=found.value,
        unit=found.unit,
        told=found.told,
        formula=found.formula,
        numbers=found.numbers,
        terms=list(found.terms),
        coverage=found.coverage,
        estimated_share=found.estimated_share,
        factors=await _factors(connection, found, [number for one in traced for number in one.one.part.factors]),
        parts=part_answers(site, traced, found.quantity_unit),
        walk=await walk(connection, site, traced, found.indicator, asked) if asked.depth.reaches(Depth.DAYS) else None,
    )


async def _factors(connection: Connection, found: Found, ids: list[int]) -> list[FactorSource]:
    if not found.indicator.is_carbon or not ids:
        return [FactorSource(key=key, version=version, source=None) for key, version in found.factors]
    rows = await factor_store.sources(connection, sorted(set(ids)))
    return [FactorSource(key=row["key"], version=row["version"], source=row["source"]) for row in rows]
