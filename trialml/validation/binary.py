"""How good are the predicted probabilities of a binary endpoint, at a threshold and as probabilities?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.errors import AnalysisError, DataError
from trialml.result import Z95, Estimate, Kind, Result, format_count, kind_words
from trialml.survival.auc import weighted_auc
from trialml.survival.intervals import wilson_limits
from trialml.survival.ipcw import checked_risk, standard_error
from trialml.validation.measured import (
    BY_ARM,
    NULL,
    Measured,
    checked_models,
    gains,
    mean_of,
    measured_estimate,
    measured_rows,
    measured_table,
)

__all__ = ["BinaryPerformance", "binary_performance", "known_events"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
AT_THRESHOLD = ("accuracy", "recall", "specificity", "precision", "F1")
SHORT = {"Brier score": "brier", "logarithmic loss": "log_loss", "AUC": "auc"}


@dataclass(frozen=True, eq=False)
class BinaryPerformance(Result):
    """Measures of one or several models of a binary endpoint, and their paired differences."""

    title = "Performance on a binary endpoint"
    methods = (
        "Predicted probabilities of the binary endpoint were judged by the Brier score, the logarithmic loss and the area under the ROC "
        "curve (DeLong's error), within a test fold where there are such; the index of prediction accuracy (IPA) is the share by which the "
        "Brier score is smaller than that of one probability for everybody or, within an arm, for everybody of the arm. Beside these, accuracy, recall, specificity and precision (Wilson's limits) and F1 (delta "
        "method) are given at the stated threshold. Differences of models are paired by patient."
    )
    references = (
        "DeLong ER, DeLong DM, Clarke-Pearson DL. Comparing the areas under two or more correlated receiver operating characteristic "
        "curves: a nonparametric approach. Biometrics 1988;44:837-845.",
        "Wilson EB. Probable inference, the law of succession, and statistical inference. J Am Stat Assoc 1927;22:209-212.",
    )

    measures: pd.DataFrame
    """Columns measure, model, reference (empty, or the model that is taken off), value, low, high, se, p (of a difference)."""
    threshold: float
    kind: Kind
    n: int
    events: int

    def frame(self) -> pd.DataFrame:
        """Return one row a measure and model, then the differences."""
        return self.measures

    def estimate(self, measure: str, model: str, reference: str = "") -> Estimate:
        """Return one number.

        Raises
        ------
        DataError
            If there is no such number.
        """
        known = {"n": self.n, "events": self.events}
        return measured_estimate(self.measures, measure, model, reference, kind=self.kind, **known)

    def text(self) -> str:
        """Return Brier score, AUC and the threshold's measures of up to three models."""
        models = [name for name in dict.fromkeys(self.measures["model"]) if name not in (NULL, BY_ARM)]
        said = [
            f"{name}: Brier score {self.estimate('Brier score', name).text()}, AUC {self.estimate('AUC', name).text()}, and at a "
            f"threshold of {self.threshold:g} recall {self.estimate('recall', name).text()} and precision "
            f"{self.estimate('precision', name).text()}"
            for name in models[:3]
        ]
        return f"{'; '.join(said)} ({format_count(self.n)} patients, {format_count(self.events)} with the event; {kind_words(self.kind)})."

    def scalars(self) -> dict[str, float]:
        """Return every number with limits."""
        numbers: dict[str, float] = {}
        for row in self.measures.itertuples():
            less = f"_less_{row.reference}" if row.reference else ""
            at = f"_at_{self.threshold:g}" if row.measure in AT_THRESHOLD else ""
            name = f"{SHORT.get(row.measure, row.measure.lower())}{at}_{row.model}{less}_{self.kind}".replace(" ", "_")
            numbers |= {name: row.value, f"{name}_low": row.low, f"{name}_high": row.high}
        return numbers

    def table(self) -> pd.DataFrame:
        """Return the numbers as words."""
        at = f" at {self.threshold:g}"
        return measured_table(self.measures, lambda name: name + (at if name in AT_THRESHOLD else ""))


