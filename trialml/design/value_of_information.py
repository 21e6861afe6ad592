"""Would more patients change the decision? The preposterior analysis of another trial as informative as they would be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from trialml.design.bridge_options import Option
from trialml.design.bridge_setting import TrialSetting
from trialml.design.judged_options import Judged, judged_options
from trialml.design.recommendation import Gate, chosen_option
from trialml.design.refusals import require_positive
from trialml.design.response_evidence import ResponseEvidence
from trialml.result import Result, format_count

__all__ = ["ValueOfMoreData", "updated_posterior", "value_of_more_data"]

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ValueOfMoreData(Result):
    """What more patients like those of this trial would do to the recommendation.

    Attributes
    ----------
    patients
        How many more.
    option
        Recommended now.
    change_probability, change_mc_error
        The probability that another option would be recommended with them.
    gain, gain_mc_error
        Expected gain in right conclusions less false claims of the next trial: the expected value of sample information. The gate may make it
        negative: it opens by chance too.
    gate_opens, gate_opens_mc_error
        The probability that the gate is then open.
    shares
        Probability of each option's being recommended then, by name.
    draws
        Simulated data sets.
    """

    title = "The value of more data"
    methods = (
        "The data that more patients would add were drawn from what is believed now: estimates of both effects with the sampling covariance of this "
        "trial's, scaled by the number of patients. Each updated the joint normal posterior, the gate and the recommendation. The global test "
        "was carried forward as if its evidence lay between the stratum and its complement, z by the root of the patients. The gain is what the "
        "decision with the data has over the present one under the updated posterior: the expected value of sample information."
    )
    references = (
        "Ades AE, Lu G, Claxton K. Expected value of sample information calculations in medical decision modeling. Med Decis Making "
        "2004;24:207-227.",
    )

    patients: float
    option: Option
    change_probability: float
    change_mc_error: float
    gain: float
    gain_mc_error: float
    gate_opens: float
    gate_opens_mc_error: float
    shares: Mapping[str, float]
    draws: int

    def frame(self) -> pd.DataFrame:
        """Return one row an option: how likely it is to be recommended with the patients."""
        names = list(self.shares)
        return pd.DataFrame({"option": names, "recommended_then": [self.shares[name] for name in names]}).assign(
            recommended_now=[name == self.option for name in names],
            patients=self.patients,
            change_probability=self.change_probability,
            change_mc_error=self.change_mc_error,
            gain=self.gain,
            gain_mc_error=self.gain_mc_error,
            gate_opens=self.gate_opens,
            gate_opens_mc_error=self.gate_opens_mc_error,
        )

    def table(self) -> pd.DataFrame:
        """Return how likely each option is to be recommended with the patients."""
        now = [f"{name} (now)" if name == self.option else name for name in self.shares]
        then = [f"{100 * share:.1f} %" for share in self.shares.values()]
        head = f"Recommended with {format_count(self.patients)} more patients"
        return pd.DataFrame({"Option": now, head: then})

    def text(self) -> str:
        """Return how likely the data would change the recommendation, and what that is worth."""
        return (
            f"Another {format_count(self.patients)} patients would change the recommendation from '{self.option}' with probability "
            f"{100 * self.change_probability:.0f} % (Monte Carlo error {100 * self.change_mc_error:.1f} points), and gain "
            f"{100 * self.gain:.2f} points of right conclusions less false claims (Monte Carlo error {100 * self.gain_mc_error:.2f}); the gate would "
            f"be open with probability {100 * self.gate_opens:.0f} %."
        )

    def scalars(self) -> Mapping[str, float]:
        """Return the probability of a change and the gain with their Monte Carlo errors."""
        return {
            "more_data_change_probability": self.change_probability,
            "more_data_change_mc_error": self.change_mc_error,
            "more_data_gain": self.gain,
            "more_data_gain_mc_error": self.gain_mc_error,
        }


def updated_posterior(mean: Vector, covariance: Vector, seen: Vector, errors: Vector) -> tuple[Vector, Vector]:
    """Return the normal posterior of two effects after an estimate of them.

    Parameters
    ----------
    mean, covariance
        Before: shapes (2,) and (2, 2).
    seen
        Estimates, shape (m, 2).
    errors
        Their covariance, shape (2, 2).

    Returns
    -------
    mean, covariance
        After each estimate, shape (m, 2), and the covariance, which is the same for all: ``V - V (V + E)^-1 V``.
    """
    gain = covariance @ np.linalg.inv(covariance + errors)
    return mean + (seen - mean) @ gain.T, covariance - gain @ covariance


class _Future(NamedTuple):
    """Posteriors with the new data, and whether the gate is then open."""

    weights: Vector
    gate_open: NDArray[np.bool_]


def value_of_more_data(
    evidence: ResponseEvidence,
    setting: TrialSetting,
    *,
    patients: float = 200,
    gate: Gate = Gate(),  # noqa: B008  (frozen)
    draws: int = 2000,
    seed: int = 1,
    judged: Judged | None = None,
) -> ValueOfMoreData:
    """Ask whether more patients like those of this trial would change the recommendation.

    Parameters
    ----------
    evidence, setting, gate
        As `trialml.design.recommendation.recommend` takes them.
    patients
        How many more, randomised as in this trial and followed as long.
    draws, seed
        Data sets that they might give.
    judged
        The options judged already.

    Returns
    -------
    ValueOfMoreData

    Raises
    ------
    AnalysisError
        If the number of patients is not above 0, or as `trialml.design.bridge_options.planned_options`.
    """
    more = require_positive("the number of further patients", patients)
    known = judged_options(evidence, setting, seed=seed) if judged is None else judged
    open_now = not gate.shortcomings(evidence)
    now = chosen_option(known.expected_net(), gate_open=open_now)
    future = _future(known, gate, more, draws, seed)
    names = list(known.claims)
    nets = future.weights @ np.stack([known.claims[name].net for name in names], axis=1)
    chosen = np.argmax(nets >= nets.max(axis=1, keepdims=True) - 1e-9, axis=1)
    chosen[~future.gate_open] = names.index("all comers")
    changed = chosen != names.index(now)
    gains = nets[np.arange(draws), chosen] - nets[:, names.index(now)]
    root = math.sqrt(draws)
    return ValueOfMoreData(
        patients=more,
        option=now,
        change_probability=float(changed.mean()),
        change_mc_error=float(changed.std(ddof=1) / root),
        gain=float(gains.mean()),
        gain_mc_error=float(gains.std(ddof=1) / root),
        gate_opens=float(future.gate_open.mean()),
        gate_opens_mc_error=float(future.gate_open.std(ddof=1) / root),
        shares={name: float((chosen == place).mean()) for place, name in enumerate(names)},
        draws=draws,
    )


def _future(known: Judged, gate: Gate, more: float, draws: int, seed: int) -> _Future:
    """Draw what more patients may show, and return the weights of the nodes and the gate that follow."""
    evidence, nodes = known.evidence, known.nodes
    mean, covariance = evidence.benefit_mean, evidence.benefit_covariance
    errors = np.asarray(evidence.data_covariance) * (evidence.n / more)
    # Antithetic pairs: the mean of what is seen is what is believed.
    half = np.random.default_rng(seed).standard_normal(((draws + 1) // 2, 2))
    normal = np.concatenate([half, -half])[:draws]
    seen = mean + normal @ np.linalg.cholesky(covariance + errors).T
    gaps = np.stack([nodes.inside, nodes.outside], axis=1)[None] - seen[:, None]
    distance = np.einsum("jki,il,jkl->jk", gaps, np.linalg.inv(errors), gaps)
    weights = nodes.weight * np.exp(-0.5 * (distance - distance.min(axis=1, keepdims=True)))
    weights /= weights.sum(axis=1, keepdims=True)
    after, spread = updated_posterior(mean, covariance, seen, errors)
    contrast = np.array([1.0, -1.0])
    certain = ndtr(after @ contrast / math.sqrt(float(contrast @ spread @ contrast)))
    shown = _global_p(evidence, seen @ contrast, errors, more)
    passed = evidence.validation.passed or not gate.validated
    tested = (shown < gate.level) | (gate.level == 1)
    return _Future(weights, tested & (certain >= gate.difference_probability) & passed)


def _global_p(evidence: ResponseEvidence, difference: Vector, errors: Vector, more: float) -> Vector:
    """Return the p-values of the global test with the new data, its z carried forward by the root of the patients."""
    contrast = np.array([1.0, -1.0])
    sign = math.copysign(1.0, float(contrast @ evidence.benefit_mean))
    before = sign * -float(ndtri(max(evidence.heterogeneity_p, 1e-300) / 2))
    new = difference / math.sqrt(float(contrast @ errors @ contrast))
    z = (math.sqrt(evidence.n) * before + math.sqrt(more) * new) / math.sqrt(evidence.n + more)
    return np.asarray(2 * ndtr(-np.abs(z)))
