"""The probability of success when the effect itself is uncertain: power averaged over a normal distribution.

O'Hagan, A., Stevens, J. W. and Campbell, M. J. (2005). Assurance in clinical trial design.
Pharmaceutical Statistics 4, 187-201.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtr, ndtri

from trialml.design.group_sequential import Design
from trialml.design.refusals import require_alpha, require_finite, require_positive
from trialml.design.sample_size import information_per_event

__all__ = ["assurance", "assurance_of", "power_of"]


def assurance(
    events: float, log_hazard_ratio: float, se: float, *, alpha: float, allocation_ratio: float = 1.0
) -> float:
    """Return the assurance of a fixed design, in closed form.

    With information ``I = events * p (1 - p)`` and the log hazard ratio normal with mean m and standard deviation
    s: ``Phi((-m sqrt(I) - z_alpha) / sqrt(1 + s**2 I))``. Success is rejection in favour of the experimental arm.

    Parameters
    ----------
    events
        Events at the analysis, both arms together.
    log_hazard_ratio, se
        Mean and standard deviation of what is believed of the log hazard ratio, experimental to control; se 0
        gives the power.
    alpha
        One-sided significance level.
    allocation_ratio
        Experimental to control.

    Returns
    -------
    float
        A probability.

    Raises
    ------
    AnalysisError
        If a number is outside its range.

    References
    ----------
    O'Hagan, A., Stevens, J. W. and Campbell, M. J. (2005). Assurance in clinical trial design.
    Pharmaceutical Statistics 4, 187-201.
    """
    information = require_positive("events", events) * information_per_event(allocation_ratio)
    mean = require_finite("the log hazard ratio", log_hazard_ratio)
    spread = require_positive("the standard error of the log hazard ratio", se, zero=True)
    z = -ndtri(require_alpha(alpha))
    return float(ndtr((-mean * math.sqrt(information) - z) / math.sqrt(1 + spread**2 * information)))


def power_of(design: Design, events: float, log_hazard_ratio: float) -> float:
    """Return the power of a design with so many events at its end, under one log hazard ratio.

    Raises
    ------
    AnalysisError
        If a number is outside its range.
    """
    return assurance_of(design, events, log_hazard_ratio, 0.0)


def assurance_of(design: Design, events: float, mean: float, se: float) -> float:
    """Return the assurance of a design with one or more looks.

    A fixed design has the closed form of `assurance`; otherwise the power is integrated over the normal
    distribution by composite Gauss-Legendre quadrature (absolute error below 1e-10).

    Parameters
    ----------
    design
        The rules.
    events
        Events at the final analysis, both arms together.
    mean, se
        Mean and standard deviation of what is believed of the log hazard ratio, experimental to control.

    Returns
    -------
    float
        A probability.

    Raises
    ------
    AnalysisError
        If a number is outside its range.
    """
    if design.looks == 1:
        return assurance(events, mean, se, alpha=design.alpha, allocation_ratio=design.allocation_ratio)
    root = math.sqrt(require_positive("events", events) * information_per_event(design.allocation_ratio))
    centre = require_finite("the log hazard ratio", mean)
    spread = require_positive("the standard error of the log hazard ratio", se, zero=True)
    if spread == 0:
        return float(design.exit_probabilities(-centre * root).sum())
    # Beyond 9 standard deviations lies less than 1e-18; the power turns within one unit of drift, so panels of
    # 1.5 units and of 1.5 standard deviations resolve both.
    panels = math.ceil(18 * max(spread * root, 1.0) / 1.5)
    base, weights = np.polynomial.legendre.leggauss(12)
    edges = np.linspace(-9.0, 9.0, panels + 1)
    half = np.diff(edges)[:, None] / 2
    u = ((edges[:-1, None] + edges[1:, None]) / 2 + half * base).ravel()
    density = np.exp(-u * u / 2) / math.sqrt(2 * math.pi) * (half * weights).ravel()
    power = design.exit_probabilities(-(centre + spread * u) * root).sum(axis=1)
    return float(min(max(density @ power, 0.0), 1.0))
