"""Invented trials with known benefit: three scenarios without and three with effect modification, and variants of each.

Weibull event times, prognosis in three covariates of twenty, effects on the hazard; 30 to 40 % censored. Benefit is the
difference of restricted means up to TAU, in closed form.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import gamma, gammainc

from trialml.models.cox_ridge import CoxRidge
from trialml.models.outcome import survival_outcome

TAU = 1.5
SHAPE = 1.3

SCENARIOS = (
    "N1 constant effect",
    "N2 prognosis, no effect",
    "N3 prognosis, constant effect",
    "A1 effect above a threshold",
    "A2 effect linear in a marker",
    "A3 complex rule",
)


@dataclass(frozen=True)
class Variant:
    """What differs from the usual trial.

    Attributes
    ----------
    covariates
        How many; those beyond the first five do nothing.
    allocation
        Share of the experimental arm.
    shift
        Added to every log hazard ratio that is not 0 throughout.
    delay
        The hazard ratio is 1 before this time.
    censoring
        Mean of the exponential censoring times; follow-up ends between TAU and 2 TAU for all.
    """

    covariates: int = 20
    allocation: float = 0.5
    shift: float = 0.0
    delay: float = 0.0
    censoring: float = 3.0


USUAL = Variant()
VARIANTS = {
    "usual": USUAL,
    "delayed effect": Variant(delay=0.4),
    "two to one": Variant(allocation=2 / 3),
    "hazard ratio .4": Variant(shift=float(np.log(0.4 / 0.7))),
    "100 covariates": Variant(covariates=100),
    "60 % censored": Variant(censoring=0.85),
}


def effect_on_log_hazard(scenario: str, x: np.ndarray, variant: Variant = USUAL) -> np.ndarray:
    """Return each patient's log hazard ratio once the effect has begun, shape (n,)."""
    if scenario.startswith("N2"):
        return np.zeros(len(x))
    effect = {
        "N1": np.full(len(x), -0.36),
        "N3": np.full(len(x), -0.36),
        "A1": np.where(x[:, 3] > 0, -0.8, 0.0),
        "A2": -0.36 - 0.4 * x[:, 3],
        "A3": np.where((x[:, 3] > 0) & (x[:, 0] + x[:, 4] > 0), -1.0, -0.1),
    }[scenario[:2]]
    return effect + variant.shift


def prognosis(scenario: str, x: np.ndarray) -> np.ndarray:
    """Return each patient's log hazard under control, shape (n,)."""
    return np.zeros(len(x)) if scenario.startswith("N1") else 0.5 * x[:, 0] + 0.4 * x[:, 1] - 0.3 * x[:, 2]


def true_benefit(scenario: str, x: np.ndarray, variant: Variant = USUAL) -> np.ndarray:
    """Return each patient's difference of restricted means, in closed form, shape (n,)."""
    rate = np.exp(prognosis(scenario, x))
    ratio = np.exp(effect_on_log_hazard(scenario, x, variant))
    # Once the effect has begun the survival curve is that of the new rate, at the height that was reached.
    height = np.exp(-rate * (1 - ratio) * variant.delay**SHAPE)
    treated = height * (weibull_mean(rate * ratio, TAU) - weibull_mean(rate * ratio, variant.delay))
    return treated + weibull_mean(rate, variant.delay) - weibull_mean(rate, TAU)


def weibull_mean(rate: np.ndarray, until: float) -> np.ndarray:
    """Return the area under ``exp(-rate t**SHAPE)`` up to a time, by the incomplete gamma function, shape (n,)."""
    return gamma(1 + 1 / SHAPE) * gammainc(1 / SHAPE, rate * until**SHAPE) / rate ** (1 / SHAPE)


def trial(scenario: str, n: int, generator: np.random.Generator, variant: Variant = USUAL):
    """Return one trial: covariates, time, event, arm."""
    x = generator.standard_normal((n, variant.covariates))
    arm = generator.permutation(np.arange(n) < round(n * variant.allocation))
    # Operational time: what the hazard without an effect would have added up to when the event happens.
    passed = generator.exponential(size=n) / np.exp(prognosis(scenario, x))
    ratio = np.where(arm, np.exp(effect_on_log_hazard(scenario, x, variant)), 1.0)
    begun = variant.delay**SHAPE
    time = np.where(passed <= begun, passed, begun + (passed - begun) / ratio) ** (1 / SHAPE)
    censored = np.minimum(generator.exponential(variant.censoring, n), generator.uniform(TAU, 2 * TAU, n))
    frame = pd.DataFrame(x, columns=[f"x{place}" for place in range(variant.covariates)])
    return frame, np.minimum(time, censored), time <= censored, arm


def outcome_model(X, time, event):
    """Fit the outcome model of one arm behind the doubly robust scores."""
    return CoxRidge(penalties=(8.0,)).fit(X, survival_outcome(time, event))
