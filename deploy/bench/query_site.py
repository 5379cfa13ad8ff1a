"""The factory that a bench of questions asks about: 8 lines, 100 meters, 20 products. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from schemas.site import SiteModel

LINES, PRODUCTS, METERS = 8, 20, 100
ORGANISATION, SITE, AREA, GAS = "bench", "bench", "DK1", "natural_gas"
_FAMILIES = ("brackets", "covers", "housings", "shafts")


def site_model() -> SiteModel:
    """Meters of every resource on each line, utilities in two hops, and what is shared by every rule."""
    return SiteModel.model_validate(
        {
            "organisation": {"id": ORGANISATION},
            "site": {"id": SITE, "time_zone": "Europe/Copenhagen", "grid_area": AREA},
            "lines": [{"id": line} for line in lines()],
            "utilities": [
                {"id": "air", "share": {"by": "measured", "keys": {line: f"air-{line}" for line in lines()}}},
                {"id": "cooling", "share": {"by": "fixed", "weights": dict.fromkeys(("air", *lines()), 1)}},
            ],
            "products": [
                {"id": product, "unit": "pcs", "mass_kg": 0.2 + n / 10, "family": _FAMILIES[n % len(_FAMILIES)]}
                for n, product in enumerate(products())
            ],
            "agents": [{"id": "cabinet"}],
            "meters": [
                {"agent": "cabinet", "kind": "counter", "accuracy_class": 1, **meter}
                for meter in (*_of_site(), *(meter for line in lines() for meter in _of_line(line)))
            ],
        }
    )


def lines() -> list[str]:
    return [f"line-{n}" for n in range(1, LINES + 1)]


def products() -> list[str]:
    return [f"product-{n:02}" for n in range(1, PRODUCTS + 1)]


def products_of(line: int) -> list[str]:
    """What a line makes, by its number from 0: two or three products."""
    return products()[line::LINES]


def _of_line(line: str) -> Iterator[dict[str, Any]]:
    electricity = {"resource": "energy", "carrier": "electricity", "unit": "kWh"}
    yield {"id": f"power-{line}", "line": line, "parent": "main", **electricity}
    yield {"id": f"drives-{line}", "line": line, "parent": f"power-{line}", **electricity}
    yield {"id": f"gas-{line}", "line": line, "parent": "gas", "resource": "energy", "carrier": GAS, "unit": "kWh"}
    yield {"id": f"water-{line}", "line": line, "parent": "water", "resource": "water", "unit": "m3"}
    material = {"resource": "material", "unit": "kg", "line": line}
    yield {"id": f"steel-{line}", "carrier": "steel", "origin": "virgin", **material}
    yield {"id": f"old-steel-{line}", "carrier": "steel", "origin": "recycled", **material}
    waste = {"resource": "waste", "unit": "kg", "line": line}
    yield {"id": f"metal-{line}", "carrier": "metal", "waste_code": "12 01 01", "treatment": "R4", **waste}
    made = {"resource": "production", "unit": "pcs", "line": line}
    yield {"id": f"good-{line}", "carrier": "good", **made}
    yield {"id": f"scrap-{line}", "carrier": "scrap", **made}
    # Parts of the compressors' electricity, which they only divide.
    yield {"id": f"air-{line}", "parent": "compressors", **electricity}


def _of_site() -> Iterator[dict[str, Any]]:
    electricity = {"resource": "energy", "carrier": "electricity", "unit": "kWh"}
    gas = {"resource": "energy", "carrier": GAS, "unit": "kWh"}
    areas = {"by": "area", "weights": {line: 100 + 20 * n for n, line in enumerate(lines())}}
    halves = [{"by": "fixed", "weights": dict.fromkeys(half, 1)} for half in (lines()[:4], lines()[4:])]
    yield {"id": "main", **electricity}
    yield {"id": "gas", **gas}
    yield {"id": "water", "resource": "water", "unit": "m3"}
    yield {"id": "compressors", "parent": "main", "utility": "air", **electricity}
    yield {"id": "chillers", "parent": "main", "utility": "cooling", **electricity}
    yield {"id": "tower-water", "parent": "water", "utility": "cooling", "resource": "water", "unit": "m3"}
    yield {"id": "lighting", "parent": "main", "share": areas, **electricity}
    yield {"id": "ventilation", "parent": "main", "share": {"by": "run_time"}, **electricity}
    yield {"id": "cranes", "parent": "main", "share": {"by": "mass"}, **electricity}
    yield {"id": "heating", "parent": "gas", "share": areas, **gas}
    yield {"id": "offices", "parent": "main", **electricity}
    yield {"id": "canteen", "parent": "main", **electricity}
    yield {"id": "canteen-water", "parent": "water", "resource": "water", "unit": "m3"}
    yield {"id": "solar", "parent": "main", "direction": "generation", **electricity}
    yield {"id": "sold", "parent": "main", "direction": "export", **electricity}
    yield {"id": "oil", "resource": "material", "carrier": "oil", "unit": "kg", "share": {"by": "run_time"}}
    yield {"id": "cardboard", "resource": "material", "carrier": "cardboard", "unit": "kg", "share": {"by": "mass"}}
    for half, share in zip(("east", "west"), halves, strict=True):
        waste = {"resource": "waste", "unit": "kg", "share": share}
        yield {"id": f"mixed-{half}", "carrier": "mixed", "waste_code": "20 03 01", "treatment": "R1", **waste}
    yield {
        "id": "old-oil",
        "resource": "waste",
        "carrier": "oil",
        "unit": "kg",
        "waste_code": "13 02 05*",
        "treatment": "R9",
        "share": {"by": "run_time"},
    }
