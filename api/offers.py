"""What agents offer, as settings of meters. Pure.

An agent knows what a profile knows of a meter's type; a person knows the rest. What a person says stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from schemas.resources import MeterKind
from schemas.site import Meter, SiteModel
from schemas.wire import OfferedMeter

Offers = Mapping[tuple[str, str], OfferedMeter]
"""By agent and meter."""

_DEFAULTS = {
    "cadence": "cadence_ms",
    "register_width": "register_width",
    "rated_maximum": "rated_maximum",
    "dip_window": "dip_window_ms",
    "frozen_after": "frozen_after_ms",
    "accuracy_class": "accuracy_class",
}
"""A meter's setting, and where an offer has it."""
_IN_UNITS = frozenset({"register_width", "rated_maximum"})


def parse_offers(reports: Iterable[tuple[str, Any]]) -> dict[tuple[str, str], OfferedMeter]:
    """Offers by agent and meter, of each agent and the last `meters` message that it sent."""
    return {
        (agent, meter.meter): meter
        for agent, report in reports
        for meter in map(OfferedMeter.model_validate, (report or {}).get("meters", []))
    }


def offered_settings(offer: OfferedMeter) -> dict[str, Any]:
    """All that an offer says of the meter, under the names of the site model."""
    settings: dict[str, Any] = {
        "resource": offer.resource,
        "unit": offer.unit,
        "kind": offer.kind,
        "carrier": offer.carrier,
        "interval": offer.interval_ms if offer.kind is MeterKind.INTERVAL else None,
        **{ours: getattr(offer, theirs) for ours, theirs in _DEFAULTS.items()},
    }
    # A cadence of 0 says that there is none.
    return {name: value for name, value in settings.items() if value is not None and (name, value) != ("cadence", 0)}


def with_offered_settings(model: SiteModel, offers: Offers) -> SiteModel:
    """The model with what it leaves out of its meters as their agents say. What it gives stands, also `null`."""
    meters = [_with_offered(meter, offers.get((meter.agent, meter.id))) for meter in model.meters]
    return model.model_copy(update={"meters": meters}) if meters != model.meters else model


def _with_offered(meter: Meter, offer: OfferedMeter | None) -> Meter:
    if offer is None:
        return meter
    is_same = (offer.unit, offer.kind) == (meter.unit, meter.kind)
    said = offered_settings(offer)
    for name in _DEFAULTS:
        if name not in said or name in meter.model_fields_set or (name in _IN_UNITS and not is_same):
            continue
        try:
            meter = Meter.model_validate({**meter.model_dump(exclude_unset=True), name: said[name]})
        except ValidationError:
            continue  # beyond what such a setting may be: an agent's slip is no reason to refuse a person's model
    return meter
