"""The page, and its script and style, from this package: nothing comes from elsewhere."""

from __future__ import annotations

from importlib.resources import files

from fastapi import APIRouter
from starlette.responses import Response

from api.problems import not_found

router = APIRouter(include_in_schema=False)

_TYPES = {"app.js": "text/javascript", "style.css": "text/css"}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


@router.get("/")
async def index() -> Response:
    """The page itself."""
    return _file("index.html", "text/html")


@router.get("/web/{name}")
async def asset(name: str) -> Response:
    """A file of the page."""
    if name not in _TYPES:
        raise not_found("the page has no such file")
    return _file(name, _TYPES[name])


def _file(name: str, media_type: str) -> Response:
    return Response(files("api.web").joinpath(name).read_bytes(), media_type=media_type, headers=_HEADERS)
