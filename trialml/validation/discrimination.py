"""Does the model order patients rightly?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.errors import AnalysisError
from trialml.result import Z95, Estimate, Result, format_count, with_limits
from trialml.survival.concordance import concordance
from trialml.survival.ties import not_after
from trialml.validation.crossvalidation import ArmUse, HeldOut

__all__ = ["Discrimination", "discrimination"]


@dataclass(frozen=True, eq=False)
class Discrimination(Result):
    """Harrell's C on patients not seen, beside the apparent one and its optimism."""

    title = "Discrimination of the risk model"
    methods = (
        "Discrimination is Harrell's C, with pairs compared within a test fold only, weighted by their number and averaged over "
        "folds and repeats; its standard error comes from the patients' influences averaged over repeats. It does not "
        "include the variability of refitting the model on other patients. In pairs from both arms the arm, where it is a covariate of "
        "the model, orders patients too; pairs within an arm show what the baseline covariates order. A patient with a competing "
        "event is taken as never having the event. Harrell's C depends on the censoring and the follow-up: it is not to be "
        "compared with that of another trial."
    )
    references = (
        "Harrell FE, Califf RM, Pryor DB, Lee KL, Rosati RA. Evaluating the yield of medical tests. JAMA 1982;247:2543-2546.",
        "LeDell E, Petersen M, van der Laan M. Computationally efficient confidence intervals for cross-validated area "
        "under the ROC curve estimates. Electron J Stat 2015;9:1583-1607.",
    )

    crossfit: Estimate
    apparent: Estimate
    without_arm: Estimate
    """Within each arm alone: what the covariates order, the arm apart."""
    horizon: float
    unit: str
    arm: ArmUse = "covariate"
    """The arm's part in the model."""

    def frame(self) -> pd.DataFrame:
        """Return one row an estimate."""
        rows = [
            (name, e.value, e.low, e.high, e.se, e.kind)
            for name, e in (
                ("both arms", self.crossfit),
                ("within arm", self.without_arm),
                ("both arms, apparent", self.apparent),
            )
        ]
        return pd.DataFrame(rows, columns=["estimate", "c_index", "low", "high", "se", "kind"])

    def text(self) -> str:
        """Return the cross-fitted C, the C within arms and the optimism."""
        gap = self.apparent.value - self.crossfit.value
        too_good = f", too good by {gap:.3f}" if gap >= 0.0005 else ""
        counts = f"{format_count(self.crossfit.n or 0)} patients, {format_count(self.crossfit.events or 0)} events by then; cross-fitted"
        if self.arm == "control arm":
            return (
                f"On control patients not used for fitting, Harrell's C up to {self.horizon:g} {self.unit} is {self.crossfit.text()} "
                f"({counts}). Its apparent value is {self.apparent.value:.3f}{too_good}."
            )
        both = (
            "where the arm, a covariate of the model, orders them too"
            if self.arm == "covariate"
            else "of which the model does not know the arm"
        )
        return (
            f"On patients not used for fitting, Harrell's C up to {self.horizon:g} {self.unit} is {self.without_arm.text()} among pairs "
            f"within an arm, where the baseline covariates alone order patients, and {self.crossfit.text()} among pairs from both arms, "
            f"{both} ({counts}). The apparent value of the latter is "
            f"{self.apparent.value:.3f}{too_good}."
        )

    def scalars(self) -> dict[str, float]:
        """Return the C-indices by kind."""
        name = f"c_index_{self.horizon:g}{self.unit}"
        unseen = {f"{name}_crossfit": self.crossfit, f"{name}_within_arm_crossfit": self.without_arm}
        return with_limits(unseen) | {f"{name}_apparent": self.apparent.value}

    def table(self) -> pd.DataFrame:
        """Return the estimates as words."""
        rows = [
            ("Within an arm (baseline covariates alone)", self.without_arm.text(), self.without_arm.kind),
            (
                "Both arms (the arm orders too)" if self.arm == "covariate" else "Both arms",
                self.crossfit.text(),
                self.crossfit.kind,
            ),
            ("Both arms, on the patients it was fitted to", self.apparent.text(), self.apparent.kind),
        ]
        if self.arm == "control arm":
            rows = [
                ("Control arm", self.crossfit.text(), self.crossfit.kind),
                ("Control arm, on the patients it was fitted to", self.apparent.text(), self.apparent.kind),
            ]
        return pd.DataFrame(rows, columns=["Patients compared", "Harrell's C (95% CI)", "Kind"])


