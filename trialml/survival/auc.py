"""The area under the time-dependent ROC curve: who has the event by a horizon against who does not."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from trialml.errors import AnalysisError, DataError
from trialml.survival.ipcw import Censoring, censoring_of, checked_horizon, checked_outcome, standard_error
from trialml.survival.product_limit import Curve
from trialml.survival.ties import Array, Flags

__all__ = ["AucValue", "cumulative_dynamic_auc", "weighted_auc"]


class AucValue(NamedTuple):
    """An area under the ROC curve with its standard error.

    Attributes
    ----------
    value, se
        The area and its standard error.
    influence
        Each patient's influence on `value`, shape ``(n,)``: ``se = sd(influence) / sqrt(n)``; differences of two
        models on the same patients pair by these.
    cases, controls
        How many patients with the event by the horizon, and without it, were weighed.
    """

    value: float
    se: float
    influence: Array
    cases: int
    controls: int


def cumulative_dynamic_auc(
    time: Any,
    event: Any,
    risk: Any,
    horizon: float,
    *,
    competing: Any = None,
    censoring: Curve | Censoring | None = None,
) -> AucValue:
    """Return how often a patient with the event by `horizon` has a higher risk than one without it by then.

    Parameters
    ----------
    time, event
        Follow-up times and True where the event happened, shape ``(n,)``.
    risk
        Any score, higher is worse, shape ``(n,)``.
    horizon
        In the unit of `time`; at least 10 patients must be followed beyond it.
    competing
        True where a competing event ended follow-up, shape ``(n,)``; by the horizon such a patient is a control.
    censoring
        The censoring curve G, from `censoring_curve` (taken as known), or `kaplan_meier_censoring` or
        `cox_censoring` of these patients; by default Kaplan-Meier's of these data.

    Returns
    -------
    AucValue
        The sum of ``w_i w_j (1{r_i > r_j} + 1{r_i = r_j} / 2)`` over cases i and controls j, divided by that of
        ``w_i w_j``; w is ``1 / G(T-)`` of an event by h and ``1 / G(h)`` beyond h. The standard error includes what
        estimating G adds. Without competing events both are those of R's ``riskRegression::Score``.

    Raises
    ------
    DataError
        If a risk is missing or infinite.
    AnalysisError
        If fewer than 10 patients are followed beyond `horizon`, or nobody has had the event by then.

    References
    ----------
    Hung H, Chiang CT. Estimation methods for time-dependent AUC models with survival data. Can J Stat 2010;38:8-26.
    Blanche P, Dartigues JF, Jacqmin-Gadda H. Estimating and comparing time-dependent areas under receiver operating
    characteristic curves for censored event times with competing risks. Stat Med 2013;32:5381-5397.
    """
    outcome = checked_outcome(time, event, competing)
    score = np.asarray(risk, dtype=float)
    if score.shape != outcome.time.shape or not np.isfinite(score).all():
        raise DataError(f"risk must hold one finite number for each of the {outcome.time.size} patients")
    beyond = checked_horizon(outcome.time, horizon)
    case = outcome.event & ~beyond
    if not case.any():
        raise AnalysisError(f"nobody has had the event by the horizon {horizon:g}: choose a later one")
    model = censoring_of(outcome, censoring)
    weight = model.weights(beyond, horizon)
    value, part = weighted_auc(score, case, weight)
    influence = part + model.influence(part, horizon)
    controls = int(((weight > 0) & ~case).sum())
    return AucValue(value, standard_error(influence), influence, int(case.sum()), controls)


def weighted_auc(score: Array, case: Flags, weight: Array) -> tuple[float, Array]:
    """Return the area of weighted cases against weighted controls, and each patient's part in it.

    Parameters
    ----------
    score
        Higher is worse, shape ``(n,)``.
    case
        True for cases, False for controls, shape ``(n,)``.
    weight
        Shape ``(n,)``, 0 for patients who are neither.

    Returns
    -------
    value, part
        The derivative of the area by each weight, times n and the weight, shape ``(n,)``; the parts add up to 0.
    """
    order = np.argsort(score)
    ordered = score[order]
    ends = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), score.size - 1)
    w = weight[order]
    of_cases = np.where(case[order], w, 0.0)
    below_case, below_control = (_below_or_tied(one, ends) for one in (of_cases, w - of_cases))
    cases, controls = float(of_cases.sum()), float((w - of_cases).sum())
    total = cases * controls
    value = float(of_cases @ below_control) / total
    gain = np.where(case[order], below_control - value * controls, cases - below_case - value * cases)
    part = np.empty(score.size)
    part[order] = w * gain * (score.size / total)
    return value, part


def _below_or_tied(weight: Array, ends: npt.NDArray[np.intp]) -> Array:
    """Return the weight at lower scores and half of that at the same, for patients in order of score."""
    up_to = np.cumsum(weight)[ends]
    middle = up_to - np.diff(up_to, prepend=0.0) / 2
    return np.asarray(np.repeat(middle, np.diff(ends, prepend=-1)))
