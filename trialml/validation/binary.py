"""How good are the predicted probabilities of a binary endpoint, at a threshold and as probabilities?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.errors import AnalysisError, DataError, nearest
from trialml.result import Z95, Estimate, Kind, Result, format_count, format_number, format_p
from trialml.survival.auc import weighted_auc
from trialml.survival.ipcw import checked_risk, standard_error

__all__ = ["BinaryPerformance", "binary_performance"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
NULL = "null model"
AT_THRESHOLD = ("accuracy", "recall", "specificity", "precision", "F1")
SHORT = {"Brier score": "brier", "logarithmic loss": "log_loss", "AUC": "auc"}


@dataclass(frozen=True, eq=False)
class BinaryPerformance(Result):
    """Measures of one or several models of a binary endpoint, and their paired differences."""

    title = "Performance on a binary endpoint"
    methods = (
        "Predicted probabilities of the binary endpoint were judged by the Brier score, the logarithmic loss and the area under the ROC "
        "curve (DeLong's error); beside these proper scores, accuracy, recall, specificity and precision (Wilson's limits) and F1 (delta "
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
        rows = self.measures
        found = rows[(rows["measure"] == measure) & (rows["model"] == model) & (rows["reference"] == reference)]
        if found.empty:
            known = sorted(set(rows["measure"]) | set(rows["model"]))
            raise DataError(
                f"there is no {measure} of '{model}': {nearest(model if measure in known else measure, known)}"
            )
        row = found.iloc[0]
        scale = measure if not reference else f"difference in {measure} from {reference}"
        return Estimate(float(row["value"]), float(row["low"]), float(row["high"]), scale=scale, kind=self.kind,
                        se=float(row["se"]), n=self.n, events=self.events)  # fmt: skip

    def text(self) -> str:
        """Return Brier score, AUC and the threshold's measures of up to three models."""
        models = [name for name in dict.fromkeys(self.measures["model"]) if name != NULL]
        said = [
            f"{name}: Brier score {self.estimate('Brier score', name).text()}, AUC {self.estimate('AUC', name).text()}, and at a "
            f"threshold of {self.threshold:g} recall {self.estimate('recall', name).text()} and precision "
            f"{self.estimate('precision', name).text()}"
            for name in models[:3]
        ]
        return f"{'; '.join(said)} ({format_count(self.n)} patients, {format_count(self.events)} with the event; {self.kind})."

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
        rows = [
            (
                row.measure + (f" at {self.threshold:g}" if row.measure in AT_THRESHOLD else ""),
                row.model if not row.reference else f"{row.model} less {row.reference}",
                f"{format_number(row.value)} ({format_number(row.low)} to {format_number(row.high)})",
                "" if math.isnan(row.p) else format_p(row.p),
            )
            for row in self.measures.itertuples()
        ]
        return pd.DataFrame(rows, columns=["Measure", "Model", "Value (95% CI)", "p"])


class _Measured(NamedTuple):
    value: float
    low: float
    high: float
    se: float
    influence: Floats


