"""What the treatment did: contrasts, the adjusted test, pre-specified subgroups and the tipping point."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.analysis import Analysis
from trialml.data.quality import DataQuality
from trialml.data.roles import Covariate
from trialml.data.trial import Trial
from trialml.effects.adjusted_logrank import AdjustedLogRank, adjusted_logrank
from trialml.effects.contrast import Contrast, contrast
from trialml.effects.not_done import NotDone
from trialml.effects.subgroups import SubgroupEffects, cut_labels, subgroup_effects
from trialml.effects.tipping_point import TippingPoint
from trialml.effects.tipping_survival import tipping_point_survival
from trialml.errors import AnalysisError
from trialml.models.encode import CovariateEncoder

__all__ = ["compare", "subgroup_factors"]

_SEED = 21
"""The step of the tipping point's draws."""


def compare(analysis: Analysis, quality: DataQuality) -> Contrast:
    """Estimate the effect for the primary and the secondary contrasts, then look closer at the primary one.

    Parameters
    ----------
    analysis
        The results so far; the new ones are added.
    quality
        Names the covariates that are not used.

    Returns
    -------
    Contrast
        What the planning of the next trial starts from.

    Raises
    ------
    AnalysisError
        If the primary contrast cannot be estimated. What else cannot be done becomes a result of words.
    """
    trial, endpoint, treatment = analysis.trial, analysis.trial.endpoint, analysis.trial.treatment
    effect = contrast(
        trial.time,
        trial.event,
        np.asarray(trial.frame["arm"], dtype=np.object_),
        control=treatment.control,
        experimental=treatment.experimental,
        secondary=treatment.secondary,
        labels=dict(treatment.labels),
        factor=trial.factor,
        horizon=endpoint.horizon,
        tau=endpoint.tau,
        unit=endpoint.unit,
    )
    analysis.add(effect)
    primary = trial.only(treatment.control, treatment.experimental)
    asked = analysis.study.effects
    if asked.adjusted_logrank:
        _adjust(analysis, primary.without(*quality.not_used))
    if asked.subgroups:
        _look_into_subgroups(analysis, primary)
    if asked.tipping_point_imputations:
        _tip(analysis, primary)
    return effect


def _adjust(analysis: Analysis, primary: Trial) -> None:
    """Test with all covariates, filled in blind to arm and outcome, with an indicator for what was missing."""
    if not primary.covariates:
        analysis.add(NotDone(AdjustedLogRank.title, "every covariate in [covariates] is constant"))
        return
    try:
        encoder = CovariateEncoder().fit(primary.baseline)
        columns = pd.DataFrame(encoder.transform(primary.baseline), columns=list(encoder.get_feature_names_out()))
        analysis.add(
            adjusted_logrank(
                primary.time,
                primary.event,
                primary.treated,
                columns,
                strata=primary.factor,
                experimental=primary.treatment.label(primary.treatment.experimental),
            )
        )
    except AnalysisError as error:
        analysis.add(NotDone(AdjustedLogRank.title, str(error).rstrip(".")))


def _look_into_subgroups(analysis: Analysis, primary: Trial) -> None:
    """Estimate the effect in the subgroups that the study file names."""
    try:
        analysis.add(
            subgroup_effects(
                primary.time,
                primary.event,
                primary.treated,
                subgroup_factors(analysis, primary),
                strata=primary.factor,
                prior_scale=analysis.study.effects.shrinkage_scale,
                experimental=primary.treatment.label(primary.treatment.experimental),
            )
        )
    except AnalysisError as error:
        analysis.add(NotDone(SubgroupEffects.title, str(error).rstrip(".")))


def subgroup_factors(analysis: Analysis, primary: Trial) -> dict[str, pd.Series]:
    """Return each factor's subgroups in words, in the order of the study file.

    Parameters
    ----------
    analysis
        Its study file names the factors, their cut-points and their words.
    primary
        The patients of the primary contrast.

    Returns
    -------
    dict
        By the factor's words a categorical column, one row a patient; missing where the subgroup is not known.

    Raises
    ------
    AnalysisError
        If a stratification factor cannot be told from the others.
    """
    asked = analysis.study.effects
    covariates = {covariate.name: covariate for covariate in primary.covariates}
    factors: dict[str, pd.Series] = {}
    for name in asked.subgroups:
        covariate = covariates.get(name)
        codes = asked.levels.get(name, {"0": "no", "1": "yes"} if covariate and covariate.kind == "binary" else {})
        labels = _labels_of(primary, name, covariate, asked.cut_points.get(name))
        present = labels.dropna().unique()
        order = [code for code in codes if code in present]
        order += [str(one) for one in labels.cat.categories if one in present and one not in codes]
        shown = labels.cat.set_categories(order).cat.rename_categories([codes.get(one, one) for one in order])
        factors[asked.labels.get(name, covariate.label if covariate else name)] = shown
    return factors


def _labels_of(primary: Trial, name: str, covariate: Covariate | None, cuts: tuple[float, ...] | None) -> pd.Series:
    """Return the subgroup of each patient as a categorical column, missing where it is not known."""
    if covariate is None:
        return pd.Series(_stratification(primary, name)).astype("category")
    column = primary.frame[name].reset_index(drop=True)
    if cuts is not None:
        return pd.Series(cut_labels(column, cuts))
    if covariate.kind == "binary":
        column = column.map({0.0: "0", 1.0: "1"})
    return column.astype("category")


def _stratification(primary: Trial, name: str) -> NDArray[np.object_]:
    """Return one stratification factor, read off the names of the cells."""
    factors = primary.treatment.stratification
    if len(factors) == 1:
        return np.asarray(primary.factor, dtype=object)
    parts = [cell.split(" / ") for cell in primary.factor]
    if any(len(part) != len(factors) for part in parts):
        raise AnalysisError(
            f"The stratification factor '{name}' cannot be told from the others, since a level holds ' / ': list it in [covariates] too."
        )
    return np.array([part[factors.index(name)] for part in parts], dtype=object)


def _tip(analysis: Analysis, primary: Trial) -> None:
    """Ask how much worse patients censored before the horizon must have done to change the conclusion."""
    try:
        analysis.add(
            tipping_point_survival(
                primary.time,
                primary.event,
                primary.treated,
                until=primary.endpoint.horizon,
                strata=primary.factor,
                imputations=analysis.study.effects.tipping_point_imputations,
                unit=primary.endpoint.unit,
                seed=analysis.seed(_SEED),
            )
        )
    except AnalysisError as error:
        analysis.add(NotDone(TippingPoint.title, str(error).rstrip(".")))
