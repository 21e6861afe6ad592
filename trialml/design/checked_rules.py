"""What the rules of a design are refused for: each sentence names the rule, the value seen and the remedy."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Any, get_args

from trialml.design.refusals import require_between, require_finite, require_positive
from trialml.design.spending import FUNCTIONS, Spending, spending_function
from trialml.errors import AnalysisError, nearest

__all__ = [
    "LEAST_GAP",
    "checked_fractions",
    "checked_futility",
    "checked_futility_alpha",
    "checked_sides",
    "checked_spending",
    "checked_user_alpha",
    "refuse_crossed",
]

LEAST_GAP = 1e-3
"""The least difference of information fractions of two looks."""

_USUAL_CONSTANT = 3.0
_NAMES = get_args(Spending)


def _sequence(name: str, values: Iterable[float], example: str) -> tuple[Any, ...]:
    try:
        return tuple(values)
    except TypeError:
        raise AnalysisError(f"{name} is {values!r}: give a sequence {example}") from None


def _shown(values: Iterable[float]) -> str:
    return ", ".join(f"{one:g}" for one in values)


def checked_fractions(fractions: Iterable[float]) -> tuple[float, ...]:
    """Return information fractions that increase to 1.

    Raises
    ------
    AnalysisError
        If they do not.
    """
    values = _sequence("information_fractions", fractions, "that ends in 1.0, for example (0.5, 1.0)")
    if not values:
        raise AnalysisError("information_fractions is empty: give at least (1.0,), the fixed design")
    checked = tuple(require_between("an information fraction", t, 0.0, 1.0, closed_high=True) for t in values)
    if any(later - earlier < LEAST_GAP for earlier, later in itertools.pairwise(checked)):
        raise AnalysisError(
            f"the information fractions {_shown(checked)} do not increase by at least {LEAST_GAP:g} from look to look: "
            "put them in order and merge looks that nearly coincide"
        )
    if checked[-1] != 1.0:
        raise AnalysisError(f"the information fractions {_shown(checked)} do not end in 1: add the final analysis")
    return checked


def checked_spending(name: str, parameter: float | None) -> float | None:
    """Return the parameter of a family of efficacy bounds, Haybittle and Peto's 3 where it is not given.

    Raises
    ------
    AnalysisError
        If the name is not known, or the parameter is missing, superfluous or outside its range.
    """
    if name not in _NAMES:
        raise AnalysisError(f"spending is {name!r}, which is not known: {nearest(str(name), _NAMES)}")
    if name in FUNCTIONS:
        spending_function(name, parameter, "spending_parameter")
        return None if parameter is None else float(parameter)
    if name == "haybittle-peto":
        what = "spending_parameter, the z at which an interim look of haybittle-peto rejects,"
        return require_positive(what, _USUAL_CONSTANT if parameter is None else parameter)
    if name == "wang-tsiatis":
        if parameter is None:
            raise AnalysisError(
                "spending_parameter is missing, which wang-tsiatis needs: give its exponent, from 0 (O'Brien-Fleming) "
                "to 0.5 (Pocock)"
            )
        number = require_finite("spending_parameter", parameter)
        if not -0.5 <= number <= 0.75:
            raise AnalysisError(f"spending_parameter of wang-tsiatis is {number:g}: give an exponent from -0.5 to 0.75")
        return number
    if parameter is not None:
        raise AnalysisError(f"spending_parameter is {parameter!r}, but {name} has no parameter: leave it out")
    return None


def checked_user_alpha(
    user_alpha: Iterable[float] | None, spending: str, fractions: tuple[float, ...], alpha: float
) -> tuple[float, ...] | None:
    """Return the cumulative alpha of user spending: one for each look, increasing, the last one alpha.

    Raises
    ------
    AnalysisError
        If it is not so, or is given to another spending.
    """
    if spending != "user":
        if user_alpha is not None:
            raise AnalysisError(
                f'user_alpha is given, but spending is {spending!r}: give spending="user" or leave it out'
            )
        return None
    if user_alpha is None:
        raise AnalysisError('spending is "user" but user_alpha is missing: give the cumulative alpha at each look')
    values = _sequence("user_alpha", user_alpha, f"that ends in alpha, {alpha:g}")
    checked = tuple(require_positive("a cumulative alpha of user_alpha", one) for one in values)
    if len(checked) != len(fractions):
        raise AnalysisError(f"user_alpha has {len(checked)} values for {len(fractions)} looks: give one for each look")
    if any(later <= earlier for earlier, later in itertools.pairwise(checked)):
        raise AnalysisError(
            f"user_alpha, {_shown(checked)}, does not increase from look to look: give cumulative alpha"
        )
    if not math.isclose(checked[-1], alpha, rel_tol=1e-9):
        raise AnalysisError(f"user_alpha, {_shown(checked)}, does not end in the one-sided alpha of {alpha:g}: let it")
    return (*checked[:-1], alpha)


def checked_sides(sides: int) -> int:
    """Return 1 or 2.

    Raises
    ------
    AnalysisError
        If it is another number.
    """
    if isinstance(sides, bool) or sides not in (1, 2):
        raise AnalysisError(f"sides is {sides!r}: give 1 or 2; alpha is the one-sided level on each side")
    return int(sides)


def checked_futility(
    z: Iterable[float] | None, spending: str | None, parameter: float | None, fractions: tuple[float, ...], sides: int
) -> tuple[float, ...] | None:
    """Return the futility bounds on z: one for each look but the last, minus infinity for none.

    Raises
    ------
    AnalysisError
        If there are z and spending, futility in a two-sided test, another number of bounds, or a bound that is no
        number.
    """
    if (z is not None or spending is not None) and sides == 2:
        raise AnalysisError("futility bounds are given to a design with sides=2: give sides=1 or leave them out")
    if z is not None and spending is not None:
        raise AnalysisError(f"futility_z and futility_spending={spending!r} are both given: give one of them")
    if spending is None and parameter is not None:
        raise AnalysisError(
            f"futility_parameter is {parameter!r} without futility_spending: name the spending function"
        )
    if spending is not None:
        if spending not in FUNCTIONS:
            raise AnalysisError(
                f"futility_spending is {spending!r}, which is not known: {nearest(str(spending), FUNCTIONS)}"
            )
        spending_function(spending, parameter, "futility_parameter")
    if z is None:
        return None
    values = _sequence("futility_z", z, "with one z for each look but the last")
    if len(values) != len(fractions) - 1:
        raise AnalysisError(
            f"futility_z has {len(values)} values for {len(fractions)} looks: give one for each look but the last, "
            "minus infinity for none"
        )
    return tuple(-math.inf if one == -math.inf else require_finite("a bound of futility_z", one) for one in values)


def checked_futility_alpha(value: float | None, spending: str | None) -> float | None:
    """Return the probability of stopping for futility without effect, between 0 and 1.

    Raises
    ------
    AnalysisError
        If it is outside its range or there is no futility spending.
    """
    if value is None:
        return None
    if spending is None:
        raise AnalysisError(f"futility_alpha is {value!r} without futility_spending: name the spending function")
    return require_between("futility_alpha (probability without effect)", value, 0.0, 1.0)


def refuse_crossed(lower: Iterable[float], upper: Iterable[float], fractions: Iterable[float], remedy: str) -> None:
    """Refuse a futility bound at or above its look's efficacy bound, and one that leaves too few trials to spend alpha on.

    Raises
    ------
    AnalysisError
        At the first such look.
    """
    for low, high, t in zip(lower, upper, fractions, strict=True):
        if not math.isfinite(high):
            raise AnalysisError(
                f"the futility bounds let fewer trials go on to information fraction {t:g} than alpha is still to be "
                f"spent on: {remedy}"
            )
        if low >= high:
            raise AnalysisError(
                f"the futility bound at information fraction {t:g}, a z of {low:.4g}, is not below the efficacy bound, "
                f"a z of {high:.4g}: {remedy}"
            )
