"""What the treatment did to a binary or a continuous endpoint: the primary comparison, every contrast on every scale, and subgroups."""

from __future__ import annotations

from typing import Any

import pandas as pd

from trialml.analysis import Analysis
from trialml.comparing import subgroup_factors
from trialml.data.quality import DataQuality
from trialml.data.trial import Trial
from trialml.effects.binary import binary_contrast
from trialml.effects.continuous import continuous_contrast
from trialml.effects.not_done import NotDone
from trialml.effects.outcome_subgroups import OutcomeSubgroups, outcome_subgroups
from trialml.effects.primary_outcome import PrimaryOutcome, primary_outcome
from trialml.effects.standardisation import StandardisedContrast, standardised_contrast
from trialml.errors import AnalysisError
from trialml.models.encode import CovariateEncoder

__all__ = ["compare_outcome"]

FEWEST_MISSING = 20
"""Patients without a covariate, and with it, from which on being without it is adjusted for too."""


def compare_outcome(analysis: Analysis, quality: DataQuality) -> PrimaryOutcome:
    """Estimate the effect for the primary and the secondary contrasts, unadjusted and adjusted, then in subgroups.

    Parameters
    ----------
    analysis
        The results so far; the new ones are added.
    quality
        Names the covariates that are not used.

    Returns
    -------
    PrimaryOutcome
        What decides, and what the planning of the next trial starts from.

    Raises
    ------
    AnalysisError
        If the primary comparison cannot be made. What else cannot be done becomes a result of words.
    """
    treatment, endpoint = analysis.trial.treatment, analysis.trial.endpoint
    trial = analysis.trial.only(treatment.control, treatment.experimental)
    asked = analysis.study.effects.adjust_for
    for name in asked:
        if name in quality.not_used:
            raise AnalysisError(
                f"[effects] adjust_for names '{name}', which has one value in the primary contrast: take it out of adjust_for."
            )
    found = primary_outcome(
        trial.outcome,
        trial.treated,
        kind="binary" if endpoint.kind == "binary" else "continuous",
        higher_is_better=endpoint.higher_is_better,
        strata=trial.factor,
        covariates=_columns(trial, asked) if asked else None,
        unit=endpoint.unit,
        label=endpoint.label,
    )
    analysis.add(found)
    for arm in (treatment.experimental, *treatment.secondary):
        _contrast(analysis, quality, arm)
    if analysis.study.effects.subgroups:
        _look_into_subgroups(analysis, trial)
    return found


def _contrast(analysis: Analysis, quality: DataQuality, arm: str) -> None:
    """Add one arm against control on every scale, unadjusted and adjusted for all covariates."""
    treatment, endpoint = analysis.trial.treatment, analysis.trial.endpoint
    trial = analysis.trial.only(treatment.control, arm)
    secondary = "" if arm == treatment.experimental else " (secondary)"
    known: dict[str, Any] = {
        "names": (treatment.label(treatment.control), treatment.label(arm)),
        "label": f"{endpoint.label}, {treatment.label(arm)} against {treatment.label(treatment.control)}{secondary}",
    }
    treated = (trial.frame["arm"] == arm).to_numpy()
    strata = trial.factor if len(set(trial.factor)) > 1 else None
    if endpoint.kind == "binary":
        analysis.add(binary_contrast(trial.outcome, treated, strata=strata, **known))
    else:
        analysis.add(continuous_contrast(trial.outcome, treated, strata=strata, unit=endpoint.unit, **known))
    kept = trial.without(*quality.not_used)
    names = analysis.study.effects.adjust_for or tuple(covariate.name for covariate in kept.covariates)
    if not names:
        analysis.add(NotDone(StandardisedContrast.title, "every covariate in [covariates] is constant"))
        return
    try:
        adjusted = standardised_contrast(
            trial.outcome,
            treated,
            _columns(kept, names),
            kind="binary" if endpoint.kind == "binary" else "continuous",
            strata=strata,
            unit=endpoint.unit,
            **known,
        )
        analysis.add(adjusted)
    except AnalysisError as error:
        analysis.add(NotDone(f"{StandardisedContrast.title}: {known['label']}", str(error).rstrip(".")))


def _columns(trial: Trial, names: tuple[str, ...]) -> pd.DataFrame:
    """Return encoded covariates: filled in blind to arm and outcome, with an indicator for what was missing.

    An indicator of a few patients is left out: it may have one value in an arm, or separate the arm's events from the rest,
    and then there would be no adjusted analysis at all.
    """
    baseline = trial.baseline[list(names)]
    encoder = CovariateEncoder().fit(baseline)
    columns = pd.DataFrame(encoder.transform(baseline), columns=list(encoder.get_feature_names_out()))
    absent = baseline.isna().sum()
    few = [
        name
        for covariate, what, name in encoder.columns_
        if what == "missing" and min(absent[covariate], len(baseline) - absent[covariate]) < FEWEST_MISSING
    ]
    return columns.drop(columns=few)


def _look_into_subgroups(analysis: Analysis, primary: Trial) -> None:
    """Estimate the difference in the subgroups that the study file names."""
    endpoint = primary.endpoint
    try:
        analysis.add(
            outcome_subgroups(
                primary.outcome,
                primary.treated,
                subgroup_factors(analysis, primary),
                kind="binary" if endpoint.kind == "binary" else "continuous",
                higher_is_better=endpoint.higher_is_better,
                shrinkage_scale=analysis.study.effects.shrinkage_scale,
                unit=endpoint.unit,
                experimental=primary.treatment.label(primary.treatment.experimental),
            )
        )
    except AnalysisError as error:
        analysis.add(NotDone(OutcomeSubgroups.title, str(error).rstrip(".")))
