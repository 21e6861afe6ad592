"""Units mixed in the times (DQ014) and in covariates (DQ015): what is found, which factor is named, and what is no mix."""

import dataclasses
import re
from itertools import product

import numpy as np
import pandas as pd
import pytest

from trialml.data.quality import examine
from trialml.data.quality_units import copy_away, part_away
from trialml.data.roles import Covariate, Endpoint, Treatment
from trialml.data.trial import Trial

CALENDAR = (7.0, 12.0, 30.4375, 52.1786, 365.25)
CONVERSIONS = (2.2046, 2.54, 7.0, 10.0, 12.0, 18.016, 30.4375, 38.67, 88.42, 100.0, 365.25, 1000.0)


def two_arms(time, event, unit="days"):
    n = len(time)
    frame = pd.DataFrame(
        {"arm": np.resize(["old", "new"], n), "time": time, "event": event, "factor": "all"},
        index=pd.RangeIndex(2, n + 2, name="file_row"),
    ).assign(age=np.random.default_rng(1).normal(60, 10, n))
    endpoint = Endpoint("death", "Death", "days", "died", unit, 1.0, 1.0)
    treatment = Treatment("arm", "old", "new", (), {}, 0.5, ())
    return Trial("MIXED", frame, endpoint, treatment, (Covariate("age", "numeric", "Age"),), "mixed.csv", "0")


def days(seed, n=600):
    """Whole days: censoring between 300 and 900, events at a constant hazard."""
    draw = np.random.default_rng(seed)
    event, censoring = draw.exponential(500, n), draw.uniform(300, 900, n)
    return np.ceil(np.minimum(event, censoring)), event <= censoring


def of_time(trial):
    return [one for one in examine(trial) if one.number == "DQ014" and one.verdict == "error"]


@pytest.mark.parametrize(
    ("share", "length", "digits"), list(product([0.1, 0.3, 0.4, 0.5, 0.6], [7, 30.4375, 365.25], [1, 2]))
)
def test_times_with_decimals_among_whole_days_are_found_whatever_their_share(share, length, digits):
    time, event = days(1)
    mixed = np.random.default_rng(2).random(len(time)) < share
    time = np.where(mixed, (time / length).round(digits).clip(0.01), time)
    (seen,) = of_time(two_arms(time, event))
    rows = np.flatnonzero(mixed) + 2
    assert set(seen.rows) <= set(rows)
    # A tenth of the rounded ones are whole by chance (of years to one decimal many are 1.0 or 2.0).
    assert seen.count > (0.8 if length < 300 else 0.6) * mixed.sum()


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_whole_days_among_months_are_found(share):
    time, event = days(3)
    mixed = np.random.default_rng(4).random(len(time)) < share
    (seen,) = of_time(two_arms(np.where(mixed, time, (time / 30.4375).round(2).clip(0.01)), event, "months"))
    assert set(np.flatnonzero(mixed) + 2) <= set(seen.rows)


@pytest.mark.parametrize(("length", "share"), list(product([7, 30.4375], [0.2, 0.3, 0.4, 0.5])))
def test_whole_weeks_or_months_among_whole_days_show_in_the_censored(length, share):
    """In at least 8 of 10 trials whose follow-up spans less than the factor; the factor is the one that was planted."""
    found = 0
    for seed in range(10):
        time, event = days(seed)
        mixed = np.random.default_rng(seed).random(len(time)) < share
        seen = of_time(two_arms(np.where(mixed, np.ceil(time / length), time), event))
        found += bool(seen)
        for one in seen:
            named = float(re.search(r"1/([\d.]+) of", one.finding)[1])
            assert abs(named / length - 1) < 0.01
            rows = set(one.rows)
            assert np.isin(np.flatnonzero(mixed & ~event) + 2, list(rows)).mean() > 0.95
    assert found >= 8


def months_to_one_decimal(time):
    return (time / 30.4375).round(1).clip(0.1)


@pytest.mark.parametrize("n", [200, 600])
@pytest.mark.parametrize("name", ["fixed follow-up", "wide accrual", "visits", "cured", "round censoring in months"])
def test_no_clean_design_is_taken_for_mixed_units(name, n):
    flagged = 0
    for seed in range(40):
        draw = np.random.default_rng(seed)
        event = draw.exponential(500, n)
        unit = "days"
        if name == "fixed follow-up":
            censoring = np.minimum(365, draw.exponential(2000, n))
        elif name == "wide accrual":
            censoring = draw.uniform(30, 900, n)
        elif name == "visits":
            censoring = draw.choice([30.0, 91, 182, 365, 730, 1095], n, p=[0.05, 0.05, 0.1, 0.2, 0.3, 0.3])
        elif name == "cured":
            event, censoring = np.where(draw.random(n) < 0.5, event / 8, event * 8), draw.uniform(500, 900, n)
        else:
            # Everybody still followed is censored at 24.0 months; the others' times carry decimals.
            censoring = np.where(draw.random(n) < 0.2, draw.uniform(1, 300, n), 24 * 30.4375)
        time = np.ceil(np.minimum(event, censoring))
        if name == "round censoring in months":
            time, unit = months_to_one_decimal(time), "months"
        flagged += bool(of_time(two_arms(time, event <= censoring, unit)))
    assert flagged == 0


def test_two_clusters_are_copies_only_if_their_shape_is_one():
    draw = np.random.default_rng(7)
    upper = draw.uniform(300, 900, 200)
    alike, other = draw.uniform(300, 900, 100) / 7, draw.uniform(300, 330, 100) / 5
    assert copy_away(np.append(upper, alike), CALENDAR).factor == pytest.approx(1 / 7)
    assert copy_away(np.append(upper, other), CALENDAR) is None
    assert copy_away(upper, CALENDAR) is None
    assert copy_away(np.append(upper, -alike), CALENDAR) is None


@pytest.mark.parametrize("factor", CONVERSIONS[2:])
@pytest.mark.parametrize("many", [6, 30, 180])
def test_the_factor_that_was_planted_is_named(factor, many):
    """Alone, or with others that so few values cannot tell from it; in all but one of 20 samples at the least."""
    found = named = 0
    for seed in range(20):
        draw = np.random.default_rng(seed)
        values = np.exp(draw.normal(4.3, 0.2, 600)).round(1)
        values[:many] *= factor
        away = part_away(values, CONVERSIONS)
        found += away is not None
        named += away is not None and factor in np.round([away.factor, *away.others], 6)
    assert found >= 16
    assert named >= found - 1


def test_a_ratio_that_is_no_listed_conversion_is_told_as_seen():
    """LDH in ukat/L among U/L: 1/59.88 (1 U = 1/60 ukat), which no listed factor is near."""
    values = np.exp(np.random.default_rng(7).normal(5.4, 0.3, 600))
    values[:60] /= 59.88
    away = part_away(values, CONVERSIONS)
    assert away is not None
    assert away.others == ()
    assert abs(np.log(away.factor * 59.88)) < 3 * 0.3 * 1.2533 * np.sqrt(1 / 60 + 1 / 540)


def test_the_finding_names_every_factor_that_fits():
    trial = two_arms(*days(1))
    few = trial.frame.copy()
    few["age"] = np.exp(np.random.default_rng(5).normal(4.3, 0.2, 600))
    few.loc[2:13, "age"] *= 12
    seen = [one for one in examine(dataclasses.replace(trial, frame=few)) if one.number == "DQ015"]
    assert "about 12.00 (or 10.00) times the rest" in seen[0].finding