def binary_performance(
    event: Any,
    risks: Mapping[str, Any],
    *,
    threshold: float,
    kind: Kind,
    reference: str | None = None,
    fold: Any = None,
    null_risk: Any = None,
    null_risk_by_arm: Any = None,
) -> BinaryPerformance:
    """Judge predicted probabilities of a binary endpoint.

    Parameters
    ----------
    event
        True where the event happened, known of everybody, shape ``(n,)``; where follow-up may have been cut before, use
        `performance`.
    risks
        Of each model by name the predicted probability of the event, shape ``(n,)``.
    threshold
        From which probability on the event is predicted, within 0 and 1: set before the data were seen.
    kind
        What the predictions are: ``"apparent"``, ``"crossfit"``, ``"external"`` and so on.
    reference
        The model from which the others' differences are taken; the first by default.
    fold
        The test fold of each patient, shape ``(n,)``: the area then compares patients of one fold alone, weighted by
        their pairs, because models of different folds order patients of different folds by chance.
    null_risk, null_risk_by_arm
        What everybody, and everybody of the patient's arm, is given by the null models, learned elsewhere, shape
        ``(n,)``; by default the share with the event of these patients, and no null model by arm.

    Returns
    -------
    BinaryPerformance
        Accuracy, recall (sensitivity), specificity, precision and F1 = 2 TP / (2 TP + FP + FN) at the threshold; NaN where
        their denominator is 0. The logarithmic loss is infinite where a risk of 0 or 1 was wrong. The index of prediction
        accuracy (IPA) is the share by which the Brier score is smaller than the null model's.

    Raises
    ------
    DataError
        If an event is missing, a risk is no probability, or `reference` is no model.
    AnalysisError
        If all or none have the event.

    References
    ----------
    Brier GW. Verification of forecasts expressed in terms of probability. Mon Weather Rev 1950;78:1-3.
    """
    happened = known_events(event)
    if happened.all() or not happened.any():
        raise AnalysisError(
            f"{int(happened.sum())} of {happened.size} patients have the event: performance needs some with and some without"
        )
    if not 0 < threshold < 1:
        raise DataError(f"threshold is {threshold:g}, but it must be a probability between 0 and 1")
    n = happened.size
    models, first = checked_models(
        risks, reference, "risks", lambda risk, name: checked_risk(risk, n, f"the risk of '{name}'")
    )
    folds = np.zeros(n, dtype=np.intp) if fold is None else np.unique(np.asarray(fold), return_inverse=True)[1]
    if folds.shape != (n,):
        raise DataError(f"fold must hold one label for each of the {n} patients, but has the shape {folds.shape}")
    found = {name: _judge(happened, risk, threshold, folds) for name, risk in models.items()}
    nulls = {NULL: np.full(n, happened.mean()) if null_risk is None else null_risk}
    nulls |= {} if null_risk_by_arm is None else {BY_ARM: null_risk_by_arm}
    for name, risk in nulls.items():
        losses = _losses(happened, checked_risk(risk, n, f"the risk of the {name}"))
        found[name] = {loss: mean_of(values) for loss, values in losses.items()}
    for name, more in gains(found, "Brier score", "IPA").items():
        found[name] |= more

    def error(measure: str, apart: Floats) -> float:
        return _delong(happened, apart) if measure == "AUC" else standard_error(apart)

    return BinaryPerformance(measured_rows(found, first, error), threshold, kind, n, int(happened.sum()))


def known_events(event: Any) -> Flags:
    """Return whether the event happened, shape ``(n,)``, or refuse.

    Raises
    ------
    DataError
        If an event is missing, or neither true nor false.
    """
    flags = np.asarray(event)
    if flags.ndim != 1 or flags.size == 0 or pd.isna(flags).any() or not np.isin(flags, (0, 1)).all():
        raise DataError(
            "event must be True (happened) or False, known of each patient: leave out or impute the unknown"
        )
    return flags.astype(bool)


def _judge(happened: Flags, risk: Floats, threshold: float, fold: NDArray[np.intp]) -> dict[str, Measured]:
    said = risk >= threshold
    every = np.ones(happened.size, dtype=bool)
    return {
        "accuracy": _proportion(said == happened, every),
        "recall": _proportion(said, happened),
        "specificity": _proportion(~said, ~happened),
        "precision": _proportion(happened, said),
        "F1": _f1(happened, said),
        "AUC": _auc(happened, risk, fold),
        **{name: mean_of(values) for name, values in _losses(happened, risk).items()},
    }


def _losses(happened: Flags, risk: Floats) -> dict[str, Floats]:
    given = np.where(happened, risk, 1 - risk)
    with np.errstate(divide="ignore"):
        return {"Brier score": (happened - risk) ** 2, "logarithmic loss": -np.log(given)}


def _proportion(member: Flags, among: Flags) -> Measured:
    m, n = int(among.sum()), among.size
    if m == 0:
        return Measured(math.nan, math.nan, math.nan, math.nan, np.full(n, np.nan))
    share = float((member & among).sum()) / m
    se = math.sqrt(share * (1 - share) / m)
    return Measured(share, *wilson_limits(share, m, Z95), se, among * (member - share) * (n / m))


def _f1(happened: Flags, said: Flags) -> Measured:
    both, wrong = said & happened, said != happened
    total = float(np.mean(2 * both + wrong))
    value = 2 * float(both.mean()) / total if total > 0 else math.nan
    influence = (2 * both * (1 - value) - value * wrong) / total if total > 0 else np.full(said.size, np.nan)
    se = standard_error(influence)
    return Measured(value, max(value - Z95 * se, 0.0), min(value + Z95 * se, 1.0), se, influence)


def _auc(happened: Flags, risk: Floats, fold: NDArray[np.intp]) -> Measured:
    """Return the area among patients of one fold, weighted by their pairs."""
    value, part, pairs = 0.0, np.zeros(risk.size), 0.0
    for label in np.unique(fold):
        own = np.flatnonzero(fold == label)
        cases = int(happened[own].sum())
        if not 0 < cases < own.size:
            continue
        number = float(cases * (own.size - cases))
        area, moved = weighted_auc(risk[own], happened[own], np.ones(own.size))
        value, pairs = value + number * area, pairs + number
        part[own] = moved * number * (risk.size / own.size)
    if not pairs:
        return Measured(math.nan, math.nan, math.nan, math.nan, np.full(risk.size, np.nan))
    value, part = value / pairs, part / pairs
    se = _delong(happened, part)
    return Measured(value, max(value - Z95 * se, 0.0), min(value + Z95 * se, 1.0), se, part)


def _delong(happened: Flags, part: Floats) -> float:
    """Return DeLong's error of an area, or of a difference of two: the two groups' variances, each of its own size."""
    variance = 0.0
    for group in (happened, ~happened):
        size = int(group.sum())
        if size < 2:
            return math.nan
        variance += float(np.sum((part[group] * size / part.size) ** 2)) / (size * (size - 1))
    return math.sqrt(variance)