def discrimination(
    time: NDArray[np.float64],
    event: NDArray[np.bool_],
    treated: NDArray[np.bool_],
    held: HeldOut,
    apparent_log_hazard: NDArray[np.float64],
    *,
    horizon: float,
    unit: str,
    competing: NDArray[np.bool_] | None = None,
    arm: ArmUse = "covariate",
) -> Discrimination:
    """Estimate Harrell's C from out-of-fold predictions.

    Parameters
    ----------
    time, event, treated
        Outcome and arm, each of shape (n,).
    held
        Out-of-fold predictions.
    apparent_log_hazard
        The final model's scores of the patients it was fitted to, shape (n,).
    horizon, unit
        Pairs whose first event is later than the horizon are left out.
    competing
        True where another event ended follow-up, shape (n,); None for no such.
    arm
        The arm's part in the model.

    Returns
    -------
    Discrimination
        Cross-fitted, within arm, and apparent.

    Raises
    ------
    AnalysisError
        If no two patients of one fold and group are comparable.
    """
    others = np.zeros(len(time), dtype=np.bool_) if competing is None else competing
    both = _crossfit_c(time, event, others, held, np.zeros(len(time), dtype=np.intp), horizon)
    within = _crossfit_c(time, event, others, held, treated.astype(np.intp), horizon)
    own = concordance(time, event, apparent_log_hazard, tau=horizon, competing=others)
    counts: dict[str, Any] = {
        "n": len(time),
        "events": int((event & not_after(time, horizon)).sum()),
        "scale": "Harrell's C",
    }
    apparent = _estimate(own.value, own.se, kind="apparent", **counts)
    return Discrimination(
        crossfit=_estimate(*both, kind="crossfit", **counts),
        apparent=apparent,
        without_arm=_estimate(*within, kind="crossfit", **counts),
        horizon=horizon,
        unit=unit,
        arm=arm,
    )


def _estimate(value: float, se: float, **known: Any) -> Estimate:
    half = Z95 * se
    return Estimate(value, max(value - half, 0.0), min(value + half, 1.0), se=se, **known)


def _crossfit_c(
    time: NDArray[np.float64],
    event: NDArray[np.bool_],
    competing: NDArray[np.bool_],
    held: HeldOut,
    group: NDArray[np.intp],
    tau: float,
) -> tuple[float, float]:
    """Average C over folds, groups and repeats; the influences are averaged over repeats before they are squared."""
    values, influences = [], []
    # A competing event is an outcome without the event: such a patient is followed for ever.
    followed = np.where(competing, np.inf, time)
    for score, fold in zip(held.log_hazard, held.fold, strict=True):
        total, pairs, influence = 0.0, 0.0, np.zeros(len(time))
        for label in np.unique(fold):
            for part in np.unique(group):
                rows = np.flatnonzero((fold == label) & (group == part))
                # A small group may hold no comparable pair: nobody is followed beyond its first event by tau.
                happened = rows[event[rows] & not_after(time[rows], tau)]
                first = time[happened].min(initial=np.inf)
                if not (~not_after(followed[rows], first) | (not_after(first, followed[rows]) & ~event[rows])).any():
                    continue
                one = concordance(time[rows], event[rows], score[rows], tau=tau, competing=competing[rows])
                total += one.comparable * one.value
                pairs += one.comparable
                influence[rows] += one.comparable * one.influence
        if pairs == 0:
            raise AnalysisError(
                f"No two patients of one fold and group are comparable by {tau:g}: choose a later horizon or fewer folds."
            )
        values.append(total / pairs)
        influences.append(influence / pairs)
    return float(np.mean(values)), float(np.sqrt((np.mean(influences, axis=0) ** 2).sum()))
