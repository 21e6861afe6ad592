"""How many patients a trial needs whose rates are compared within strata."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtri

from trialml.design.endpoint_plan import EndpointPlan, plan_endpoint
from trialml.design.group_sequential import Design
from trialml.design.integration import crossing_probabilities
from trialml.design.planned_effect import PlannedEffect, Stops, direction, require_r_squared
from trialml.design.refusals import require_between, require_finite
from trialml.errors import AnalysisError

__all__ = ["plan_stratified_rates"]

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class _StratifiedRates(PlannedEffect):
    """The weighted mean of the strata's risk differences."""

    endpoint: str
    scale: str
    effect: float
    null: float
    arms: int
    sign: int
    shares: Vector
    experimental: Vector
    control: Vector
    covariate_r_squared: float

    @property
    def formula(self) -> str:
        adjusted = f", variance times 1 - R-squared of {self.covariate_r_squared:g}" if self.covariate_r_squared else ""
        return (
            f"stratified risk difference weighted by patients, variance under the null pooled within strata{adjusted}"
        )

    def _spread(self, experimental: Vector, control: Vector, design: Design) -> float:
        """Return the standard error of the estimate with one patient; strata weigh as their patients."""
        share = design.experimental_share
        variances = experimental * (1 - experimental) / share + control * (1 - control) / (1 - share)
        return math.sqrt(float(self.shares @ variances) * (1 - self.covariate_r_squared))

    def spreads(self, design: Design) -> tuple[float, float]:
        """Return the standard errors with one patient, at the assumed rates and pooled within strata."""
        share = design.experimental_share
        pooled = share * self.experimental + (1 - share) * self.control
        return self._spread(self.experimental, self.control, design), self._spread(pooled, pooled, design)

    @property
    def distance(self) -> float:
        return self.sign * self.effect

    def fixed_probit(self, patients: float, design: Design) -> float:
        spread, under = self.spreads(design)
        return (self.distance * math.sqrt(patients) + float(ndtri(design.alpha)) * under) / spread

    def fixed_patients(self, design: Design) -> float:
        if not self.distance > 1e-9:
            raise AnalysisError(
                f"the assumed weighted risk difference of {self.effect:g} does not favour the experimental arm: no number "
                "of patients shows that, so plan for an effect"
            )
        spread, under = self.spreads(design)
        return ((-float(ndtri(design.alpha)) * under + float(ndtri(design.power)) * spread) / self.distance) ** 2

    def maximum_patients(self, design: Design) -> float:
        fixed = self.fixed_patients(design)

        def surplus(patients: float) -> float:
            return float(self.stops(design, patients, self.drift(design, patients)).efficacy.sum()) - design.power

        high = 1.2 * fixed * design.inflation_factor
        while surplus(high) < 0:
            high *= 1.5
        return float(brentq(surplus, 0.5 * fixed, high, xtol=1e-9, rtol=1e-13))

    def drift(self, design: Design, patients: float) -> float:
        return self.distance * math.sqrt(patients) / self.spreads(design)[0]

    def drift_as_solved(self, design: Design, patients: float, exact: float) -> float:  # noqa: ARG002  (it has no part)
        return self.drift(design, patients)

    def stops(self, design: Design, _patients: float, drift: float) -> Stops:
        if drift == 0:
            return super().stops(design, _patients, drift)
        # The statistic has its variance under the alternative, the test standardises by that under the null.
        spread, under = self.spreads(design)
        upper = np.array(design.critical_values) * under / spread
        lower = -upper if design.sides == 2 else np.array(design.futility_values) * under / spread
        t = np.array(design.information_fractions)
        found = crossing_probabilities(upper, lower, t, drift * np.sqrt(t))
        none = np.zeros(design.looks)
        return Stops(found.above, none, found.below) if design.sides == 2 else Stops(found.above, found.below, none)

    def effect_at(self, z: float, patients: float, design: Design) -> float:
        return self.sign * z * self.spreads(design)[1] / math.sqrt(patients)


def plan_stratified_rates(
    design: Design,
    *,
    prevalences: Sequence[float],
    experimental_rates: Sequence[float],
    control_rates: Sequence[float],
    higher_is_better: bool | None = None,
    covariate_r_squared: float = 0.0,
    patients: float | None = None,
    block: int = 4,
    whole_numbers: bool = True,
) -> EndpointPlan:
    """Plan a trial that tests no difference of two rates within strata.

    The estimate weighs the strata's risk differences by their patients (Mantel and Haenszel's weights where every
    stratum is allocated alike). The test standardises by the variance with rates pooled within strata, while the
    estimate varies by the assumed rates: the probability of crossing a bound b at a look is that of a normal z with
    mean ``d sqrt(n) / s1`` above ``b s0 / s1``, and the size is the one that gives the power over all looks.

    Parameters
    ----------
    design
        The rules.
    prevalences
        Shape (strata,): share of patients in each stratum, adding to 1.
    experimental_rates, control_rates
        Shape (strata,): assumed rates.
    higher_is_better
        Whether events are good. Where not given, the assumed effect favours the experimental arm.
    covariate_r_squared, patients, block, whole_numbers
        As in `trialml.design.rates.plan_rates`.

    Returns
    -------
    EndpointPlan
        One row a look, and the totals; the effect at a bound is ``z s0 / sqrt(n)``. Under half the drift the variance
        is that at the assumed rates.

    Raises
    ------
    AnalysisError
        If a number is outside its range, the lengths differ, the prevalences do not add to 1, or the effect does not
        favour the experimental arm.

    References
    ----------
    Mantel N, Haenszel W. J Natl Cancer Inst 1959;22:719-748.
    Jennison C, Turnbull BW. Group sequential methods with applications to clinical trials, section 12.2. Chapman &
    Hall/CRC, Boca Raton 2000.
    """
    counts = [len(prevalences), len(experimental_rates), len(control_rates)]
    if len(set(counts)) != 1 or not counts[0]:
        raise AnalysisError(
            f"there are {counts[0]} prevalences, {counts[1]} experimental and {counts[2]} control rates: "
            "give one of each for every stratum"
        )
    shares = np.array([require_between("a prevalence", one, 0.0, 1.0, closed_high=True) for one in prevalences])
    if abs(shares.sum() - 1) > 1e-9:
        raise AnalysisError(f"the prevalences add to {shares.sum():g}: give shares of all patients, which add to 1")
    rates = [
        np.array(
            [require_between(f"a rate of the {arm} arm", require_finite("a rate", one), 0.0, 1.0) for one in given]
        )
        for arm, given in (("experimental", experimental_rates), ("control", control_rates))
    ]
    effect = float(shares @ (rates[0] - rates[1]))
    planned = _StratifiedRates(
        endpoint=f"two rates in {counts[0]} strata",
        scale="risk difference",
        effect=effect,
        null=0.0,
        arms=2,
        sign=direction(effect, higher_is_better),
        shares=shares,
        experimental=rates[0],
        control=rates[1],
        covariate_r_squared=require_r_squared(covariate_r_squared),
    )
    return plan_endpoint(planned, design, patients=patients, block=block, whole_numbers=whole_numbers)
