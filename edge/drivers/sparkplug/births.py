"""What an edge node or a device said when it was born: its metrics' names, numbers and types. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nsmallest

from edge.drivers.sparkplug.metrics import Metric

_TOLD = 5
"""So many names of an ambiguous number are told."""


class UnknownMetricError(Exception):
    """The birth does not say which metric this is: there was another birth since, which we missed."""


class AmbiguousMetricError(Exception):
    """The birth gives the number to several metrics; the message names them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Birth:
    """`datatypes` by name; `names` by alias, several where the node made a mistake."""

    datatypes: dict[str, int | None]
    names: dict[int, set[str]]

    def name_of(self, metric: Metric) -> str:
        """Which metric this is. Raises UnknownMetricError, AmbiguousMetricError."""
        if metric.alias is None:
            if metric.name is None or metric.name not in self.datatypes:
                raise UnknownMetricError
            return metric.name
        names = self.names.get(metric.alias, set())
        if metric.name is not None:
            # A name beside the number leaves no doubt, unless they disagree.
            if metric.name not in names:
                raise UnknownMetricError
            return metric.name
        if not names:
            raise UnknownMetricError
        if len(names) > 1:
            raise AmbiguousMetricError(f"alias {metric.alias} stands for {', '.join(nsmallest(_TOLD, names))}")
        return next(iter(names))


def read_birth(metrics: Sequence[Metric]) -> Birth:
    """The birth that these metrics tell; those without a name tell nothing."""
    names: dict[int, set[str]] = {}
    for metric in metrics:
        if metric.name is not None and metric.alias is not None:
            names.setdefault(metric.alias, set()).add(metric.name)
    return Birth(datatypes={metric.name: metric.datatype for metric in metrics if metric.name is not None}, names=names)
