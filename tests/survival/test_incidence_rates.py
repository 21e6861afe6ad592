"""Exposure-adjusted incidence rates beside R's poisson.test, by hand, and how often their limits cover."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from trialml.errors import DataError
from trialml.result import Result
from trialml.survival.incidence_rates import incidence_rates, rate_difference, rate_ratio

R = json.loads((Path(__file__).parents[1] / "reference" / "harm.json").read_text())


@pytest.fixture
def pbc(reference_data):
    data = reference_data("pbc_rct")
    arm = np.where(data["trt"] == 2, "placebo", "penicillamine")
    return data["time"].to_numpy(float), (data["status"] == 2).to_numpy(), data["trt"].map({1: "one", 2: "two"}), arm


@pytest.mark.parametrize(("level", "key"), [(0.95, "limits"), (0.9, "limits90")])
def test_rates_and_exact_limits_are_those_of_poisson_test_and_pyears(pbc, level, key):
    time, event, arm, _ = pbc
    found = incidence_rates(time, event, group=arm, order=["one", "two"], name="death", level=level).rates
    for row, stored in zip(found.itertuples(), R["arms"], strict=True):
        assert (row.patients, row.events, row.events) == (stored["patients"], stored["events"], stored["event"])
        assert row.patient_years == pytest.approx(stored["pyears"], rel=1e-12)
        assert [row.rate, row.low, row.high] == pytest.approx(
            [100 * one for one in (stored["rate"], *stored[key])], rel=1e-10
        )


def test_the_ratio_is_that_of_poisson_test(pbc):
    time, event, arm, _ = pbc
    found = incidence_rates(time, event, group=arm, order=["one", "two"], name="death")
    ratio, stored = found.estimate("two", "rate ratio"), R["ratio"]
    assert [ratio.value, ratio.low, ratio.high] == pytest.approx([stored["ratio"], *stored["limits"]], rel=1e-8)
    assert found.contrasts["p"].iloc[1] == pytest.approx(stored["p"], rel=1e-8)


@pytest.mark.parametrize(("case", "level"), [(0, 0.95), (1, 0.95), (2, 0.9)])
def test_a_ratio_with_few_or_no_events(case, level):
    stored = R["more_ratios"][case]
    ratio, p = rate_ratio(tuple(stored["events"]), tuple(stored["exposure"]), level)
    assert [ratio.value, ratio.low, ratio.high, p] == pytest.approx(
        [stored["ratio"], *stored["limits"], stored["p"]], rel=1e-8, abs=1e-12
    )


def test_six_patients_by_hand():
    """Three and two events in 400 and 300 days; Garwood's limits from chi-squared, Zou and Donner's formula spelled out."""
    time, event = [50, 150, 200, 100, 120, 80], [True, True, True, True, False, True]
    group = ["b", "b", "b", "a", "a", "a"]
    found = incidence_rates(time, event, group=group, order=["a", "b"], name="rash", since="the first dose")
    years = {"a": 300 / 365.25, "b": 400 / 365.25}
    limits = {
        g: (stats.chi2.ppf(0.025, 2 * x) / 2 / years[g], stats.chi2.ppf(0.975, 2 * x + 2) / 2 / years[g])
        for g, x in (("a", 2), ("b", 3))
    }
    a, b = 2 / years["a"], 3 / years["b"]
    low = b - a - math.sqrt((b - limits["b"][0]) ** 2 + (limits["a"][1] - a) ** 2)
    high = b - a + math.sqrt((limits["b"][1] - b) ** 2 + (a - limits["a"][0]) ** 2)
    difference = found.estimate("b", "rate difference")
    assert [difference.value, difference.low, difference.high] == pytest.approx(
        [100 * one for one in (b - a, low, high)], rel=1e-12
    )
    assert "rash, exposure-adjusted incidence rate since the first dose" in found.text()
    assert found.table()["First events"].tolist() == ["2", "3"]


def test_the_same_rates_in_any_unit_of_time(pbc):
    time, event, arm, _ = pbc
    days = incidence_rates(time, event, group=arm, name="death").frame()
    months = incidence_rates(time / 30.4375, event, group=arm, name="death", unit="months").frame()
    for column in ("value", "low", "high"):
        assert np.allclose(days[column], months[column], rtol=1e-12)


def test_limits_of_ratio_and_difference_cover_at_least_their_level_in_sums_over_all_outcomes():
    """Exact coverage: every pair of counts with its Poisson probability; both intervals are conservative."""
    exposure, means = (10.0, 5.0), (4.0, 3.0)
    truth = (means[0] / exposure[0] - means[1] / exposure[1], (means[0] / exposure[0]) / (means[1] / exposure[1]))
    covered = np.zeros(2)
    for x1 in range(25):
        for x0 in range(22):
            weight = stats.poisson.pmf(x1, means[0]) * stats.poisson.pmf(x0, means[1])
            d, (r, _) = rate_difference((x1, x0), exposure), rate_ratio((x1, x0), exposure)
            anything = math.isnan(r.value)
            covered += weight * np.array([d.low <= truth[0] <= d.high, anything or r.low <= truth[1] <= r.high])
    assert (covered >= 0.95).all()
    assert (covered <= 0.995).all()


def test_without_events_there_is_a_difference_and_no_ratio():
    found = incidence_rates(
        [10.0, 20.0, 30.0, 40.0], np.zeros(4, bool), group=["a", "a", "b", "b"], name="rash", unit="days"
    )
    assert math.isnan(found.estimate("b", "rate ratio").value)
    difference = found.estimate("b", "rate difference")
    assert difference.value == 0
    assert difference.low < 0 < difference.high
    assert "not estimable" in found.table().iloc[1].to_list()
    one, p = rate_ratio((3, 0), (1.0, 1.0))
    assert (one.value, one.high) == (math.inf, math.inf)
    assert p == pytest.approx(0.25)


def test_a_stored_result_is_the_same(pbc):
    time, event, arm, _ = pbc
    found = incidence_rates(time, event, group=arm, name="death")
    again = Result.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.to_dict() == found.to_dict()
    assert again.text() == found.text()
    assert all(math.isfinite(one) for one in found.scalars().values())


@pytest.mark.parametrize(
    ("time", "event", "level", "words"),
    [
        ([0.0, 1.0], [True, False], 0.95, "time"),
        ([1.0, 2.0], [True, 3], 0.95, "event"),
        ([1.0, 2.0], [True], 0.95, "event"),
        ([1.0, 2.0], [True, False], 1.0, "level is 1.0"),
    ],
)
def test_what_cannot_be_used_is_refused(time, event, level, words):
    with pytest.raises(DataError, match=words):
        incidence_rates(time, event, group=["a", "b"], name="rash", level=level)


def test_an_unknown_group_or_measure_is_named(pbc):
    time, event, arm, _ = pbc
    found = incidence_rates(time, event, group=arm, name="death")
    with pytest.raises(DataError, match="no rate of 'three'"):
        found.estimate("three")
    with pytest.raises(DataError, match="no odds of 'two'"):
        found.estimate("two", "odds")
