"""The workshop's meters: its site model, and which flow each of them counts in which steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from edge.simulation.development import THINNER
from edge.simulation.emissions import AREA
from edge.simulation.factory import AIR_KWH_PER_NM3, FAMILIES, GAS_KWH_PER_M3, LINES, PRODUCTS, ZONE, LineDesign
from edge.simulation.flows import Series, SiteFlows
from schemas.quantities import QUARTER_MS
from schemas.resources import MeterKind, Resource
from schemas.sharing import Share, ShareBy
from schemas.site import Agent, Line, Meter, Organisation, Product, Site, SiteModel

CABINETS = {"press": "cabinet-1", "furnace": "cabinet-2"}
"""The agent that reads a line's meters; cabinet-1 reads the site's as well."""
VENTILATION = "ventilation-power"
STEPS_PER_UNIT = {"kWh": 100, "Nm3": 1000, "m3": 1000, "kg": 10, "pcs": 1, "kW": 100}
"""A register of that unit advances in steps of one over this number."""
ACCURACY_CLASSES = {"electricity": 1.0, "compressed_air": 3.0, "natural_gas": 1.5, "mains_water": 2.0, "steel": 0.5}
"""Percent, by carrier, as on the meters' plates. These meters keep to them easily: they err by their steps only."""
METAL_FILINGS, MIXED_WASTE = "12 01 01", "20 03 01"
"""Codes of the List of Waste: ferrous metal filings and turnings; mixed municipal waste."""

NET_KG = {recipe.product: recipe.net_kg for design in LINES for recipe in design.recipes}
"""Steel in a good piece of the base year."""


def site_model() -> SiteModel:
    """Nordvang Metal, Odense, as its `site.yaml` would give it."""
    return SiteModel(
        organisation=Organisation(id="nordvang", name="Nordvang Metal"),
        site=Site(id="odense", name="Nordvang Metal, Odense", time_zone=ZONE, grid_area=AREA),
        lines=[Line(id=design.line, name=design.name) for design in LINES],
        products=[
            Product(
                id=product,
                name=product.capitalize(),
                family=FAMILIES[product],
                # As drawn now, since the second year.
                mass_kg=round(NET_KG[product] * THINNER, 6),
            )
            for product in PRODUCTS
        ],
        agents=[
            Agent(id="cabinet-1", name="Press line and building"),
            Agent(id="cabinet-2", name="Heat treatment line"),
        ],
        meters=_site_meters() + [meter for design in LINES for meter in _line_meters(design)],
    )


def _site_meters() -> list[Meter]:
    def counter(
        key: str, resource: Resource, unit: str, *, parent: str | None = None, share: Share | None = None
    ) -> Meter:
        return Meter(
            id=key,
            agent="cabinet-1",
            resource=resource,
            unit=unit,
            kind=MeterKind.COUNTER,
            carrier=(carrier := "electricity" if resource is Resource.ENERGY else "mains_water"),
            parent=parent,
            accuracy_class=ACCURACY_CLASSES[carrier],
            share=share,
        )

    return [
        counter("main-electricity", Resource.ENERGY, "kWh"),
        counter(
            "compressor-electricity",
            Resource.ENERGY,
            "kWh",
            parent="main-electricity",
            share=Share(by=ShareBy.MEASURED, keys={"press": "press-air", "furnace": "furnace-air"}),
        ),
        Meter(
            id=VENTILATION,
            agent="cabinet-1",
            resource=Resource.ENERGY,
            unit="kW",
            kind=MeterKind.RATE,
            carrier="electricity",
            parent="main-electricity",
            accuracy_class=ACCURACY_CLASSES["electricity"],
        ),
        counter("main-water", Resource.WATER, "m3"),
        Meter(
            id="mixed-waste",
            agent="cabinet-1",
            resource=Resource.WASTE,
            unit="kg",
            kind=MeterKind.INTERVAL,
            carrier="mixed",
            interval=QUARTER_MS,
            waste_code=MIXED_WASTE,
            treatment="R1",
        ),
    ]


def _line_meters(design: LineDesign) -> list[Meter]:
    line = design.line

    def counter(
        what: str,
        resource: Resource,
        unit: str,
        carrier: str,
        *,
        parent: str | None = None,
        conversion: float | None = None,
        **circularity: Any,
    ) -> Meter:
        return Meter(
            id=f"{line}-{what}",
            agent=CABINETS[line],
            resource=resource,
            unit=unit,
            kind=MeterKind.COUNTER,
            carrier=carrier,
            line=line,
            parent=parent,
            conversion=conversion,
            accuracy_class=ACCURACY_CLASSES.get(carrier),
            **circularity,
        )

    meters = [
        counter("electricity", Resource.ENERGY, "kWh", "electricity", parent="main-electricity"),
        counter(
            "air",
            Resource.ENERGY,
            "Nm3",
            "compressed_air",
            parent="compressor-electricity",
            conversion=AIR_KWH_PER_NM3,
        ),
        counter("water", Resource.WATER, "m3", "mains_water", parent="main-water"),
        counter("steel", Resource.MATERIAL, "kg", "steel", recycled_content=design.recycled_content),
        counter("scrap-metal", Resource.WASTE, "kg", "steel_scrap", waste_code=METAL_FILINGS, treatment="R4"),
        counter("good", Resource.PRODUCTION, "pcs", "good"),
        counter("scrap", Resource.PRODUCTION, "pcs", "scrap"),
    ]
    if line == "furnace":
        meters.insert(2, counter("gas", Resource.ENERGY, "m3", "natural_gas", conversion=GAS_KWH_PER_M3))
    return meters


def quantities(flows: SiteFlows) -> dict[str, Series]:
    """What flows through each meter in each quarter, in the meter's own unit (the rate's: its unit times hours)."""
    by_meter: dict[str, Series] = {}
    for line, used in flows.lines.items():
        by_meter |= {f"{line}-{flow}": drawn for flow, drawn in used.drawn.items()}
        by_meter[f"{line}-steel"] = used.steel_kg
        by_meter[f"{line}-scrap-metal"] = used.scrap_metal_kg
        by_meter[f"{line}-good"] = used.good
        by_meter[f"{line}-scrap"] = used.scrap
    lines = list(flows.lines)
    compressor = sum((used.compressor_kwh for used in flows.lines.values()), np.zeros_like(flows.lights_kwh))
    by_meter["compressor-electricity"] = compressor
    by_meter[VENTILATION] = flows.ventilation_kwh
    by_meter["main-electricity"] = (
        sum((by_meter[f"{line}-electricity"] for line in lines), compressor) + flows.ventilation_kwh + flows.lights_kwh
    )
    by_meter["main-water"] = sum((by_meter[f"{line}-water"] for line in lines), flows.sanitary_m3)
    by_meter["mixed-waste"] = flows.mixed_waste_kg
    return by_meter
