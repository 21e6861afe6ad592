"""Riley's minimum sample sizes against the published examples and against their definitions."""

import math

import numpy as np
import pytest

from trialml.errors import AnalysisError, DataError
from trialml.models.sample_adequacy import SampleAdequacy, sample_adequacy


def needed(found):
    return list(found.rows["required_n"])


def test_the_diagnostic_model_of_chagas_disease():
    """Oracle: Riley et al. 2019, Stat Med 38:1276, section 6.1: 24 parameters, R-squared 0.288, prevalence 0.174."""
    found = sample_adequacy("binary", n=1000, events=174, parameters=24, r_squared=0.288)
    assert needed(found) == [623, 662, 221]
    assert found.required * 0.174 / 24 == pytest.approx(4.8, abs=0.05)


@pytest.mark.parametrize(
    ("r_squared", "rate", "parameters", "first", "second"),
    [
        (0.051, 0.065, 25, 4286, 875),
        (0.065, 0.065, 25, 3335, 868),
        (0.051, 0.1, 25, 4286, 725),
        (0.051, 0.065, 30, 5143, None),
    ],
)
def test_the_prognostic_model_of_recurrent_thromboembolism(r_squared, rate, parameters, first, second):
    """Oracle: BMJ 2020;368:m441 (25 parameters: 4286), Stat Med 2019 (30: 5143), and pmsampsize's own tests.

    Those values of the second criterion come from a version that rounds the largest R-squared to 2 digits and the shrinkage
    to 3 on the way: with this rounding the same formula gives them, and without it ours.
    """
    n, events = 10_000, math.ceil(rate * 2.07 * 10_000)
    known = {"r_squared": r_squared, "follow_up": 2.07, "horizon": 2}
    found = sample_adequacy("time to event", n=n, events=events, parameters=parameters, **known)
    largest = 1 - math.exp(2 * (events * math.log(events / n) - events) / n)
    assert needed(found)[:2] == [first, by_optimism(parameters, r_squared, largest)]
    assert second in (None, by_optimism(parameters, r_squared, round(largest, 2), 3))


def by_optimism(parameters, r_squared, largest, digits=15):
    shrinkage = round(r_squared / (r_squared + 0.05 * largest), digits)
    return math.ceil(parameters / ((shrinkage - 1) * math.log(1 - r_squared / shrinkage)))


def test_the_linear_model_of_lung_function():
    """Oracle: pmsampsize 1.1.3's own tests 2.1 to 2.3 and 2.6, from Riley et al. 2019, Stat Med 38:1262."""
    for r_squared, parameters, sizes in (
        (0.2, 25, [918, 401, 259]),
        (0.3, 25, [574, 351, 259]),
        (0.2, 50, [1924, 801, 284]),
        (0.5, 100, [1264, 1001, 334]),
    ):
        assert needed(sample_adequacy("continuous", n=500, parameters=parameters, r_squared=r_squared)) == sizes


def test_the_mean_is_known_to_within_a_tenth_at_the_size_found_and_not_one_below():
    from scipy.stats import t

    found = sample_adequacy("continuous", n=500, parameters=4, r_squared=0.2, mean=2.0, sd=3.0)
    size = needed(found)[3]
    wide = [t.ppf(0.975, k - 5) * 3 * math.sqrt(0.8 / k) for k in (size - 1, size)]
    assert wide[0] > 0.2 >= wide[1]


def test_the_risk_over_time_is_known_to_within_the_margin_at_the_size_found_and_not_one_below():
    """Oracle: the limits of a constant rate, rate -+ 1.96 sqrt(rate / person-time), turned into risks."""
    found = sample_adequacy("time to event", n=1000, events=300, parameters=5, follow_up=3.0, horizon=2.0)
    size, rate = needed(found)[2], 0.1

    def off(n):
        spread = 1.959963984540054 * math.sqrt(rate / (3 * n))
        risks = [1 - math.exp(-one * 2) for one in (rate - spread, rate, rate + spread)]
        return max(np.diff(risks))

    assert off(size) <= 0.05 < off(size - 1)


@pytest.mark.parametrize("endpoint", ["binary", "time to event", "competing risks"])
def test_the_expected_shrinkage_is_nine_tenths_at_the_size_required_for_it(endpoint):
    known = {"parameters": 10, "follow_up": 2.0, "horizon": 2.0}
    first = sample_adequacy(endpoint, n=2000, events=400, **known)
    size = needed(first)[0]
    again = sample_adequacy(endpoint, n=size, events=size // 5, r_squared=first.r_squared, **known)
    assert again.shrinkage == pytest.approx(0.9, abs=1e-3)
    fewer = sample_adequacy(endpoint, n=200, events=40, **known)
    by_hand = 10 / ((fewer.shrinkage - 1) * math.log(1 - fewer.r_squared / fewer.shrinkage))
    assert by_hand == pytest.approx(200, rel=1e-8)


def test_the_verdict_is_in_words_and_the_result_survives_json():
    few = sample_adequacy("binary", n=200, events=40, parameters=10)
    assert not few.enough
    assert "200 patients with 40 events, 4.00 events for each of 10 parameters" in few.text()
    assert "too few" in few.text()
    many = sample_adequacy("binary", n=20_000, events=4000, parameters=10)
    assert many.enough
    assert "there are enough" in many.text()
    again = SampleAdequacy.from_dict(few.to_dict())
    assert again.text() == few.text()
    assert list(few.table()) == ["Criterion", "Patients needed", "Events needed", "Met"]
    assert few.events_per_parameter == 4
    assert few.scalars()["required_n"] == few.required


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: sample_adequacy("binary", n=100, events=0, parameters=3), "events is 0"),
        (lambda: sample_adequacy("binary", n=100, events=100, parameters=3), "fewer than the 100 patients"),
        (lambda: sample_adequacy("binary", n=0, events=1, parameters=3), "n is 0"),
        (lambda: sample_adequacy("time to event", n=100, events=50, parameters=3), "needs both"),
        (lambda: sample_adequacy("continuous", n=100, parameters=3), "needs what the model is expected to explain"),
        (
            lambda: sample_adequacy("binary", n=100, events=5, parameters=3, r_squared=0.5),
            "R-squared of 0.500 is impossible",
        ),
    ],
)
def test_impossible_numbers_are_refused(call, words):
    with pytest.raises((DataError, AnalysisError), match=words):
        call()
