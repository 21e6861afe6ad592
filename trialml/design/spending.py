"""How much of an error probability has been spent when a fraction of the information is in.

A spending function is written for the one-sided alpha of efficacy bounds; futility bounds spend 1 - power, or a
probability without effect, by the same formulas.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import MappingProxyType
from typing import Literal

from scipy.special import ndtr, ndtri

from trialml.design.refusals import require_alpha, require_between, require_finite
from trialml.errors import AnalysisError

__all__ = [
    "FUNCTIONS",
    "Spending",
    "SpendingFunction",
    "hwang_shih_decani",
    "kim_demets",
    "lan_demets_obrien_fleming",
    "lan_demets_pocock",
    "spending_function",
]

Spending = Literal[
    "obrien-fleming",
    "pocock",
    "wang-tsiatis",
    "haybittle-peto",
    "lan-demets-obrien-fleming",
    "lan-demets-pocock",
    "hwang-shih-decani",
    "kim-demets",
    "user",
]
SpendingFunction = Literal["lan-demets-obrien-fleming", "lan-demets-pocock", "hwang-shih-decani", "kim-demets"]

_STEEPEST = 40.0


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

    References
    ----------
    Lan, K. K. G. and DeMets, D. L. (1983). Discrete sequential boundaries for clinical trials. Biometrika 70, 659-663.
    """
    return _lan_demets_obrien_fleming(_fraction(fraction), require_alpha(alpha))


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

    References
    ----------
    Lan, K. K. G. and DeMets, D. L. (1983). Discrete sequential boundaries for clinical trials. Biometrika 70, 659-663.
    """
    return _lan_demets_pocock(_fraction(fraction), require_alpha(alpha))


def hwang_shih_decani(fraction: float, alpha: float, gamma: float) -> float:
    """Return the cumulative one-sided alpha of the gamma family.

    Parameters
    ----------
    fraction
        Information fraction t, above 0 and at most 1.
    alpha
        One-sided significance level of the whole trial.
    gamma
        From -40 to 40. -4 is near O'Brien and Fleming's bounds, 1 near Pocock's, 0 spends in proportion to t.

    Returns
    -------
    float
        ``alpha * (1 - exp(-gamma * t)) / (1 - exp(-gamma))``, and ``alpha * t`` for gamma 0.

    Raises
    ------
    AnalysisError
        If a number is outside its range.

    References
    ----------
    Hwang, I. K., Shih, W. J. and DeCani, J. S. (1990). Group sequential designs using a family of type I error
    probability spending functions. Statistics in Medicine 9, 1439-1445.
    """
    return _hwang_shih_decani(_fraction(fraction), require_alpha(alpha), _gamma("gamma", gamma))


def kim_demets(fraction: float, alpha: float, rho: float) -> float:
    """Return the cumulative one-sided alpha of the power family.

    Parameters
    ----------
    fraction
        Information fraction t, above 0 and at most 1.
    alpha
        One-sided significance level of the whole trial.
    rho
        The power, above 0 and at most 40. 3 is near O'Brien and Fleming's bounds, 1 spends in proportion to t.

    Returns
    -------
    float
        ``alpha * t ** rho``.

    Raises
    ------
    AnalysisError
        If a number is outside its range.

    References
    ----------
    Kim, K. and DeMets, D. L. (1987). Design and analysis of group sequential tests based on the type I error spending
    rate function. Biometrika 74, 149-154.
    """
    return _kim_demets(_fraction(fraction), require_alpha(alpha), _rho("rho", rho))


def _fraction(fraction: float) -> float:
    return require_between("the information fraction", fraction, 0.0, 1.0, closed_high=True)


def _lan_demets_obrien_fleming(t: float, total: float) -> float:
    return float(2 * ndtr(ndtri(total / 2) / math.sqrt(t)))


def _lan_demets_pocock(t: float, total: float) -> float:
    return total * math.log1p((math.e - 1) * t)


def _hwang_shih_decani(t: float, total: float, gamma: float) -> float:
    return total * t if gamma == 0 else total * math.expm1(-gamma * t) / math.expm1(-gamma)


def _kim_demets(t: float, total: float, rho: float) -> float:
    return float(total * t**rho)


def _gamma(name: str, value: float) -> float:
    number = require_finite(name, value)
    if abs(number) > _STEEPEST:
        raise AnalysisError(f"{name} of the Hwang-Shih-DeCani spending is {number:g}: give a number from -40 to 40")
    return number


def _rho(name: str, value: float) -> float:
    return require_between(f"{name} of the Kim-DeMets spending", value, 0.0, _STEEPEST, closed_high=True)


_PLAIN = MappingProxyType(
    {"lan-demets-obrien-fleming": _lan_demets_obrien_fleming, "lan-demets-pocock": _lan_demets_pocock}
)
_WITH_PARAMETER = MappingProxyType(
    {"hwang-shih-decani": (_hwang_shih_decani, _gamma), "kim-demets": (_kim_demets, _rho)}
)
FUNCTIONS = (*_PLAIN, *_WITH_PARAMETER)
"""The names of the spending functions."""


def spending_function(name: str, parameter: float | None, field: str) -> Callable[[float, float], float]:
    """Return the function of information fraction and total that a name and its parameter stand for.

    Parameters
    ----------
    name
        One of `FUNCTIONS`.
    parameter
        Gamma of Hwang, Shih and DeCani or rho of Kim and DeMets; None for the two of Lan and DeMets.
    field
        What the caller calls the parameter, for an error's sentence.

    Returns
    -------
    callable
        ``spent(fraction, total)``, the probability spent of `total`, which is any between 0 and 1.

    Raises
    ------
    AnalysisError
        If the parameter is missing, superfluous or outside its range.
    """
    if name in _PLAIN:
        if parameter is not None:
            raise AnalysisError(f"{field} is {parameter!r}, but {name} has no parameter: leave it out")
        return _PLAIN[name]
    formula, checked = _WITH_PARAMETER[name]
    if parameter is None:
        example = "-4" if name == "hwang-shih-decani" else "3"
        raise AnalysisError(f"{field} is missing, which {name} needs: give a number, for example {example}")
    value = checked(field, parameter)
    return lambda fraction, total: formula(fraction, total, value)
