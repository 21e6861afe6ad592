"""Effects on a binary or continuous endpoint in pre-specified subgroups, with one test of interaction a factor."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from trialml.data.disclosure import SMALLEST_CELL, suppressed
from trialml.effects.binary import newcombe_interval
from trialml.effects.continuous import mean_difference, t_quantile
from trialml.effects.shrinkage import PRIOR_SCALE, shrink
from trialml.effects.standardisation import Kind
from trialml.effects.two_arms import checked_outcome
from trialml.errors import AnalysisError, DataError
from trialml.result import COLOURS, Result, format_count, format_number, format_p, plain_text

__all__ = ["OutcomeSubgroups", "outcome_subgroups"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_NUMBERS = ("difference", "low", "high", "se", "shrunk", "shrunk_low", "shrunk_high")


@dataclass(frozen=True, eq=False)
class OutcomeSubgroups(Result):
    """Differences in pre-specified subgroups, as estimated and shrunk towards each other.

    Attributes
    ----------
    rows
        One row a subgroup, the overall effect first: factor, subgroup, n (NaN where suppressed), difference (experimental less
        control), low, high, se, shrunk, shrunk_low, shrunk_high, note (why there is no number).
    tests
        One row a factor: factor, chi_square, df, p, missing (patients without the factor; NaN where suppressed).
    prior_scale
        Scale of the half-normal prior of the spread between a factor's subgroups, in the unit of the differences.
    scale, unit, experimental, higher_is_better
        What a difference is, its unit, what the experimental arm is called, and which way is better.
    """

    title = "Effects in pre-specified subgroups"
    figure_size = (7.2, 4.6)
    methods = (
        "Differences in pre-specified subgroups are unadjusted (means: Welch's limits; risks: Newcombe's); each factor has one test of "
        "interaction, that of the homogeneity of its subgroups' differences weighted by their precision. No subgroup has a p-value of its "
        "own, and interaction tests are not adjusted for multiplicity. Beside the raw estimates stand those of a hierarchical "
        "model of each factor, true differences normal around a common mean with a flat prior, their standard deviation with a half-normal "
        "prior; limits of these are credible limits. A subgroup with fewer than 11 patients in an arm has no estimate."
    )
    references = (
        "Rothwell PM. Subgroup analysis in randomised controlled trials: importance, indications, and interpretation. Lancet "
        "2005;365:176-186.",
        "Cochran WG. The combination of estimates from different experiments. Biometrics 1954;10:101-129.",
    )

    rows: pd.DataFrame
    tests: pd.DataFrame
    prior_scale: float
    scale: str
    unit: str
    experimental: str
    higher_is_better: bool

    def frame(self) -> pd.DataFrame:
        """Return one row a subgroup, with its factor's test of interaction."""
        return self.rows.merge(self.tests, on="factor", how="left")

    def text(self) -> str:
        """Return each factor's interaction test, and how to read the estimates."""
        tests = [
            f"{row.factor} p = {format_p(row.p)}".replace("= <", "< ")
            if not math.isnan(row.p)
            else f"{row.factor} not estimable"
            for row in self.tests.itertuples()
        ]
        chance = 1 - 0.95 ** max(int(self.tests["p"].notna().sum()), 1)
        unit = f" {self.unit}" if self.unit else ""
        said = (
            f"Interaction of treatment and factor on the scale of the {self.scale}, one test a factor: {'; '.join(tests)}. They are not "
            f"adjusted for multiplicity: without any interaction at least one of them would be below 0.05 with a probability of about "
            f"{100 * chance:.0f} %. Shrunk estimates take tau ~ half-normal({format_number(self.prior_scale)}{unit}) as prior of the spread "
            "between a factor's subgroups."
        )
        without = self.rows[self.rows["difference"].isna()]
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
        unit = f", {self.unit}" if self.unit else ""
        shown, before = [], ""
        for row in self.rows.itertuples():
            first = row.factor != before and row.factor in p
            before = row.factor
            raw, shrunk = (row.difference, row.low, row.high), (row.shrunk, row.shrunk_low, row.shrunk_high)
            shown.append(
                {
                    "Subgroup": f"{row.factor}: {row.subgroup}",
                    "Patients": "suppressed" if math.isnan(row.n) else format_count(row.n),
                    f"Difference (95% CI){unit}": "not estimable" if math.isnan(raw[0]) else _interval(*raw),
                    f"Shrunk (95% CrI){unit}": "" if math.isnan(shrunk[0]) else _interval(*shrunk),
                    "Interaction p": ("not estimable" if math.isnan(p[row.factor]) else format_p(p[row.factor]))
                    if first
                    else "",
                }
            )
        return pd.DataFrame(shown)

    def draw(self, figure: Any) -> None:
        """Draw the forest: squares as estimated, circles shrunk, the overall difference dotted."""
        axes = figure.subplots()
        rows = self.rows.to_dict("records")
        for place, row in enumerate(rows):
            colour = "black" if row["factor"] == "Overall" else COLOURS["experimental"]
            axes.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=1.4)
            axes.plot(row["difference"], place, "D" if row["factor"] == "Overall" else "s", color=colour, markersize=6)
            below = place + 0.3
            axes.plot([row["shrunk_low"], row["shrunk_high"]], [below, below], color=COLOURS["third"], linewidth=1)
            axes.plot(row["shrunk"], below, "o", mfc="white", mec=COLOURS["third"], markersize=4)
        axes.axvline(rows[0]["difference"], color=COLOURS["experimental"], linewidth=0.8, linestyle=":", zorder=0)
        axes.axvline(0, color="black", linewidth=0.8, zorder=0)
        names = ["Overall" if row["factor"] == "Overall" else f"{row['factor']}: {row['subgroup']}" for row in rows]
        axes.set_yticks(range(len(rows)), [plain_text(name) for name in names], fontsize=9)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        side = "right" if self.higher_is_better else "left"
        head = f"{self.scale[0].upper()}{self.scale[1:]}{f' ({self.unit})' if self.unit else ''}"
        axes.set_xlabel(
            f"{plain_text(head)}, {side} of 0 favours {plain_text(self.experimental)}\n"
            "squares: as estimated; circles: shrunk; dotted: overall",
            fontsize=9,
        )


