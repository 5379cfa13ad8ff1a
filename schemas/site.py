"""The site model: organisation, site, lines, products, agents and meters, as `site.yaml` gives it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from schemas.calendar import Holiday, MonthDay, Shift, shift_problems
from schemas.carriers import Area
from schemas.circularity import Origin, Treatment, WasteCode
from schemas.configuration import Problem, SelfChecking
from schemas.durations import StoredSpanMs, at_most
from schemas.parts import Label, Part, Positive
from schemas.resources import PRODUCTION_TYPES, Direction, MeterKind, Resource, find_unit
from schemas.sharing import Shares, Utility, share_problems, utility_problems
from schemas.time_zones import ZoneName
from schemas.topics import Key
from schemas.virtual_meters import VirtualMeter, virtual_problems

DEFAULT_MAX_GAP_MS = 30 * 60_000
DEFAULT_DIP_WINDOW_MS = 60 * 60_000

LONGEST_INTERVAL, LONGEST_GAP, LONGEST_DIP = "31d", "366d", "7d"
"""As long as a month's reading, and as a year's: what is longer is a slip of the pen."""


class Organisation(Part):
    pass


class Site(Part):
    """Where it is, and its calendar: days, months and years are those of `time_zone`.

    `fiscal_year_start` is a month and a day; on `holidays` no shift begins. `grid_area` is the area of the electricity
    grid (DK1, DK2 …) whose factors of CO2e hold here.
    """

    time_zone: ZoneName
    fiscal_year_start: MonthDay = "01-01"
    shifts: list[Shift] = Field(default_factory=list)
    holidays: list[Holiday] = Field(default_factory=list)
    grid_area: Area | None = None


class Line(Part):
    """A production line. `next` is the line to which its output goes on, which is not finished then."""

    next: Key | None = None


class CoProducts(BaseModel):
    """What comes out of a product's runs beside it, and by what they share what the runs took: mass or price."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: Annotated[str, Field(pattern="^(mass|price)$")]
    products: Annotated[list[Key], Field(min_length=1)]


class Product(Part):
    unit: Annotated[str, Field(pattern="^(pcs|kg)$")] = "pcs"
    family: Label | None = None
    mass_kg: Annotated[float, Field(ge=1e-9, le=1e6, allow_inf_nan=False)] | None = None
    price_dkk: Annotated[float, Field(ge=1e-9, le=1e12, allow_inf_nan=False, description="of one unit")] | None = None
    co_products: CoProducts | None = None


class Agent(Part):
    pass


