"""Is it worth treating by the model? The value of a rule against treating everybody, nobody, and as many at random."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.disclosure import SMALLEST_CELL
from trialml.errors import DataError
from trialml.result import (
    COLOURS,
    Z95,
    Estimate,
    Kind,
    Result,
    format_count,
    format_number,
    kind_words,
    plain_text,
    with_limits,
)
from trialml.validation.benefit import HeldOutBenefit, repeated_se, rmst_scale

__all__ = ["PolicyValue", "policy_value"]

Floats = NDArray[np.float64]
MODEL, EVERYBODY, NOBODY, RANDOM = "by the model", "everybody", "nobody", "as many at random"


@dataclass(frozen=True, eq=False)
class PolicyValue(Result):
    """The mean gain per patient of treating by expected benefit, and its paired differences from simpler rules."""

    title = "Value of treating by expected benefit"
    figure_size = (6.4, 3.6)
    references = (
        "Athey S, Wager S. Policy learning with observational data. Econometrica 2021;89:133-161.",
        "Vickers AJ, Kattan MW, Sargent D. Method for evaluating prediction models that apply the results of randomized trials to "
        "individual patients. Trials 2007;8:14.",
    )

    values: pd.DataFrame
    """Columns threshold, policy, reference (``nobody``, or what is subtracted), value, low, high, se, share (treated; NaN for
    a difference and where it or the rest would be fewer than 11 patients)."""
    repeats: int
    n: int
    kind: Kind
    unit: str
    tau: float
    scale: str

    @property
    def methods(self) -> str:  # type: ignore[override]
        """How the value of a policy is defined and estimated."""
        said = (
            "The value of a policy is the mean over all patients of (doubly robust score - threshold) where it treats and of 0 where it does "
            "not: the gain on treating nobody, less the threshold, the smallest gain worth a treatment, for each who is treated. "
            "The model treats whom it expects to gain more than the threshold. Differences between policies are paired. Treating as "
            "many at random is the model's share times the value of treating everybody."
        )
        if self.kind != "crossfit":
            return said
        return (
            f"{said} Nobody's expectation came from a model that had seen the patient; values are averaged over repeats, with the standard error of a "
            "single repeat, and belong to the average of the rules that the repeats learned."
        )

    def frame(self) -> pd.DataFrame:
        """Return one row a threshold and policy, then the differences."""
        return self.values

    def estimate(self, policy: str, reference: str = NOBODY, threshold: float | None = None) -> Estimate:
        """Return one value, or a difference between two policies.

        Parameters
        ----------
        policy, reference
            ``by the model`` or ``everybody``; ``nobody``, ``everybody`` or ``as many at random``.
        threshold
            The first by default.

        Raises
        ------
        DataError
            If there is no such comparison.
        """
        at = float(self.values["threshold"].iloc[0]) if threshold is None else threshold
        rows = self.values
        found = rows[(rows["policy"] == policy) & (rows["reference"] == reference) & np.isclose(rows["threshold"], at)]
        if found.empty:
            raise DataError(
                f"there is no value of '{policy}' against '{reference}' at {at:g}: thresholds are {sorted(set(rows['threshold']))}"
            )
        row = found.iloc[0]
        return Estimate(float(row["value"]), float(row["low"]), float(row["high"]), scale=f"{self.scale}, mean per patient", unit=self.unit,
                        kind=self.kind, se=float(row["se"]), n=self.n, method="doubly robust, standard error of one repeat")  # fmt: skip

    def text(self) -> str:
        """Return the value at the first threshold against treating everybody, and whether a difference is shown."""
        threshold = float(self.values["threshold"].iloc[0])
        every, gain = self.estimate(EVERYBODY), self.estimate(MODEL, EVERYBODY)
        row = self._row(threshold, MODEL)
        share = "" if math.isnan(row["share"]) else f" ({100 * row['share']:.0f} % of patients)"
        unit = f" {self.unit}" if self.unit else ""
        least = f", less {format_number(threshold)}{unit} for each patient treated" if threshold else ""
        of = f"{kind_words(self.kind)}, {format_count(self.n)} patients"
        said = (
            f"Treating whom the model expects to gain more than {format_number(threshold)}{unit}{share} is worth "
            f"{self.estimate(MODEL).text()} a patient on treating nobody{least}; treating everybody {every.text()} (scale: {self.scale}; {of})."
        )
        if math.isnan(row["value"]):
            said = (
                f"The model treats fewer than {SMALLEST_CELL} patients: what that is worth cannot be estimated. Treating everybody is worth "
                f"{every.text()} a patient on treating nobody{least} (scale: {self.scale}; {of})."
            )
        if math.isnan(gain.value):
            return f"{said} The model leaves fewer than {SMALLEST_CELL} patients untreated: too few to judge the difference."
        if math.isnan(gain.low):
            return f"{said} The model treats everybody: there is no difference to judge."
        said += f" The difference between the two is {gain.text()}."
        if gain.low <= 0 <= gain.high:
            return (
                f"{said} The interval includes 0: the data do not show that choosing by the model is better or worse."
            )
        return f"{said} Choosing by the model is {'better' if gain.low > 0 else 'worse'} than treating everybody."

    def _row(self, threshold: float, policy: str) -> dict[str, Any]:
        rows = self.values
        chosen = rows[(rows["threshold"] == threshold) & (rows["policy"] == policy) & (rows["reference"] == NOBODY)]
        return {str(name): value for name, value in chosen.iloc[0].items()}

    def scalars(self) -> dict[str, float]:
        """Return the first threshold's values and differences, with limits."""
        named = {
            f"policy_value_model_{self.kind}": self.estimate(MODEL),
            f"policy_value_everybody_{self.kind}": self.estimate(EVERYBODY),
            f"policy_value_model_less_everybody_{self.kind}": self.estimate(MODEL, EVERYBODY),
            f"policy_value_model_less_random_{self.kind}": self.estimate(MODEL, RANDOM),
        }
        return with_limits(named)

    def table(self) -> pd.DataFrame:
        """Return values and differences for reading."""
        unit = f", {self.unit}" if self.unit else ""
        shown = []
        for row in self.values.itertuples():
            limits = "" if math.isnan(row.low) else f" ({format_number(row.low)} to {format_number(row.high)})"
            compared = "" if row.reference == NOBODY else f" less {row.reference}"
            shown.append(
                {
                    f"Treat above{unit}": format_number(row.threshold),
                    "Policy": f"{row.policy}{compared}",
                    "Share treated": "" if math.isnan(row.share) else f"{100 * row.share:.0f} %",
                    f"Mean gain a patient (95% CI){unit}": f"{format_number(row.value)}{limits}",
                }
            )
        return pd.DataFrame(shown)

    def draw(self, figure: Any) -> None:
        """Draw the first threshold's values and differences, one row each."""
        axes = figure.subplots()
        rows = self.values[self.values["threshold"] == self.values["threshold"].iloc[0]].iloc[::-1]
        rows = rows[rows["value"].notna()]
        for place, row in enumerate(rows.itertuples()):
            colour = COLOURS["experimental"] if row.reference == NOBODY else COLOURS["third"]
            axes.plot([row.low, row.high], [place, place], color=colour, linewidth=2)
            axes.plot(row.value, place, "s", color=colour)
        words = [
            row.policy if row.reference == NOBODY else f"{row.policy}\nless {row.reference}"
            for row in rows.itertuples()
        ]
        axes.set_yticks(range(len(rows)), words)
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.axvline(0, color="black", linewidth=0.8)
        unit = f" ({plain_text(self.unit)})" if self.unit else ""
        axes.set_xlabel(f"Mean gain a patient{unit}: {plain_text(self.scale)}")


