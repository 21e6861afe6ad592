"""Effects in pre-specified subgroups, with a test of interaction for each factor and no test for any subgroup."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from trialml.data.disclosure import SMALLEST_CELL, suppressed
from trialml.effects.forest import draw_forest
from trialml.effects.shrinkage import PRIOR_SCALE, shrink
from trialml.effects.two_arms import checked_treated
from trialml.errors import AnalysisError, DataError
from trialml.result import Result, format_count, format_number, format_p
from trialml.survival.cox import fit_cox
from trialml.survival.intervals import normal_quantile
from trialml.survival.ties import checked_labels, checked_times

__all__ = ["SubgroupEffects", "cut_labels", "subgroup_effects"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class SubgroupEffects(Result):
    """Hazard ratios in pre-specified subgroups, as estimated and shrunk towards each other.

    Attributes
    ----------
    rows
        One row a subgroup, the overall effect first: factor, subgroup, n, events (NaN where suppressed), hazard_ratio,
        low, high, log_hazard_ratio, se, shrunk, shrunk_low, shrunk_high, note (why there is no number).
    tests
        One row a factor: factor, chi_square, df, p (the interaction's likelihood-ratio test; NaN where it cannot be
        done), missing (patients without the factor; NaN where suppressed), tau (posterior mean).
    prior_scale, level, experimental
        The scale of the shrinkage prior, the level of the limits, and what the experimental arm is called.
    """

    title = "Effects in pre-specified subgroups"
    figure_size = (7.2, 5.2)
    methods = (
        "Hazard ratios in pre-specified subgroups are from Cox models of two arms, stratified as the randomisation was; each factor "
        "has one likelihood-ratio test of interaction, whose model lets every subgroup and stratification cell have its own "
        "baseline hazard. No subgroup has a p-value of its own, and interaction tests are not adjusted for multiplicity. Beside the "
        "raw estimates stand those of a hierarchical model of each factor: true log hazard ratios normal around a common mean "
        "with a flat prior, their standard deviation with a half-normal prior, integrated numerically; limits of these are credible "
        "limits. A subgroup in which fewer than 11 patients had the event, or an arm had none, has no estimate."
    )
    references = (
        "Rothwell PM. Subgroup analysis in randomised controlled trials: importance, indications, and interpretation. Lancet "
        "2005;365:176-186.",
        "Spiegelhalter DJ, Abrams KR, Myles JP. Bayesian Approaches to Clinical Trials and Health-Care Evaluation. Wiley, 2004.",
        "Gelman A. Prior distributions for variance parameters in hierarchical models. Bayesian Anal 2006;1:515-534.",
    )

    rows: pd.DataFrame
    tests: pd.DataFrame
    prior_scale: float
    level: float
    experimental: str

    def frame(self) -> pd.DataFrame:
        """Return one row a subgroup, with its factor's test of interaction."""
        return self.rows.merge(self.tests, on="factor", how="left")

    def text(self) -> str:
        """Return each factor's interaction test, and how to read the estimates."""
        tests = [
            f"{row.factor} p = {format_p(row.p)}" if not math.isnan(row.p) else f"{row.factor} not estimable"
            for row in self.tests.itertuples()
        ]
        chance = 1 - 0.95 ** max(int(self.tests["p"].notna().sum()), 1)
        said = (
            f"Interaction of treatment and factor on the hazard-ratio scale, one test a factor: {'; '.join(tests)}. They are not adjusted for "
            f"multiplicity: without any interaction at least one of them would be below 0.05 with a probability of about {100 * chance:.0f} %. "
            f"Shrunk estimates take tau ~ half-normal({self.prior_scale:g}) on the log hazard ratio as prior of the spread between a "
            "factor's subgroups; an estimate far from the overall one is pulled towards its neighbours, the more the less it rests on."
        )
        without = self.rows[self.rows["hazard_ratio"].isna()]
        return said + "".join(f" {row.factor}, {row.subgroup}: {row.note}." for row in without.itertuples())

    def scalars(self) -> dict[str, float]:
        """Return the smallest interaction p and the number of tests."""
        known = self.tests["p"].dropna()
        return {
            "subgroup_interaction_p_smallest": float(known.min()) if len(known) else math.nan,
            "subgroup_interaction_tests": float(len(known)),
        }

    def table(self) -> pd.DataFrame:
        """Return the subgroups for reading; an interaction's p stands in the first row of its factor."""
        p = dict(zip(self.tests["factor"], self.tests["p"], strict=True))
        level = f"{100 * self.level:g}%"
        shown, before = [], ""
        for row in self.rows.itertuples():
            first = row.factor != before and row.factor in p
            before = row.factor
            known, shrunk = not math.isnan(row.hazard_ratio), not math.isnan(row.shrunk)
            shown.append(
                {
                    "Subgroup": f"{row.factor}: {row.subgroup}",
                    "Events / patients": f"{_count(row.events)} / {_count(row.n)}",
                    f"Hazard ratio ({level} CI)": _interval(row.hazard_ratio, row.low, row.high)
                    if known
                    else "not estimable",
                    f"Shrunk ({level} CrI)": _interval(row.shrunk, row.shrunk_low, row.shrunk_high) if shrunk else "",
                    "Interaction p": _p_words(p[row.factor]) if first else "",
                }
            )
        return pd.DataFrame(shown)

    def draw(self, figure: Any) -> None:
        """Draw the forest: squares as large as their information, shrunk estimates hollow, one p a factor."""
        draw_forest(figure, self.rows, self.tests, self.experimental)


