"""What whoever reads readings asks the database of the archive. Each belongs into the transaction that reads both.

First GATE, in a statement of its own: what a later statement then sees stays where it is until the transaction ends.
Then FILES and the table `reading`: every reading is in exactly one of the two.
"""

from __future__ import annotations

from typing import LiteralString

from schemas.locks import ARCHIVE_GATE

GATE: LiteralString = "SELECT pg_advisory_xact_lock_shared(%(gate)s)"
TRY_GATE: LiteralString = "SELECT pg_try_advisory_xact_lock_shared(%(gate)s)"
GATE_KEY = {"gate": ARCHIVE_GATE}
FILES: LiteralString = """
    SELECT p.url, f.site_id, f.path, f.readings, (extract(epoch FROM f.first_at) * 1000000)::int8 AS first_us,
           (extract(epoch FROM f.last_at) * 1000000)::int8 AS last_us, f.footer_sha256
    FROM archive_file AS f CROSS JOIN archive_progress AS p
    WHERE f.restored_at IS NULL
      AND f.last_at >= timestamptz 'epoch' + %(from_us)s::int8 * interval '1 microsecond'
      AND f.first_at < timestamptz 'epoch' + %(to_us)s::int8 * interval '1 microsecond'
      AND (%(meters)s::int4[] IS NULL
           OR f.site_id IN (SELECT m.site_id FROM meter AS m WHERE m.id = ANY (%(meters)s)))
    ORDER BY f.first_at, f.id
"""
"""Files that may hold something of [from_us, to_us) (Unix microseconds), of all meters or of some, the oldest first."""
SITES: LiteralString = "SELECT id, site_id FROM meter WHERE id = ANY (%(meters)s)"
