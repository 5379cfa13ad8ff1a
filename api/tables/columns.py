"""Answers as tables: which columns a model has. The model alone tells, so they are the same whatever rows come."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from api.exact_json import RATIO

ITEMS = "items"
_NEXT = "next"


class Kind(StrEnum):
    """What a column holds. QUANTITY: decimals of billionths; MIXED: anything else, as JSON text."""

    TEXT = "text"
    WHOLE = "whole"
    TRUTH = "truth"
    QUANTITY = "quantity"
    RATIO = "ratio"
    FLOAT = "float"
    INSTANT = "instant"
    DAY = "day"
    MIXED = "mixed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: its name, and by which attributes its value is found in a row.

    `fields` are those of a list of models, each entry having them. `unit` is fixed, `unit_column` tells it row by row.
    """

    name: str
    path: tuple[str, ...]
    kind: Kind
    is_list: bool = False
    fields: tuple[Column, ...] = ()
    nullable: bool = False
    description: str | None = None
    unit: str | None = None
    unit_column: str | None = None

    def value(self, row: object) -> Any:
        """The value in a row; None where a model on the way is None, or has no such field."""
        for step in self.path:
            row = getattr(row, step, None)
            if row is None:
                return None
        return row


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One table of an answer: its rows are in the list `rows`, `columns` are theirs, `around` the answer's own.

    What an answer tells beside its lists stands in every row.
    """

    name: str
    rows: str
    columns: tuple[Column, ...]
    around: tuple[Column, ...]


@lru_cache(maxsize=256)
def layouts(model: type[BaseModel]) -> Mapping[str, Layout]:
    """The tables of an answer by name: its lists of models, `items` first. None for an answer without any."""
    lists = {}
    others = []
    for name, field in model.model_fields.items():
        inner = _of_list(_strip(field.annotation)[0])
        if inner is not None and _models(inner):
            lists[_alias(name, field)] = (name, _models(inner))
        elif name != _NEXT:
            others.append(name)
    around = tuple(column for column in _columns([model], (), seen=()) if column.path[0] in others)
    found = {}
    for title, (name, rows) in sorted(lists.items(), key=lambda entry: entry[0] != ITEMS):
        columns = _columns(rows, (), seen=(model,))
        taken = {column.name for column in columns}
        beside = tuple(replace(c, name=f"answer.{c.name}") if c.name in taken else c for c in around)
        found[title] = Layout(name=title, rows=name, columns=columns, around=beside)
    return found


def _columns(models: Sequence[type[BaseModel]], path: tuple[str, ...], *, seen: tuple[type, ...]) -> tuple[Column, ...]:
    """The columns of rows that are of one of these models."""
    found: dict[str, list[Column]] = {}
    for model in models:
        for column in _of_model(model, path, seen=(*seen, model)):
            found.setdefault(column.name, []).append(column)
    everywhere = len(models)
    return tuple(
        replace(same[0], nullable=len(same) < everywhere or any(column.nullable for column in same))
        for same in found.values()
    )


def _of_model(model: type[BaseModel], path: tuple[str, ...], *, seen: tuple[type, ...]) -> Iterator[Column]:
    aliases = {name: _alias(name, field) for name, field in model.model_fields.items()}
    for name, field in model.model_fields.items():
        kind, nullable, marks = _strip(field.annotation, field.metadata)
        inner = _models(kind)
        unit_column = _unit_column(name, aliases)
        if inner and not set(inner) & set(seen):
            for column in _columns(inner, (), seen=seen):
                yield replace(
                    column,
                    name=f"{aliases[name]}.{column.name}",
                    path=(name, *column.path),
                    nullable=nullable or column.nullable,
                    unit_column=_prefixed(aliases[name], column.unit_column)
                    or (unit_column if column.kind is Kind.QUANTITY else None),
                )
            continue
        yield _of_field(
            name, aliases[name], field, seen=seen, kind=kind, nullable=nullable, marks=marks, unit=unit_column
        )


def _of_field(
    name: str,
    alias: str,
    field: FieldInfo,
    *,
    seen: tuple[type, ...],
    kind: Any,
    nullable: bool,
    marks: Sequence[Any],
    unit: str | None,
) -> Column:
    entry = _of_list(kind)
    fields: tuple[Column, ...] = ()
    if entry is not None:
        inner, _, marks = _strip(entry)
        models = _models(inner)
        if models and not set(models) & set(seen):
            fields = _columns(models, (), seen=seen)
        kind = inner
    found = Kind.MIXED if fields else _kind(kind, marks)
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, Mapping) else {}
    fixed = extra.get("unit")
    told = extra.get("unit_column")
    return Column(
        name=alias,
        path=(name,),
        kind=found,
        is_list=entry is not None,
        fields=fields,
        nullable=nullable,
        description=field.description,
        unit=str(fixed) if fixed else None,
        unit_column=str(told) if told else (unit if found is Kind.QUANTITY and not fixed else None),
    )


def _alias(name: str, field: FieldInfo) -> str:
    return field.serialization_alias or field.alias or name


def _unit_column(name: str, aliases: Mapping[str, str]) -> str | None:
    """Which field beside tells the unit of this one: its own, that of quantities, or the row's."""
    for candidate in (f"{name}_unit", "quantity_unit", "unit"):
        if candidate in aliases and candidate != name:
            return aliases[candidate]
    return None


def _prefixed(prefix: str, name: str | None) -> str | None:
    return None if name is None else f"{prefix}.{name}"


def _strip(annotation: Any, metadata: Sequence[Any] = ()) -> tuple[Any, bool, list[Any]]:
    """The type without None and without what is annotated, whether it may be None, and the annotations."""
    marks = list(metadata)
    nullable = False
    while True:
        if get_origin(annotation) is Annotated:
            marks += annotation.__metadata__
            annotation = get_args(annotation)[0]
        elif get_origin(annotation) in {Union, types.UnionType} and type(None) in get_args(annotation):
            nullable = True
            rest = [kind for kind in get_args(annotation) if kind is not type(None)]
            if len(rest) != 1:
                return Union[tuple(rest)], nullable, marks  # noqa: UP007 - put together here
            annotation = rest[0]
        elif annotation is type(None):
            return str, True, marks
        else:
            return annotation, nullable, marks


def _of_list(kind: Any) -> Any | None:
    return get_args(kind)[0] if get_origin(kind) in {list, Sequence, tuple} and get_args(kind) else None


def _models(kind: Any) -> tuple[type[BaseModel], ...]:
    """The models that a value of this kind may be of: one, or those of a union; none where it is something else."""
    kinds = get_args(kind) if get_origin(kind) in {Union, types.UnionType} else (kind,)
    stripped = [_strip(one)[0] for one in kinds]
    return tuple(stripped) if all(isinstance(one, type) and issubclass(one, BaseModel) for one in stripped) else ()


def _kind(kind: Any, marks: Sequence[Any]) -> Kind:
    if get_origin(kind) is Literal and all(isinstance(value, str) for value in get_args(kind)):
        return Kind.TEXT
    if not isinstance(kind, type):
        return Kind.MIXED
    for parent, found in (
        (str, Kind.TEXT),
        (bool, Kind.TRUTH),
        (int, Kind.WHOLE),
        (float, Kind.FLOAT),
        (datetime, Kind.INSTANT),
        (date, Kind.DAY),
        (Decimal, Kind.RATIO if RATIO in marks else Kind.QUANTITY),
    ):
        if issubclass(kind, parent):
            return found
    return Kind.MIXED
