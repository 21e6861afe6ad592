"""Strata: a partition of patients by a rule fixed at baseline, in words, that can be applied again."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from trialml.errors import AnalysisError
from trialml.result import format_number

__all__ = ["Strata", "Stratum", "quantile_strata"]

_NAMES = {
    2: ("Lower benefit", "Higher benefit"),
    3: ("Lower benefit", "Middle benefit", "Higher benefit"),
    4: ("Lowest benefit", "Lower benefit", "Higher benefit", "Highest benefit"),
    5: ("Lowest benefit", "Lower benefit", "Middle benefit", "Higher benefit", "Highest benefit"),
}


@dataclass(frozen=True)
class Stratum:
    """One group: its name, and its rule in words."""

    name: str
    rule: str


@dataclass(frozen=True)
class Strata:
    """What was asked (groups) and what was learned (cut-points), frozen.

    Attributes
    ----------
    strata
        From the least to the most benefit.
    cuts
        Benefit scores at which a stratum ends and the next begins; one fewer than there are strata.
    """

    strata: tuple[Stratum, ...]
    cuts: tuple[float, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The strata's names, from the least to the most benefit."""
        return tuple(stratum.name for stratum in self.strata)

    def assign(self, benefit_score: NDArray[np.float64]) -> NDArray[np.intp]:
        """Return the position of each patient's stratum, shape (n,); a score on a cut belongs above it."""
        return np.searchsorted(np.asarray(self.cuts), benefit_score, side="right").astype(np.intp)

    def state(self) -> dict[str, Any]:
        """Return the strata as plain JSON types."""
        return {"strata": [[stratum.name, stratum.rule] for stratum in self.strata], "cuts": list(self.cuts)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the strata that `state` described."""
        return cls(tuple(Stratum(name, rule) for name, rule in state["strata"]), tuple(state["cuts"]))


def quantile_strata(benefit_score: NDArray[np.float64], groups: int, *, model: str, unit: str) -> Strata:
    """Cut the benefit scores of the training patients into groups of equal size.

    Parameters
    ----------
    benefit_score
        Scores of the training patients, shape (n,).
    groups
        From 2 to 5.
    model
        What the rule calls the model.
    unit
        Unit of the score.

    Returns
    -------
    Strata
        Fewer groups where the scores are tied; a single stratum where they are all equal.

    Raises
    ------
    AnalysisError
        If `groups` is not from 2 to 5.
    """
    if groups not in _NAMES:
        raise AnalysisError(f"[strata] groups = {groups} cannot be named: choose 2, 3, 4 or 5.")
    cuts = np.unique(np.quantile(benefit_score, np.arange(1, groups) / groups))
    lowest, highest = float(benefit_score.min()), float(benefit_score.max())
    cuts = cuts[(cuts > lowest) & (cuts <= highest)]
    if not len(cuts) and highest > lowest:
        # Most patients share the lowest score: what is above it is still a stratum.
        cuts = np.asarray([benefit_score[benefit_score > lowest].min()])
    if not len(cuts):
        return Strata((Stratum("All patients", f"everybody: the score of {model} is the same for all"),), ())
    shown = [format_number(float(cut)) for cut in cuts]
    rules = [f"benefit score of {model} below {shown[0]} {unit}"]
    rules += [f"from {low} to below {high} {unit}" for low, high in itertools.pairwise(shown)]
    rules.append(f"at least {shown[-1]} {unit}")
    return Strata(
        tuple(Stratum(name, rule) for name, rule in zip(_NAMES[len(rules)], rules, strict=True)),
        tuple(float(cut) for cut in cuts),
    )
