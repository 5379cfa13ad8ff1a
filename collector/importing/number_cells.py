"""A column of numbers, as text or typed: what `schemas.cells.parse_number` says, much faster."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from collector.importing.clock import Flags
from schemas.cells import groups_of_three, parse_number, signs_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """Where not `is_good` there is no number: because the cell `is_blank`, or for what is wrong with it."""

    value: NDArray[np.float64]
    is_good: Flags
    is_blank: Flags


def parse_numbers(cells: pa.Array, decimal: str, thousands: str | None) -> Numbers:
    """All numbers of a column."""
    kind = cells.type
    if pa.types.is_boolean(kind) or pa.types.is_null(kind):
        nothing = np.zeros(len(cells), dtype=np.bool_)
        return Numbers(value=np.zeros(len(cells)), is_good=nothing, is_blank=~nothing)
    if not pa.types.is_string(kind):
        return _finite(cells.cast(pa.float64(), safe=False), cells.is_null().to_numpy(zero_copy_only=False))
    if decimal == "." and thousands is None:
        try:
            # Nearly all columns: nothing in them but numbers.
            found = cells.cast(pa.float64())
        except pa.ArrowInvalid:
            pass
        else:
            if np.isfinite(value := found.fill_null(np.nan).to_numpy()).all():
                everything = np.ones(len(cells), dtype=np.bool_)
                return Numbers(value=value, is_good=everything, is_blank=~everything)
    return _text(cells, decimal, thousands)


def why_not(cell: object, decimal: str, thousands: str | None) -> str:
    """What is wrong with a cell that holds no number."""
    try:
        parse_number(cell, decimal, thousands)
    except ValueError as error:
        return str(error)
    return f"{str(cell)!r} is not a number"


def _text(cells: pa.Array, decimal: str, thousands: str | None) -> Numbers:
    trimmed = pc.utf8_trim_whitespace(cells)
    is_blank = pc.equal(trimmed, "").fill_null(True).to_numpy(zero_copy_only=False)
    sign = "[.]" if decimal == "." else ","
    is_plain = pc.match_substring_regex(trimmed, rf"^[+-]?([0-9]+{sign}?[0-9]*|{sign}[0-9]+)([eE][+-]?[0-9]{{1,4}})?$")
    plain = trimmed
    if thousands is not None:
        is_plain = pc.or_(
            is_plain, pc.match_substring_regex(trimmed, f"^(?:{groups_of_three(decimal, thousands).pattern})$")
        )
        for one in signs_of(thousands):
            plain = pc.replace_substring(plain, one, "")
    if decimal != ".":
        plain = pc.replace_substring(plain, decimal, ".")
    found = _finite(pc.if_else(is_plain, plain, None).cast(pa.float64()), is_blank)
    left = np.flatnonzero(~found.is_good & ~is_blank)
    return _with_the_rest(found, left, cells, decimal, thousands) if len(left) else found


def _with_the_rest(
    found: Numbers, left: NDArray[np.intp], cells: pa.Array, decimal: str, thousands: str | None
) -> Numbers:
    """What is not plainly a number may be one to Python; each text is tried once."""
    encoded = cells.take(pa.array(left)).dictionary_encode()
    told = np.full(len(encoded.dictionary), np.nan)
    for i, text in enumerate(encoded.dictionary.to_pylist()):
        try:
            told[i] = parse_number(text, decimal, thousands)
        except ValueError:
            continue
    value, is_good = found.value.copy(), found.is_good.copy()
    value[left] = told[encoded.indices.to_numpy()]
    is_good[left] = np.isfinite(value[left])
    return Numbers(value=value, is_good=is_good, is_blank=found.is_blank)


def _finite(cells: pa.Array, is_blank: Flags) -> Numbers:
    value = cells.fill_null(np.nan).to_numpy(zero_copy_only=False)
    return Numbers(value=value, is_good=np.isfinite(value), is_blank=is_blank)
