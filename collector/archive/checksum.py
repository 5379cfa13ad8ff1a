"""One number for any set of readings, the same in the database and here. Pure.

A reading's hash is PostgreSQL's `hashfloat8extended` of its value, seeded with that of its instant, seeded with meter
and quality; a set's checksum is the exclusive or of its readings' hashes, so their order does not matter. (Meter and
instant are a key, so no reading stands twice and cancels itself out.) The database computes it from its own rows by
itself: SAME_HASH says how. The hash is Bob Jenkins' lookup3 (public domain, https://burtleburtle.net/bob/c/lookup3.c)
of the float's eight bytes; that a server computes it like this is tested before anything is archived.
"""

from __future__ import annotations

from typing import Any, LiteralString

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

HASH: LiteralString = """
    hashfloat8extended(value, hashfloat8extended(date_part('epoch', at), meter_id::int8 * 65536 + quality))
"""
PROBE: LiteralString = """
    SELECT hashfloat8extended(value, hashfloat8extended(date_part('epoch', at), meter_id::int8 * 65536 + quality))
    FROM (VALUES (1, timestamptz '2026-03-01 00:00:00.123456Z', float8 '10234.5', int2 '0'),
                 (2147483647, '1969-12-31 23:59:59.5Z', '-0.25', '-3'),
                 (17, '1970-01-01 00:00:00Z', '0', '7')) AS reading(meter_id, at, value, quality)
"""
_EIGHT_BYTES = 0x9E3779B9 + 8 + 3923095
_MASK = np.uint64(0xFFFFFFFF)


def hash_readings(
    meter_id: NDArray[Any], at_us: NDArray[np.int64], value: NDArray[np.float64], quality: NDArray[Any]
) -> Hashes:
    """The hash of each reading; `at_us` is Unix microseconds."""
    seed = (meter_id.astype(np.int64) * 65536 + quality).view(np.uint64)
    return _hash_floats(value, _hash_floats(at_us / 1e6, seed))


def probe_hashes() -> list[int]:
    """What PROBE gives where the server's hash is the same as ours."""
    hashes = hash_readings(
        np.array([1, 2147483647, 17]),
        np.array([1_772_323_200_123_456, -500_000, 0]),
        np.array([10234.5, -0.25, 0.0]),
        np.array([0, -3, 7]),
    )
    return [int(found) for found in hashes.view(np.int64)]


def _hash_floats(values: NDArray[np.float64], seed: Hashes) -> Hashes:
    """PostgreSQL's hashfloat8extended, element by element, on a little-endian server."""
    words = np.ascontiguousarray(values, dtype="<f8").view("<u4").reshape(-1, 2)
    a = np.full(len(values), _EIGHT_BYTES & 0xFFFFFFFF, dtype=np.uint32)
    b, c = a.copy(), a.copy()
    a += (seed >> np.uint64(32)).astype(np.uint32)
    b += (seed & _MASK).astype(np.uint32)
    _mix(a, b, c)
    unseeded = seed == 0
    for word in (a, b, c):
        word[unseeded] = _EIGHT_BYTES & 0xFFFFFFFF
    a += words[:, 0]
    b += words[:, 1]
    _finish(a, b, c)
    found = (b.astype(np.uint64) << np.uint64(32)) | c
    # Zero of either sign hashes to the seed.
    return np.where(values == 0, seed, found)


def _mix(a: NDArray[np.uint32], b: NDArray[np.uint32], c: NDArray[np.uint32]) -> None:
    for x, y, z, bits in ((a, c, b, 4), (b, a, c, 6), (c, b, a, 8), (a, c, b, 16), (b, a, c, 19), (c, b, a, 4)):
        np.subtract(x, y, out=x)
        np.bitwise_xor(x, _turn(y, bits), out=x)
        np.add(y, z, out=y)


def _finish(a: NDArray[np.uint32], b: NDArray[np.uint32], c: NDArray[np.uint32]) -> None:
    for x, y, bits in ((c, b, 14), (a, c, 11), (b, a, 25), (c, b, 16), (a, c, 4), (b, a, 14), (c, b, 24)):
        np.bitwise_xor(x, y, out=x)
        np.subtract(x, _turn(y, bits), out=x)


def _turn(word: NDArray[np.uint32], bits: int) -> NDArray[np.uint32]:
    return (word << np.uint32(bits)) | (word >> np.uint32(32 - bits))
