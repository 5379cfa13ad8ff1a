"""One flow on its way to its places: through shares and utilities to lines, and over what the lines did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial

import numpy as np

from api.indicators.carbon import Carbon
from api.indicators.flows import Amount, FindingKind, Flow, Mark, Ruled
from api.indicators.lines import NOWHERE, Grid, Slot
from api.indicators.parts import NO_CARBON, Part
from api.indicators.sharing import Keys, Load, Rule, share_out
from api.indicators.splitting import Bools, Ints
from schemas.carriers import Scope

_CARBON = tuple(field.name for field in fields(Carbon))


@dataclass(frozen=True, slots=True, kw_only=True)
class Placing:
    """One flow on its way to slots. `root` is the flow whose factors are its own."""

    grid: Grid
    flow: Flow
    root: Flow
    keys: Keys
    utilities: Mapping[str, tuple[Ruled, ...]]
    marks: list[Mark]

    def parts(self, load: Load, rules: Sequence[Ruled]) -> Iterator[tuple[int, Part]]:
        flow, lined = self.flow, self.keys.lined
        if flow.line is not None and flow.line in lined:
            arrived = _Arrived(line=flow.line, rule=Rule.LINE_METER, via=(), hops=())
            yield from self._over_runs(arrived, load, load.total)
            return
        via, hops = ((flow.utility,), (Rule.UTILITY_METER,)) if flow.utility is not None else ((), ())
        places: dict[_Arrived, tuple[Load, Ints]] = {}
        for arrived, part, otherwise in self._share(load, rules, via=via, hops=hops):
            before = places.get(arrived)
            places[arrived] = (part, otherwise) if before is None else (before[0] + part, before[1] + otherwise)
        for arrived, (part, otherwise) in places.items():
            yield from self._over_runs(arrived, part, otherwise)

    def _share(
        self, load: Load, rules: Sequence[Ruled], *, via: tuple[str, ...], hops: tuple[Rule, ...]
    ) -> Iterator[tuple[_Arrived, Load, Ints]]:
        """Where a load arrives, through as many utilities as there are on its way."""
        quarter = np.arange(self.grid.first, self.grid.first + self.grid.count)
        end = int(quarter[-1]) + 1
        untold = quarter < (rules[0].since if rules else end)
        if untold.any():
            part = load.each(partial(_only_where, untold))
            yield _Arrived(line=None, rule=Rule.NO_SHARE, via=via, hops=hops), part, part.total
        for ruled, until in zip(rules, [*(later.since for later in rules[1:]), end][: len(rules)], strict=True):
            holds = (quarter >= ruled.since) & (quarter < until)
            if not holds.any():
                continue
            part = load.each(partial(_only_where, holds))
            shares, silent = share_out(ruled.share, part, keys=self.keys, utilities=self.utilities)
            if silent.any():
                self.marks.append(Mark(kind=FindingKind.KEY_MISSING, flow=self.flow, where=silent, amount=part.total))
            for share in shares:
                if share.target is not None and share.target in self.utilities:
                    onward = self.utilities[share.target]
                    yield from self._share(share.load, onward, via=(*via, share.target), hops=(*hops, share.rule))
                else:
                    arrived = _Arrived(line=share.target, rule=share.rule, via=via, hops=hops)
                    yield arrived, share.load, share.otherwise

    def _over_runs(self, arrived: _Arrived, load: Load, otherwise: Ints) -> Iterator[tuple[int, Part]]:
        kept = {name: column for name, column in load.columns.items() if column.any()}
        if arrived.line is None:
            starts = list(self.grid.starts)
            sums = {name: np.add.reduceat(column, starts) for name, column in kept.items()}
            others = np.add.reduceat(otherwise, starts)
            for span in range(len(starts)):
                amounts = {name: int(column[span]) for name, column in sums.items()}
                yield from self._part(arrived, span, NOWHERE, amounts, int(others[span]))
            return
        time = self.keys.lined[arrived.line]
        sums = {name: time.divide(column) for name, column in kept.items()}
        others = time.divide_by_power(otherwise, load.total)
        for i, (span, slot) in enumerate(zip(time.by.span.tolist(), time.by.slot.tolist(), strict=True)):
            amounts = {name: int(column[i]) for name, column in sums.items()}
            yield from self._part(arrived, span, time.slots[slot], amounts, int(others[i]))

    def _part(
        self, arrived: _Arrived, span: int, slot: Slot, amounts: Mapping[str, int], otherwise: int
    ) -> Iterator[tuple[int, Part]]:
        if not otherwise and not any(amounts.values()):
            return
        flow = self.flow
        carbon = {name: amount for name, amount in amounts.items() if name in _CARBON}
        part = Part(
            meter=flow.meter,
            resource=flow.resource,
            unit=flow.unit,
            carrier=flow.carrier,
            line=arrived.line,
            slot=slot,
            rule=arrived.rule,
            amount=Amount(amounts.get("measured", 0), amounts.get("estimated", 0)),
            otherwise=otherwise,
            via=arrived.via,
            hops=arrived.hops,
            # What had a factor is known, though it be zero.
            carbon=Carbon(**carbon) if any(carbon.values()) else NO_CARBON,
            scope=self._scope,
            factors=self._factors(span),
        )
        yield span, part

    @property
    def _scope(self) -> Scope | None:
        """That of its factors, of which one figure may have some and the other none."""
        of = [matched.scope for matched in (self.root.location, self.root.market) if matched is not None]
        return next((scope for scope in of if scope is not None), None)

    def _factors(self, span: int) -> tuple[int, ...]:
        """The factors in use for the flow in a span."""
        if self.root.location is None or self.root.market is None:
            return ()
        starts = (*self.grid.starts, self.grid.count)
        within = slice(starts[span], starts[span + 1])
        used = {*self.root.location.factor[within].tolist(), *self.root.market.factor[within].tolist()}
        return tuple(sorted(used - {0}))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Arrived:
    """A line (None: none), and how a load came there."""

    line: str | None
    rule: Rule
    via: tuple[str, ...]
    hops: tuple[Rule, ...]


def _only_where(holds: Bools, column: Ints) -> Ints:
    return np.where(holds, column, 0)