def binary_performance(
    event: Any,
    risks: Mapping[str, Any],
    *,
    threshold: float,
    kind: Kind,
    reference: str | None = None,
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

    Returns
    -------
    BinaryPerformance
        Accuracy, recall (sensitivity), specificity, precision and F1 = 2 TP / (2 TP + FP + FN) at the threshold; NaN where
        their denominator is 0. The logarithmic loss is infinite where a risk of 0 or 1 was wrong. The null model gives
        everybody the share with the event.

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
    flags = np.asarray(event)
    if flags.ndim != 1 or flags.size == 0 or pd.isna(flags).any() or not np.isin(flags, (0, 1)).all():
        raise DataError(
            "event must be True (happened) or False, known of each patient: leave out or impute the unknown"
        )
    happened = flags.astype(bool)
    if happened.all() or not happened.any():
        raise AnalysisError(
            f"{int(happened.sum())} of {happened.size} patients have the event: performance needs some with and some without"
        )
    if not 0 < threshold < 1:
        raise DataError(f"threshold is {threshold:g}, but it must be a probability between 0 and 1")
    models = {name: checked_risk(risk, happened.size, f"the risk of '{name}'") for name, risk in risks.items()}
    if not models or NULL in models:
        raise DataError(f"risks names the models {list(risks)}: name one or more, none of them '{NULL}'")
    first = next(iter(models)) if reference is None else reference
    if first not in models:
        raise DataError(f"reference is '{first}', which is no model: {nearest(first, list(models))}")
    found = {name: _judge(happened, risk, threshold) for name, risk in models.items()}
    share = np.full(happened.size, happened.mean())
    found[NULL] = {name: _mean(values) for name, values in _losses(happened, share).items()}
    rows = _rows(found, first, happened)
    return BinaryPerformance(pd.DataFrame(rows), threshold, kind, happened.size, int(happened.sum()))


def _judge(happened: Flags, risk: Floats, threshold: float) -> dict[str, _Measured]:
    said = risk >= threshold
    every = np.ones(happened.size, dtype=bool)
    return {
        "accuracy": _proportion(said == happened, every),
        "recall": _proportion(said, happened),
        "specificity": _proportion(~said, ~happened),
        "precision": _proportion(happened, said),
        "F1": _f1(happened, said),
        "AUC": _auc(happened, risk),
        **{name: _mean(values) for name, values in _losses(happened, risk).items()},
    }


def _losses(happened: Flags, risk: Floats) -> dict[str, Floats]:
    given = np.where(happened, risk, 1 - risk)
    with np.errstate(divide="ignore"):
        return {"Brier score": (happened - risk) ** 2, "logarithmic loss": -np.log(given)}


def _mean(values: Floats) -> _Measured:
    value = float(values.mean())
    if not math.isfinite(value):
        return _Measured(value, math.nan, math.nan, math.nan, np.full(values.size, np.nan))
    se = standard_error(values)
    return _Measured(value, max(value - Z95 * se, 0.0), value + Z95 * se, se, values - value)


def _proportion(member: Flags, among: Flags) -> _Measured:
    """Return the share with Wilson's limits, which stay within 0 and 1."""
    m, n = int(among.sum()), among.size
    if m == 0:
        return _Measured(math.nan, math.nan, math.nan, math.nan, np.full(n, np.nan))
    share = float((member & among).sum()) / m
    scale = 1 + Z95**2 / m
    middle = (share + Z95**2 / (2 * m)) / scale
    half = Z95 / scale * math.sqrt(share * (1 - share) / m + Z95**2 / (4 * m**2))
    se = math.sqrt(share * (1 - share) / m)
    return _Measured(share, max(middle - half, 0.0), min(middle + half, 1.0), se, among * (member - share) * (n / m))


def _f1(happened: Flags, said: Flags) -> _Measured:
    both, wrong = said & happened, said != happened
    total = float(np.mean(2 * both + wrong))
    value = 2 * float(both.mean()) / total if total > 0 else math.nan
    influence = (2 * both * (1 - value) - value * wrong) / total if total > 0 else np.full(said.size, np.nan)
    se = standard_error(influence)
    return _Measured(value, max(value - Z95 * se, 0.0), min(value + Z95 * se, 1.0), se, influence)


def _auc(happened: Flags, risk: Floats) -> _Measured:
    value, part = weighted_auc(risk, happened, np.ones(risk.size))
    se = _delong(happened, part)
    return _Measured(value, max(value - Z95 * se, 0.0), min(value + Z95 * se, 1.0), se, part)


def _delong(happened: Flags, part: Floats) -> float:
    """Return DeLong's error of an area, or of a difference of two: the two groups' variances, each of its own size."""
    variance = 0.0
    for group in (happened, ~happened):
        size = int(group.sum())
        if size < 2:
            return math.nan
        variance += float(np.sum((part[group] * size / part.size) ** 2)) / (size * (size - 1))
    return math.sqrt(variance)


def _rows(found: dict[str, dict[str, _Measured]], first: str, happened: Flags) -> list[dict[str, Any]]:
    columns = ("measure", "model", "reference", "value", "low", "high", "se", "p")
    order = [NULL, first, *[name for name in found if name not in (NULL, first)]]
    rows: list[tuple[Any, ...]] = []
    for measure in found[first]:
        own = {name: found[name][measure] for name in order if measure in found[name]}
        rows += [(measure, name, "", *one[:4], math.nan) for name, one in own.items()]
        for base in [name for name in (NULL, first) if name in own]:
            for name, one in own.items():
                if name in (NULL, base):
                    continue
                gap = one.value - own[base].value
                apart = one.influence - own[base].influence
                se = _delong(happened, apart) if measure == "AUC" else standard_error(apart)
                rows.append((measure, name, base, gap, gap - Z95 * se, gap + Z95 * se, se, _p(gap, se)))
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _p(gap: float, se: float) -> float:
    return math.erfc(abs(gap / se) / math.sqrt(2)) if se > 0 else math.nan
