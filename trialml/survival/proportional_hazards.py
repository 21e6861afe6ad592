"""Whether hazards are proportional: the score test of coefficients that change with time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from scipy import special

from trialml.errors import DataError
from trialml.result import Result, format_number, format_p
from trialml.survival.cox_fit import CoxProblem
from trialml.survival.product_limit import product_limit, step_at
from trialml.survival.terms import design_columns
from trialml.survival.ties import Array, checked_times, distinct_times

__all__ = ["ProportionalHazards", "proportional_hazards"]

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
        return pd.DataFrame(
            {
                "Covariate": self.tests["covariate"],
                "Chi-square": [format_number(value) for value in self.tests["chi_square"]],
                "Degrees of freedom": [str(df) for df in self.tests["df"]],
                "p (two-sided)": [format_p(p) for p in self.tests["p"]],
            }
        )

    def text(self) -> str:
        """Return the global test, and what it does not show, in words."""
        last = self.tests.iloc[-1]
        p = format_p(float(last["p"]))
        return (
            f"The score test of proportional hazards ({self.transform} transform of time, {self.events:,} events) gave "
            f"chi-square {format_number(float(last['chi_square']))} on {int(last['df'])} "
            f"degree{'s' if last['df'] > 1 else ''} of freedom (p {p if p[0] in '<>' else '= ' + p}); a large p does "
            "not show that hazards are proportional."
        )

    def scalars(self) -> Mapping[str, float]:
        """Return the p-value of each covariate and of all together."""
        pairs = zip(self.tests["covariate"], self.tests["p"], strict=True)
        return {f"proportional_hazards_p_{name}": float(p) for name, p in pairs}


def proportional_hazards(
    time: Any, event: Any, covariates: pd.DataFrame, *, strata: Any = None, transform: Transform = "km"
) -> ProportionalHazards:
    """Return the score test of proportional hazards of each covariate and of all together.

    The model with coefficients ``beta + theta g(t)`` is tested against theta = 0 by its exact score and information
    (as R's ``cox.zph`` does from survival 3.0 on), Efron's ties.

    Parameters
    ----------
    time, event
        Follow-up times and True where the event happened, shape ``(n,)``.
    covariates
        As in `cox`; a category is one test with a degree of freedom for each level after the first.
    strata
        One label a patient.
    transform
        g: ``"km"`` is 1 less the Kaplan-Meier estimate of all patients just before t, ``"rank"`` the rank of the
        time, ``"identity"`` t itself, ``"log"`` its logarithm; each centred at its mean over events.

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
    problem = CoxProblem(times, flags, X, strata=strata)
    beta = problem.fit().coefficients
    g = _transformed(times, flags, transform)
    g = (g - g[flags].mean())[problem.order][problem.dead]
    state = problem.state(beta)
    score = problem.sums(state, g)[0]
    plain, crossed, squared = (problem.sums(state, factor)[1] for factor in (None, g, g**2))
    information = np.block([[plain, crossed], [crossed, squared]])
    p = len(beta)
    rows = []
    for name, columns in [*terms.items(), ("global", list(range(p)))]:
        keep = [*range(p), *(p + j for j in columns)]
        gradient = np.concatenate((np.zeros(p), score[columns]))
        chi_square = float(gradient @ np.linalg.solve(information[np.ix_(keep, keep)], gradient))
        rows.append((name, chi_square, len(columns), float(special.chdtrc(len(columns), chi_square))))
    tests = pd.DataFrame(rows, columns=["covariate", "chi_square", "df", "p"])
    return ProportionalHazards(tests, transform, times.size, int(flags.sum()))


def _transformed(times: Array, flags: np.ndarray[Any, np.dtype[np.bool_]], transform: str) -> Array:
    # Tied events must share one value, whatever rounding told their times apart.
    distinct, position = distinct_times(times)
    tied = distinct[position]
    if transform == "identity":
        return tied
    if transform == "log":
        return np.asarray(np.log(tied))
    if transform == "rank":
        last = np.cumsum(np.bincount(position))
        return np.asarray(last[position] - (np.bincount(position)[position] - 1) / 2, dtype=float)
    if transform == "km":
        curve = product_limit(times, flags)
        return 1 - step_at(curve.time, curve.survival, tied, left=True)
    raise DataError(f"transform is '{transform}', but it must be 'km', 'rank', 'identity' or 'log'")
