"""Minimisation with a biased coin: each patient goes, most probably, where the arms become most alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.design.randomisation import Words, checked_arms, checked_factors
from trialml.design.refusals import require_between, require_finite, require_positive
from trialml.errors import AnalysisError, nearest

__all__ = ["Imbalance", "Minimisation"]

Vector = NDArray[np.float64]
Imbalance = Literal["range", "variance", "marginal-total"]

METHOD, VERSION = "minimisation", 1

_TIE = 1e-9


@dataclass(frozen=True)
class Minimisation:
    """Rules of minimisation; they hold no patient.

    For each arm k that the next patient might join, the imbalance ``d_ik`` of each of the patient's factor levels i is
    taken over the arms' counts (divided by their parts of the ratio) as they would then be, and ``G_k = sum w_i d_ik``.
    The arm of least G is allocated with `probability`, the others share the rest.

    Attributes
    ----------
    arms
        Arms with their parts of the allocation ratio, or a sequence of equal arms.
    factors
        Factors with their levels.
    weights
        Of the factors, 1 where not named.
    imbalance
        ``"range"`` (largest less smallest count), ``"variance"`` (of the counts) or ``"marginal-total"`` (Taves: the
        counts of arm k itself, summed over the patient's levels).
    probability
        Of the arm that is preferred, from its even share up to 1; 1 is deterministic, which is not recommended. At
        unequal ratios it is that of the arm of the smallest part, and the others' are raised so that the ratio is kept
        when no factor matters (Han, Enas and McEntegart 2009).

    Raises
    ------
    AnalysisError
        If a number is outside its range, or a name is not known.

    References
    ----------
    Pocock, S. J. and Simon, R. (1975). Sequential treatment assignment with balancing for prognostic factors in the
    controlled clinical trial. Biometrics 31, 103-115.
    Taves, D. R. (1974). Minimization: a new method of assigning patients to treatment and control groups. Clinical
    Pharmacology and Therapeutics 15, 443-453.
    Han, B., Enas, N. H. and McEntegart, D. (2009). Randomization by minimization for unbalanced treatment allocation.
    Statistics in Medicine 28, 3329-3346.
    """

    arms: Mapping[str, int] | Sequence[str]
    factors: Mapping[str, Sequence[str]]
    weights: Mapping[str, float] = field(default_factory=dict)
    imbalance: Imbalance = "range"
    probability: float = 0.8

    def __post_init__(self) -> None:
        arms, factors = checked_arms(self.arms), checked_factors(self.factors)
        object.__setattr__(self, "arms", arms)
        object.__setattr__(self, "factors", factors)
        if not factors:
            raise AnalysisError("minimisation has no factor to balance: give at least one, or use permuted blocks")
        for name, weight in self.weights.items():
            if name not in factors:
                raise AnalysisError(f"a weight names the factor '{name}', which is not there: {nearest(name, factors)}")
            require_positive(f"the weight of factor '{name}'", weight)
        if self.imbalance not in get_args(Imbalance):
            known = nearest(str(self.imbalance), get_args(Imbalance))
            raise AnalysisError(f"imbalance is {self.imbalance!r}, which is not known: {known}")
        share = min(arms.values()) / sum(arms.values())
        name = "the probability of the preferred arm"
        p = require_between(name, self.probability, 0.0, 1.0, closed_high=True)
        if p < share - 1e-12:
            raise AnalysisError(
                f"{name} is {p:g}, below its even share of {share:g}: it would make the arms less alike"
            )

    @property
    def _ratio(self) -> Vector:
        return np.array(list(checked_arms(self.arms).values()), dtype=np.float64)

    def imbalances(self, counts: Mapping[str, Sequence[float]]) -> dict[str, float]:
        """Return G of each arm.

        Parameters
        ----------
        counts
            For each factor, the patients already allocated to each arm (in the order of `arms`) among those who share
            the next patient's level.

        Returns
        -------
        dict
            By arm.

        Raises
        ------
        AnalysisError
            If a factor is missing or has not one count an arm.
        """
        ratio, total = self._ratio, np.zeros(len(self.arms))
        for name in self.factors:
            here = np.asarray(counts.get(name, ()), dtype=float)
            if here.shape != ratio.shape or not np.all(here >= 0):
                raise AnalysisError(f"the counts of factor '{name}' are {here.tolist()}: give {ratio.size}, one an arm")
            weight = float(self.weights.get(name, 1.0))
            if self.imbalance == "marginal-total":
                total += weight * here / ratio
                continue
            then = (here + np.eye(ratio.size)) / ratio
            spread = np.ptp(then, axis=1) if self.imbalance == "range" else then.var(axis=1, ddof=1)
            total += weight * spread
        return dict(zip(self.arms, (float(one) for one in total), strict=True))

    def probabilities(self, counts: Mapping[str, Sequence[float]]) -> dict[str, float]:
        """Return the probability with which the next patient goes to each arm.

        Arms that tie for the least imbalance are preferred with probabilities in proportion to their parts of the ratio.

        Parameters
        ----------
        counts
            As in `imbalances`.

        Returns
        -------
        dict
            By arm; they add up to 1.
        """
        score = np.array(list(self.imbalances(counts).values()))
        ratio = self._ratio
        whole = ratio.sum()
        best = np.flatnonzero(score <= score.min() + _TIE * max(1.0, abs(score.min())))
        rest = (1 - self.probability) / (whole - ratio.min())
        chance = np.zeros(ratio.size)
        for preferred in best:
            weight = ratio[preferred] / ratio[best].sum()
            others = rest * ratio
            others[preferred] = 1 - rest * (whole - ratio[preferred])
            chance += weight * others
        return dict(zip(self.arms, (float(one) for one in chance), strict=True))

    def allocate(self, patients: pd.DataFrame, *, seed: int, allocated: pd.DataFrame | None = None) -> pd.DataFrame:
        """Allocate patients one after the other.

        The random number of a patient depends on the seed and on how many came before, so that patients may be
        allocated one at a time or together.

        Parameters
        ----------
        patients
            One row a patient in order of randomisation, with a column for each factor.
        seed
            A whole number.
        allocated
            What was returned before, for patients who are in already.

        Returns
        -------
        DataFrame
            All patients, the earlier ones first: number (from 1), the factors, arm, and probability (with which that
            arm was drawn).

        Raises
        ------
        AnalysisError
            If a factor's column is missing or holds a level that the rules do not know.
        """
        whole = require_finite("seed", seed)
        if whole != int(whole) or whole < 0:
            raise AnalysisError(f"seed is {whole:g}: give a whole number from 0 on")
        names, arms = list(self.factors), list(self.arms)
        rows: list[dict[str, Any]] = []
        counts = {name: {level: [0] * len(arms) for level in levels} for name, levels in dict(self.factors).items()}
        for earlier in [] if allocated is None else allocated.to_dict("records"):
            rows.append({str(key): value for key, value in earlier.items()})
            self._count(rows[-1], arms, counts)
        for person in self._checked(patients)[names].to_dict("records"):
            here = {name: counts[name][str(person[name])] for name in names}
            chance = self.probabilities(here)
            number = len(rows) + 1
            at = Words(METHOD, VERSION, int(seed), number).unit()
            cumulative = np.cumsum([chance[arm] for arm in arms])
            arm = arms[min(int(np.searchsorted(cumulative, at, side="right")), len(arms) - 1)]
            rows.append({"number": number, **person, "arm": arm, "probability": chance[arm]})
            self._count(rows[-1], arms, counts)
        return pd.DataFrame(rows, columns=["number", *names, "arm", "probability"])

    @staticmethod
    def _count(row: Mapping[str, Any], arms: list[str], counts: dict[str, dict[str, list[int]]]) -> None:
        for name, levels in counts.items():
            levels[str(row[name])][arms.index(str(row["arm"]))] += 1

    def _checked(self, patients: pd.DataFrame) -> pd.DataFrame:
        for name, levels in dict(self.factors).items():
            if name not in patients.columns:
                raise AnalysisError(
                    f"the patients have no column '{name}': {nearest(name, map(str, patients.columns))}"
                )
            known = patients[name].astype(str).isin(levels)
            if not known.all():
                row = int(np.argmin(known.to_numpy())) + 1
                value = patients[name].iloc[row - 1]
                raise AnalysisError(
                    f"row {row} has the level '{value}' of factor '{name}': {nearest(str(value), levels)}"
                )
        return patients

    def text(self) -> str:
        """Return the rules in words, fit for a protocol."""
        ratio = ":".join(f"{part:g}" for part in self._ratio)
        shown = ", ".join(f"{name} (weight {self.weights.get(name, 1.0):g})" for name in self.factors)
        coin = "deterministic" if math.isclose(self.probability, 1.0) else f"biased coin of {self.probability:g}"
        return (
            f"Minimisation over {shown} to {', '.join(self.arms)} ({ratio}), imbalance by {self.imbalance}, {coin}; trialml "
            f"algorithm '{METHOD}', version {VERSION}."
        )