def _count(value: float) -> str:
    return "suppressed" if math.isnan(value) else format_count(value)


def _interval(value: float, low: float, high: float) -> str:
    return f"{format_number(value)} ({format_number(low)} to {format_number(high)})"


def _p_words(p: float) -> str:
    return "not estimable" if math.isnan(p) else format_p(p)


def cut_labels(values: Any, cuts: Any, unit: str = "") -> pd.Categorical:
    """Return the subgroup of each value of a numeric covariate, by cut-points chosen before the data were seen.

    Parameters
    ----------
    values
        The covariate, shape (n,); NaN stays missing.
    cuts
        Ascending cut-points c1 < c2 < ...; the subgroups are below c1, c1 to below c2, ..., and cK or more.
    unit
        Put behind the numbers.

    Returns
    -------
    Categorical
        Its categories in the order of the numbers, which `subgroup_effects` keeps.

    Raises
    ------
    DataError
        If the cut-points do not rise or are not finite.
    """
    points = np.asarray(cuts, dtype=np.float64).reshape(-1)
    if not points.size or not np.isfinite(points).all() or (np.diff(points) <= 0).any():
        shown = [float(point) for point in points]
        raise DataError(f"cut-points {shown} must be finite and rise: give them in ascending order")
    numbers = np.asarray(values, dtype=np.float64)
    behind = f" {unit}" if unit else ""
    words = [f"below {points[0]:g}{behind}"]
    words += [f"{low:g} to below {high:g}{behind}" for low, high in itertools.pairwise(points)]
    words.append(f"{points[-1]:g}{behind} or more")
    place = np.where(np.isnan(numbers), -1, np.searchsorted(points, numbers, side="right"))
    return pd.Categorical.from_codes(place, categories=words, ordered=True)


def subgroup_effects(
    time: Any,
    event: Any,
    treated: Any,
    factors: Mapping[str, Any],
    *,
    strata: Any = None,
    orders: Mapping[str, list[str]] | None = None,
    prior_scale: float = PRIOR_SCALE,
    level: float = 0.95,
    experimental: str = "the experimental arm",
) -> SubgroupEffects:
    """Estimate the hazard ratio in pre-specified subgroups and test each factor's interaction with treatment.

    Parameters
    ----------
    time, event, treated
        Outcome and arm (True experimental), each of shape (n,).
    factors
        For each factor, in the order of the report, the subgroup of each patient, shape (n,); None or NaN where it is not
        known (such patients count in no subgroup of that factor). A Categorical's categories give the order.
    strata
        The stratification cell of each patient, shape (n,).
    orders
        The order of a factor's subgroups; that of the categories, or sorted, by default.
    prior_scale
        The scale of the half-normal prior of tau, on the log hazard ratio.
    level
        Of the limits.
    experimental
        What the experimental arm is called in the figure.

    Returns
    -------
    SubgroupEffects
        A subgroup with fewer than 11 events, or none in an arm, has no estimate and says so. The interaction's test
        compares one hazard ratio with one a subgroup (those with an estimate), both models stratified by subgroup and
        stratification cell, so that its estimates are those of the rows.

    Raises
    ------
    DataError
        If the arrays cannot be used, or no factor is given.
    AnalysisError
        If all patients are in one arm or the overall hazard ratio cannot be estimated.
    """
    times, flags = checked_times(time, event, needs_event=True)
    arm = checked_treated(treated, times.size)
    _, cells = checked_labels(strata, times.size, "strata")
    if not factors:
        raise DataError("no factor is given: name at least one pre-specified subgroup factor")
    data = _Data(times, flags, arm, cells, normal_quantile(level))
    everybody = np.ones(times.size, dtype=np.bool_)
    overall = data.row(everybody, "Overall", "all patients", times.size, int(flags.sum()))
    if math.isnan(float(overall["hazard_ratio"])):
        raise AnalysisError(
            f"the overall hazard ratio is {overall['note']}, so no subgroup can be looked at: use more data"
        )
    rows, tests = [overall], []
    for name, labels in factors.items():
        values = np.asarray(labels, dtype=object)
        if values.shape != times.shape:
            raise DataError(
                f"the factor '{name}' has shape {values.shape} for {times.size} patients: pass one label a patient"
            )
        levels = (orders or {}).get(name, _order(labels))
        found, test = _factor(data, name, values, levels, prior_scale, level)
        rows += found
        tests.append(test)
    columns = ["factor", "subgroup", "n", "events", "hazard_ratio", "low", "high", "log_hazard_ratio", "se"]
    frame = pd.DataFrame(rows)[[*columns, "shrunk", "shrunk_low", "shrunk_high", "note"]]
    numbers = ["n", "events"]
    frame[numbers] = frame[numbers].astype(np.float64)
    return SubgroupEffects(frame, pd.DataFrame(tests), float(prior_scale), level, experimental)


