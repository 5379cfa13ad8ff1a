"""What the demo came to, as the API tells it, with the simulator's truth beside it where there is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from decimal import Decimal
from typing import Any

from deploy.demo.client import Client
from deploy.demo.scenario import Days, Scenario
from edge.simulation.truth import Taken, Truth
from schemas.resources import Resource


def read_outcome(client: Client, scenario: Scenario, *, sent_in_history: int) -> dict[str, Any]:
    """One object for programs: verdicts, intensity, consumption and ledger, each from its own resource of the API."""
    base, period = scenario.base, scenario.period
    decoupling = client.of_site("decoupling", base_from=str(base.start), base_to=str(base.end), **_period(period))
    indicators = decoupling["items"]
    return {
        "organisation": scenario.model.organisation.id,
        "site": scenario.model.site.id,
        "base": {"from": str(base.start), "to": str(base.end)},
        "period": {"from": str(period.start), "to": str(period.end)},
        "driver": decoupling["driver"],
        "verdicts": {item["indicator"]: item["state"] for item in indicators},
        "true_verdicts": dict(scenario.true_states),
        "sentences": {item["indicator"]: item["sentence"] for item in indicators},
        "evidence": [
            {
                key: item[key]
                for key in (
                    "indicator", "unit", "state", "reason", "verdict", "growth", "elasticity", "elasticity_state",
                    "oecd_factor", "coverage", "estimated_share", "factor_share", "figure",
                )
            }
            for item in indicators
        ],
        "intensity": _intensity(client, period, scenario.truth),
        "consumption": _consumption(client, scenario),
        "ledger": _ledger(client, scenario, sent_in_history=sent_in_history),
        "planted": [asdict(fault) for fault in scenario.planted],
        # A file's readings are of long ago, so there is nothing to say of today.
        "findings": [] if scenario.is_finite else client.of_site("quality")["findings"],
        "notes": list(scenario.notes),
    }  # fmt: skip


def _intensity(client: Client, period: Days, truth: Truth | None) -> list[dict[str, Any]]:
    found = []
    for item in client.of_site("intensity", **_period(period))["items"]:
        true = _true_of_product(truth, item["product"], item["indicator"]) if truth else None
        found.append(
            {
                **{
                    key: item[key]
                    for key in ("product", "indicator", "resource", "unit", "value", "value_low", "value_high")
                },
                "truth": true.marginal_intensity if true else None,
                **{key: item[key] for key in ("fully_loaded", "fully_loaded_low", "fully_loaded_high")},
                "fully_loaded_truth": true.fully_loaded_intensity if true else None,
                **{
                    key: item[key]
                    for key in ("good", "coverage", "estimated_share", "factor_share", "hourly_share", "figure")
                },
            }
        )
    return found


def _true_of_product(truth: Truth, product: str, indicator: str) -> Taken | None:
    match indicator:
        case "co2_location":
            return truth.co2["location"].products.get(product)
        case "co2_market":
            return truth.co2["market"].products.get(product)
        case _:
            return truth.products.get((product, Resource(indicator)))


def _consumption(client: Client, scenario: Scenario) -> list[dict[str, Any]]:
    """Each meter's total over the span, summed from the API's years in exact decimals."""
    truth = scenario.truth
    years: dict[str, list[dict[str, Any]]] = {}
    cursor: dict[str, Any] | None = {}
    while cursor is not None:
        page = client.of_site("consumption", by="year", **_period(scenario.span), **cursor)
        for item in page["items"]:
            years.setdefault(item["meter"], []).append(item)
        cursor = {"cursor": page["next"]} if page["next"] else None
    return [
        {
            "meter": meter,
            "resource": items[0]["resource"],
            "unit": items[0]["unit"],
            "total": _sum(items, "total"),
            "truth": truth.consumption.get(meter) if truth else None,
            "measured": _sum(items, "measured"),
            "estimated": _sum(items, "estimated"),
            "coverage": min(item["coverage"] for item in items),
        }
        for meter, items in sorted(years.items())
    ]


def _sum(items: Sequence[dict[str, Any]], name: str) -> Decimal | None:
    """Missing is never zero: where no year is known, neither is the sum."""
    known = [item[name] for item in items if item[name] is not None]
    return sum(known, Decimal(0)) if known else None


def _ledger(client: Client, scenario: Scenario, *, sent_in_history: int) -> dict[str, Any]:
    """Readings sent are counted by who sent them: the history's own count, and each agent's outbox.

    Of a living factory that is a moment: some are on their way, and an agent whose last status is older than what came
    of it has sent that at least.
    """
    entries = client.get("/v1/ledger")["items"]
    history = scenario.history.epoch if scenario.history else None
    live = [entry for entry in entries if entry["epoch"] != history]
    sent, received = sent_in_history + sum(e["sent"] for e in live), sum(e["readings"] for e in entries)
    return {
        "sent": sent,
        "received": received,
        "on_their_way": sent - received,
        "stored": sum(entry["stored"] for entry in entries),
        "repeated": sum(entry["repeated"] for entry in entries),
        "quarantined": sum(entry["quarantined"] for entry in entries),
        "missing_messages": sum(r["to"] - r["from"] + 1 for entry in entries for r in entry["missing"]),
    }


def _period(days: Days) -> dict[str, str]:
    return {"from": str(days.start), "to": str(days.end)}
