"""What is done to a plant, by kind, and at which place."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

from deploy.chaos.agent_faults import AgentFaults
from deploy.chaos.fault import Kind, Open
from deploy.chaos.intrusions import Intrusions
from deploy.chaos.plant import ROLLUP, Plant
from deploy.chaos.proxy import Proxy


class Faults:
    """Begins them on one plant, at places that chance chooses. `poisons` is all that was ever given."""

    def __init__(self, plant: Plant, rng: random.Random) -> None:
        agents = AgentFaults(plant, rng)
        intrusions = Intrusions(plant, rng)
        self.poisons = intrusions.poisons
        self._plant = plant
        self._rng = rng
        self._begin: Mapping[Kind, Callable[[Collection[str]], Open | None]] = {
            Kind.KILL_AGENT: partial(self._kill, Kind.KILL_AGENT, plant.edges),
            Kind.KILL_COLLECTOR: partial(self._kill, Kind.KILL_COLLECTOR, plant.collectors),
            Kind.KILL_ROLLUP: partial(self._kill, Kind.KILL_ROLLUP, [ROLLUP]),
            Kind.KILL_BROKER: partial(self._kill_servers, Kind.KILL_BROKER),
            Kind.KILL_DATABASE: partial(self._kill_servers, Kind.KILL_DATABASE),
            Kind.KILL_SERVERS: partial(self._kill_servers, Kind.KILL_SERVERS),
            Kind.CUT: self._cut,
            Kind.REFUSE: self._refuse,
            Kind.TEAR: self._tear,
            Kind.STALL: self._stall,
            Kind.DELAY: self._delay,
            Kind.VANISH: self._vanish,
            Kind.FULL_STOP: agents.fill_until_it_stops,
            Kind.FULL_DROP: agents.fill_until_it_drops,
            Kind.DISK_FULL: agents.fill_disk,
            Kind.SKEW: agents.skew,
            Kind.POISON: intrusions.give_poison,
            Kind.REPLAY: intrusions.replay,
        }

    def begin(self, kind: Kind, claimed: Collection[str]) -> Open | None:
        """None when there was no way to do it now."""
        return self._begin[kind](claimed)

    def _kill(self, kind: Kind, names: Sequence[str], claimed: Collection[str]) -> Open | None:
        name = self._free(names, claimed)
        if name is None or not self._plant.kill(name):
            return None
        down_s = self._rng.uniform(0.1, 4)
        start = partial(self._plant.start, name)
        return Open(kind=kind, place=name, claims=frozenset({name}), least_s=down_s, most_s=down_s, make_good=start)

    def _kill_servers(self, kind: Kind, claimed: Collection[str]) -> Open | None:
        broker, database = kind is not Kind.KILL_DATABASE, kind is not Kind.KILL_BROKER
        names = [*(["broker"] if broker else []), *(["database"] if database else [])]
        servers = self._plant.servers
        if set(names) & set(claimed) or not servers.kill(broker=broker, database=database):
            return None
        down_s = self._rng.uniform(0.1, 3)
        return Open(
            kind=kind,
            place=" and ".join(names),
            claims=frozenset(names),
            least_s=down_s,
            most_s=down_s,
            make_good=partial(servers.restart, broker=broker, database=database),
        )

    def _cut(self, claimed: Collection[str]) -> Open | None:
        proxy = self._proxy(claimed)
        if proxy is None:
            return None
        before = proxy.hits
        proxy.cut()
        return Open(kind=Kind.CUT, place=proxy.name, claims=frozenset()) if proxy.hits > before else None

    def _refuse(self, claimed: Collection[str]) -> Open | None:
        return self._on_proxy(Kind.REFUSE, claimed, lambda proxy: proxy.cut(refuse=True))

    def _tear(self, claimed: Collection[str]) -> Open | None:
        size = int(2 ** self._rng.uniform(0, 13))
        return self._on_proxy(Kind.TEAR, claimed, lambda proxy: proxy.cut_after(size), least_s=0)

    def _stall(self, claimed: Collection[str]) -> Open | None:
        return self._on_proxy(Kind.STALL, claimed, Proxy.stall)

    def _delay(self, claimed: Collection[str]) -> Open | None:
        seconds = self._rng.uniform(0.05, 0.5)
        return self._on_proxy(Kind.DELAY, claimed, lambda proxy: proxy.delay(seconds))

    def _vanish(self, claimed: Collection[str]) -> Open | None:
        return self._on_proxy(Kind.VANISH, claimed, Proxy.vanish, of="database")

    def _on_proxy(
        self, kind: Kind, claimed: Collection[str], act: Callable[[Proxy], None], *, of: str = "", least_s: float = 0.3
    ) -> Open | None:
        proxy = self._proxy(claimed, of)
        if proxy is None:
            return None
        before = proxy.hits
        act(proxy)
        return Open(
            kind=kind,
            place=proxy.name,
            claims=frozenset({proxy.name}),
            least_s=self._rng.uniform(least_s, 4 * least_s),
            most_s=8,
            is_seen=lambda: proxy.hits > before,
            make_good=proxy.heal,
        )

    def _free(self, names: Sequence[str], claimed: Collection[str]) -> str | None:
        free = [name for name in names if name not in claimed]
        return self._rng.choice(free) if free else None

    def _proxy(self, claimed: Collection[str], of: str = "") -> Proxy | None:
        name = self._free([name for name in sorted(self._plant.proxies) if of in name], claimed)
        return None if name is None else self._plant.proxies[name]
