"""Benefit by a Cox model in which every covariate may change the effect of the arm, under two ridge penalties."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from trialml.errors import AnalysisError, DataError, nearest
from trialml.models import Model
from trialml.models.cox_model import FEWEST_EVENTS
from trialml.models.encode import CovariateEncoder
from trialml.models.outcome import checked_survival
from trialml.models.outcome_benefit import OutcomeBenefit, areas_to, checked_tau
from trialml.survival.cox import baseline_cumulative_hazard
from trialml.survival.cox_fit import CoxProblem
from trialml.survival.product_limit import step_at
from trialml.survival.ties import not_after

__all__ = ["MODEL", "CoxInteraction"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_ROWS_AT_ONCE = 4096


class Learned(NamedTuple):
    """A fitted model: arm, prognosis and effect modification on the log hazard, and the baseline behind them.

    Attributes
    ----------
    encoder : CovariateEncoder
    arm : float
        Log hazard ratio of the arm at average covariates.
    prognosis : ndarray of shape (k,)
        Log hazard ratio, midway between the arms, for one standard deviation of each column.
    modification : ndarray of shape (k,)
        Change of the arm's log hazard ratio for one standard deviation; 0 for columns that may not modify.
    penalties : tuple of float
        Of the prognosis and of the modification.
    times, hazard : ndarray of shape (m,)
        Event times up to tau, and the cumulative hazard midway between the arms at average covariates.
    """

    encoder: CovariateEncoder
    arm: float
    prognosis: Floats
    modification: Floats
    penalties: tuple[float, float]
    times: Floats
    hazard: Floats


class CoxInteraction(OutcomeBenefit):
    """Cox proportional hazards with main effects and treatment-by-covariate interactions.

    With the arm coded ``w = 1/2`` (experimental) and ``-1/2`` (control) and standardised columns z, the log hazard is
    ``theta w + beta'z + w gamma'z``, and ``l - penalty_1 / 2 beta'beta - penalty_2 / 2 gamma'gamma`` is maximised (Efron
    ties; theta is not penalised). The coding makes main effects those of an average of the arms, so that shrinking gamma does not
    favour one arm's prognosis. The penalties are those of the grids with the largest ``l - tr(I (I + P)^-1)``, I the information
    and P the penalties: a likelihood less the effective number of parameters, which stands in for a cross-validation at a
    hundredth of its time. The first is chosen without interactions, then the second.

    The benefit is the difference of restricted means ``integral to tau of S_1(t|x) - S_0(t|x)``: it varies with the
    prognosis even where the hazard ratio is constant. `log_hazard_ratio` is the relative effect.

    Parameters
    ----------
    treatment : str
        Column of the arm in the X of `fit`.
    tau : float or None
        Where the means are restricted. None: the longest follow-up of the arm where it is shorter.
    modifiers : tuple of str or None
        Covariates that may modify the effect; None for all.
    prognosis_penalties, modification_penalties : tuple of float
        The grids. One value switches that tuning off.
    folds, seed, repeats, gate
        As in `ShrunkBenefit`.

    Attributes
    ----------
    learned_ : Learned
    tau_ : float

    References
    ----------
    Verweij PJM, van Houwelingen HC. Penalized likelihood in Cox regression. Stat Med 1994;13:2427-2436. Basu S, Sussman JB, Rigdon J,
    et al. Benefit and harm of intensive blood pressure treatment: derivation and validation of risk models using data from
    the SPRINT and ACCORD trials. PLoS Med 2017;14:e1002410.
    """

    def __init__(
        self,
        treatment: str = "arm",
        tau: float | None = None,
        modifiers: tuple[str, ...] | None = None,
        prognosis_penalties: tuple[float, ...] = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0),
        modification_penalties: tuple[float, ...] = (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 10000.0),
        folds: int = 5,
        seed: int = 1,
        repeats: int = 10,
        gate: float | None = None,
    ) -> None:
        self.treatment = treatment
        self.tau = tau
        self.modifiers = modifiers
        self.prognosis_penalties = prognosis_penalties
        self.modification_penalties = modification_penalties
        self.folds = folds
        self.seed = seed
        self.repeats = repeats
        self.gate = gate

    def _prepare(self, outcome: NDArray[Any], arm: Flags) -> None:
        time, event = checked_survival(outcome, "a response model of a time to event")
        _refuse_few(event)
        self.tau_ = checked_tau(self.tau, time, arm)

    def _balanced_by(self, outcome: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(outcome["event"])

    def _learn(self, X: pd.DataFrame, outcome: NDArray[Any], arm: Flags) -> Learned:
        time, event = checked_survival(outcome, "a response model of a time to event")
        _refuse_few(event)
        encoder = CovariateEncoder().fit(X)
        z, w = encoder.transform(X), arm - 0.5
        may = self._may_modify(encoder)
        main = np.column_stack([w, z])
        free, prognostic, modifying = np.zeros(1), np.ones(z.shape[1]), np.ones(int(may.sum()))
        first, _ = _tuned(
            CoxProblem(time, event, main), [np.append(free, one * prognostic) for one in self.prognosis_penalties]
        )
        fixed = np.append(free, self.prognosis_penalties[first] * prognostic)
        design = np.column_stack([main, w[:, None] * z[:, may]])
        second, beta = _tuned(
            CoxProblem(time, event, design), [np.append(fixed, one * modifying) for one in self.modification_penalties]
        )
        modification = np.zeros(z.shape[1])
        modification[may] = beta[main.shape[1] :]
        times, hazard = baseline_cumulative_hazard(time, event, design @ beta)
        until = not_after(times, self.tau_)
        penalties = (float(self.prognosis_penalties[first]), float(self.modification_penalties[second]))
        return Learned(
            encoder, float(beta[0]), beta[1 : main.shape[1]], modification, penalties, times[until], hazard[until]
        )

    def _may_modify(self, encoder: CovariateEncoder) -> Flags:
        covariates = encoder.covariate_of_column()
        if self.modifiers is None:
            return np.ones(len(covariates), dtype=np.bool_)
        known = [str(name) for name in self.feature_names_in_]
        for name in self.modifiers:
            if name not in known:
                raise DataError(f"the modifier '{name}' is no covariate; {nearest(name, known)}")
        return np.isin(covariates, self.modifiers)

    def _contrast(self, learned: Learned, X: pd.DataFrame) -> Floats:
        z = learned.encoder.transform(X)
        middle, half = z @ learned.prognosis, (learned.arm + z @ learned.modification) / 2
        out = np.empty(len(z))
        for start in range(0, len(z), _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            treated, control = (
                areas_to(learned.times, np.exp(-np.outer(np.exp(middle[rows] + side), learned.hazard)), self.tau_)
                for side in (half[rows], -half[rows])
            )
            out[rows] = treated - control
        return out

    def log_hazard_ratio(self, X: pd.DataFrame) -> Floats:
        """Return the log hazard ratio of the experimental arm given the covariates, penalised but not shrunk further, shape (n,)."""
        check_is_fitted(self, "learned_")
        z = self.learned_.encoder.transform(X)
        return np.asarray(self.learned_.arm + z @ self.learned_.modification, dtype=np.float64)

    def survival(self, X: pd.DataFrame, times: Any) -> tuple[Floats, Floats]:
        """Return S(t | x) under control and under the experimental arm, shape (n, times) each.

        Raises
        ------
        AnalysisError
            If a time is beyond tau.
        """
        check_is_fitted(self, "learned_")
        wanted = np.atleast_1d(np.asarray(times, dtype=np.float64))
        if not not_after(wanted.max(initial=0.0), self.tau_):
            raise AnalysisError(f"Survival at {wanted.max():g} was asked for, beyond tau = {self.tau_:g}.")
        hazard = step_at(self.learned_.times, self.learned_.hazard, wanted, initial=0.0)
        middle, half = self.learned_.encoder.transform(X) @ self.learned_.prognosis, self.log_hazard_ratio(X) / 2
        control, treated = (np.exp(-np.outer(np.exp(middle + side), hazard)) for side in (-half, half))
        return control, treated

    def state(self) -> dict[str, Any]:
        """Return what was learned as plain JSON types."""
        learned = self.learned_
        return {
            "names": [str(name) for name in self.feature_names_in_],
            "treatment": self.treatment,
            "tau": self.tau_,
            "encoder": learned.encoder.state(),
            "arm": learned.arm,
            "penalties": list(learned.penalties),
            **{name: getattr(learned, name).tolist() for name in ("prognosis", "modification", "times", "hazard")},
            **self._shrinkage_state(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the model that `state` described."""
        model = cls(treatment=state["treatment"])
        model.feature_names_in_ = np.asarray(state["names"], dtype=object)
        model.tau_ = float(state["tau"])
        first, second = state["penalties"]
        prognosis, modification, times, hazard = (
            np.asarray(state[name], dtype=np.float64) for name in ("prognosis", "modification", "times", "hazard")
        )
        encoder = CovariateEncoder.from_state(state["encoder"])
        model.learned_ = Learned(encoder, float(state["arm"]), prognosis, modification, (first, second), times, hazard)
        model._take_shrinkage(state)
        return model


