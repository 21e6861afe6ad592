"""What the next trial would find: true effects inside and outside a rule, from one pool of invented patients under both arms.

Each patient of the pool is observed twice, once an arm, with the same operational time and the same censoring, so that the
log hazard ratio of any group is known to a few thousandths.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from response_trials import SCENARIOS, SHAPE, TAU, effect_on_log_hazard, prognosis

from trialml.survival.cox import fit_cox

POOL = 40_000
COVARIATES = 20
Flags = np.ndarray


@dataclass(frozen=True)
class Group:
    """What is true of a group of patients: share of all, log hazard ratio, hazard under control per unit of time."""

    share: float
    log_hazard_ratio: float
    control_hazard: float


@dataclass(frozen=True)
class Pool:
    """New patients and what would happen to each in either arm; arrays of shape (patients,), times and events (2, patients)."""

    x: np.ndarray
    time: np.ndarray
    event: np.ndarray

    def group(self, inside: Flags) -> Group:
        """Return the truth of a group of patients, by the Cox model of the arm alone on both outcomes of each."""
        times, events = self.time[:, inside], self.event[:, inside]
        arm = np.repeat([[0.0], [1.0]], times.shape[1], axis=1)
        fit = fit_cox(times.ravel(), events.ravel(), arm.ravel()[:, None])
        hazard = float(events[0].sum() / times[0].sum())
        return Group(float(inside.mean()), float(fit.coefficients[0]), hazard)


@lru_cache(maxsize=len(SCENARIOS))
def pool(scenario: str) -> Pool:
    """Return the pool of a scenario, made once a process from a seed of its own."""
    generator = np.random.default_rng([20261125, SCENARIOS.index(scenario)])
    x = generator.standard_normal((POOL, COVARIATES))
    passed = generator.exponential(size=POOL) / np.exp(prognosis(scenario, x))
    ratio = np.stack([np.ones(POOL), np.exp(effect_on_log_hazard(scenario, x))])
    time = (passed / ratio) ** (1 / SHAPE)
    censored = np.minimum(generator.exponential(3.0, POOL), generator.uniform(TAU, 2 * TAU, POOL))
    return Pool(x, np.minimum(time, censored), time <= censored)


def best_rules(scenario: str) -> list[np.ndarray]:
    """Return groups of the pool that whoever knows the truth might choose: the patients with the larger effects, by cut-points."""
    patients = pool(scenario)
    effect = -effect_on_log_hazard(scenario, patients.x)
    cuts = np.unique(np.quantile(effect, np.arange(1, 10) / 10))
    groups = [effect >= cut for cut in cuts[1:]] if len(cuts) > 1 else []
    return [group for group in groups if 0.05 < group.mean() < 0.98]
