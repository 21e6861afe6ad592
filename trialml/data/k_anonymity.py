"""How many patients share the traits that an outsider may know: k-anonymity, before and after."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from trialml.data.disclosure import SMALLEST_CELL
from trialml.errors import DataError
from trialml.result import Result, format_count

__all__ = ["KAnonymity", "k_anonymity"]

_MOST_TRAITS = 8
_MOST_TOGETHER = 3


@dataclass(frozen=True, eq=False)
class KAnonymity(Result):
    """The smallest class of patients who agree in a set of quasi-identifiers, for sets and stages.

    Attributes
    ----------
    rows
        Columns ``quasi_identifiers``, ``all`` (whether these are all that were named), ``stage``, ``classes``, ``k`` and ``patients_under`` (patients in classes smaller
        than `smallest`; missing where they are from 1 to 10).
    patients
        Patients of the data.
    smallest
        The size that a class should have.
    """

    title = "k-anonymity"
    methods = (
        "k-anonymity was assessed over the quasi-identifiers, alone and together: k is the size of the smallest class of "
        "patients with equal values, missing values counting as a value."
    )
    references = (
        "Sweeney L. k-anonymity: a model for protecting privacy. Int J Uncertain Fuzziness Knowl Based Syst 2002;10:557-570.",
        "European Medicines Agency. External guidance on the implementation of the policy on the publication of clinical "
        "data for medicinal products for human use. EMA/90915/2016 (risk threshold 0.09, a class of 11).",
    )

    rows: pd.DataFrame
    patients: int
    smallest: int

    def frame(self) -> pd.DataFrame:
        """Return one row a set of quasi-identifiers and stage."""
        return self.rows

    def text(self) -> str:
        """Return k over all quasi-identifiers together, by stage."""
        whole = self._all_together()
        if whole.empty:
            return "No quasi-identifiers were named or recognised, so k-anonymity was not assessed."
        parts = [
            f"{row.stage} k = {row.k} with {self._under(row.patients_under)} of {format_count(self.patients)} patients in "
            f"classes under {self.smallest}"
            for row in whole.itertuples()
        ]
        return f"Over {whole['quasi_identifiers'].iloc[0]} together: {'; '.join(parts)}."

    def scalars(self) -> dict[str, float]:
        """Return k over all quasi-identifiers together, by stage."""
        return {f"k_{row.stage}": float(row.k) for row in self._all_together().itertuples()}

    def table(self) -> pd.DataFrame:
        """Return one row a set of quasi-identifiers: by stage k, and the patients in classes under the size asked for."""
        shown = []
        for names, rows in self.rows.groupby("quasi_identifiers", sort=False):
            line = {"Quasi-identifiers": names}
            for row in rows.itertuples():
                line[f"k {row.stage}"] = str(row.k)
                line[f"Under {self.smallest} {row.stage}"] = self._under(row.patients_under)
            shown.append(line)
        return pd.DataFrame(shown).fillna("")

    def _all_together(self) -> pd.DataFrame:
        return self.rows[self.rows["all"].astype(bool)]

    @staticmethod
    def _under(count: float) -> str:
        return f"fewer than {SMALLEST_CELL}" if pd.isna(count) else format_count(count)


def k_anonymity(
    stages: Mapping[str, pd.DataFrame], quasi_identifiers: Sequence[str], *, smallest: int = SMALLEST_CELL
) -> KAnonymity:
    """Count the classes of patients who agree in their quasi-identifiers.

    Parameters
    ----------
    stages
        Tables with one row a patient by stage, for example ``before`` and ``after``.
    quasi_identifiers
        Columns that an outsider may know of a patient; up to eight. They are assessed alone, by two, by three and all
        together.
    smallest
        Patients in classes under this size are counted.

    Returns
    -------
    KAnonymity
        k by set and stage. A column that a stage no longer has tells nothing there and is left out of its sets.

    Raises
    ------
    DataError
        If a column is in no stage, or there are more than eight.
    """
    names = list(dict.fromkeys(quasi_identifiers))
    if len(names) > _MOST_TRAITS:
        raise DataError(f"{len(names)} quasi-identifiers were named; name at most {_MOST_TRAITS}.")
    for name in names:
        if not any(name in table.columns for table in stages.values()):
            raise DataError(f"The quasi-identifier '{name}' is no column of the data: correct --quasi.")
    together = [*range(1, min(_MOST_TOGETHER, len(names)) + 1), len(names)] if names else []
    sets = list(dict.fromkeys(one for size in together for one in itertools.combinations(names, size)))
    rows = [
        (", ".join(one), len(one) == len(names), stage, *_classes(table, one, smallest))
        for one in sets
        for stage, table in stages.items()
    ]
    frame = pd.DataFrame(rows, columns=["quasi_identifiers", "all", "stage", "classes", "k", "patients_under"])
    frame["patients_under"] = frame["patients_under"].astype(float)
    return KAnonymity(frame, max(len(table) for table in stages.values()), smallest)


def _classes(table: pd.DataFrame, names: Sequence[str], smallest: int) -> tuple[int, int, float]:
    """Return how many classes there are, the size of the smallest, and the patients in small ones."""
    present = [name for name in names if name in table.columns]
    if not present:
        return 1, len(table), 0.0
    sizes = table[present].astype(object).where(table[present].notna(), None).groupby(present, dropna=False).size()
    under = int(sizes[sizes < smallest].sum())
    return len(sizes), int(sizes.min()), float("nan") if 0 < under < SMALLEST_CELL else float(under)
