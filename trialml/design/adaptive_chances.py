"""What a two-stage trial that may go on with the stratum alone rejects, simulated on normal test statistics."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from trialml.design.bridge_setting import Information
from trialml.design.enrichment_design import EnrichmentDesign
from trialml.design.group_sequential import Design
from trialml.design.response_evidence import GroupEvidence

__all__ = ["BATCHES", "AdaptiveStages", "adaptive_batches", "adaptive_chances"]

Vector = NDArray[np.float64]
Groups = tuple[GroupEvidence, GroupEvidence]

BATCHES = 8
"""The draws are made in so many parts, whose spread gives the Monte Carlo error of whatever is computed from them."""
FEW = 250
"""Up to so many pairs of benefits each is simulated; more are read from a surface."""
_GRID = 17


class AdaptiveStages(NamedTuple):
    """The two stages, with the information planned for them.

    Attributes
    ----------
    information
        How patients become information.
    share
        The stratum's share of the screened.
    first, further, alone
        Patients by the interim analysis, after it where all comers go on, and where the stratum does alone.
    interim
        Month of the interim analysis, when the first are in.
    fraction
        Share of all comers' planned information that is there by then; it fixes the weights.
    planned
        Information planned for the second stage, of all comers and of the stratum alone.
    """

    information: Information
    share: float
    first: float
    further: float
    alone: float
    interim: float
    fraction: float
    planned: tuple[float, float]

    @classmethod
    def planned_at(cls, known: AdaptiveStages, groups: Groups, benefits: Vector) -> Self:
        """Return the stages with their planned information, at some benefits."""
        by_stage = known.by_stage(groups, *(np.asarray([one]) for one in benefits))[0]
        all_comers = by_stage[:2].sum(axis=1)
        numbers = known._asdict() | {
            "fraction": float(all_comers[0] / all_comers.sum()),
            "planned": (float(all_comers[1]), float(by_stage[2, 0])),
        }
        return cls(**numbers)

    @classmethod
    def planned_for(
        cls,
        information: Information,
        groups: Groups,
        share: float,
        benefits: Vector,
        *,
        sizes: tuple[float, float, float],
        interim: float,
    ) -> Self:
        """Return the stages of a trial with so many patients first, further and alone, planned at some benefits."""
        blank = cls(information, share, *sizes, interim, 0.0, (0.0, 0.0))
        return cls.planned_at(blank, groups, benefits)

    @property
    def accrual_alone(self) -> float:
        """Months from the interim analysis until the patients of the stratum alone are in."""
        return self.alone / (self.share * self.information.setting.screened_per_month)

    @property
    def months_alone(self) -> float:
        """Months of the whole trial where the stratum goes on alone."""
        return self.interim + self.accrual_alone + self.information.setting.follow_up_months

    @property
    def months_all(self) -> float:
        """Months of the whole trial where all comers go on."""
        asked = self.information.setting
        return self.interim + self.further / asked.screened_per_month + asked.follow_up_months

    def by_stage(self, groups: Groups, inside: Vector, outside: Vector) -> Vector:
        """Return the information by true benefits of shape (m,).

        Returns
        -------
        ndarray
            Shape (m, 3, 2): of stratum and complement by the interim analysis, and after it where all comers or the stratum
            alone go on.
        """
        found = np.zeros((len(inside), 3, 2))
        shares = (self.share, 1 - self.share)
        for place, (group, benefit) in enumerate(zip(groups, (inside, outside), strict=True)):
            early = self.first * shares[place] * self.information.of(group, benefit, 0.0, self.interim, self.interim)
            found[:, 0, place] = early
            whole = self._whole(group, benefit, self.further * shares[place], self.months_all, shares[place])
            found[:, 1, place] = whole - early
        alone = self._whole(groups[0], inside, self.alone, self.months_alone, self.share)
        found[:, 2, 0] = alone - found[:, 0, 0]
        return found

    def _whole(self, group: GroupEvidence, benefit: Vector, later: float, months: float, share: float) -> Vector:
        """Return a group's information at the end, of its first patients and of the later ones."""
        first = self.first * share * self.information.of(group, benefit, 0.0, self.interim, months)
        if later <= 0:
            return first
        end = months - self.information.setting.follow_up_months
        return first + later * self.information.of(group, benefit, self.interim, end, months)


def adaptive_batches(
    stages: AdaptiveStages, groups: Groups, inside: Vector, outside: Vector, *, draws: int, seed: int
) -> Vector:
    """Return what the trial does under true benefits of shape (m,), by batch of draws.

    Parameters
    ----------
    stages, groups
        The trial, and the two groups under control.
    inside, outside
        True benefits, each of shape (m,).
    draws, seed
        Simulated trials, the same ones at all benefits.

    Returns
    -------
    ndarray
        Shape (8, 5, m): probabilities of rejecting the stratum alone, all comers alone and both, of dropping the complement,
        and of stopping for futility.
    """
    if len(inside) <= FEW:
        return _simulated(stages, groups, inside, outside, draws, seed)
    from scipy.interpolate import RectBivariateSpline

    axes = [np.linspace(one.min(), one.max() + 1e-12, _GRID) for one in (inside, outside)]
    first, second = np.meshgrid(*axes, indexing="ij")
    surface = _simulated(stages, groups, first.ravel(), second.ravel(), draws, seed)
    read = [
        [RectBivariateSpline(*axes, one.reshape(_GRID, _GRID)).ev(inside, outside) for one in batch]
        for batch in surface
    ]
    return np.clip(np.asarray(read), 0.0, 1.0)


def adaptive_chances(
    stages: AdaptiveStages, groups: Groups, inside: Vector, outside: Vector, *, draws: int, seed: int
) -> tuple[Vector, ...]:
    """Return the means over batches of `adaptive_batches`, of the shape of the benefits."""
    shape = inside.shape
    found = adaptive_batches(stages, groups, inside.ravel(), outside.ravel(), draws=draws, seed=seed).mean(axis=0)
    return tuple(one.reshape(shape) for one in found)


def _simulated(
    stages: AdaptiveStages, groups: Groups, inside: Vector, outside: Vector, draws: int, seed: int
) -> Vector:
    from trialml.design.enrichment_loop import run_statistics
    from trialml.design.enrichment_rules import COLUMNS

    asked = stages.information.setting
    design = EnrichmentDesign(
        1, 1,
        design=Design(alpha=asked.alpha, information_fractions=(min(max(stages.fraction, 0.01), 0.99), 1.0)),
        rule="conditional-power",
        conditional_powers=asked.conditional_powers,
    )  # fmt: skip
    codes, numbers = design.codes(), design.numbers(stages.share, asked.allocation_ratio)
    # No rejection at the interim analysis, as in the options beside it; the planned information is no count of events.
    numbers[0], numbers[1] = np.inf, -float(ndtri(asked.alpha))
    numbers[4], numbers[5] = stages.planned
    information = stages.by_stage(groups, inside, outside)
    each = max(draws // BATCHES, 1)
    out = np.empty((BATCHES * each, len(COLUMNS)))
    selected, rejected = (np.empty((len(inside), BATCHES * each), np.int8) for _ in range(2))
    for place, effects in enumerate(-np.stack([inside, outside], axis=1)):
        run_statistics(np.uint64(seed), 0, codes, numbers, effects, 1.0, information[place], out)
        selected[place], rejected[place] = out[:, 4], out[:, 6]
    happened = (rejected == 1, rejected == 2, rejected == 3, selected == 1, selected == 0)
    by_batch = [one.reshape(len(inside), BATCHES, each).mean(axis=2).T for one in happened]
    return np.stack(by_batch, axis=1)
