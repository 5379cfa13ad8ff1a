"""Words of CO2e factors, well-known carriers of energy and the scope of what comes of them [METHODS §3].

A carrier is a label that a site chooses; these names are the ones that factors and examples use.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import StringConstraints

AREA_PATTERN = r"^[A-Z][A-Z0-9-]{0,19}$"
Area = Annotated[str, StringConstraints(pattern=AREA_PATTERN)]
"""A place that factors speak of, in capitals: a price area of the grid (DK1, DK2), a country (GB)."""


class Scope(StrEnum):
    """Where greenhouse gas leaves: at the site itself, or where the energy was made that it bought."""

    SCOPE_1 = "scope_1"
    SCOPE_2 = "scope_2"


class FactorBasis(StrEnum):
    """What a factor of Scope 2 speaks of: the grid at a place, one's own contract, or what contracts leave over."""

    LOCATION = "location"
    MARKET = "market"
    RESIDUAL_MIX = "residual_mix"


class Gas(StrEnum):
    """What a factor counts: carbon dioxide alone, or every greenhouse gas as its equivalent of it."""

    CO2 = "CO2"
    CO2E = "CO2e"


SCOPES: dict[str, Scope] = {
    "electricity": Scope.SCOPE_2,
    "district_heating": Scope.SCOPE_2,
    "district_cooling": Scope.SCOPE_2,
    "steam": Scope.SCOPE_2,
    "natural_gas": Scope.SCOPE_1,
    "lpg": Scope.SCOPE_1,
    "gas_oil": Scope.SCOPE_1,
    "fuel_oil": Scope.SCOPE_1,
    "diesel": Scope.SCOPE_1,
    "petrol": Scope.SCOPE_1,
    "coal": Scope.SCOPE_1,
}
"""The scope of each well-known carrier. Of any other one, its factor says the scope."""
