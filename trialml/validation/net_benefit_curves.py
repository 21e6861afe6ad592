"""Net benefit over thresholds, of acting on a risk and of treating by a benefit, from outcomes with weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.errors import DataError
from trialml.result import Z95
from trialml.survival.ipcw import checked_risk, standard_error

__all__ = ["ALL", "Arm", "arm_flags", "curves_of_risk", "curves_of_treatment"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
ALL = "everybody"


class Arm(NamedTuple):
    """Some patients' outcomes.

    Attributes
    ----------
    case, weight
        Whether each had the event (by the horizon), and what the patient counts for those whose outcome is not known,
        shape ``(m,)``.
    spread
        Of a number of each patient times the weight, the patients' influences through the weights on its mean.
    """

    case: Flags
    weight: Floats
    spread: Callable[[Floats], Floats]


def curves_of_risk(arm: Arm, control: Flags, risks: Mapping[str, Any], thresholds: Sequence[float]) -> pd.DataFrame:
    """Return the rows of a decision curve.

    Parameters
    ----------
    arm
        The control patients' outcomes.
    control
        Which patients they are, shape ``(n,)``.
    risks, thresholds
        As in `decision_curve`.
    """
    at = _thresholds(thresholds)
    acting = {name: checked_risk(risk, control.size, f"the risk of '{name}'")[control] for name, risk in risks.items()}

    def judge(acted: Flags, threshold: float) -> _Benefit:
        part = arm.weight * acted * np.where(arm.case, 1.0, -threshold / (1 - threshold))
        return _Benefit(float(part.mean()), part - part.mean() + arm.spread(part), float(acted.mean()))

    return _curves(acting, at, judge)


def curves_of_treatment(
    arms: Sequence[tuple[Flags, Arm]], benefits: Mapping[str, Any], thresholds: Sequence[float]
) -> pd.DataFrame:
    """Return the rows of the net benefit of treatment.

    Parameters
    ----------
    arms
        Of control and experimental arm which patients they are, shape ``(n,)``, and their outcomes.
    benefits, thresholds
        As in `net_benefit_of_treatment`.
    """
    n, at = arms[0][0].size, _thresholds(thresholds, lowest=0.0)
    acting = {}
    for name, benefit in benefits.items():
        values = np.asarray(benefit, dtype=float)
        if values.shape != (n,) or not np.isfinite(values).all() or np.abs(values).max() > 1:
            raise DataError(
                f"the benefit of '{name}' must hold one risk difference within -1 and 1 for each of the {n} patients"
            )
        acting[name] = values

    def judge(acted: Flags, threshold: float) -> _Benefit:
        share, gain, influence = float(acted.mean()), -threshold, np.zeros(n)
        if not all((acted & flag).any() for flag, _ in arms):
            return _Benefit(np.nan if acted.any() else 0.0, influence + (np.nan if acted.any() else 0.0), share)
        for sign, (flag, arm) in zip((1, -1), arms, strict=True):
            within = acted[flag]
            part, of_arm = arm.weight * arm.case * within, float(within.mean())
            risk = float(part.mean()) / of_arm
            gain += sign * risk
            moved = (part - risk * within + arm.spread(part)) / of_arm
            influence[flag] += sign * share * moved * (n / flag.sum())
        return _Benefit(share * gain, influence + (acted - share) * gain, share)

    return _curves(acting, at, judge)


class _Benefit(NamedTuple):
    value: float
    influence: Floats
    share: float


def _curves(acting: Mapping[str, Floats], thresholds: Floats, judge: Any) -> pd.DataFrame:
    if not acting or ALL in acting:
        raise DataError(f"the models are {list(acting)}: name one or more, none of them '{ALL}'")
    rows: list[tuple[Any, ...]] = []
    size = len(next(iter(acting.values())))
    for t in thresholds.tolist():
        everybody = judge(np.ones(size, dtype=bool), t)
        for name, values in acting.items():
            one = judge(values >= t, t)
            gap = _Benefit(one.value - everybody.value, one.influence - everybody.influence, np.nan)
            rows += [(t, name, "", *_limits(one)), (t, name, ALL, *_limits(gap))]
        rows.append((t, ALL, "", *_limits(everybody)))
    columns = ["threshold", "strategy", "reference", "net_benefit", "low", "high", "se", "share"]
    return pd.DataFrame(rows, columns=columns)


def _limits(one: _Benefit) -> tuple[float, ...]:
    se = standard_error(one.influence)
    return one.value, one.value - Z95 * se, one.value + Z95 * se, se, one.share


def arm_flags(treated: Any, n: int) -> Flags:
    """Return who is treated, shape ``(n,)``, or refuse.

    Raises
    ------
    DataError
        If it is not known of each patient.
    """
    flags = np.asarray(treated)
    if flags.shape != (n,) or not np.isin(flags, (0, 1)).all():
        raise DataError(f"treated must be True or False for each of the {n} patients")
    return flags.astype(bool)


def _thresholds(values: Sequence[float], lowest: float | None = None) -> Floats:
    at = np.atleast_1d(np.asarray(values, dtype=float))
    fits = (at >= lowest) if lowest is not None else (at > 0)
    if at.size == 0 or not (fits & (at < 1)).all() or not (np.diff(at) > 0).all():
        raise DataError(
            f"thresholds are {at.tolist()}: give rising probabilities below 1, set before the data were seen"
        )
    return at
