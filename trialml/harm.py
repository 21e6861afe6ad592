"""The adverse reaction of `[harm]`: rates and incidence by arm, the risk of it by arm, and benefit against harm."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.analysis import Analysis
from trialml.data.folds import fold_labels, splits
from trialml.data.trial import Trial
from trialml.effects.not_done import NotDone
from trialml.errors import AnalysisError
from trialml.following import compete
from trialml.models.cause_specific_cox import CauseSpecificCox
from trialml.models.coefficients import coefficients_of
from trialml.models.outcome import competing_outcome
from trialml.strata.benefit_harm import BenefitHarm, HarmOutcomes, benefit_harm
from trialml.strata.crossfit import HeldOutStrata
from trialml.strata.effects import StratumEffects, stratum_members
from trialml.survival.aalen_johansen import aalen_johansen
from trialml.survival.incidence_rates import incidence_rates
from trialml.survival.product_limit import step_at
from trialml.survival.rmst import RestrictedMean
from trialml.validation.averaged import average_by_group, average_performance
from trialml.validation.benefit import HeldOutBenefit
from trialml.validation.by_group import performance_by_group
from trialml.validation.performance import performance

__all__ = ["HarmByArm", "crossfit_harm", "follow_harm", "learn_harm", "weigh_harm"]

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]
SINCE = "first dose"
ARM_ALONE = "risk of the arm alone"
_TUNING, _FOLDS = 31, 32
"""The steps of the penalties' folds and of the cross-fitting's."""


def follow_harm(analysis: Analysis, harm: Trial) -> None:
    """Add exposure-adjusted rates by arm, and what `compete` adds: cumulative incidences and their comparisons.

    Parameters
    ----------
    analysis
        The results so far; the new ones are added.
    harm
        The patients at risk of the adverse reaction, from their first dose.
    """
    endpoint, treatment = harm.endpoint, harm.treatment
    order = [treatment.label(arm) for arm in (treatment.control, treatment.experimental, *treatment.secondary)]
    rates = incidence_rates(
        harm.time,
        harm.cause == 1,
        group=harm.arm_labels,
        order=order,
        name=endpoint.name,
        unit=endpoint.unit,
        since=SINCE,
        statements=_statements(analysis.trial, harm),
    )
    analysis.add(rates)
    # Where both endpoints have competing events, one name would stand for two things.
    before = f" before {endpoint.name.lower()}" if analysis.trial.endpoint.cause else ""
    compete(analysis, harm, since=SINCE, before=before)


def _statements(analysed: Trial, harm: Trial) -> list[str]:
    """Return how the adverse reaction was read, and what was noticed, as far as it is not said of the endpoint already."""
    said = [one for one in harm.statements if one not in analysed.statements]
    # The competing events are in the incidences; a second count of them says nothing.
    new = [one for one in harm.findings if one not in analysed.findings and one.rule != "competing events"]
    return said + [f"{one.finding} {one.done}".strip() for one in new if one.severity == "warning"]


class HarmByArm:
    """One cause-specific ridge model in each arm, so that covariates may act otherwise under treatment."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.models: dict[bool, CauseSpecificCox] = {}

    def fit(self, X: pd.DataFrame, time: Floats, cause: Rows, treated: NDArray[np.bool_]) -> HarmByArm:
        """Fit on covariates, shape (n, p), times, causes and arms, each of shape (n,)."""
        for arm in (False, True):
            own = np.flatnonzero(treated == arm)
            outcome = competing_outcome(time[own], cause[own])
            self.models[arm] = CauseSpecificCox(seed=self.seed).fit(X.iloc[own], outcome)
        return self

    def risk(self, X: pd.DataFrame, treated: NDArray[np.bool_], horizon: float) -> Floats:
        """Return the risk by the horizon under the arm given for each patient, shape (n,)."""
        risk = np.empty(len(X))
        for arm, model in self.models.items():
            own = np.flatnonzero(treated == arm)
            if own.size:
                risk[own] = model.risk(X.iloc[own], horizon)
        return risk


def crossfit_harm(primary: Trial, *, folds: int, repeats: int, seed: int, tuning: int) -> tuple[Floats, Floats]:
    """Return out-of-fold risks of the models by arm, and of the arm's own incidence alone, each of shape (repeats, n).

    Parameters
    ----------
    primary
        The patients of the primary contrast at risk.
    folds, repeats, seed
        Folds are balanced by arm and cause; the repeats have seeds of their own, spawned from `seed`.
    tuning
        Seed of the penalties' folds, within the training patients.

    Raises
    ------
    AnalysisError
        If a training set has too few events in an arm, or ends before the horizon.
    """
    X, time, cause, treated = primary.baseline, primary.time, primary.cause, primary.treated
    horizon = primary.endpoint.horizon
    cells = np.char.add(treated.astype(np.str_), cause.astype(np.str_))
    risks, alone = np.empty((2, repeats, len(time)))
    for repeat, source in enumerate(np.random.SeedSequence(seed).spawn(repeats)):
        for train, test in splits(fold_labels(cells, folds, np.random.default_rng(source))):
            known = (X.iloc[train], time[train], cause[train], treated[train])
            risks[repeat, test] = HarmByArm(tuning).fit(*known).risk(X.iloc[test], treated[test], horizon)
            for arm in (False, True):
                own, same = train[treated[train] == arm], test[treated[test] == arm]
                curves = aalen_johansen(time[own], np.minimum(cause[own], 2), 2)
                alone[repeat, same] = float(step_at(curves.time, curves.incidence[:, 0], horizon, initial=0.0))
    return risks, alone


