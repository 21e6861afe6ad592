"""How well predicted risks order patients and come true over time, and which of several models does so better."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.errors import DataError, nearest
from trialml.result import COLOURS, Z95, Estimate, Kind, Result, format_count, format_number, format_p, kind_words
from trialml.survival.auc import cumulative_dynamic_auc
from trialml.survival.brier import brier, index_of_accuracy, mean_over_time
from trialml.survival.concordance import ConcordanceWeighting, concordance
from trialml.survival.ipcw import (
    Censoring,
    Outcome,
    censoring_of,
    checked_outcome,
    checked_risk,
    observed_risk,
    standard_error,
)
from trialml.survival.product_limit import Curve
from trialml.survival.ties import not_after

__all__ = ["Performance", "performance"]

Floats = NDArray[np.float64]
NULL = "null model"
SHORT = {
    "AUC": "auc",
    "Brier score": "brier",
    "IPA": "ipa",
    "integrated Brier score": "ibs",
    "integrated IPA": "integrated_ipa",
    "Harrell's C": "harrell_c",
    "Uno's C": "uno_c",
}


@dataclass(frozen=True, eq=False)
class Performance(Result):
    """Measures of one or several models at one or several horizons, and their paired differences."""

    title = "Performance of the predicted risks"
    methods = (
        "Discrimination at a horizon is the cumulative/dynamic area under the ROC curve (AUC), prediction error the Brier score and "
        "the index of prediction accuracy (IPA), the share by which it is smaller than that of one Kaplan-Meier risk (with competing "
        "events one Aalen-Johansen risk) for everybody; all are weighted by the inverse probability of remaining uncensored. The "
        "integrated Brier score is the mean over time up to the last horizon, by trapezoids from 0 at time 0. Standard errors are "
        "those of the patients' influences, in which the estimated censoring counts; differences of models are paired by patient. "
        "Patients with a competing event stay as patients without the event."
    )
    references = (
        "Blanche P, Dartigues JF, Jacqmin-Gadda H. Estimating and comparing time-dependent areas under receiver operating "
        "characteristic curves for censored event times with competing risks. Stat Med 2013;32:5381-5397.",
        "Graf E, Schmoor C, Sauerbrei W, Schumacher M. Assessment and comparison of prognostic classification schemes for "
        "survival data. Stat Med 1999;18:2529-2545.",
        "Kattan MW, Gerds TA. The index of prediction accuracy. Diagn Progn Res 2018;2:7.",
        "Uno H, Cai T, Pencina MJ, D'Agostino RB, Wei LJ. On the C-statistics for evaluating overall adequacy of risk prediction "
        "procedures with censored survival data. Stat Med 2011;30:1105-1117.",
    )

    measures: pd.DataFrame
    """Columns measure, horizon, model, reference (empty for a measure itself, else the model that is taken off), value,
    low, high, se, p (of a difference, two-sided; else NaN), n, events."""
    kind: Kind
    unit: str

    def heading(self) -> str:
        """Return the title, of one model at several horizons with what it shows."""
        return "Performance over time" if self._over_time else self.title

    @property
    def _over_time(self) -> bool:
        models = [name for name in self.measures["model"].unique() if name != NULL]
        at = self.measures["horizon"]
        return len(models) == 1 and bool(at.max() > at.min())

    def frame(self) -> pd.DataFrame:
        """Return one row a measure, horizon and model, then the differences."""
        return self.measures

    def estimate(self, measure: str, model: str, horizon: float | None = None, *, reference: str = "") -> Estimate:
        """Return one number; `horizon` may be left out for the last.

        Raises
        ------
        DataError
            If there is no such number.
        """
        rows = self.measures
        found = rows[(rows["measure"] == measure) & (rows["model"] == model) & (rows["reference"] == reference)]
        if horizon is not None:
            found = found[found["horizon"] == horizon]
        if found.empty:
            known = sorted(set(rows["measure"]) | set(rows["model"]))
            asked = measure if measure not in known else model
            raise DataError(f"there is no {measure} of '{model}' at {horizon}: {nearest(asked, known)}")
        row = found.iloc[-1]
        scale = measure if not reference else f"difference in {measure} from {reference}"
        return Estimate(float(row["value"]), float(row["low"]), float(row["high"]), scale=scale, kind=self.kind,
                        se=float(row["se"]), n=int(row["n"]), events=int(row["events"]))  # fmt: skip

    @property
    def _last(self) -> pd.DataFrame:
        return self.measures[self.measures["horizon"] == self.measures["horizon"].max()]

    def text(self) -> str:
        """Return AUC and IPA of up to three models at the last horizon, and the first difference in Brier score."""
        last = self._last
        shown = last[(last["measure"] == "AUC") & (last["reference"] == "")].head(3)
        said = [
            f"{row.model}: AUC {self.estimate('AUC', row.model).text()}, IPA {self.estimate('IPA', row.model).text()}"
            for row in shown.itertuples()
        ]
        horizon, first = last["horizon"].iloc[0], last.iloc[0]
        if self._over_time:
            early = float(self.measures["horizon"].min())
            name = shown["model"].iloc[0]
            said[0] += (
                f"; by {early:g} {self.unit} AUC {self.estimate('AUC', name, early).text()}, IPA {self.estimate('IPA', name, early).text()}"
            )
        text = (
            f"At {horizon:g} {self.unit} ({format_count(first['n'])} patients, {format_count(first['events'])} events by then; "
            f"{kind_words(self.kind)}): {'; '.join(said)}."
        )
        gaps = last[(last["measure"] == "Brier score") & ~last["reference"].isin(["", NULL])]
        for row in gaps.head(1).itertuples():
            gap = self.estimate("Brier score", row.model, reference=row.reference)
            text += (
                f" The Brier score of {row.model} less that of {row.reference} is {gap.text()} (paired, p {_equals(row.p)}; below 0 "
                f"favours {row.model})."
            )
        return text

    def scalars(self) -> dict[str, float]:
        """Return the measures and differences at the last horizon, with limits."""
        numbers: dict[str, float] = {}
        for row in self._last.itertuples():
            less = f"_less_{row.reference}" if row.reference else ""
            name = f"{SHORT[row.measure]}_{row.model}{less}_{row.horizon:g}{self.unit}_{self.kind}".replace(" ", "_")
            numbers |= {name: row.value, f"{name}_low": row.low, f"{name}_high": row.high}
        return numbers

    def table(self) -> pd.DataFrame:
        """Return the measures at the last horizon as words; of one model at several horizons a row each."""
        if self._over_time:
            return self._by_horizon()
        rows = [
            (
                row.measure,
                row.model if not row.reference else f"{row.model} less {row.reference}",
                f"{format_number(row.value)} ({format_number(row.low)} to {format_number(row.high)})",
                "" if math.isnan(row.p) else format_p(row.p),
            )
            for row in self._last.itertuples()
        ]
        return pd.DataFrame(rows, columns=["Measure", "Model", "Value (95% CI)", "p"])

    def _by_horizon(self) -> pd.DataFrame:
        model = next(name for name in self.measures["model"] if name != NULL)
        rows = []
        for horizon, own in self.measures.groupby("horizon"):
            found = [self.estimate(name, model, horizon) for name in ("AUC", "Brier score", "IPA")]
            shown = [f"{format_number(e.value)} ({format_number(e.low)} to {format_number(e.high)})" for e in found]
            null = format_number(self.estimate("Brier score", NULL, horizon).value)
            rows.append((f"{horizon:g}", format_count(own["events"].iloc[0]), *shown, null))
        heads = ["AUC (95% CI)", "Brier score (95% CI)", "IPA (95% CI)", "Null model's Brier score"]
        return pd.DataFrame(rows, columns=[f"By ({self.unit})", "Events", *heads])

    def draw(self, figure: Any) -> None:
        """Draw AUC and Brier score over time with pointwise intervals."""
        rows = self.measures[self.measures["reference"] == ""]
        models = [name for name in rows["model"].unique() if name != NULL]
        colours = [COLOURS[name] for name in ("experimental", "third", "fourth", "fifth", "control")]
        for axes, measure in zip(figure.subplots(1, 2), ("AUC", "Brier score"), strict=True):
            for model, own in rows[rows["measure"] == measure].groupby("model", sort=False):
                colour = COLOURS["reference"] if model == NULL else colours[models.index(model) % len(colours)]
                axes.fill_between(own["horizon"], own["low"], own["high"], color=colour, alpha=0.15, linewidth=0)
                axes.plot(
                    own["horizon"], own["value"], marker="o" if len(own) < 10 else None, color=colour, label=model
                )
            axes.set_xlabel(f"Horizon ({self.unit})")
            axes.set_ylabel(f"{measure} (95% CI)")
            axes.legend(frameon=False, fontsize=8)


def _equals(p: float) -> str:
    shown = format_p(p)
    return shown if shown[0] in "<>" else f"= {shown}"


class _Measured(NamedTuple):
    """One number with the patients' influences, on which differences pair; sums of influences for a concordance."""

    value: float
    se: float
    influence: Floats
    inside: bool  # whether the limits are cut at 0 and 1


