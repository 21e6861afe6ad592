"""Whether hazards are proportional: the score test of coefficients that change with time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from scipy import special

from trialml.errors import AnalysisError, DataError
from trialml.result import Result, counted, format_number, format_p
from trialml.survival.cox_fit import CoxProblem, Ties
from trialml.survival.cox_refusals import solve
from trialml.survival.terms import design_columns
from trialml.survival.ties import TIE_TOLERANCE, Array, Flags, checked_times, distinct_times

__all__ = ["ProportionalHazards", "proportional_hazards"]

SINGULAR = 1e-12
"""The smallest eigenvalue, for each row of a correlation matrix, of one that can be inverted."""

Transform = Literal["km", "rank", "identity", "log"]


@dataclass(frozen=True, eq=False)
class ProportionalHazards(Result):
    """Score tests of proportional hazards.

    Attributes
    ----------
    tests
        One row a covariate and a last one ``global``: covariate, chi_square, df, p.
    transform
        The function of time with which a coefficient would change.
    n, events
        Patients and events.
    """

    title: ClassVar[str] = "Proportional hazards"
    references: ClassVar[tuple[str, ...]] = (
        "Grambsch PM, Therneau TM. Proportional hazards tests and diagnostics based on weighted residuals. "
        "Biometrika 1994;81:515-526.",
    )
    methods: ClassVar[str] = (
        "Proportional hazards were examined by the score test of an interaction of each covariate with a function "
        "of time; the test describes the model and does not choose the analysis."
    )

    tests: pd.DataFrame
    transform: str
    n: int
    events: int

    def frame(self) -> pd.DataFrame:
        """Return one row a test."""
        return self.tests

    def table(self) -> pd.DataFrame:
        """Return the tests as printed."""
        # With one covariate the global test is its own.
        rows = self.tests.iloc[:1] if len(self.tests) == 2 else self.tests
        return pd.DataFrame(
            {
                "Covariate": rows["covariate"],
                "Chi-square": [format_number(value) for value in rows["chi_square"]],
                "Degrees of freedom": [str(df) for df in rows["df"]],
                "p (two-sided)": [format_p(p) for p in rows["p"]],
            }
        )

    def text(self) -> str:
        """Return the global test, what it shows and what it does not, in words."""
        last = self.tests.iloc[-1]
        p = format_p(float(last["p"]))
        meaning = (
            "hazards seem not to be proportional, so that a hazard ratio is an average over this follow-up, to be read beside "
            "restricted means and milestones"
            if last["p"] < 0.05
            else "nothing speaks against proportional hazards at the 5 % level, but a large p does not show that hazards are "
            "proportional"
        )
        return (
            f"The score test of proportional hazards ({self.transform} transform of time, {counted(self.events, 'event')}) gave "
            f"chi-square {format_number(float(last['chi_square']))} on {int(last['df'])} "
            f"degree{'s' if last['df'] > 1 else ''} of freedom (p {p if p[0] in '<>' else '= ' + p}): {meaning}."
        )

    def scalars(self) -> Mapping[str, float]:
        """Return the p-value of each covariate and of all together."""
        pairs = zip(self.tests["covariate"], self.tests["p"], strict=True)
        return {f"proportional_hazards_p_{name}": float(p) for name, p in pairs}


def proportional_hazards(
    time: Any,
    event: Any,
    covariates: pd.DataFrame,
    *,
    strata: Any = None,
    transform: Transform = "km",
    weights: Any = None,
    entry: Any = None,
    offset: Any = None,
    ties: Ties = "efron",
) -> ProportionalHazards:
    """Return the score test of proportional hazards of each covariate and of all together.

    The model with coefficients ``beta + theta g(t)`` is tested against theta = 0 by its exact score and information
    (as R's ``cox.zph`` does from survival 3.0 on).

    Parameters
    ----------
    time, event
        Follow-up times and True where the event happened, shape ``(n,)``.
    covariates
        As in `cox`; a category is one test with a degree of freedom for each level after the first.
    strata
        One label a row.
    transform
        g: ``"km"`` is 1 less the Kaplan-Meier estimate of all rows just before t (unweighted, left truncation
        allowed for), ``"rank"`` the rank of the time, ``"identity"`` t itself, ``"log"`` its logarithm; each centred
        at its mean over events.
    weights, entry, offset, ties
        As in `cox`.

    Returns
    -------
    ProportionalHazards

    Raises
    ------
    DataError, AnalysisError
        As `cox` does; and if `transform` is none of the four.
    """
    X, terms = design_columns(covariates)
    times, flags = checked_times(time, event, needs_event=True)
    problem = CoxProblem(times, flags, X, strata=strata, weights=weights, entry=entry, offset=offset, ties=ties)
    beta = problem.fit().coefficients
    g = _transformed(times, flags, problem, entry, transform)
    plain, crossed, squared = (
        problem.sums(problem.state(beta, factor), factor) for factor in (np.ones(g.size), g, g**2)
    )
    score = crossed[0]
    information = np.block([[plain[1], crossed[1]], [crossed[1], squared[1]]])
    p = len(beta)
    rows = []
    for name, columns in [*terms.items(), ("global", list(range(p)))]:
        keep = [*range(p), *(p + j for j in columns)]
        gradient = np.concatenate((np.zeros(p), score[columns]))
        try:
            chi_square = float(gradient @ solve(_regular(information[np.ix_(keep, keep)]), gradient))
        except np.linalg.LinAlgError:
            if np.ptp(g[problem.layout.slot_dead > 0]) == 0:
                raise AnalysisError(
                    "all events happened at one time, so no coefficient can be seen to change with time: leave this test out"
                ) from None
            raise AnalysisError(
                f"{flags.sum()} events are too few to test whether the coefficient of {name} changes with time: "
                "use fewer covariates"
            ) from None
        rows.append((name, chi_square, len(columns), float(special.chdtrc(len(columns), chi_square))))
    tests = pd.DataFrame(rows, columns=["covariate", "chi_square", "df", "p"])
    return ProportionalHazards(tests, transform, times.size, int(flags.sum()))


def _regular(information: Array) -> Array:
    """Return the information; what rounding left of a singular one is no information, and would be a statistic of 0."""
    scale = np.sqrt(np.diag(information))
    if not scale.min() > 0 or np.linalg.eigvalsh(information / np.outer(scale, scale))[0] < SINGULAR * scale.size:
        raise np.linalg.LinAlgError
    return information


def _transformed(times: Array, flags: Flags, problem: CoxProblem, entry: Any, transform: str) -> Array:
    """Return the function of time at each slot, centred at its mean over events."""
    # Tied events must share one value, whatever rounding told their times apart.
    distinct, position = distinct_times(times)
    if transform == "identity":
        g = distinct
    elif transform == "log":
        g = np.log(distinct)
    elif transform == "rank":
        count = np.bincount(position)
        g = np.cumsum(count) - (count - 1) / 2
    elif transform == "km":
        g = 1 - _survival_before(times, flags, entry)
    else:
        raise DataError(f"transform is '{transform}', but it must be 'km', 'rank', 'identity' or 'log'")
    last = problem.order[problem.layout.slot_row[1:] - 1]  # an event of each slot, where it has one
    centred = g[position] - g[position][flags].mean()
    return np.asarray(np.where(problem.layout.slot_dead > 0, centred[last], 0.0))


def _survival_before(times: Array, flags: Flags, entry: Any) -> Array:
    """Return the Kaplan-Meier estimate of everybody just before each distinct time."""
    whole = CoxProblem(times, flags, np.zeros((times.size, 0)), entry=entry, ties="breslow")
    jumps = whole.state(np.zeros(0)).slots[1][:-1][::-1]  # without covariates a slot's hazard is d / n
    survival = np.concatenate(([1.0], np.cumprod(1 - jumps)))
    # A tie's time may stand for it by another of its members there, where entries are tied with it too.
    before = distinct_times(times)[0] * (1 - 2 * TIE_TOLERANCE)
    return np.asarray(survival[np.searchsorted(whole.layout.slot_time[:-1][::-1], before)])
