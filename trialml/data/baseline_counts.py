"""Counts of a covariate by group, and which of them must not be shown: what every table of covariates rests on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.disclosure import SMALLEST_CELL, suppressed_table
from trialml.data.quality_columns import Codes
from trialml.data.trial import Covariate, Trial

__all__ = ["Counts", "Groups", "count", "groups_by_arm", "groups_by_label"]

_MOST_GROUPS = 6


class Groups(NamedTuple):
    """Who is compared with whom.

    Attributes
    ----------
    names
        The words for each group, length g.
    member
        The group of each patient, -1 for none, shape (n,).
    together
        The two arms of the primary contrast, whose sums the models publish; None for other groups.
    """

    names: tuple[str, ...]
    member: NDArray[np.int64]
    together: tuple[int, int] | None

    @property
    def sizes(self) -> tuple[int, ...]:
        """Patients in each group."""
        return tuple(np.bincount(self.member[self.member >= 0], minlength=len(self.names)).tolist())


class Counts(NamedTuple):
    """A covariate counted by group.

    Attributes
    ----------
    levels
        Its levels, none for a numeric covariate.
    cells
        Patients by level and group, the missing values in the last row; shape (k + 1, g). A numeric covariate has one row of
        recorded values before.
    hidden
        Which cells must not be shown, shape as `cells`.
    """

    levels: tuple[object, ...]
    cells: NDArray[np.int64]
    hidden: NDArray[np.bool_]


def groups_by_arm(trial: Trial) -> Groups:
    """Return the arms that the study file names: control, experimental, then the secondary ones."""
    treatment = trial.treatment
    arms = [treatment.control, treatment.experimental, *treatment.secondary]
    codes, levels = pd.factorize(trial.frame["arm"])
    place = np.array([arms.index(level) if level in arms else -1 for level in levels] + [-1], dtype=np.int64)
    return Groups(tuple(treatment.label(arm) for arm in arms), place[codes], (0, 1))


def groups_by_label(labels: Sequence[object] | NDArray[np.generic]) -> Groups:
    """Return the groups of an array of labels, missing ones left out.

    Groups of fewer than 11 patients, and the smallest beyond six, are joined as ``others``, since the head of a column states
    its size; where the others are still fewer than 11, the next smallest joins them.
    """
    codes, levels = pd.factorize(pd.Series(labels, dtype=object))
    sizes = np.bincount(codes[codes >= 0], minlength=len(levels))
    by_name = sorted(range(len(levels)), key=lambda place: str(levels[place]))
    by_size = sorted(by_name, key=lambda place: -sizes[place])
    kept = [place for place in by_size if sizes[place] >= SMALLEST_CELL]
    if len(kept) < len(levels) or len(levels) > _MOST_GROUPS:
        kept = kept[: _MOST_GROUPS - 1]
        while kept and 0 < sizes.sum() - sizes[kept].sum() < SMALLEST_CELL:
            kept.pop()
    kept = [place for place in by_name if place in kept]
    joined = len(levels) - len(kept)
    names = [str(levels[place]) for place in kept] + ([f"others ({joined})"] if joined else [])
    image = np.full(len(levels) + 1, len(kept), dtype=np.int64)
    image[-1] = -1
    image[kept] = np.arange(len(kept))
    return Groups(tuple(names), image[codes], None)


def count(covariate: Covariate, coded: Codes, groups: Groups) -> Counts:
    """Count a covariate by group, and say what may be shown.

    Parameters
    ----------
    covariate
        Its role.
    coded
        Its values, shape (n,).
    groups
        The groups.

    Returns
    -------
    Counts
        Missing values belong to the margin: if all else were shown, the group's size would give them back. Of yes and no the
        table shows yes alone, so no is the first to be hidden; of a numeric covariate it never shows how many are recorded.
    """
    k, g = len(coded.levels), len(groups.names)
    use = groups.member >= 0
    # Level -1, the missing values, becomes the last row.
    level = np.where(coded.codes < 0, k, coded.codes)[use]
    cells = np.bincount(level * g + groups.member[use], minlength=(k + 1) * g).reshape(k + 1, g)
    if covariate.kind == "numeric":
        cells = np.vstack([cells[:k].sum(axis=0), cells[k]])
        return Counts((), cells, suppressed_table(cells, unshown=0, together=groups.together))
    unshown = 0 if covariate.kind == "binary" and k == 2 else None
    return Counts(tuple(coded.levels), cells, suppressed_table(cells, unshown=unshown, together=groups.together))