def performance(
    time: Any,
    event: Any,
    risks: Mapping[str, Any],
    *,
    horizons: Sequence[float],
    unit: str,
    kind: Kind,
    competing: Any = None,
    censoring: Curve | Censoring | None = None,
    null_risk: Any = None,
    reference: str | None = None,
) -> Performance:
    """Judge predicted risks at one or several horizons.

    Parameters
    ----------
    time, event
        Follow-up times and True where the event happened, shape ``(n,)``.
    risks
        Of each model by name the predicted probabilities of the event by each horizon, shape ``(n, horizons)``, or
        ``(n,)`` for one horizon.
    horizons, unit
        Ascending; beyond the last at least 10 patients must be followed.
    kind
        What the predictions are: ``"apparent"``, ``"crossfit"``, ``"external"`` and so on.
    competing
        True where a competing event ended follow-up, shape ``(n,)``.
    censoring
        As in `brier`: Kaplan-Meier of these patients by default, or `cox_censoring`, or a known curve; Uno's C
        weighs by the same.
    null_risk
        The null model's risk by each horizon, from the training data, shape ``(horizons,)``; by default that of these
        patients.
    reference
        The model from which the others' differences are taken; the first by default.

    Returns
    -------
    Performance
        AUC, Brier score and IPA at each horizon, the integrated scores up to the last, and Harrell's and Uno's C of the
        risk by the last horizon up to it. A difference has the paired error and two-sided
        p. Limits are Wald's, cut at what the measure can be.

    Raises
    ------
    DataError
        If the data cannot be used, a risk is missing or outside 0 to 1, or `reference` is no model.
    AnalysisError
        If fewer than 10 patients are followed beyond a horizon, or nobody has had the event by it.
    """
    outcome = checked_outcome(time, event, competing)
    times = np.atleast_1d(np.asarray(horizons, dtype=float))
    matrices = {name: _matrix(risk, outcome.time.size, times.size, name) for name, risk in risks.items()}
    if not matrices or NULL in matrices:
        raise DataError(f"risks names the models {list(risks)}: name one or more, none of them '{NULL}'")
    first = next(iter(matrices)) if reference is None else reference
    if first not in matrices:
        raise DataError(f"reference is '{first}', which is no model: {nearest(first, list(matrices))}")
    model = censoring_of(outcome, censoring)
    if null_risk is None:
        nulls = observed_risk(outcome, times)
    else:
        nulls = checked_risk(np.atleast_1d(null_risk), times.size, "null_risk", "horizons")
    found: dict[tuple[str, float], dict[str, _Measured]] = {}
    for name, matrix in matrices.items():
        _judge(outcome, name, matrix, times, nulls, model, found)
        _add_concordances(outcome, name, matrix[:, -1], times, censoring, found)
    order = [first, *[name for name in matrices if name != first]]
    rows = [
        row
        for (measure, horizon), one in found.items()
        for row in _rows(measure, horizon, one, order, int((outcome.event & not_after(outcome.time, horizon)).sum()))
    ]
    frame = pd.DataFrame(rows).sort_values(["horizon"], kind="stable", ignore_index=True)
    return Performance(measures=frame, kind=kind, unit=unit)


