"""Advisory locks of the database: part of the contract between all who write to it."""

from __future__ import annotations

ROLLUP_GATE = 0x41464B_01
"""Shared by every transaction that writes readings, exclusive while the roll-up moves `closed_to`."""
ROLLUP_TURN = 0x41464B_02
"""One roll-up at a time: whoever holds it is alone with consumption, events and `pending`."""
ARCHIVE_GATE = 0x41464B_04
"""Shared by whoever reads readings from the table and the archive, exclusive while some move between the two.

Whoever needs it and the roll-up's gate takes this one first.
"""
ARCHIVE_TURN = 0x41464B_05
"""Held by the session of whoever moves readings into the archive or out of it: one at a time."""
IMPORT_TURN = 0x41464B_06
"""With a number made of its epoch: held by the session of whoever imports a file, one process a file."""
BROKER_LIST_LOCK = 0x41464B_07
"""Shared by whoever issues a certificate, exclusive while the broker is brought to what the database says."""
