"""Restricted cubic splines: smooth between the knots, straight beyond the outer ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from trialml.errors import DataError
from trialml.survival.ties import Array

__all__ = ["restricted_cubic", "spline_knots"]

PLACES = {3: (0.1, 0.5, 0.9), 4: (0.05, 0.35, 0.65, 0.95), 5: (0.05, 0.275, 0.5, 0.725, 0.95)}


def spline_knots(values: Any, knots: int = 4) -> Array:
    """Return where Harrell places the knots: at fixed quantiles of the values.

    Parameters
    ----------
    values
        Shape ``(n,)``.
    knots
        3, 4 or 5.

    Returns
    -------
    ndarray
        Ascending; fewer than `knots`, but no spline with fewer than 3, where quantiles coincide.

    Raises
    ------
    DataError
        If `knots` is another number.

    References
    ----------
    Harrell FE. Regression modeling strategies. 2nd ed. Springer, 2015, section 2.4.6.
    """
    if knots not in PLACES:
        raise DataError(f"knots is {knots}, but it must be 3, 4 or 5")
    return np.unique(np.quantile(np.asarray(values, dtype=float), PLACES[knots]))


def restricted_cubic(values: Any, knots: Any) -> Array:
    """Return the value and the spline's cubic columns, scaled by the squared distance of the outer knots.

    Parameters
    ----------
    values
        Shape ``(n,)``.
    knots
        Ascending, shape ``(k,)``; with fewer than 3 the only column is the value itself.

    Returns
    -------
    ndarray of shape ``(n, max(k - 1, 1))``
        As R's ``rms::rcspline.eval(values, knots, inclx = TRUE)``.

    References
    ----------
    Stone CJ, Koo CY. Additive splines in statistics. Proc Stat Comp Sect Am Stat Assoc 1985:45-48.
    """
    x, k = np.asarray(values, dtype=float), np.asarray(knots, dtype=float)
    columns = [x]
    if k.size >= 3:
        last, before = k[-1], k[-2]
        cube = [np.maximum(x - knot, 0.0) ** 3 for knot in k]
        for j in range(k.size - 2):
            bent = cube[j] - (cube[-2] * (last - k[j]) - cube[-1] * (before - k[j])) / (last - before)
            columns.append(bent / (last - k[0]) ** 2)
    return np.stack(columns, axis=1)
