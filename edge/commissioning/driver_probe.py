"""Any driver of a configuration, run for some seconds: what came, whether it can be true, or why nothing did."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise

from structlog.testing import capture_logs
from structlog.typing import EventDict

from edge.commissioning.observed import Findings, Observed
from edge.commissioning.plausibility import judge
from edge.configuration import Configured, EdgeConfiguration
from edge.drivers import Driver, DriverContext
from edge.readings import Reading
from schemas.wire import OfferedMeter

_STOP_S = 5.0


async def probe_driver(configured: Configured, configuration: EdgeConfiguration, *, seconds: float) -> Findings:
    """Read for at most so many seconds, less when each meter came twice. Raises EdgeError when it can't be."""
    context = DriverContext(agent=configuration.address.agent, folder=configuration.folder, trial=True)
    with capture_logs() as logged:
        driver = configured.kind.create(configured.settings, context)
        offers = driver.offers()
        readings = await _read(driver, offers, seconds)
    observed = [_observed(offer, readings) for offer in offers]
    return Findings(values=judge(observed), advice=_reasons(logged, observed, seconds))


async def _read(driver: Driver, offers: Sequence[OfferedMeter], seconds: float) -> list[Reading]:
    taken: list[Reading] = []
    wanted = {offer.meter for offer in offers}

    async def read() -> None:
        await driver.start()
        once: set[str] = set()
        twice: set[str] = set()
        async for one in driver.readings():
            for reading in one.readings:
                (twice if reading.meter in once else once).add(reading.meter)
            taken.extend(one.readings)
            if wanted <= twice:
                return

    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await read()
    finally:
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_S):
                await driver.stop()
    return taken


def _observed(offer: OfferedMeter, readings: Sequence[Reading]) -> Observed:
    values = tuple((one.at_ms, one.value) for one in readings if one.meter == offer.meter)
    return Observed(
        name=offer.meter,
        unit=offer.unit,
        values=values,
        kind=offer.kind,
        resource=offer.resource,
        carrier=offer.carrier,
        step=_step([value for _, value in values]),
        register_width=offer.register_width,
        rated_maximum=offer.rated_maximum,
        meter=offer.meter,
        missing=None if values else "nothing came",
    )


def _step(values: Sequence[float]) -> float:
    """The smallest change that was seen; without any, none is too large to be missed."""
    changes = [abs(after - before) for before, after in pairwise(values) if after != before]
    return min(changes, default=math.inf)


def _reasons(logged: Sequence[EventDict], observed: Sequence[Observed], seconds: float) -> list[str]:
    """What the driver itself said of its trouble, each once; a word where it said nothing and nothing came."""
    told = [
        ": ".join(str(entry[part]) for part in ("event", "reason") if entry.get(part))
        for entry in logged
        if entry.get("log_level") in {"warning", "error", "critical"}
    ]
    silent = [one.name for one in observed if not one.values]
    if silent and not told:
        told = [
            f"nothing came of {', '.join(silent)} in {seconds:g} s, and the driver saw no fault: does the source say "
            "something less often? Look longer with --seconds"
        ]
    return list(dict.fromkeys(told))
