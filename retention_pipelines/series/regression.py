"""Straight lines through points: ordinary least squares with its p value, and Theil-Sen.

What belongs here: numbers in, numbers out. What does not: which points (`trend.py`).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

Points = NDArray[np.float64]
_PAIRS_AT_ONCE = 4_000_000


@dataclass(frozen=True, kw_only=True)
class Lines:
    """Least-squares lines, one element per group of points."""

    slope: Points
    stderr: Points
    p_value: Points
    r2: Points


def least_squares(x: Points, y: Points, starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> Lines:
    """A line per group; group i is the `sizes[i]` points from `starts[i]`, at least 3 and not all at one x.

    Centered sums, so years around 2000 lose no digits. A group whose y are all equal has slope 0, r2 0 and p 1.
    """

    def total(values: Points) -> Points:
        return np.asarray(np.add.reduceat(values, starts), dtype=np.float64)

    dx = x - np.repeat(total(x) / sizes, sizes)
    dy = y - np.repeat(total(y) / sizes, sizes)
    flat = np.maximum.reduceat(y, starts) == np.minimum.reduceat(y, starts)
    dy[np.repeat(flat, sizes)] = 0.0
    sxx, sxy, syy = total(dx * dx), total(dx * dy), total(dy * dy)
    slope = sxy / sxx
    residual = total((dy - np.repeat(slope, sizes) * dx) ** 2)
    freedom = sizes - 2
    stderr = np.sqrt(residual / freedom / sxx)
    with np.errstate(divide="ignore", invalid="ignore"):
        r2 = np.where(flat, 0.0, np.clip(sxy / sxx * sxy / syy, 0.0, 1.0))
        t = np.abs(slope) / stderr
    p_value = np.where(flat, 1.0, 2.0 * stdtr(freedom.astype(np.float64), -t))
    return Lines(slope=slope, stderr=stderr, p_value=p_value, r2=r2)


def theil_sen(x: Points, y: Points, starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> Points:
    """Median slope over all pairs of points of each group; x strictly increasing within a group."""
    slopes = np.empty(len(starts))
    for size in np.unique(sizes):
        first, second = np.triu_indices(size, 1)
        groups = np.flatnonzero(sizes == size)
        # Groups of one size at a time, as many as fit into about 32 MB of pairs.
        step = max(_PAIRS_AT_ONCE // len(first), 1)
        for some in (groups[i : i + step] for i in range(0, len(groups), step)):
            points = starts[some][:, None] + np.arange(size)
            pairs = y[points[:, second]] - y[points[:, first]]
            pairs /= x[points[:, second]] - x[points[:, first]]
            slopes[some] = np.median(pairs, axis=1, overwrite_input=True)
    return slopes