def _matrix(risk: Any, n: int, horizons: int, name: str) -> Floats:
    matrix = np.asarray(risk, dtype=float)
    matrix = matrix[:, None] if matrix.ndim == 1 else matrix
    if matrix.shape != (n, horizons):
        raise DataError(f"the risks of '{name}' have shape {matrix.shape}: pass one row a patient ({n}) and one column a "
                        f"horizon ({horizons})")  # fmt: skip
    return np.asfortranarray(matrix)


def _judge(
    outcome: Outcome,
    name: str,
    matrix: Floats,
    times: Floats,
    nulls: Floats,
    model: Censoring,
    found: dict[tuple[str, float], dict[str, _Measured]],
) -> None:
    """Add a model's measures to `found`, by measure and horizon."""
    arguments: dict[str, Any] = {"competing": outcome.competing, "censoring": model}
    scores, moves = np.empty((2, times.size)), np.empty((2, times.size, outcome.time.size))
    for k, horizon in enumerate(times.tolist()):
        risk = matrix[:, k]
        one = brier(outcome.time, outcome.event, risk, horizon, null_risk=float(nulls[k]), **arguments)
        area = cumulative_dynamic_auc(outcome.time, outcome.event, risk, horizon, **arguments)
        scores[:, k], moves[0, k], moves[1, k] = (one.value, one.null), one.influence, one.null_influence
        found.setdefault(("AUC", horizon), {})[name] = _Measured(*area[:3], inside=True)
        _add_scores(found, "Brier score", "IPA", horizon, name, scores[:, k], moves[:, k])
    last = float(times[-1])
    if times.size > 1:
        both = mean_over_time(times, scores.T)
        integrated = np.stack([mean_over_time(times, one) for one in moves])
        _add_scores(found, "integrated Brier score", "integrated IPA", last, name, both, integrated)


