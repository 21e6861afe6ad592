"""Closed forms of what two correlated tests reject: the stratum's and that of all comers."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

__all__ = ["both_above"]

Vector = NDArray[np.float64]

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(32)


def both_above(first: ArrayLike, second: ArrayLike, correlation: ArrayLike) -> Vector:
    """Return the probability that two standard normal variables exceed two bounds.

    Parameters
    ----------
    first, second
        The bounds.
    correlation
        From 0 to below 1; broadcast with the bounds.

    Returns
    -------
    ndarray
        Plackett's integral over the angle from 0 to ``arcsin(correlation)``, by 32 Gauss-Legendre nodes.

    References
    ----------
    Drezner, Z. and Wesolowsky, G. O. (1990). On the computation of the bivariate normal integral. Journal of Statistical
    Computation and Simulation 35, 101-107.
    """
    h, k, r = np.broadcast_arrays(*(np.asarray(one, dtype=np.float64) for one in (first, second, correlation)))
    angle = np.arcsin(r)
    total = np.zeros(h.shape)
    for node, weight in zip(_NODES, _WEIGHTS, strict=True):
        theta = angle * (1 + node) / 2
        sine, cosine = np.sin(theta), np.cos(theta)
        total += weight * np.exp(-(h * h + k * k - 2 * h * k * sine) / (2 * cosine * cosine))
    return np.asarray(ndtr(-h) * ndtr(-k) + total * angle / (4 * np.pi))
