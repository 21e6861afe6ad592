"""Checks by site: enrolment, allocation, events, missing values, spread and last digits unlike those of other sites."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trialml.data.disclosure import SMALLEST_CELL
from trialml.data.quality_arms import binomial_tails
from trialml.data.quality_catalogue import FAMILY_LEVEL, Seen, Verdict, passed, unmade
from trialml.data.quality_columns import SITE, Codes, Column, Patients, code
from trialml.result import format_number

__all__ = ["Site", "check_sites", "expected_events", "site_of"]

_NAMES = re.compile(
    r"(?:study|trial|enrolling)?[\s_-]*(?:site|centre|center|institution|hospital|clinic|inst)[\s_-]*(?:id|no|nr|number|code)?",
    re.IGNORECASE,
)
_FEWEST_SITES = 5
_NUMBERS = ("DQ026", "DQ027", "DQ028", "DQ029", "DQ030", "DQ031")
_POINTS = 10
_MANY_LEVELS = 20
_DIGIT_PATIENTS = 50

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]


class Site(NamedTuple):
    """Where patients were enrolled: the column's name and the site of each patient, -1 where it is not recorded."""

    name: str
    coded: Codes

    @property
    def judged(self) -> NDArray[np.bool_]:
        """Sites with enough patients to be named, shape (k,)."""
        return np.asarray(self.coded.counts >= SMALLEST_CELL)

    def sums(self, values: NDArray[np.generic], which: NDArray[np.bool_] | None = None) -> Floats:
        """Return the sum of `values` by site, shape (k,)."""
        use = self.coded.codes >= 0 if which is None else which & (self.coded.codes >= 0)
        weights = np.asarray(values, dtype=np.float64)[use]
        return np.asarray(
            np.bincount(self.coded.codes[use], weights=weights, minlength=len(self.coded.levels)), dtype=np.float64
        )

    def sizes(self, which: NDArray[np.bool_]) -> Whole:
        """Return how many of some patients each site has, shape (k,)."""
        codes = self.coded.codes[which]
        return np.bincount(codes[codes >= 0], minlength=len(self.coded.levels))


def site_of(patients: Patients) -> Site | None:
    """Return the site: what the study file names, or a categorical covariate of five or more levels called like one."""
    if SITE in patients.trial.frame.columns:
        return Site("site", code(patients.trial.frame[SITE]))
    for column in patients.columns:
        called = _NAMES.fullmatch(column.name.strip()) is not None
        if called and column.covariate.kind == "categorical" and len(column.coded.levels) >= _FEWEST_SITES:
            return Site(column.name, column.coded)
    return None


def check_sites(patients: Patients) -> Iterator[Seen]:
    """Yield what DQ026 to DQ031 find; each test is adjusted for the number of sites it is made in."""
    site = site_of(patients)
    if site is None or site.judged.sum() < 2:
        why = (
            "No column is known as the site; [data] site names it."
            if site is None
            else f"Fewer than two sites have {SMALLEST_CELL} patients."
        )
        for number in _NUMBERS:
            yield unmade(number, "Sites", why)
        return
    found = [
        *_enrolment(site),
        *_allocation(patients, site),
        *_events(patients, site),
        *_missing(patients, site),
        *_spread(patients, site),
        *_digits(patients, site),
    ]
    for number in _NUMBERS:
        own = [seen for seen in found if seen.number == number]
        if number == "DQ028" and not patients.timed:
            own = [unmade(number, site.name, "The endpoint is no time to event.")]
        yield from own or [passed(number, site.name, f"None of {len(site.coded.levels)} sites stands out.")]


def _seen(site: Site, number: str, place: int, count: int, finding: str, verdict: Verdict = "warning") -> Seen:
    words = f"Site '{site.coded.levels[place]}': {finding}"
    return Seen(number, site.name, verdict, count, words)


