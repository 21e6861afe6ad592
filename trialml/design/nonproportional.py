"""Tests of a survival endpoint side by side under one scenario: how many patients each needs, or what power it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd

from trialml.design.fixed_tests import (
    FixedTest,
    LachinFoulkesTest,
    LogRankTest,
    MaxComboTest,
    MilestoneTest,
    RestrictedMeanTest,
    WeightedLogRankTest,
)
from trialml.design.refusals import require_alpha, require_power
from trialml.design.scenario import Scenario
from trialml.design.weighted_logrank_power import fleming_harrington, magirr_burman
from trialml.errors import AnalysisError
from trialml.result import COLOURS, Result, format_count, format_number

__all__ = [
    "ComparedTests",
    "LachinFoulkesTest",
    "LogRankTest",
    "MaxComboTest",
    "MilestoneTest",
    "RestrictedMeanTest",
    "WeightedLogRankTest",
    "compare_tests",
    "fleming_harrington",
    "magirr_burman",
]


@dataclass(frozen=True, eq=False)
class ComparedTests(Result):
    """Several tests under one scenario at one calendar month: one row a test.

    Attributes
    ----------
    scenario
        The assumed truth.
    calendar_month
        When the analysis takes place, in months since the start of recruitment.
    alpha
        One-sided significance level of each test.
    tests
        One row a test: ``test, formula, effect_scale, effect, critical_z, patients, events, power``.
    sized
        Whether patients were solved for (True) or given (False).
    """

    title: ClassVar[str] = "Tests under non-proportional hazards"
    methods: ClassVar[str] = (
        "Patients and power follow the asymptotic distribution of each test under piecewise exponential event times, at "
        "one-sided alpha: the log-rank test by the average hazard ratio, weighted log-rank tests, restricted means and "
        "milestones by Yung and Liu, MaxCombo by the joint normal distribution of its statistics. Each row is the power "
        "of one test fixed in advance; choosing the best after seeing the data is not what alpha allows."
    )
    references: ClassVar[tuple[str, ...]] = (
        "Yung G, Liu Y. Sample size and power for the weighted log-rank test and Kaplan-Meier based tests with allowance "
        "for nonproportional hazards. Biometrics 2020;76:939-950.",
        "Magirr D, Burman CF. Modestly weighted logrank tests. Stat Med 2019;38:3782-3790.",
        "Roychoudhury S, Anderson KM, Ye J, Mukhopadhyay P. Robust design and analysis of clinical trials with "
        "nonproportional hazards: a straw man guidance from a cross-pharma working group. Stat Biopharm Res "
        "2023;15:280-294.",
    )
    figure_size: ClassVar[tuple[float, float]] = (6.4, 3.0)

    scenario: Scenario
    calendar_month: float
    alpha: float
    tests: pd.DataFrame
    sized: bool

    def frame(self) -> pd.DataFrame:
        """Return one row a test with scenario, month and alpha repeated on each."""
        return self.tests.assign(
            scenario=self.scenario.name, calendar_month=self.calendar_month, alpha_one_sided=self.alpha
        )

    def text(self) -> str:
        """Return the comparison in words; alpha is one-sided and said so."""
        rows = [
            f"the {row.test} test ({row.formula}) "
            + (f"needs {format_count(row.patients)} patients" if self.sized else f"has {100 * row.power:.1f} % power")
            for row in self.tests.itertuples()
        ]
        given = (
            f"for {100 * self.tests['power'].iloc[0]:g} % power"
            if self.sized
            else f"with {format_count(self.tests['patients'].iloc[0])} patients"
        )
        return (
            f"Under scenario '{self.scenario.name}', {given} at alpha {self.alpha:g} one-sided and analysed "
            f"{format_number(self.calendar_month)} months after the first patient enters, {'; '.join(rows)}."
        )

    def scalars(self) -> Mapping[str, float]:
        """Return patients, or power, of each test by its name."""
        column = "patients" if self.sized else "power"
        return {
            f"{column} {name}": float(value) for name, value in zip(self.tests["test"], self.tests[column], strict=True)
        }

    def table(self) -> pd.DataFrame:
        """Return the tests as a protocol prints them."""
        rows = self.tests
        return pd.DataFrame(
            {
                "Test": rows["test"],
                "Planned by": rows["formula"],
                "Effect": [f"{v:.3f} ({s})" for v, s in zip(rows["effect"], rows["effect_scale"], strict=True)],
                "Rejects at z of": [f"{value:.4f}" for value in rows["critical_z"]],
                "Patients": [format_count(value) for value in rows["patients"]],
                "Events": [format_count(value) for value in rows["events"]],
                "Power": [f"{100 * value:.1f} %" for value in rows["power"]],
            }
        )

    def draw(self, figure: Any) -> None:
        """Draw a bar a test: patients where they were solved for, power otherwise."""
        axes = figure.subplots()
        column = "patients" if self.sized else "power"
        names = [name if len(name) < 34 else name.split(":")[0] for name in self.tests["test"]]
        axes.barh(names[::-1], self.tests[column].to_numpy()[::-1], color=COLOURS["experimental"])
        axes.set_xlabel("Patients" if self.sized else "Power")
        axes.spines[["top", "right"]].set_visible(False)


def compare_tests(
    scenario: Scenario,
    tests: Sequence[FixedTest],
    *,
    calendar_month: float,
    alpha: float = 0.025,
    power: float | None = None,
) -> ComparedTests:
    """Compare tests under a scenario: the patients for a power, or the power of the scenario's patients.

    Where `power` is given the accrual keeps its length and its shape, and its rates are scaled.

    Parameters
    ----------
    scenario
        The assumed truth, with its patients or its accrual time.
    tests
        `LogRankTest`, `WeightedLogRankTest`, `MaxComboTest`, `RestrictedMeanTest` or `MilestoneTest`.
    calendar_month
        When the analysis takes place, in months since the start of recruitment.
    alpha
        One-sided significance level.
    power
        Wanted power; None for the power of the scenario's patients.

    Returns
    -------
    ComparedTests
        One row a test; patients and events are not rounded.

    Raises
    ------
    AnalysisError
        If there is no test, a number is outside its range, the scenario has no size, or a test's effect does not
        favour the experimental arm.

    References
    ----------
    Yung, G. and Liu, Y. (2020). Sample size and power for the weighted log-rank test and Kaplan-Meier based tests with
    allowance for nonproportional hazards. Biometrics 76, 939-950.
    """
    if not tests:
        raise AnalysisError("there is no test to compare: give at least LogRankTest()")
    level = require_alpha(alpha)
    wanted = None if power is None else require_power(power, level)
    size = scenario.size()
    share = float(scenario.expected_events(calendar_month)) / size
    rows = []
    for test in tests:
        effect = test.effect(scenario, calendar_month)
        critical = effect.critical_value(level)
        patients = size if wanted is None else effect.patients(wanted, critical)
        rows.append(
            {
                "test": test.name,
                "formula": test.formula,
                "effect_scale": effect.scale,
                "effect": effect.value,
                "critical_z": critical,
                "patients": patients,
                "events": patients * share,
                "power": effect.power(patients, critical) if wanted is None else wanted,
            }
        )
    return ComparedTests(scenario, float(calendar_month), level, pd.DataFrame(rows), wanted is not None)
