"""In which format an answer goes out: `?format=`, else the `Accept` header, else JSON.

A router that takes `TableRoute` as its `route_class` offers it at every GET whose answer has lists of rows; the routes
themselves go on saying `reply(answer)`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import Depends, Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from api.exact_json import ExactRoute, encode, in_json, written_by
from api.problems import ProblemError, bad_value
from api.tables import tabular
from api.tables.columns import Layout, layouts


class Format(StrEnum):
    """What an answer can be written as."""

    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"
    ARROW = "arrow"

    @property
    def is_binary(self) -> bool:
        return self in {Format.PARQUET, Format.ARROW}


MEDIA_TYPES = {
    Format.JSON: "application/json",
    Format.CSV: "text/csv",
    Format.PARQUET: "application/vnd.apache.parquet",
    Format.ARROW: "application/vnd.apache.arrow.stream",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    format: Format
    layout: Layout
    tables: Mapping[str, Layout]


class _Asked:
    """A dependency: which format and table are asked for. Raises a 406 or 422 problem before any work is done."""

    def __init__(self, tables: Mapping[str, Layout]) -> None:
        self._tables = tables

    async def __call__(
        self,
        request: Request,
        asked: Annotated[
            Format | None, Query(alias="format", description="goes before `Accept`; none of both: json")
        ] = None,
        table: Annotated[
            str | None,
            Query(max_length=100, description="which list of the answer, unless it is json (first: the default)"),
        ] = None,
    ) -> None:
        chosen = asked or choose(request.headers.get("accept"))
        if chosen is None:
            offered = ", ".join(MEDIA_TYPES.values())
            raise ProblemError(
                HTTPStatus.NOT_ACCEPTABLE,
                "not-acceptable",
                f"this answer comes as {offered}; name one of them in `Accept`, or give ?format=json|csv|parquet|arrow",
            )
        if table is not None and table not in self._tables:
            raise bad_value("table", f"this answer has no such list; it has {', '.join(self._tables)}")
        layout = self._tables[table] if table else next(iter(self._tables.values()))
        request.state.wanted = _Wanted(format=chosen, layout=layout, tables=self._tables)


class TableRoute(ExactRoute):
    """A route whose answer can be had as a table. Give it to a router as `route_class`."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **settings: Any) -> None:
        tables = _tables(settings)
        asked = settings.get("dependencies") or ()
        if tables and not any(isinstance(one.dependency, _Asked) for one in asked):
            settings["dependencies"] = [*asked, Depends(_Asked(tables))]
            settings["responses"] = {**(settings.get("responses") or {}), **_RESPONSES}
        super().__init__(path, endpoint, **settings)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def as_asked(request: Request) -> Response:
            def write(answer: BaseModel, status: int) -> Response:
                wanted: _Wanted | None = getattr(request.state, "wanted", None)
                if wanted is None or wanted.format is Format.JSON:
                    return in_json(answer, status)
                return _respond(request, answer, wanted, status)

            with written_by(write):
                return await handle(request)

        return as_asked


_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            MEDIA_TYPES[Format.CSV]: {"schema": {"type": "string"}},
            MEDIA_TYPES[Format.PARQUET]: {"schema": {"type": "string", "format": "binary"}},
            MEDIA_TYPES[Format.ARROW]: {"schema": {"type": "string", "format": "binary"}},
        },
        "headers": {
            "Link": {
                "description": 'the next page, rel="next", of other formats than JSON; none: this is the last',
                "schema": {"type": "string"},
            }
        },
    },
    406: {"description": "None of the formats that `Accept` names"},
}


def choose(accept: str | None) -> Format | None:
    """The best of the formats that an `Accept` header [RFC 9110 §12.5.1] takes; None if it takes none.

    Of equally good ones JSON, unless the header names another and not JSON itself.
    """
    if accept is None or not accept.strip():
        return Format.JSON
    ranges = [_range(entry) for entry in accept.split(",") if entry.strip()]
    best: tuple[float, int, int] | None = None
    found = None
    for place, (kind, media_type) in enumerate(MEDIA_TYPES.items()):
        matching = [(specific, q) for name, q in ranges if (specific := _match(name, media_type))]
        if not matching:
            continue
        specific, q = max(matching)
        if q > 0 and (best is None or (q, specific, -place) > best):
            best, found = (q, specific, -place), kind
    return found


def _range(entry: str) -> tuple[str, float]:
    name, *parameters = (part.strip().lower() for part in entry.split(";"))
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return name, min(max(float(parameter[2:]), 0.0), 1.0)
            except ValueError:
                return name, 0.0
    return name, 1.0


def _match(name: str, media_type: str) -> int:
    """How exactly a range means a media type: 3 by name, 2 by its main type, 1 as any, 0 not at all."""
    if name == media_type:
        return 3
    if name == f"{media_type.partition('/')[0]}/*":
        return 2
    return 1 if name == "*/*" else 0


def write_table(format: Format, layout: Layout, answer: BaseModel, about: Mapping[str, str]) -> bytes:  # noqa: A002
    """The table as bytes of CSV, Parquet or an Arrow stream. Raises TooLargeError."""
    match format:
        case Format.CSV:
            return tabular.to_csv(layout, answer).encode()
        case Format.PARQUET:
            return tabular.to_parquet(layout, answer, about)
        case Format.ARROW:
            return tabular.to_arrow_stream(layout, answer, about)
        case Format.JSON:
            return encode(answer.model_dump(by_alias=True)).encode()


def told_about(request: str, *, period: str | None, layout: Layout, answer: BaseModel) -> dict[str, str]:
    """What a file says of itself: the request that it answers, what made it, and where its answer goes on."""
    about = {"request": request, "version": version("afkobling"), "table": layout.name}
    if period:
        about["period"] = period
    following = getattr(answer, "next", None)
    return about | ({"next": following} if following else {})


def _tables(settings: Mapping[str, Any]) -> Mapping[str, Layout]:
    """The tables that a route answers with, if it is one that only tells."""
    model = settings.get("response_model")
    tells = set(settings.get("methods") or {"GET"}) == {"GET"}
    return layouts(model) if tells and isinstance(model, type) and issubclass(model, BaseModel) else {}


def _respond(request: Request, answer: BaseModel, wanted: _Wanted, status: int) -> Response:
    url = request.url
    address = f"{url.path}?{url.query}" if url.query else url.path
    asked = request.query_params
    period = f"{asked['from']}/{asked['to']}" if "from" in asked and "to" in asked else asked.get("period")
    try:
        about = told_about(address, period=period, layout=wanted.layout, answer=answer)
        body = write_table(wanted.format, wanted.layout, answer, about)
    except tabular.TooLargeError as error:
        raise bad_value("format", str(error)) from error
    name = url.path.rstrip("/").rpartition("/")[2] or "answer"
    headers = {
        "Vary": "Accept",
        "Content-Disposition": f'attachment; filename="{name}.{wanted.format}"',
        "Afkobling-Tables": ", ".join(wanted.tables),
    }
    if following := getattr(answer, "next", None):
        further = url.include_query_params(cursor=following)
        headers["Link"] = f'<{further.path}?{further.query}>; rel="next"'
    media_type = MEDIA_TYPES[wanted.format]
    # RFC 4180 §3: whether the first line is a header is told here.
    told = f"{media_type}; charset=utf-8; header=present" if wanted.format is Format.CSV else media_type
    return Response(body, status_code=status, media_type=told, headers=headers)