def _enrolment(site: Site) -> Iterator[Seen]:
    """Compare each site's logarithmic size with the others', by the prediction interval of a normal sample.

    Sites' sizes are about gamma-Poisson (Anisimov VV, Fedorov VV, Stat Med 2007;26:4958-4975), whose logarithm leans to the
    left: the upper tail of Student's t is on the safe side.
    """
    from scipy.stats import t

    logs = np.log(site.coded.counts.astype(np.float64))
    k = len(logs)
    if k < _FEWEST_SITES:
        return
    for place in np.flatnonzero(logs > np.log(2 * site.coded.counts.mean())):
        others = np.delete(logs, place)
        # Poisson noise is a floor: sites of exactly one size are no evidence that all sites must be.
        spread = max(float(others.std(ddof=1)), float(np.exp(-others.mean() / 2)))
        distance = (logs[place] - others.mean()) / (spread * np.sqrt(1 + 1 / (k - 1)))
        if t.sf(distance, k - 2) < FAMILY_LEVEL / k:
            times = np.exp(logs[place] - others.mean())
            words = f"it enrolled {{count}} patients, {times:.0f} times as many as is usual at the other {k - 1} sites."
            yield _seen(site, "DQ026", int(place), int(site.coded.counts[place]), words, "note")


def _allocation(patients: Patients, site: Site) -> Iterator[Seen]:
    of, treated = site.sizes(patients.primary), site.sizes(patients.treated)
    share = patients.trial.treatment.allocation
    beyond = (binomial_tails(treated, of, share) < FAMILY_LEVEL / len(of)) & (of >= SMALLEST_CELL)
    for place in np.flatnonzero(beyond):
        # No percentage: with the number of patients it would give back how few are in the other arm.
        more = "experimental" if treated[place] > share * of[place] else "control"
        words = f"of its {{count}} patients of the primary contrast more are in the {more} arm than the allocation explains."
        yield _seen(site, "DQ027", int(place), int(of[place]), words)


def _events(patients: Patients, site: Site) -> Iterator[Seen]:
    from scipy.stats import poisson

    trial = patients.trial
    if not patients.timed:
        return
    expected = site.sums(expected_events(trial.time, trial.event, patients.arms.codes))
    seen = np.round(site.sums(trial.event)).astype(np.int64)
    p = 2 * np.minimum(poisson.cdf(seen, expected), poisson.sf(seen - 1, expected))
    ratio = seen / np.maximum(expected, 1e-9)
    beyond = (p < FAMILY_LEVEL / len(seen)) & ((ratio > 1.5) | (ratio < 0.67))
    for place in np.flatnonzero(beyond & site.judged):
        words = f"it has {format_number(float(ratio[place]), 2)} times the events that its {{count}} patients' follow-up makes expected."
        yield _seen(site, "DQ028", int(place), int(site.coded.counts[place]), words)


def expected_events(time: Floats, event: NDArray[np.bool_], arm: Whole) -> Floats:
    """Return each patient's expected number of events, the arm's Nelson-Aalen cumulative hazard at the own time.

    Parameters
    ----------
    time, event
        Follow-up and whether the event ended it, shape (n,).
    arm
        The arm's place, shape (n,).

    Returns
    -------
    ndarray
        Shape (n,); over an arm the sum is its number of events (Aalen OO, Ann Stat 1978;6:701-726). Ties are taken together.
    """
    expected = np.zeros(len(time))
    for place in np.unique(arm):
        members = np.flatnonzero(arm == place)
        moments, inverse = np.unique(time[members], return_inverse=True)
        leaving = np.bincount(inverse, minlength=len(moments))
        deaths = np.bincount(inverse, weights=event[members], minlength=len(moments))
        at_risk = np.cumsum(leaving[::-1])[::-1]
        expected[members] = np.cumsum(deaths / at_risk)[inverse]
    return expected


