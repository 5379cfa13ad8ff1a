"""Each case through the running system. `make cases` shows the same as a table."""

from __future__ import annotations

import pytest

from tests.cases.case import case_names, load_case
from tests.cases.play import play
from tests.cases.system import organisation_name, running_system

pytestmark = pytest.mark.stack


@pytest.mark.parametrize("name", case_names())
def test_case(name: str, database_url: str, broker_url: str) -> None:
    case = load_case(name)
    model = case.site_model(organisation_name())
    with running_system(database_url=database_url, broker_url=broker_url, model=model) as system:
        lines = list(play(case, system))
    differing = [
        f"{line.step}: {line.figure}: expected\n{line.expected}\ngot\n{line.got}" for line in lines if not line.is_ok
    ]
    assert not differing, "\n\n".join(differing)
    assert {line.step for line in lines} == {step.what for step in case.steps}
