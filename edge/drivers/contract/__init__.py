"""The suite that every driver passes, ours and those of others: one check a promise of `edge.drivers.Driver`.

A driver's tests give a `Rig`: the driver's settings, and a device that the checks can take away, silence or drive mad.
A device that doesn't exist will do, as long as it speaks over the real transport. With pytest-asyncio:

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
    async def test_contract(check: Check, tmp_path: Path) -> None:
        await check.run(MyRig(tmp_path))

No check measures time: what has to come about has a deadline far beyond what is usual, and what must not hold others up
is shown by their getting on meanwhile. docs/drivers.md has a whole example.
"""

from __future__ import annotations

from edge.drivers.contract.checks import CHECKS, Check
from edge.drivers.contract.rig import NAME, DoesNotApplyError, Rig, SaidAllError

__all__ = ["CHECKS", "NAME", "Check", "DoesNotApplyError", "Rig", "SaidAllError"]