def _order(labels: Any) -> list[str] | None:
    """Return the order that a categorical factor brings along, without the levels that nobody has."""
    if not isinstance(getattr(labels, "dtype", None), pd.CategoricalDtype):
        return None
    present = set(pd.Series(labels).dropna().astype(str))
    return [str(one) for one in labels.dtype.categories if str(one) in present]


@dataclass(frozen=True)
class _Data:
    time: Floats
    event: Flags
    arm: Flags
    cells: NDArray[np.intp]
    quantile: float

    def row(self, inside: Flags, factor: str, subgroup: str, n: float, events: float) -> dict[str, Any]:
        """Return one row of the result; the counts are as shown, NaN where suppressed."""
        nothing = dict.fromkeys(
            ("hazard_ratio", "low", "high", "log_hazard_ratio", "se", "shrunk", "shrunk_low", "shrunk_high"), math.nan
        )
        row: dict[str, Any] = {"factor": factor, "subgroup": subgroup, "n": n, "events": events, **nothing, "note": ""}
        why = self._reason(inside)
        if not why:
            try:
                beta, se = self.log_hazard_ratio(inside)
            except AnalysisError:
                why = "the Cox model has no finite answer"
            else:
                low, high = (math.exp(beta + side * self.quantile * se) for side in (-1, 1))
                row |= {"hazard_ratio": math.exp(beta), "low": low, "high": high, "log_hazard_ratio": beta, "se": se}
        if why:
            row["note"] = f"not estimable: {why}"
        return row

    def _reason(self, inside: Flags) -> str:
        by_arm = [int((self.event & inside & who).sum()) for who in (self.arm, ~self.arm)]
        if not all((inside & who).any() for who in (self.arm, ~self.arm)):
            return "an arm has no patients"
        # First who is too few to speak of, so that the words give away no smaller count than that.
        if sum(by_arm) < SMALLEST_CELL:
            return f"fewer than {SMALLEST_CELL} events"
        return "an arm has no events" if min(by_arm) == 0 else ""

    def log_hazard_ratio(self, inside: Flags) -> tuple[float, float]:
        fit = fit_cox(
            self.time[inside],
            self.event[inside],
            self.arm[inside].astype(np.float64)[:, None],
            strata=self.cells[inside],
        )
        return float(fit.coefficients[0]), math.sqrt(float(fit.covariance[0, 0]))

    def interaction(self, groups: list[Flags]) -> float:
        """Return the likelihood-ratio chi-square of one effect a group against one for all, baselines by group and cell."""
        together = np.logical_or.reduce(groups)
        label = np.select(groups, list(range(len(groups))), -1)
        baseline = np.char.add(np.char.add(label.astype(str), "/"), self.cells.astype(str))
        arm = self.arm.astype(np.float64)
        one = fit_cox(self.time[together], self.event[together], arm[together][:, None], strata=baseline[together])
        each = np.column_stack([arm * group for group in groups])
        apart = fit_cox(self.time[together], self.event[together], each[together], strata=baseline[together])
        return 2 * (apart.log_likelihood - one.log_likelihood)


def _factor(
    data: _Data, name: str, values: NDArray[np.object_], order: list[str] | None, prior_scale: float, level: float
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    known = ~pd.isna(values)
    words = np.where(known, values, "").astype(str)
    levels = order if order is not None else sorted(set(words[known]))
    groups = [known & (words == one) for one in levels]
    absent = int((~known).sum())
    # The unknown are a cell of the same margin: where they can be counted, so can the last of the others.
    masks = [*groups, ~known]
    hidden = {
        what: suppressed([int((mask & who).sum()) for mask in masks])
        for what, who in (("n", np.ones(known.size, dtype=np.bool_)), ("events", data.event))
    }
    rows = []
    for place, (one, group) in enumerate(zip(levels, groups, strict=True)):
        n = math.nan if hidden["n"][place] else float(group.sum())
        events = math.nan if hidden["events"][place] else float((group & data.event).sum())
        rows.append(data.row(group, name, one, n, events))
    used = [place for place, row in enumerate(rows) if not math.isnan(row["se"])]
    test = {"factor": name, "chi_square": math.nan, "df": len(used) - 1, "p": math.nan}
    test |= {"missing": math.nan if hidden["n"][-1] else float(absent), "tau": math.nan}
    if len(used) > 1:
        chi_square = max(data.interaction([groups[place] for place in used]), 0.0)
        test |= {"chi_square": chi_square, "p": float(special.chdtrc(len(used) - 1, chi_square))}
        shrunk = shrink(
            [rows[i]["log_hazard_ratio"] for i in used],
            [rows[i]["se"] for i in used],
            prior_scale=prior_scale,
            level=level,
        )
        test["tau"] = shrunk.tau
        for place, i in enumerate(used):
            middle, low, high = (math.exp(float(one[place])) for one in (shrunk.mean, shrunk.low, shrunk.high))
            rows[i] |= {"shrunk": middle, "shrunk_low": low, "shrunk_high": high}
    return rows, test