class Meter(Part):
    """One measured quantity.

    `agent` reads it, `line` is where it is (none: the whole site), `parent` is the meter it is a part of.
    `conversion` is canonical units (kWh, m3, kg) for one of `unit` where the unit alone does not say.

    How its readings are judged [METHODS §1]: `register_width` is where the register begins again at zero, in `unit`
    (100000 for five digits); `rated_maximum` the most that it can count, in `unit` an hour (for a rate: in `unit`);
    `max_gap` the longest silence that is still measured; `dip_window` how long a register may stay below its old value
    and still be believed to come back; `frozen_after` how long it may stand still while its line runs; `cadence` how
    often it is expected to speak; `accuracy_class` in percent; `watch_nights`: more than usual at
    night is told as a leak.

    `utility` is what it belongs to in place of a line; `share` shares it out where neither is said. `product` of a
    production meter is what it counts whatever the line's run. `origin` and `recycled_content` (0 to 1) tell where a
    material comes from, `waste_code` and `treatment` what waste is and where it goes.

    `direction` of an energy meter: `generation` adds to what the site uses, `export` takes away from it. Behind a
    parent that counts import, either one is fed into or out of that place, and is no part of what the parent counts.
    """

    agent: Key
    resource: Resource
    unit: str
    kind: MeterKind
    carrier: Label | None = None
    line: Key | None = None
    utility: Key | None = None
    parent: Key | None = None
    conversion: Positive | None = None
    max_gap: Annotated[StoredSpanMs, at_most(LONGEST_GAP)] = DEFAULT_MAX_GAP_MS
    interval: Annotated[StoredSpanMs, at_most(LONGEST_INTERVAL)] | None = None
    register_width: Positive | None = None
    rated_maximum: Positive | None = None
    dip_window: Annotated[StoredSpanMs, at_most(LONGEST_DIP)] = DEFAULT_DIP_WINDOW_MS
    frozen_after: Annotated[StoredSpanMs, at_most(LONGEST_GAP)] | None = None
    cadence: Annotated[StoredSpanMs, at_most(LONGEST_GAP)] | None = None
    accuracy_class: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] | None = None
    direction: Direction = Direction.IMPORT
    watch_nights: bool = True
    share: Shares | None = None
    product: Key | None = None
    origin: Origin | None = None
    recycled_content: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    waste_code: WasteCode | None = None
    treatment: Treatment | None = None

    @field_validator("unit")
    @classmethod
    def _unit_allowed(cls, unit: str, info: ValidationInfo) -> str:
        if "resource" in info.data:
            find_unit(info.data["resource"], unit)
        return unit

    @model_validator(mode="after")
    def _unit_fits(self) -> Self:
        unit = find_unit(self.resource, self.unit)
        if unit.is_rate != (self.kind is MeterKind.RATE):
            wanted = "a rate" if unit.is_rate else "a quantity"
            raise ValueError(f"unit {self.unit} is {wanted}; kind {self.kind} does not go with it")
        if unit.to_canonical is None and self.conversion is None:
            raise ValueError(
                f"{self.unit} of {self.resource} needs `conversion`: how many {unit.canonical} one "
                f"{self.unit} is (natural gas: about 11 kWh per m3)"
            )
        if unit.to_canonical is not None and self.conversion is not None:
            raise ValueError(f"{self.unit} of {self.resource} is fixed; remove `conversion`")
        if self.kind is MeterKind.INTERVAL and self.interval is None:
            raise ValueError("kind interval needs `interval`: the span of each value, as in 15min")
        if self.register_width is not None and self.kind is not MeterKind.COUNTER:
            raise ValueError(f"only a counter has a register; remove `register_width` from this {self.kind}")
        if self.direction is not Direction.IMPORT and self.resource is not Resource.ENERGY:
            raise ValueError(
                f"only energy is exported or generated; remove `direction` from this meter of {self.resource}"
            )
        if self.resource is Resource.PRODUCTION and self.carrier not in PRODUCTION_TYPES:
            raise ValueError(
                f"a production meter's carrier is one of {', '.join(PRODUCTION_TYPES)}: "
                "what became of the output that it counts"
            )
        for setting, resource in _ONLY_OF.items():
            if getattr(self, setting) is not None and self.resource is not resource:
                raise ValueError(
                    f"only a meter of {resource} has `{setting}`; remove it from this one of {self.resource}"
                )
        if self.utility is not None and (self.line is not None or self.share is not None):
            other = "line" if self.line is not None else "share"
            raise ValueError(f"what belongs to a utility is shared out by its rule; remove `{other}` or `utility`")
        return self

    @property
    def canonical_unit(self) -> str:
        return find_unit(self.resource, self.unit).canonical

    @property
    def to_canonical(self) -> float:
        """Canonical units for one of `unit`; for a rate, for one of `unit` over an hour."""
        fixed = find_unit(self.resource, self.unit).to_canonical
        return fixed if fixed is not None else self.conversion or 0.0


_ONLY_OF = {
    "product": Resource.PRODUCTION,
    "origin": Resource.MATERIAL,
    "recycled_content": Resource.MATERIAL,
    "waste_code": Resource.WASTE,
    "treatment": Resource.WASTE,
}


