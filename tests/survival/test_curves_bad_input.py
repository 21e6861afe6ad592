"""Bad input never gives a number: every curve and test refuses it in a sentence, or documents its answer."""

import numpy as np
import pandas as pd
import pytest

from trialml.errors import AnalysisError, DataError
from trialml.survival.cumulative_incidence import cumulative_incidence
from trialml.survival.kaplan_meier import kaplan_meier, product_limit
from trialml.survival.logrank import logrank
from trialml.survival.maxcombo import maxcombo
from trialml.survival.milestone import milestone_survival
from trialml.survival.nelson_aalen import nelson_aalen
from trialml.survival.rmst import restricted_mean
from trialml.survival.weighted_logrank import weighted_sums

GROUP = list("abab")
TWO_ARMS = {"control": "a", "experimental": "b"}
ANALYSES = {
    "kaplan_meier": kaplan_meier,
    "nelson_aalen": nelson_aalen,
    "logrank": lambda time, event: logrank(time, event, GROUP),
    "maxcombo": lambda time, event: maxcombo(time, event, GROUP),
    "restricted_mean": lambda time, event: restricted_mean(time, event, GROUP, tau=1, **TWO_ARMS),
    "milestone_survival": lambda time, event: milestone_survival(time, event, GROUP, at=1, **TWO_ARMS),
}
EVERY = pytest.mark.parametrize("analysis", ANALYSES.values(), ids=list(ANALYSES))


@EVERY
@pytest.mark.parametrize(
    ("time", "event", "message"),
    [
        ([1, 2, np.nan, 4], [1, 1, 0, 1], "time is missing or infinite in 1 of 4"),
        ([1, 2, np.inf, 4], [1, 1, 0, 1], "time is missing or infinite in 1 of 4"),
        ([1, 2, -3, 4], [1, 1, 0, 1], "time is -3 at its smallest"),
        ([1, 2, 0, 4], [1, 1, 0, 1], "count the day of randomisation as day 1"),
        ([1, 2, 3], [1, 1, 0, 1], "one flag a patient"),
        ([1, 2, 3, 4], ["yes", "no", "no", "yes"], "event holds values that are not numbers"),
        ([1, 2, 3, 4], [1, 2, 0, 1], "event holds the value 2"),
        (["1", "two", "3", "4"], [1, 1, 0, 1], "time holds values that are not numbers"),
    ],
)
def test_unusable_times_and_events_are_refused(analysis, time, event, message):
    with pytest.raises(DataError, match=message):
        analysis(time, event)


@EVERY
def test_nobody_at_all_is_refused(analysis):
    with pytest.raises((AnalysisError, DataError)):
        analysis([], [])


def test_all_censored_is_a_flat_curve_without_a_median_and_no_test():
    time, event = [2, 3, 5, 7], [False] * 4
    curve = kaplan_meier(time, event)
    assert curve.frame()["survival"].tolist() == [1, 1, 1, 1]
    assert curve.median().value == np.inf
    assert "not reached" in curve.text()
    assert curve.follow_up().value == 4
    hazard = nelson_aalen(time, event)
    assert hazard.at(7).value == 0
    mean = restricted_mean(time, event, GROUP, tau=2, **TWO_ARMS)
    assert mean.difference.value == 0
    assert np.isnan(mean.p_difference)
    for test in (logrank, maxcombo):
        with pytest.raises(AnalysisError, match="none of the 4 patients has had the event"):
            test(time, event, GROUP)
    with pytest.raises(AnalysisError, match="event of any cause"):
        cumulative_incidence(time, [0, 0, 0, 0])


def test_one_group_only_is_refused_where_groups_are_compared():
    time, event = [1, 2, 3, 4], [1, 1, 0, 1]
    for test in (logrank, maxcombo):
        with pytest.raises(AnalysisError, match="all 4 patients are in group 'a'"):
            test(time, event, list("aaaa"))
    with pytest.raises(DataError, match="no patient is in arm 'b'"):
        restricted_mean(time, event, list("aaaa"), tau=1, **TWO_ARMS)


