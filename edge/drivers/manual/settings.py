"""What edge.yaml says of dials that a person reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from edge.drivers import DriverSettings
from edge.drivers.quantity import Quantity
from schemas.durations import SpanMs
from schemas.topics import Key


class ManualSettings(DriverSettings):
    """`meters`: our meter key to what its dial shows; `scale` is `unit` per count of the dial.

    `spool`: the folder in which entries wait for the agent; left out: `<name>-entries`.
    """

    driver: Literal["manual"]
    meters: Annotated[dict[Key, Quantity], Field(min_length=1)]
    spool: Path | None = None
    every: SpanMs = 2_000

    def spool_in(self, folder: Path) -> Path:
        """The spool's folder, of an agent whose configuration lies in `folder`."""
        return folder / (self.spool or Path(f"{self.name}-entries"))
