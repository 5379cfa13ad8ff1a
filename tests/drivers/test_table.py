"""`make drivers`: what the table says of a good driver, of a broken one, and where a library is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

import edge.drivers
from edge.drivers import DriverKind
from edge.drivers.contract import CHECKS
from tests.drivers import __main__ as table
from tests.drivers.rigs import RIGS, RigMissingError, load_rig
from tests.drivers.source import DeviceRig, PollingDriver, PollSettings
from tests.drivers.test_checks_can_fail import OffersTwice


@pytest.fixture
def _three(monkeypatch: pytest.MonkeyPatch) -> None:
    """A good one, a broken one, and one that can't be tried here. Of all checks two, as they are tried elsewhere."""

    def make(name: str) -> type[DeviceRig]:
        if name == "far":
            raise RigMissingError("needs a_library, which is not installed")
        driver = {"good": PollingDriver, "broken": OffersTwice}[name]

        class Rig(DeviceRig):
            def __init__(self, folder: Path) -> None:
                super().__init__(folder)
                kind = DriverKind(settings=PollSettings, create=type("Tried", (driver,), {"device": self.device}))
                monkeypatch.setitem(edge.drivers._DRIVERS, "tried", lambda: kind)

        return Rig

    monkeypatch.setattr(table, "RIGS", {"good": "", "broken": "", "far": ""})
    monkeypatch.setattr(table, "load_rig", make)
    monkeypatch.setattr(table, "CHECKS", [check for check in CHECKS if check.name in {"offers", "not kept"}])


@pytest.mark.usefixtures("_three")
def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert table.main([]) == 1
    told = capsys.readouterr().out
    assert told.split("\n\n")[0] == (
        "driver  offers  not\n                kept\nbroken  FAILS   —1\nfar     —2      —2\ngood    ok      —1"
    )
    assert "—1     it does not ask to hear when its readings are kept" in told
    assert "—2     needs a_library, which is not installed" in told
    assert "FAILS  broken, offers (tells its meters before it starts): it offers a meter twice" in told
    assert "3 drivers, 2 checks: 1 ok, 1 fail" in told


@pytest.mark.usefixtures("_three")
def test_some_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert table.main(["good"]) == 0
    assert "1 drivers, 2 checks: 1 ok, 0 fail" in capsys.readouterr().out
    assert table.main(["nobody"]) == 2
    assert "there is no driver nobody; there are: good, broken, far" in capsys.readouterr().err


def test_every_driver_of_ours_has_a_rig() -> None:
    read = {name.partition(" ")[0] for name in RIGS}
    assert read == set(edge.drivers.built_in())


def test_a_library_that_is_missing_is_a_reason_and_one_of_ours_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for missing, error in (("a_library", RigMissingError), ("edge.nowhere", ModuleNotFoundError)):

        def fail(_name: str, missing: str = missing) -> None:
            raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

        monkeypatch.setattr("tests.drivers.rigs.import_module", fail)
        with pytest.raises(error, match=missing):
            load_rig("replay")
