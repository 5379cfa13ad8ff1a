"""Tables written out: CSV (RFC 4180), Parquet and an Arrow stream.

A column's type comes from the model, never from the rows (`columns`). Quantities are decimals of nine places, which are
the billionths that they are counted in; ratios have twelve significant digits, which a float keeps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Context, Decimal
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from api.errors import ApiError
from api.exact_json import encode
from api.tables.columns import Column, Kind, Layout
from schemas.errors import PermanentError

if TYPE_CHECKING:
    import pyarrow as pa

PLACES = 9
_DIGITS = 38
_BILLIONTH = Decimal(1).scaleb(-PLACES)
_WIDE = Context(prec=200)
_NEEDS_QUOTES = frozenset('",\r\n')


class TooLargeError(ApiError, PermanentError):
    """A number has more digits than the column of a Parquet or Arrow table."""


def to_csv(layout: Layout, answer: BaseModel) -> str:
    """The table as CSV: a header of column names, lines that end with CR LF, decimals digit by digit as in JSON.

    An empty field is null, a quoted empty one an empty text. A list is joined by `;`, or is JSON where an entry has a
    `;` or is no single value.
    """
    columns = (*layout.columns, *layout.around)
    lines = [",".join(_quoted(column.name) for column in columns)]
    around = [_cell(column, column.value(answer)) for column in layout.around]
    lines += [
        ",".join([*(_cell(column, column.value(row)) for column in layout.columns), *around])
        for row in getattr(answer, layout.rows)
    ]
    return "".join(f"{line}\r\n" for line in lines)


def arrow_schema(layout: Layout, about: Mapping[str, str]) -> pa.Schema:
    """The columns' types. `about` becomes the metadata, each name with `afkobling.` before it."""
    import pyarrow as pa  # noqa: PLC0415 - a quarter of a second, which only those pay who ask for it

    metadata = {f"afkobling.{name}": text for name, text in about.items()}
    return pa.schema([_field(column) for column in (*layout.columns, *layout.around)], metadata=metadata)


def to_arrow(layout: Layout, answer: BaseModel, about: Mapping[str, str]) -> pa.Table:
    """The table in Arrow's memory. Raises TooLargeError."""
    import pyarrow as pa  # noqa: PLC0415

    schema = arrow_schema(layout, about)
    rows = getattr(answer, layout.rows)
    values = [
        *([_value(column, column.value(row)) for row in rows] for column in layout.columns),
        *([_value(column, column.value(answer))] * len(rows) for column in layout.around),
    ]
    arrays = []
    for field, column in zip(schema, values, strict=True):
        try:
            arrays.append(pa.array(column, field.type))
        except (pa.ArrowInvalid, OverflowError) as error:
            raise TooLargeError(
                f"a number of {field.name} has more digits than {field.type} holds; ask for json or csv, which have all"
            ) from error
    return pa.Table.from_arrays(arrays, schema=schema)


def to_parquet(layout: Layout, answer: BaseModel, about: Mapping[str, str]) -> bytes:
    """The table as a Parquet file. Raises TooLargeError."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    sink = pa.BufferOutputStream()
    pq.write_table(to_arrow(layout, answer, about), sink, compression="zstd")
    return bytes(sink.getvalue())


def to_arrow_stream(layout: Layout, answer: BaseModel, about: Mapping[str, str]) -> bytes:
    """The table as an Arrow IPC stream. Raises TooLargeError."""
    import pyarrow as pa  # noqa: PLC0415

    table = to_arrow(layout, answer, about)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _cell(column: Column, value: Any) -> str:
    if value is None:
        return ""
    if column.is_list and not column.fields and column.kind is not Kind.MIXED:
        entries = ["" if entry is None else _text(entry) for entry in value]
        # An entry that holds the separator, or is empty, would come back as another list.
        if all(entry and ";" not in entry for entry in entries):
            return _quoted(";".join(entries)) if entries else ""
    if column.is_list or column.kind is Kind.MIXED:
        return _quoted(encode(_plain(value)))
    return _quoted(_text(value), is_null=False)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return str(value)
    text = encode(value)
    if text == "null":
        return ""
    return text[1:-1] if text.startswith('"') else text


def _quoted(text: str, *, is_null: bool = True) -> str:
    if not text and not is_null:
        return '""'
    return '"' + text.replace('"', '""') + '"' if _NEEDS_QUOTES & set(text) else text


def _plain(value: Any) -> Any:
    """What `encode` takes."""
    if isinstance(value, BaseModel):
        return value.model_dump(by_alias=True)
    return [_plain(entry) for entry in value] if isinstance(value, Sequence) and not isinstance(value, str) else value


def _field(column: Column) -> pa.Field:
    import pyarrow as pa  # noqa: PLC0415

    metadata = {
        name: text
        for name, text in (
            ("description", column.description),
            ("unit", column.unit),
            ("unit_column", column.unit_column),
        )
        if text
    }
    return pa.field(column.name, _type(column), nullable=column.nullable, metadata=metadata or None)


def _type(column: Column) -> pa.DataType:
    import pyarrow as pa  # noqa: PLC0415

    if column.fields:
        entry = pa.struct([_field(inner) for inner in column.fields])
    else:
        entry = {
            Kind.TEXT: pa.string(),
            Kind.MIXED: pa.string(),
            Kind.WHOLE: pa.int64(),
            Kind.TRUTH: pa.bool_(),
            Kind.FLOAT: pa.float64(),
            Kind.RATIO: pa.float64(),
            Kind.QUANTITY: pa.decimal128(_DIGITS, PLACES),
            Kind.INSTANT: pa.timestamp("us", tz="UTC"),
            Kind.DAY: pa.date32(),
        }[column.kind]
    return pa.list_(entry) if column.is_list else entry


def _value(column: Column, value: Any) -> Any:
    """What Arrow takes."""
    if value is None:
        return None
    if column.is_list:
        return [_entry(column, entry) for entry in value]
    return _entry(column, value)


def _entry(column: Column, value: Any) -> Any:
    if value is None:
        return None
    if column.fields:
        return {inner.name: _value(inner, inner.value(value)) for inner in column.fields}
    match column.kind:
        case Kind.QUANTITY:
            return value.quantize(_BILLIONTH, context=_WIDE) if value.is_finite() else None
        case Kind.RATIO:
            return float(value)
        case Kind.TEXT:
            return str(value)
        case Kind.INSTANT:
            return _utc(value)
        case Kind.MIXED:
            return encode(_plain(value))
        case _:
            return value


def _utc(at: datetime) -> datetime:
    return at.astimezone(UTC)