def _add_concordances(
    outcome: Outcome,
    name: str,
    risk: Floats,
    times: Floats,
    censoring: Curve | Censoring | None,
    found: dict[tuple[str, float], dict[str, _Measured]],
) -> None:
    last = float(times[-1])
    kinds: tuple[tuple[str, ConcordanceWeighting], ...] = (("Harrell's C", "harrell"), ("Uno's C", "uno"))
    for measure, weighting in kinds:
        c = concordance(outcome.time, outcome.event, risk, tau=last, weighting=weighting,
                        censoring=censoring if weighting == "uno" else None, competing=outcome.competing)  # fmt: skip
        # Influences whose mean is the number's error, as the other measures have them.
        scaled = c.influence * math.sqrt(c.influence.size * (c.influence.size - 1))
        found.setdefault((measure, last), {})[name] = _Measured(c.value, c.se, scaled, inside=True)


def _add_scores(
    found: dict[tuple[str, float], dict[str, _Measured]],
    score: str,
    accuracy: str,
    horizon: float,
    name: str,
    values: Floats,
    moves: Floats,
) -> None:
    value, null = float(values[0]), float(values[1])
    of_scores = found.setdefault((score, horizon), {})
    of_scores[name] = _Measured(value, standard_error(moves[0]), moves[0], inside=True)
    of_scores[NULL] = _Measured(null, standard_error(moves[1]), moves[1], inside=True)
    ipa, gain = index_of_accuracy(value, moves[0], null, moves[1])
    found.setdefault((accuracy, horizon), {})[name] = _Measured(ipa, standard_error(gain), gain, inside=False)


def _rows(
    measure: str, horizon: float, found: dict[str, _Measured], order: list[str], events: int
) -> list[dict[str, Any]]:
    known = [name for name in [NULL, *order] if name in found]
    n = found[known[0]].influence.size
    rows = []
    for name in known:
        one = found[name]
        low, high = one.value - Z95 * one.se, one.value + Z95 * one.se
        if one.inside:
            low, high = max(low, 0.0), min(high, 1.0)
        rows.append(_row(measure, horizon, name, "", one.value, low, min(high, 1.0), one.se, math.nan, n, events))
    for base in [name for name in (NULL, order[0]) if name in found]:
        for name in known:
            if name in (NULL, base):
                continue
            gap = found[name].value - found[base].value
            se = standard_error(found[name].influence - found[base].influence)
            p = math.erfc(abs(gap / se) / math.sqrt(2)) if se > 0 else math.nan
            rows.append(_row(measure, horizon, name, base, gap, gap - Z95 * se, gap + Z95 * se, se, p, n, events))
    return rows


def _row(*values: Any) -> dict[str, Any]:
    columns = ("measure", "horizon", "model", "reference", "value", "low", "high", "se", "p", "n", "events")
    return dict(zip(columns, values, strict=True))
