"""Pages: `{"items": […], "next": cursor}`. A cursor is the key of the last item, opaque to whoever holds it."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Query

from api.exact_json import Answer
from api.problems import bad_value

Item = TypeVar("Item")
Limit = Annotated[int, Query(ge=1, le=10_000, description="items on a page, at most")]
CursorText = Annotated[
    str | None, Query(max_length=500, description="`next` of the page before; the other parameters stay the same")
]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Page(Answer, Generic[Item]):
    """Some items, and where to go on: `next` is null on the last page."""

    items: list[Item]
    next: str | None


def encode_cursor(*key: str | int | datetime) -> str:
    """The cursor that stands for a key."""
    plain = [_microseconds(part) if isinstance(part, datetime) else part for part in key]
    return base64.urlsafe_b64encode(json.dumps(plain).encode()).decode().rstrip("=")


def decode_cursor(text: str, *kinds: type[str | int | datetime]) -> list[Any]:
    """The key behind a cursor whose parts are of these kinds. Raises a 422 problem."""
    refused = bad_value("cursor", "not one that this address gave; take `next` of the page before, unchanged")
    try:
        key = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars="-_", validate=True))
    except (binascii.Error, ValueError, RecursionError) as error:
        raise refused from error
    if not isinstance(key, list) or len(key) != len(kinds):
        raise refused
    found: list[Any] = []
    for part, kind in zip(key, kinds, strict=True):
        wanted = str if kind is str else int
        if type(part) is not wanted or (isinstance(part, int) and not -(2**63) < part < 2**63):
            raise refused
        try:
            found.append(_EPOCH + timedelta(microseconds=int(part)) if kind is datetime else part)
        except OverflowError as error:
            raise refused from error
    return found


def page_of(rows: list[Item], limit: int, key: Callable[[Item], tuple[str | int | datetime, ...]]) -> Page[Item]:
    """A page of at most `limit` of the rows; one row more than that tells that there is a next page."""
    more = len(rows) > limit
    items = rows[:limit]
    return Page(items=items, next=encode_cursor(*key(items[-1])) if more else None)


def _microseconds(at: datetime) -> int:
    since = at - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
