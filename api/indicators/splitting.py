"""Whole numbers divided by weights, so that the parts add up to the whole to the last digit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

MAX_WEIGHT_SUM = 2**31 - 1
"""Weights of one split may sum to this, so that a product of two of them still fits 64 bits."""


def cut(amount: Ints, *, upto: Ints, of: Ints) -> Ints:
    """⌊amount · upto / of⌋ exactly, for 0 ≤ upto ≤ of ≤ MAX_WEIGHT_SUM and any amount, without overflow.

    The part of an amount between two marks of a scale is the difference of two cuts: cumulative rounding, whose
    parts sum to the amount because the last cut is the amount itself.
    """
    whole, rest = np.divmod(amount, of)
    cut_at: Ints = whole * upto + rest * upto // of
    return cut_at


def split(amount: Ints, weights: Ints) -> Ints:
    """Each amount, shape (n,), divided by its row of weights, shape (n, k); the result's rows sum to the amounts.

    Weights are not negative, and no row is all zero. Weights too large for exact work lose their last bits, which
    moves a part by less than one in a thousand million.
    """
    return split_at(amount, np.cumsum(fit(weights), axis=1))


def split_at(amount: Ints, upto: Ints) -> Ints:
    """The same for many amounts by one set of weights: `upto` are the running sums of fitted weights by row."""
    marks = cut(amount[:, None], upto=upto, of=upto[:, -1:])
    return np.diff(marks, axis=1, prepend=np.int64(0))


def fit(weights: Ints) -> Ints:
    """The same proportions by row, in numbers that sum to MAX_WEIGHT_SUM at most. Rows of zeros stay."""
    common = np.gcd.reduce(weights, axis=1, keepdims=True)
    reduced = weights // np.maximum(common, 1)
    # As floats: a sum of whole 64-bit numbers might not fit 64 bits.
    sums = reduced.astype(np.float64).sum(axis=1, keepdims=True)
    excess = np.ceil(np.log2(np.maximum(sums, 1.0) / 2**30)).clip(min=0).astype(np.int64)
    fitted: Ints = reduced >> excess
    return fitted
