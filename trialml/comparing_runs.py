"""Two tracked runs compared: with an interval where what is tracked gives pairs, and in plain words where it does not."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import hypot
from typing import Any

from trialml.errors import AnalysisError, DataError, StoreError
from trialml.promotion_policy import RunFacts
from trialml.result import Z95, format_number
from trialml.tracking.runs import FoundRun
from trialml.tracking.versions import stored_results
from trialml.validation.fold_losses import FoldLosses, paired_difference

__all__ = ["Compared", "Comparison", "compare_runs"]

_HEADLINES = {
    "risk": (
        r"validation/c_index_[^_]+_within_arm_crossfit",
        r"validation/c_index_[^_]+_crossfit",
        r"validation/harrell_c_corrected",
        r"validation/auc_the_risk_model_crossfit",
        r"validation/auc_corrected",
        r"validation/r2_within_arm_the_risk_model_crossfit",
        r"validation/calibration_slope_([^_]+_)?(control_)?crossfit",
        r"validation/calibration_slope_the_risk_model_crossfit",
        r"validation/observed_over_expected_([^_]+_)?(control_)?crossfit",
        r"validation/ipa_[^_]+_within_arm_crossfit",
        r"validation/stability_mape",
    ),
    "response": (
        r"validation/benefit_slope_crossfit",
        r"validation/autoc_crossfit",
        r"validation/policy_value_model_crossfit",
        r"strata/\w+_crossfit_highest_less_lowest",
        r"strata/strata_agreement",
        r"effects/heterogeneity_p",
    ),
}
_IDENTITY = ("cohort.sha256", "cohort.n", "cohort.events")
_ESTIMAND = ("horizon", "tau", "endpoint.kind", "endpoint.direction")


@dataclass(frozen=True)
class Compared:
    """One number of two runs; `difference` is second less first, in words, and `how` says what it rests on."""

    name: str
    first: str
    second: str
    difference: str
    how: str


@dataclass(frozen=True)
class Comparison:
    """The numbers of two runs, what the runs share, and what follows for the differences."""

    rows: tuple[Compared, ...]
    remarks: tuple[str, ...]


def compare_runs(store: Any, first: FoundRun, second: FoundRun, facts: tuple[RunFacts, RunFacts]) -> Comparison:
    """Compare two runs of one kind.

    Parameters
    ----------
    store
        A `Store`.
    first, second
        The runs; a difference is the second's number less the first's.
    facts
        What they logged.

    Returns
    -------
    Comparison
        The loss in test folds is compared pair by pair where both runs had the same patients in the same folds. Other
        numbers of the same patients have no interval, since nothing tracked says how the two move together; of different
        patients it rests on both standard errors.

    Raises
    ------
    StoreError
        If the runs are of different kinds.
    """
    kinds = [one.tags.get("trialml.kind", "none") for one in facts]
    if kinds[0] != kinds[1] or kinds[0] not in _HEADLINES:
        raise StoreError(
            f"The runs are of the kinds '{kinds[0]}' and '{kinds[1]}': compare two of kind risk, or two of kind response."
        )
    same = all(facts[0].params.get(name) == facts[1].params.get(name) for name in _IDENTITY)
    rows, remarks = _pairs(store, first, second) if kinds[0] == "risk" else ([], [])
    if kinds[0] == "response":
        remarks = ["Only unpaired differences: nothing of a response model is tracked fold by fold."]
    names = [name for pattern in _HEADLINES[kinds[0]] for name in facts[0].metrics if re.fullmatch(pattern, name)]
    rows += [_unpaired(name, facts, same) for name in dict.fromkeys(names) if name in facts[1].metrics]
    return Comparison(tuple(rows), (*_shared(facts, same), *remarks))


def _shared(facts: tuple[RunFacts, RunFacts], same: bool) -> list[str]:
    first, second = facts
    remarks = []
    if not same:
        remarks.append(
            "The runs rest on different patients: intervals take them as independent, and are wrong where patients are in both."
        )
    names = sorted({name for one in facts for name in one.params if name.startswith("estimand.") or name in _ESTIMAND})
    other = [name for name in names if first.params.get(name) != second.params.get(name)]
    if other:
        remarks.append(
            f"The runs do not ask the same question ({', '.join(other)} differ): their numbers do not compare."
        )
    quick = [word for word, one in zip(("first", "second"), facts, strict=True) if one.params.get("quick") == "true"]
    if quick:
        remarks.append(f"Of the {' and the '.join(quick)} run few repeats were made: a quick run is not to be quoted.")
    return remarks


def _pairs(store: Any, first: FoundRun, second: FoundRun) -> tuple[list[Compared], list[str]]:
    losses = []
    for run in (first, second):
        found = stored_results(store, run.run_id, "validation", FoldLosses)
        if not found:
            return [], [f"Only unpaired differences: the run {run.words} holds no loss by test fold; run it again."]
        losses += found[:1]
    one, other = losses
    assert isinstance(one, FoldLosses)
    assert isinstance(other, FoldLosses)
    try:
        mean = paired_difference(one, other)
    except (AnalysisError, DataError):
        return [], [
            "Only unpaired differences: the runs were not judged on the same patients in the same folds (same data, folds, "
            "repeats and seed)."
        ]
    said = (
        f"{format_number(mean.value)} (95% CI {format_number(mean.low)} to {format_number(mean.high)}, p {_p(mean.p)})"
    )
    how = f"paired over {len(one.rows)} test folds, corrected resampled t"
    values = [format_number(float(found.rows["loss"].mean())) for found in (one, other)]
    return [Compared(f"{one.loss} (lower is better)", values[0], values[1], said, how)], []


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def _unpaired(name: str, facts: tuple[RunFacts, RunFacts], same: bool) -> Compared:
    first, second = (one.metrics[name] for one in facts)
    errors = [_error(one, name) for one in facts]
    gap = second - first
    said, how = format_number(gap), "unpaired, same patients: no interval"
    if not same:
        how = "unpaired, other patients: no standard error is tracked"
        if None not in errors:
            half = Z95 * hypot(*(error for error in errors if error is not None))
            said += f" (95% CI {format_number(gap - half)} to {format_number(gap + half)})"
            how = "unpaired, other patients: from both standard errors"
    return Compared(name, _shown(facts[0], name), _shown(facts[1], name), said, how)


def _error(facts: RunFacts, name: str) -> float | None:
    """Return the standard error that a 95 % interval of a difference, slope or share stands for."""
    low, high = facts.metrics.get(f"{name}_low"), facts.metrics.get(f"{name}_high")
    return None if low is None or high is None else (high - low) / (2 * Z95)


def _shown(facts: RunFacts, name: str) -> str:
    low, high = facts.metrics.get(f"{name}_low"), facts.metrics.get(f"{name}_high")
    value = format_number(facts.metrics[name])
    return value if low is None or high is None else f"{value} ({format_number(low)} to {format_number(high)})"