def _interval(value: float, low: float, high: float) -> str:
    return f"{format_number(value)} ({format_number(low)} to {format_number(high)})"


def outcome_subgroups(
    outcome: Any,
    treated: Any,
    factors: Mapping[str, Any],
    *,
    kind: Kind,
    higher_is_better: bool,
    shrinkage_scale: float = PRIOR_SCALE,
    unit: str = "",
    experimental: str = "the experimental arm",
) -> OutcomeSubgroups:
    """Estimate the difference in pre-specified subgroups and test each factor's interaction with treatment.

    Parameters
    ----------
    outcome, treated
        Outcome and arm (True experimental), each of shape (n,).
    factors
        For each factor the subgroup of each patient, shape (n,), missing where it is not known. A categorical's categories
        give the order.
    kind
        ``"binary"`` or ``"continuous"``.
    higher_is_better
        Which way is better, for the figure.
    shrinkage_scale
        Scale of the shrinkage prior in standard deviations of the outcome within an arm.
    unit, experimental
        Unit of a continuous outcome, and what the experimental arm is called.

    Returns
    -------
    OutcomeSubgroups
        The test of interaction is ``sum((d_k - d)^2 / s_k^2)``, d the mean weighted by precision, chi-square with one
        degree of freedom fewer than there are subgroups with an estimate.

    Raises
    ------
    DataError
        If the arrays cannot be used, or no factor is given.
    AnalysisError
        If all patients are in one arm or the outcome does not vary.
    """
    values, arm = checked_outcome(outcome, treated, binary=kind == "binary")
    if not factors:
        raise DataError("no factor is given: name at least one pre-specified subgroup factor")
    everybody = np.ones(values.size, dtype=np.bool_)
    rows = [_row(values, arm, everybody, kind, "Overall", "all patients", float(values.size))]
    spread = math.sqrt(float(np.mean([values[arm == one].var(ddof=1) for one in (False, True)])))
    tests = []
    for name, labels in factors.items():
        series = pd.Series(labels).reset_index(drop=True).astype("category")
        if len(series) != values.size:
            raise DataError(
                f"the factor '{name}' has {len(series)} labels for {values.size} patients: pass one a patient"
            )
        found, test = _factor(values, arm, series, kind, name, shrinkage_scale * spread)
        rows += found
        tests.append(test)
    scale = "risk difference" if kind == "binary" else "difference in means"
    return OutcomeSubgroups(
        pd.DataFrame(rows), pd.DataFrame(tests), shrinkage_scale * spread, scale, unit, experimental, higher_is_better
    )


def _row(values: Floats, arm: Flags, inside: Flags, kind: Kind, factor: str, subgroup: str, n: float) -> dict[str, Any]:
    row: dict[str, Any] = (
        {"factor": factor, "subgroup": subgroup, "n": n} | dict.fromkeys(_NUMBERS, math.nan) | {"note": ""}
    )
    if min(int((inside & arm).sum()), int((inside & ~arm).sum())) < SMALLEST_CELL:
        return row | {"note": f"not estimable: fewer than {SMALLEST_CELL} patients in an arm"}
    own, who = values[inside], arm[inside]
    try:
        found = mean_difference(own, who)
    except AnalysisError:
        return row | {"note": "not estimable: the outcome does not vary"}
    if kind == "continuous":
        half = t_quantile(0.95, found.df) * found.se
        low, high = found.value - half, found.value + half
    else:
        counts = (int(own[who].sum()), int(who.sum()), int(own[~who].sum()), int((~who).sum()))
        low, high = newcombe_interval(*counts)
    return row | {"difference": found.value, "low": low, "high": high, "se": found.se}


def _factor(
    values: Floats, arm: Flags, labels: pd.Series, kind: Kind, name: str, prior: float
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    groups = [(str(one), (labels == one).to_numpy(dtype=np.bool_)) for one in labels.cat.categories]
    groups = [(words, inside) for words, inside in groups if inside.any()]
    absent = int(labels.isna().sum())
    hidden = suppressed([*(int(inside.sum()) for _, inside in groups), absent])
    rows = []
    for (words, inside), hide in zip(groups, hidden, strict=False):
        rows.append(_row(values, arm, inside, kind, name, words, math.nan if hide else float(inside.sum())))
    used = [row for row in rows if not math.isnan(row["difference"])]
    test: dict[str, Any] = {"factor": name, "chi_square": math.nan, "df": len(used) - 1, "p": math.nan}
    test["missing"] = math.nan if hidden[-1] else float(absent)
    if len(used) > 1:
        differences, errors = (np.array([row[key] for row in used]) for key in ("difference", "se"))
        weights = 1 / errors**2
        chi_square = float(weights @ (differences - weights @ differences / weights.sum()) ** 2)
        test |= {"chi_square": chi_square, "p": float(special.chdtrc(len(used) - 1, chi_square))}
        shrunk = shrink(differences, errors, prior_scale=prior)
        for row, mean, low, high in zip(used, shrunk.mean, shrunk.low, shrunk.high, strict=True):
            row |= {"shrunk": float(mean), "shrunk_low": float(low), "shrunk_high": float(high)}
    return rows, test
