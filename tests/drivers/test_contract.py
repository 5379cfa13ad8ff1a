"""Every driver keeps every promise, or there is a plain reason why it can't be asked to."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.drivers.contract import CHECKS, Check, DoesNotApplyError
from tests.drivers.rigs import RIGS, RigMissingError, load_rig


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
@pytest.mark.parametrize("name", RIGS)
async def test_contract(name: str, check: Check, tmp_path: Path) -> None:
    try:
        rig = load_rig(name)(tmp_path)
        await check.run(rig)
    except (RigMissingError, DoesNotApplyError) as reason:
        pytest.skip(str(reason))