def learn_harm(analysis: Analysis, harm: Trial) -> None:
    """Fit the risk model of each arm, and judge both on patients not seen; what cannot be done becomes words.

    Parameters
    ----------
    analysis
        The results so far; the new ones are added.
    harm
        The patients at risk of the adverse reaction, with covariates that vary.
    """
    primary = harm.only(harm.treatment.control, harm.treatment.experimental)
    try:
        _learn(analysis, primary)
    except AnalysisError as error:
        analysis.add(NotDone(f"Risk model of {primary.endpoint.name.lower()} by arm", str(error).rstrip(".")))


def _learn(analysis: Analysis, primary: Trial) -> None:
    endpoint, asked = primary.endpoint, analysis.study.models.risk
    X, time, cause, treated = primary.baseline, primary.time, primary.cause, primary.treated
    tuning = analysis.seed(_TUNING)
    models = HarmByArm(tuning).fit(X, time, cause, treated).models
    repeats = analysis.repeats("risk")
    risks, alone = crossfit_harm(primary, folds=asked.folds, repeats=repeats, seed=analysis.seed(_FOLDS), tuning=tuning)
    outcome: dict[str, Any] = {"time": time, "event": cause == 1, "competing": cause > 1}
    model = f"{endpoint.name}, model by arm"
    at: dict[str, Any] = {"unit": endpoint.unit, "kind": "crossfit"}
    judged = [
        performance(**outcome, risks={ARM_ALONE: null, model: risk}, horizons=[endpoint.horizon], **at)
        for risk, null in zip(risks, alone, strict=True)
    ]
    groups: dict[str, Any] = {
        "groups": primary.arm_labels,
        "factor": f"arm, risk of {endpoint.name.lower()}",
        "horizon": endpoint.horizon,
    }
    by_arm = [performance_by_group(**outcome, risk_at_horizon=risk, **groups, **at) for risk in risks]
    _describe(analysis, primary, models)
    analysis.add(average_performance(judged))
    analysis.add(average_by_group(by_arm))


def _describe(analysis: Analysis, primary: Trial, models: dict[bool, CauseSpecificCox]) -> None:
    treatment, endpoint = primary.treatment, primary.endpoint
    labels = {covariate.name: covariate.label for covariate in primary.covariates}
    for arm, model in models.items():
        word = treatment.label(treatment.experimental if arm else treatment.control)
        own, cox = primary.treated == arm, model.event_
        other = model.competing_
        rest = (
            "the competing events have one hazard" if other is None else f"{other.penalty_:g} of the competing events"
        )
        analysis.add(
            coefficients_of(
                cox.encoder_,
                cox.coefficients_,
                labels=labels,
                subject=f"the risk of {endpoint.name.lower()} with {word}",
                effect=f"Cause-specific hazard ratios of {endpoint.name.lower()} in the arm {word}.",
                ratio=True,
                n=int(own.sum()),
                events=int((primary.cause[own] == 1).sum()),
                penalty=(
                    f"The ridge penalty is {cox.penalty_:g}, {rest}; the absolute risk combines both hazards, so that who leaves or dies "
                    "first has no event."
                ),
            )
        )


def weigh_harm(
    analysis: Analysis, harm: Trial, benefit: Trial, held: HeldOutBenefit | HeldOutStrata, by_stratum: StratumEffects
) -> None:
    """Put the benefit in each stratum beside the additional risk of the adverse reaction in the same patients.

    Parameters
    ----------
    analysis
        The results so far; the new one is added.
    harm
        The patients at risk of the adverse reaction.
    benefit
        The patients whom the response model was learned from, in the order of `held`.
    held, by_stratum
        Their out-of-fold ranks or strata, and the effect by stratum.
    """
    here = harm.frame.reindex(benefit.frame.index)
    cause = here["cause"].fillna(0).to_numpy(dtype=np.intp)
    outcomes = HarmOutcomes(here["time"].to_numpy(dtype=np.float64), cause, benefit.treated)
    try:
        analysis.add(
            benefit_harm(
                by_stratum,
                analysis.only(RestrictedMean).difference,
                outcomes,
                stratum_members(held, len(by_stratum.rows)),
                harm=harm.endpoint.name.lower(),
                horizon=harm.endpoint.horizon,
                harm_unit=harm.endpoint.unit,
                benefit=benefit.endpoint.name,
            )
        )
    except AnalysisError as error:
        analysis.add(NotDone(BenefitHarm.title, str(error).rstrip(".")))
