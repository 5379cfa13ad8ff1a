"""Errors as the API tells them: RFC 9457 problem details, whose `detail` says what to do."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import psycopg
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.errors import ApiError, ModelRefusedError
from api.exact_json import encode
from schemas.archive_store import ArchiveError

log = structlog.get_logger(__name__)

_READ_ONLY = "25"
"""Class of SQLSTATE: a transaction in a state that does not allow what was asked, as on a standby."""
_PASSING = frozenset({"53", "57"})
"""Classes of SQLSTATE that pass by themselves: too few resources, and what an operator does."""
MEDIA_TYPE = "application/problem+json"


class Problem(BaseModel):
    """A problem detail. `errors` lists the single faults where there are several."""

    model_config = ConfigDict(frozen=True)

    type: str
    title: str
    status: int
    detail: str
    errors: list[dict[str, str]] | None = None


class ProblemError(ApiError):
    """Raise it anywhere below a route: it becomes the answer."""

    def __init__(
        self,
        status: HTTPStatus,
        name: str,
        detail: str,
        *,
        errors: list[dict[str, str]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.problem = Problem(
            type=f"urn:afkobling:problem:{name}",
            title=name.replace("-", " ").capitalize(),
            status=status,
            detail=detail,
            errors=errors,
        )
        self.headers = headers


def not_found(detail: str) -> ProblemError:
    """What was asked for is not there, or not this organisation's: which of both is nobody else's business."""
    return ProblemError(HTTPStatus.NOT_FOUND, "not-found", detail)


def bad_value(place: str, detail: str) -> ProblemError:
    """A parameter or a field can't be taken as it is."""
    return ProblemError(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "bad-value",
        f"{place}: {detail}",
        errors=[{"place": place, "message": detail}],
    )


def answer_with(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """The response that tells a problem."""
    return Response(
        encode(problem.model_dump(exclude_none=True)),
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers=dict(headers or {}),
    )


def of_database(error: psycopg.Error) -> Response:
    """What a failure of the database means to whoever asked."""
    match error:
        case PoolTimeout() | PoolClosed() | TooManyRequests():
            found = _unavailable("the database can't be reached or is busy; try again in a moment")
        case psycopg.errors.QueryCanceled():
            found = _unavailable("the query took too long; ask for a shorter period or fewer meters")
        case psycopg.errors.UndefinedTable() | psycopg.errors.UndefinedColumn() | psycopg.errors.UndefinedFunction():
            found = _unavailable("the database's schema is not the one expected; run `afkobling db migrate`")
        case psycopg.Error(sqlstate=str(state)) if state[:2] == _READ_ONLY:
            found = _unavailable("the database takes no changes now (a standby, perhaps); try again in a moment")
        case psycopg.Error(sqlstate=str(state)) if state[:2] in _PASSING:
            found = _unavailable("the database is busy or restarting; try again in a moment")
        case psycopg.OperationalError() | psycopg.InterfaceError():
            found = _unavailable("the database went away; try again in a moment")
        case psycopg.DataError() | psycopg.IntegrityError():
            found = ProblemError(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                "bad-value",
                "a value is outside of what can be stored (too large, or with a NUL character); correct it",
            )
        case _:
            raise error
    log.warning("request refused", action="request.refused", error=str(error).strip(), status=found.problem.status)
    return answer_with(found.problem, found.headers)


def _unavailable(detail: str) -> ProblemError:
    return ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, "database-unavailable", detail, headers={"Retry-After": "5"})


def install(app: FastAPI) -> None:
    """Make every failure of a route a problem."""
    app.add_exception_handler(ProblemError, _on_problem)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(ModelRefusedError, _on_model_refused)
    app.add_exception_handler(psycopg.Error, _on_database)
    app.add_exception_handler(ArchiveError, _on_archive)
    app.add_exception_handler(UnicodeEncodeError, _on_unicode)
    app.add_exception_handler(Exception, _on_defect)


async def _on_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)  # noqa: S101 - what it is installed for
    return answer_with(error.problem, error.headers)


async def _on_validation(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    errors = [
        {"place": ".".join(str(step) for step in fault["loc"]), "message": _message(fault)} for fault in error.errors()
    ]
    detail = "; ".join(f"{fault['place']}: {fault['message']}" for fault in errors[:5])
    problem = ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, "bad-value", detail, errors=errors[:100])
    return answer_with(problem.problem)


def _message(fault: Mapping[str, Any]) -> str:
    if fault["type"] == "missing":
        return "this is missing; add it"
    message: str = fault["msg"]
    # A lone surrogate in a name would otherwise come back in the message and fail there.
    return message.removeprefix("Value error, ").encode("utf-8", "replace").decode()


async def _on_http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    status = HTTPStatus(error.status_code)
    details = {
        HTTPStatus.NOT_FOUND: "there is nothing at this address; /openapi.json lists what there is",
        HTTPStatus.METHOD_NOT_ALLOWED: "this address does not take this method; /openapi.json lists what it takes",
    }
    problem = ProblemError(
        status, status.phrase.lower().replace(" ", "-"), details.get(status, str(error.detail)), headers=error.headers
    )
    return answer_with(problem.problem, problem.headers)


async def _on_model_refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, ModelRefusedError)  # noqa: S101
    problem = ProblemError(
        HTTPStatus.CONFLICT,
        "model-refused",
        str(error),
        errors=[{"place": "body", "message": message} for message in error.problems],
    )
    return answer_with(problem.problem)


async def _on_database(_: Request, error: Exception) -> Response:
    assert isinstance(error, psycopg.Error)  # noqa: S101
    return of_database(error)


async def _on_archive(_: Request, error: Exception) -> Response:
    assert isinstance(error, ArchiveError)  # noqa: S101
    log.warning("request refused", action="archive.unreadable", error=str(error))
    problem = ProblemError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "archive-unavailable",
        f"readings of this time are archived, and can't be read now: {error}",
        headers={"Retry-After": "30"},
    )
    return answer_with(problem.problem, problem.headers)


async def _on_unicode(_: Request, __: Exception) -> Response:
    return answer_with(bad_value("request", "a text holds half of a character pair; send valid UTF-8").problem)


async def _on_defect(request: Request, _: Exception) -> Response:
    # The traceback is logged by the server, to which Starlette hands the error after this answer.
    log.error("a defect", action="request.defect", path=request.url.path)
    problem = ProblemError(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "defect",
        "something is wrong in Afkobling itself; please report it with the server's log of this moment",
    )
    return answer_with(problem.problem)
