"""Is it time to recalibrate? One rule, stated, on calibration and C in new patients."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from trialml.result import Estimate, Result, with_limits
from trialml.validation.by_group import FEWEST_EVENTS

__all__ = ["LEAST_C", "SLOPE_BAND", "Recalibration", "judge_recalibration"]

Decision = Literal["recalibrate", "learn again", "keep", "too few outcomes", "no outcomes"]

SLOPE_BAND = (0.8, 1.25)
LEAST_C = 0.55
LEAST_SHIFT_OF_MEAN = 0.2

RULE = (
    f"The rule: recalibrate where observed over expected, or the calibration slope, lies outside {SLOPE_BAND[0]:g} to {SLOPE_BAND[1]:g} and "
    "its 95 % interval leaves out 1 (of a continuous endpoint: where the mean error is a fifth of the root mean squared error or more "
    f"and its interval leaves out 0), over all patients or in the latest period that can be judged; learn the model again where the upper limit of C "
    f"or of the AUC lies below {LEAST_C:g}, which no recalibration mends; say nothing with fewer than {FEWEST_EVENTS} events. A shift of "
    "covariates is a reason to look, not to recalibrate."
)


@dataclass(frozen=True, eq=False)
class Recalibration(Result):
    """The verdict on a model in use."""

    title = "Recalibrate or not"
    methods = RULE

    decision: Decision
    reasons: tuple[str, ...]
    whole: tuple[tuple[str, Estimate], ...]
    """Each measure over all patients."""
    latest: tuple[tuple[str, Estimate], ...]
    """The same in the latest period that can be judged; empty without periods."""
    latest_period: str
    shifted: tuple[str, ...]

    def frame(self) -> pd.DataFrame:
        """Return one row a measure and period."""
        rows = [("all patients", name, one.value, one.low, one.high) for name, one in self.whole]
        rows += [(self.latest_period, name, one.value, one.low, one.high) for name, one in self.latest]
        return pd.DataFrame(rows, columns=["period", "measure", "value", "low", "high"])

    @property
    def verdict(self) -> str:
        """The verdict in capitals with what it rests on, for line 1 of a description."""
        words = {
            "recalibrate": "RECALIBRATE",
            "learn again": "LEARN AGAIN",
            "keep": "NO REASON TO RECALIBRATE",
            "too few outcomes": "TOO FEW OUTCOMES TO SAY",
            "no outcomes": "NO OUTCOMES YET",
        }[self.decision]
        numbers = ", ".join(f"{name} {one.text()}" for name, one in self.whole if not math.isnan(one.value))
        shift = f"shifted: {', '.join(self.shifted)}" if self.shifted else "no large shift of a covariate"
        return "  ".join(part for part in (words, "; ".join(part for part in (numbers, shift) if part)) if part)

    def text(self) -> str:
        """Return the verdict, why, and the rule."""
        why = f" {'; '.join(self.reasons)}." if self.reasons else ""
        return f"{self.verdict}.{why} {RULE}"

    def scalars(self) -> dict[str, float]:
        """Return 1 for a verdict of recalibrating or learning again, and the measures over all patients."""
        named = {f"{_short(name)}_external": one for name, one in self.whole}
        return {"recalibrate": float(self.decision in ("recalibrate", "learn again")), **with_limits(named)}

    def table(self) -> pd.DataFrame | None:
        """Return the measures in words; none without outcomes."""
        if not self.whole:
            return None
        kept = [("all patients", name, one.text()) for name, one in self.whole]
        kept += [(self.latest_period, name, one.text()) for name, one in self.latest]
        return pd.DataFrame(kept, columns=["Patients", "Measure", "Value (95% CI)"])


def _short(name: str) -> str:
    return name.lower().replace("'", "").replace("²", "2").replace(" ", "_")


def judge_recalibration(
    whole: dict[str, Estimate],
    latest: dict[str, Estimate] | None = None,
    *,
    latest_period: str = "",
    shifted: tuple[str, ...] = (),
    outcomes: bool = True,
) -> Recalibration:
    """Apply the rule.

    Parameters
    ----------
    whole
        Measures over all patients, by the names that `GroupPerformance` and `OutcomeGroups` give them; empty or NaN where there are too
        few outcomes.
    latest, latest_period
        The same in the latest period that can be judged.
    shifted
        Covariates with a large shift.
    outcomes
        Whether outcomes were given at all.

    Returns
    -------
    Recalibration
        With the reasons in words.
    """
    known = {name: one for name, one in whole.items() if not math.isnan(one.value)}
    recent = {name: one for name, one in (latest or {}).items() if not math.isnan(one.value)}
    lost = _reasons(known, "all patients", _discrimination) + _reasons(recent, latest_period, _discrimination)
    off = _reasons(known, "all patients", _calibration) + _reasons(recent, latest_period, _calibration)
    decision: Decision = "keep"
    if not outcomes:
        decision = "no outcomes"
    elif not known:
        decision = "too few outcomes"
    elif lost:
        decision = "learn again"
    elif off:
        decision = "recalibrate"
    return Recalibration(
        decision,
        tuple(lost + off),
        tuple(known.items()),
        tuple(recent.items()),
        latest_period if recent else "",
        shifted,
    )


def _reasons(measures: dict[str, Estimate], whose: str, wrong: object) -> list[str]:
    assert callable(wrong)
    return [f"{name} in {whose} is {one.text()}" for name, one in measures.items() if wrong(name, one, measures)]


def _discrimination(name: str, one: Estimate, measures: dict[str, Estimate]) -> bool:
    del measures
    return name in ("AUC", "Harrell's C") and one.high < LEAST_C


def _calibration(name: str, one: Estimate, measures: dict[str, Estimate]) -> bool:
    if name == "observed less predicted mean":
        error = measures.get("root mean squared error")
        large = error is not None and abs(one.value) >= LEAST_SHIFT_OF_MEAN * error.value
        return large and not one.low <= 0 <= one.high
    if name not in ("observed over expected", "calibration slope"):
        return False
    return not SLOPE_BAND[0] <= one.value <= SLOPE_BAND[1] and not one.low <= 1 <= one.high
