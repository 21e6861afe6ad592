"""How many patients a trial with a mean as its endpoint needs, and the power of a number of patients."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from scipy.optimize import brentq
from scipy.special import nctdtr, ndtr, ndtri, stdtrit

from trialml.design.endpoint_plan import EndpointPlan, plan_endpoint
from trialml.design.group_sequential import Design
from trialml.design.planned_effect import PlannedEffect, direction, require_r_squared
from trialml.design.refusals import require_finite, require_positive
from trialml.errors import AnalysisError

__all__ = ["plan_mean_ratio", "plan_means", "plan_one_mean"]

_SMALLEST_TAIL = 1e-14  # below it the noncentral t-distribution is no longer computed to many digits


@dataclass(frozen=True)
class _Mean(PlannedEffect):
    """A standardised test of means: the estimate's standard error falls as the square root of the patients."""

    endpoint: str
    scale: str
    effect: float
    null: float
    arms: int
    sign: int
    variances: tuple[float, float]
    covariate_r_squared: float
    normal_approximation: bool

    @property
    def formula(self) -> str:
        test = "normal approximation" if self.normal_approximation else "noncentral t-distribution"
        adjusted = f", variance times 1 - R-squared of {self.covariate_r_squared:g}" if self.covariate_r_squared else ""
        return f"{self.scale}, {test}{adjusted}"

    def standard_error(self, patients: float, design: Design) -> float:
        experimental, control = self.variances
        if self.arms == 1:
            variance = experimental / patients
        else:
            share = design.experimental_share
            variance = experimental / (patients * share) + control / (patients * (1 - share))
        return math.sqrt(variance * (1 - self.covariate_r_squared))

    def quantile(self, p: float, patients: float) -> float:
        """Return the critical value that has one-sided p, of the t-distribution unless the normal is asked for."""
        if self.normal_approximation:
            return float(-ndtri(p))
        degrees = patients - self.arms
        return float(-stdtrit(degrees, p)) if degrees > 0 else math.inf

    def fixed_probit(self, patients: float, design: Design) -> float:
        shift = self.sign * (self.effect - self.null) / self.standard_error(patients, design)
        if self.normal_approximation:
            return shift + float(ndtri(design.alpha))
        degrees = patients - self.arms
        if degrees <= 0:
            raise AnalysisError(
                f"patients is {patients:g}: a t-test in {self.arms} arm{'s' * (self.arms - 1)} needs more than {self.arms}"
            )
        critical = self.quantile(design.alpha, patients)
        # By symmetry the upper tail with shift is the lower tail with its negative, so that both tails are small numbers.
        above, below = nctdtr(degrees, -shift, -critical), nctdtr(degrees, shift, critical)
        tail = min(float(above), float(below))
        if not tail > _SMALLEST_TAIL:
            return shift - critical
        return float(ndtri(above)) if above < below else -float(ndtri(below))

    def fixed_patients(self, design: Design) -> float:
        distance = self.sign * (self.effect - self.null)
        if not distance > 0:
            raise AnalysisError(
                f"the assumed {self.scale} of {self.effect:g} does not favour the experimental arm over the "
                f"{self.null:g} of the null hypothesis: no number of patients shows that, so plan for an effect"
            )
        quantiles = float(-ndtri(design.alpha) + ndtri(design.power))
        normal = (quantiles * self.standard_error(1.0, design) / distance) ** 2
        if self.normal_approximation:
            return normal

        def surplus(patients: float) -> float:
            return self.fixed_probit(patients, design) - float(ndtri(design.power))

        # The t-test needs more than the normal approximation, by about z_alpha squared over two.
        low, high = self.arms + 1e-3, max(2 * normal, 4.0 * self.arms)
        while surplus(high) < 0:
            high *= 2
        return float(brentq(surplus, low, high, xtol=1e-11, rtol=1e-13))

    def effect_at(self, z: float, patients: float, design: Design) -> float:
        value = math.copysign(self.quantile(float(ndtr(-abs(z))), patients), z)
        return self.null + self.sign * value * self.standard_error(patients, design)


