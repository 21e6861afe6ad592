"""New bounds where the information at the looks is not what was planned."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from trialml.design import boundaries
from trialml.design.checked_rules import LEAST_GAP
from trialml.design.refusals import require_positive
from trialml.design.spending import FUNCTIONS, spending_function
from trialml.errors import AnalysisError

if TYPE_CHECKING:
    from trialml.design.group_sequential import Design

__all__ = ["updated_rules"]


def updated_rules(design: Design, observed_fractions: Sequence[float], *, final: bool = False) -> dict[str, Any]:
    """Return the fields of a design whose looks are where they were in truth.

    Looks that have not been held stay where they were planned, if that is later than the last one held. Alpha that
    has been spent stays spent: an interim look spends what its spending function gives at the information observed,
    by the planned maximum, or, for a family without a spending function, what was planned for a look of that number;
    the final analysis spends all that is left, with less or more information than planned. Bounds of past looks do
    not change when later ones are held. A spent futility bound is read at the drift that the trial was planned for.

    Parameters
    ----------
    design
        The design as planned, not one that has been updated already.
    observed_fractions
        Information at all looks held so far, as a fraction of the planned maximum, increasing; the last one may be
        above 1.
    final
        Whether the last of them is the final analysis. One at or above 1 always is.

    Returns
    -------
    dict
        Fields of a `Design` with user spending, futility bounds given as z, and fractions of the information that
        the final analysis has, or will have.

    Raises
    ------
    AnalysisError
        If the fractions do not increase, only the last may be 1 or more, or a family without spending function is
        asked for a look that was not planned; or if a spent futility bound reaches the efficacy bound before the end.

    References
    ----------
    Lan, K. K. G. and DeMets, D. L. (1983). Discrete sequential boundaries for clinical trials. Biometrika 70, 659-663.
    Wassmer, G. and Brannath, W. (2016). Group Sequential and Confirmatory Adaptive Designs in Clinical Trials, chapter 3.
    Springer, Cham.
    """
    observed = _checked(observed_fractions)
    held = len(observed)
    ended = final or observed[-1] >= 1.0
    planned = design.information_fractions
    later = [] if ended else [look for look, t in enumerate(planned) if look >= held and t >= observed[-1] + LEAST_GAP]
    if not ended and not later:
        later = [design.looks - 1]
    fractions = (*observed, *(planned[look] for look in later))
    numbers = (*range(held), *later)
    alpha = (*_spent(design, fractions[:-1], numbers[:-1]), design.alpha)
    t = np.array(fractions)
    stops = _futility(design, t, numbers, alpha)
    return {
        "information_fractions": (*(float(one) for one in t[:-1] / t[-1]), 1.0),
        "spending": "user",
        "spending_parameter": None,
        "user_alpha": alpha,
        "futility_z": stops,
        "futility_spending": None,
        "futility_parameter": None,
        "futility_alpha": None,
        "binding": design.binding and any(z > -math.inf for z in stops or ()),
    }


def _checked(observed_fractions: Sequence[float]) -> tuple[float, ...]:
    try:
        values = tuple(observed_fractions)
    except TypeError:
        raise AnalysisError(
            f"observed_fractions is {observed_fractions!r}: give a sequence, for example (0.55,)"
        ) from None
    if not values:
        raise AnalysisError("observed_fractions is empty: give the information fraction of each look held")
    observed = tuple(require_positive("an observed information fraction", one) for one in values)
    shown = ", ".join(f"{one:g}" for one in observed)
    if any(b - a < LEAST_GAP for a, b in itertools.pairwise(observed)):
        raise AnalysisError(
            f"the observed information fractions {shown} do not increase by at least {LEAST_GAP:g} from look to look: "
            "put them in order"
        )
    if any(one >= 1 for one in observed[:-1]):
        raise AnalysisError(
            f"of the observed information fractions {shown} one before the last is 1 or more, when all alpha is spent: "
            "leave out the looks after it"
        )
    return observed


def _spent(design: Design, fractions: Sequence[float], numbers: Sequence[int]) -> tuple[float, ...]:
    if design.spending in FUNCTIONS:
        spent = spending_function(design.spending, design.spending_parameter, "spending_parameter")
        return tuple(spent(t, design.alpha) for t in fractions)
    if any(number >= design.looks - 1 for number in numbers):
        raise AnalysisError(
            f"the spending {design.spending!r} has planned alpha for {design.looks - 1} interim looks, and more were "
            "held: say final=True if the last was the final analysis, or plan with a spending function"
        )
    return tuple(design.cumulative_alpha[number] for number in numbers)


def _futility(
    design: Design, t: np.ndarray, numbers: Sequence[int], alpha: Sequence[float]
) -> tuple[float, ...] | None:
    """Return the futility z of each look but the last, None where the design has none."""
    if not design.has_futility:
        return None
    if design.futility_spending is None:
        planned = (*(design.futility_z or ()), -math.inf)
        return tuple(planned[number] if number < len(planned) else -math.inf for number in numbers[:-1])
    by_alternative = design.futility_alpha is None
    total = 1 - design.power if design.futility_alpha is None else design.futility_alpha
    spent = spending_function(design.futility_spending, design.futility_parameter, "futility_parameter")
    cumulative = [spent(min(float(one), 1.0), total) for one in t]
    drift = design.drift_for_power() if by_alternative else 0.0
    stops = boundaries.spending_below(t, cumulative, drift, to_the_end=not by_alternative)
    found = boundaries.with_futility(t, boundaries.spending_bounds(alpha), stops, binding=design.binding)
    ends = np.flatnonzero((found.lower[:-1] >= found.upper[:-1]) | ~np.isfinite(found.upper[1:]))
    if ends.size:
        raise AnalysisError(
            f"the spent futility bound at information fraction {t[ends[0]]:g} reaches the efficacy bound or leaves too "
            "few trials to spend alpha on, so the trial ends there by its rules: say final=True for that look, or plan "
            "without futility_spending"
        )
    return tuple(float(z) for z in found.lower[:-1])