def test_a_stratum_without_events_or_with_one_group_adds_nothing_to_a_log_rank_test():
    time, event, group = [1, 2, 3, 4, 5, 6], [1, 1, 0, 1, 1, 0], list("ababab")
    plain = logrank(time, event, group)
    censored = logrank([*time, 7, 8], [*event, 0, 0], [*group, "a", "b"], strata=list("xxxxxxyy"))
    lonely = logrank([*time, 2, 4], [*event, 1, 1], [*group, "a", "a"], strata=list("xxxxxxyy"))
    assert censored.chi_square == pytest.approx(plain.chi_square, rel=1e-13)
    assert lonely.chi_square == pytest.approx(plain.chi_square, rel=1e-13)
    unused = pd.Categorical(list("xxxxxx"), categories=["x", "empty"])
    assert logrank(time, event, group, strata=unused).strata == 1


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ([0, 1, 3, 0], "entry is not before exit in 1 of 4 rows, first in row 3 .3 and 3."),
        ([0, 1, 9, 0], "entry is not before exit in 1 of 4 rows"),
        ([0, -1, 0, 0], "entry is -1 at its smallest"),
        ([0, np.nan, 0, 0], "entry is missing or infinite in 1 of 4"),
        ([0, 1], "time has 4 values but entry has shape"),
        (["a", 1, 2, 3], "entry holds values that are not numbers"),
    ],
)
@pytest.mark.parametrize(
    "analysis",
    [kaplan_meier, nelson_aalen, lambda t, e, entry: logrank(t, e, GROUP, entry=entry)],
    ids=["kaplan_meier", "nelson_aalen", "logrank"],
)
def test_an_entry_that_cannot_be_is_refused(analysis, entry, message):
    with pytest.raises(DataError, match=message):
        analysis([1, 2, 3, 4], [1, 1, 0, 1], entry=entry)


def test_rows_of_one_patient_may_not_overlap_and_the_message_names_no_patient():
    with pytest.raises(DataError, match="1 of 3 rows overlap another row of the same patient") as refused:
        product_limit([3, 5, 4], [0, 1, 1], entry=[0, 2, 0], id=["SUBJ-1", "SUBJ-1", "SUBJ-2"])
    assert "SUBJ" not in str(refused.value)
    with pytest.raises(DataError, match="id is missing in 1 of 2"):
        product_limit([3, 5], [0, 1], id=["x", None])
    with pytest.raises(DataError, match="pass one label a row"):
        product_limit([3, 5], [0, 1], id=["x"])


@pytest.mark.parametrize("weights", [[1, 0], [1, -1], [1, np.nan], [1]])
def test_weights_that_are_not_above_0_are_refused(weights):
    for analysis in (kaplan_meier, nelson_aalen):
        with pytest.raises(DataError, match="weights must be one finite number above 0"):
            analysis([1, 2], [1, 0], weights=weights)


def test_unknown_settings_are_refused_by_name():
    time, event = [1, 2, 3, 4], [1, 1, 0, 1]
    with pytest.raises(DataError, match=r"interval is 'wald'.*plain, log, log-log, logit, arcsin"):
        kaplan_meier(time, event, interval="wald")
    with pytest.raises(DataError, match="interval is 'logit'"):
        nelson_aalen(time, event, interval="logit")
    with pytest.raises(DataError, match="ties is 'exact'"):
        nelson_aalen(time, event, ties="exact")
    with pytest.raises(DataError, match="takes no weights, id or robust variance"):
        nelson_aalen(time, event, ties="fleming-harrington", weights=[1, 2, 1, 1])
    with pytest.raises(DataError, match="variance is 'bootstrap'"):
        product_limit(time, event, variance="bootstrap")
    with pytest.raises(DataError, match="variance is 'bootstrap'"):
        cumulative_incidence(time, event, variance="bootstrap")
    with pytest.raises(DataError, match="interval is 'log'"):
        cumulative_incidence(time, event, interval="log")
    with pytest.raises(DataError, match="level is 95"):
        kaplan_meier(time, event, level=95)


def test_a_cumulative_hazard_beyond_follow_up_or_of_nobody_is_refused():
    found = nelson_aalen([1, 2, 3, 4], [1, 1, 0, 1], group=GROUP)
    with pytest.raises(AnalysisError, match="follow-up of group 'a' is from 0 to 3"):
        found.at(3.5, "a")
    with pytest.raises(DataError, match="there is no group 'c'"):
        found.at(1, "c")


def test_delayed_entry_whose_first_patient_dies_alone_takes_the_curve_to_zero_for_good():
    """A documented answer, as R's: with one at risk and one event nothing is left of the product."""
    curve = product_limit([2, 5, 6], [1, 1, 0], entry=[1, 3, 3])
    assert curve.survival.tolist() == [0, 0, 0]
    assert np.isinf(curve.se_log).all()


def test_a_group_that_enters_after_the_last_event_of_the_others_is_never_compared():
    with pytest.raises(AnalysisError, match="never at risk together"):
        logrank([1, 2, 5, 6], [1, 1, 1, 1], list("aabb"), entry=[0, 0, 3, 3])


def test_many_groups_and_text_labels_give_the_sums_of_number_codes():
    draw = np.random.default_rng(2)
    time, event, codes = draw.integers(1, 50, 500).astype(float), draw.random(500) < 0.5, draw.integers(0, 4, 500)
    sums = weighted_sums(time, event, codes, 4)
    words = np.array(["one", "three", "two", "zero"])
    labels = np.array(["zero", "one", "two", "three"])[codes]
    found = logrank(time, event, labels).groups.set_index("group")["expected"]
    place = {"zero": 0, "one": 1, "two": 2, "three": 3}
    np.testing.assert_allclose(found[words], sums.expected[0][[place[word] for word in words]], rtol=1e-12)
