"""What a failure of the database means to whoever asked."""

from __future__ import annotations

import json

import psycopg
import pytest
from psycopg import errors

from api.problems import of_database


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (errors.ReadOnlySqlTransaction(), "takes no changes now"),
        (errors.InFailedSqlTransaction(), "takes no changes now"),
        (errors.TooManyConnections(), "busy or restarting"),
        (errors.DiskFull(), "busy or restarting"),
        (errors.AdminShutdown(), "busy or restarting"),
        (errors.CannotConnectNow(), "busy or restarting"),
        (errors.QueryCanceled(), "took too long"),
        (errors.DeadlockDetected(), "went away"),
        (psycopg.OperationalError(), "went away"),
    ],
)
def test_what_passes_by_itself_is_503(error, words):
    found = of_database(error)
    assert (found.status_code, found.headers["retry-after"]) == (503, "5")
    assert words in json.loads(bytes(found.body))["detail"]


def test_a_value_that_can_not_be_stored_is_the_callers():
    assert of_database(errors.NumericValueOutOfRange()).status_code == 422


def test_a_defect_stays_one():
    with pytest.raises(errors.SyntaxError):
        of_database(errors.SyntaxError())
