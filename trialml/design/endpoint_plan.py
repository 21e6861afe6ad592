"""The size and the looks of a trial whose endpoint is a mean or a rate; `means` and `rates` say what is assumed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from trialml.design.group_sequential import Design
from trialml.design.planned_effect import PlannedEffect, Stops
from trialml.design.refusals import require_finite, require_positive
from trialml.design.sample_size import round_up
from trialml.errors import AnalysisError
from trialml.result import Estimate, Result, format_count, format_number

__all__ = ["EndpointPlan", "plan_endpoint"]


@dataclass(frozen=True, eq=False)
class EndpointPlan(Result):
    """What a design does with a mean or a rate as its endpoint: one row a look, and the totals.

    Attributes
    ----------
    design
        The rules as they are planned with; where patients are whole, its fractions are those of the whole looks.
    looks
        One row a look: ``look, information_fraction, patients, experimental, control, critical_z, one_sided_p,
        effect_at_bound, opposite_effect_at_bound, futility_z, effect_at_futility, cumulative_alpha,
        stop_probability, futility_probability, cumulative_power``. Probabilities are under the assumed effect, and
        NaN stands where there is no such bound. `futility_probability` at the last look is NaN too.
    endpoint, scale, formula
        Words.
    effect, null
        On `scale`.
    arms
        1 or 2.
    fixed_patients
        Patients of the fixed design with the same alpha and power, not rounded.
    exact_patients
        Patients at the last look before they are rounded up to whole blocks.
    patients
        Patients at the last look.
    expected_patients, expected_patients_halfway, expected_patients_null
        Means over the looks at which the trial may stop, under the assumed effect, half of its drift, and none.
    covariate_r_squared
        Share of the outcome's variance that covariates explain, 0 where none is counted on.
    """

    title: ClassVar[str] = "The size of the next trial"
    methods: ClassVar[str] = (
        "The maximum size of a group-sequential trial is that of the fixed design, by the formula named with it, times the "
        "inflation factor of its bounds at one-sided alpha. Adjustment for covariates that explain a share R-squared of the "
        "outcome's variance is planned for as one minus R-squared times the variance."
    )
    references: ClassVar[tuple[str, ...]] = (
        "Jennison C, Turnbull BW. Group sequential methods with applications to clinical trials. Chapman & Hall/CRC, "
        "Boca Raton 2000.",
        "Farrington CP, Manning G. Test statistics and sample size formulae for comparative binomial trials with null "
        "hypothesis of non-zero risk difference or non-unity relative risk. Stat Med 1990;9:1447-1454.",
        "Borm GF, Fransen J, Lemmens WAJG. A simple sample size formula for analysis of covariance in randomized clinical "
        "trials. J Clin Epidemiol 2007;60:1234-1238.",
    )

    design: Design
    looks: pd.DataFrame
    endpoint: str
    scale: str
    formula: str
    effect: float
    null: float
    arms: int
    fixed_patients: float
    exact_patients: float
    patients: float
    expected_patients: float
    expected_patients_halfway: float
    expected_patients_null: float
    covariate_r_squared: float = 0.0

    @property
    def power(self) -> Estimate:
        """The probability of rejecting for the experimental arm at any look, under the assumed effect."""
        return Estimate(
            float(self.looks["cumulative_power"].iloc[-1]),
            scale="power",
            kind="computed",
            n=round(self.patients),
            method=f"{self.formula}, alpha {self.design.alpha:g} one-sided",
        )

    @property
    def early_stop_probability(self) -> float:
        """Probability of stopping for any reason before the last look, under the assumed effect."""
        before = self.looks.iloc[:-1]
        return float(before["stop_probability"].sum() + before["futility_probability"].fillna(0.0).sum())

    def frame(self) -> pd.DataFrame:
        """Return one row a look with the totals of the plan repeated on each."""
        return self.looks.assign(
            endpoint=self.endpoint,
            scale=self.scale,
            formula=self.formula,
            effect=self.effect,
            null=self.null,
            alpha_one_sided=self.design.alpha,
            sides=self.design.sides,
            allocation_ratio=self.design.allocation_ratio if self.arms == 2 else math.nan,
            covariate_r_squared=self.covariate_r_squared,
            fixed_patients=self.fixed_patients,
            exact_patients=self.exact_patients,
            final_patients=self.patients,
            expected_patients=self.expected_patients,
            expected_patients_halfway=self.expected_patients_halfway,
            expected_patients_null=self.expected_patients_null,
            early_stop_probability=self.early_stop_probability,
        )

    def text(self) -> str:
        """Return the plan in words; alpha is one-sided and said so."""
        arms = f", allocated {self.design.allocation_ratio:g}:1" if self.arms == 2 else " in one arm"
        sided = "one-sided" if self.design.sides == 1 else "one-sided on each side of a two-sided test"
        exact = f" ({self.exact_patients:,.2f} before rounding)" if self.exact_patients != self.patients else ""
        words = (
            f"With {format_count(self.patients)} patients{exact}{arms}, a {self.scale} of {format_number(self.effect)} "
            f"against {format_number(self.null)} under the null hypothesis is shown with {100 * self.power.value:.1f} % power "
            f"at alpha {self.design.alpha:g} {sided} ({self.formula})"
        )
        if self.covariate_r_squared:
            words += (
                f", counting on covariates that explain {100 * self.covariate_r_squared:g} % of the outcome's variance"
            )
        if self.design.looks == 1:
            return f"{words}."
        return (
            f"{words}. The trial has {self.design.looks} looks; it stops before the last with probability "
            f"{100 * self.early_stop_probability:.1f} % and is expected to take "
            f"{format_count(self.expected_patients)} patients under this effect and "
            f"{format_count(self.expected_patients_null)} under the null hypothesis."
        )

    def scalars(self) -> Mapping[str, float]:
        """Return the totals by name."""
        return {
            "patients": self.patients,
            "exact_patients": self.exact_patients,
            "fixed_patients": self.fixed_patients,
            "power": self.power.value,
            "expected_patients": self.expected_patients,
            "expected_patients_null": self.expected_patients_null,
            "early_stop_probability": self.early_stop_probability,
        }

    def heading(self) -> str:
        """Return the title with the endpoint and the number of looks."""
        looks = "one look" if self.design.looks == 1 else f"{self.design.looks} looks"
        return f"{self.title}: {self.endpoint}, {looks}"

    def table(self) -> pd.DataFrame:
        """Return the looks as a protocol prints them."""
        rows = self.looks
        shown = {
            "Look": [f"{int(look)}" for look in rows["look"]],
            "Patients (information)": [
                f"{format_count(n) if self.patients == round(self.patients) else f'{n:,.1f}'} ({100 * t:.1f} %)"
                for n, t in zip(rows["patients"], rows["information_fraction"], strict=True)
            ],
            "Reject at z of": [f"{value:.3f}" for value in rows["critical_z"]],
            "One-sided p": [f"{value:.2g}" if value < 1e-4 else f"{value:.4f}" for value in rows["one_sided_p"]],
            f"{self.scale.capitalize()} at the bound": [format_number(value) for value in rows["effect_at_bound"]],
            "Alpha spent (one-sided)": [f"{value:.4f}" for value in rows["cumulative_alpha"]],
            "Power so far": [f"{100 * value:.1f} %" for value in rows["cumulative_power"]],
        }
        if self.design.has_futility:
            shown["Stop for futility below z of"] = [
                f"{value:.3f}" if math.isfinite(value) else "none" for value in rows["futility_z"]
            ]
        return pd.DataFrame(shown)


def plan_endpoint(
    planned: PlannedEffect,
    design: Design,
    *,
    patients: float | None = None,
    block: int = 4,
    whole_numbers: bool = True,
) -> EndpointPlan:
    """Plan a trial by a design under an assumed effect on a mean or a rate.

    Where the size is solved for, the drift is the design's `drift_for_power`, times the square root of the size over the
    exact one; where patients are given, it follows from the power of the fixed design. Both are what rpact does in its
    functions for the size and for the power.

    Parameters
    ----------
    planned
        The assumed effect with its test.
    design
        The rules.
    patients
        Patients at the last look, where they are given and the power is wanted; otherwise they are solved for.
    block
        Patients are rounded up to a multiple of it, at every look; the bounds are those of the whole numbers.
    whole_numbers
        False leaves patients as they come.

    Returns
    -------
    EndpointPlan
        One row a look, and the totals.

    Raises
    ------
    AnalysisError
        If a number is outside its range, or rounding to blocks lets looks coincide.
    """
    size = int(require_positive("block", require_finite("block", block)))
    if patients is not None:
        total = require_positive("patients", patients)
        return _described(planned, design, (math.nan, total, total), planned.drift(design, total))
    exact = planned.maximum_patients(design)
    total = round_up(exact, size) if whole_numbers else exact
    while True:
        whole = _whole_looks(design, total, size) if whole_numbers else design
        drift = planned.drift_as_solved(design, total, exact)
        # Looks moved to whole blocks spend alpha a little earlier, which may cost the last bit of power.
        if not whole_numbers or planned.stops(whole, total, drift).efficacy.sum() >= design.power - 1e-9:
            return _described(planned, whole, (planned.fixed_patients(design), exact, total), drift)
        total += size


def _whole_looks(design: Design, total: float, block: int) -> Design:
    patients = [round_up(t * total, block) for t in design.information_fractions]
    if len(set(patients)) < len(patients):
        shown = ", ".join(f"{n:g}" for n in patients)
        raise AnalysisError(
            f"in blocks of {block} the looks have {shown} patients, so that some coincide: give a smaller block, fewer looks, "
            "or whole_numbers=False"
        )
    return dataclasses.replace(design, information_fractions=(*(n / total for n in patients[:-1]), 1.0))


def _described(planned: PlannedEffect, design: Design, sizes: tuple[float, float, float], drift: float) -> EndpointPlan:
    fixed, exact, total = sizes
    t = np.array(design.information_fractions)
    under = planned.stops(design, total, drift)
    looks = _looks(planned, design, total, under)
    expected = [total * planned.stops(design, total, part * drift).share_of_patients(t) for part in (1.0, 0.5, 0.0)]
    return EndpointPlan(
        design=design,
        looks=looks,
        endpoint=planned.endpoint,
        scale=planned.scale,
        formula=planned.formula,
        effect=planned.effect,
        null=planned.null,
        arms=planned.arms,
        fixed_patients=fixed,
        exact_patients=exact,
        patients=total,
        expected_patients=expected[0],
        expected_patients_halfway=expected[1],
        expected_patients_null=expected[2],
        covariate_r_squared=planned.covariate_r_squared,
    )


def _looks(planned: PlannedEffect, design: Design, total: float, under: Stops) -> pd.DataFrame:
    t = np.array(design.information_fractions)
    z, low = design.critical_values, design.futility_values
    opposite = tuple(-one if design.sides == 2 else math.nan for one in z)
    futility = np.append(under.futility[:-1], math.nan) if design.has_futility else np.full(design.looks, math.nan)
    share = design.experimental_share if planned.arms == 2 else 1.0

    def effects(values: tuple[float, ...]) -> list[float]:
        placed = zip(values, t * total, strict=True)
        return [planned.effect_at(one, n, design) if math.isfinite(one) else math.nan for one, n in placed]

    return pd.DataFrame(
        {
            "look": np.arange(1, design.looks + 1),
            "information_fraction": t,
            "patients": t * total,
            "experimental": t * total * share,
            "control": t * total * (1 - share),
            "critical_z": z,
            "one_sided_p": design.one_sided_p,
            "effect_at_bound": effects(z),
            "opposite_effect_at_bound": effects(opposite),
            "futility_z": [one if math.isfinite(one) else math.nan for one in low],
            "effect_at_futility": effects(low),
            "cumulative_alpha": design.cumulative_alpha,
            "stop_probability": under.efficacy + under.opposite,
            "futility_probability": futility,
            "cumulative_power": np.cumsum(under.efficacy),
        }
    )
