"""Can the data be trusted? Numbered checks that a data manager can cite."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from trialml.data.disclosure import SMALLEST_CELL
from trialml.data.quality_arms import check_arms
from trialml.data.quality_catalogue import Seen, Verdict, check_of_rule, passed, title_of, unmade
from trialml.data.quality_columns import patients_of
from trialml.data.quality_records import check_records
from trialml.data.quality_sites import check_sites
from trialml.data.quality_units import check_units
from trialml.data.quality_values import check_values
from trialml.data.trial import Trial
from trialml.result import Result, counted, format_count

__all__ = ["DataQuality", "data_quality", "examine", "told"]

_ORDER = ("error", "warning", "note", "ok", "not made")
_MOST_QUOTED = 6
_SINGULAR = (
    (re.compile(r"\{count\} values (of [\d,]+ )?are"), r"{count} value \1is"),
    (re.compile(r"\{count\} values are in"), "{count} value is in"),
    (re.compile(r"\{count\} values lie"), "{count} value lies"),
    (re.compile(r"\{count\} times are"), "{count} time is"),
    (re.compile(r"\{count\} patients have"), "{count} patient has"),
)
_READ = ("DQ033", "DQ037", "DQ038", "DQ041", "DQ042")
_OF_SEVERAL = ("DQ034", "DQ035", "DQ036", "DQ039", "DQ040")
_GRAVE = ("DQ014", "DQ034")
_ROUTINE = ("blanks", "missing word", "rare category")
"""What reading does to every file, or a check says by itself: the cleaning log counts it, and it is not said again."""


@dataclass(frozen=True, eq=False)
class DataQuality(Result):
    """What the checks of the data found.

    Attributes
    ----------
    checks
        One row a finding: ``number``, ``title``, ``subject``, ``verdict``, ``count`` (NaN where it is withheld or nothing is
        counted), ``finding`` and ``done``.
    not_used
        Covariates that carry no information and are left out of every model.
    """

    title = "Data quality"
    methods = (
        "The data were checked by numbered rules before anything was fitted. Checks that test (allocation, baseline beyond chance, "
        "sites) warn at a level of 0.001, divided by the number of covariates, strata or sites that they look at."
    )

    checks: pd.DataFrame
    not_used: tuple[str, ...]

    def frame(self) -> pd.DataFrame:
        """Return one row a finding, in the order of the numbers."""
        return self.checks

    def text(self) -> str:
        """Return how many findings need attention, and the gravest themselves."""
        counts = self._counts()
        said = f"{self.made} checks were made: "
        said += f"{counted(counts['error'], 'error')}, " if counts["error"] else ""
        said += f"{counted(counts['warning'], 'warning')} and {counted(counts['note'], 'note')}."
        grave = self.checks[self.checks["verdict"].isin(["error", "warning"])].sort_values(
            "verdict", key=lambda verdicts: verdicts.map(_ORDER.index), kind="stable"
        )
        for row in grave.head(_MOST_QUOTED).itertuples():
            said += f" {row.number}, {row.subject}: {row.finding}"
        more = len(grave) - _MOST_QUOTED
        return said + (f" {more} more stand in the table." if more > 0 else "")

    def scalars(self) -> dict[str, float]:
        """Return the number of errors, warnings and notes."""
        counts = self._counts()
        return {f"{verdict}s": float(counts[verdict]) for verdict in ("error", "warning", "note")}

    def table(self) -> pd.DataFrame:
        """Return the findings for reading, the gravest first; checks that found nothing, or were not made, share a row."""
        silent = self.checks["verdict"].isin(["ok", "not made"]) & self.checks["count"].isna()
        told = self.checks[~silent]
        told = told.loc[told["verdict"].map(_ORDER.index).sort_values(kind="stable").index]
        rows = [
            (row.number, row.verdict, f"{row.title}. {row.subject}: {row.finding} {row.done}".strip())
            for row in told.itertuples()
        ]
        quiet = self.checks[silent]
        why = quiet["finding"].where(quiet["verdict"] == "not made", "Nothing was found.")
        for words, those in quiet.groupby(why, sort=False):
            named = "; ".join(dict.fromkeys(f"{row.number} {row.title}" for row in those.itertuples()))
            rows.append((f"{those['number'].nunique()} checks", those["verdict"].iloc[0], f"{words} {named}."))
        return pd.DataFrame(rows, columns=["Check", "Verdict", "Found, and what was done"])

    @property
    def made(self) -> int:
        """How many of the checks could be made."""
        return int(self.checks.loc[self.checks["verdict"] != "not made", "number"].nunique())

    def _counts(self) -> dict[str, int]:
        return {verdict: int((self.checks["verdict"] == verdict).sum()) for verdict in _ORDER}


def data_quality(trial: Trial, seen: Sequence[Seen] | None = None) -> DataQuality:
    """Check an analysis set and say what was found; nothing is repaired in silence.

    Parameters
    ----------
    trial
        The analysis set. Duplicate subjects, impossible times and unknown codes were refused before (DQ001 to DQ003).
    seen
        What `examine` returned for this trial, where that was called already.

    Returns
    -------
    DataQuality
        One row a finding, every check at least once; file rows are left behind and counts from 1 to 10 withheld.
    """
    seen = examine(trial) if seen is None else seen
    rows = [
        (one.number, title_of(one.number), one.subject, one.verdict, _count(one), told(one), one.done) for one in seen
    ]
    columns = ["number", "title", "subject", "verdict", "count", "finding", "done"]
    constant = tuple(one.subject for one in seen if one.number == "DQ005" and one.verdict != "ok")
    return DataQuality(pd.DataFrame(rows, columns=columns).astype({"count": float}), constant)


def examine(trial: Trial) -> tuple[Seen, ...]:
    """Return what every check finds in an analysis set, with file rows and exact counts: for the terminal alone.

    Parameters
    ----------
    trial
        The analysis set, with what reading found in ``trial.findings``.

    Returns
    -------
    tuple of Seen
        In the order of the numbers, every check at least once.
    """
    patients = patients_of(trial)
    found = [
        passed("DQ001", "Subjects", "Every subject stands on one row."),
        passed("DQ002", "Times", "Every time is a positive finite number."),
        passed("DQ003", "Event codes", "Every event code is known."),
        *check_values(patients),
        *check_arms(patients),
        *check_records(patients),
        *check_units(patients),
        *check_sites(patients),
        *_from_reading(trial),
    ]
    return tuple(sorted(_without_idle(found), key=lambda one: one.number))


def _from_reading(trial: Trial) -> Iterator[Seen]:
    """Yield what reading noticed, under the number of its rule, and that the checks of reading were passed otherwise."""
    numbers = set()
    for one in trial.findings:
        if one.rule in _ROUTINE:
            continue
        number = check_of_rule(one.rule)
        numbers.add(number)
        verdict: Verdict = "error" if number in _GRAVE and one.severity == "warning" else one.severity
        # The count stands in the sentence too, where a small one must be withheld as well.
        finding = re.sub(rf"(?<![\w.,]){one.count:,}(?![\w.,])", "{count}", one.finding)
        rows = np.array(one.rows, dtype=np.int64)
        yield Seen(number, one.subject, verdict, one.count, finding, one.done, rows, one.words)
    for number in sorted({*_READ, *_OF_SEVERAL} - numbers):
        if number in _OF_SEVERAL and trial.endpoint.records is None:
            yield unmade(
                number, "Reading", "The source is one table: there are no visits and no other data sets to compare."
            )
        else:
            yield passed(number, "Reading", "Nothing of the kind was noticed while the data were read.")


def _without_idle(found: list[Seen]) -> list[Seen]:
    """Leave out that a check found nothing where something else stands under its number."""
    busy = {one.number for one in found if one.verdict not in ("ok", "not made")}
    kept = [one for one in found if one.verdict not in ("ok", "not made") or one.number not in busy]
    # Follow-up is stated for every arm, whatever the verdict on one of them.
    return kept + [one for one in found if one.number == "DQ009" and one not in kept]


def told(one: Seen, *, exact: bool = False) -> str:
    """Return a finding's sentence with its count, which is withheld from 1 to 10 unless `exact` is asked for."""
    finding = one.finding
    if exact and one.count == 1:
        for several, single in _SINGULAR:
            finding = several.sub(single, finding)
    small = 0 < one.count < SMALLEST_CELL and not exact
    shown = f"fewer than {SMALLEST_CELL}" if small else format_count(one.count)
    return finding.replace("{count}", shown)


def _count(one: Seen) -> float:
    return math.nan if one.count < SMALLEST_CELL else float(one.count)
