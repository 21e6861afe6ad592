"""What the treatment did: contrasts, the adjusted test, pre-specified subgroups and the tipping point."""

from __future__ import annotations

from typing import Any

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

__all__ = ["compare"]

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
    asked = analysis.study.effects
    covariates = {covariate.name: covariate for covariate in primary.covariates}
    factors: dict[str, NDArray[np.object_]] = {}
    orders: dict[str, list[str]] = {}
    for name in asked.subgroups:
        covariate = covariates.get(name)
        words = asked.labels.get(name, covariate.label if covariate else name)
        codes = asked.levels.get(name, {"0": "no", "1": "yes"} if covariate and covariate.kind == "binary" else {})
        labels = _labels_of(primary, name, covariate, asked.cut_points.get(name))
        factors[words] = np.array([one if one is None else codes.get(one, one) for one in labels], dtype=object)
        present = {one for one in factors[words] if one is not None}
        listed = list(codes.values()) or _rising(labels, primary, name)
        orders[words] = [one for one in listed if one in present] + sorted(present - set(listed))
    try:
        analysis.add(
            subgroup_effects(
                primary.time,
                primary.event,
                primary.treated,
                factors,
                strata=primary.factor,
                orders=orders,
                prior_scale=asked.shrinkage_scale,
                experimental=primary.treatment.label(primary.treatment.experimental),
            )
        )
    except AnalysisError as error:
        analysis.add(NotDone(SubgroupEffects.title, str(error).rstrip(".")))


def _labels_of(
    primary: Trial, name: str, covariate: Covariate | None, cuts: tuple[float, ...] | None
) -> NDArray[np.object_]:
    """Return the subgroup of each patient, None where it is not known."""
    if covariate is None:
        return _stratification(primary, name)
    column = primary.frame[name]
    if cuts is not None:
        return cut_labels(column.to_numpy(dtype=np.float64), cuts)
    missing = column.isna().to_numpy()
    if covariate.kind == "binary":
        words = np.where(column.fillna(0).to_numpy(dtype=np.float64) == 1, "1", "0").astype(object)
    else:
        words = column.fillna("").astype(str).to_numpy(dtype=object)
    words[missing] = None
    return np.asarray(words, dtype=object)


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


def _rising(labels: NDArray[np.object_], primary: Trial, name: str) -> list[str]:
    """Return the subgroups of a numeric covariate in the order of its values, nothing for other factors."""
    if name not in primary.frame or not pd.api.types.is_numeric_dtype(primary.frame[name]):
        return []
    values = primary.frame[name].to_numpy(dtype=np.float64)
    lowest: dict[Any, float] = {}
    for one, value in zip(labels, values, strict=True):
        if one is not None:
            lowest[one] = min(value, lowest.get(one, np.inf))
    return sorted(lowest, key=lowest.__getitem__)


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
