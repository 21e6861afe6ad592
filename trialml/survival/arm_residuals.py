"""Treatment score residuals for many assignments of the arm at once, as permutation tests need them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from trialml.errors import AnalysisError, DataError
from trialml.survival.cox_fit import CoxProblem
from trialml.survival.ties import Array

__all__ = ["ArmResiduals", "arm_score_residuals", "score_permutations"]


class ArmResiduals(NamedTuple):
    """Cox models of the arm alone, one for each assignment.

    Attributes
    ----------
    residuals
        Each patient's treatment score residual, shape ``(assignments, n)``, patients in the order given.
    log_hazard_ratio
        Shape ``(assignments,)``.
    """

    residuals: Array
    log_hazard_ratio: Array


def arm_score_residuals(time: Any, event: Any, arms: Any, *, strata: Any = None, offset: Any = None) -> ArmResiduals:
    """Return the treatment score residuals at the treatment's main effect, for each assignment of the arm.

    Parameters
    ----------
    time, event
        Follow-up times and True where the event happened, shape ``(n,)``.
    arms
        True in the experimental arm, one assignment a row, shape ``(assignments, n)``.
    strata, offset
        As in `CoxProblem`.

    Returns
    -------
    ArmResiduals
        With Breslow's ties, as ``score_residuals(..., ties="breslow")`` at ``fit_cox(..., ties="breslow")`` would
        give for each assignment. The totals at risk of each arm do not depend on the coefficient, so a Newton step
        costs the event times alone.

    Raises
    ------
    DataError
        If the shapes disagree.
    AnalysisError
        If an assignment leaves no stratum in which both arms are at risk of an event, or an arm has no event.
    """
    from trialml.survival.arm_residuals_pass import CONVERGED, FLAT, fit_arms

    problem = CoxProblem(
        time, event, np.zeros((np.asarray(time).size, 0)), strata=strata, offset=offset, ties="breslow"
    )
    given = _checked_arms(arms, problem.order.size)
    layout = problem.layout
    state = problem.state(np.zeros(0))
    jumps = state.slots[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        total = np.where(layout.slot_dead > 0, layout.slot_dead / jumps, 0.0)
    residuals, beta = np.empty(given.shape), np.empty(len(given))
    ordered = np.ascontiguousarray(given[:, problem.order])
    outcome = fit_arms(ordered, state.relative, problem.event, problem.order, layout.row_slot, layout.slot_row,
                       layout.slot_dead, total, np.empty((4, total.size)), residuals, beta)  # fmt: skip
    if outcome == FLAT:
        raise AnalysisError("No stratification cell has events while both arms are at risk: the test cannot be done.")
    if outcome != CONVERGED:
        raise AnalysisError("The treatment's main effect did not converge: one arm may have no events.")
    return ArmResiduals(residuals, beta)


def score_permutations(time: Any, event: Any, arms: Any, *, strata: Any = None, offset: Any = None) -> Array:
    """Return the score of no treatment effect for each assignment of the arm, shape ``(assignments,)``.

    With every coefficient 0 the score is the sum of the martingale residuals of the experimental arm, so that
    permutations cost one product of matrices. With Efron's ties; without an offset it is the numerator of the
    log-rank test apart from ties.

    Parameters
    ----------
    time, event, arms, strata, offset
        As in `arm_score_residuals`.
    """
    problem = CoxProblem(time, event, np.zeros((np.asarray(time).size, 0)), strata=strata, offset=offset)
    given = _checked_arms(arms, problem.order.size)
    state = problem.state(np.zeros(0))
    martingale = np.empty(problem.order.size)
    martingale[problem.order] = problem.event - state.relative * problem.accumulated(state)
    return np.asarray(given @ martingale)


def _checked_arms(arms: Any, n: int) -> npt.NDArray[np.bool_]:
    given = np.asarray(arms)
    if given.ndim != 2 or given.shape[1] != n or not np.isin(given[:1], (0, 1)).all():
        raise DataError(f"arms must hold True or False for each of the {n} patients, one assignment a row")
    return given.astype(bool, copy=False)
