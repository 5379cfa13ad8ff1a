"""From converted pieces to messages as agents send them, one an agent, so that every rule of ingest holds for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from collector.decode import ReadingsMessage
from collector.importing.conversion import Converted
from collector.importing.meters import FoundMeter
from schemas.resources import Quality
from schemas.topics import AgentAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMessage:
    """A message, and the row of the file that each of its readings stands in."""

    message: ReadingsMessage
    row: NDArray[np.int64]


class Messages:
    """Makes the messages of one file. Every agent gets one a piece, be it empty, so that its ledger has no holes."""

    def __init__(self, meters: Sequence[FoundMeter], *, epoch: str, sent_at: int) -> None:
        self._meters = meters
        self._epoch = epoch
        self._sent_at = sent_at
        self._addresses: list[AgentAddress] = sorted({meter.address for meter in meters}, key=str)
        place = {address: i for i, address in enumerate(self._addresses)}
        self._agent = np.array([place[meter.address] for meter in meters], dtype=np.int32)

    def of_piece(self, seq: int, piece: Converted) -> list[FileMessage]:
        """The messages of the piece with that number, from 1."""
        if len(self._addresses) == 1:
            return [self._message(self._addresses[0], seq, piece, slice(None))]
        agent = self._agent[piece.meter]
        return [
            self._message(address, seq, piece, np.flatnonzero(agent == i)) for i, address in enumerate(self._addresses)
        ]

    def _message(
        self, address: AgentAddress, seq: int, piece: Converted, rows: slice | NDArray[np.intp]
    ) -> FileMessage:
        meter, unit = piece.meter[rows], piece.unit[rows]
        if len(piece.units) == 0:
            pairs, entry = np.unique(meter, return_inverse=True)
            meters = [self._meters[i].key for i in pairs.tolist()]
            units = [self._meters[i].unit for i in pairs.tolist()]
        else:
            # A meter may be told in several units, of which one is right.
            width = len(piece.units) + 1
            pairs, entry = np.unique(meter.astype(np.int64) * width + unit + 1, return_inverse=True)
            told = [divmod(pair, width) for pair in pairs.tolist()]
            meters = [self._meters[i].key for i, _ in told]
            units = [piece.units[u - 1] if u else self._meters[i].unit for i, u in told]
        message = ReadingsMessage(
            address=address,
            epoch=self._epoch,
            seq=seq,
            sent_at=self._sent_at,
            meters=meters,
            units=units,
            meter=entry.astype(np.int32),
            at=piece.at[rows],
            value=piece.value[rows],
            quality=np.full(len(meter), Quality.GOOD, dtype=np.int16),
        )
        return FileMessage(message=message, row=piece.row[rows])