def _missing(patients: Patients, site: Site) -> Iterator[Seen]:
    from scipy.stats import hypergeom

    columns = [column for column in patients.columns if column.name != site.name and column.coded.known]
    lacking = np.zeros(len(patients), dtype=np.bool_)
    for column in columns:
        lacking |= column.missing
    known = site.coded.codes >= 0
    total, lost = int(known.sum()), int((lacking & known).sum())
    sizes, own = site.coded.counts, site.sizes(lacking)
    p = hypergeom.sf(own - 1, total, lost, sizes)
    elsewhere = (lost - own) / np.maximum(total - sizes, 1)
    share = own / np.maximum(sizes, 1)
    beyond = (p < FAMILY_LEVEL / len(sizes)) & (100 * (share - elsewhere) > _POINTS)
    for place in np.flatnonzero(beyond & site.judged):
        words = "its {count} patients lack a baseline value over 10 points more often than patients elsewhere."
        yield _seen(site, "DQ029", int(place), int(sizes[place]), words)


def _spread(patients: Patients, site: Site) -> Iterator[Seen]:
    """Compare the variance of normal scores within each site with that within all sites."""
    from scipy.special import ndtri
    from scipy.stats import chi2

    columns = [column for column in patients.varying if column.numeric and len(column.coded.levels) >= _MANY_LEVELS]
    for column in columns:
        counts = column.coded.counts
        ranks = (np.cumsum(counts) - (counts - 1) / 2 - 0.5) / counts.sum()
        scores = np.append(ndtri(ranks), 0.0)[column.coded.codes]
        known = ~column.missing
        m = site.sizes(known)
        squares = site.sums(scores**2, known) - site.sums(scores, known) ** 2 / np.maximum(m, 1)
        pooled = squares.sum() / max(float(np.maximum(m - 1, 0).sum()), 1.0)
        p = chi2.cdf(squares / pooled, np.maximum(m - 1, 1))
        narrow = squares / np.maximum(m - 1, 1) < 0.25 * pooled
        beyond = (p < FAMILY_LEVEL / (len(m) * len(columns))) & narrow & (m >= SMALLEST_CELL)
        for place in np.flatnonzero(beyond):
            words = f"'{column.name}' of its {{count}} patients varies less than half as much as elsewhere."
            yield _seen(site, "DQ030", int(place), int(m[place]), words)


def _digits(patients: Patients, site: Site) -> Iterator[Seen]:
    """Compare the last digits of each site with those of all sites, Pearson's statistic with known totals."""
    from scipy.stats import chi2

    columns = [(column, digits) for column in patients.varying if (digits := _last_digits(column)) is not None]
    k = len(site.coded.levels)
    for column, digits in columns:
        known = (digits >= 0) & (site.coded.codes >= 0)
        table = np.bincount(site.coded.codes[known] * 10 + digits[known], minlength=10 * k).reshape(k, 10)
        m, n = table.sum(axis=1), table.sum()
        shares = table.sum(axis=0) / n
        used = shares > 0
        expected = np.maximum(m, 1)[:, None] * shares[used]
        statistic = ((table[:, used] - expected) ** 2 / expected).sum(axis=1) / np.maximum(1 - m / n, 1e-9)
        beyond = chi2.sf(statistic, max(int(used.sum()) - 1, 1)) < FAMILY_LEVEL / (k * len(columns))
        for place in np.flatnonzero(beyond & (m >= _DIGIT_PATIENTS)):
            words = f"the last digits of '{column.name}' in its {{count}} patients are unlike those of other sites."
            yield _seen(site, "DQ031", int(place), int(m[place]), words)


def _last_digits(column: Column) -> Whole | None:
    """Return the last recorded digit of each value, -1 where missing; None where the last digits cannot be read or compared."""
    if not column.numeric or len(column.coded.levels) < _MANY_LEVELS:
        return None
    levels = np.asarray(column.coded.levels, dtype=np.float64)
    low, high = np.percentile(column.known, [25, 75])
    for decimals in range(4):
        scaled = levels * 10.0**decimals
        if np.abs(scaled).max() > 1e12:
            return None
        if np.mean(np.abs(scaled - np.round(scaled)) < 1e-6) > 0.99:
            # Where the values span few last digits, the digits tell the value and not who rounded it.
            if (high - low) * 10.0**decimals < 10:
                return None
            digits = (np.round(np.abs(scaled)) % 10).astype(np.int64)
            return np.append(digits, -1)[column.coded.codes]
    return None