def _refuse_few(event: Flags) -> None:
    if event.sum() < FEWEST_EVENTS:
        raise AnalysisError(
            f"A Cox model cannot be fitted to {int(event.sum())} events: at least {FEWEST_EVENTS} are needed, in each fold too."
        )


def _tuned(problem: CoxProblem, penalties: list[Floats]) -> tuple[int, Floats]:
    """Return the place of the penalties with the largest likelihood less effective parameters, and the coefficients there."""
    best, found, start = -np.inf, (0, np.zeros(0)), None
    for place in range(len(penalties) - 1, -1, -1):
        fitted = problem.fit(ridge=penalties[place], start=start)
        start = fitted.coefficients
        # tr(I (I + P)^-1) = number of columns - tr((I + P)^-1 P)
        parameters = len(start) - float(np.diag(fitted.covariance) @ penalties[place])
        if fitted.log_likelihood - parameters > best:
            best, found = fitted.log_likelihood - parameters, (place, start)
    return found


MODEL = Model(
    name="cox_interaction",
    question="response",
    words=(
        "a Cox model with main effects and treatment-by-covariate interactions under separate ridge penalties, its difference "
        "of restricted means shrunk towards the average effect by the out-of-fold calibration slope against doubly robust scores"
    ),
    estimator=CoxInteraction,
    learns_from="outcomes",
)
