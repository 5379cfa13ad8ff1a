"""JSON with numbers as exact as they are stored.

Quantities have up to 19 digits, a float holds 15: decimals are written digit by digit, as plain JSON numbers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, date, datetime
from decimal import Context, Decimal, localcontext
from fractions import Fraction
from functools import lru_cache
from types import NoneType
from typing import Annotated, Any

from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, WithJsonSchema
from starlette.requests import Request
from starlette.responses import Response

from schemas.quantities import to_decimal

Number = Annotated[Decimal, WithJsonSchema({"type": "number"})]
"""An exact number of a response: a quantity, an amount of money."""

RATIO = "ratio"
Ratio = Annotated[Decimal, WithJsonSchema({"type": "number"}), RATIO]
"""A number that `ratio` made, of twelve significant digits at most; a column of it is of floats (docs/formats.md)."""

Instant = datetime
"""An instant of a response, in UTC."""

Writer = Callable[[BaseModel, int], Response]
"""Makes the response of an answer and a status."""

_writer: ContextVar[Writer | None] = ContextVar("writer", default=None)
_RATIO = Context(prec=12)
_EXACT = Context(prec=100)


class ExactRequest(Request):
    """A request whose JSON keeps the digits of its numbers."""

    async def json(self) -> Any:
        return json.loads(await self.body(), parse_float=Decimal)


class ExactRoute(APIRoute):
    """A route that reads decimals digit by digit, not through a float. Give it to a router as `route_class`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def exactly(request: Request) -> Response:
            return await handle(ExactRequest(request.scope, request.receive))

        return exactly


class Answer(BaseModel):
    """The base of what routes answer with."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)


@contextmanager
def written_by(writer: Writer | None) -> Iterator[None]:
    """Have `reply` write by this writer meanwhile: an address may be asked for more than JSON (`tables.formats`)."""
    token = _writer.set(writer)
    try:
        yield
    finally:
        _writer.reset(token)


def reply(answer: BaseModel, status: int = 200) -> Response:
    """The response with this content: JSON, unless another format was asked for where the route offers it."""
    writer = _writer.get()
    if writer is not None:
        return writer(answer, status)
    return in_json(answer, status)


def in_json(answer: BaseModel, status: int = 200) -> Response:
    """The response with this content as JSON."""
    return Response(encode(answer.model_dump(by_alias=True)), status_code=status, media_type="application/json")


def quantity(billionths: int | Decimal) -> Decimal:
    """Billionths as an exact amount in the canonical unit."""
    return to_decimal(int(billionths))


def exact(value: Fraction) -> Decimal:
    """A sum of decimals, digit by digit."""
    with localcontext(_EXACT):
        return Decimal(value.numerator) / Decimal(value.denominator)


def ratio(value: Fraction | float | None) -> Decimal | None:
    """A ratio to twelve significant digits: more than any meter knows, and free of a float's noise."""
    if value is None:
        return None
    exact = value if isinstance(value, Fraction) else Fraction(value)
    return _RATIO.divide(Decimal(exact.numerator), Decimal(exact.denominator))


def encode(value: Any) -> str:
    """The value as JSON. Takes what models dump: mappings, lists, texts, numbers, instants, dates, None."""
    # By the exact type where it is one of a few: most of an answer's time goes here.
    write = _WRITERS.get(type(value))
    return write(value) if write is not None else _encode(value)


def _encode(value: Any) -> str:
    match value:
        case str():
            # An enum of texts is a text.
            return _text(str(value))
        case int():
            return str(int(value))
        case Decimal():
            return _plain(value)
        case float():
            return repr(value) if math.isfinite(value) else "null"
        case datetime():
            return f'"{instant(value)}"'
        case date():
            return f'"{value.isoformat()}"'
        case Mapping():
            return "{" + ",".join([f"{_key(key)}:{encode(item)}" for key, item in value.items()]) + "}"
        case list() | tuple():
            return "[" + ",".join([encode(item) for item in value]) + "]"
        case _:
            raise TypeError(f"{type(value).__name__} has no JSON form here")


@lru_cache(maxsize=4096)
def _key(key: Any) -> str:
    return _text(str(key))


def _plain(value: Decimal) -> str:
    if not value.is_finite():
        return "null"
    text = format(value, "f")
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"


_text = json.JSONEncoder(ensure_ascii=False).encode
_WRITERS: Mapping[type, Callable[[Any], str]] = {
    str: _text,
    NoneType: lambda _: "null",
    bool: lambda value: "true" if value else "false",
    Decimal: _plain,
    dict: lambda value: "{" + ",".join([f"{_key(key)}:{encode(item)}" for key, item in value.items()]) + "}",
    list: lambda value: "[" + ",".join([encode(item) for item in value]) + "]",
}


def instant(at: datetime) -> str:
    """ISO 8601 in UTC, with milliseconds only where there are any."""
    utc = at.astimezone(UTC)
    timespec = "milliseconds" if utc.microsecond else "seconds"
    return utc.isoformat(timespec=timespec).replace("+00:00", "Z")