def plan_means(
    design: Design,
    *,
    difference: float,
    sd: float,
    experimental_sd: float | None = None,
    null: float = 0.0,
    higher_is_better: bool | None = None,
    normal_approximation: bool = False,
    optimal_allocation: bool = False,
    covariate_r_squared: float = 0.0,
    patients: float | None = None,
    block: int = 4,
    whole_numbers: bool = True,
) -> EndpointPlan:
    """Plan a trial that compares two means by their difference.

    The fixed size solves ``P(T(n - 2, shift) > t(1 - alpha, n - 2)) = power`` for the noncentral t-distribution with
    ``shift = (difference - null) / sqrt((1 - R^2) (sd1^2 / n1 + sd0^2 / n0))``; by the normal approximation n is
    ``(z_alpha + z_power)^2 (1 - R^2) (sd1^2 / p + sd0^2 / (1 - p)) / (difference - null)^2``, p the experimental
    share. A look of a group-sequential t-test rejects where the t-statistic's p-value is at most the bound's.

    Parameters
    ----------
    design
        The rules. With ``sides=2`` the power counts rejections in favour of the experimental arm alone.
    difference
        Assumed mean, experimental less control, in the outcome's unit.
    sd
        Standard deviation within an arm; the control arm's where `experimental_sd` is given.
    experimental_sd
        The experimental arm's; needs `normal_approximation`.
    null
        Difference under the null hypothesis: negative for non-inferiority where high values are good.
    higher_is_better
        Whether high values favour the experimental arm. Where not given, the assumed effect does.
    normal_approximation
        Replace the t-distribution.
    optimal_allocation
        Allocate as the standard deviations (Neyman), which needs the fewest patients, in place of the design's ratio.
    covariate_r_squared
        Share of the variance that covariates in the analysis explain; the size shrinks by one minus it. Degrees of
        freedom are not lowered for the covariates.
    patients, block, whole_numbers
        As in `trialml.design.endpoint_plan.plan_endpoint`.

    Returns
    -------
    EndpointPlan
        One row a look, and the totals.

    Raises
    ------
    AnalysisError
        If a number is outside its range, the effect does not favour the experimental arm, or standard deviations
        differ without `normal_approximation`.

    References
    ----------
    Julious SA. Sample sizes for clinical trials with normal data. Stat Med 2004;23:1921-1986.
    Borm GF, Fransen J, Lemmens WAJG. J Clin Epidemiol 2007;60:1234-1238.
    """
    control = require_positive("sd", sd)
    experimental = control if experimental_sd is None else require_positive("experimental_sd", experimental_sd)
    if experimental != control and not normal_approximation:
        raise AnalysisError(
            f"the standard deviations {experimental:g} and {control:g} differ, which the t-distribution here does not "
            "allow for: say normal_approximation=True"
        )
    effect, limit = require_finite("difference", difference), require_finite("null", null)
    planned = _Mean(
        "difference of two means",
        "mean difference",
        effect,
        limit,
        2,
        direction(effect - limit, higher_is_better),
        (experimental**2, control**2),
        require_r_squared(covariate_r_squared),
        normal_approximation,
    )
    if optimal_allocation:
        design = dataclasses.replace(design, allocation_ratio=experimental / control)
    return plan_endpoint(planned, design, patients=patients, block=block, whole_numbers=whole_numbers)


def plan_mean_ratio(
    design: Design,
    *,
    ratio: float,
    coefficient_of_variation: float,
    null: float = 1.0,
    higher_is_better: bool | None = None,
    normal_approximation: bool = False,
    optimal_allocation: bool = False,
    covariate_r_squared: float = 0.0,
    patients: float | None = None,
    block: int = 4,
    whole_numbers: bool = True,
) -> EndpointPlan:
    """Plan a trial that compares two means by their ratio, with a common standard deviation.

    The test is that of ``mean1 - null * mean0 = 0``, so that its shift is
    ``(ratio - null) / (cv sqrt((1 - R^2) (1 / n1 + null^2 / n0)))``.

    Parameters
    ----------
    design
        The rules.
    ratio
        Assumed ratio of means, experimental to control, of an outcome whose control mean is positive.
    coefficient_of_variation
        The standard deviation over the control mean.
    null
        Ratio under the null hypothesis.
    optimal_allocation
        Allocate 1 to `null`, which needs the fewest patients, in place of the design's ratio.
    higher_is_better, normal_approximation, covariate_r_squared, patients, block, whole_numbers
        As in `plan_means`.

    Returns
    -------
    EndpointPlan
        One row a look, and the totals.

    Raises
    ------
    AnalysisError
        If a number is outside its range, or the ratio does not favour the experimental arm.

    References
    ----------
    Kieser M, Hauschke D. Approximate sample sizes for testing hypotheses about the ratio and difference of two means.
    J Biopharm Stat 1999;9:641-650.
    """
    effect, limit = require_positive("ratio", ratio), require_positive("null", null)
    variance = require_positive("coefficient_of_variation", coefficient_of_variation) ** 2
    planned = _Mean(
        "ratio of two means",
        "ratio of means",
        effect,
        limit,
        2,
        direction(effect - limit, higher_is_better),
        (variance, variance * limit**2),
        require_r_squared(covariate_r_squared),
        normal_approximation,
    )
    if optimal_allocation:
        design = dataclasses.replace(design, allocation_ratio=1 / limit)
    return plan_endpoint(planned, design, patients=patients, block=block, whole_numbers=whole_numbers)


def plan_one_mean(
    design: Design,
    *,
    mean: float,
    sd: float,
    null: float = 0.0,
    higher_is_better: bool | None = None,
    normal_approximation: bool = False,
    covariate_r_squared: float = 0.0,
    patients: float | None = None,
    block: int = 1,
    whole_numbers: bool = True,
) -> EndpointPlan:
    """Plan a trial in one arm, whose mean is compared with a fixed value.

    Parameters
    ----------
    design
        The rules; the allocation ratio is not used.
    mean, sd, null
        Assumed mean, standard deviation, and the mean under the null hypothesis.
    higher_is_better, normal_approximation, covariate_r_squared, patients, block, whole_numbers
        As in `plan_means`; the t-distribution has n - 1 degrees of freedom.

    Returns
    -------
    EndpointPlan
        One row a look, and the totals.

    Raises
    ------
    AnalysisError
        If a number is outside its range, or the mean does not favour the treatment.
    """
    effect, limit = require_finite("mean", mean), require_finite("null", null)
    planned = _Mean(
        "mean in one arm",
        "mean",
        effect,
        limit,
        1,
        direction(effect - limit, higher_is_better),
        (require_positive("sd", sd) ** 2, 0.0),
        require_r_squared(covariate_r_squared),
        normal_approximation,
    )
    return plan_endpoint(planned, design, patients=patients, block=block, whole_numbers=whole_numbers)
