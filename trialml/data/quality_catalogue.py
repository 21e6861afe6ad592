"""The numbered checks of the data: what each looks for, how grave it is, and what is done."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["CATALOGUE", "FAMILY_LEVEL", "Check", "Seen", "Verdict", "check_of_rule", "passed", "title_of", "unmade"]

Verdict = Literal["ok", "note", "warning", "error", "not made"]

FAMILY_LEVEL = 0.001
"""How often a check that tests may warn where nothing is wrong; it is divided by the number of things that it tests."""


class Check(NamedTuple):
    """One entry of the catalogue.

    Attributes
    ----------
    number, title
        What a data manager cites. A number is never given to another check.
    severity
        The gravest verdict that the check can give. An ``error`` makes results wrong until it is mended; a ``warning``
        asks for a look before anything is concluded; a ``note`` is for the reader to know.
    looks_for
        What is found, and from which threshold on.
    done
        What is done about it.
    """

    number: str
    title: str
    severity: Verdict
    looks_for: str
    done: str


@dataclass(frozen=True, eq=False)
class Seen:
    """One finding of one check.

    Attributes
    ----------
    number, subject
        The check, and what was looked at.
    verdict
        ``ok``, ``note``, ``warning`` or ``error``; ``not made`` where the data lack what the check needs.
    count
        Values, patients or sites that it concerns.
    finding, done
        One sentence each; the place of a count is ``{count}``, so that small ones can be withheld.
    rows
        The file rows concerned, for the terminal alone; empty where no rows can be named.
    words
        The values concerned, for the terminal alone.
    """

    number: str
    subject: str
    verdict: Verdict
    count: int
    finding: str
    done: str = ""
    rows: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    words: tuple[str, ...] = ()


CATALOGUE = (
    Check("DQ001", "Subjects", "error", "A subject on more than one row, or none", "Refused"),
    Check("DQ002", "Times", "error", "A time that is zero, negative, infinite or text", "Refused"),
    Check("DQ003", "Event codes", "error", "An event code that the study file does not know", "Refused"),
    Check(
        "DQ004",
        "Missing baseline values",
        "warning",
        "Missing values of a covariate; over 20 % warn",
        "Imputed blind to arm and outcome, with an indicator",
    ),
    Check("DQ005", "Constant covariates", "note", "One value in the whole primary contrast", "Left out of every model"),
    Check("DQ006", "Covariates that restate each other", "warning", "Two covariates with the same groups", "Kept"),
    Check(
        "DQ007",
        "Spelling of categories",
        "warning",
        "Categories that differ only by case or blanks, in the data or merged while reading",
        "Kept apart, unless the cleaning log says merged",
    ),
    Check(
        "DQ008",
        "Allocation",
        "warning",
        "Arm sizes that the allocation contradicts (exact binomial test, p < 0.001)",
        "Nothing",
    ),
    Check("DQ009", "Follow-up to the horizon", "warning", "Under 10 % of an arm still followed there", "Nothing"),
    Check(
        "DQ010",
        "Strata of the randomisation with few events",
        "warning",
        "A stratum without events, or with fewer than 5 or one arm alone in the primary contrast",
        "Kept",
    ),
    Check(
        "DQ011",
        "Extreme values",
        "warning",
        "Values more than 30 interquartile ranges from the quartiles",
        "Kept",
    ),
    Check(
        "DQ012",
        "Repeated records",
        "warning",
        "Different subjects with the same arm, outcome and baseline values, where chance explains under 0.001 of them",
        "Kept",
    ),
    Check(
        "DQ013",
        "Repeated baseline values",
        "note",
        "Different subjects with the same baseline values, where chance explains under 0.000001 of them",
        "Kept",
    ),
    Check(
        "DQ014",
        "Unit of the time",
        "error",
        "Times beyond any trial for the declared unit; a part of the times, of those of the censored, or of a site's or stratum's, a "
        "calendar factor (7, 12, 30.4375, 52.18, 365.25) away; whole numbers mixed with far shorter fractions; units that the data sets contradict",
        "Kept",
    ),
    Check(
        "DQ015",
        "Units of covariates",
        "warning",
        "A part of the values a conversion factor (2.2046, 2.54, 10, 18.016, 1000 and others) away from the rest with a gap between, or "
        "all values of a site; every factor that fits is named",
        "Kept",
    ),
    Check(
        "DQ016",
        "Codes for missing values",
        "warning",
        "Numbers such as 999, 88 or -9 apart from all other values",
        "Kept as numbers",
    ),
    Check(
        "DQ017",
        "Heaped values",
        "warning",
        "One value in over 5 % of the patients and five times as often as any other; a note at the edge of the range",
        "Kept",
    ),
    Check(
        "DQ018",
        "Numbers held as text",
        "note",
        "A categorical covariate of ten or more categories that are all numbers; text in a numeric column",
        "Kept as categories, unless the cleaning log says otherwise",
    ),
    Check("DQ019", "Words for missing values", "note", "Categories such as unknown or not done", "Kept as categories"),
    Check(
        "DQ020",
        "Collinear covariates",
        "note",
        "Covariates that the others determine (R squared over 0.98 in a linear regression)",
        "Kept; the models shrink",
    ),
    Check(
        "DQ021",
        "Allocation within strata of the randomisation",
        "warning",
        "Arm sizes within a stratum that the allocation contradicts (exact binomial tests, 0.001 over all strata)",
        "Nothing",
    ),
    Check(
        "DQ022",
        "Baseline beyond chance by arm",
        "warning",
        "A covariate that differs between the arms by more than randomisation explains (rank-sum or chi-squared test, 0.001 over "
        "all covariates): measured after treatment began, or arms mixed up",
        "Kept",
    ),
    Check(
        "DQ023",
        "Missing values by arm",
        "warning",
        "A covariate missing more often in one arm (exact test, 0.001 over all covariates)",
        "Imputed blind to arm and outcome all the same",
    ),
    Check(
        "DQ024",
        "Censoring before the horizon by arm",
        "note",
        "Shares censored before the horizon that differ by over 10 points and beyond chance (exact test, p < 0.001)",
        "Nothing",
    ),
    Check(
        "DQ025",
        "Names that sound later than baseline",
        "note",
        "A covariate called week8, month 6, change, nadir or the like",
        "Kept",
    ),
    Check(
        "DQ026",
        "Sites: enrolment",
        "note",
        "A site with more patients than the others' sizes explain (prediction interval of their logarithms, 0.001 over all sites)",
        "Nothing",
    ),
    Check(
        "DQ027",
        "Sites: allocation",
        "warning",
        "Arm sizes within a site that the allocation contradicts (exact binomial tests, 0.001 over all sites)",
        "Nothing",
    ),
    Check(
        "DQ028",
        "Sites: events",
        "warning",
        "Events over 1.5 or under 0.67 times those expected from follow-up (Poisson, 0.001 over all sites)",
        "Nothing",
    ),
    Check(
        "DQ029",
        "Sites: missing values",
        "warning",
        "Patients with missing baseline values over 10 points more often than elsewhere (exact test, 0.001 over all sites)",
        "Nothing",
    ),
    Check(
        "DQ030",
        "Sites: spread",
        "warning",
        "A covariate with under half the spread of other sites (chi-squared test of normal scores, 0.001 over all)",
        "Nothing",
    ),
    Check(
        "DQ031",
        "Sites: last digits",
        "warning",
        "Last digits of a covariate unlike those of other sites (chi-squared test, 0.001 over all)",
        "Nothing",
    ),
    Check("DQ032", "Sites: repeated records", "warning", "Repeated records (DQ012, DQ013) within one site", "Kept"),
    Check(
        "DQ033",
        "Partial dates",
        "warning",
        "Dates without day or month; dates that the data set completed, by its flag (`ADTF`, `ASTDTF`)",
        "Refused, or completed by the stated rule",
    ),
    Check(
        "DQ034",
        "Events before time zero",
        "error",
        "An event or censoring dated before the date that times count from, or before randomisation",
        "Refused where the time is made of the dates; otherwise kept as the data set has it",
    ),
    Check("DQ035", "Baseline after treatment", "warning", "A baseline value dated after time zero", "Read as missing"),
    Check("DQ036", "Unknown subjects", "warning", "Records of subjects that the subject-level data lack", "Left out"),
    Check(
        "DQ037",
        "Population",
        "warning",
        "A population that depends on what happened after randomisation, or whose patients have no arm or no endpoint",
        "Kept",
    ),
    Check(
        "DQ038", "Other findings of reading", "warning", "Anything else that reading noticed", "See the cleaning log"
    ),
    Check(
        "DQ039",
        "Time zero",
        "warning",
        "Times that count from another date than randomisation, or from none; times that do not follow from their dates",
        "Kept",
    ),
    Check(
        "DQ040",
        "Strata as randomised and as recorded",
        "warning",
        "Strata that the data sets give in two ways, or that were not used",
        "As randomised",
    ),
    Check("DQ041", "Unexpected arms", "warning", "Arms that the study file does not name", "Left out and counted"),
    Check(
        "DQ042",
        "Spelling of subjects",
        "warning",
        "Subjects that differ only by case or blanks, or as 6 and 6.0 do",
        "Kept as two patients",
    ),
    Check(
        "DQ043",
        "Rare categories",
        "warning",
        "Categories of fewer than 11 patients that `[covariates.levels]` does not declare; the terminal says which, and in which rows",
        "Joined as other in all results",
    ),
)
"""Every check, in the order of its number."""

_TITLES = {check.number: check.title for check in CATALOGUE}

_RULES = {
    "duplicate record": "DQ001",
    "repeated record": "DQ001",
    "impossible time": "DQ002",
    "unknown code": "DQ003",
    "event code": "DQ003",
    "mixed spelling": "DQ007",
    "unit": "DQ014",
    "text in numbers": "DQ018",
    "partial date": "DQ033",
    "impossible date": "DQ033",
    "event before time zero": "DQ034",
    "event before treatment": "DQ034",
    "baseline after treatment": "DQ035",
    "baseline after time zero": "DQ035",
    "unknown subject": "DQ036",
    "population": "DQ037",
    "time zero": "DQ039",
    "stratification": "DQ040",
    "unexpected arm": "DQ041",
    "alike subjects": "DQ042",
    "rare category": "DQ043",
    "date without format": "DQ033",
    "several codes for censored": "DQ003",
    "missing date": "DQ033",
    "censoring code": "DQ003",
    "visit after time zero": "DQ035",
}


def title_of(number: str) -> str:
    """Return the title of a check."""
    return _TITLES[number]


def check_of_rule(rule: str) -> str:
    """Return the check under which a finding of reading stands, by the rule that found it."""
    return _RULES.get(rule, "DQ038")


def passed(number: str, subject: str, finding: str) -> Seen:
    """Return that a check found nothing."""
    return Seen(number, subject, "ok", 0, finding)


def unmade(number: str, subject: str, why: str) -> Seen:
    """Return that a check could not be made."""
    return Seen(number, subject, "not made", 0, why)