def policy_value(
    held: HeldOutBenefit,
    *,
    unit: str,
    tau: float = math.nan,
    scale: str = "",
    thresholds: Sequence[float] = (0.0,),
    kind: Kind = "crossfit",
) -> PolicyValue:
    """Return what treating by expected benefit is worth on patients whom the model had not seen.

    Parameters
    ----------
    held
        Doubly robust scores and expected benefits, each of shape (repeats, n). Scores of censored outcomes serve as any other.
    unit, tau, scale
        Of the scores, as in `benefit_calibration`.
    thresholds
        Smallest gains worth a treatment, in the unit of the scores, chosen before the data are seen; the text speaks of the first.
    kind
        ``external`` for patients of another trial.

    Returns
    -------
    PolicyValue
        With S the scores, c the threshold and d = 1 where the expected benefit exceeds c: the model's value is ``mean(d (S - c))``,
        everybody's ``mean(S - c)``, nobody's 0; differences are ``mean((d - 1)(S - c))`` from everybody and
        ``mean((d - mean d)(S - c))`` from as many at random. All are averaged over repeats; standard errors by `repeated_se`.
        A difference that is 0 for every patient has no limits; what rests on fewer than 11 patients has no value.

    Raises
    ------
    DataError
        If the arrays do not fit each other, a value is missing or infinite, or there is no finite threshold.
    """
    score, expected = _checked(held)
    levels = [float(one) for one in thresholds]
    if not levels or not np.isfinite(levels).all():
        raise DataError(f"thresholds are {levels}: name at least one finite gain worth a treatment")
    rows = [row for threshold in levels for row in _at(score - threshold, expected > threshold, threshold)]
    return PolicyValue(
        pd.DataFrame(rows),
        repeats=len(score),
        n=score.shape[1],
        kind=kind,
        unit=unit,
        tau=tau,
        scale=scale or rmst_scale(tau, unit),
    )


