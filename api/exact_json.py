"""JSON with numbers as exact as they are stored.

Quantities have up to 19 digits, a float holds 15: decimals are written digit by digit, as plain JSON numbers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Coroutine, Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Context, Decimal, localcontext
from fractions import Fraction
from typing import Annotated, Any

from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, WithJsonSchema
from starlette.requests import Request
from starlette.responses import Response

from schemas.quantities import to_decimal

Number = Annotated[Decimal, WithJsonSchema({"type": "number"})]
"""An exact number of a response."""

Instant = datetime
"""An instant of a response, in UTC."""

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


def reply(answer: BaseModel, status: int = 200) -> Response:
    """The response with this content."""
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
    with localcontext(_RATIO):
        return Decimal(exact.numerator) / Decimal(exact.denominator)


def encode(value: Any) -> str:
    """The value as JSON. Takes what models dump: mappings, lists, texts, numbers, instants, dates, None."""
    return "".join(_parts(value))


def _parts(value: Any) -> Iterator[str]:
    match value:
        case None | bool() | str() | int():
            # An enum of texts is a text.
            yield json.dumps(str(value) if isinstance(value, str) else value, ensure_ascii=False)
        case Decimal():
            yield _plain(value)
        case float():
            yield repr(value) if math.isfinite(value) else "null"
        case datetime():
            yield f'"{instant(value)}"'
        case date():
            yield f'"{value.isoformat()}"'
        case Mapping():
            yield from _joined("{", "}", (f"{encode(str(key))}:{encode(item)}" for key, item in value.items()))
        case list() | tuple():
            yield from _joined("[", "]", (encode(item) for item in value))
        case _:
            raise TypeError(f"{type(value).__name__} has no JSON form here")


def _joined(opening: str, closing: str, items: Iterator[str]) -> Iterator[str]:
    yield opening
    yield ",".join(items)
    yield closing


def _plain(value: Decimal) -> str:
    if not value.is_finite():
        return "null"
    text = format(value, "f")
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"


def instant(at: datetime) -> str:
    """ISO 8601 in UTC, with milliseconds only where there are any."""
    utc = at.astimezone(UTC)
    timespec = "milliseconds" if utc.microsecond else "seconds"
    return utc.isoformat(timespec=timespec).replace("+00:00", "Z")
