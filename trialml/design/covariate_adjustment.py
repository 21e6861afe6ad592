"""What baseline covariates save when the analysis of the next trial is adjusted for them."""

from __future__ import annotations

from trialml.design.refusals import require_finite, require_positive
from trialml.errors import AnalysisError

__all__ = ["adjusted_size"]


def adjusted_size(size: float, r_squared: float) -> float:
    """Return events or patients that an adjusted analysis needs where the unadjusted one needs `size`.

    Both need the same information and adjustment multiplies the variance by ``1 - R^2``, so the size shrinks by that.
    For a mean or a rate, R^2 is the share of the outcome's variance within arms that covariates explain. For the
    log-rank test it is the share of the variance of its influence function (the martingale-type score of each
    patient), and multiplies the events, or the patients at the same follow-up; the effect stays the marginal one.

    Parameters
    ----------
    size
        Events or patients without adjustment.
    r_squared
        0 or more and below 1. An estimate from data that chose the covariates is too high: give a cross-validated one.

    Returns
    -------
    float
        Not rounded.

    Raises
    ------
    AnalysisError
        If a number is outside its range.

    References
    ----------
    Lu, X. and Tsiatis, A. A. (2008). Improving the efficiency of the log-rank test using auxiliary covariates.
    Biometrika 95, 679-694.
    Borm, G. F., Fransen, J. and Lemmens, W. A. J. G. (2007). A simple sample size formula for analysis of covariance in
    randomized clinical trials. Journal of Clinical Epidemiology 60, 1234-1238.
    """
    share = require_finite("R^2 of the covariates", r_squared)
    if not 0 <= share < 1:
        raise AnalysisError(f"R^2 of the covariates is {share:g}: give a share of at least 0 and below 1")
    return require_positive("the size without adjustment", size) * (1 - share)
