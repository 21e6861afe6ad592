"""How many patients a trial with a rate as its endpoint needs, and the power of a number of patients."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from scipy.optimize import brentq, minimize_scalar
from scipy.special import ndtri

from trialml.design.endpoint_plan import EndpointPlan, plan_endpoint
from trialml.design.group_sequential import Design
from trialml.design.planned_effect import PlannedEffect, direction, require_r_squared
from trialml.design.refusals import require_between
from trialml.effects.score_tests import NULL_VALUES, RateScale, check_null, contrast_of, restricted_rates
from trialml.errors import AnalysisError

__all__ = ["plan_one_rate", "plan_rates"]

_EDGE = 1e-12


@dataclass(frozen=True)
class _Rate(PlannedEffect):
    """A test of rates: standard errors under null and alternative differ."""

    endpoint: str
    scale: str
    effect: float
    null: float
    arms: int
    sign: int
    experimental: float
    control: float
    pooled: bool
    covariate_r_squared: float

    @property
    def formula(self) -> str:
        adjusted = f", variance times 1 - R-squared of {self.covariate_r_squared:g}" if self.covariate_r_squared else ""
        if self.arms == 1:
            return f"one rate, variance under the null by the null{adjusted}"
        no_effect = self.null == NULL_VALUES[self._scale]
        kind = "pooled" if no_effect else "by Farrington and Manning"
        return f"{self.scale}, variance under the null {kind if self.pooled else 'unpooled'}{adjusted}"

    @property
    def _scale(self) -> RateScale:
        return "risk difference" if self.arms == 1 else self.scale  # type: ignore[return-value]

    def distance(self, experimental: float) -> float:
        """Return what the test standardises: 0 under the null, positive for more events than the null says."""
        if self.arms == 1 or self._scale == "risk difference":
            return experimental - (self.null if self.arms == 1 else self.control + self.null)
        if self._scale == "risk ratio":
            return experimental - self.null * self.control
        return math.log(contrast_of(experimental, self.control, "odds ratio") / self.null)

    def _spread(self, experimental: float, control: float, ratio: float) -> float:
        """Return the standard error of the distance with one patient, allocated `ratio` to 1."""
        unit = 1.0 if self.arms == 1 else ratio / (1 + ratio)
        first, second = experimental * (1 - experimental), control * (1 - control)
        if self._scale == "odds ratio":
            variance = 1 / (unit * first) + 1 / ((1 - unit) * second)
        elif self.arms == 1:
            variance = first
        else:
            factor = self.null if self._scale == "risk ratio" else 1.0
            variance = first / unit + factor**2 * second / (1 - unit)
        return math.sqrt(max(variance, 0.0) * (1 - self.covariate_r_squared))

    def null_spread(self, experimental: float, ratio: float) -> float:
        """Return the standard error with one patient by the variance that the test uses."""
        if self.arms == 1:
            return self._spread(self.null, self.null, ratio)
        if not self.pooled:
            return self._spread(experimental, self.control, ratio)
        under = restricted_rates(experimental, self.control, (ratio, 1.0), self.null, self._scale)
        return self._spread(*under, ratio)

    def fixed_probit(self, patients: float, design: Design) -> float:
        root, ratio = math.sqrt(patients), design.allocation_ratio
        spread = self._spread(self.experimental, self.control, ratio)
        threshold = -float(ndtri(design.alpha)) * self.null_spread(self.experimental, ratio)
        return (self.sign * self.distance(self.experimental) * root - threshold) / spread

    def fixed_patients(self, design: Design) -> float:
        distance = self.sign * self.distance(self.experimental)
        if not distance > 1e-9:
            raise AnalysisError(
                f"the assumed {self.scale} of {self.effect:g} does not favour the experimental arm over the "
                f"{self.null:g} of the null hypothesis: no number of patients shows that, so plan for an effect"
            )
        under = self.null_spread(self.experimental, design.allocation_ratio)
        spread = self._spread(self.experimental, self.control, design.allocation_ratio)
        return ((-float(ndtri(design.alpha)) * under + float(ndtri(design.power)) * spread) / distance) ** 2

    def effect_at(self, z: float, patients: float, design: Design) -> float:
        ratio = design.allocation_ratio

        def excess(rate: float) -> float:
            return self.distance(rate) * math.sqrt(patients) - self.sign * z * self.null_spread(rate, ratio)

        if excess(_EDGE) > 0 or excess(1 - _EDGE) < 0:
            return math.nan
        rate = float(brentq(excess, _EDGE, 1 - _EDGE, xtol=1e-14, rtol=1e-14))
        return rate if self.arms == 1 else contrast_of(rate, self.control, self._scale)


def plan_rates(
    design: Design,
    *,
    experimental_rate: float,
    control_rate: float,
    scale: RateScale = "risk difference",
    null: float | None = None,
    higher_is_better: bool | None = None,
    pooled: bool = True,
    optimal_allocation: bool = False,
    covariate_r_squared: float = 0.0,
    patients: float | None = None,
    block: int = 4,
    whole_numbers: bool = True,
) -> EndpointPlan:
    """Plan a trial that compares two rates.

    The fixed size is ``((z_alpha s0 + z_power s1) / d)^2``, where d is the distance of the assumed effect from the null
    hypothesis (``p1 - p0 - null``, ``p1 - null p0``, or the log of the odds ratio over the null), s1 its standard
    error with one patient, and s0 that by the variance of the test: at the restricted maximum likelihood rates of
    Farrington and Manning, which are the pooled rate where the null is no effect.

    Parameters
    ----------
    design
        The rules. With ``sides=2`` the power counts rejections in favour of the experimental arm alone.
    experimental_rate, control_rate
        Assumed rates of the event.
    scale
        ``"risk difference"``, ``"risk ratio"`` or ``"odds ratio"`` (on the log scale).
    null
        The effect under the null hypothesis, on `scale`; no effect where not given. A margin for non-inferiority
        where events are good is a difference below 0 or a ratio below 1.
    higher_is_better
        Whether events are good. Where not given, the assumed effect favours the experimental arm.
    pooled
        False takes the variance of the test at the assumed rates too (Wald's test).
    optimal_allocation
        Allocate so that the fixed design needs the fewest patients, in place of the design's ratio.
    covariate_r_squared
        Share of the variance that covariates in the analysis explain; the size shrinks by one minus it. It applies to
        the marginal (standardised) effect.
    patients, block, whole_numbers
        As in `trialml.design.endpoint_plan.plan_endpoint`.

    Returns
    -------
    EndpointPlan
        One row a look, and the totals. The effect at a bound is where the estimate lies if the control arm has its
        assumed rate; NaN where no rate reaches the bound.

    Raises
    ------
    AnalysisError
        If a number is outside its range, or the effect does not favour the experimental arm.

    References
    ----------
    Farrington CP, Manning G. Stat Med 1990;9:1447-1454.
    Fleiss JL, Levin B, Paik MC. Statistical Methods for Rates and Proportions, 3rd ed. Wiley, Hoboken 2003.
    """
    experimental = require_between("the experimental rate", experimental_rate, 0.0, 1.0)
    control = require_between("the control rate", control_rate, 0.0, 1.0)
    limit = NULL_VALUES.get(scale, 0.0) if null is None else null
    check_null(scale, limit)
    effect = contrast_of(experimental, control, scale)
    planned = _Rate(
        "two rates",
        scale,
        effect,
        limit,
        2,
        direction(effect - limit, higher_is_better),
        experimental,
        control,
        pooled,
        require_r_squared(covariate_r_squared),
    )
    if optimal_allocation:
        design = dataclasses.replace(design, allocation_ratio=_best_ratio(planned, design))
    return plan_endpoint(planned, design, patients=patients, block=block, whole_numbers=whole_numbers)


def _best_ratio(planned: _Rate, design: Design) -> float:
    def size(log_ratio: float) -> float:
        return planned.fixed_patients(dataclasses.replace(design, allocation_ratio=math.exp(log_ratio)))

    found = minimize_scalar(size, bounds=(-3.0, 3.0), method="bounded", options={"xatol": 1e-9})
    return math.exp(float(found.x))


def plan_one_rate(
    design: Design,
    *,
    rate: float,
    null: float,
    higher_is_better: bool | None = None,
    covariate_r_squared: float = 0.0,
    patients: float | None = None,
    block: int = 1,
    whole_numbers: bool = True,
) -> EndpointPlan:
    """Plan a trial in one arm, whose rate is compared with a fixed value by the normal approximation.

    The fixed size is ``((z_alpha sqrt(q (1 - q)) + z_power sqrt(p (1 - p))) / (p - q))^2`` with p the assumed rate and q
    that under the null hypothesis. The exact binomial test is not planned for.

    Parameters
    ----------
    design
        The rules; the allocation ratio is not used.
    rate, null
        Assumed rate, and the rate under the null hypothesis.
    higher_is_better, covariate_r_squared, patients, block, whole_numbers
        As in `plan_rates`.

    Returns
    -------
    EndpointPlan
        One row a look, and the totals.

    Raises
    ------
    AnalysisError
        If a number is outside its range, or the rate does not favour the treatment.
    """
    assumed = require_between("the rate", rate, 0.0, 1.0)
    limit = require_between("the rate under the null hypothesis", null, 0.0, 1.0)
    planned = _Rate(
        "rate in one arm",
        "rate",
        assumed,
        limit,
        1,
        direction(assumed - limit, higher_is_better),
        assumed,
        limit,
        True,
        require_r_squared(covariate_r_squared),
    )
    return plan_endpoint(planned, design, patients=patients, block=block, whole_numbers=whole_numbers)