class SiteModel(SelfChecking):
    """One site of one organisation, whole."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    organisation: Organisation
    site: Site
    lines: list[Line] = Field(default_factory=list)
    utilities: list[Utility] = Field(default_factory=list)
    products: list[Product] = Field(default_factory=list)
    agents: list[Agent] = Field(default_factory=list)
    meters: list[Meter] = Field(default_factory=list)
    virtual_meters: list[VirtualMeter] = Field(default_factory=list)

    def problems(self) -> list[Problem]:
        lines = {line.id for line in self.lines}
        utilities = {utility.id for utility in self.utilities}
        products = {product.id: product for product in self.products}
        agents = {agent.id for agent in self.agents}
        meters = {meter.id: meter for meter in self.meters}
        virtuals = {virtual.id for virtual in self.virtual_meters}
        found = list(shift_problems(("site", "shifts"), self.site.shifts))
        for group in ("lines", "utilities", "products", "agents", "meters"):
            found += _doubles(group, (part.id for part in getattr(self, group)))
        found += utility_problems(self.utilities, lines=lines, meters=meters)
        found += _route_problems(self.lines)
        found += _co_product_problems(products)
        for i, meter in enumerate(self.meters):
            found += _unknown(("meters", i, "agent"), meter.agent, agents, "agent")
            found += _unknown(("meters", i, "line"), meter.line, lines, "line")
            found += _unknown(("meters", i, "utility"), meter.utility, utilities, "utility")
            found += _unknown(("meters", i, "product"), meter.product, products, "product")
            if meter.parent in virtuals:
                message = f"{meter.parent} is virtual; name the real meter that {meter.id} is a part of"
                found.append(Problem(location=("meters", i, "parent"), message=message))
            else:
                found += _unknown(("meters", i, "parent"), meter.parent, meters, "meter")
            if meter.share is not None:
                found += _place_problems(("meters", i, "share"), meter)
                found += share_problems(
                    ("meters", i, "share"), meter.share, owner=meter.id, places=lines | utilities, meters=meters
                )
            if _is_own_ancestor(meter, meters):
                found.append(
                    Problem(
                        location=("meters", i, "parent"),
                        message=f"{meter.id} is a part of itself through its parents; break the loop",
                    )
                )
            parent = meters.get(meter.parent or "")
            if parent is not None and (parent.resource, parent.canonical_unit) != (
                meter.resource,
                meter.canonical_unit,
            ):
                found.append(
                    Problem(
                        location=("meters", i, "parent"),
                        message=f"{meter.id} measures {meter.resource}, its parent {parent.id} "
                        f"{parent.resource}; a part is of the same resource as the whole",
                    )
                )
            elif parent is not None and parent.direction not in {Direction.IMPORT, meter.direction}:
                found.append(
                    Problem(
                        location=("meters", i, "parent"),
                        message=f"{meter.id} counts {meter.direction}, its parent {parent.id} {parent.direction}, of "
                        f"which it is no part; name the import meter that it lies behind",
                    )
                )
        found += virtual_problems(self.virtual_meters, meters, lines)
        return found


def _doubles(group: str, ids: Iterable[str]) -> list[Problem]:
    ids = list(ids)
    counts = Counter(ids)
    return [
        Problem(location=(group, i, "id"), message=f"{key!r} stands twice; give each its own id")
        for i, key in enumerate(ids)
        if counts[key] > 1 and key in ids[:i]
    ]


def _unknown(location: tuple[int | str, ...], key: str | None, known: Collection[str], what: str) -> list[Problem]:
    if key is None or key in known:
        return []
    listed = ", ".join(sorted(known)) or "none is defined"
    return [Problem(location=location, message=f"there is no {what} {key!r}; known: {listed}")]


def _place_problems(location: tuple[int | str, ...], meter: Meter) -> list[Problem]:
    if meter.line is None:
        return []
    message = f"{meter.id} is on line {meter.line}; only a meter of the whole site is shared"
    return [Problem(location=location, message=message)]


def _route_problems(lines: Sequence[Line]) -> Iterator[Problem]:
    following = {line.id: line.next for line in lines}
    for i, line in enumerate(lines):
        yield from _unknown(("lines", i, "next"), line.next, following, "line")
        passed, at = {line.id}, line.next
        while at is not None and at not in passed:
            passed.add(at)
            at = following.get(at)
        if at == line.id:
            message = f"the output of {line.id} comes back to it through `next`; break the loop"
            yield Problem(location=("lines", i, "next"), message=message)


def _co_product_problems(products: Mapping[str, Product]) -> Iterator[Problem]:
    main_of: dict[str, str] = {}
    for i, product in enumerate(products.values()):
        if product.co_products is None:
            continue
        place = ("products", i, "co_products", "products")
        needed = "mass_kg" if product.co_products.by == "mass" else "price_dkk"
        for key in product.co_products.products:
            yield from _unknown(place, key, products, "product")
            if key == product.id or key in main_of or (key in products and products[key].co_products is not None):
                message = f"{key} shares with more than one product, or with itself; name it once, under one product"
                yield Problem(location=place, message=message)
            main_of[key] = product.id
        for of in (product, *(products[key] for key in product.co_products.products if key in products)):
            # What is counted in kg needs no mass.
            if getattr(of, needed) is None and not (needed == "mass_kg" and of.unit == "kg"):
                message = f"{of.id} needs `{needed}`, by which {product.id} and its co-products share"
                yield Problem(location=place, message=message)


def _is_own_ancestor(meter: Meter, meters: dict[str, Meter]) -> bool:
    seen: set[str] = set()
    parent = meter.parent
    while parent is not None and parent not in seen:
        if parent == meter.id:
            return True
        seen.add(parent)
        parent = meters[parent].parent if parent in meters else None
    return False
