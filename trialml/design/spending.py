"""How much of the one-sided alpha has been spent when a fraction of the information is in.

Lan, K. K. G. and DeMets, D. L. (1983). Discrete sequential boundaries for clinical trials. Biometrika 70, 659-663.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

from scipy.special import ndtr, ndtri

from trialml.design.refusals import require_alpha, require_between

__all__ = ["SPENDING", "Spending", "lan_demets_obrien_fleming", "lan_demets_pocock"]

Spending = Literal["lan-demets-obrien-fleming", "lan-demets-pocock"]


def lan_demets_obrien_fleming(fraction: float, alpha: float) -> float:
    """Return the cumulative one-sided alpha of the O'Brien-Fleming-type spending function.

    Parameters
    ----------
    fraction
        Information fraction t, above 0 and at most 1.
    alpha
        One-sided significance level of the whole trial.

    Returns
    -------
    float
        ``2 * (1 - Phi(z / sqrt(t)))`` with z the normal quantile of ``1 - alpha / 2``.

    Raises
    ------
    AnalysisError
        If `fraction` or `alpha` is outside its range.
    """
    t = require_between("the information fraction", fraction, 0.0, 1.0, closed_high=True)
    return float(2 * ndtr(ndtri(require_alpha(alpha) / 2) / math.sqrt(t)))


def lan_demets_pocock(fraction: float, alpha: float) -> float:
    """Return the cumulative one-sided alpha of the Pocock-type spending function.

    Parameters
    ----------
    fraction
        Information fraction t, above 0 and at most 1.
    alpha
        One-sided significance level of the whole trial.

    Returns
    -------
    float
        ``alpha * log(1 + (e - 1) * t)``.

    Raises
    ------
    AnalysisError
        If `fraction` or `alpha` is outside its range.
    """
    t = require_between("the information fraction", fraction, 0.0, 1.0, closed_high=True)
    return require_alpha(alpha) * math.log1p((math.e - 1) * t)


SPENDING: Mapping[str, Callable[[float, float], float]] = MappingProxyType(
    {"lan-demets-obrien-fleming": lan_demets_obrien_fleming, "lan-demets-pocock": lan_demets_pocock}
)
"""The spending functions by the name that a `Design` gives them."""