def _checked(held: HeldOutBenefit) -> tuple[Floats, Floats]:
    score, expected = (np.atleast_2d(np.asarray(one, dtype=np.float64)) for one in (held.score, held.expected))
    if score.shape != expected.shape or score.shape[1] < 2:
        raise DataError(
            f"scores have shape {score.shape} and expected benefits {expected.shape}: pass one of each for every repeat and patient"
        )
    for name, one in (("scores", score), ("expected benefits", expected)):
        wrong = int((~np.isfinite(one)).sum())
        if wrong:
            raise DataError(f"{name} are missing or infinite for {wrong} of {one.size}: leave out patients without one")
    return score, expected


def _at(net: Floats, treats: NDArray[np.bool_], threshold: float) -> list[dict[str, Any]]:
    """Return the rows of one threshold, of scores less the threshold and whom each repeat's models treat."""
    share = treats.mean(axis=1, keepdims=True)
    treated = float(share.mean()) * net.shape[1]
    few, few_left = (0 < count < SMALLEST_CELL for count in (treated, net.shape[1] - treated))
    by_model, at_random = treats * net, (treats - share) * (net - net.mean(axis=1, keepdims=True))
    known = math.nan if few or few_left else float(share.mean())
    return [
        {"threshold": threshold, "policy": policy, "reference": reference, **_limits(each, unknown), "share": shown}
        for policy, reference, each, unknown, shown in (
            (MODEL, NOBODY, by_model, few, known),
            (EVERYBODY, NOBODY, net, False, 1.0),
            (MODEL, EVERYBODY, by_model - net, few_left, math.nan),
            (MODEL, RANDOM, at_random, few or few_left, math.nan),
        )
    ]


def _limits(each: Floats, unknown: bool) -> dict[str, float]:
    """Return the mean over patients and repeats, its standard error and limits; none where everybody's part is 0."""
    if unknown:
        return dict.fromkeys(("value", "low", "high", "se"), math.nan)
    value = float(each.mean())
    if not each.any():
        return {"value": 0.0, "low": math.nan, "high": math.nan, "se": math.nan}
    se = repeated_se(each - each.mean(axis=1, keepdims=True))
    return {"value": value, "low": value - Z95 * se, "high": value + Z95 * se, "se": se}
