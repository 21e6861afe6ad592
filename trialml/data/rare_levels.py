"""Levels of a category that fewer than 11 patients have: a word in one row may be a name, so results do not print it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.disclosure import SMALLEST_CELL
from trialml.data.findings import Finding
from trialml.data.trial import Covariate, Trial

__all__ = ["group_words", "join_rare_levels", "rare_levels"]

_BETWEEN = " / "


def rare_levels(column: pd.Series, shown: Collection[str] = ()) -> list[str]:
    """Return the levels of fewer than 11 patients, sorted.

    Parameters
    ----------
    column
        A categorical covariate, missing as None, shape (n,).
    shown
        Levels that the study file declares: they are known words, whatever their number.
    """
    counts = column.value_counts()
    return sorted(str(level) for level in counts.index[counts < SMALLEST_CELL] if str(level) not in shown)


def join_rare_levels(trial: Trial) -> Trial:
    """Join the rare levels of each categorical covariate under one neutral name, and rename those of the strata.

    Parameters
    ----------
    trial
        The analysis set.

    Returns
    -------
    Trial
        Rare levels read "other (2 levels)", whatever their number: a common level is never joined with them, since tables
        hide small cells and what would give them back. In the names of the strata of the randomisation they are numbered
        ("rare level 1"), so that the strata stay apart. `recorded` keeps the words for the checks, and `findings` has one
        note a covariate.
    """
    frame, recorded, findings = trial.frame, {}, []
    for covariate in trial.covariates:
        if covariate.kind != "categorical":
            continue
        column = frame[covariate.name]
        rare = rare_levels(column, covariate.shown)
        if rare:
            within = column.isin(rare)
            recorded[covariate.name] = column
            frame = frame.assign(**{covariate.name: column.mask(within, _neutral(column, rare))})
            findings.append(_joined(covariate, rare, within))
    frame = frame.assign(factor=_renamed(frame["factor"], trial))
    kept = pd.DataFrame(recorded, index=frame.index)
    return replace(trial, frame=frame, recorded=kept, findings=(*trial.findings, *findings))


def _neutral(column: pd.Series, rare: list[str]) -> str:
    name = f"other ({len(rare)} level{'s' if len(rare) > 1 else ''})"
    taken = set(column.dropna().unique())
    while name in taken:
        name = f"further {name}"
    return name


def _joined(covariate: Covariate, rare: list[str], within: pd.Series) -> Finding:
    count = int(within.sum())
    found = f"{count:,} value(s) in categories of fewer than {SMALLEST_CELL} patients each."
    done = f"Joined under one name in all results ({len(rare)} categories)."
    if len(rare) == 1:
        done = "Called other in all results."
    return Finding("rare category", covariate.name, count, found, done, rows=tuple(within.index[within].tolist()))


def _renamed(cells: pd.Series, trial: Trial) -> pd.Series:
    """Return the names of the strata with numbers in place of levels that hardly anybody has."""
    factors = trial.treatment.stratification
    shown = {covariate.name: covariate.shown for covariate in trial.covariates}
    places, names = pd.factorize(cells)
    parts = [str(name).split(_BETWEEN) for name in names]
    if any(len(part) != len(factors) for part in parts):
        # A level holds the mark itself: the whole name is taken for one level.
        parts, factors = [[str(name)] for name in names], ("",)
    patients = np.bincount(places, minlength=len(names)).tolist()
    for place, factor in enumerate(factors):
        sizes: dict[str, int] = {}
        for part, size in zip(parts, patients, strict=True):
            sizes[part[place]] = sizes.get(part[place], 0) + size
        rare = sorted(one for one, size in sizes.items() if size < SMALLEST_CELL and one not in shown.get(factor, ()))
        words = {one: f"rare level {number}" for number, one in enumerate(rare, 1)}
        for part in parts:
            part[place] = words.get(part[place], part[place])
    renamed = np.array([_BETWEEN.join(part) for part in parts], dtype=object)
    return pd.Series(renamed[places], index=cells.index, name=cells.name, dtype=object)


def group_words(column: pd.Series) -> NDArray[np.str_]:
    """Return each patient's group by a binary or categorical covariate, shape (n,): rare ones joined, missing ones a group of their own."""
    words = column.map({0: "no", 1: "yes"} if pd.api.types.is_numeric_dtype(column) else str)
    words = words.where(column.notna(), "missing")
    return np.asarray(words.mask(words.isin(rare_levels(words)), "other"), dtype=np.str_)
