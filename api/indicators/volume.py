"""Production volume as production meters counted it, in one unit for all periods that are compared."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from api.indicators.outputs import Batch
from api.indicators.products import ProductUnit, scale
from api.indicators.wording import Text
from schemas.quantities import SCALE


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeUnit:
    """What good output is told in; None, and why, where there is no one unit. `note` says what was added up."""

    unit: str | None
    note: Text | None = None
    problem: Text | None = None


def volume_unit(found: Iterable[Batch], products: Mapping[str, ProductUnit]) -> VolumeUnit:
    """The unit that all good output can be told in: a single product's own, else kg by mass, else pcs alone."""
    good = [batch for batch in found if batch.kind == "good" and batch.amount.total]
    made = {batch.product for batch in good}
    single = products.get(next(iter(made)) or "") if len(made) == 1 else None
    if single is not None and all(scale(batch.unit, single.unit, single) is not None for batch in good):
        return VolumeUnit(
            unit=single.unit,
            note=Text(
                f"measured: good output in {single.unit}, by production meters",
                f"målt: god produktion i {single.unit}, efter produktionsmålere",
            ),
        )
    without = {
        batch.product or "" for batch in good if scale(batch.unit, "kg", products.get(batch.product or "")) is None
    }
    if good and not without:
        return VolumeUnit(
            unit="kg",
            note=Text(
                "measured: good output in kg, by production meters and the products' masses",
                "målt: god produktion i kg, efter produktionsmålere og produkternes masse",
            ),
        )
    if len({batch.unit for batch in good}) == 1:
        unit = good[0].unit
        return VolumeUnit(
            unit=unit,
            note=Text(
                f"measured: good output in {unit}, all products added up; with their mass_kg it would be in kg",
                f"målt: god produktion i {unit}, alle produkter lagt sammen; med deres mass_kg ville det være i kg",
            ),
        )
    if not good:
        return VolumeUnit(unit="pcs")
    listed = _listed(without)
    return VolumeUnit(
        unit=None,
        problem=Text(
            f"production is counted in pcs and in kg, and the mass of {listed} is not known; give mass_kg in the site"
            " model",
            f"produktionen er talt i stk. og kg, og massen af {listed} er ikke kendt; angiv mass_kg i site-modellen",
        ),
    )


def volume(found: Sequence[Batch], unit: str, products: Mapping[str, ProductUnit]) -> tuple[Fraction, Fraction]:
    """Good output in that unit, which `volume_unit` gave: (all of it, the estimated part)."""
    total = estimated = Fraction(0)
    for batch in found:
        by = scale(batch.unit, unit, products.get(batch.product or ""))
        if batch.kind != "good" or by is None:
            continue
        total += batch.amount.total * by / SCALE
        estimated += abs(batch.amount.estimated) * by / SCALE
    return total, estimated


def _listed(products: Collection[str]) -> str:
    names = sorted(product or "what was made in no run" for product in products)
    return ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
