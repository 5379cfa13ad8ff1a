"""A decomposition as callers ask for it."""

from __future__ import annotations

from api.decomposition.loader import AskedDecomposition, Chain
from api.decoupling.questions import parse_periods
from api.indicators.drivers import Driver
from api.indicators.pressures import Indicator
from api.indicators.takings import Whose
from api.problems import bad_value
from api.site_store import SiteRow

_INDICATORS = {**{indicator.value: indicator for indicator in Indicator}, "co2": Indicator.CO2_LOCATION}
_BY = {whose.value: whose for whose in (Whose.PRODUCT, Whose.FAMILY, Whose.LINE)}
INDICATOR_NAMES = ", ".join(_INDICATORS)
BY_NAMES = ", ".join(_BY)

Asked = tuple[str | None, str | None, str | None]
"""A period: its name, or its first day and the first one after it."""


def parse_asked(
    site: SiteRow,
    *,
    base: Asked,
    period: Asked,
    indicator: str,
    by: str,
    chain: Chain = Chain.NONE,
    activity: Driver = Driver.PRODUCTION_VOLUME,
    price_index: str | None = None,
) -> AskedDecomposition:
    """What is asked for. Raises a 422 problem."""
    first, second = parse_periods(site.calendar, base=base[0], base_span=base[1:], period=period[0], span=period[1:])
    if indicator not in _INDICATORS:
        raise bad_value("indicator", f"there is no {indicator!r}; there are {INDICATOR_NAMES}")
    if by not in _BY:
        raise bad_value("by", f"a change can't be taken apart by {by!r}; there are {BY_NAMES}")
    return AskedDecomposition(
        base=first,
        period=second,
        indicator=_INDICATORS[indicator],
        by=_BY[by],
        chain=chain,
        activity=activity,
        price_index=price_index,
    )
