"""The logistic working model: maximum likelihood by statsmodels, refused where it has no finite answer."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trialml.errors import AnalysisError

__all__ = ["LogisticArrays", "logistic_fit"]

Floats = NDArray[np.float64]


class LogisticArrays(NamedTuple):
    """A fitted logistic model.

    Attributes
    ----------
    coefficients
        Log odds ratios, the intercept first, shape (k,).
    covariance
        Inverse of the information ``X' diag(p (1 - p)) X``, shape (k, k).
    deviance, null_deviance
        Twice the negative log-likelihood, of the model and of the intercept alone; the difference of the deviances of
        two nested models is their likelihood-ratio statistic.
    """

    coefficients: Floats
    covariance: Floats
    deviance: float
    null_deviance: float

    def risk(self, at: Floats) -> Floats:
        """Return the predicted probability of the event, shape (m,), for rows of a design matrix, shape (m, k)."""
        return np.asarray(1 / (1 + np.exp(-(at @ self.coefficients))))


def logistic_fit(X: Floats, y: Floats, names: tuple[str, ...], where: str = "all patients") -> LogisticArrays:
    """Fit a logistic regression by maximum likelihood.

    Parameters
    ----------
    X
        Design matrix, shape (n, k), its first column the intercept.
    y
        1 where the event happened, 0 elsewhere, shape (n,).
    names
        Of the columns after the first.
    where
        Whose data these are, for the message.

    Returns
    -------
    LogisticArrays
        By iterated weighted least squares until the deviance changes by less than 1e-13.

    Raises
    ------
    AnalysisError
        If covariates separate events from the rest, so that the likelihood has no maximum.

    References
    ----------
    McCullagh P, Nelder JA. Generalized linear models. 2nd ed. Chapman and Hall, 1989, chapter 4.
    """
    from statsmodels.genmod.families import Binomial
    from statsmodels.genmod.generalized_linear_model import GLM

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        fit = GLM(y, X, family=Binomial()).fit(tol=1e-13, maxiter=100)
    # Where a combination of covariates separates, the likelihood rises until the linear predictor overflows.
    if not fit.converged or not np.isfinite(fit.params).all() or np.abs(X @ fit.params).max() > 25:
        place = int(np.argmax(np.abs(fit.params[1 : len(names) + 1])))
        raise AnalysisError(
            f"the covariates separate events from the rest in {where} ('{names[place]}' moved furthest), so the logistic model has no "
            "finite answer: adjust for fewer covariates"
        )
    return LogisticArrays(
        np.asarray(fit.params), np.asarray(fit.cov_params()), float(fit.deviance), float(fit.null_deviance)
    )
