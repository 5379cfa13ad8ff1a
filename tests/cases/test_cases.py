"""Each case through the running system. `make cases` shows the same as a table."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deploy.bench.scratch import scratch_database
from tests.cases.case import case_names, load_case
from tests.cases.play import play
from tests.cases.system import System, running_system
from tests.conftest import Servers

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def system(stack: Servers) -> Iterator[System]:
    with (
        scratch_database(stack.database_url) as database_url,
        running_system(database_url=database_url, broker_url=stack.broker_url) as running,
    ):
        yield running


@pytest.mark.parametrize("name", case_names())
def test_case(name: str, system: System) -> None:
    case = load_case(name)
    lines = list(play(case, system))
    differing = [
        f"{line.step}: {line.figure}: expected\n{line.expected}\ngot\n{line.got}" for line in lines if not line.is_ok
    ]
    assert not differing, "\n\n".join(differing)
    assert {line.step for line in lines} == {step.what for step in case.steps}
